/* gdb.c -- see gdb.h. What gdb wants is described in its manual, "JIT Compilation Interface". */
#include "jit/gdb.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "vm/util/alloc.h"

/* ---- what gdb looks at: names and layout are its own ----------------------------------------- */

typedef struct GdbEntry {
    struct GdbEntry *next, *prev;
    const char *object; // owned
    uint64_t bytes;
    struct GdbEntry *of_code; // the next one of the same JitCode: not gdb's
} GdbEntry;

enum { GDB_NO_ACTION, GDB_REGISTER, GDB_UNREGISTER };

extern struct GdbDescriptor {
    uint32_t version, action;
    GdbEntry *relevant, *first;
} __jit_debug_descriptor;
void __jit_debug_register_code(void);

__attribute__((used)) struct GdbDescriptor __jit_debug_descriptor = {1, GDB_NO_ACTION, NULL, NULL};

/* gdb puts a breakpoint here. */
__attribute__((used, noinline)) void __jit_debug_register_code(void)
{
    __asm__ volatile("" ::: "memory");
}

static void tell(uint32_t action, GdbEntry *entry)
{
    __jit_debug_descriptor.action = action;
    __jit_debug_descriptor.relevant = entry;
    __jit_debug_register_code();
}

/* ---- unwinding ------------------------------------------------------------------------------- */

/* What MIR's prologue does: rsp goes down by `frame`, then registers are saved at offsets from rsp.
 * (With a frame pointer: rbp is saved first, and the others at offsets from rbp.) */
typedef struct Frame {
    bool has_fp;
    uint32_t frame;
    uint32_t fp_set, sp_set, end; // where the instructions that do it end
    uint32_t n_saved;
    uint8_t reg[16];      // DWARF numbers
    int32_t from_cfa[16]; // where the register is
    uint32_t ret;         // the RET, 0: not found
} Frame;

static const uint8_t dwarf_of[16] = {0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15};
enum { DW_RBP = 6, DW_RSP = 7, DW_RIP = 16 };

static bool has_bytes(const uint8_t *code, size_t n, uint32_t at, const uint8_t *bytes, size_t m)
{
    return at + m <= n && memcmp(code + at, bytes, m) == 0;
}

static int32_t int32_at(const uint8_t *p)
{
    int32_t i;
    memcpy(&i, p, sizeof i);
    return i;
}

