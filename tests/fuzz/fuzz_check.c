/* fuzz_check.c -- libFuzzer target: any text through parser, name resolution and type inference.
 * What must hold: no crash, no hang, no undefined behaviour.
 *
 * Parsing the library takes longer than checking an input, so a VM is used for many inputs, the way
 * the REPL does it: what an input with errors added is taken back. An input without errors, and one
 * in REUSE, ends the VM. With NOS_FUZZ_FRESH=1 every input gets its own VM: a crash that only
 * happens without it comes from something that was not taken back; the inputs that led to it are
 * then in the file that NOS_FUZZ_HISTORY names. */
#include <stdio.h>
#include <stdlib.h>

#include "vm/front/parser.h"
#include "vm/util/alloc.h"
#include "vm/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void));

enum { REUSE = 64 };

static Vm *vm;
static StrBuf history[REUSE]; // inputs of this VM
static uint32_t n_history;

static void write_history(void)
{
    const char *path = getenv("NOS_FUZZ_HISTORY");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f)
        return;
    for (uint32_t i = 0; i < n_history; i++) {
        fprintf(f, "#### input %u\n", i);
        fwrite(history[i].s, 1, history[i].n, f);
        fputc('\n', f);
    }
    fclose(f);
}

/* Parses and checks; false: it had errors. */
static bool check(const char *text, size_t n)
{
    uint32_t file = nosi_sources_add(&vm->sources, "input.nos", text, n, false, false);
    SourceUnit *unit = nosi_parse_file(&vm->arena, &vm->sources, file, &vm->diags);
    bool parsed = vm->diags.n_errors == 0;
    Module *m = nosi_program_add_unit(vm->program, unit, nosi_intern_cstr(""), false, false);
    vm->program->root = m;
    bool ok = nosi_program_check(vm->program, &vm->diags) && parsed;
    nosi_diag_init(&vm->diags, &vm->arena, &vm->sources);
    return ok;
}

static void new_vm(void)
{
    static const VmOptions options;
    vm = nosi_vm_new(&options);
    check("", 0); // the library
}

static void end_vm(void)
{
    nosi_vm_free(vm);
    vm = NULL;
    for (uint32_t i = 0; i < n_history; i++)
        nosi_strbuf_free(&history[i]);
    n_history = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!vm) {
        __sanitizer_set_death_callback(write_history);
        new_vm();
    }
    StrBuf *copy = &history[n_history++];
    nosi_strbuf_add(copy, (const char *)data, size);
    bool ok = check((const char *)data, size);
    if (ok || n_history == REUSE || getenv("NOS_FUZZ_FRESH"))
        end_vm();
    return 0;
}
