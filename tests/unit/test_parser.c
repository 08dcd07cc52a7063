/* test_parser.c -- sections 2 to 6 of the core specification: layout, precedence, grammar,
 * recovery, limits. */
#include <dirent.h>

#include "tests/unit/front_util.h"

/* ---- layout (2.1)
 * ---------------------------------------------------------------------------------------- */

TEST(layout_operator_at_line_end_goes_on)
{
    EXPR("a +\n b *\n\n c", "(+ a (* b c))");
    EXPR("x ::\n y", "(:: x y)");
    EXPR("p <-\n m", "(<- p m)");
    EXPR("a |>\n f", "(|> a f)");
}

TEST(layout_pipe_and_dot_may_start_a_line)
{
    EXPR("start\n |> step\n\n |> step", "(|> (|> start step) step)");
    EXPR("people\n .filter(p => p.age > 17)\n .map(p => p.name)",
         "(.map (.filter people (fn (p) (> (. age p) 17))) (fn (p) (. name p)))");
}

TEST(layout_minus_on_a_new_line_is_a_new_statement)
{
    EXPR("{ a\n - b }", "(block a (neg b))");
}

TEST(layout_call_and_index_stay_on_the_line)
{
    EXPR("{ f\n (1, 2) }", "(block f (tuple 1 2))");
    EXPR("{ xs\n [0] }", "(block xs (list 0))");
    EXPR("{ f (1) }", "(block (call f 1))");
}

TEST(layout_question_mark_stays_on_the_line)
{
    EXPR("{ f(x)? }", "(block (? (call f x)))");
    ERROR_AT("f() = {\n  a\n  ?\n}", 3, 3, "");
}

TEST(layout_binary_operator_cannot_start_a_line)
{
    ERROR_AT("f() = {\n  a\n  + b\n}", 3, 3, "`+`");
    ERROR_AT("f() = {\n  a\n  ++ b\n  c\n}", 3, 3, "`++`");
}

TEST(layout_brackets_ignore_newlines)
{
    EXPR("f(\n a\n ,\n b\n)", "(call f a b)");
    EXPR("[\n 1\n ,\n 2\n |\n t\n]", "(list 1 2 | t)");
    EXPR("(\n 1\n ,\n 2\n)", "(tuple 1 2)");
    EXPR("%{\n \"a\" : 1\n ,\n}", "(map \"a\" 1)");
    EXPR("#{\n 1\n}", "(set 1)");
    EXPR("xs[\n 0]", "(index xs 0)");
    EXPR("[\n 1\n ..\n 2\n]", "(range 1 2)");
}

TEST(layout_if)
{
    EXPR("if c\n then a\n else b", "(if c a b)");
    EXPR("if\n c\n then\n a\n else\n b", "(if c a b)");
    EXPR("{ if c then a\n else b\n d }", "(block (if c a b) d)");
}

TEST(layout_try_and_match)
{
    EXPR("try { a }\n catch\n { e -> b }\n finally\n { c }",
         "(try (block a) catch (e -> b) finally (block c))");
    EXPR("match x\n{ 1 -> a\n 2 -> b }", "(match x (1 -> a) (2 -> b))");
}

TEST(layout_after_arrows_and_equals)
{
    EXPR("{ x =\n 1\n x }", "(block (= x 1) x)");
    EXPR("match x { 1 ->\n a }", "(match x (1 -> a))");
    EXPR("x =>\n x", "(fn (x) x)");
}

TEST(layout_return_and_break_end_with_the_line)
{
    EXPR("{ return\n x }", "(block (return) x)");
    EXPR("{ return x }", "(block (return x))");
    EXPR("while c { break\n x }", "(while c (block (break) x))");
    EXPR("while c { break 1 }", "(while c (block (break 1)))");
    EXPR("if a then return else b", "(if a (return) b)");
    EXPR("{ return -1 }", "(block (return (neg 1)))");
}

TEST(layout_heads_of_definitions)
{
    ITEMS("f(\n a,\n b\n)\n =\n a", "(fn f (a b) a)\n");
    ITEMS("type T =\n | A\n | B(Int)\n", "(type T A (B Int))\n");
    ITEMS("type T = A\n | B", "(type T A B)\n");
    ITEMS("x =\n -1", "(let x (neg 1))\n");
}

TEST(layout_worked_example)
{
    EXPR("{\ntotal = base +\n    extra\nnames = people\n    .filter(ok)\n    .map(name)\nn = "
         "start\n    |> step\n    |> step\n}",
         "(block (= total (+ base extra)) (= names (.map (.filter people ok) name)) (= n (|> (|> "
         "start step) step)))");
}

TEST(layout_separators)
{
    EXPR("{ a; b, c\n d;\n }", "(block a b c d)");
    EXPR("{\n\n a\n\n\n b\n\n}", "(block a b)");
    ERROR_AT("f() = { a b }", 1, 11, "");
    ERROR_AT("f() = { ; a }", 1, 9, "");
    ERROR_AT("f() = { x: 1 }", 1, 10, "");
}

TEST(layout_items_need_no_separator)
{
    ITEMS("f(x) = 1 g(x) = 2", "(fn f (x) 1)\n(fn g (x) 2)\n");
}

/* ---- operators (3)
 * --------------------------------------------------------------------------------------- */

TEST(operators_levels)
{
    EXPR("p <- a |> f || b && c == d ++ e :: g + h * i ** j",
         "(<- p (|> a (|| f (&& b (== c (++ d (:: e (+ g (* h (** i j))))))))))");
}

TEST(operators_associativity)
{
    EXPR("a - b - c", "(- (- a b) c)");
    EXPR("a :: b :: c", "(:: a (:: b c))");
    EXPR("2 ** 3 ** 2", "(** 2 (** 3 2))");
    EXPR("a ++ b ++ c", "(++ (++ a b) c)");
    EXPR("a < b == c", "(== (< a b) c)");
    EXPR("a % b * c", "(* (% a b) c)");
}

