/* lower_call.c -- calls of every kind, constructors, tail calls, tail calls modulo constructor,
 * spawn.
 *
 * A tail call of the function being compiled is a loop: arguments become parameters, LOOP to the
 * entry.
 *
 * Tail call modulo constructor (decision 31): in `[x | f(t)]` (or a constructor whose last argument
 * is the call) in tail position of f, the cell is made first, with a hole, and the call fills the
 * hole. A function with such a site has its body twice: the first copy runs until the first cell
 * exists (trmc_root) and continues in the second, where `trmc_dest` is the cell with the hole:
 * there every result goes into the hole and trmc_root is returned. No frame, no wrapper function.
 */
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/value/shape.h"

Args nosi_cg_args(Fn *f, Expr *e)
{
    Target *t = e->target;
    if (t && t->args)
        return (Args){t->args, t->n_args, t->eval_order, t->n_eval};
    Arena *a = &f->c->scratch;
    Args out = {0};
    if (e->kind == EXPR_BINARY || e->kind == EXPR_INDEX || e->kind == EXPR_NEG) {
        out.n = e->kind == EXPR_NEG ? 1 : 2;
        out.at = ARENA_ARRAY(a, Expr *, 2);
        out.at[0] = e->a;
        out.at[1] = e->b;
        return out;
    }
    out.n = e->args.n;
    out.at = ARENA_ARRAY(a, Expr *, out.n + 1);
    for (uint32_t i = 0; i < out.n; i++)
        out.at[i] = e->args.at[i].value;
    return out;
}

static Type *function_type(Function *fn)
{
    Type *t = fn && fn->scheme ? nosi_prune(fn->scheme->type) : NULL;
    return t && t->kind == TY_FUN ? t : NULL;
}

static void eval_arg(Fn *f, const Args *a, uint32_t i, uint32_t to, Type *fun)
{
    if (!a->at[i])
        return;
    nosi_cg_to(f, a->at[i], to);
    if (fun && i < fun->n)
        nosi_cg_cast(f, to, a->at[i]->type, fun->args[i]);
}

void nosi_cg_eval_arg(Fn *f, const Args *a, uint32_t i, uint32_t to, Function *fn)
{
    eval_arg(f, a, i, to, function_type(fn));
}

/* Argument i goes to base + i. */
static void eval_args(Fn *f, const Args *a, uint32_t base, Type *fun)
{
    if (!a->order) {
        for (uint32_t i = 0; i < a->n; i++)
            eval_arg(f, a, i, base + i, fun);
        return;
    }
    for (uint32_t k = 0; k < a->n_order; k++)
        if (a->order[k] < a->n)
            eval_arg(f, a, a->order[k], base + a->order[k], fun);
}

static uint32_t evaluation_index(const Args *a, uint32_t k)
{
    return a->order ? a->order[k] : k;
}

static uint32_t n_evaluated(const Args *a)
{
    return a->order ? a->n_order : a->n;
}

void nosi_cg_finish_call(Fn *f, Opcode op, uint32_t w, uint32_t operand, Expr *e, Dst d)
{
    bool cast = nosi_cg_is_dyn(e->type) && nosi_cg_is_concrete(f->result) &&
                nosi_type_id(f->result) != TYPE_ANY;
    nosi_cg_at(f, e->kind == EXPR_METHOD && e->op_span.file ? e->op_span : e->span);
    if (d.kind == DST_TAIL && !f->trmc_into && !cast) {
        Opcode tail = op == OP_CALL ? OP_TCALL : op == OP_CALLC ? OP_TCALLC : OP_TCALLM;
        nosi_cg_abc(f, tail, 0, w, operand);
        return;
    }
    uint32_t to = d.kind == DST_REG ? d.reg : w;
    nosi_cg_abc(f, op, to, w, operand);
    nosi_cg_hint(f, e->type);
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
}

/* ---- direct calls ---------------------------------------------------------------------------- */

