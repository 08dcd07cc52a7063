/* fuzz_check.c -- libFuzzer target: any text through parser, name resolution and type inference.
 * What must hold: no crash, no hang, no undefined behaviour. */
#include "vm/front/parser.h"
#include "vm/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const VmOptions options;
    Vm *vm = nosi_vm_new(&options);
    uint32_t file =
        nosi_sources_add(&vm->sources, "input.nos", (const char *)data, size, false, false);
    SourceUnit *unit = nosi_parse_file(&vm->arena, &vm->sources, file, &vm->diags);
    vm->program->root =
        nosi_program_add_unit(vm->program, unit, nosi_intern_cstr(""), false, false);
    nosi_program_check(vm->program, &vm->diags);
    nosi_vm_free(vm);
    return 0;
}