TEST(operators_prefix)
{
    EXPR("-a ** 2", "(** (neg a) 2)");
    EXPR("-x.abs()", "(neg (.abs x))");
    EXPR("not a == b", "(== (not a) b)");
    EXPR("!!a", "(not (not a))");
    EXPR("- - a", "(neg (neg a))");
    EXPR("~f.body * 2", "(* (~ (. body f)) 2)");
    EXPR("-~x", "(neg (~ x))");
}

TEST(operators_minus_on_literals)
{
    EXPR("-5 % 3", "(% (neg 5) 3)");
    EXPR("-5.abs()", "(neg (.abs 5))");
    EXPR("-2 ** 2", "(** (neg 2) 2)");
}

TEST(operators_send_does_not_chain)
{
    ERROR_AT("f() = a <- b <- c", 1, 14, "");
}

TEST(operators_open_ended_primaries_swallow)
{
    EXPR("if p then 1 else 2 + 3", "(if p 1 (+ 2 3))");
    EXPR("x => x + 1", "(fn (x) (+ x 1))");
    EXPR("match v { a -> b }.length() + 1", "(+ (.length (match v (a -> b))) 1)");
    EXPR("a + (x => x)", "(+ a (fn (x) x))");
}

/* ---- declarations (4.1 - 4.5)
 * ---------------------------------------------------------------------------- */

TEST(decl_functions)
{
    ITEMS("pub f(x: Int, y = 2) -> Int = x", "(pub fn f (x:Int y=2) -> Int x)\n");
    ITEMS("f(n) when n < 0 -> T = n", "(fn f (n) when (< n 0) -> T n)\n");
    ITEMS("f[T: Show + Eq, u](x: T,) = x", "(fn f [T:Show+Eq u] (x:T) x)\n");
    ITEMS("f((a, b): (Int, Int), [h | t]) = a",
          "(fn f ((tuple a b):(tuple Int Int) (list h | t)) a)\n");
    ITEMS("adder(k: Int) -> Int -> Int = n => n + k",
          "(fn adder (k:Int) -> (-> Int Int) (fn (n) (+ n k)))\n");
    ERROR_AT("f(x) -> Int when x > 0 = x", 1, 13, "guard");
}

TEST(decl_function_without_body_is_one_error)
{
    ERROR_AT("println(\"hi\")\n\nmain() = 1\n", 3, 1, "expected `=`");
    ERROR_AT("f(x)\ng(x) = 1\n", 2, 1, "`=`");
}

TEST(decl_types)
{
    ITEMS("type Never", "(type Never)\n");
    ITEMS("type Id = Int", "(type Id = Int)\n");
    ITEMS("type A = {}", "(type A (record))\n");
    ITEMS("pub type Pair[A, B] = { left: A, private right: B, }",
          "(pub type Pair [A B] (record left:A private right:B))\n");
    ITEMS("var type Cursor = { row: Int, col: Int }",
          "(var type Cursor (record row:Int col:Int))\n");
    ITEMS("reactive R = L | M(String)", "(reactive R L (M String))\n");
    ITEMS("type Temp = Celsius(Float) | Unknown", "(type Temp (Celsius Float) Unknown)\n");
    ITEMS("type Node = Node { label: String, kids: [Node] }",
          "(type Node (Node label:String kids:(List Node)))\n");
    ITEMS("type O = | Only", "(type O Only)\n");
    ITEMS("type Op = (Int, Int) -> Int", "(type Op = (-> Int Int Int))\n");
    ITEMS("type M = Map[String, [Int]]", "(type M = (Map String (List Int)))\n");
    ITEMS("type Id = Int\n(A, B): Show\n show(self) = 1\nend",
          "(type Id = Int)\n(impl (tuple A B) Show (fn show (self) 1))\n");
}

TEST(types_shapes)
{
    ITEMS("x: (A) -> B = y", "(let x:(-> A B) y)\n");
    ITEMS("x: A -> B -> C = y", "(let x:(-> A (-> B C)) y)\n");
    ITEMS("x: ((A, B)) -> C = y", "(let x:(-> (tuple A B) C) y)\n");
    ITEMS("x: () -> () = y", "(let x:(-> ()) y)\n");
    ITEMS("x: (A) = y", "(let x:A y)\n");
    ITEMS("x: {a: Int, b: t} = y", "(let x:(record a:Int b:'t) y)\n");
    ITEMS("x: Geo.Pt[a,] = y", "(let x:(Geo.Pt 'a) y)\n");
}

TEST(types_keep_their_spelling)
{
    Parsed p;
    const char *src = "f(a: List[ (Int,String) ], b: A->B) = 1";

    parse_bytes(&p, src, strlen(src), false);
    check_no_errors(&p, src);
    CHECK_STR(p.unit->items.at[0]->fn->params.at[0].type->text, "List[(Int, String)]");
    CHECK(p.unit->items.at[0]->fn->params.at[1].type->text);
    parsed_free(&p);
}

TEST(decl_traits)
{
    ITEMS("trait Loud shout(self) -> String end", "(trait Loud (fn shout (self) -> String))\n");
    ITEMS("pub trait A: B, C\n f(self, o: Self) -> Bool = true\n ==(self, o)\nend",
          "(pub trait A : B,C (fn f (self o:Self) -> Bool true) (fn == (self o)))\n");
}

TEST(decl_impls)
{
    ITEMS("Disc: Area area(self) = 3 end", "(impl Disc Area (fn area (self) 3))\n");
    ITEMS("Box[t]: Show when t: Show + Eq\n show(self) = 1\nend",
          "(impl (Box 't) Show when [t:Show+Eq] (fn show (self) 1))\n");
    ITEMS("Box[T]: Show when T: Show show(self) = 1 end",
          "(impl (Box T) Show when [T:Show] (fn show (self) 1))\n");
    ITEMS("[Int]: T end", "(impl (List Int) T)\n");
    ITEMS("(Int, Int): T f(self) when g = 1 end",
          "(impl (tuple Int Int) T (fn f (self) when g 1))\n");
}

