/* dump.c -- see dump.h. */
#include "jit/dump.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jit/jit.h"
#include "vm/util/alloc.h"
#include "vm/util/readfile.h"

static const char *wanted;       // borrowed for ever
static _Atomic(bool) was_wanted; // something of that name was compiled, or refused

void nosi_dump_begin(const char *name)
{
    wanted = name ? name : getenv("NOS_JIT_DUMP");
    if (wanted && !*wanted)
        wanted = NULL;
}

bool nosi_dump_wanted(const Func *f)
{
    const char *name = f->cell->name;
    if (!wanted || !name)
        return false;
    size_t n = strlen(name), m = strlen(wanted);
    return n >= m && strcmp(name + n - m, wanted) == 0 && (n == m || name[n - m - 1] == '.');
}

void nosi_jit_dump_end(void)
{
    if (wanted && !atomic_load(&was_wanted))
        fprintf(stderr,
                "JIT: nothing named %s was compiled (--jit=eager compiles everything at its first "
                "call)\n",
                wanted);
}

/* ---- bytecode -------------------------------------------------------------------------------- */

/* The line without what it is indented by; NULL: there is none. */
static const char *find_line(const char *text, size_t size, uint32_t line, size_t *n)
{
    const char *end = text + size;
    for (; line > 1 && text < end; text++)
        line -= *text == '\n';
    if (line != 1 || text == end)
        return NULL;
    while (text < end && (*text == ' ' || *text == '\t'))
        text++;
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    *n = (size_t)((stop ? stop : end) - text);
    return text;
}

void nosi_dump_bytecode(StrBuf *out, const Func *f, const Signature *sig, uint32_t osr_pc)
{
    atomic_store(&was_wanted, true);
    nosi_strbuf_printf(out, "==== %s(%s), %s:%u: ", f->cell->name, f->signature ? f->signature : "",
                       f->file ? f->file : "?", nosi_func_line(f, 0));
    if (osr_pc == IR_CALL_PC) {
        nosi_strbuf_puts(out, "called with (");
        for (uint32_t k = 0; k < sig->n; k++)
            nosi_strbuf_printf(out, "%s%s", k ? ", " : "",
                               nosi_ir_type_name((IrType)sig->param[k]));
        nosi_strbuf_printf(out, ") -> %s\n", nosi_ir_type_name((IrType)sig->result));
    } else
        nosi_strbuf_printf(out, "the loop at %u, line %u\n", osr_pc, nosi_func_line(f, osr_pc));
    nosi_strbuf_printf(out, "---- bytecode, %u registers\n", f->n_regs);
    size_t size = 0, n;
    char *text =
        f->file ? nosi_read_file(f->file, &size) : NULL; // owned; NULL: the library's, or gone
    uint32_t line = 0;
    for (uint32_t pc = 0; pc < f->n_code; pc++) {
        if (nosi_func_line(f, pc) != line) {
            line = nosi_func_line(f, pc);
            const char *s = text ? find_line(text, size, line, &n) : NULL;
            nosi_strbuf_printf(out, "       ; %u", line);
            if (s)
                nosi_strbuf_printf(out, ": %.*s", (int)n, s);
            nosi_strbuf_putc(out, '\n');
        }
        nosi_disasm_instr(f, pc, out);
    }
    nosi_disasm_handlers(f, out);
    nosi_free(text);
}

void nosi_dump_ir(StrBuf *out, const char *title, const char *text)
{
    nosi_strbuf_printf(out, "---- %s\n%s", title, text);
}

/* ---- machine code ---------------------------------------------------------------------------- */

/* What objdump makes of the bytes; false: there is no objdump. */
static bool disassemble(StrBuf *out, const uint8_t *code, size_t bytes)
{
    char command[160], line[512];
    int fd = memfd_create("nostos code", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = write(fd, code, bytes) == (ssize_t)bytes;
    snprintf(command, sizeof command,
             "objdump -D -b binary -m i386:x86-64 --no-show-raw-insn --adjust-vma=0x%" PRIxPTR
             " /proc/%d/fd/%d 2>/dev/null",
             (uintptr_t)code, (int)getpid(), fd);
    FILE *f = ok ? popen(command, "re") : NULL;
    size_t before = out->n;
    while (f && fgets(line, sizeof line, f))
        if (strstr(line, ":\t"))
            nosi_strbuf_puts(out, line);
    if (f)
        pclose(f);
    close(fd);
    return out->n > before;
}

static void hex(StrBuf *out, const uint8_t *code, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 16) {
        nosi_strbuf_printf(out, "%6zx:", at);
        for (size_t k = at; k < bytes && k < at + 16; k++)
            nosi_strbuf_printf(out, " %02x", code[k]);
        nosi_strbuf_putc(out, '\n');
    }
}

static void function(StrBuf *out, const char *title, const JitCode *c, const void *from,
                     const void *other)
{
    size_t bytes = nosi_code_extent(&c->pages, from, other);
    nosi_strbuf_printf(out, "---- %s: %zu bytes at %p\n", title, bytes, from);
    if (!disassemble(out, from, bytes))
        hex(out, from, bytes);
}

void nosi_dump_code(StrBuf *out, const JitCode *c)
{
    function(out, "machine code", c, c->entry, c->generic);
    if (c->generic)
        function(out, "machine code of the entry for boxed arguments", c, c->generic, c->entry);
    nosi_strbuf_printf(out, "---- %u instructions of IR, %u of MIR, %u calls inlined, %.2f ms\n",
                       c->n_ir, c->n_mir, c->n_inlined, (double)c->compile_ns / 1e6);
}

void nosi_dump_print(StrBuf *out)
{
    fputs(nosi_strbuf_cstr(out), stderr);
    nosi_strbuf_free(out);
}
