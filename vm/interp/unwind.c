/* unwind.c -- frames: pushing them, adapting arguments to callees, unwinding to handlers. */
#include "sched/mvar.h"
#include "sched/sched.h"
#include "sched/trace.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/show.h"
#include "vm/interp/frame.h"
#include "vm/interp/rtcall.h"
#include "vm/util/alloc.h"
#include "vm/util/vec.h"

/* ---- the stack
 * -----------------------------------------------------------------------------------------------
 */

bool nosi_stack_room(Proc *p, size_t words)
{
    size_t base = (size_t)(p->base - p->stack), need = base + words;
    size_t have = (size_t)(p->stack_end - p->stack);
    if (NOS_UNLIKELY(need > have)) {
        size_t n = have;
        while (n < need)
            n *= 2;
        if (n > MAX_STACK_WORDS) {
            nosi_throw_kind(p, "StackOverflow", "stack overflow");
            return false;
        }
        p->stack = nosi_realloc(p->stack, n * sizeof *p->stack);
        memset(p->stack + have, 0, (n - have) * sizeof *p->stack);
        p->base = p->stack + base;
        p->stack_end = p->stack + n;
        p->stack_high = p->stack + NOS_MIN(n, need + need / 2); // zeroes above are good registers
    } else if (p->stack + need > p->stack_high) {
        p->stack_high = p->stack + NOS_MIN(have, need + need / 2);
    }
    return true;
}

bool nosi_frame_push(Proc *p, Func *f, size_t dist, Value link)
{
    if (NOS_UNLIKELY(p->depth >= p->max_depth)) {
        nosi_throw_kind(p, "StackOverflow", "stack overflow");
        return false;
    }
    if (NOS_UNLIKELY(p->base + dist + f->n_regs > p->stack_high) &&
        !nosi_stack_room(p, dist + f->n_regs))
        return false;
    Value *to = p->base + dist;
    to[-3] = (Value){(uint64_t)(uintptr_t)f};
    to[-2] = (Value){(uint64_t)(uintptr_t)p->pc};
    to[-1] = link;
    p->base = to;
    p->depth++;
    return true;
}

/* ---- callees
 * -------------------------------------------------------------------------------------------------
 */

static bool wrong_count(Proc *p, const char *name, bool is_lambda, unsigned want, unsigned got)
{
    if (is_lambda)
        nosi_panic(p, "Lambda expected %u argument(s) but got %u", want, got);
    else
        nosi_panic(p, "Function '%s' expected %u argument(s) but got %u", name, want, got);
    return false;
}

static bool is_tuple_of(Value v, uint32_t n)
{
    return value_is_kind(v, OBJ_TUPLE) && obj_words(value_obj(v)) == n;
}

/* Replaces the tuple in p->base[at] by its n elements. */
static bool spread(Proc *p, size_t at, uint32_t n)
{
    if (!nosi_stack_room(p, at + n))
        return false;
    const Object *o = value_obj(p->base[at]);
    for (uint32_t k = 0; k < n; k++)
        p->base[at + k] = obj_value(o, k);
    return true;
}

/* Keeps a native's arguments alive although they reach above the frame's registers. */
static void cover(Proc *p, size_t end)
{
    size_t n = frame_func(p->base)->n_regs;
    p->n_extra = end > n ? (uint32_t)(end - n) : 0;
}

