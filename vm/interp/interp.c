/* interp.c -- the interpreter: one label per row of opcodes.def, dispatch by computed goto.
 *
 * `base`, `f` (its function), `pc` and `budget` live in locals. SAVE() writes them to the process
 * before anything that may collect, raise, look at the stack or push a frame; RELOAD() reads them
 * back after anything that may have moved the stack or changed the frame. Fast paths are here; what
 * is longer than a few lines is a nosi_rt_ function (rtcalls.def), which machine code calls too.
 * Their results follow the protocol of natives (builtin.h), see AFTER. */
#include "vm/interp/interp.h"

#include "sched/mvar.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/record.h"
#include "vm/interp/frame.h"
#include "vm/interp/machine.h"
#include "vm/interp/rtcall.h"

HotHook *nosi_hot_hook;
uint32_t nosi_profile_hot = PROFILE_HOT;
MachineEnter *nosi_machine_enter;
_Thread_local Machine *nosi_machine;

/* Plain counters written by any worker: a lost count does not matter. They stop at PROFILE_MAX so
 * that a hot function's cache line is only read from then on. */
static NOS_NOINLINE void count_slow(Proc *p, Func *f, uint32_t *counter, const Instr *loop)
{
    uint32_t n = __atomic_load_n(counter, __ATOMIC_RELAXED) + 1;
    if (n < nosi_profile_hot) {
        __atomic_store_n(counter, n, __ATOMIC_RELAXED);
    } else if (nosi_hot_hook) {
        __atomic_store_n(counter, 0, __ATOMIC_RELAXED);
        nosi_hot_hook(p, f, loop);
    } else {
        __atomic_store_n(counter, PROFILE_MAX, __ATOMIC_RELAXED);
    }
}
#define COUNT(f, counter, loop)                                                            \
    do {                                                                                   \
        if (NOS_UNLIKELY(__atomic_load_n(&(f)->counter, __ATOMIC_RELAXED) != PROFILE_MAX)) \
            SAVE(), count_slow(p, (f), &(f)->counter, (loop));                             \
    } while (0)

/* Bytes of an instruction, at an even distance of `at` bytes from its start (little-endian layout
 * of INSTR_ABC and INSTR_AD). pc is behind it. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "instructions are read in parts");
#define OPERAND(T, at) (*(const T##_alias *)((const char *)pc - sizeof(Instr) + (at)))
typedef uint16_t __attribute__((may_alias)) uint16_t_alias;
typedef int16_t __attribute__((may_alias)) int16_t_alias;
typedef int32_t __attribute__((may_alias)) int32_t_alias;

static bool is_tail_call(Opcode op)
{
    return op == OP_TCALLC || op == OP_TCALLM;
}

/* THROWN, PARKED, TRAP and YIELD, but not ABSENT, which look-ups give as an ordinary result. */
NOS_INLINE bool is_special(Value v)
{
    return v.bits - VALUE_THROWN.bits <= VALUE_YIELD.bits - VALUE_THROWN.bits &&
           !value_is_absent(v) && (v.bits & TAG_MASK) == TAG_IMM;
}