uint32_t nosi_cg_n_required(const Function *fn)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < fn->n_params; i++)
        if (!fn->params[i].default_value)
            n = i + 1;
    return n;
}

void nosi_cg_eval_default(Fn *f, Function *fn, uint32_t k, uint32_t base)
{
    Value v;
    if (nosi_cg_literal(f, fn->params[k].default_value, &v)) {
        nosi_cg_loadk(f, base + k, v);
        return;
    }
    uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER + k);
    for (uint32_t i = 0; i < k; i++)
        nosi_cg_move(f, w + FRAME_HEADER + i, base + i);
    nosi_cg_abc(f, OP_CALL, base + k, w, nosi_cg_ref(f, nosi_cg_default_cell(f->c, fn, k)));
    f->top = top;
}

/* The text of a type argument for parameter k. */
static void type_text(Fn *f, const Expr *e, const Function *fn, uint32_t k, uint32_t to)
{
    const Target *t = e->target;
    uint32_t i = fn->params[k].text_of - 1;
    if (t->type_texts) {
        nosi_cg_to(f, t->type_texts[i], to);
        return;
    }
    StrBuf text = {0};
    nosi_type_arg_text(&text, t->type_args[i]);
    nosi_cg_loadk(f, to, nosi_cg_string(f->c, nosi_strbuf_cstr(&text), text.n));
    nosi_strbuf_free(&text);
}

static void call_function(Fn *f, Expr *e, Function *fn, Dst d)
{
    Args a = nosi_cg_args(f, e);
    uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER + NOS_MAX(fn->n_params, a.n)),
             base = w + FRAME_HEADER;
    eval_args(f, &a, base, function_type(fn));
    nosi_cg_at(f, e->span);
    for (uint32_t i = 0; i < fn->n_params; i++)
        if (i >= a.n || !a.at[i]) {
            if (fn->params[i].text_of && e->target &&
                (e->target->type_texts || e->target->type_args))
                type_text(f, e, fn, i, base + i);
            else if (fn->params[i].default_value)
                nosi_cg_eval_default(f, fn, i, base);
            else
                nosi_cg_unit(f, base + i);
        }
    nosi_cg_finish_call(f, OP_CALL, w, nosi_cg_ref(f, nosi_cg_function_cell(f->c, fn)), e, d);
    f->top = top;
}

static void call_operator(Fn *f, Expr *e, Dst d)
{
    Target *t = e->target;
    if (!t->negate && !t->compare_op) {
        call_function(f, e, t->func, d);
        return;
    }
    uint32_t top = f->top, to = nosi_cg_alloc(f, 1);
    call_function(f, e, t->func, TO_REG(to));
    if (t->compare_op) { // compare(a, b) against 0
        static const Opcode op[] = {OP_EQ, OP_NE, OP_LT, OP_GT, OP_LE, OP_GE};
        uint32_t zero = nosi_cg_alloc(f, 1);
        nosi_cg_loadk(f, zero, value_small(0));
        nosi_cg_abc(f, op[e->op - BIN_EQ], to, to, zero);
    }
    if (t->negate)
        nosi_cg_abc(f, OP_NOT, to, to, 0);
    nosi_cg_put(f, d, to, e->type);
    f->top = top;
}

/* ---- natives --------------------------------------------------------------------------------- */

/* Natives that are instructions. */
typedef enum {
    SP_UNARY,
    SP_THROW,
    SP_SELF,
    SP_SEND,
    SP_SPAWN,
    SP_SAME,
    SP_TO_FLOAT,
    SP_TO_INT
} SpecialKind;
static const struct Special {
    const char *name;
    uint8_t n_params;
    SpecialKind kind;
    unsigned op; // UNARY: opcode; SPAWN: SpawnKind
} specials[] = {
    {"throw", 1, SP_THROW, 0},
    {"self", 0, SP_SELF, 0},
    {"send", 2, SP_SEND, 0},
    {"head", 1, SP_UNARY, OP_HEAD},
    {"tail", 1, SP_UNARY, OP_TAIL},
    {"spawn", 1, SP_SPAWN, SPAWN_PLAIN},
    {"spawn_link", 1, SP_SPAWN, SPAWN_LINK},
    {"spawn_monitor", 1, SP_SPAWN, SPAWN_MONITOR},
    {"assertType", 1, SP_SAME, 0},
    {"toFloat", 1, SP_TO_FLOAT, 0},
    {"asFloat", 1, SP_TO_FLOAT, 0},
    {"toFloat64", 1, SP_TO_FLOAT, 0},
    {"toInt", 1, SP_TO_INT, 0},
    {"asInt", 1, SP_TO_INT, 0},
};