TEST(decl_missing_end)
{
    ERROR_AT("trait A\n f(self) -> Int\npub g() = 1\n", 3, 1, "`end`");
    ERROR_AT("Int: A\n f(self) = 1\ntype T = Int\n", 3, 1, "`end`");
}

TEST(decl_modules)
{
    ITEMS("pub module M\n pub f() = 1\n module N type T = Int end\nend",
          "(pub module M (pub fn f () 1) (module N (type T = Int)))\n");
}

TEST(decl_use)
{
    ITEMS("use a.b.*", "(use a.b.*)\n");
    ITEMS("use a.b.{x, Y, z as w,}", "(use a.b x Y z as w)\n");
    ITEMS("use a.{\n x,\n y\n}\n", "(use a x y)\n");
    ITEMS("use a.b.x as y", "(use a.b single x as y)\n");
    ITEMS("use stdlib.server\nf() = 1", "(use stdlib single server)\n(fn f () 1)\n");
    ERROR_AT("use m\nf() = 1", 1, 1, "bare `use m` is not valid");
    ERROR_AT("import m\nf() = 1", 1, 1, "'import' is a reserved keyword");
}

TEST(decl_values)
{
    ITEMS("const Limit = 10", "(const Limit 10)\n");
    ITEMS("pub const x = -1", "(pub const x (neg 1))\n");
    ITEMS("mvar hits: Int = 0", "(mvar hits:Int 0)\n");
    ITEMS("limit: Int = 5", "(let limit:Int 5)\n");
    ITEMS("primes = [2, 3]", "(let primes (list 2 3))\n");
    ERROR_AT("mvar x = 0\nf() = 1", 1, 8, "type");
    ITEMS("test \"n\" = assert(true)", "(test n (call assert true))\n");
    ITEMS("extern type Handle\nextern f(a: Int) -> Int from \"lib\"\ng() = 1",
          "(extern Handle)\n(extern f)\n(fn g () 1)\n");
}

TEST(decl_templates)
{
    ITEMS("template t(f, n) = quote { ~f.body + ~n }",
          "(template t (f n) (quote (block (+ (~ (. body f)) (~ n)))))\n");
    ITEMS("@dbl\n@inc(1, true)\nseven() = 6", "((@dbl) (@inc 1 true) (fn seven () 6))\n");
    EXPR("quote(if ~on { quote(a) } else { quote(~b) })",
         "(quote (if (~ on) (block (quote a)) (block (quote (~ b)))))");
    EXPR("~t.fields.map(c => eval(\"x\"))", "(~ (.map (. fields t) (fn (c) (call eval \"x\"))))");
    EXPR("quote {\n ~if ~on { quote(a) } else { b }\n}",
         "(quote (block (~ (if (~ on) (block (quote a)) (block b)))))");
}

/* ---- statements (4.6)
 * ------------------------------------------------------------------------------------ */

TEST(stmt_bindings)
{
    EXPR("{ var hits = 0 }", "(block (var hits 0))");
    EXPR("{ limit: Int = 10 }", "(block (= limit:Int 10))");
    EXPR("{ (lo, hi) = (1, 9) }", "(block (= (tuple lo hi) (tuple 1 9)))");
    EXPR("{ [first | others] = [4, 5] }", "(block (= (list first | others) (list 4 5)))");
    EXPR("{ Some(x) = y }", "(block (= (Some x) y))");
    EXPR("{ P(a: x) = y }", "(block (= (P a:x) y))");
    EXPR("{ _ = f() }", "(block (= _ (call f)))");
    EXPR("{ (a, b): (Int, Int) = p }", "(block (= (tuple a b):(tuple Int Int) p))");
    EXPR("{ {name, age: a} = p }", "(block (= (record name:name age:a) p))");
    EXPR("{ -1 = x }", "(block (= -1 x))");
    EXPR("{ None = x }", "(block (= None x))");
}

TEST(stmt_assignments)
{
    EXPR("{ cells[0] = v }", "(block (set-index cells 0 v))");
    EXPR("{ r.f = v }", "(block (set-field f r v))");
    EXPR("{ a.b[i].c = v }", "(block (set-field c (index (. b a) i) v))");
}

TEST(stmt_op_assign)
{
    EXPR("{ x += 1 }", "(block (= x (+ x 1)))");
    EXPR("{ x *= y + 1 }", "(block (= x (* x (+ y 1))))");
    EXPR("{ a[i] -= 1 }", "(block (set-index a i (- (index a i) 1)))");
    EXPR("{ r.n /= 2 }", "(block (set-field n r (/ (. n r) 2)))");
}

TEST(stmt_op_assign_shares_no_node)
{
    Parsed p;
    const char *src = "f() = { a[g(i)] += 1 }";

    parse_bytes(&p, src, strlen(src), false);
    check_no_errors(&p, src);
    const Expr *s = p.unit->items.at[0]->fn->body->list.at[0];
    CHECK(s->kind == EXPR_ASSIGN_INDEX);
    CHECK(s->a != s->c->a->a);
    CHECK(s->b != s->c->a->b); // passes write into nodes, so each must stand at one place
    parsed_free(&p);
}

TEST(stmt_conditional_assignment)
{
    EXPR("{ if c then n = n + 1 }", "(block (if c (= n (+ n 1))))");
    EXPR("{ if c then n = 1 else n = 2 }", "(block (if c (= n 1) (= n 2)))");
    EXPR("{ if a then n = 1 else if b then n = 2 else m = 3 }",
         "(block (if a (= n 1) (if b (= n 2) (= m 3))))");
    EXPR("{ if c then xs[0] = 1 }", "(block (if c (set-index xs 0 1)))");
}

