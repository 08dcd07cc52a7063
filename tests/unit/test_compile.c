/* test_compile.c -- the compiler from source text to bytecode and, through the interpreter, to
 * results.
 *
 * What code looks like is mostly covered by tests/golden; here are the promises that a diff would
 * not notice: limits, sharing, register representations, line and handler tables, and behaviour
 * that depends on code duplication (finally, holes). */
#include "sched/sched.h"
#include "test.h"
#include "vm/bytecode/bytecode.h"
#include "vm/compile/compile.h"
#include "vm/data/show.h"
#include "vm/run.h"
#include "vm/vm.h"

static Vm *vm;

static void load(const char *text)
{
    vm = nosi_vm_new(&(VmOptions){.threads = 1});
    CHECK(nosi_vm_load_text(vm, "t.nos", text, strlen(text)));
}

/* The current version of the n-th function of that name (in order of declaration). */
static const Func *function(const char *name, uint32_t n)
{
    for (uint32_t i = 0; i < nosi_n_funcs(); i++) {
        FuncCell *cell = nosi_func_by_id(i);
        const Func *f = cell->current;
        if (f && !f->is_library && strcmp(cell->name, name) == 0 && n-- == 0)
            return f;
    }
    fprintf(stderr, "no function %s\n", name);
    abort();
}

static uint32_t count(const Func *f, Opcode op)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n_code; i++)
        n += INSTR_OP(f->code[i]) == op;
    return n;
}

/* Result of main as text, "!text" for an exception. */
static const char *run(const char *text)
{
    static StrBuf out;
    load(text);
    CHECK(nosi_vm_prepare(vm, NULL));
    CHECK_EQ(nosi_run_initialisers(vm), 0);
    Outcome o = nosi_sched_call(vm->sched, vm->entry);
    out.n = 0;
    if (o.kind == EXIT_VALUE) {
        nosi_show(&out, o.value->root, SHOW_NESTED, NULL);
    } else {
        nosi_strbuf_putc(&out, '!');
        nosi_exception_text(o.value->root, &out);
    }
    nosi_outcome_free(&o);
    nosi_vm_free(vm);
    return nosi_strbuf_cstr(&out);
}

/* ---- code ------------------------------------------------------------------------------------ */

TEST(self_tail_call_is_a_loop)
{
    load("f(n: Int, acc: Int) -> Int = if n == 0 then acc else f(n - 1, acc + n)\nmain() = f(3, "
         "0)\n");
    const Func *f = function("f", 0);
    CHECK_EQ(count(f, OP_LOOP), 1);
    CHECK_EQ(count(f, OP_CALL) + count(f, OP_TCALL), 0);
    CHECK_EQ(count(function("main", 0), OP_TCALL), 1);
}

TEST(protected_calls_are_no_tail_calls)
{
    load("g(n) = n\nf(n) = try { g(n) } catch { _ -> g(0) }\nmain() = f(1)\n");
    const Func *f = function("f", 0);
    CHECK_EQ(count(f, OP_CALL), 1);  // the body
    CHECK_EQ(count(f, OP_TCALL), 1); // the arm
    CHECK_EQ(f->n_handlers, 1);
}

TEST(holes_are_filled)
{
    load("f(n: Int) -> List[Int] = if n == 0 then [] else [n | f(n - 1)]\n"
         "type L = E | C(Int, L)\ng(n: Int) -> L = if n == 0 then E else C(n, g(n - 1))\n"
         "type R = S | Q(Int, Int)\nh(n: Int) -> Int = if n == 0 then 0 else 1 + h(n - 1)\nmain() "
         "= (f(1), g(1), h(1))\n");
    CHECK_EQ(count(function("f", 0), OP_SETTAIL), 2);
    CHECK_EQ(count(function("f", 0), OP_CALL), 0);
    CHECK_EQ(count(function("g", 0), OP_FILL), 2);
    CHECK_EQ(count(function("h", 0), OP_CALL), 1);
}

TEST(many_constructors_use_a_switch)
{
    load("type T = A(Int) | B(Int) | C(Int) | D(Int)\n"
         "f(t: T) -> Int = match t { A(x) -> x, B(x) -> x + 1, C(x) -> x + 2, D(x) -> x + 3 }\n"
         "main() = f(A(1))\n");
    const Func *f = function("f", 0);
    CHECK_EQ(count(f, OP_SWITCH), 1);
    CHECK_EQ(count(f, OP_JNCTOR), 0);
    CHECK_EQ(count(f, OP_FIELD_U), 4);
}