static const struct Special *find_special(const Builtin *b)
{
    for (size_t i = 0; i < NOS_COUNT(specials); i++)
        if (specials[i].n_params == b->n_params && strcmp(specials[i].name, b->name) == 0)
            return &specials[i];
    return NULL;
}

/* False: an ordinary native call after all. */
static bool special_call(Fn *f, Expr *e, const struct Special *s, const Args *a, Dst d)
{
    uint32_t top = f->top, to = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1), r;
    Type *arg = a->n && a->at[0] ? a->at[0]->type : NULL;
    if (a->n != s->n_params)
        return false;
    switch (s->kind) {
    case SP_TO_FLOAT:
        if (!nosi_cg_is(arg, TC_INT)) {
            f->top = top;
            return false;
        }
        r = nosi_cg_any(f, a->at[0]);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_I2F, to, r, 0);
        break;
    case SP_TO_INT:
        if (!nosi_cg_is(arg, TC_INT)) {
            f->top = top;
            return false;
        }
        NOS_FALLTHROUGH;
    case SP_SAME:
        nosi_cg_expr(f, a->at[0], d);
        f->top = top;
        return true;
    case SP_UNARY:
        r = nosi_cg_any(f, a->at[0]);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, (Opcode)s->op, to, r, 0);
        nosi_cg_hint(f, e->type);
        break;
    case SP_THROW:
        r = nosi_cg_any(f, a->at[0]);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_THROW, r, 0, 0);
        break;
    case SP_SELF:
        nosi_cg_abc(f, OP_SELF, to, 0, 0);
        break;
    case SP_SEND: {
        uint32_t pid = nosi_cg_value_kept(f, a->at[0], &a->at[1], 1);
        r = nosi_cg_any(f, a->at[1]);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_SEND, pid, r, 0);
        f->top = top;
        nosi_cg_put_unit(f, d);
        return true;
    }
    case SP_SPAWN:
        r = nosi_cg_any(f, a->at[0]);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_SPAWN, to, r, s->op);
        break;
    }
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
    f->top = top;
    return true;
}

void nosi_cg_builtin(Fn *f, const char *name, uint32_t base, uint32_t n, uint32_t to)
{
    const Builtin *b = nosi_builtin_find(nosi_intern_cstr(name), n);
    if (!b)
        nosi_fatal("the compiler needs the native %s/%u", name, n);
    nosi_cg_abc(f, OP_CALLB, to, base, nosi_cg_ref(f, b));
}

static void call_builtin(Fn *f, Expr *e, const Builtin *b, Dst d)
{
    Args a = nosi_cg_args(f, e);
    const struct Special *s = find_special(b);
    if (s && special_call(f, e, s, &a, d))
        return;
    uint32_t top = f->top, n = NOS_MAX(b->n_params, a.n), base = nosi_cg_alloc(f, n ? n : 1);
    eval_args(f, &a, base, NULL);
    nosi_cg_at(f, e->kind == EXPR_METHOD && e->op_span.file ? e->op_span : e->span);
    uint32_t to = d.kind == DST_REG ? d.reg : base;
    nosi_cg_abc(f, OP_CALLB, to, base, nosi_cg_ref(f, b));
    nosi_cg_hint(f, e->type);
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
    f->top = top;
}

/* ---- construction ---------------------------------------------------------------------------- */