TEST(stmt_local_functions)
{
    EXPR("{ square(k) = k * k\n square(2) }", "(block (def square (k) (* k k)) (call square 2))");
    EXPR("{ go(n: Int, acc = 0) -> Int = n }", "(block (def go (n:Int acc=0) -> Int n))");
    EXPR("{ g(x: 1, s: \"a\") = x }", "(block (def g (x=1 s=\"a\") x))");
    EXPR("{ g(x: other) = x }", "(block (def g (x=other) x))");
    EXPR("{ g(x: a, y: [Int], z: Foo[a], f: (A) -> B) = x }",
         "(block (def g (x:'a y:(List Int) z:(Foo 'a) f:(-> A B)) x))");
    EXPR("{ g(x: [1, 2]) = x }", "(block (def g (x=(list 1 2)) x))");
}

TEST(stmt_not_assignable)
{
    ERROR_AT("f() = {\n  a + b = 3\n}", 2, 3, "cannot assign");
    ERROR_AT("f() = {\n  x => total = total + x\n}", 2, 3, "cannot assign");
    ERROR_AT("f() = {\n  %{\"a\": 1} = m\n}", 2, 3, "cannot assign");
    ERROR_AT("f() = {\n  a.g(1) = m\n  b\n}", 2, 3, "cannot assign");
    ERROR_AT("f() = {\n  g[T](x) = x\n  b\n}", 2, 3, "");
    ERROR_AT("f() = {\n  t.0 = 1\n}", 2, 3, "cannot assign");
}

TEST(stmt_in_an_arm)
{
    EXPR("match x { Some(n) -> sum = sum + n\n _ -> xs[0] = 1 }",
         "(match x ((Some n) -> (= sum (+ sum n))) (_ -> (set-index xs 0 1)))");
}

/* ---- expressions (4.7)
 * ----------------------------------------------------------------------------------- */

TEST(expr_unit_and_empty_block)
{
    EXPR("()", "()");
    EXPR("(())", "()");
    EXPR("(1)", "1");
    ERROR_AT("f() = (1,)", 1, 7, "tuple");
}

TEST(expr_if)
{
    EXPR("if ready { go() } else { wait() }", "(if ready (block (call go)) (block (call wait)))");
    EXPR("if a b", "(if a b)");
    EXPR("if a then b", "(if a b)");
    EXPR("if a then b else if c then d else e", "(if a b (if c d e))");
}

TEST(expr_match_arms)
{
    EXPR("match x { 0 -> 1, _ -> 2 }", "(match x (0 -> 1) (_ -> 2))");
    EXPR("match x { | 0 -> 1 | _ -> 2 }", "(match x (0 -> 1) (_ -> 2))");
    EXPR("match x { 0 -> 1; _ -> 2; }", "(match x (0 -> 1) (_ -> 2))");
    EXPR("match x { 0 -> 1 _ -> 2 }", "(match x (0 -> 1) (_ -> 2))");
    EXPR("match x { n when n > 0 -> n }", "(match x (n when (> n 0) -> n))");
    EXPR("match x { 1 | 2 -> a }", "(match x ((or 1 2) -> a))");
    ERROR_AT("f(x) = match x { }\ng() = 1", 1, 8, "at least one arm");
}

TEST(expr_try)
{
    EXPR("try f()", "(try (call f))");
    EXPR("try { a } catch { }", "(try (block a) catch)");
    EXPR("try { a } finally { b }", "(try (block a) finally (block b))");
}

TEST(expr_receive)
{
    EXPR("receive { msg -> a }", "(receive (msg -> a))");
    EXPR("receive { x -> x after 50 -> 0 }", "(receive (x -> x) (after 50 0))");
    EXPR("receive {\n (r, v) -> v\n after 10 ->\n n = 1\n}",
         "(receive ((tuple r v) -> v) (after 10 (= n 1)))");
    EXPR("receive { }", "(receive)");
    ERROR_AT("f() = receive(x)\ng() = 1", 1, 14, "`receive` requires a block with pattern arms");
}

TEST(expr_loops)
{
    EXPR("for i = 0 to n { a }", "(for i 0 n (block a))");
    EXPR("for _ = a to b f()", "(for _ a b (call f))");
    EXPR("while x < 3 { continue }", "(while (< x 3) (block (continue)))");
    EXPR("while\n c\n f()", "(while c (call f))");
    ERROR_AT("f() = {\n  for x in xs { x }\n}", 2, 9, "in");
}

TEST(expr_do)
{
    EXPR("do x = 1 x end", "(block (= x 1) x)");
    EXPR("do\n (a, b) = p\n a\nend", "(block (= (tuple a b) p) a)");
}

TEST(expr_spawn)
{
    EXPR("spawn { work(3) }", "(spawn (block (call work 3)))");
    EXPR("spawn(f)", "(spawn f)");
    EXPR("spawn(f, 1, 2)", "(spawn f 1 2)");
    EXPR("spawn_link(() => f())", "(spawn_link (fn () (call f)))");
    EXPR("spawn_monitor { a }", "(spawn_monitor (block a))");
    EXPR("urls.each(url => spawn {\n me <- url\n})",
         "(.each urls (fn (url) (spawn (block (<- me url)))))");
}

TEST(expr_lambdas)
{
    EXPR("() => 1", "(fn () 1)");
    EXPR("_ => 1", "(fn (_) 1)");
    EXPR("(a, b) => a", "(fn (a b) a)");
    EXPR("((a, b)) => a", "(fn ((tuple a b)) a)");
    EXPR("(x: Int, y: [Int]) -> Int => x", "(fn (x:Int y:(List Int)) -> Int x)");
    EXPR("x -> Int => x", "(fn (x) -> Int x)");
    EXPR("x => y => x", "(fn (x) (fn (y) x))");
    EXPR("Some(n) => n", "(fn ((Some n)) n)");
    EXPR("[h | t] => h", "(fn ((list h | t)) h)");
    EXPR("0 => 1", "(fn (0) 1)");
    EXPR("{a, b} => a", "(fn ((record a:a b:b)) a)");
    EXPR("f(x => x, (y) => y)", "(call f (fn (x) x) (fn (y) y))");
}

