/* lower_decl.c -- function bodies: what is around an expression to make it a Func.
 *
 * Everything compiled is a Job. Besides the bodies of the program there are generated functions:
 * wrappers that fill in defaults (Func.variants), defaults themselves (`f$default`), constructors
 * and run-time choices as function values. */
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/value/shape.h"

/* ---- jobs ------------------------------------------------------------------------------------ */

Job *nosi_cg_job(Compiler *c, JobKind kind, FuncCell *cell, FnScope *scope)
{
    Job *j = ARENA_NEW(&c->scratch, Job);
    *j = (Job){.kind = kind, .cell = cell, .scope = scope};
    vec_push(&c->queue, j);
    return j;
}

/* A nested body; the same one every time the expression is met (bodies may be emitted twice). */
Job *nosi_cg_closure_job(Fn *f, JobKind kind, FnScope *scope, Name name, Local *self)
{
    Compiler *c = f->c;
    Job *j = nosi_hashmap_get(&c->closures, scope);
    if (j)
        return j;
    j = nosi_cg_job(c, kind, nosi_func_declare(name), scope);
    nosi_hashmap_put(&c->closures, scope, j);
    nosi_hashmap_put(&c->cell_jobs, j->cell, j);
    j->self = self;
    j->captures = ARENA_ARRAY(&c->scratch, Local *, scope->captures.n + 1);
    for (uint32_t i = 0; i < scope->captures.n; i++) {
        Local *l = scope->captures.at[i];
        if (l != self && !nosi_hashmap_get(&c->static_fns, l))
            j->captures[j->n_captures++] = l;
    }
    return j;
}

Job *nosi_cg_lambda_job(Fn *f, Expr *e, Local *self)
{
    Job *j = nosi_cg_closure_job(f, JOB_LAMBDA, e->scope, nosi_intern_cstr("<lambda>"), self);
    if (!j->clauses) {
        j->clauses = ARENA_NEW(&f->c->scratch, FnClause *);
        j->clauses[0] = e->fn;
        j->n_clauses = 1;
        j->n_params = j->n_required = e->fn->params.n;
        Type *t = e->type ? nosi_prune(e->type) : NULL;
        j->result = t && t->kind == TY_FUN ? t->result : NULL;
    }
    return j;
}

/* ---- starting and finishing ------------------------------------------------------------------ */

void nosi_cg_fn_init(Fn *f, Compiler *c, FuncCell *cell, FnScope *scope, uint32_t n_params)
{
    *f = (Fn){.c = c,
              .cell = cell,
              .scope = scope,
              .n_params = n_params,
              .entry = NO_LABEL,
              .trmc_entry = NO_LABEL};
    f->top = f->max_regs = n_params;
}

/* R[0] is the closure: parameters start at 1. */
static void take_closure(Fn *f, const Job *j)
{
    if (!j->n_captures)
        return;
    f->takes_self = true;
    f->first_param = 1;
    f->n_captures = j->n_captures;
    f->top = f->max_regs = f->n_params + 1;
    f->self_local = j->self;
}

static void load_captures(Fn *f, const Job *j)
{
    for (uint32_t i = 0; i < j->n_captures; i++) {
        Local *l = j->captures[i];
        uint32_t r = nosi_cg_alloc(f, 1);
        nosi_cg_abc(f, OP_CAPTURE, r, i, 0);
        if (j->kind == JOB_SPAWN && l->needs_cell)
            nosi_cg_abc(f, OP_NEWCELL, r, r, 0); // came by value
        else if (!l->needs_cell)
            nosi_cg_hint(f, l->scheme && !l->scheme->n_vars ? l->scheme->type : NULL);
        nosi_cg_declare(f, l, r);
    }
}

typedef struct Meta {
    const char *signature;
    uint32_t n_required;
    FuncCell **variants;
    bool hide;
} Meta;

/* Takes a function that will not be published. */
static void discard(Func *f)
{
    nosi_free((void *)f->code);
    nosi_free((void *)f->lines);
    nosi_free((void *)f->handlers);
    nosi_free((void *)f->consts);
    nosi_free((void *)f->refs);
    nosi_free((void *)f->reg_reps);
    nosi_free(f);
}