static void construct(Fn *f, Expr *e, Ctor *k, Dst d)
{
    Args a = nosi_cg_args(f, e);
    uint32_t top = f->top, to = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1);
    Shape *s = nosi_cg_shape(f->c, k);
    if (k->n_fields == 0) {
        nosi_cg_loadk(f, to, value_ctor(s->id));
    } else {
        uint32_t base;
        bool cast = k->field_types && a.n && a.at[0] && nosi_cg_is_dyn(a.at[0]->type) &&
                    nosi_cg_is_concrete(k->field_types[0]);
        if (k->n_fields == 1 && a.n == 1 && !cast) {
            base = nosi_cg_any(f, a.at[0]);
        } else {
            Type fields = {
                .kind = TY_FUN, .n = k->field_types ? k->n_fields : 0, .args = k->field_types};
            base = nosi_cg_alloc(f, NOS_MAX(k->n_fields, a.n));
            eval_args(f, &a, base, &fields);
        }
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_NEW, to, base, nosi_cg_ref(f, s));
    }
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
    f->top = top;
}

/* P(base, f: v): a copy with some fields replaced. */
static void update(Fn *f, Expr *e, Dst d)
{
    Target *t = e->target;
    Ctor *k = t->ctor;
    Shape *s = nosi_cg_shape(f->c, k);
    uint32_t top = f->top, to = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1);
    uint32_t rec = nosi_cg_value_kept(f, t->base, t->args, t->n_args),
             base = nosi_cg_alloc(f, k->n_fields);
    for (uint32_t i = 0; i < k->n_fields && i < t->n_args; i++)
        if (t->args[i])
            nosi_cg_to(f, t->args[i], base + i);
    nosi_cg_at(f, e->span);
    for (uint32_t i = 0; i < k->n_fields; i++) {
        if (i < t->n_args && t->args[i])
            continue;
        if (k->has_named)
            nosi_cg_abc(f, OP_FIELD, base + i, rec,
                        nosi_cg_field_ref(f, k->fields->at[i].name, s->id, i));
        else
            nosi_cg_abc(f, OP_TUPGET, base + i, rec, i);
    }
    nosi_cg_abc(f, OP_NEW, to, base, nosi_cg_ref(f, s));
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
    f->top = top;
}

/* ---- function values ------------------------------------------------------------------------- */

static Local *callee_local(Expr *e)
{
    if (e->kind == EXPR_METHOD)
        return e->local;
    return e->a && e->a->kind == EXPR_NAME ? e->a->local : NULL;
}

/* The local function of a call that is known to be it. */
static Job *known_callee(Fn *f, Expr *e)
{
    Local *l = callee_local(e);
    FuncCell *cell = l ? nosi_cg_static_fn(f, l) : NULL;
    return cell ? nosi_hashmap_get(&f->c->cell_jobs, cell) : NULL;
}

static bool all_given(const Args *a)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (!a->at[i])
            return false;
    return true;
}

/* A missing argument of a local function that others follow: only literals can be filled in here,
 * the general case would need the function's own scope. */
static void local_default(Fn *f, Local *l, uint32_t i, uint32_t to)
{
    Value v;
    FnClause *c = l && l->fn && l->fn->clauses.n ? l->fn->clauses.at[0] : NULL;
    if (c && i < c->params.n && c->params.at[i].default_value &&
        nosi_cg_literal(f, c->params.at[i].default_value, &v))
        nosi_cg_loadk(f, to, v);
    else if (c && i < c->params.n && c->params.at[i].default_value)
        nosi_cg_to(f, c->params.at[i].default_value, to);
    else
        nosi_cg_unit(f, to);
}