TEST(expr_guard_is_not_a_typed_lambda) // 4.10 (2)
{
    EXPR("match x { n when flag -> y => y }", "(match x (n when flag -> (fn (y) y)))");
    EXPR("match x { n when (flag) -> y => y }", "(match x (n when flag -> (fn (y) y)))");
    EXPR("receive { x -> x after ms -> y => y }", "(receive (x -> x) (after ms (fn (y) y)))");
    ITEMS("f(n) when ok -> T = n", "(fn f (n) when ok -> T n)\n");
}

TEST(expr_type_application) // D-13
{
    EXPR("fromJson[User](j)", "(call fromJson [User] j)");
    EXPR("make[Map[String, Int], (A, B)]()", "(call make [(Map String Int) (tuple A B)])");
    EXPR("x.decode[T](1)", "(.decode x [T] 1)");
    EXPR("fs[i](3)", "(call (index fs i) 3)");
    EXPR("fs[0](3)", "(call (index fs 0) 3)");
    EXPR("fs[f(1)](3)", "(call (index fs (call f 1)) 3)");
    EXPR("xs[N]", "(index xs N)");
    EXPR("r.f[i]", "(index (. f r) i)");
    EXPR("r.f[T]", "(index (. f r) T)");
}

TEST(expr_arguments)
{
    EXPR("f(b: 2, a = 1, c)", "(call f b:2 a:1 c)");
    EXPR("f(a == 1)", "(call f (== a 1))");
    EXPR("f(a => 1)", "(call f (fn (a) 1))");
    EXPR("P(p, x: 9,)", "(call P p x:9)");
    EXPR("r.f(to: 2)", "(.f r to:2)");
    EXPR("a.b.T(x: 1)", "(.T (. b a) x:1)");
}

TEST(expr_members)
{
    EXPR("r.type", "(. type r)");
    EXPR("r.to.from.end", "(. end (. from (. to r)))");
    EXPR("m.Self", "(. Self m)");
    EXPR("t.0(1)", "(call (. 0 t) 1)");
    EXPR("5.double()", "(.double 5)");
    EXPR("(a + b).show()", "(.show (+ a b))");
    EXPR("f(1)(2)[3].x?", "(? (. x (index (call (call f 1) 2) 3)))");
    ERROR_AT("f() = a.\ng() = 1", 2, 1, "after `.`");
}

TEST(expr_modulo_or_map)
{
    EXPR("a % b", "(% a b)");
    EXPR("a %b", "(% a b)");
    EXPR("a % {b}", "(% a (block b))");
    EXPR("f(%{\"a\": 1})", "(call f (map \"a\" 1))");
    EXPR("match m { %{\"a\": v} -> v, _ -> 0 }", "(match m ((map \"a\":v) -> v) (_ -> 0))");
}

TEST(expr_trailing_commas)
{
    EXPR("[1, 2,]", "(list 1 2)");
    EXPR("(1, 2,)", "(tuple 1 2)");
    EXPR("f(1,)", "(call f 1)");
    EXPR("#{1,}", "(set 1)");
    EXPR("((a, b,) => a)", "(fn (a b) a)");
}

TEST(expr_reserved_words)
{
    ERROR_AT("f(type) = 1", 1, 3, "'type' is a reserved keyword");
    ERROR_AT("f() = {\n  match = 1\n  x\n}", 2, 3, "'match' is a reserved keyword");
    ERROR_AT("end(x) = 1\nf() = 1", 1, 1, "");
    ERROR_AT("f() = {\n  var when = 1\n}", 2, 7, "'when' is a reserved keyword");
    ERROR_AT("for_(x) = 1\nf(a, after) = 1", 2, 6, "'after' is a reserved keyword");
}

/* ---- patterns (4.8)
 * -------------------------------------------------------------------------------------- */

#define PATTERN(text, want) EXPR("match x { " text " -> 1 }", "(match x (" want " -> 1))")

TEST(pattern_literals)
{
    PATTERN("-5", "-5");
    PATTERN("2i8", "2i8");
    PATTERN("-128i8", "-128i8");
    PATTERN("-1.5", "-1.5");
    PATTERN("-9n", "-9n");
    PATTERN("-0.1d", "-0.1d");
    PATTERN("\"s\"", "\"s\"");
    PATTERN("'c'", "'c'");
    PATTERN("true", "true");
    PATTERN("()", "()");
}

TEST(pattern_ranges)
{
    PATTERN("1..50", "(range 1 50)");
    PATTERN("-5..=-1", "(range= -5 -1)");
}

TEST(pattern_lists)
{
    PATTERN("[]", "(list)");
    PATTERN("[a, _]", "(list a _)");
    PATTERN("[a, b | t]", "(list a b | t)");
    PATTERN("[(0 | 1) | rest]", "(list (or 0 1) | rest)");
    PATTERN("[\"http://\" | host]", "(prefix \"http://\" | host)");
    PATTERN("[[a] | []]", "(list (list a) | (list))");
}

TEST(pattern_constructors)
{
    PATTERN("None", "None");
    PATTERN("Some(n)", "(Some n)");
    PATTERN("Disc(r: n, q: _,)", "(Disc r:n q:_)");
    PATTERN("Disc{r, q: 1}", "(Disc r:r q:1)");
    PATTERN("M.Ctor(p)", "(M.Ctor p)");
    PATTERN("m.n.Ctor(p)", "(m.n.Ctor p)");
}

TEST(pattern_records_maps_sets)
{
    PATTERN("{f, g: p, _}", "(record f:f g:p)");
    PATTERN("%{\"k\": p, 1: q, ^v: _}", "(map \"k\":p 1:q ^v:_)");
    PATTERN("%{}", "(map)");
    PATTERN("#{1, \"a\", ^v}", "(set 1 \"a\" ^v)");
    PATTERN("^limit", "^limit");
    PATTERN("^Limit", "^Limit");
    ERROR_AT("f(x) = match x {\n  #{a} -> 1\n}", 2, 5,
             "Set patterns only support literals and pinned variables");
}