bool nosi_call_resolve(Proc *p, size_t at, uint32_t n, Callee *out)
{
    Value fn = p->base[at];
    if (value_is_kind(fn, OBJ_NATIVE)) {
        const Builtin *b = (const Builtin *)(uintptr_t)value_obj(fn)->word[0];
        if (n == 1 && b->n_params > 1 && is_tuple_of(p->base[at + 1], b->n_params)) {
            n = b->n_params;
            if (!spread(p, at + 1, n))
                return false;
        }
        if (n != b->n_params)
            return wrong_count(p, b->name, false, b->n_params, n);
        *out = (Callee){.native = b, .first = at + 1, .n_args = n};
        cover(p, at + 1 + n);
        return true;
    }
    if (!value_is_kind(fn, OBJ_CLOSURE)) {
        nosi_type_error(p, "Function", fn);
        return false;
    }
    FuncCell *cell = (FuncCell *)(uintptr_t)value_obj(fn)->word[0];
    Func *f = cell_func(cell);
    if (f && n == 1 && f->n_params > 1 && is_tuple_of(p->base[at + 1], f->n_params)) {
        n = f->n_params;
        if (!spread(p, at + 1, n))
            return false;
    }
    if (f && n < f->n_params && n >= f->n_required)
        f = cell_func(cell = f->variants[n - f->n_required]);
    if (!f) {
        nosi_rt_no_code(p, cell);
        return false;
    }
    if (n != f->n_params)
        return wrong_count(p, f->cell->name, f->is_lambda, f->n_params, n);
    *out = (Callee){.func = f, .first = at + !f->takes_self, .n_args = n + f->takes_self};
    return true;
}

static bool fits(const Candidate *c, const Value *args, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        if (c->types[k] != TYPE_ANY && nosi_type_of(args[k]) != c->types[k])
            return false;
    return true;
}

/* A choice may be cached by the receiver's type if it and all candidates before it depend on that
 * type alone. A field candidate depends on the constructor too. */
static bool tests_receiver_only(const MethodSite *site, uint32_t upto)
{
    for (uint32_t i = 0; i <= upto; i++) {
        if (site->cands[i].kind == CAND_FIELD)
            return false;
        for (uint32_t k = 1; k < site->n_args; k++)
            if (site->cands[i].types && site->cands[i].types[k] != TYPE_ANY)
                return false;
    }
    return true;
}

/* The value of the receiver's field, or ABSENT. Function fields are never raw. */
static Value function_field(Value receiver, Name name)
{
    if (!value_is_kind(receiver, OBJ_RECORD) && !value_is_kind(receiver, OBJ_VARIANT))
        return VALUE_ABSENT;
    const Shape *s = nosi_shape(obj_aux(value_obj(receiver)));
    for (uint32_t k = 0; s->field_names && k < s->n_fields; k++)
        if (s->field_names[k] == name && s->field_reps[k] == FIELD_VALUE)
            return obj_value(value_obj(receiver), k);
    return VALUE_ABSENT;
}

const Candidate *nosi_method_choose(MethodSite *site, const Value *args)
{
    uint32_t n = site->n_args;
    uint64_t type = n ? nosi_type_of(args[0]) : 0;
    // Relaxed: the word is complete in itself, candidates are fixed.
    uint64_t cached = atomic_load_explicit(&site->cache, memory_order_relaxed);
    uint32_t i = site->n_cands;

    if (cached && cached >> 32 == type) {
        i = (uint32_t)cached - 1;
    } else {
        for (i = 0; i < site->n_cands; i++) {
            const Candidate *c = &site->cands[i];
            if (!c->types || fits(c, args, n)) {
                if (c->kind == CAND_FIELD && value_is_absent(function_field(args[0], c->field)))
                    continue;
                break;
            }
        }
        if (i < site->n_cands && n && tests_receiver_only(site, i))
            atomic_store_explicit(&site->cache, type << 32 | (i + 1), memory_order_relaxed);
    }
    return i < site->n_cands ? &site->cands[i] : NULL;
}

bool nosi_method_resolve(Proc *p, MethodSite *site, size_t at, Callee *out)
{
    Value *args = p->base + at;
    uint32_t n = site->n_args;
    const Candidate *c = nosi_method_choose(site, args);
    if (!c) {
        nosi_panic(p, "no method `%s` found for type `%s`", site->name,
                   n ? nosi_type_name(args[0]) : "()");
        return false;
    }
    if (c->kind == CAND_FIELD) {
        args[0] = function_field(args[0], c->field);
        return nosi_call_resolve(p, at, n - 1, out);
    }
    if (c->kind == CAND_BUILTIN) {
        *out = (Callee){.native = c->builtin, .first = at, .n_args = n};
        return true;
    }
    Func *f = cell_func(c->func);
    if (!f) {
        nosi_rt_no_code(p, c->func);
        return false;
    }
    if (f->n_params != n || f->takes_self)
        return wrong_count(p, f->cell->name, f->is_lambda, f->n_params, n);
    *out = (Callee){.func = f, .first = at, .n_args = n};
    return true;
}