TEST(no_test_is_repeated)
{
    load("f(a: Option[Int], b: Option[Int]) -> Int = match (a, b) {\n"
         "    (Some(x), Some(y)) -> x + y\n    (Some(x), None) -> x\n    (None, Some(y)) -> y\n    "
         "(None, None) -> 0\n}\n"
         "main() = f(None, None)\n");
    const Func *f = function("f", 0);
    CHECK_EQ(count(f, OP_JNCTOR), 3); // a once, b once on each side
    CHECK_EQ(count(f, OP_TUPLE), 0);  // the scrutinee is not built
    CHECK_EQ(count(f, OP_PANIC), 0);
}

TEST(typed_code_and_representations)
{
    load(
        "f(a: Int, x: Float) -> Float = { b = a * 2\n    y = x + b\n    y }\nmain() = f(1, 2.0)\n");
    const Func *f = function("f", 0);
    CHECK_EQ(count(f, OP_MUL_I), 1);
    CHECK_EQ(count(f, OP_I2F), 1);
    CHECK_EQ(count(f, OP_ADD_F), 1);
    CHECK_EQ(f->reg_reps[0], REP_INT);
    CHECK_EQ(f->reg_reps[1], REP_FLOAT);
    CHECK_EQ(f->reg_reps[2], REP_INT); // b
    CHECK_STR(f->signature, "Int,Float");
}

TEST(local_functions_without_captures_are_direct_calls)
{
    load("f(n: Int) = {\n    ev(0) = true\n    ev(n) = od(n - 1)\n    od(0) = false\n    od(n) = "
         "ev(n - 1)\n    ev(n)\n}\n"
         "main() = f(10)\n");
    CHECK_EQ(count(function("f", 0), OP_CLOSURE), 0);
    CHECK_EQ(count(function("f", 0), OP_TCALL), 1);
    CHECK_EQ(count(function("ev", 0), OP_TCALL), 1);
    CHECK_EQ(function("ev", 0)->n_captures, 0);
}

TEST(dyn_meets_a_type)
{
    load("f() -> Int = { x: Int = receive { m -> m }\n    x }\nmain() = 0\n");
    CHECK_EQ(count(function("f", 0), OP_CAST), 1);
}

TEST(lines_of_calls)
{
    load("g(x) = x\nf(x) = {\n    a = g(x)\n    b = g(a)\n    (a, b)\n}\nmain() = f(1)\n");
    const Func *f = function("f", 0);
    uint32_t line = 3;
    for (uint32_t i = 0; i < f->n_code; i++)
        if (INSTR_OP(f->code[i]) == OP_CALL)
            CHECK_EQ(nosi_func_line(f, i), line++);
    CHECK_EQ(line, 5);
}

TEST(defaults_have_variants)
{
    load("f(a, b = 2, c = a + b) = (a, b, c)\nmain() = f\n");
    const Func *f = function("f", 0); // the wrappers have the same name
    for (uint32_t k = 1; f->n_params != 3; k++)
        f = function("f", k);
    CHECK_EQ(f->n_required, 1);
    CHECK_EQ(f->variants[0]->current->n_params, 1);
    CHECK_EQ(f->variants[1]->current->n_params, 2);
    CHECK(f->variants[0]->current->hide_in_trace);
}

TEST(raw_fields)
{
    load("type P = { a: Int, b: Float, c: Bool, d: Char, e: String, f: List[Int] }\nmain() = P(1, "
         "1.0, true, 'x', \"\", [])\n");
    const Func *f = function("main", 0);
    for (uint32_t i = 0; i < f->n_code; i++) {
        if (INSTR_OP(f->code[i]) == OP_NEW) {
            const Shape *s = f->refs[INSTR_C(f->code[i])];
            CHECK_EQ(s->raw_mask, 15);
            return;
        }
    }
    CHECK(false);
}

/* ---- results -----------------------------------------------------------------------------------
 */