/* The length of `mov %reg, disp(%rsp or %rbp)` at p, 0: it is something else. */
static uint32_t saving_move(const uint8_t *p, bool from_fp, uint8_t *reg, int32_t *disp)
{
    if ((p[0] != 0x48 && p[0] != 0x4C) || p[1] != 0x89 || (p[2] & 7) != (from_fp ? 5 : 4) ||
        (!from_fp && p[3] != 0x24))
        return 0;
    uint32_t n = from_fp ? 3 : 4, mod = p[2] >> 6;
    *reg = dwarf_of[(p[2] >> 3 & 7) | (p[0] & 4) << 1];
    *disp = mod == 1 ? (int8_t)p[n] : mod == 2 ? int32_at(p + n) : 0;
    if (mod == 3 || (mod == 0 && from_fp))
        return 0;
    return n + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

static void read_prologue(const uint8_t *code, size_t n, Frame *f)
{
    static const uint8_t save_fp[] = {0x48, 0x89, 0x6C, 0x24, 0xF8}, // mov %rbp,-8(%rsp)
        set_fp[] = {0x48, 0x8D, 0x6C, 0x24, 0xF8},                   // lea -8(%rsp),%rbp
        drop_fp[] = {0x48, 0x8D, 0x65, 0x08, 0x48, 0x8B, 0x6C, 0x24, 0xF8, 0xC3};
    uint32_t at = 0, len;
    uint8_t reg;
    int32_t disp;
    *f = (Frame){0};
    if (has_bytes(code, n, 0, save_fp, sizeof save_fp) &&
        has_bytes(code, n, sizeof save_fp, set_fp, sizeof set_fp)) {
        f->has_fp = true;
        at = f->fp_set = sizeof save_fp + sizeof set_fp;
    }
    if (n < at + 7 || code[at] != 0x48 || (code[at + 1] | 2) != 0x83 || code[at + 2] != 0xEC)
        return; // a leaf without a frame
    f->frame = code[at + 1] == 0x83 ? code[at + 3] : (uint32_t)int32_at(code + at + 3);
    at = f->sp_set = at + (code[at + 1] == 0x83 ? 4 : 7);
    while (at + 8 <= n && f->n_saved < NOS_COUNT(f->reg) &&
           (len = saving_move(code + at, f->has_fp, &reg, &disp)) > 0) {
        if (reg != 3 && reg != DW_RBP && reg < 12)
            break; // an argument that is spilled
        f->reg[f->n_saved] = reg;
        f->from_cfa[f->n_saved++] = f->has_fp ? disp - 16 : disp - (int32_t)f->frame - 8;
        at += len;
    }
    f->end = at;
    for (uint32_t k = at; k + 8 <= n && !f->ret; k++) {
        const uint8_t *p = code + k; // add $frame,%rsp; ret
        if (f->has_fp && has_bytes(code, n, k, drop_fp, sizeof drop_fp))
            f->ret = k + (uint32_t)sizeof drop_fp - 1;
        else if (!f->has_fp && p[0] == 0x48 && p[2] == 0xC4 &&
                 ((p[1] == 0x83 && p[3] == f->frame && p[4] == 0xC3) ||
                  (p[1] == 0x81 && (uint32_t)int32_at(p + 3) == f->frame && p[7] == 0xC3)))
            f->ret = k + (p[1] == 0x83 ? 4 : 7);
    }
}

static void put8(StrBuf *b, unsigned x)
{
    nosi_strbuf_putc(b, (char)x);
}
static void put32(StrBuf *b, uint32_t x)
{
    nosi_strbuf_add(b, (const char *)&x, sizeof x);
}
static void put_uleb(StrBuf *b, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        put8(b, (unsigned)(x & 0x7F) | 0x80);
    put8(b, (unsigned)x);
}

enum { // DWARF
    CFA_ADVANCE4 = 0x04,
    CFA_REMEMBER = 0x0A,
    CFA_RECALL = 0x0B,
    CFA_DEF = 0x0C,
    CFA_DEF_OFFSET = 0x0E,
    CFA_OFFSET = 0x80,
    CFA_RESTORE = 0xC0,
    PE_TEXTREL_UDATA4 = 0x23,
    MINUS_8 = 0x78, // as SLEB
};

static void advance(StrBuf *b, uint32_t *at, uint32_t to)
{
    put8(b, CFA_ADVANCE4);
    put32(b, to - *at);
    *at = to;
}

/* Fills in the length of the entry that begins at `from`. */
static void end_entry(StrBuf *b, size_t from)
{
    while ((b->n - from) % 8)
        put8(b, 0); // DW_CFA_nop
    uint32_t n = (uint32_t)(b->n - from - 4);
    memcpy(b->s + from, &n, sizeof n);
}

/* .eh_frame: one CIE and one FDE. */
static void put_unwinding(StrBuf *b, const uint8_t *code, size_t n)
{
    Frame f;
    uint32_t at = 0;
    size_t cie = b->n;
    read_prologue(code, n, &f);
    put32(b, 0);
    put32(b, 0);
    put8(b, 1);
    nosi_strbuf_add(b, "zR", 3);
    put8(b, 1);
    put8(b, MINUS_8);
    put8(b, DW_RIP);
    put8(b, 1);
    put8(b, PE_TEXTREL_UDATA4);
    put8(b, CFA_DEF), put8(b, DW_RSP), put8(b, 8);
    put8(b, CFA_OFFSET | DW_RIP), put8(b, 1);
    end_entry(b, cie);

    size_t fde = b->n;
    put32(b, 0);
    put32(b, (uint32_t)(b->n - cie));
    put32(b, 0);
    put32(b, (uint32_t)n);
    put8(b, 0); // no augmentation
    if (f.has_fp) {
        advance(b, &at, f.fp_set);
        put8(b, CFA_DEF), put8(b, DW_RBP), put8(b, 16);
        put8(b, CFA_OFFSET | DW_RBP), put8(b, 2);
    } else if (f.sp_set) {
        advance(b, &at, f.sp_set);
        put8(b, CFA_DEF_OFFSET), put_uleb(b, f.frame + 8);
    }
    if (f.n_saved)
        advance(b, &at, f.end);
    for (uint32_t k = 0; k < f.n_saved; k++)
        put8(b, CFA_OFFSET | f.reg[k]), put_uleb(b, (uint64_t)(-f.from_cfa[k] / 8));
    if (f.ret) {
        put8(b, CFA_REMEMBER);
        advance(b, &at, f.ret);
        put8(b, CFA_DEF), put8(b, DW_RSP), put8(b, 8);
        for (uint32_t k = 0; k < f.n_saved; k++)
            put8(b, CFA_RESTORE | f.reg[k]);
        if (f.has_fp)
            put8(b, CFA_RESTORE | DW_RBP);
        advance(b, &at, f.ret + 1);
        put8(b, CFA_RECALL);
    }
    end_entry(b, fde);
    put32(b, 0);
}

/* ---- the object file ------------------------------------------------------------------------- */

enum { SEC_NONE, SEC_TEXT, SEC_FRAME, SEC_STRINGS, SEC_SYMBOLS, N_SECTIONS };
static const char section_names[] = "\0.text\0.eh_frame\0.strtab\0.symtab";
enum { NAME_TEXT = 1, NAME_FRAME = 7, NAME_STRINGS = 17, NAME_SYMBOLS = 25 };

static void align(StrBuf *b)
{
    while (b->n % 8)
        put8(b, 0);
}

static Elf64_Shdr section(uint32_t name, uint32_t type, uint64_t from, uint64_t n)
{
    return (Elf64_Shdr){
        .sh_name = name, .sh_type = type, .sh_offset = from, .sh_size = n, .sh_addralign = 8};
}

static GdbEntry *new_entry(const char *name, const void *code, size_t bytes)
{
    StrBuf b = {0};
    Elf64_Ehdr head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                                   EV_CURRENT, ELFOSABI_NONE},
                       .e_type = ET_REL,
                       .e_machine = EM_X86_64,
                       .e_version = EV_CURRENT,
                       .e_shoff = sizeof head,
                       .e_ehsize = sizeof head,
                       .e_shentsize = sizeof(Elf64_Shdr),
                       .e_shnum = N_SECTIONS,
                       .e_shstrndx = SEC_STRINGS};
    Elf64_Shdr sections[N_SECTIONS] = {0};
    nosi_strbuf_add(&b, (const char *)&head, sizeof head);
    nosi_strbuf_add(&b, (const char *)sections, sizeof sections);

    sections[SEC_TEXT] = section(NAME_TEXT, SHT_NOBITS, 0, bytes);
    sections[SEC_TEXT].sh_flags = SHF_ALLOC | SHF_EXECINSTR;
    sections[SEC_TEXT].sh_addr = (uintptr_t)code;

    size_t from = b.n;
    put_unwinding(&b, code, bytes);
    sections[SEC_FRAME] = section(NAME_FRAME, SHT_PROGBITS, from, b.n - from);
    sections[SEC_FRAME].sh_flags = SHF_ALLOC;

    align(&b);
    from = b.n;
    nosi_strbuf_add(&b, section_names, sizeof section_names);
    uint32_t name_at = (uint32_t)(b.n - from);
    nosi_strbuf_add(&b, name, strlen(name) + 1);
    sections[SEC_STRINGS] = section(NAME_STRINGS, SHT_STRTAB, from, b.n - from);

    align(&b);
    from = b.n;
    Elf64_Sym symbols[2] = {{0},
                            {.st_name = name_at,
                             .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                             .st_shndx = SEC_TEXT,
                             .st_size = bytes}};
    nosi_strbuf_add(&b, (const char *)symbols, sizeof symbols);
    sections[SEC_SYMBOLS] = section(NAME_SYMBOLS, SHT_SYMTAB, from, sizeof symbols);
    sections[SEC_SYMBOLS].sh_link = SEC_STRINGS;
    sections[SEC_SYMBOLS].sh_info = 1; // the first that is not local
    sections[SEC_SYMBOLS].sh_entsize = sizeof symbols[0];

    memcpy(b.s + sizeof head, sections, sizeof sections);
    GdbEntry *e = nosi_calloc(1, sizeof *e);
    e->object = b.s;
    e->bytes = b.n;
    return e;
}