static void publish(Fn *f, Meta m)
{
    Compiler *c = f->c;
    const SourceFile *file = nosi_source(c->p->sources, f->file);
    Func *out = nosi_cg_finish(f);
    if (f->too_large) {
        discard(out);
        nosi_diag_error(c->p->diags, DIAG_COMPILE, (Span){f->file, 0, 0},
                        "function `%s` is too large", f->cell->name);
        c->failed = true;
        return;
    }
    out->cell = f->cell;
    out->n_required = (uint16_t)m.n_required;
    out->variants = m.variants;
    out->is_lambda = strcmp(f->cell->name, "<lambda>") == 0;
    out->hide_in_trace = m.hide;
    out->is_library = file && file->is_library;
    out->file = nosi_source_path(c->p->sources, f->file);
    out->signature = m.signature ? m.signature : "";
#if NOS_DEBUG >= 1
    char buf[256];
    const char *bad = nosi_verify(out, buf, sizeof buf);
    if (bad) {
        StrBuf text = {0};
        nosi_disasm(out, &text);
        nosi_fatal("bad bytecode: %s\n%s", bad, nosi_strbuf_cstr(&text));
    }
#endif
    nosi_func_publish(f->cell, out);
}

/* "Int,_": declared types of the parameters. */
static const char *signature_of(Compiler *c, FnClause *const *clauses, uint32_t n,
                                uint32_t n_params)
{
    StrBuf b = {0};
    for (uint32_t i = 0; i < n_params; i++) {
        const char *text = "_";
        for (uint32_t k = 0; k < n; k++)
            if (i < clauses[k]->params.n && clauses[k]->params.at[i].type)
                text = clauses[k]->params.at[i].type->text;
        if (i)
            nosi_strbuf_putc(&b, ',');
        nosi_strbuf_puts(&b, text ? text : "_");
    }
    Name s = nosi_intern_cstr(nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    (void)c;
    return s;
}

static const char *blanks(uint32_t n)
{
    StrBuf b = {0};
    for (uint32_t i = 0; i < n; i++)
        nosi_strbuf_puts(&b, i ? ",_" : "_");
    Name s = nosi_intern_cstr(nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return s;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

typedef struct Body {
    FnClause **clauses;
    uint32_t n_clauses;
    ErrorRefKind fail;
    const char *fail_text;
} Body;

static void clause_body(Fn *f, void *ctx, uint32_t row)
{
    const Body *b = ctx;
    uint32_t top = f->top;
    nosi_cg_expr(f, b->clauses[row]->body, TO_TAIL);
    f->top = top;
}

static bool is_plain(const FnClause *c)
{
    if (c->guard)
        return false;
    for (uint32_t i = 0; i < c->params.n; i++)
        if (!nosi_cg_irrefutable(c->params.at[i].pat))
            return false;
    return true;
}

static void clauses(Fn *f, Body *b)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f);
    FnClause *first = b->clauses[0];
    nosi_cg_at(f, first->span);
    if (b->n_clauses == 1 && is_plain(first)) {
        for (uint32_t i = 0; i < first->params.n; i++)
            if (first->params.at[i].pat->kind == PAT_VAR)
                nosi_cg_bind_local(f, first->params.at[i].pat->local, f->first_param + i);
        clause_body(f, b, 0);
    } else {
        Arena *a = &f->c->scratch;
        uint32_t *regs = ARENA_ARRAY(a, uint32_t, f->n_params + 1);
        Match m = {.n_cols = f->n_params,
                   .n_rows = b->n_clauses,
                   .regs = regs,
                   .ctx = b,
                   .body = clause_body};
        for (uint32_t i = 0; i < f->n_params; i++)
            regs[i] = f->first_param + i;
        m.rows = ARENA_ARRAY(a, MatchRow, b->n_clauses);
        for (uint32_t k = 0; k < b->n_clauses; k++) {
            m.rows[k].guard = b->clauses[k]->guard;
            m.rows[k].pats = ARENA_ARRAY(a, Pat *, f->n_params + 1);
            for (uint32_t i = 0; i < f->n_params && i < b->clauses[k]->params.n; i++)
                m.rows[k].pats[i] = b->clauses[k]->params.at[i].pat;
        }
        m.fail_label = nosi_cg_panic_label(f, b->fail, b->fail_text);
        nosi_cg_match(f, &m);
    }
    nosi_cg_scope_end(f, mark);
    f->top = top;
}

/* Is there a tail call modulo constructor among the tail positions of e? The first one decides the
 * kind. */
static bool find_trmc(Fn *f, Expr *e, TrmcKind *kind, uint32_t *field)
{
    if (nosi_cg_trmc_site(f, e, kind, field))
        return true;
    switch (e->kind) {
    case EXPR_BLOCK:
        return e->list.n && find_trmc(f, e->list.at[e->list.n - 1], kind, field);
    case EXPR_IF:
        for (; e && e->kind == EXPR_IF && e->c; e = e->c)
            if (find_trmc(f, e->b, kind, field))
                return true;
        return e && e->kind != EXPR_IF && find_trmc(f, e, kind, field);
    case EXPR_RECEIVE:
    case EXPR_MATCH:
    case EXPR_TRY:
        if (e->kind == EXPR_TRY && e->b)
            return false;
        for (uint32_t i = 0; i < e->arms.n; i++)
            if (find_trmc(f, e->arms.at[i].body, kind, field))
                return true;
        return e->kind == EXPR_RECEIVE && e->b && find_trmc(f, e->b, kind, field);
    default:
        return false;
    }
}

static void whole_body(Fn *f, Body *b)
{
    for (uint32_t i = 0; i < b->n_clauses && !f->trmc; i++)
        if (!find_trmc(f, b->clauses[i]->body, &f->trmc, &f->trmc_field))
            f->trmc = TRMC_NONE;
    if (f->trmc) {
        f->trmc_root = nosi_cg_alloc(f, 3);
        f->trmc_dest = f->trmc_root + 1;
        f->trmc_nil = f->trmc_root + 2;
        f->trmc_entry = nosi_cg_label(f);
    }
    f->entry = nosi_cg_here(f);
    clauses(f, b);
    if (f->trmc) {
        nosi_cg_bind(f, f->trmc_entry);
        f->trmc_into = true;
        clauses(f, b);
    }
}

static Type *function_result(const Function *fn)
{
    Type *t = fn->scheme ? nosi_prune(fn->scheme->type) : NULL;
    return t && t->kind == TY_FUN ? t->result : NULL;
}

static void set_file(Fn *f, FnClause *const *cs, uint32_t n)
{
    if (n)
        f->file = cs[0]->span.file;
}

static void run_function(Compiler *c, const Job *j)
{
    Function *fn = j->function;
    Fn f;
    nosi_cg_fn_init(&f, c, j->cell, fn->scope, fn->n_params);
    f.function = fn;
    f.self_cell = j->cell;
    f.result = function_result(fn);
    set_file(&f, fn->clauses.at, fn->clauses.n);
    const char *sig = signature_of(c, fn->clauses.at, fn->clauses.n, fn->n_params);
    Body b = {fn->clauses.at, fn->clauses.n, ERR_NO_CLAUSE,
              nosi_arena_printf(&c->scratch, "%s/%s", fn->full_name, sig)};
    whole_body(&f, &b);
    uint32_t required = nosi_cg_n_required(fn);
    for (uint32_t k = required; k < fn->n_params; k++)
        nosi_cg_variant_cell(c, fn, k);
    publish(&f, (Meta){sig, required, required < fn->n_params ? fn->variants : NULL, false});
}

/* ---- nested bodies --------------------------------------------------------------------------- */

static uint32_t local_required(const Job *j)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->n_params; i++) {
        bool optional = false;
        for (uint32_t k = 0; k < j->n_clauses; k++)
            optional |= i < j->clauses[k]->params.n && j->clauses[k]->params.at[i].default_value;
        if (!optional)
            n = i + 1;
    }
    return n;
}