static void call_value(Fn *f, Expr *e, Dst d)
{
    Args a = nosi_cg_args(f, e);
    Job *known = known_callee(f, e);
    uint32_t top = f->top;
    Local *l = callee_local(e);
    if (known && known->n_params == a.n && all_given(&a)) {
        uint32_t w = nosi_cg_alloc(f, FRAME_HEADER + a.n);
        Type *fun = l->scheme ? nosi_prune(l->scheme->type) : NULL;
        eval_args(f, &a, w + FRAME_HEADER, fun && fun->kind == TY_FUN ? fun : NULL);
        nosi_cg_finish_call(f, OP_CALL, w, nosi_cg_ref(f, known->cell), e, d);
        f->top = top;
        return;
    }
    while (a.n && !a.at[a.n - 1])
        a.n--;
    uint32_t w = nosi_cg_alloc(f, FRAME_HEADER + 1 + a.n), base = w + FRAME_HEADER + 1;
    if (e->kind == EXPR_METHOD)
        nosi_cg_read_local(f, l, base - 1);
    else
        nosi_cg_to(f, e->a, base - 1);
    eval_args(f, &a, base, NULL);
    for (uint32_t i = 0; i < a.n; i++)
        if (!a.at[i])
            local_default(f, l, i, base + i);
    nosi_cg_finish_call(f, OP_CALLC, w, a.n, e, d);
    f->top = top;
}

static void call_field(Fn *f, Expr *e, Dst d)
{
    Target *t = e->target;
    Args a = nosi_cg_args(f, e);
    uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER + 1 + a.n),
             base = w + FRAME_HEADER + 1;
    uint32_t mark = f->top, rec = nosi_cg_any(f, e->a);
    nosi_cg_at(f, e->op_span);
    nosi_cg_abc(f, OP_FIELD, base - 1, rec,
                nosi_cg_field_of(f, e->a->type, t->name ? t->name : e->name));
    f->top = mark;
    eval_args(f, &a, base, NULL);
    nosi_cg_finish_call(f, OP_CALLC, w, a.n, e, d);
    f->top = top;
}

/* ---- choice at run time ---------------------------------------------------------------------- */

MethodSite *nosi_cg_method_site(Compiler *c, const Target *t)
{
    MethodSite *s = nosi_calloc(1, sizeof *s);
    s->name = t->name;
    s->n_args = t->n_args;
    s->is_overload = t->kind == TARGET_OVERLOAD;
    s->cands = nosi_calloc(t->cands.n + 1, sizeof *s->cands);
    for (uint32_t i = 0; i < t->cands.n; i++) {
        const TargetCand *from = &t->cands.at[i];
        Candidate *to = &s->cands[s->n_cands];
        uint32_t *types = nosi_calloc(t->n_args + 1, sizeof *types);
        for (uint32_t k = 0; k < t->n_args; k++)
            types[k] = from->types && from->types[k] ? nosi_type_id(from->types[k]) : TYPE_ANY;
        to->types = types;
        if (from->func) {
            if (t->n_args > from->func->n_params || t->n_args < nosi_cg_n_required(from->func))
                continue;
            to->kind = CAND_FUNC;
            to->func = nosi_cg_variant_cell(c, from->func, t->n_args);
        } else if (from->builtin) {
            to->kind = CAND_BUILTIN;
            to->builtin = from->builtin;
        } else {
            to->kind = CAND_FIELD;
            to->field = from->field;
        }
        s->n_cands++;
    }
    return s;
}

static void call_method(Fn *f, Expr *e, Dst d)
{
    Args a = nosi_cg_args(f, e);
    MethodSite *s = nosi_cg_method_site(f->c, e->target);
    uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER + NOS_MAX(a.n, 1u));
    eval_args(f, &a, w + FRAME_HEADER, NULL);
    nosi_cg_finish_call(f, OP_CALLM, w, nosi_cg_ref(f, s), e, d);
    f->top = top;
}