/* ---- registering ----------------------------------------------------------------------------- */

static bool wanted;

void nosi_gdb_begin(bool want)
{
    const char *env = getenv("NOS_JIT_GDB");
    wanted = want || (env && strcmp(env, "1") == 0);
}

static void add(JitCode *c, const char *suffix, const void *from, const void *other)
{
    StrBuf name = {0};
    nosi_code_name(&name, c, suffix);
    GdbEntry *e =
        new_entry(nosi_strbuf_cstr(&name), from, nosi_code_extent(&c->pages, from, other));
    nosi_strbuf_free(&name);
    e->of_code = c->gdb;
    c->gdb = e;
    e->next = __jit_debug_descriptor.first;
    if (e->next)
        e->next->prev = e;
    __jit_debug_descriptor.first = e;
    tell(GDB_REGISTER, e);
}

void nosi_gdb_register(JitCode *c)
{
    if (!wanted)
        return;
    add(c, "", c->entry, c->generic);
    if (c->generic)
        add(c, ":entry", c->generic, c->entry);
}

void nosi_gdb_unregister(JitCode *c)
{
    for (GdbEntry *e = c->gdb, *next; e; e = next) {
        next = e->of_code;
        if (e->prev)
            e->prev->next = e->next;
        else
            __jit_debug_descriptor.first = e->next;
        if (e->next)
            e->next->prev = e->prev;
        tell(GDB_UNREGISTER, e);
        nosi_free((char *)(uintptr_t)e->object);
        nosi_free(e);
    }
    c->gdb = NULL;
}