TEST(finally_runs_once_on_every_way_out)
{
    CHECK_STR(run("mvar log: String = \"\"\n"
                  "f(k) = {\n    var s = 0\n    for i = 0 to 4 {\n        try {\n            if k "
                  "== 0 && i == 1 then continue\n"
                  "            if k == 1 && i == 2 then break\n            if k == 2 && i == 2 "
                  "then return -1\n"
                  "            if k == 3 && i == 1 then throw(\"t\")\n            s = s + i\n"
                  "        } finally { log = log ++ show(i) }\n    }\n    s\n}\n"
                  "main() = { a = f(0)\n    b = f(1)\n    c = f(2)\n    d = try { f(3) } catch { "
                  "\"t\" -> 9 }\n    (a, b, c, d, log) }\n"),
              "(5, 1, -1, 9, \"012301201201\")");
}

TEST(finally_replaces_the_exception)
{
    CHECK_STR(run("main() = try { try { throw(1) } finally { throw(2) } } catch { n -> n }\n"),
              "2");
    CHECK_STR(run("main() = { f = () => { try { throw(1) } finally { return 3 } }\n    f() }\n"),
              "3");
}

TEST(assignments_in_operands)
{
    CHECK_STR(run("main() = { var x = 1\n    y = x + { x = 10\n        x }\n    (x, y) }\n"),
              "(10, 11)");
    CHECK_STR(run("main() = { var x = 1\n    x = if x > 0 && { x = 7\n        true } then x + 1 "
                  "else x\n    x }\n"),
              "8");
}

TEST(or_patterns_bind_from_the_alternative)
{
    CHECK_STR(run("f(p) = match p { (1, x) | (x, 1) when x > 5 -> x\n    (a, _) -> -a }\n"
                  "main() = (f((1, 9)), f((8, 1)), f((1, 2)), f((3, 4)))\n"),
              "(9, 8, -1, -3)");
}

TEST(failures)
{
    CHECK_STR(run("f(0) = 1\nf(n: Int) when n > 5 = 2\nmain() = f(3)\n"),
              "!Panic: Uncaught exception: No clause matched for function 'f/Int'");
    CHECK_STR(run("main() = match 3 { 1 -> 2 }\n"),
              "!Panic: Non-exhaustive match: no pattern matched");
    CHECK_STR(run("main() = { [a] = [1, 2]\n    a }\n"), "!Panic: Pattern match failed");
    CHECK_STR(run("main() = try { { [a] = [1, 2]\n    a } } catch { (k, m) -> m }\n"),
              "\"Pattern match failed\"");
}

TEST(locks_are_released)
{
    CHECK_STR(run("mvar m: Int = 1\nf() = { m = m + { if true then return 5\n    1 }\n    0 }\n"
                  "main() = { a = f()\n    b = try { m = m + throw(\"x\") } catch { _ -> () }\n    "
                  "m = m + 1\n    (a, b, m) }\n"),
              "(5, (), 2)");
}

TEST(long_chains_and_far_jumps)
{
    StrBuf b = {0};
    nosi_strbuf_puts(&b, "f(x: Int) -> Int = x");
    for (int i = 0; i < 2500; i++) // the parser takes up to 3,000
        nosi_strbuf_puts(&b, " + x");
    nosi_strbuf_puts(&b, "\nid(x: Int) -> Int = x\ng(n: Int) -> Int = {\n    var s = 0\n    var i "
                         "= 0\n    while i < n {\n"
                         "        if i == 1 then s = s + 1000\n");
    for (int i = 0; i < 15000; i++)
        nosi_strbuf_puts(&b, "        s = s + id(i)\n");
    nosi_strbuf_puts(&b, "        i = i + 1\n    }\n    s\n}\nmain() = (f(2), g(3))\n");
    CHECK_STR(run(nosi_strbuf_cstr(&b)), "(5002, 46000)");
    nosi_strbuf_free(&b);
}

TEST(too_large_is_an_error)
{
    StrBuf b = {0};
    nosi_strbuf_puts(&b, "f(x) = {\n");
    for (int i = 0; i < 66000; i++)
        nosi_strbuf_printf(&b, "    v%d = x + %d\n", i, i);
    nosi_strbuf_puts(&b, "    v0\n}\nmain() = f(1)\n");
    vm = nosi_vm_new(&(VmOptions){.threads = 1});
    CHECK(!nosi_vm_load_text(vm, "t.nos", b.s, b.n));
    nosi_strbuf_free(&b);
}