/* m.update(f): m := f(m) under the lock; the new value. */
static void mvar_update(Fn *f, Expr *e, Dst d)
{
    Args a = nosi_cg_args(f, e);
    Ctx ctx;
    uint32_t top = f->top, to = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1),
             fn = nosi_cg_any(f, a.at[0]);
    uint32_t exc = nosi_cg_alloc(f, 1), result = nosi_cg_alloc(f, 1),
             ref = nosi_cg_ref(f, e->target->symbol->runtime);
    Label handler = nosi_cg_label(f), done = nosi_cg_label(f);
    nosi_cg_at(f, e->op_span);
    nosi_cg_ad(f, OP_MVLOCK, 0, (int32_t)ref);
    nosi_cg_ctx_push(f, &ctx, CTX_LOCK)->mvar = ref;
    uint32_t w = nosi_cg_alloc(f, FRAME_HEADER + 2);
    nosi_cg_move(f, w + FRAME_HEADER, fn);
    nosi_cg_ad(f, OP_MVGET, w + FRAME_HEADER + 1, (int32_t)ref);
    nosi_cg_abc(f, OP_CALLC, result, w, 1);
    nosi_cg_hint(f, e->type);
    nosi_cg_ad(f, OP_MVSET, result, (int32_t)ref);
    nosi_cg_ctx_pop(f, &ctx, handler, exc);
    nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)ref);
    if (d.kind == DST_TAIL) {
        nosi_cg_return(f, result, e->type);
    } else {
        nosi_cg_move(f, to, result);
        nosi_cg_goto(f, done);
    }
    nosi_cg_bind(f, handler);
    nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)ref);
    nosi_cg_abc(f, OP_THROW, exc, 0, 0);
    nosi_cg_bind(f, done);
    f->top = top;
}

void nosi_cg_call(Fn *f, Expr *e, Dst d)
{
    Target *t = e->target;
    if (d.kind == DST_TAIL && nosi_cg_is_self_call(f, e)) {
        nosi_cg_self_loop(f, e);
        return;
    }
    if (nosi_cg_fuse(f, e, d))
        return;
    switch (t ? t->kind : TARGET_VALUE) {
    case TARGET_FUNC:
        call_function(f, e, t->func, d);
        break;
    case TARGET_BUILTIN:
        call_builtin(f, e, t->builtin, d);
        break;
    case TARGET_CTOR:
        construct(f, e, t->ctor, d);
        break;
    case TARGET_UPDATE:
        update(f, e, d);
        break;
    case TARGET_VALUE:
        call_value(f, e, d);
        break;
    case TARGET_FIELD:
        call_field(f, e, d);
        break;
    case TARGET_METHOD:
    case TARGET_OVERLOAD:
        call_method(f, e, d);
        break;
    case TARGET_MVAR_UPDATE:
        mvar_update(f, e, d);
        break;
    case TARGET_OPERATOR:
        call_operator(f, e, d);
        break;
    }
}

/* ---- loops out of self calls ----------------------------------------------------------------- */

bool nosi_cg_is_self_call(Fn *f, Expr *e)
{
    if (e->kind != EXPR_CALL && e->kind != EXPR_METHOD && e->kind != EXPR_PIPE)
        return false;
    Target *t = e->target;
    if (t && t->kind == TARGET_FUNC) {
        if (!f->function || t->func != f->function)
            return false;
    } else if (!t || t->kind == TARGET_VALUE) {
        Local *l = callee_local(e);
        if (!l || !((f->self_local && l == f->self_local) ||
                    (f->self_cell && nosi_cg_static_fn(f, l) == f->self_cell)))
            return false;
    } else {
        return false;
    }
    Args a = nosi_cg_args(f, e);
    return a.n == f->n_params && all_given(&a);
}

typedef struct Mention {
    Fn *f;
    uint32_t reg;
} Mention;

static bool local_is_in(const Mention *m, Local *l)
{
    uint32_t reg;
    return l && nosi_cg_lookup(m->f, l, &reg) && reg == m->reg;
}

static bool mention_expr(Expr *e, void *ctx)
{
    return (e->kind == EXPR_NAME || e->kind == EXPR_ASSIGN_INDEX || e->kind == EXPR_BIND ||
            e->kind == EXPR_METHOD) &&
           local_is_in(ctx, e->local);
}

static bool mention_pat(Pat *p, void *ctx)
{
    return local_is_in(ctx, p->local);
}