/* ---- whole programs
 * -------------------------------------------------------------------------------------- */

TEST(program_appendix_b)
{
    static const char src[] =
        "type Shape = Disc { r: Float } | Box(Float, Float) | Empty\n"
        "type Tally = { seen: Int, label: String }\n"
        "const Limit = 3\nmvar calls: Int = 0\n\n"
        "area(Empty) = 0.0\narea(Box(w, h)) when w > 0.0 = w * h\narea(Disc(r: r)) = 3.0 * r ** "
        "2.0\n"
        "area(_) = 0.0 - 1.0\n\n"
        "Tally: Show\n    show(self) = self.label ++ \"/\" ++ show(self.seen)\nend\n\n"
        "countdown(0, out) = out\ncountdown(n, out) = countdown(n - 1, [n | out])\n\n"
        "grade(n, floor = 50, step = 10) = match n {\n    0 -> \"zero\"\n    1..50 -> \"low\"\n"
        "    k when k >= floor + step && k % 2 == 0 -> \"even high\"\n    _ -> \"high\"\n}\n\n"
        "guarded(x) = try {\n    calls = calls + 1\n    if x > Limit then throw(Tally(x, "
        "\"over\"))\n    10 / x\n"
        "} catch {\n    Tally(n, _) -> 0 - n\n    (\"DivisionByZero\", _) -> 0\n}\n\n"
        "main() = {\n    total = [Disc(r: 2.0), Box(2.0, 3.0), Empty]\n        .map(area)\n"
        "        .fold(0.0, (a, b) => a + b)\n    var results = []\n"
        "    for i = 0 to 5 { results = results ++ [guarded(i)] }\n"
        "    (first, rest) = match results {\n        [h | t] -> (h, t)\n        [] -> (0, [])\n   "
        " }\n"
        "    m = %{\"a\": 1, \"b\": 2}\n    found = match m { %{\"a\": v} -> v, _ -> 0 }\n"
        "    t2 = Tally(Tally(1, \"x\"), seen: 7)\n    assert_eq(18.0, total)\n    "
        "assert_eq(\"x/7\", t2.show())\n"
        "    assert_eq(\"even high\", grade(step: 2, n: 60))\n    calls + found + "
        "rest.length()\n}\n";
    Parsed p;

    parse_bytes(&p, src, sizeof src - 1, false);
    check_no_errors(&p, "appendix B");
    CHECK_EQ(p.unit->items.n, 14);
    CHECK_EQ(p.unit->items.at[13]->fn->body->list.n, 11);
    parsed_free(&p);
}

// The page of seed.md has lost its indentation; its snippets, each as a file.
TEST(program_seed_snippets)
{
    static const char *const snippets[] = {
        "# All these operations are non-blocking!\nmain() = {\n# File I/O\ncontent = "
        "File.read(\"data.txt\")\n"
        "response = Http.get(\"https://api.example.com\")\nconn = Pg.connect(\"host=localhost "
        "user=postgres\")\n"
        "rows = Pg.query(conn, \"SELECT * FROM users\", [])\nsleep(1000)\nreceive { msg -> "
        "println(msg) }\n}\n",
        "mvar counter: Int = 0\nincrement() = {\n# This lock is async!\ncounter = counter + "
        "1\ncounter\n}\nmain() = {\n"
        "me = self()\nfor i = 0 to 1000 {\nspawn {\nincrement()\nme <- \"done\"\n}\n}\nfor i = 0 "
        "to 1000 {\n"
        "receive { \"done\" -> () }\n}\nprintln(\"Final: \" ++ show(counter)) # Always 1000\n}\n",
        "fetch_all(urls) = {\nme = self()\nurls.each(url => spawn {\nresult = Http.get(url)\nme <- "
        "(url, result)\n})\n"
        "# Collect results\nurls.map(_ => receive { (url, result) -> (url, result) })\n}\n",
        "process_order(order_id) = {\norder = Pg.query(conn, \"SELECT * FROM orders WHERE id = "
        "$1\", [order_id])\n"
        "customer = Pg.query(conn, \"SELECT * FROM customers WHERE id = $1\", "
        "[order.customer_id])\n"
        "inventory = Http.post(\"https://inventory.api/check\", order.items)\nfinalize(order, "
        "customer, inventory)\n}\n",
        "heavy_work() = {\nresult = expensive_calculation(1000000)\nresult\n}\nmain() = {\nme = "
        "self()\n"
        "spawn { me <- heavy_work() }\nprintln(\"Computing in background...\")\n"
        "receive { result -> println(\"Got: \" ++ show(result)) }\n}\n",
    };

    for (size_t i = 0; i < sizeof snippets / sizeof *snippets; i++) {
        Parsed p;
        parse_bytes(&p, snippets[i], strlen(snippets[i]), false);
        check_no_errors(&p, snippets[i]);
        parsed_free(&p);
    }
}