static void run_nested(Compiler *c, Job *j)
{
    Fn f;
    nosi_cg_fn_init(&f, c, j->cell, j->scope, j->n_params);
    take_closure(&f, j);
    f.self_cell = j->n_captures ? NULL : j->cell;
    f.result = j->result;
    set_file(&f, j->clauses, j->n_clauses);
    nosi_cg_at(&f, j->clauses[0]->span);
    load_captures(&f, j);
    Body b = {j->clauses, j->n_clauses, j->kind == JOB_LAMBDA ? ERR_DESTRUCTURE : ERR_NO_MATCH,
              NULL};
    whole_body(&f, &b);
    uint32_t required = local_required(j);
    FuncCell **variants = NULL;
    if (required < j->n_params) {
        variants = nosi_calloc(j->n_params - required, sizeof(FuncCell *));
        for (uint32_t k = required; k < j->n_params; k++) {
            Job *v = nosi_cg_job(c, JOB_LOCAL_VARIANT, nosi_func_declare(j->cell->name), j->scope);
            v->full = j;
            v->n_params = k;
            v->captures = j->captures;
            v->n_captures = j->n_captures;
            v->self = j->self;
            variants[k - required] = v->cell;
        }
    }
    publish(&f, (Meta){signature_of(c, j->clauses, j->n_clauses, j->n_params), required, variants,
                       false});
}

/* A local function called with its first n_params parameters: evaluates the other defaults in its
 * own scope. */