static bool mentions(Fn *f, Expr *e, uint32_t reg)
{
    Mention m = {f, reg};
    Walk w = {mention_expr, mention_pat, &m};
    return nosi_cg_walk(&w, e);
}

/* Evaluates the arguments and moves them to the parameters. An argument goes straight to its
 * parameter when no argument evaluated later reads that. */
static void args_to_params(Fn *f, Expr *e)
{
    Args a = nosi_cg_args(f, e);
    Type *fun = f->function ? function_type(f->function) : NULL;
    uint32_t top = f->top, n = n_evaluated(&a);
    uint32_t *from = ARENA_ARRAY(&f->c->scratch, uint32_t, a.n + 1);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = evaluation_index(&a, k), to = f->first_param + i, reg;
        Expr *x = a.at[i];
        from[i] = to;
        if (x->kind == EXPR_NAME && x->local && !x->local->needs_cell &&
            !nosi_cg_static_fn(f, x->local) && nosi_cg_lookup(f, x->local, &reg) && reg == to)
            continue; // stays what it is
        bool direct = nosi_cg_writes_last(x) || !mentions(f, x, to);
        for (uint32_t j = k + 1; j < n && direct; j++)
            direct = !mentions(f, a.at[evaluation_index(&a, j)], to);
        if (!direct)
            from[i] = nosi_cg_alloc(f, 1);
        uint32_t mark = f->top;
        eval_arg(f, &a, i, from[i], fun);
        f->top = mark;
    }
    for (uint32_t i = 0; i < a.n; i++)
        nosi_cg_move(f, f->first_param + i, from[i]);
    f->top = top;
}

void nosi_cg_self_loop(Fn *f, Expr *e)
{
    args_to_params(f, e);
    nosi_cg_at(f, e->span);
    nosi_cg_loop(f, f->trmc_into ? f->trmc_entry : f->entry);
}

/* The expression whose value would be the last thing put into the cell. */
static Expr *last_of(Expr *e)
{
    if (e->kind == EXPR_LIST)
        return e->list.n ? e->a : NULL;
    if (e->kind == EXPR_BINARY && e->op == BIN_CONS)
        return e->b;
    return NULL;
}

bool nosi_cg_trmc_site(Fn *f, Expr *e, TrmcKind *kind, uint32_t *field)
{
    Expr *last = last_of(e);
    *field = 0;
    *kind = TRMC_CONS;
    if (last) {
        while (last_of(last)) // x :: y :: f(t)
            last = last_of(last);
        return nosi_cg_is_self_call(f, last);
    }
    if ((e->kind != EXPR_CALL && e->kind != EXPR_PIPE) || !e->target ||
        e->target->kind != TARGET_CTOR || !e->target->ctor->n_fields)
        return false;
    Args a = nosi_cg_args(f, e);
    Ctor *k = e->target->ctor;
    uint32_t i = a.order && a.n_order ? a.order[a.n_order - 1] : a.n - 1;
    if (a.n != k->n_fields || i >= a.n || !a.at[i] || !nosi_cg_is_self_call(f, a.at[i]))
        return false;
    Shape *s = nosi_cg_shape(f->c, k);
    if (i < 64 && (s->raw_mask >> i & 1))
        return false;
    *kind = TRMC_FIELD;
    *field = i;
    return true;
}

/* The cell goes into the hole of the one before it; the first one is made in trmc_root. */
static void new_cell(Fn *f, uint32_t cell)
{
    if (!f->trmc_into)
        return;
    if (f->trmc == TRMC_CONS) {
        nosi_cg_abc(f, OP_SETTAIL, f->trmc_dest, cell, 0);
    } else {
        nosi_cg_abc(f, OP_FILL, f->trmc_dest, f->trmc_field, cell);
    }
}