static int parse_directory(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char path[600];
        size_t len = strlen(e->d_name);
        if (len < 4 || strcmp(e->d_name + len - 4, ".nos") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "rb");
        static char text[1 << 20];
        size_t size = f ? fread(text, 1, sizeof text, f) : 0;
        Parsed p;
        if (f)
            fclose(f);
        parse_bytes(&p, text, size, false);
        check_no_errors(&p, path);
        parsed_free(&p);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

// Run from the repository root; directories that are absent are skipped.
TEST(program_files_of_the_repository)
{
    int n = parse_directory("lib") + parse_directory("examples") +
            parse_directory("tests/lang/library");

    parse_directory("perf/programs");
    const char *peers = getenv("NOS_PEERS");
    if (peers)
        CHECK(parse_directory(peers) > 0);
    printf("%d files\n", n);
}

/* ---- recovery
 * -------------------------------------------------------------------------------------------- */

TEST(recovery_ten_mistakes_are_ten_errors)
{
    Parsed p;
    static const char src[] = "type lower = Int\n" // 1:6
                              "\n"
                              "a() = {\n"
                              "  x = 1 +\n"
                              "}\n" // 5:1
                              "\n"
                              "b() = {\n"
                              "  foo(1 2)\n" // 8:9
                              "  y = 1\n"
                              "  y y\n"         // 10:5
                              "  a + b = 2\n"   // 11:3
                              "  match y { }\n" // 12:3
                              "}\n"
                              "\n"
                              "mvar m = 1\n"  // 15:8
                              "use m\n"       // 16:1
                              "c() = 300u8\n" // 17:7
                              "d(when) = 1\n" // 18:3
                              "ok() = { z = 1\n z }\n";
    static const unsigned at[][2] = {{1, 6},  {5, 1},  {8, 9},  {10, 5}, {11, 3},
                                     {12, 3}, {15, 8}, {16, 1}, {17, 7}, {18, 3}};

    parse_bytes(&p, src, sizeof src - 1, false);
    unsigned n = 0;
    for (const Diag *d = p.diags.first; d; d = d->next)
        n++;
    const char *r = rendered(&p);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        char want[40];
        snprintf(want, sizeof want, "t.nos:%u:%u: error: ", at[i][0], at[i][1]);
        if (!strstr(r, want)) {
            fprintf(stderr, "no error at %u:%u in\n%s", at[i][0], at[i][1], r);
            abort();
        }
    }
    if (n != 10)
        fprintf(stderr, "%s", r);
    CHECK_EQ(n, 10);
    parsed_free(&p);
}

TEST(recovery_inside_brackets)
{
    ERROR_AT("f() = {\n  foo(1 2,\n    3,\n    4)\n  g()\n}\n", 2, 9, "");
    ERROR_AT("f() = {\n  x = [1, 2 3,\n   4,\n   5]\n  g()\n}\n", 2, 13, "");
    ERROR_AT("f() = {\n  x = ((1 + ) * 2)\n  g()\n}\n", 2, 13, "");
}

TEST(recovery_keeps_the_next_statement)
{
    ERRORS("f() = {\n  x = )\n  y = ]\n  z\n}", "2:7 unexpected `)`|3:7 unexpected `]`");
}

TEST(recovery_unclosed)
{
    ERROR_AT("f() = {\n  foo(1, 2\n  bar(3)\n}\ng() = 1\n", 2, 6, "unclosed `(`");
    ERROR_AT("f() = {\n  x = 1\n\ng() = {\n  2\n}\n", 1, 7, "unclosed `{`");
    ERROR_AT("f() = {\n  if a {\n    b\n}\n\ng() = 2\n", 2, 8, "unclosed `{`");
    ERROR_AT("f() = [1, 2\n\ng() = 2\n", 1, 7, "unclosed `[`");
    ERROR_AT("f() = (1, 2]\n\ng() = 2\n", 1, 12, "`)`");
    ERROR_AT("f() = 1 }\n\ng() = 2\n", 1, 9, "unexpected `}`");
}

TEST(recovery_items)
{
    ERRORS("f() = 1\n)\ng() = 2\n", "2:1 unexpected `)`");
    ERROR_AT("f() 1\ng() = 2\n", 1, 5, "`=`");
    ERROR_AT("trait T\n  f(self) -> -> Int\n  g(self)\nend\nh() = 1\n", 2, 14, "");
}

TEST(recovery_arms)
{
    ERROR_AT("f(x) = match x {\n  1 -> 2\n  + -> 1\n  4 -> 5\n}\n", 3, 3, "");
}

/* ---- limits
 * ---------------------------------------------------------------------------------------------- */

static void repeat(StrBuf *b, const char *s, int n)
{
    while (n-- > 0)
        nosi_strbuf_puts(b, s);
}

/* `head` + n times `unit` + `tail`; too_deep: exactly one error, the one about nesting. */
static void check_repeated(const char *head, const char *unit, int n, const char *tail,
                           bool too_deep)
{
    StrBuf b = {0};
    Parsed p;

    nosi_strbuf_puts(&b, head);
    repeat(&b, unit, n);
    nosi_strbuf_puts(&b, tail);
    parse_bytes(&p, b.s, b.n, false);
    if (!too_deep)
        check_no_errors(&p, head);
    else if (p.diags.n_errors != 1 ||
             !strstr(p.diags.first->message, "expression nested too deeply")) {
        fprintf(stderr, "%s %s: %u errors, %s\n", head, unit, p.diags.n_errors,
                p.diags.first ? p.diags.first->message : "");
        abort();
    }
    nosi_strbuf_free(&b);
    parsed_free(&p);
}

TEST(limit_long_lists_are_fine)
{
    check_repeated("f() = [", "1, ", 100000, "1]", false);
    check_repeated("f() = {", "x = 1\n", 100000, "x}", false);
    check_repeated("f(x) = match x {", "1 -> 2\n", 50000, "_ -> 3}", false);
}

TEST(limit_chains)
{
    check_repeated("f() = a", " + a", 2900, "", false);
    check_repeated("f() = a", " + a", 100000, "", true);
    check_repeated("f() = a", " ++ a", 100000, "", true);
    check_repeated("f() = a", " :: a", 2900, "", false);
    check_repeated("f() = a", " :: a", 100000, "", true);
    check_repeated("f() = a", " ** a", 100000, "", true);
    check_repeated("f() = a", ".b", 100000, "", true);
    check_repeated("f() = a", "(1)", 100000, "", true);
    check_repeated("f() = a", " |> b", 100000, "", true);
    check_repeated("f() = ", "if a then b else ", 2900, "c", false);
    check_repeated("f() = ", "if a then b else ", 100000, "c", true);
}