static void run_local_variant(Compiler *c, const Job *j)
{
    const Job *full = j->full;
    Fn f;
    nosi_cg_fn_init(&f, c, j->cell, j->scope, j->n_params);
    take_closure(&f, j);
    set_file(&f, full->clauses, full->n_clauses);
    FnClause *clause = full->clauses[0];
    nosi_cg_at(&f, clause->span);
    uint32_t params = f.first_param, n = full->n_params;
    nosi_cg_alloc(&f, n - j->n_params);
    load_captures(&f, j);
    for (uint32_t i = 0; i < n; i++) {
        Expr *value = NULL;
        for (uint32_t k = 0; k < full->n_clauses && !value; k++)
            value = full->clauses[k]->params.at[i].default_value;
        if (i >= j->n_params && value)
            nosi_cg_to(&f, value, params + i);
        const Pat *p = clause->params.at[i].pat;
        if (p->kind == PAT_VAR && p->local)
            nosi_cg_bind_local(&f, p->local, params + i);
    }
    if (f.takes_self) {
        uint32_t w = nosi_cg_alloc(&f, FRAME_HEADER + 1 + n);
        nosi_cg_move(&f, w + FRAME_HEADER, 0);
        for (uint32_t i = 0; i < n; i++)
            nosi_cg_move(&f, w + FRAME_HEADER + 1 + i, params + i);
        nosi_cg_abc(&f, OP_TCALLC, 0, w, n);
    } else {
        uint32_t w = nosi_cg_alloc(&f, FRAME_HEADER + n);
        for (uint32_t i = 0; i < n; i++)
            nosi_cg_move(&f, w + FRAME_HEADER + i, params + i);
        nosi_cg_abc(&f, OP_TCALL, 0, w, nosi_cg_ref(&f, full->cell));
    }
    publish(&f, (Meta){blanks(j->n_params), j->n_params, NULL, true});
}

/* A body without clauses: spawn thunk, initialiser, default. Parameters are the first locals of its
 * scope. */
static void run_expr(Compiler *c, const Job *j)
{
    Fn f;
    nosi_cg_fn_init(&f, c, j->cell, j->scope, j->n_params);
    take_closure(&f, j);
    f.result = j->result;
    f.file = j->body->span.file;
    nosi_cg_at(&f, j->body->span);
    load_captures(&f, j);
    for (uint32_t i = 0; i < j->n_params && i < j->scope->locals.n; i++)
        nosi_cg_bind_local(&f, j->scope->locals.at[i], f.first_param + i);
    f.entry = nosi_cg_here(&f);
    nosi_cg_expr(&f, j->body, TO_TAIL);
    publish(&f, (Meta){blanks(j->n_params), j->n_params, NULL, j->kind == JOB_DEFAULT});
}

/* ---- functions called with fewer arguments --------------------------------------------------- */

FuncCell *nosi_cg_function_cell(Compiler *c, Function *fn)
{
    (void)c;
    if (!fn->cell)
        fn->cell = nosi_func_declare(fn->full_name);
    return fn->cell;
}

FuncCell *nosi_compile_cell(Function *f)
{
    return nosi_cg_function_cell(NULL, f);
}

FuncCell *nosi_cg_variant_cell(Compiler *c, Function *fn, uint32_t n_args)
{
    uint32_t required = nosi_cg_n_required(fn);
    if (n_args >= fn->n_params || n_args < required)
        return nosi_cg_function_cell(c, fn);
    if (!fn->variants) {
        fn->variants = nosi_calloc(fn->n_params - required, sizeof *fn->variants);
        for (uint32_t k = required; k < fn->n_params; k++) {
            fn->variants[k - required] = nosi_func_declare(fn->full_name);
            Job *j = nosi_cg_job(c, JOB_VARIANT, fn->variants[k - required], fn->scope);
            j->function = fn;
            j->n_params = k;
        }
    }
    return fn->variants[n_args - required];
}

FuncCell *nosi_cg_default_cell(Compiler *c, Function *fn, uint32_t k)
{
    FnParam *prm = &fn->params[k];
    FuncCell *cell = nosi_hashmap_get(&c->defaults, prm);
    if (cell)
        return cell;
    cell = nosi_func_declare(
        nosi_intern_cstr(nosi_arena_printf(&c->scratch, "%s$default", fn->full_name)));
    nosi_hashmap_put(&c->defaults, prm, cell);
    Job *j = nosi_cg_job(c, JOB_DEFAULT, cell, prm->default_scope);
    j->body = prm->default_value;
    j->n_params = k;
    return cell;
}