/* ---- exceptions
 * ---------------------------------------------------------------------------------------------- */

/* Was p->exc caught in this very frame before? Then this is the `catch` without a fitting arm
 * passing it on. */
static bool is_rethrown(const Proc *p)
{
    return p->exc_trace && p->extra && p->extra->caught_depth == p->depth &&
           value_is_pointer(p->exc) && value_same(p->exc, p->extra->caught);
}

static bool has_user_show(Value v)
{
    ValueVec parts = {0};
    nosi_show_pending(v, &parts);
    bool any = parts.n > 0;
    vec_free(&parts);
    return any;
}

/* Nobody catches p->exc. When its text needs user code, that runs in place of the first frame,
 * which p->base is at, and the process ends a little later: nosi_proc_exit puts exception and trace
 * back. What fails in there gets here again and ends it at once, with the built-in text. */
static bool show_uncaught(Proc *p)
{
    FuncCell *cell = nosi_lib_funcs[LIB_UNCAUGHT_USER];
    Func *f = cell ? cell_func(cell) : NULL;
    Value exc = p->exc;
    if (!f || frame_kind(p->base[-1]) == FRAME_UNCAUGHT || !has_user_show(exc))
        return false;
    if (!nosi_stack_room(p, 2 + (size_t)f->n_regs))
        return false;
    nosi_mvars_unwind(p, 0, 0, UINT32_MAX); // nobody waits for them longer than necessary
    p->base[-3] = exc;
    p->base[-2] = (Value){(uint64_t)(uintptr_t)p->exc_trace};
    p->exc_trace = NULL;
    p->base += 2;
    p->base[-3] = (Value){(uint64_t)(uintptr_t)f};
    p->base[-2] = VALUE_ZERO;
    p->base[-1] = FRAME_LINK_KIND(0, FRAME_UNCAUGHT);
    p->base[0] = exc;
    p->pc = f->code;
    return true;
}

bool nosi_unwind(Proc *p)
{
    if (!is_rethrown(p)) {
        nosi_trace_free(p->exc_trace);
        p->exc_trace = nosi_trace_capture(p);
    }
    if (p->exit_kind != EXIT_NONE) // out of memory: nobody catches that
        return false;
    for (;;) {
        const Func *f = frame_func(p->base);
        uint32_t pc = (uint32_t)(p->pc - f->code);
        pc = pc ? pc - 1 : 0; // p->pc is the next instruction, except before the first
        for (uint32_t k = 0; k < f->n_handlers; k++) {
            const Handler *h = &f->handlers[k];
            if (pc >= h->start && pc < h->end) {
                if (p->locks)
                    nosi_mvars_unwind(p, p->depth, h->start, h->end);
                p->base[h->reg] = p->exc;
                ProcExtra *extra = nosi_proc_extra(p);
                extra->caught = p->exc;
                extra->caught_depth = p->depth;
                p->pc = f->code + h->handler;
                return true;
            }
        }
        const Instr *ret = frame_ret(p->base);
        if (!ret) {
            if (show_uncaught(p))
                return true;
            p->exit_kind = EXIT_EXCEPTION;
            return false;
        }
        bool is_topvar = frame_is_special(p->base) && frame_kind(p->base[-1]) == FRAME_TOPVAR;
        p->base -= frame_distance(p->base[-1]);
        p->pc = ret;
        p->depth--;
        if (is_topvar)
            nosi_topvar_reset(p, frame_func(p->base)->refs[INSTR_C(ret[-1])]);
    }
}

bool nosi_exit_by_signal(Proc *p)
{
    uint32_t s = atomic_load_explicit(&p->signals, memory_order_acquire);
    if (s & SIGNAL_INSPECT)
        nosi_inspect_answer(p);
    if (!(s & SIGNALS_FATAL))
        return false;
    p->exit_kind = s & SIGNAL_INTERRUPT ? EXIT_INTERRUPTED
                   : s & SIGNAL_KILL    ? EXIT_KILLED
                                        : EXIT_LINK;
    return true;
}