TEST(limit_nesting)
{
    StrBuf b = {0};

    repeat(&b, "(", 400);
    nosi_strbuf_puts(&b, "1");
    repeat(&b, ")", 400);
    check_repeated("f() = ", b.s, 1, "", false);
    nosi_strbuf_free(&b);
    check_repeated("f() = ", "-", 100000, "x", true);
    check_repeated("f() = ", "x => ", 100000, "x", true);
    check_repeated("f(x: ", "A -> ", 100000, "A) = 1", true);
    check_repeated("f() = ", "return ", 100000, "1", true);
}

static void check_nested(const char *open, const char *close)
{
    StrBuf b = {0};
    Parsed p;
    const int n = 50000;

    nosi_strbuf_puts(&b, "f() = ");
    repeat(&b, open, n);
    nosi_strbuf_puts(&b, "x");
    repeat(&b, close, n);
    parse_bytes(&p, b.s, b.n, false);
    if (p.diags.n_errors != 1 || !strstr(p.diags.first->message, "nested too deeply")) {
        fprintf(stderr, "%s: %u errors, %s\n", open, p.diags.n_errors,
                p.diags.first ? p.diags.first->message : "");
        abort();
    }
    nosi_strbuf_free(&b);
    parsed_free(&p);
}

TEST(limit_brackets)
{
    check_nested("(", ")");
    check_nested("[", "]");
    check_nested("{", "}");
    check_nested("f(", ")");
    check_nested("x[", "]");
}

TEST(limit_unclosed_brackets)
{
    Parsed p;
    StrBuf b = {0};

    nosi_strbuf_puts(&b, "f() = ");
    repeat(&b, "([{", 30000);
    parse_bytes(&p, b.s, b.n, false);
    CHECK(p.diags.n_errors > 0);
    nosi_strbuf_free(&b);
    parsed_free(&p);
}

// Nesting and chains multiply; whatever the shape, later passes must be able to recurse over the
// tree.
static uint32_t height(const Expr *e, uint32_t limit)
{
    const Expr *kids[] = {e->a, e->b, e->c};
    uint32_t h = 0;

    for (int i = 0; i < 3 && limit; i++)
        if (kids[i]) {
            uint32_t k = height(kids[i], limit - 1);
            h = k > h ? k : h;
        }
    return h + 1;
}

TEST(limit_tree_height)
{
    StrBuf b = {0};
    Parsed p;

    nosi_strbuf_puts(&b, "f() = ");
    repeat(&b, "(", 20);
    nosi_strbuf_puts(&b, "a");
    for (int i = 0; i < 20; i++) {
        repeat(&b, " + a", 5000);
        nosi_strbuf_puts(&b, ")");
    }
    parse_bytes(&p, b.s, b.n, false);
    if (p.diags.n_errors == 0)
        CHECK_LT(height(p.unit->items.at[0]->fn->body, 20000), 12000);
    nosi_strbuf_free(&b);
    parsed_free(&p);
}

/* ---- REPL
 * ------------------------------------------------------------------------------------------------
 */

static void check_repl(int line, const char *text, bool incomplete, const char *want)
{
    Parsed p;

    parse_bytes(&p, text, strlen(text), true);
    p.text.n = 0;
    if (p.incomplete != incomplete || (incomplete && p.diags.n_errors)) {
        fprintf(stderr, "line %d: %s: incomplete is %d, %u errors\n", line, text, p.incomplete,
                p.diags.n_errors);
        abort();
    }
    if (want) {
        check_no_errors(&p, text);
        nosi_ast_print_unit(p.unit, &p.text);
        CHECK_STR(nosi_strbuf_cstr(&p.text), want);
    }
    parsed_free(&p);
}

#define REPL(text, want)      check_repl(__LINE__, text, false, want)
#define REPL_INCOMPLETE(text) check_repl(__LINE__, text, true, NULL)
#define REPL_ERROR(text)      check_repl(__LINE__, text, false, NULL)

TEST(repl_inputs)
{
    REPL("1 + 2", "(expr (+ 1 2))\n");
    REPL("x = 5", "(expr (= x 5))\n");
    REPL("var x = 5", "(expr (var x 5))\n");
    REPL("(a, b) = e", "(expr (= (tuple a b) e))\n");
    REPL("f(x) = x", "(fn f (x) x)\n");
    REPL("f(x)", "(expr (call f x))\n");
    REPL("f(0) = 1\nf(n) = n", "(fn f (0) 1)\n(fn f (n) n)\n");
    REPL("type T = A | B", "(type T A B)\n");
    REPL("mvar n: Int = 0", "(mvar n:Int 0)\n");
    REPL("use a.*", "(use a.*)\n");
    REPL("xs.map(x => x)", "(expr (.map xs (fn (x) x)))\n");
    REPL("Some(1)", "(expr (call Some 1))\n");
    REPL("Int: Show show(self) = 1 end", "(impl Int Show (fn show (self) 1))\n");
    REPL("", "");
}

TEST(repl_incomplete)
{
    REPL_INCOMPLETE("f(x) = {");
    REPL_INCOMPLETE("f(x) =");
    REPL_INCOMPLETE("1 +");
    REPL_INCOMPLETE("foo(1,");
    REPL_INCOMPLETE("[1, 2");
    REPL_INCOMPLETE("\"abc");
    REPL_INCOMPLETE("\"abc ${x");
    REPL_INCOMPLETE("match x {\n 1 -> 2");
    REPL_INCOMPLETE("match x");
    REPL_INCOMPLETE("if a then");
    REPL_INCOMPLETE("if a then b else");
    REPL_INCOMPLETE("x =>");
    REPL_INCOMPLETE("trait T\n f(self) -> Int");
    REPL_INCOMPLETE("module M");
    REPL_INCOMPLETE("type T =");
    REPL_INCOMPLETE("a |>");
    REPL_INCOMPLETE("not");
    REPL_INCOMPLETE("#* comment");
    REPL_INCOMPLETE("@dec");
}

TEST(repl_errors_are_not_incomplete)
{
    REPL_ERROR("1 + )");
    REPL_ERROR("a b");
    REPL_ERROR("f(x) = } 1");
}
