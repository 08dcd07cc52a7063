/* build_call.c -- calls: inlined, of machine code, of closures, of natives; and returns. */
#include <string.h>

#include "jit/build.h"
#include "jit/runtime.h"
#include "vm/bytecode/builtin.h"

/* ---- returns --------------------------------------------------------------------------------- */

void nosi_b_return(Build *b, Body *body, Ref v)
{
    if (!body->parent) {
        Ref r = nosi_b_as_type(b, v, (IrType)b->sig.result, nosi_b_before(b, body));
        if (!r)
            nosi_b_leave(b, nosi_b_before(b, body));
        else
            nosi_b_close_block(b, (IrIns){.op = IR_RET, .a = r});
        return;
    }
    Ref *value = nosi_arena_memdup(&b->arena, &v, sizeof v);
    vec_push(&body->returns, ((Edge){b->block, value, nosi_b_before(b, body)}));
    nosi_b_close_block(b, (IrIns){.op = IR_JUMP});
}

/* The state in which the call that `body` was inlined for has given v. */
static uint32_t returned_state(Build *b, Body *body, Ref v)
{
    Body *to = body->parent;
    Instr i = to->f->code[to->pc];
    if (nosi_instr_dst(i) < 0) // a call in tail position: that of the caller's caller
        return returned_state(b, to, v);
    Ref *cur = nosi_b_copy_regs(b, to);
    cur[INSTR_A(i)] = v;
    return nosi_b_state_at(b, to, to->pc + 1, cur);
}

/* ---- inlining -------------------------------------------------------------------------------- */

/* Does it go round a loop of its own (not a self tail call, which jumps to its beginning)? */
static bool has_inner_loop(const Func *f)
{
    for (uint32_t pc = 0; pc < f->n_code; pc++) {
        uint32_t to[2];
        if (nosi_instr_targets(f, pc, to, 2) == 1 && to[0] <= pc && to[0] > 0)
            return true;
    }
    return false;
}

/* Copies of f in each other, in machine code of f itself (`own`) or of another function. The code
 * grows with them where f calls itself at one place, and doubles with each where it does at two. (A
 * call in tail position is a jump.) */
static uint32_t max_copies(const Func *f, bool own)
{
    uint32_t calls = 0;
    for (uint32_t pc = 0; pc < f->n_code; pc++)
        calls += INSTR_OP(f->code[pc]) == OP_CALL && cell_func(f->refs[INSTR_C(f->code[pc])]) == f;
    return own && calls == 1 ? MAX_LINEAR : MAX_RECURSION;
}

static bool may_inline(const Build *b, const Body *body, const Func *f)
{
    uint32_t depth = 0, copies = 0;
    const Func *outermost = NULL;
    if (b->request->no_inline || f->n_code > MAX_INLINE_CODE || f->n_handlers ||
        b->ir->ins.n > MAX_IR / 6)
        return false;
    for (const Body *x = body; x; x = x->parent) {
        depth++;
        copies += x->f == f;
        outermost = x->f;
    }
    if (depth > MAX_INLINE_DEPTH)
        return false;
    // A call costs little beside a loop, and loops in each other are slow to compile.
    return copies == 0 || (f->n_code <= MAX_RECURSIVE_CODE &&
                           copies < max_copies(f, outermost == f) && !has_inner_loop(f));
}

static void note_inlined(Ir *ir, const Func *f)
{
    ir->n_inlined++;
    VEC_EACH (const Func *, it, &ir->inlined)
        if (*it == f)
            return;
    vec_push(&ir->inlined, f);
}

/* A block that ended with a return is open again. */
static void reopen(Build *b, uint32_t block)
{
    IrBlock *x = &b->ir->blocks.at[block];
    x->ins.n--; // its JUMP
    x->is_done = false;
    nosi_b_enter_block(b, block);
}

/* An Option that is made and matched at once: returns whose value decides the test that follows the
 * call go on where it would. The others stay. */
