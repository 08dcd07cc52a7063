/* entry.c -- see entry.h. */
#include "jit/entry.h"

#include <string.h>

#include "jit/code.h"
#include "jit/runtime.h"
#include "vm/interp/machine.h"
#include "vm/value/object.h"

/* ---- an assembler for the few instructions that are needed ----------------------------------- */

enum { RAX, RCX, RDX, RSP = 4, RSI = 6, RDI, R8, R9, R10, R11, R15 = 15 };

#define CODE(c, ...)                                        \
    do {                                                    \
        static const uint8_t bytes[] = {__VA_ARGS__};       \
        NOS_ASSERT((c)->n + sizeof bytes <= sizeof(c)->at); \
        memcpy((c)->at + (c)->n, bytes, sizeof bytes);      \
        (c)->n += sizeof bytes;                             \
    } while (0)

static void put(EntryCode *c, const void *bytes, size_t n)
{
    NOS_ASSERT(c->n + n <= sizeof c->at);
    memcpy(c->at + c->n, bytes, n);
    c->n += n;
}
static void put32(EntryCode *c, int32_t x)
{
    put(c, &x, sizeof x);
}

/* op with operands reg and disp(base), 64 bits wide. As a base, rsp needs a byte more. */
static void op_mem(EntryCode *c, uint8_t op, unsigned reg, unsigned base, int64_t disp)
{
    uint8_t b[] = {(uint8_t)(0x48 | (reg >= 8) << 2 | (base >= 8)), op,
                   (uint8_t)(0x80 | (reg % 8) << 3 | base % 8), 0x24};
    put(c, b, base == RSP ? 4 : 3);
    put32(c, (int32_t)disp);
}
static void load(EntryCode *c, unsigned to, unsigned base, int64_t disp)
{
    op_mem(c, 0x8B, to, base, disp);
}
static void store(EntryCode *c, unsigned base, int64_t disp, unsigned from)
{
    op_mem(c, 0x89, from, base, disp);
}
static void store_const(EntryCode *c, unsigned base, int64_t disp, int32_t x)
{
    op_mem(c, 0xC7, 0, base, disp);
    put32(c, x);
}
static void move(EntryCode *c, unsigned to, unsigned from)
{
    uint8_t b[] = {(uint8_t)(0x48 | (from >= 8) << 2 | (to >= 8)), 0x89,
                   (uint8_t)(0xC0 | (from % 8) << 3 | to % 8)};
    put(c, b, sizeof b);
}
static void address(EntryCode *c, unsigned to, uintptr_t x)
{
    uint8_t b[] = {(uint8_t)(0x48 | (to >= 8)), (uint8_t)(0xB8 | to % 8)};
    put(c, b, sizeof b);
    put(c, &x, sizeof x);
}
/* movq to the register xmm<x>. */
static void move_double(EntryCode *c, unsigned x, unsigned from)
{
    uint8_t b[] = {0x66, 0x48, 0x0F, 0x6E, (uint8_t)(0xC0 | x << 3 | from)};
    NOS_ASSERT(x < 8 && from < 8);
    put(c, b, sizeof b);
}

enum { JUMP = 0xE9, JNO = 0x81, JE = 0x84, JNE = 0x85, JA = 0x87 };

/* A forward jump; where its distance is. */
static size_t jump(EntryCode *c, unsigned condition)
{
    uint8_t b[] = {0x0F, (uint8_t)condition};
    put(c, condition == JUMP ? b + 1 : b, condition == JUMP ? 1 : 2);
    put32(c, 0);
    return c->n - 4;
}
/* The jump leads here. */
static void land(EntryCode *c, size_t jump_at)
{
    int32_t distance = (int32_t)(c->n - jump_at - 4);
    memcpy(c->at + jump_at, &distance, sizeof distance);
}
static void jump_back(EntryCode *c, size_t to)
{
    size_t at = jump(c, JUMP);
    int32_t distance = (int32_t)to - (int32_t)c->n;
    memcpy(c->at + at, &distance, sizeof distance);
}

typedef struct Jumps { // to one place
    size_t at[3 * MAX_SIGNATURE + 4];
    unsigned n;
} Jumps;