#if defined(__GNUC__) && !defined(__clang__)
// gcc's common subexpression pass merges the indirect jumps, which costs the branch predictor its
// history. Value range and redundancy elimination split the few variables that live in registers
// into several copies, which every one of the 160 jumps then has to bring together again.
__attribute__((optimize("no-gcse", "no-crossjumping", "no-tree-vrp", "no-tree-pre")))
#endif
RunResult
nosi_run_slice(Proc *p, int32_t slice)
{
    static const void *const dispatch[OP__COUNT] = {
#define OP(name, ...) [OP_##name] = &&do_##name,
#include "vm/bytecode/opcodes.def"
#undef OP
    };
    Value *base;
    const Instr *pc;
    int32_t budget = slice;
    Value v;      // never has its address taken: it lives in a register
    Func *f, *to; // the running function = frame_func(base); one that is about to be called
    void *code;   // its machine code

// Operands of the running instruction, pc[-1]: read from memory, which is one instruction each
// where taking them out of a register is three.
#define A       (OPERAND(uint16_t, 2))
#define B       (OPERAND(uint16_t, 4))
#define C       (OPERAND(uint16_t, 6))
#define BS      (OPERAND(int16_t, 4))
#define CS      (OPERAND(int16_t, 6))
#define D       (OPERAND(int32_t, 4))
#define OPCODE  (INSTR_OP(pc[-1]))
#define R(x)    (base[x])
#define K(x)    (f->consts[x])
#define F(x, T) ((T *)f->refs[x])
#define NEXT                                  \
    do {                                      \
        pc++;                                 \
        goto *dispatch[OPERAND(uint16_t, 0)]; \
    } while (0)
#define SAVE()   (p->base = base, p->pc = pc, (void)(p->budget = budget))
#define RELOAD() (base = p->base, (void)(f = frame_func(base)))
#define JUMP(d)  (pc += (d))
// The result of a runtime call or native goes to R[a], unless it is not an ordinary value.
#define AFTER(call)                      \
    do {                                 \
        SAVE();                          \
        v = (call);                      \
        budget = p->budget;              \
        if (NOS_UNLIKELY(is_special(v))) \
            goto special;                \
        R(A) = v;                        \
        NEXT;                            \
    } while (0)
#define RAISE(call)   \
    do {              \
        SAVE();       \
        (void)(call); \
        goto raise;   \
    } while (0)
// Room for n words. Values in C variables are dead after it: read registers again. (Under stress a
// collection leaves exactly the words asked for, and whoever asks here takes them all: so every one
// collects, without a test of nosi_gc_stress.)
#define RESERVE(n)                                                               \
    do {                                                                         \
        if (NOS_UNLIKELY((size_t)(p->heap.limit - p->heap.top) < (size_t)(n))) { \
            SAVE();                                                              \
            if (!nosi_reserve(p, (n)))                                           \
                goto raise;                                                      \
        }                                                                        \
    } while (0)
#define BOTH_SMALL(x, y) (!(((x).bits | (y).bits) & 1))
#define BOTH_FLOAT(x, y) (value_is_float(x) && value_is_float(y))
#define NEW_FLOAT(d)                          \
    do {                                      \
        double d_ = (d);                      \
        RESERVE(FLOAT_WORDS);                 \
        R(A) = nosi_float_nogc(&p->heap, d_); \
        NEXT;                                 \
    } while (0)

    p->budget = budget;
    // Acquire pairs with the read-modify-write in nosi_signal.
    if (NOS_UNLIKELY(atomic_load_explicit(&p->signals, memory_order_acquire)) &&
        nosi_exit_by_signal(p))
        return RUN_EXITED;
    if (NOS_UNLIKELY(nosi_collect_is_due(p))) {
        if (!nosi_collect_due(p))
            return RUN_YIELD;
        budget = p->budget;
    }
    if (p->resuming) {
        WakeFn *fn = p->wake_fn;
        p->resuming = false;
        p->wake_fn = NULL;
        v = fn ? fn(p, p->wake_data) : VALUE_UNIT;
        budget = p->budget;
        RELOAD();
        pc = p->pc;
        goto deliver;
    }
    RELOAD();
    pc = p->pc;
    NEXT;

    /* ---- moves
     * ---------------------------------------------------------------------------------------------------
     */

do_MOVE:
    R(A) = R(B);
    NEXT;
do_LOADK:
    R(A) = K(D);
    NEXT;
do_LOADI:
    R(A) = value_small(D);
    NEXT;

    /* ---- arithmetic
     * ----------------------------------------------------------------------------------------------
     */

#define ARITH(NAME, builtin, op, rt)                                                          \
    do_##NAME:                                                                                \
    {                                                                                         \
        Value x = R(B), y = R(C);                                                             \
        int64_t r;                                                                            \
        if (NOS_LIKELY(BOTH_SMALL(x, y) && !builtin((int64_t)x.bits, (int64_t)y.bits, &r))) { \
            R(A) = (Value){(uint64_t)r};                                                      \
            NEXT;                                                                             \
        }                                                                                     \
        if (BOTH_FLOAT(x, y))                                                                 \
            NEW_FLOAT(value_float(x) op value_float(y));                                      \
        AFTER(rt(p, x, y));                                                                   \
    }                                                                                         \
    do_##NAME##_I:                                                                            \
    {                                                                                         \
        Value x = R(B), y = R(C);                                                             \
        int64_t r;                                                                            \
        if (NOS_LIKELY(BOTH_SMALL(x, y) && !builtin((int64_t)x.bits, (int64_t)y.bits, &r))) { \
            R(A) = (Value){(uint64_t)r};                                                      \
            NEXT;                                                                             \
        }                                                                                     \
        AFTER(rt(p, x, y));                                                                   \
    }                                                                                         \
    do_##NAME##_F:                                                                            \
    {                                                                                         \
        Value x = R(B), y = R(C);                                                             \
        if (NOS_LIKELY(BOTH_FLOAT(x, y)))                                                     \
            NEW_FLOAT(value_float(x) op value_float(y));                                      \
        AFTER(rt(p, x, y));                                                                   \
    }
// Small integers are doubled: sums and differences of doubled numbers are doubled sums; for a
// product one side is halved.
#define MUL_OVERFLOW(x, y, r) __builtin_mul_overflow((x) >> 1, (y), (r))
    ARITH(ADD, __builtin_add_overflow, +, nosi_rt_add)
    ARITH(SUB, __builtin_sub_overflow, -, nosi_rt_sub)
    ARITH(MUL, MUL_OVERFLOW, *, nosi_rt_mul)

do_DIV:
do_DIV_I : {
    Value x = R(B), y = R(C);
    if (BOTH_SMALL(x, y) && y.bits != 0 && (int64_t)y.bits != -2) {
        R(A) = value_small((int64_t)x.bits / (int64_t)y.bits);
        NEXT;
    }
    AFTER(nosi_rt_div(p, x, y));
}
do_DIV_F : {
    Value x = R(B), y = R(C);
    if (NOS_LIKELY(BOTH_FLOAT(x, y)))
        NEW_FLOAT(value_float(x) / value_float(y));
    AFTER(nosi_rt_div(p, x, y));
}
do_MOD:
do_MOD_I : {
    Value x = R(B), y = R(C);
    if (BOTH_SMALL(x, y) && y.bits != 0 && (int64_t)y.bits != -2) {
        R(A) = (Value){(uint64_t)((int64_t)x.bits % (int64_t)y.bits)};
        NEXT;
    }
    AFTER(nosi_rt_mod(p, x, y));
}
do_POW:
    AFTER(nosi_rt_pow(p, R(B), R(C)));
do_NEG : {
    Value x = R(B);
    if (value_is_small(x) && (int64_t)x.bits != INT64_MIN) {
        R(A) = (Value){0 - x.bits};
        NEXT;
    }
    AFTER(nosi_rt_neg(p, x));
}
do_ADDI_I : {
    Value x = R(B);
    int64_t r;
    if (NOS_LIKELY(value_is_small(x) &&
                   !__builtin_add_overflow((int64_t)x.bits, (int64_t)CS * 2, &r))) {
        R(A) = (Value){(uint64_t)r};
        NEXT;
    }
    AFTER(nosi_rt_add(p, x, value_small(CS)));
}
do_I2F : {
    Value x = R(B);
    if (value_is_small(x))
        NEW_FLOAT((double)value_small_int(x));
    AFTER(nosi_rt_i2f(p, x));
}
do_NOT : {
    Value x = R(B);
    if (NOS_LIKELY(value_is_bool(x))) {
        R(A) = value_bool(!value_is_true(x));
        NEXT;
    }
    RAISE(nosi_type_error(p, "Bool", x));
}
do_CONCAT:
    AFTER(nosi_rt_concat(p, R(B), R(C)));
do_CONCAT_O:
    AFTER(nosi_rt_concat_own(p, R(B), R(C)));

    /* ---- comparison
     * ----------------------------------------------------------------------------------------------
     */

#define COMPARE(NAME, op, rt)                                      \
    do_##NAME:                                                     \
    {                                                              \
        Value x = R(B), y = R(C);                                  \
        if (BOTH_SMALL(x, y)) {                                    \
            R(A) = value_bool((int64_t)x.bits op(int64_t) y.bits); \
            NEXT;                                                  \
        }                                                          \
        if (BOTH_FLOAT(x, y)) {                                    \
            R(A) = value_bool(value_float(x) op value_float(y));   \
            NEXT;                                                  \
        }                                                          \
        AFTER(rt(p, x, y));                                        \
    }
    COMPARE(EQ, ==, nosi_rt_eq)
    COMPARE(NE, !=, nosi_rt_ne)
    COMPARE(LT, <, nosi_rt_lt)
    COMPARE(LE, <=, nosi_rt_le)
    COMPARE(GT, >, nosi_rt_gt)
    COMPARE(GE, >=, nosi_rt_ge)

    /* ---- jumps
     * ---------------------------------------------------------------------------------------------------
     */

do_JMP:
    JUMP(D);
    NEXT;
do_LOOP:
    JUMP(D);
    if (NOS_UNLIKELY(--budget <= 0))
        goto yield;
    COUNT(f, n_loops, pc);
    {
        const OsrTable *osr = __atomic_load_n(&f->osr, __ATOMIC_ACQUIRE);
        if (NOS_UNLIKELY(osr) && (code = nosi_osr_find(osr, (uint32_t)(pc - f->code), base)))
            goto machine;
    }
    NEXT;
do_JT : {
    Value x = R(A);
    if (value_is_true(x))
        JUMP(D);
    else if (NOS_UNLIKELY(!value_is_bool(x)))
        RAISE(nosi_type_error(p, "Bool", x));
    NEXT;
}
do_JF : {
    Value x = R(A);
    if (x.bits == VALUE_FALSE.bits)
        JUMP(D);
    else if (NOS_UNLIKELY(!value_is_true(x)))
        RAISE(nosi_type_error(p, "Bool", x));
    NEXT;
}

#define JUMP_INT(NAME, op)                                             \
    do_##NAME##_I:                                                     \
    {                                                                  \
        Value x = R(A), y = R(B);                                      \
        if (NOS_LIKELY(BOTH_SMALL(x, y))) {                            \
            if ((int64_t)x.bits op(int64_t) y.bits)                    \
                JUMP(CS);                                              \
            NEXT;                                                      \
        }                                                              \
        if (NOS_UNLIKELY(!value_is_int(x) || !value_is_int(y)))        \
            RAISE(nosi_type_error(p, "Int", value_is_int(x) ? y : x)); \
        if (value_int(x) op value_int(y))                              \
            JUMP(CS);                                                  \
        NEXT;                                                          \
    }                                                                  \
    do_##NAME##_IK:                                                    \
    {                                                                  \
        Value x = R(A);                                                \
        if (NOS_LIKELY(value_is_small(x))) {                           \
            if ((int64_t)x.bits op(int64_t) BS * 2)                    \
                JUMP(CS);                                              \
            NEXT;                                                      \
        }                                                              \
        if (NOS_UNLIKELY(!value_is_int(x)))                            \
            RAISE(nosi_type_error(p, "Int", x));                       \
        if (value_int(x) op BS)                                        \
            JUMP(CS);                                                  \
        NEXT;                                                          \
    }
    JUMP_INT(JEQ, ==)
    JUMP_INT(JNE, !=)
    JUMP_INT(JLT, <)
    JUMP_INT(JGE, >=)
    JUMP_INT(JLE, <=)
    JUMP_INT(JGT, >)

    /* ---- patterns
     * ------------------------------------------------------------------------------------------------
     */

do_JNEQK : {
    Value x = R(A), k = K(B);
    // Equal words are the same literal; different words can only be equal when both are objects.
    if (!value_same(x, k) &&
        !(value_is_object(x) && value_is_object(k) && nosi_rt_is_literal(x, k)))
        JUMP(CS);
    NEXT;
}
do_JNEQ : {
    Value x = R(A), y = R(B);
    if (BOTH_SMALL(x, y)) {
        if (!value_same(x, y))
            JUMP(CS);
        NEXT;
    }
    SAVE();
    v = nosi_rt_jeq(p, x, y);
    budget = p->budget;
    if (NOS_UNLIKELY(is_special(v)))
        goto special;
    if (!value_is_true(v))
        JUMP(CS);
    NEXT;
}
do_JNNIL:
    if (!value_is_nil(R(A)))
        JUMP(D);
    NEXT;
do_JNCONS:
    if (!value_is_cons(R(A)))
        JUMP(D);
    NEXT;
do_JNTUPLE : {
    Value x = R(A);
    if (!value_is_kind(x, OBJ_TUPLE) || obj_words(value_obj(x)) != B)
        JUMP(CS);
    NEXT;
}
do_JNCTOR : {
    Value x = R(A);
    const CtorRef *ref = F(B, const CtorRef);
    bool is = value_is_object(x) ? obj_has_shape(value_obj(x), ref->shape)
                                 : x.bits == value_ctor(ref->shape).bits;
    // Shape 0 belongs to nobody: the constructor is told by its name.
    if (!is && (ref->shape || !nosi_rt_is_ctor(x, ref)))
        JUMP(CS);
    NEXT;
}
do_JNRANGE : {
    Value x = R(A);
    if (!value_is_int(x) || value_int(x) < value_int(K(B)) || value_int(x) > value_int(K(B + 1)))
        JUMP(CS);
    NEXT;
}
do_JNFIELD:
    if (!nosi_rt_has_field(R(A), F(B, const FieldRef)))
        JUMP(CS);
    NEXT;
do_JNMAP:
    if (!value_is_kind(R(A), OBJ_MAP))
        JUMP(D);
    NEXT;
do_JNSET:
    if (!value_is_kind(R(A), OBJ_SET))
        JUMP(D);
    NEXT;
do_JABSENT:
    if (value_is_absent(R(A)))
        JUMP(D);
    NEXT;
do_MAPFIND:
    AFTER(nosi_rt_mapfind(p, R(B), R(C)));
do_SETHAS:
    AFTER(nosi_rt_sethas(p, R(B), R(C)));
do_STRPFX:
    AFTER(nosi_rt_strpfx(p, R(B), K(C)));
do_SWITCH : {
    const SwitchTable *t = F(D, const SwitchTable);
    Value x = R(A);
    uint32_t id = 0;
    if (value_is_imm_kind(x, IMM_CTOR))
        id = (uint32_t)value_payload(x);
    else if (value_is_object(x) && obj_has_shape(value_obj(x), obj_aux(value_obj(x))))
        id = obj_aux(value_obj(x));
    else
        NEXT;
    const Shape *s = nosi_shape(id);
    if (s->type->id == t->type && s->index < t->n)
        JUMP(t->offset[s->index]);
    NEXT;
}

    /* ---- data
     * ----------------------------------------------------------------------------------------------------
     */

do_CONS : {
    RESERVE(CONS_WORDS);
    Value tail = R(C);
    if (NOS_UNLIKELY(!value_is_cons(tail) && !value_is_nil(tail)))
        RAISE(nosi_type_error(p, "List", tail));
    R(A) = nosi_cons_nogc(&p->heap, R(B), tail);
    NEXT;
}
do_HEAD : {
    Value x = R(B);
    if (NOS_UNLIKELY(!value_is_cons(x)))
        RAISE(nosi_rt_no_cell(p, x));
    R(A) = value_head(x);
    NEXT;
}
do_TAIL : {
    Value x = R(B);
    if (NOS_UNLIKELY(!value_is_cons(x)))
        RAISE(nosi_rt_no_cell(p, x));
    R(A) = value_tail(x);
    NEXT;
}
do_HEAD_U:
    R(A) = value_head(R(B));
    NEXT;
do_TAIL_U:
    R(A) = value_tail(R(B));
    NEXT;
do_TUPLE : {
    uint32_t n = C;
    RESERVE(n + 1);
    Object *o = nosi_heap_take_nogc(&p->heap, OBJ_TUPLE, 0, n);
    for (uint32_t k = 0; k < n; k++)
        o->word[k] = R(B + k).bits;
    R(A) = value_object(o);
    NEXT;
}
do_TUPGET : {
    Value x = R(B);
    if (NOS_LIKELY(value_is_kind(x, OBJ_TUPLE) && C < obj_words(value_obj(x)))) {
        R(A) = obj_value(value_obj(x), C);
        NEXT;
    }
    AFTER(nosi_rt_tupget(p, x, C));
}
do_NEW : {
    const Shape *s = F(C, const Shape);
    uint32_t n = s->n_fields;
    if (NOS_LIKELY(s->header)) {
        RESERVE(n + 1);
        Object *o = (Object *)p->heap.top;
        o->header = s->header;
        if (NOS_LIKELY(!s->raw_mask)) {
            for (uint32_t k = 0; k < n; k++)
                o->word[k] = R(B + k).bits;
        } else {
            const uint8_t *reps = s->field_reps;
            for (uint32_t k = 0; k < n; k++)
                if (NOS_UNLIKELY(!nosi_field_unbox((FieldRep)reps[k], R(B + k), &o->word[k])))
                    AFTER(nosi_rt_new(p, &R(B), s)); // nothing was taken yet; it raises
        }
        p->heap.top += n + 1;
        NOS_CHECK(p->heap.top <= p->heap.limit);
        R(A) = value_object(o);
        NEXT;
    }
    AFTER(nosi_rt_new(p, &R(B), s));
}

// Delivers word `index` of object o, stored as `rep`; goes on when that takes more than a line.
#define BOX_FIELD(o, index, rep)                             \
    do {                                                     \
        uint64_t w_ = (o)->word[index];                      \
        if (NOS_LIKELY((rep) == FIELD_VALUE)) {              \
            R(A) = (Value){w_};                              \
            NEXT;                                            \
        }                                                    \
        if ((rep) == FIELD_FLOAT) {                          \
            double float_;                                   \
            memcpy(&float_, &w_, sizeof float_);             \
            NEW_FLOAT(float_);                               \
        }                                                    \
        if ((rep) == FIELD_INT && small_fits((int64_t)w_)) { \
            R(A) = value_small((int64_t)w_);                 \
            NEXT;                                            \
        }                                                    \
    } while (0)
// What the slow path noted about a field whose shape is known statically.
#define NOTED_INDEX(noted) ((noted)&0xFFFFFF)
#define NOTED_REP(noted)   ((FieldRep)((noted) >> 24 & 0x7F))
do_FIELD : {
    const FieldRef *ref = F(C, const FieldRef);
    Value x = R(B);
    uint32_t noted = __atomic_load_n(&ref->index, __ATOMIC_RELAXED);
    if (NOS_LIKELY(noted & FIELD_NOTED && value_is_object(x))) {
        const Object *o = value_obj(x);
        if (NOS_LIKELY(obj_has_shape(o, ref->shape)))
            BOX_FIELD(o, NOTED_INDEX(noted), NOTED_REP(noted));
    }
    AFTER(nosi_rt_field(p, x, ref));
}
do_FIELD_U : {
    const Object *o = value_obj(R(B));
    FieldRep rep = FIELD_VALUE;
    if (obj_has_flag(o, OBJ_RAW))
        rep = (FieldRep)nosi_shape(obj_aux(o))->field_reps[C];
    BOX_FIELD(o, C, rep);
    AFTER(nosi_rt_field_at(p, R(B), C));
}
do_SETFIELD : {
    Value x = R(A), y = R(C);
    const FieldRef *ref = F(B, const FieldRef);
    uint32_t noted = __atomic_load_n(&ref->index, __ATOMIC_RELAXED);
    if (NOS_LIKELY(noted & FIELD_NOTED && value_is_object(x))) {
        Object *o = value_obj(x);
        if (NOS_LIKELY(obj_has_shape(o, ref->shape) && obj_has_flag(o, OBJ_MUTABLE))) {
            uint64_t *slot = &o->word[NOTED_INDEX(noted)];
            FieldRep rep = NOTED_REP(noted);
            if (rep == FIELD_VALUE) {
                nosi_heap_write(&p->heap, (Value *)slot, y);
                NEXT;
            }
            if (NOS_LIKELY(nosi_field_unbox(rep, y, slot)))
                NEXT;
        }
    }
    SAVE();
    v = nosi_rt_setfield(p, x, ref, y);
    if (NOS_UNLIKELY(is_special(v)))
        goto raise;
    NEXT;
}
do_INDEX : {
    Value x = R(B), k = R(C);
    if (value_is_object(x) && value_is_small(k)) {
        const Object *o = value_obj(x);
        uint32_t class = obj_class(o);
        uint64_t n = (uint64_t)value_small_int(k); // negative: huge
        if (class == OBJ_CLASS(OBJ_ARRAY, ELEM_I64) && NOS_LIKELY(n < o->word[ARRAY_LEN])) {
            int64_t e = ((const int64_t *)(uintptr_t)o->word[ARRAY_MEM])[n];
            if (NOS_LIKELY(small_fits(e))) {
                R(A) = value_small(e);
                NEXT;
            }
        } else if (class == OBJ_CLASS(OBJ_ARRAY, ELEM_F64) && NOS_LIKELY(n < o->word[ARRAY_LEN])) {
            NEW_FLOAT(((const double *)(uintptr_t)o->word[ARRAY_MEM])[n]);
        }
    }
    AFTER(nosi_rt_index(p, x, k));
}
do_SETINDEX : {
    Value x = R(B), k = R(C), y = R(C + 1);
    if (value_is_object(x) && value_is_small(k)) {
        const Object *o = value_obj(x);
        uint32_t class = obj_class(o);
        uint64_t n = (uint64_t)value_small_int(k);
        if (class == OBJ_CLASS(OBJ_ARRAY, ELEM_I64) && NOS_LIKELY(n < o->word[ARRAY_LEN]) &&
            value_is_small(y)) {
            ((int64_t *)(uintptr_t)o->word[ARRAY_MEM])[n] = value_small_int(y);
            R(A) = x;
            NEXT;
        }
        if (class == OBJ_CLASS(OBJ_ARRAY, ELEM_F64) && NOS_LIKELY(n < o->word[ARRAY_LEN]) &&
            value_is_float(y)) {
            ((double *)(uintptr_t)o->word[ARRAY_MEM])[n] = value_float(y);
            R(A) = x;
            NEXT;
        }
    }
    AFTER(nosi_rt_setindex(p, x, &R(C)));
}
do_LIST : {
    uint32_t n = C;
    RESERVE((size_t)n * CONS_WORDS);
    v = R(B + n);
    if (NOS_UNLIKELY(!value_is_cons(v) && !value_is_nil(v)))
        RAISE(nosi_type_error(p, "List", v));
    for (uint32_t k = n; k-- > 0;)
        v = nosi_cons_nogc(&p->heap, R(B + k), v);
    R(A) = v;
    NEXT;
}
do_MAP:
    AFTER(nosi_rt_map(p, &R(B), C));
do_SET:
    AFTER(nosi_rt_set(p, &R(B), C));
do_STRCAT:
    AFTER(nosi_rt_strcat(p, &R(B), C));
do_STRCAT_O:
    AFTER(nosi_rt_strcat_own(p, &R(B), C));
do_SETTAIL:
    nosi_heap_write(&p->heap, &value_cell(R(A))[1], R(B));
    NEXT;
do_FILL:
    nosi_heap_write(&p->heap, (Value *)&value_obj(R(A))->word[B], R(C));
    NEXT;

    /* ---- functions
     * -----------------------------------------------------------------------------------------------
     */

do_CLOSURE : {
    FuncCell *cell = F(C, FuncCell);
    const Func *of = cell_func(cell);
    uint32_t n = of ? of->n_captures : 0;
    RESERVE(n + 2);
    Object *o = nosi_heap_take_nogc(&p->heap, OBJ_CLOSURE, 0, n + 1);
    o->word[0] = (uint64_t)(uintptr_t)cell;
    for (uint32_t k = 0; k < n; k++)
        o->word[k + 1] = R(B + k).bits;
    R(A) = value_object(o);
    NEXT;
}
do_CAPTURE:
    R(A) = obj_value(value_obj(R(0)), B + 1);
    NEXT;
do_PATCHCAP:
    nosi_heap_write(&p->heap, (Value *)&value_obj(R(A))->word[B + 1], R(C));
    NEXT;
do_NEWCELL : {
    RESERVE(2);
    Object *o = nosi_heap_take_nogc(&p->heap, OBJ_CELL, 0, 1);
    o->word[0] = R(B).bits;
    R(A) = value_object(o);
    NEXT;
}
do_CELLGET:
    R(A) = obj_value(value_obj(R(B)), 0);
    NEXT;
do_CELLSET:
    nosi_heap_write(&p->heap, (Value *)&value_obj(R(A))->word[0], R(B));
    NEXT;

/* Enters `to` with its registers at base + dist, dist fixed by the caller; pc is the return
 * address.
 */
#define ENTER(dist, link)                                                                 \
    do {                                                                                  \
        Value *at_ = base + (dist);                                                       \
        if (NOS_UNLIKELY(at_ + to->n_regs > p->stack_high || p->depth >= p->max_depth)) { \
            SAVE();                                                                       \
            if (!nosi_frame_push(p, to, (dist), (link)))                                  \
                goto raise;                                                               \
            base = p->base;                                                               \
        } else {                                                                          \
            p->depth++;                                                                   \
            at_[-3] = (Value){(uint64_t)(uintptr_t)to};                                   \
            at_[-2] = (Value){(uint64_t)(uintptr_t)pc};                                   \
            at_[-1] = (link);                                                             \
            base = at_;                                                                   \
        }                                                                                 \
        goto start;                                                                       \
    } while (0)
/* The frame is replaced by one of `to`, whose n arguments are at R[from]. */
#define REPLACE(from, n)                                       \
    do {                                                       \
        uint32_t from_ = (from), n_ = (n);                     \
        for (uint32_t k_ = 0; k_ < n_; k_++)                   \
            R(k_) = R(from_ + k_);                             \
        if (NOS_UNLIKELY(base + to->n_regs > p->stack_high)) { \
            SAVE();                                            \
            if (!nosi_stack_room(p, to->n_regs))               \
                goto raise;                                    \
            base = p->base;                                    \
        }                                                      \
        base[-3] = (Value){(uint64_t)(uintptr_t)to};           \
        goto start;                                            \
    } while (0)

do_CALL:
    to = cell_func(F(C, FuncCell));
    if (NOS_UNLIKELY(!to))
        RAISE(nosi_rt_no_code(p, F(C, FuncCell)));
    ENTER(B + FRAME_HEADER, FRAME_LINK(B + FRAME_HEADER));
do_TCALL:
    to = cell_func(F(C, FuncCell));
    if (NOS_UNLIKELY(!to))
        RAISE(nosi_rt_no_code(p, F(C, FuncCell)));
    REPLACE(B + FRAME_HEADER, to->n_params);

start: // base[-3] is `to`, its arguments are in place
    f = to;
    pc = f->code;
    if (NOS_UNLIKELY(--budget <= 0))
        goto yield;
    COUNT(f, n_calls, NULL);
    code = __atomic_load_n(&f->entry, __ATOMIC_ACQUIRE);
    if (code)
        goto machine;
    NEXT;
machine: // the frame at base goes on in machine code
    SAVE();
    {
        MachineReturn r = nosi_machine_enter(p, code);
        budget = p->budget;
        v = r.value;
        if (NOS_LIKELY(r.result == MACHINE_RETURNED)) {
            base = p->base; // the stack may have moved
            goto return_value;
        }
        RELOAD();
        pc = p->pc;
        switch (r.result) {
        case MACHINE_SPECIAL:
            goto special;
        case MACHINE_YIELD:
            goto yield;
        case MACHINE_RAISE:
            goto raise;
        default:
            NEXT;
        }
    }

do_CALLC : {
    Value fn = R(B + FRAME_HEADER);
    if (NOS_LIKELY(value_is_kind(fn, OBJ_CLOSURE))) {
        to = cell_func((FuncCell *)(uintptr_t)value_obj(fn)->word[0]);
        if (NOS_LIKELY(to && to->n_params == C)) {
            // Without a closure register the frame starts one word higher and the header covers the
            // closure.
            uint32_t dist = B + FRAME_HEADER + !to->takes_self;
            ENTER(dist, FRAME_LINK(dist));
        }
    }
    Callee callee;
    SAVE();
    if (!nosi_call_resolve(p, B + FRAME_HEADER, C, &callee))
        goto raise;
    base = p->base;
    to = callee.func;
    if (!to) {
        v = callee.native->fn(p, base + callee.first);
        p->n_extra = 0;
        goto native_done;
    }
    ENTER(callee.first, FRAME_LINK(callee.first));
}
do_TCALLC : {
    Value fn = R(B + FRAME_HEADER);
    if (NOS_LIKELY(value_is_kind(fn, OBJ_CLOSURE))) {
        to = cell_func((FuncCell *)(uintptr_t)value_obj(fn)->word[0]);
        if (NOS_LIKELY(to && to->n_params == C))
            REPLACE(B + FRAME_HEADER + !to->takes_self, C + to->takes_self);
    }
    Callee callee;
    SAVE();
    if (!nosi_call_resolve(p, B + FRAME_HEADER, C, &callee))
        goto raise;
    base = p->base;
    to = callee.func;
    if (!to) {
        v = callee.native->fn(p, base + callee.first);
        p->n_extra = 0;
        goto native_done;
    }
    REPLACE((uint32_t)callee.first, callee.n_args);
}
do_CALLM : {
    Callee callee;
    SAVE();
    if (!nosi_method_resolve(p, F(C, MethodSite), B + FRAME_HEADER, &callee))
        goto raise;
    base = p->base;
    to = callee.func;
    if (!to) {
        v = callee.native->fn(p, base + callee.first);
        p->n_extra = 0;
        goto native_done;
    }
    ENTER(callee.first, FRAME_LINK(callee.first));
}
do_TCALLM : {
    Callee callee;
    SAVE();
    if (!nosi_method_resolve(p, F(C, MethodSite), B + FRAME_HEADER, &callee))
        goto raise;
    base = p->base;
    to = callee.func;
    if (!to) {
        v = callee.native->fn(p, base + callee.first);
        p->n_extra = 0;
        goto native_done;
    }
    REPLACE((uint32_t)callee.first, callee.n_args);
}
do_CALLB:
    SAVE();
    v = F(C, const Builtin)->fn(p, &R(B));
    budget = p->budget; // it may have charged for its work
    if (NOS_UNLIKELY(is_special(v)))
        goto special;
    R(A) = v;
    if (NOS_UNLIKELY(budget <= 0))
        goto yield;
    NEXT;
native_done: // its budget may have changed: charges, Process.yield
    budget = p->budget;
    if (NOS_UNLIKELY(is_special(v)))
        goto special;
deliver_value:
    if (NOS_UNLIKELY(is_tail_call(OPCODE)))
        goto return_value;
    R(A) = v;
    if (NOS_UNLIKELY(budget <= 0))
        goto yield;
    NEXT;

do_RET:
    v = R(A);
return_value : {
    Value link = base[-1];
    if (NOS_UNLIKELY((int64_t)link.bits < 0))
        goto return_special;
    pc = frame_ret(base);
    base -= link.bits >> 1;
    p->depth--;
    f = frame_func(base);
    R(A) = v;
    NEXT;
}

    /* ---- exceptions
     * ----------------------------------------------------------------------------------------------
     */

do_THROW:
    RAISE(nosi_throw(p, R(A)));
do_PANIC:
    RAISE(nosi_rt_panic_ref(p, F(B, const ErrorRef)));
do_CAST : {
    Value x = R(B);
    const CastRef *c = F(C, const CastRef);
    // TYPE_ANY never fails.
    if (NOS_UNLIKELY(c->type != TYPE_ANY && nosi_type_of(x) != c->type))
        AFTER(nosi_rt_cast(p, x, c));
    R(A) = x;
    NEXT;
}
do_ASSERT_BOOL:
    if (NOS_UNLIKELY(!value_is_bool(R(A))))
        RAISE(nosi_type_error(p, "Bool", R(A)));
    NEXT;

    /* ---- module variables
     * ---------------------------------------------------------------------------------------- */

#define MVAR_OP(call)                      \
    do {                                   \
        SAVE();                            \
        MvResult r_ = (call);              \
        if (NOS_UNLIKELY(r_ != MV_DONE)) { \
            if (r_ == MV_THROWN)           \
                goto raise;                \
            goto park_retry;               \
        }                                  \
    } while (0)
do_MVGET : {
    Value got;
    MVAR_OP(nosi_mvar_get(p, F(D, Mvar), &got));
    R(A) = got;
    NEXT;
}
do_MVSET:
    MVAR_OP(nosi_mvar_set(p, F(D, Mvar), R(A)));
    NEXT;
do_MVLOCK:
    MVAR_OP(nosi_mvar_lock(p, F(D, Mvar)));
    NEXT;
do_MVUNLOCK:
    SAVE();
    nosi_mvar_unlock(p, F(D, Mvar));
    NEXT;
do_TOPGET : {
    TopVar *t = F(C, TopVar);
    Value got;
    SAVE();
    switch (nosi_topvar_get(p, t, &got)) {
    case TOPGET_DONE:
        R(A) = got;
        NEXT;
    case TOPGET_PARKED:
        goto park_retry;
    case TOPGET_THROWN:
        goto raise;
    case TOPGET_EVALUATE:
        break;
    }
    to = cell_func(t->init);
    if (NOS_UNLIKELY(!to)) {
        nosi_topvar_reset(p, t);
        RAISE(nosi_rt_no_code(p, t->init));
    }
    if (NOS_UNLIKELY(!nosi_frame_push(p, to, B + FRAME_HEADER,
                                      FRAME_LINK_KIND(B + FRAME_HEADER, FRAME_TOPVAR)))) {
        nosi_topvar_reset(p, t);
        goto raise;
    }
    base = p->base;
    goto start;
}

    /* ---- processes
     * -----------------------------------------------------------------------------------------------
     */

do_SPAWN:
    AFTER(nosi_spawn(p, R(B), (SpawnKind)C));
do_SELF:
    R(A) = value_pid(p->serial);
    NEXT;
do_SEND : {
    Value pid = R(A);
    if (NOS_UNLIKELY(!value_is_imm_kind(pid, IMM_PID)))
        RAISE(nosi_type_error(p, "Pid", pid));
    p->budget = budget - 4;
    nosi_send(p, value_payload(pid), R(B)); // charges for the copy
    budget = p->budget;
    NEXT;
}
do_RECV:
    if (BS == 1) {
        Value ms = R(A);
        if (NOS_UNLIKELY(!value_is_int(ms)))
            RAISE(nosi_type_error(p, "Int", ms));
        nosi_recv_start(p, true, value_int(ms));
    } else {
        nosi_recv_start(p, false, 0);
    }
    NEXT;
do_RECVNEXT : {
    Value got;
    SAVE();
    switch (nosi_recv_next(p, &got)) {
    case RECV_MESSAGE:
        R(A) = got;
        NEXT;
    case RECV_TIMEOUT:
        JUMP(D);
        NEXT;
    case RECV_PARKED:
        goto park_retry;
    }
}
do_RECVTAKE:
    nosi_recv_take(p);
    NEXT;
do_RECVSKIP:
    nosi_recv_skip(p);
    budget--; // a loop over many messages: RECVNEXT jumps back without LOOP
    if (NOS_UNLIKELY(budget <= 0))
        goto yield;
    NEXT;

    /* ---- the ways out
     * --------------------------------------------------------------------------------------------
     */

special: // v: THROWN, PARKED, YIELD or TRAP
    RELOAD();
    if (value_is_thrown(v))
        goto raise;
    if (value_same(v, VALUE_PARKED))
        return RUN_PARKED; // p->pc is behind the instruction; the result is delivered to it
    if (value_same(v, VALUE_YIELD))
        return RUN_YIELD; // the same: p->wake_fn goes on in the next slice
    // TRAP: a function finishes the work, in a window above our registers.
    {
        const Trap *trap = &nosi_trap_slot;
        uint32_t n = trap->n_args;
        FrameKind kind = (FrameKind)trap->kind;
        size_t dist = (size_t)f->n_regs + FRAME_HEADER;
        if (kind == FRAME_PLAIN && is_tail_call(OPCODE))
            kind = FRAME_RETURN;
        if (kind == FRAME_PENDING) { // two words of state under the frame, see compare.c
            if (!nosi_stack_room(p, dist + PENDING_STATE))
                goto raise;
            base = p->base;
            R(f->n_regs) = trap->args[2];
            R(f->n_regs + 1) = trap->args[3];
            dist += PENDING_STATE;
            n = 2;
        }
        to = cell_func(trap->func);
        if (NOS_UNLIKELY(!to || to->n_params != n || to->takes_self))
            RAISE(nosi_rt_no_code(p, trap->func));
        SAVE();
        if (!nosi_stack_room(p, dist + NOS_MAX(n, to->n_regs)))
            goto raise;
        for (uint32_t k = 0; k < n; k++)
            p->base[dist + k] = trap->args[k];
        if (!nosi_frame_push(p, to, dist,
                             kind == FRAME_PLAIN ? FRAME_LINK(dist) : FRAME_LINK_KIND(dist, kind)))
            goto raise;
        base = p->base;
        goto start;
    }

deliver: // v: what a resumed process waited for; pc[-1]: the instruction that waits
    if (NOS_UNLIKELY(is_special(v)))
        goto special;
    if (OPCODE == OP_JNEQ)
        goto deliver_jneq;
    goto deliver_value;
deliver_jneq:
    if (!value_is_true(v))
        JUMP(CS);
    NEXT;

return_special : { // v returns from a frame that is not a plain call
    FrameKind kind = frame_kind(base[-1]);
    if (kind == FRAME_FIRST || kind == FRAME_UNCAUGHT) {
        SAVE();
        p->exc = v;
        p->exit_kind = EXIT_VALUE;
        return RUN_EXITED;
    }
    pc = frame_ret(base);
    base -= frame_distance(base[-1]);
    p->depth--;
    f = frame_func(base);
    if (kind == FRAME_TOPVAR) {
        SAVE();
        nosi_topvar_done(p, F(C, TopVar), v);
    } else {
        SAVE();
        v = nosi_rt_finish(p, kind, v);
        budget = p->budget;
        if (NOS_UNLIKELY(is_special(v)))
            goto special;
        if (OPCODE == OP_JNEQ)
            goto deliver_jneq;
    }
    goto deliver_value;
}

raise: // p->exc is set, p->base and p->pc are current
    if (!nosi_unwind(p))
        return RUN_EXITED;
    RELOAD();
    pc = p->pc;
    NEXT;

park_retry: // the instruction runs again when the process is woken
    p->base = base;
    p->pc = pc - 1;
    return RUN_PARKED;

yield:
    SAVE();
    return RUN_YIELD;
}