static void thread_returns(Build *b, Body *caller, Body *body)
{
    Instr call = caller->f->code[caller->pc];
    int32_t dst = nosi_instr_dst(call);
    uint32_t test = caller->pc + 1, kept = 0;
    if (dst < 0 || test >= caller->f->n_code)
        return;
    Ref old = caller->cur[dst];
    for (uint32_t k = 0; k < body->returns.n; k++) {
        Edge e = body->returns.at[k];
        uint32_t to = nosi_b_decided(b, caller, test, (uint32_t)dst, e.regs[0]);
        if (!to) {
            body->returns.at[kept++] = e;
            continue;
        }
        reopen(b, e.block);
        caller->cur[dst] = e.regs[0];
        caller->pc = test;
        caller->snap = 0;
        nosi_b_goto_pc(b, caller, to);
        caller->pc = test - 1;
        caller->snap = 0;
    }
    caller->cur[dst] = old;
    body->returns.n = kept;
}

/* The result, or 0: it does not return here (the block is closed). */
static Ref inline_call(Build *b, Body *caller, const Func *f, const Ref *args, uint32_t n,
                       uint32_t state)
{
    Body body;
    Ref result = 0;
    if (!nosi_b_body_open(b, &body, f)) {
        b->refused = "too large";
        nosi_b_body_close(&body);
        return 0;
    }
    body.parent = caller;
    body.parent_state = state;
    note_inlined(b->ir, f);
    memcpy(body.cur, args, n * sizeof *args);
    Target *t = &body.targets[0];
    t->n_preds++;
    vec_push(&t->edges, ((Edge){b->block, nosi_b_copy_regs(b, &body), 0}));
    nosi_b_close_block(b, (IrIns){.op = IR_JUMP});
    nosi_b_body(b, &body, 0);
    if (!b->refused && body.returns.n > 1)
        thread_returns(b, caller, &body);
    if (!b->refused && body.returns.n == 1) { // goes on where it returned
        reopen(b, body.returns.at[0].block);
        result = body.returns.at[0].regs[0];
    } else if (!b->refused && body.returns.n > 1) {
        nosi_b_join(b, &body, f->n_code, body.returns.at, body.returns.n, 1, NULL, false, 0,
                    &result);
    }
    nosi_b_body_close(&body);
    return result;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* The current call gave v: it is in its register or, of a call in tail position that was inlined,
 * what the inlined function returns. */
static void call_gave(Build *b, Body *body, Instr i, Ref v, bool tail)
{
    if (!tail) {
        nosi_b_set(b, body, INSTR_A(i), v);
        return;
    }
    Ref *value = nosi_arena_memdup(&b->arena, &v, sizeof v);
    vec_push(&body->returns, ((Edge){b->block, value, returned_state(b, body, v)}));
    nosi_b_close_block(b, (IrIns){.op = IR_JUMP});
}

/* The call of f with n argument values; the frame of the callee lies `dist` above. */
static void call_func(Build *b, Body *body, Instr i, const Func *f, const Ref *args, uint32_t n,
                      uint32_t dist)
{
    bool tail = INSTR_OP(i) == OP_TCALL || INSTR_OP(i) == OP_TCALLC;
    uint32_t before = nosi_b_before(b, body);
    vec_push(&b->ir->depends, f);
    // The frame of a call in tail position is gone: the result goes to the caller of an inlined
    // body, or to ours.
    bool ends = tail && !body->parent;
    uint32_t state = tail ? body->parent_state : nosi_b_after(b, body, dist);

    if (may_inline(b, body, f) && !ends) {
        Ref v = inline_call(b, body, f, args, n, state);
        if (!v || b->refused)
            return;
        call_gave(b, body, i, v, tail);
        return;
    }
    uint8_t types[MAX_SIGNATURE + 1];
    for (uint32_t k = 0; k < n; k++)
        types[k] = INS(args[k])->type;
    JitFunc *to = n <= MAX_SIGNATURE ? nosi_jit_func(f, types) : NULL;
    if (!to) {
        nosi_b_leave(b, before);
        return;
    }
    Ref typed[MAX_SIGNATURE];
    for (uint32_t k = 0; k < n; k++)
        if (!(typed[k] = nosi_b_as_type(b, args[k], (IrType)to->sig.param[k], before))) {
            nosi_b_leave(b, before);
            return;
        }
    IrIns c = {.op = IR_CALL,
               .type = to->sig.result,
               .imm = (int64_t)(intptr_t)to,
               .n_args = n,
               .state = state,
               .imm2 = before};
    c.args = b->ir->args.n;
    for (uint32_t k = 0; k < n; k++)
        vec_push(&b->ir->args, typed[k]);
    if (ends) {
        c.op = IR_TAILCALL;
        c.state = before;
        c.type = b->sig.result;
        nosi_b_close_block(b, c);
        return;
    }
    call_gave(b, body, i, nosi_b_add(b, c), tail);
}

static void call_direct(Build *b, Body *body, Instr i)
{
    const Func *f = cell_func(body->f->refs[INSTR_C(i)]);
    uint32_t w = INSTR_B(i) + FRAME_HEADER;
    if (!f || f->takes_self)
        nosi_b_leave(b, nosi_b_before(b, body));
    else
        call_func(b, body, i, f, &body->cur[w], f->n_params, w);
}

/* The function of a closure that is known when the code is made. */
static const Func *known_function(const Build *b, Ref closure)
{
    IrIns c = *INS(closure);
    FuncCell *cell = NULL;
    if ((c.op == IR_OBJECT || c.op == IR_PARTS) && (c.imm >> 8 & 0xFF) == OBJ_CLOSURE)
        cell = (FuncCell *)(intptr_t)INS(b->ir->args.at[c.args])->imm;
    else if (c.op == IR_CONST && value_is_kind((Value){(uint64_t)c.imm}, OBJ_CLOSURE))
        cell = (FuncCell *)(uintptr_t)value_obj((Value){(uint64_t)c.imm})->word[0];
    return cell ? cell_func(cell) : NULL;
}

/* The function that the register held when the code was asked for: a guess, which a guard checks.
 */
static const Func *expected_function(Build *b, Body *body, Ref x)
{
    IrIns i = *INS(x);
    if (body->parent || !b->request->cells || (i.op != IR_PARAM && i.op != IR_LOADREG))
        return NULL;
    FuncCell *cell = b->request->cells[i.imm];
    const Func *f = cell ? cell_func(cell) : NULL;
    if (!f || !may_inline(b, body, f))
        return NULL;
    nosi_b_guard(b, body, nosi_b_is_class(b, x, OBJ_CLOSURE, 0xFF));
    Ref have = nosi_b_add(b, (IrIns){.op = IR_WORD, .type = TY_INT, .a = x, .imm = 0});
    Ref want = nosi_b_const_int(b, (int64_t)(intptr_t)cell);
    nosi_b_guard(
        b, body,
        nosi_b_add(b,
                   (IrIns){.op = IR_ICMP, .type = TY_BOOL, .cond = IC_EQ, .a = have, .b = want}));
    return f;
}

/* Adds the call c of an unknown function, with n boxed arguments from register `from` on. The frame
 * of a call in tail position is gone, as in call_func. */
static void call_boxed(Build *b, Body *body, Instr i, IrIns c, uint32_t from, uint32_t n,
                       uint32_t dist)
{
    uint32_t before = nosi_b_before(b, body), special = nosi_b_after(b, body, 0);
    bool tail = INSTR_OP(i) == OP_TCALLC || INSTR_OP(i) == OP_TCALLM;
    Ref args[MAX_SIGNATURE];
    for (uint32_t k = 0; k < n; k++)
        args[k] = nosi_b_as_any(b, body->cur[from + k], before);
    c.type = TY_ANY;
    c.args = b->ir->args.n;
    c.n_args = n;
    for (uint32_t k = 0; k < n; k++)
        vec_push(&b->ir->args, args[k]);
    if (tail && !body->parent) {
        c.op = c.op == IR_CALL_METHOD ? IR_TAILCALL_METHOD : IR_TAILCALL_CLOSURE;
        c.state = before;
        c.imm2 = special;
        nosi_b_close_block(b, c);
        return;
    }
    c.state = tail ? body->parent_state : nosi_b_after(b, body, dist);
    c.imm2 = (int64_t)(before | (uint64_t)special << 32);
    call_gave(b, body, i, nosi_b_add(b, c), tail);
}

/* A call of f with one argument, a tuple: its elements are the arguments. */
static void call_spread(Build *b, Body *body, Instr i, const Func *f)
{
    uint32_t w = INSTR_B(i) + FRAME_HEADER, n = 0;
    Ref x = body->cur[w + 1], args[MAX_SIGNATURE + 1];
    nosi_b_guard(b, body, nosi_b_is_class(b, x, b_tuple_class(f->n_params), TUPLE_MASK));
    if (!b->open)
        return;
    if (f->takes_self)
        args[n++] = body->cur[w];
    for (uint32_t k = 0; k < f->n_params; k++) {
        uint64_t header;
        args[n++] = nosi_b_header(b, x, &header)
                        ? nosi_b_word(b, x, k)
                        : nosi_b_add(b, (IrIns){.op = IR_WORD, .type = TY_ANY, .a = x, .imm = k});
    }
    call_func(b, body, i, f, args, n, w + !f->takes_self);
}

static void call_closure(Build *b, Body *body, Instr i)
{
    uint32_t w = INSTR_B(i) + FRAME_HEADER, n = INSTR_C(i);
    const Func *f = known_function(b, body->cur[w]);
    if (!f)
        f = expected_function(b, body, body->cur[w]);
    // Arguments may be left out, but then one tuple may also be all of them: that shows in the
    // call.
    if (f && n > 1 && n < f->n_params && n >= f->n_required) {
        vec_push(&b->ir->depends, f);
        f = cell_func(f->variants[n - f->n_required]);
    }
    if (f && f->n_params == n)
        call_func(b, body, i, f, &body->cur[w + !f->takes_self], n + f->takes_self,
                  w + !f->takes_self);
    else if (f && n == 1 && f->n_required > 1 && f->n_params == f->n_required &&
             f->n_params < MAX_SIGNATURE)
        call_spread(b, body, i, f);
    else if (n >= MAX_SIGNATURE)
        nosi_b_leave(b, nosi_b_before(b, body));
    else
        call_boxed(b, body, i, (IrIns){.op = IR_CALL_CLOSURE}, w, n + 1, w + 1);
}

static void call_method(Build *b, Body *body, Instr i)
{
    const MethodSite *site = body->f->refs[INSTR_C(i)];
    uint32_t w = INSTR_B(i) + FRAME_HEADER;
    if (site->n_args > MAX_SIGNATURE) {
        nosi_b_leave(b, nosi_b_before(b, body));
        return;
    }
    IrIns c = {.op = IR_CALL_METHOD, .imm = (int64_t)(intptr_t)site};
    call_boxed(b, body, i, c, w, site->n_args, w);
}

void nosi_b_budget(Build *b, Body *body)
{
    uint32_t state = nosi_b_state_at(b, body, body->pc + 1, body->cur);
    nosi_b_add(b, (IrIns){.op = IR_BUDGET, .state = state});
}

static void call_native(Build *b, Body *body, Instr i)
{
    const Builtin *native = body->f->refs[INSTR_C(i)];
    uint32_t from = INSTR_B(i), n = native->n_params;
    if (n > MAX_SIGNATURE) {
        nosi_b_leave(b, nosi_b_before(b, body));
        return;
    }
    if (strcmp(native->name, "sqrt") == 0 && n == 1) {
        Ref x = body->cur[from];
        if (INS(x)->type == TY_ANY && nosi_b_static_type(body->f, from) == TY_FLOAT)
            x = nosi_b_as_type(b, x, TY_FLOAT, nosi_b_before(b, body));
        if (x && INS(x)->type == TY_FLOAT) {
            nosi_b_set(b, body, INSTR_A(i),
                       nosi_b_add(b, (IrIns){.op = IR_FSQRT, .type = TY_FLOAT, .a = x}));
            return;
        }
    }
    if (strcmp(native->name, "Char.toInt") == 0 && INS(body->cur[from])->type == TY_ANY) {
        uint32_t st = nosi_b_before(b, body);
        nosi_b_set(
            b, body, INSTR_A(i),
            nosi_b_add(
                b, (IrIns){.op = IR_CHAR_CODE, .type = TY_INT, .a = body->cur[from], .state = st}));
        return;
    }
    Ref v = nosi_b_runtime(b, body, (void *)(uintptr_t)native->fn, RT_NATIVE, &body->cur[from], n,
                           (int64_t)(intptr_t)native);
    nosi_b_set(b, body, INSTR_A(i), v);
    if (native->effects != FX_NONE)
        nosi_b_budget(b, body);
}

void nosi_b_call(Build *b, Body *body, Instr i)
{
    switch (INSTR_OP(i)) {
    case OP_CALL:
    case OP_TCALL:
        call_direct(b, body, i);
        return;
    case OP_CALLC:
    case OP_TCALLC:
        call_closure(b, body, i);
        return;
    case OP_CALLM:
    case OP_TCALLM:
        call_method(b, body, i);
        return;
    default:
        call_native(b, body, i);
    }
}