static void jump_to(EntryCode *c, unsigned condition, Jumps *place)
{
    NOS_ASSERT(place->n < NOS_COUNT(place->at));
    place->at[place->n++] = jump(c, condition);
}
static void land_all(EntryCode *c, const Jumps *place)
{
    for (unsigned k = 0; k < place->n; k++)
        land(c, place->at[k]);
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* The value in rax must be an object of this kind. */
static void want_kind(EntryCode *c, ObjKind kind, Jumps *decline)
{
    _Static_assert(TAG_OBJECT == 1, "rax then points to the header's second byte, the kind");
    uint8_t test_kind[] = {0x80, 0x38, (uint8_t)kind}; // cmpb $kind, (%rax)
    CODE(c, 0x41, 0x89, 0xC3);                         // mov %eax, %r11d
    CODE(c, 0x41, 0x83, 0xE3, TAG_MASK);               // and $TAG_MASK, %r11d
    CODE(c, 0x41, 0x83, 0xFB, TAG_OBJECT);             // cmp $TAG_OBJECT, %r11d
    jump_to(c, JNE, decline);
    put(c, test_kind, sizeof test_kind);
    jump_to(c, JNE, decline);
}

typedef struct Slow { // what an argument takes that is an Int in a box
    size_t from, back;
} Slow;

/* Unboxes the value in rax, there. */
static void unbox(EntryCode *c, IrType type, Slow *slow, Jumps *decline)
{
    _Static_assert(IMM_TRUE == IMM_FALSE + 1, "after rotation, true is 1");
    switch (type) {
    case TY_INT:
        CODE(c, 0xA8, 1); // test $1, %al
        slow->from = jump(c, JNE);
        CODE(c, 0x48, 0xD1, 0xF8); // sar %rax
        slow->back = c->n;
        return;
    case TY_FLOAT:
        want_kind(c, OBJ_FLOAT, decline);
        load(c, RAX, RAX, 8 - TAG_OBJECT);
        return;
    case TY_BOOL:
        CODE(c, 0x48, 0x83, 0xE8, IMM_FALSE << 3 | TAG_IMM); // sub $VALUE_FALSE, %rax
        CODE(c, 0x48, 0xC1, 0xC8, 3);                        // ror $3, %rax
        CODE(c, 0x48, 0x83, 0xF8, 1);                        // cmp $1, %rax
        jump_to(c, JA, decline);
        return;
    default:
        return;
    }
}

enum { ARG_INTS = 6, ARG_DOUBLES = 8 }; // that are passed in registers

/* From the array at r10 to where the callee expects them. */
static void arguments(EntryCode *c, const Signature *sig, Slow *slow, Jumps *decline)
{
    static const uint8_t ints[ARG_INTS] = {RDI, RSI, RDX, RCX, R8, R9};
    unsigned n_ints = 0, n_doubles = 0, n_stack = 0;
    for (unsigned k = 0; k < sig->n; k++) {
        IrType type = (IrType)sig->param[k];
        load(c, RAX, R10, (int64_t)k * 8);
        unbox(c, type, &slow[k], decline);
        if (type == TY_FLOAT && n_doubles < ARG_DOUBLES)
            move_double(c, n_doubles++, RAX);
        else if (type != TY_FLOAT && n_ints < ARG_INTS)
            move(c, ints[n_ints++], RAX);
        else
            store(c, RSP, (int64_t)n_stack++ * 8, RAX);
    }
}

/* Words of the arguments that are not in registers. */
static unsigned stack_words(const Signature *sig)
{
    unsigned n_doubles = 0;
    for (unsigned k = 0; k < sig->n; k++)
        n_doubles += sig->param[k] == TY_FLOAT;
    unsigned n_ints = sig->n - n_doubles;
    return (n_doubles > ARG_DOUBLES ? n_doubles - ARG_DOUBLES : 0) +
           (n_ints > ARG_INTS ? n_ints - ARG_INTS : 0);
}

/* ---- the result ------------------------------------------------------------------------------ */

/* Boxes what the callee gave, and goes to `done`. */
static void result(EntryCode *c, IrType type, Jumps *done)
{
    if (type == TY_FLOAT)
        CODE(c, 0x48, 0x89, 0xC2); // mov %rax, %rdx: the status, behind the value in xmm0
    CODE(c, 0x48, 0x85, 0xD2);     // test %rdx, %rdx
    jump_to(c, JNE, done);
    switch (type) {
    case TY_INT:
        CODE(c, 0x48, 0x89, 0xC6); // mov %rax, %rsi
        CODE(c, 0x48, 0x01, 0xC0); // add %rax, %rax
        jump_to(c, JNO, done);
        break;
    case TY_FLOAT:
        break;
    case TY_BOOL:
        CODE(c, 0x48, 0x8D, 0x04, 0xC5, IMM_FALSE << 3 | TAG_IMM, 0, 0,
             0); // lea FALSE(,%rax,8), %rax
        jump_to(c, JUMP, done);
        return;
    default:
        jump_to(c, JUMP, done);
        return;
    }
    load(c, RDI, R15, offsetof(Machine, proc));
    address(c, RAX, type == TY_INT ? (uintptr_t)nosi_jit_box_int : (uintptr_t)nosi_jit_box_float);
    CODE(c, 0xFF, 0xD0);                                     // call *%rax
    CODE(c, 0x31, 0xD2);                                     // xor %edx, %edx
    CODE(c, 0x48, 0x3D, IMM_THROWN << 3 | TAG_IMM, 0, 0, 0); // cmp $VALUE_THROWN, %rax
    jump_to(c, JNE, done);
    store_const(c, R15, offsetof(Machine, raised), 1);
    CODE(c, 0xBA, STATUS_LEFT, 0, 0, 0); // mov $STATUS_LEFT, %edx
    jump_to(c, JUMP, done);
}

void nosi_entry_make(EntryCode *c, const JitFunc *link)
{
    const Signature *sig = &link->sig;
    Jumps decline = {.n = 0}, done = {.n = 0};
    Slow slow[MAX_SIGNATURE];
    int32_t frame = (int32_t)(stack_words(sig) | 1) * 8; // rsp is then a multiple of 16
    c->n = 0;
    // As MIR begins and ends what it makes: gdb.c knows it by these bytes.
    CODE(c, 0x48, 0x81, 0xEC); // sub $frame, %rsp
    put32(c, frame);
    move(c, R10, RDI);
    arguments(c, sig, slow, &decline);
    address(c, R11, (uintptr_t)&link->entry);
    load(c, R11, R11, 0);
    CODE(c, 0x4D, 0x85, 0xDB); // test %r11, %r11
    jump_to(c, JE, &decline);
    for (unsigned k = 0; k < sig->n; k++) // the callee's now: nobody else keeps them alive
        if (sig->param[k] == TY_ANY)
            store_const(c, R10, (int64_t)k * 8, 0);
    CODE(c, 0x41, 0xFF, 0xD3); // call *%r11
    result(c, (IrType)sig->result, &done);
    for (unsigned k = 0; k < sig->n; k++) {
        if (sig->param[k] != TY_INT)
            continue;
        land(c, slow[k].from);
        want_kind(c, OBJ_INT64, &decline);
        load(c, RAX, RAX, 8 - TAG_OBJECT);
        jump_back(c, slow[k].back);
    }
    land_all(c, &decline);
    address(c, R11, (uintptr_t)&link->next);
    load(c, R11, R11, 0);
    CODE(c, 0x4D, 0x85, 0xDB); // test %r11, %r11
    size_t none = jump(c, JE);
    move(c, RDI, R10);
    CODE(c, 0x48, 0x81, 0xC4); // add $frame, %rsp
    put32(c, frame);
    CODE(c, 0x41, 0xFF, 0xE3); // jmp *%r11
    land(c, none);
    CODE(c, 0x31, 0xC0);                     // xor %eax, %eax
    CODE(c, 0xBA, STATUS_DECLINED, 0, 0, 0); // mov $STATUS_DECLINED, %edx
    land_all(c, &done);
    CODE(c, 0x48, 0x81, 0xC4); // add $frame, %rsp
    put32(c, frame);
    CODE(c, 0xC3); // ret
}