static Expr *cons_cells(Fn *f, Expr *e)
{
    VEC(uint32_t) heads = {0};
    Expr *call = e;
    while (last_of(call)) {
        uint32_t n = call->kind == EXPR_LIST ? call->list.n : 1;
        for (uint32_t i = 0; i < n; i++)
            vec_push(&heads, nosi_cg_any(f, call->kind == EXPR_LIST ? call->list.at[i] : call->a));
        call = last_of(call);
    }
    if (!f->trmc_into)
        nosi_cg_loadk(f, f->trmc_nil, VALUE_NIL);
    uint32_t first = f->trmc_into ? nosi_cg_alloc(f, 1) : f->trmc_root;
    uint32_t last = heads.n > 1 ? nosi_cg_alloc(f, 1) : first;
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_CONS, last, heads.at[heads.n - 1], f->trmc_nil);
    for (uint32_t i = heads.n - 1; i-- > 0;)
        nosi_cg_abc(f, OP_CONS, first, heads.at[i], i + 2 == heads.n ? last : first);
    vec_free(&heads);
    new_cell(f, first);
    nosi_cg_move(f, f->trmc_dest, last);
    return call;
}

static Expr *ctor_cell(Fn *f, Expr *e)
{
    Args a = nosi_cg_args(f, e);
    Ctor *k = e->target->ctor;
    uint32_t base = nosi_cg_alloc(f, k->n_fields);
    uint32_t cell = f->trmc_into ? nosi_cg_alloc(f, 1) : f->trmc_root;
    Type fields = {.kind = TY_FUN, .n = k->field_types ? k->n_fields : 0, .args = k->field_types};
    for (uint32_t j = 0; j < n_evaluated(&a); j++) {
        uint32_t i = evaluation_index(&a, j);
        if (i != f->trmc_field)
            eval_arg(f, &a, i, base + i, &fields);
    }
    nosi_cg_unit(f, base + f->trmc_field);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_NEW, cell, base, nosi_cg_ref(f, nosi_cg_shape(f->c, k)));
    new_cell(f, cell);
    nosi_cg_move(f, f->trmc_dest, cell);
    return a.at[f->trmc_field];
}

void nosi_cg_trmc(Fn *f, Expr *e)
{
    uint32_t top = f->top;
    Expr *call = f->trmc == TRMC_CONS ? cons_cells(f, e) : ctor_cell(f, e);
    args_to_params(f, call);
    nosi_cg_at(f, call->span);
    if (f->trmc_into)
        nosi_cg_loop(f, f->trmc_entry);
    else
        nosi_cg_goto(f, f->trmc_entry);
    f->top = top;
}

/* ---- spawn ----------------------------------------------------------------------------------- */

void nosi_cg_spawn(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, to = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1),
             closure = nosi_cg_alloc(f, 1);
    if (e->list.n) { // spawn(f, x, y): f, x and y are evaluated here
        uint32_t n = e->list.n, base = nosi_cg_alloc(f, n + 1);
        nosi_cg_to(f, e->a, base);
        for (uint32_t i = 0; i < n; i++)
            nosi_cg_to(f, e->list.at[i], base + 1 + i);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_CLOSURE, closure, base, nosi_cg_ref(f, nosi_cg_spawn_call_cell(f->c, n)));
    } else {
        Job *j = nosi_cg_closure_job(f, JOB_SPAWN, e->scope, nosi_intern_cstr("<spawn>"), NULL);
        j->body = e->a;
        nosi_cg_at(f, e->span);
        if (j->n_captures == 0) {
            nosi_cg_loadk(f, closure, nosi_cg_closure_value(f->c, j->cell));
        } else { // a captured `var` is captured by value
            uint32_t base = nosi_cg_alloc(f, j->n_captures);
            for (uint32_t i = 0; i < j->n_captures; i++)
                nosi_cg_read_local(f, j->captures[i], base + i);
            nosi_cg_abc(f, OP_CLOSURE, closure, base, nosi_cg_ref(f, j->cell));
        }
    }
    nosi_cg_abc(f, OP_SPAWN, to, closure, e->spawn_kind);
    nosi_cg_hint(f, e->type);
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
    f->top = top;
}