static void run_variant(Compiler *c, const Job *j)
{
    Function *fn = j->function;
    Fn f;
    nosi_cg_fn_init(&f, c, j->cell, j->scope, j->n_params);
    set_file(&f, fn->clauses.at, fn->clauses.n);
    nosi_cg_at(&f, fn->clauses.at[0]->span);
    nosi_cg_alloc(&f, fn->n_params - j->n_params);
    for (uint32_t i = j->n_params; i < fn->n_params; i++)
        nosi_cg_eval_default(&f, fn, i, 0);
    uint32_t w = nosi_cg_alloc(&f, FRAME_HEADER + fn->n_params);
    for (uint32_t i = 0; i < fn->n_params; i++)
        nosi_cg_move(&f, w + FRAME_HEADER + i, i);
    nosi_cg_abc(&f, OP_TCALL, 0, w, nosi_cg_ref(&f, nosi_cg_function_cell(c, fn)));
    publish(&f, (Meta){blanks(j->n_params), j->n_params, NULL, true});
}

/* ---- generated functions --------------------------------------------------------------------- */

FuncCell *nosi_cg_ctor_cell(Compiler *c, Ctor *k)
{
    FuncCell *cell = nosi_hashmap_get(&c->ctor_cells, k);
    if (cell)
        return cell;
    cell = nosi_func_declare(k->full_name ? k->full_name : k->name);
    nosi_hashmap_put(&c->ctor_cells, k, cell);
    Fn f;
    nosi_cg_fn_init(&f, c, cell, NULL, k->n_fields);
    f.file = k->type->span.file;
    nosi_cg_at(&f, k->type->span);
    uint32_t r = nosi_cg_alloc(&f, 1);
    nosi_cg_abc(&f, OP_NEW, r, 0, nosi_cg_ref(&f, nosi_cg_shape(c, k)));
    nosi_cg_abc(&f, OP_RET, r, 0, 0);
    publish(&f, (Meta){blanks(k->n_fields), k->n_fields, NULL, true});
    return cell;
}

FuncCell *nosi_cg_spawn_call_cell(Compiler *c, uint32_t n)
{
    Name name = nosi_intern_cstr(nosi_arena_printf(&c->scratch, "<spawn>/%u", n));
    FuncCell *cell = nosi_hashmap_get(&c->helpers, name);
    if (cell)
        return cell;
    cell = nosi_func_declare(nosi_intern_cstr("<spawn>"));
    nosi_hashmap_put(&c->helpers, name, cell);
    Fn f;
    nosi_cg_fn_init(&f, c, cell, NULL, 0);
    f.takes_self = true;
    f.first_param = 1;
    f.n_captures = n + 1;
    f.top = f.max_regs = 1;
    uint32_t w = nosi_cg_alloc(&f, FRAME_HEADER + 1 + n);
    for (uint32_t i = 0; i <= n; i++)
        nosi_cg_abc(&f, OP_CAPTURE, w + FRAME_HEADER + i, i, 0);
    nosi_cg_abc(&f, OP_TCALLC, 0, w, n);
    publish(&f, (Meta){"", 0, NULL, true});
    return cell;
}

void nosi_cg_publish_helper(Fn *f, const Function *like)
{
    const char *sig = like ? signature_of(f->c, like->clauses.at, like->clauses.n, like->n_params)
                           : blanks(f->n_params);
    publish(f, (Meta){sig, f->n_params, NULL, false});
}

FuncCell *nosi_cg_method_value_cell(Compiler *c, MethodSite *site)
{
    FuncCell *cell = nosi_func_declare(site->name);
    Fn f;
    nosi_cg_fn_init(&f, c, cell, NULL, site->n_args);
    uint32_t w = nosi_cg_alloc(&f, FRAME_HEADER + site->n_args);
    for (uint32_t i = 0; i < site->n_args; i++)
        nosi_cg_move(&f, w + FRAME_HEADER + i, i);
    nosi_cg_abc(&f, OP_TCALLM, 0, w, nosi_cg_ref(&f, site));
    publish(&f, (Meta){blanks(site->n_args), site->n_args, NULL, true});
    return cell;
}

void nosi_cg_run_job(Compiler *c, Job *j)
{
    switch (j->kind) {
    case JOB_FUNCTION:
        run_function(c, j);
        break;
    case JOB_VARIANT:
        run_variant(c, j);
        break;
    case JOB_LAMBDA:
    case JOB_LOCAL_FN:
        run_nested(c, j);
        break;
    case JOB_LOCAL_VARIANT:
        run_local_variant(c, j);
        break;
    case JOB_SPAWN:
    case JOB_INIT:
    case JOB_DEFAULT:
        run_expr(c, j);
        break;
    }
}
