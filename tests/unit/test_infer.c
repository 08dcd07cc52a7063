/* Type inference: the conformance mini-suite of part 2 (Appendix D), the worked schemes (Appendix
 * C), unification, what is written for the compiler, and that the library's own sources and
 * signatures are well typed.
 *
 * Reads lib/ from the current directory (the top of the tree). Natives are only named, never
 * called. */
#include "test.h"

#include "vm/bytecode/builtin.h"
#include "vm/bytecode/bytecode.h"
#include "vm/front/parser.h"
#include "vm/types/infer.h"

static Builtin table[] = {
#define BUILTIN(c_name, name, n, signature, effects, doc) {name, signature, n, effects, doc, NULL},
#include "vm/builtins/builtins.def"
#undef BUILTIN
};
const Builtin *const nosi_builtins = table;
const uint32_t nosi_n_builtins = NOS_COUNT(table);

void nosi_builtins_init(void)
{
    for (uint32_t i = 0; i < nosi_n_builtins; i++)
        table[i].name = nosi_intern_cstr(table[i].name);
}

const Builtin *nosi_builtin_find(Name name, uint32_t n_params)
{
    for (uint32_t i = 0; i < nosi_n_builtins; i++)
        if (table[i].name == name && table[i].n_params == n_params)
            return &table[i];
    return NULL;
}

/* ---- a program ------------------------------------------------------------------------------ */

static Arena arena;
static SourceSet sources;
static DiagList diags;
static Program *prog;

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char buf[1 << 16];
    size_t n = fread(buf, 1, sizeof buf, f);
    CHECK(n < sizeof buf);
    fclose(f);
    return nosi_arena_strndup(&arena, buf, n);
}

static SourceUnit *parse(const char *path, const char *text, bool is_library)
{
    uint32_t file = nosi_sources_add(&sources, path, text, strlen(text), true, is_library);
    return nosi_parse_file(&arena, &sources, file, &diags);
}

static SourceUnit *load(void *ctx, Name path, bool *is_library)
{
    (void)ctx;
    if (strncmp(path, "stdlib.", 7))
        return NULL;
    char file[128];
    snprintf(file, sizeof file, "lib/%s.nos", path + 7);
    char *text = read_file(file);
    *is_library = true;
    return text ? parse(file, text, true) : NULL;
}

static void begin(void)
{
    static const char *const prelude[] = {"option", "core", "list", "string",
                                          "map",    "set",  "io",   "process"};
    nosi_builtins_init();
    nosi_arena_init(&arena);
    nosi_sources_init(&sources);
    nosi_diag_init(&diags, &arena, &sources);
    prog = nosi_program_new(&sources, load, NULL);
    prog->diags = &diags;
    for (size_t i = 0; i < NOS_COUNT(prelude); i++) {
        char file[128], name[128];
        snprintf(file, sizeof file, "lib/%s.nos", prelude[i]);
        snprintf(name, sizeof name, "stdlib.%s", prelude[i]);
        char *text = read_file(file);
        CHECK(text);
        nosi_program_add_unit(prog, parse(file, text, true), nosi_intern_cstr(name), true, true);
    }
}

static void end(void)
{
    nosi_program_free(prog);
    nosi_sources_free(&sources);
    nosi_arena_free(&arena);
}

static bool add(const char *text)
{
    Module *m = nosi_program_add_unit(prog, parse("test.nos", text, false), nosi_intern_cstr(""),
                                      false, false);
    if (!prog->root)
        prog->root = m;
    CHECK_EQ(diags.n_errors, 0); // of the parser
    return nosi_program_check(prog, &diags);
}

static void show_diags(void)
{
    StrBuf out = {0};
    nosi_diag_render(&diags, &out, false);
    fputs(nosi_strbuf_cstr(&out), stderr);
    nosi_strbuf_free(&out);
}

static bool has_error(const char *part)
{
    for (Diag *d = diags.first; d; d = d->next)
        if (d->severity == DIAG_ERROR && strstr(d->message, part))
            return true;
    return false;
}

/* A program without errors, left to be looked at. */
static void accept(const char *text)
{
    begin();
    if (!add(text))
        show_diags();
    CHECK_EQ(diags.n_errors, 0);
}

static void accepts(const char *text)
{
    accept(text);
    end();
}

static void rejects(const char *text, const char *part)
{
    begin();
    bool ok = add(text);
    if (ok || !has_error(part)) {
        show_diags();
        fprintf(stderr, "wanted: %s\n", part);
    }
    CHECK(!ok);
    CHECK(has_error(part));
    end();
}

/* Rejected with exactly n errors: no mistake is reported twice, and none follows from another. */
static void rejects_with(const char *text, const char *part, uint32_t n)
{
    begin();
    CHECK(!add(text));
    if (diags.n_errors != n || !has_error(part))
        show_diags();
    CHECK_EQ(diags.n_errors, n);
    CHECK(has_error(part));
    end();
}

static Function *function(const char *name)
{
    Symbol *s = nosi_lookup_value(prog, prog->root, nosi_intern_cstr(name));
    CHECK(s && s->funcs.n);
    return s->funcs.at[0];
}

static Expr *body(const char *name)
{
    return function(name)->clauses.at[0]->body;
}

static void scheme_is(const char *name, const char *expected)
{
    StrBuf out = {0};
    nosi_scheme_show(&out, function(name)->scheme);
    if (strcmp(nosi_strbuf_cstr(&out), expected))
        fprintf(stderr, "%s : %s\n", name, nosi_strbuf_cstr(&out));
    CHECK_STR(nosi_strbuf_cstr(&out), expected);
    nosi_strbuf_free(&out);
}

/* ---- Appendix D ------------------------------------------------------------------------------ */

typedef struct Negative {
    const char *id, *part, *text;
} Negative;

typedef struct Positive {
    const char *id, *title, *text;
} Positive;

static const Negative negatives[] = {
    {"A1", "unknown variable", "main() = { base = 4; base * scael }\n"},
    {"A2", "unknown function", "main() = String.shout(\"hey\")\n"},
    {"A3", "Widget", "main() = { w = Widget(1); 0 }\n"},
    {"A4", "unknown type `Metre`",
     "len2(d: Metre) = d\n"
     "main() = 0\n"},
    {"A5", "unknown trait",
     "trait Loud: Audible\n"
     "noise(self) -> Int\n"
     "end\n"
     "trait Audible\n"
     "level(self) -> Int\n"
     "end\n"
     "main() = 0\n"},
    {"A5b", "unknown trait",
     "pick[T: Pickable](x: T) = x\n"
     "main() = pick(1)\n"},
    {"A6", "is private in module",
     "module Vault\n"
     "type Key = { code: Int }\n"
     "pub fresh() = Key(7)\n"
     "end\n"
     "use Vault.*\n"
     "main() = Key(1).code\n"},
    {"A8", "unknown",
     "module Low\n"
     "pub depth() = 3\n"
     "end\n"
     "module Mid\n"
     "use Low.*\n"
     "pub twice() = depth() * 2\n"
     "end\n"
     "use Mid.*\n"
     "main() = depth()\n"},
    {"A9", "no method `glow`",
     "module Lamp\n"
     "trait Shiny\n"
     "glow(self) -> Int\n"
     "end\n"
     "Int: Shiny\n"
     "glow(self) = self\n"
     "end\n"
     "end\n"
     "use Lamp.*\n"
     "main() = 5.glow()\n"},
    {"B1", "cannot reassign immutable variable",
     "shift(n) = { n = n + 1; n }\n"
     "main() = shift(2)\n"},
    {"B1b", "cannot reassign immutable variable",
     "main() = { t = 5; for i = 0 to 3 { t = t + i }; t }\n"},
    {"B2", "shadows built-in function 'flatten'",
     "flatten(xss) = xss\n"
     "main() = 0\n"},
    {"B2b", "shadows built-in function",
     "trait Sized\n"
     "length(self) -> Int\n"
     "end\n"
     "main() = 0\n"},
    {"B4", "must implement supertrait",
     "trait Named\n"
     "label(self) -> String\n"
     "end\n"
     "trait Greeter: Named\n"
     "greet(self) -> String\n"
     "end\n"
     "type Cat = { n: String }\n"
     "Cat: Greeter greet(self) = \"hi\" end\n"
     "main() = 0\n"},
    {"C1", "type mismatch",
     "half(n: Int) = n / 2\n"
     "main() = half(\"eight\")\n"},
    {"C1b", "type mismatch",
     "norm(p: (Int, Int)) = p.0\n"
     "type V = { a: Int, b: Int }\n"
     "main() = norm(V(1, 2))\n"},
    {"C2", "type mismatch", "main() = { title: String = 9; title }\n"},
    {"C2b", "expected Int, found Float", "main() = { r = 2.5; n: Int = r; n }\n"},
    {"C3", "type mismatch",
     "area(w: Int) -> String = w * w\n"
     "main() = area(3)\n"},
    {"C3b", "type mismatch",
     "trait Grow\n"
     "grow(self) -> Self\n"
     "end\n"
     "type Plant = { h: Int }\n"
     "Plant: Grow\n"
     "grow(self) = self.h + 1\n"
     "end\n"
     "main() = 0\n"},
    {"C4", "type mismatch",
     "type Tag = Tag(String)\n"
     "main() = Tag(8)\n"},
    {"C5", "type mismatch", "main() = [\"a\", 'b'].length()\n"},
    {"C6", "type mismatch", "main() = [2, 3].fold(\"\", (acc, x) => acc ++ x)\n"},
    {"C6b", "Bool", "main() = [(1, 2)].filter(p => p)\n"},
    {"C6c", "mismatch", "main() = [1].flatMap(n => println(n))\n"},
    {"C7", "type mismatch",
     "through(g) = v => g(v)\n"
     "inc(n: Int) = n + 1\n"
     "main() = { h = through(through(inc)); h(\"x\") }\n"},
    {"C7b", "type mismatch",
     "pipeline(xs, f, p) = filter(p, map(f, xs))\n"
     "main() = pipeline([1], x => x, x => true)\n"},
    {"C8", "Bool", "main() = if 1 then 2 else 3\n"},
    {"C9", "type mismatch", "main() = { k = 3; k(1) }\n"},
    {"C9b", "expected function", "main() = [1, 2].map(\"f\")\n"},
    {"C10", "mismatch",
     "main() = { ages: Map[Char, Float] = %{'m': 1.5}; ages.insert('n', \"two\") }\n"},
    {"C11", "Cannot unify types", "main() = match [1, 2] { (a, b) -> a + b }\n"},
    {"C12", "Type annotation required",
     "twoWays(g, p, q) = [g(q), g(p)]\n"
     "main() = twoWays(show, true, 'c')\n"},
    {"C13", "type mismatch",
     "selfApply(f) = f(f)\n"
     "main() = 0\n"},
    {"C14", "expected List of tuples", "main() = [1, 2].unzip()\n"},
    {"C15", "expected List", "main() = [1].zip(\"ab\")\n"},
    {"C16", "expected List, String, Tuple, or Array", "main() = length(12.5)\n"},
    {"C16b", "use .size() for Map", "main() = length(%{\"k\": 1})\n"},
    {"D1", "does not implement Num",
     "type Coin = Coin(Int)\n"
     "main() = Coin(1) + Coin(2)\n"},
    {"D1b", "String does not implement Num",
     "plus(a, b) = a + b\n"
     "main() = plus(\"a\", 1)\n"},
    {"D1c", "does not implement Num", "main() = -\"x\"\n"},
    {"D2", "does not implement Num",
     "total(xs) = xs.sum()\n"
     "main() = total([\"a\"])\n"},
    {"D3", "does not implement Eq",
     "same(a, b) = a == b\n"
     "main() = same(x => x, y => y)\n"},
    {"D3b", "does not implement Eq", "main() = Set.fromList([[1], [2]])\n"},
    {"D3c", "Eq", "main() = [1, 2].groupBy(x => (y => x + y))\n"},
    {"D4", "does not implement Ord", "main() = [true, false].sort()\n"},
    {"D4b", "does not implement Ord",
     "top(a, b) = if a > b then a else b\n"
     "main() = top(x => x, y => y)\n"},
    {"D5", "does not implement Concat", "main() = [3].map(n => n ++ \"!\")\n"},
    {"D6", "does not implement Priced",
     "trait Priced\n"
     "price(self) -> Int\n"
     "end\n"
     "cost[T: Priced](x: T) -> Int = x.price()\n"
     "viaCost(x) = cost(x)\n"
     "type Rock = { kg: Int }\n"
     "main() = viaCost(Rock(3))\n"},
    {"E1", "no field",
     "type P = { x: Int }\n"
     "main() = [P(1)].map(p => p.y)\n"},
    {"E1b", "has no field", "main() = 7.sides\n"},
    {"E2", "has no field 3", "main() = { corner = ('a', 2.5, true); corner.3 }\n"},
    {"E3", "no method", "main() = [1].wiggle()\n"},
    {"E3b", "no method sort", "main() = Some(1).sort()\n"},
    {"E4", "Wrong number of arguments", "main() = { f = (a, b) => a; f(1) }\n"},
    {"E4b", "expected 2", "main() = [2, 1].sortBy(x => x)\n"},
    {"E4c", "Wrong number of arguments",
     "sum3(a, b, c) = a + b + c\n"
     "main() = [1].map(sum3)\n"},
    {"F1", "non-exhaustive",
     "type Light = Green | Amber | Stop\n"
     "go(l: Light) = match l { Green -> 1\n"
     "Amber -> 2 }\n"
     "main() = go(Green)\n"},
};

static const Positive positives[] = {
    {"P01", "numeric polymorphism",
     "plus(a, b) = a + b\n"
     "main() = { x = plus(2, 3); y = plus(2, 0.5); if y > 2.4 then x else 0 }\n"},
    {"P02", "scheme carries method predicate",
     "lift(c, f) = c.map(f)\n"
     "main() = { a = lift([1], x => x + 1); b = lift(Some(4), x => x * 2); a.head() + "
     "b.unwrapOr(0) }\n"},
    {"P03", "String/List ambiguity",
     "edge(s) = s.take(1)\n"
     "main() = { a = edge(\"xyz\"); b = edge([7, 8]); if a == \"x\" then b.head() else 0 }\n"},
    {"P04", "field predicate",
     "tagOf2(r) = r.tag\n"
     "type A = { tag: Int }\n"
     "type B = { tag: String, n: Int }\n"
     "main() = tagOf2(A(3)) + tagOf2(B(\"ab\", 1)).length()\n"},
    {"P05", "let-polymorphism",
     "main() = { wrapIt = v => [v]; n = wrapIt(5); s = wrapIt(\"q\"); n.head() + s.length() }\n"},
    {"P06", "function alias is polymorphic",
     "idf(x) = x\n"
     "main() = { g = idf; a = g(1); b = g(\"z\"); a + b.length() }\n"},
    {"P07", "flexible type parameter",
     "trait Join join2(self, o: Self) -> Self end\n"
     "type Acc = Acc(Int)\n"
     "Acc: Join join2(self, o) = match (self, o) { (Acc(a), Acc(b)) -> Acc(a + b) } end\n"
     "total[T: Join](xs: List[T]) -> T = match xs { [] -> Acc(0)\n"
     "[x | r] -> foldr(r, x, (i, acc) => i.join2(acc)) }\n"
     "main() = match total([Acc(2), Acc(5)]) { Acc(n) -> n }\n"},
    {"P08", "bound inferred although annotated",
     "order(xs: [a]) = xs.sort()\n"
     "main() = order([3, 1]).head()\n"},
    {"P09", "default typed per call",
     "finish(x, post = w => w) = post([x])\n"
     "main() = { a = finish(3); b = finish(\"k\", ts => ts.length()); a.head() + b }\n"},
    {"P10", "named and skipped defaults",
     "ticket(who: String, seat: Int = 1, hall: String = \"A\") = hall ++ \"-\" ++ show(seat) ++ "
     "who\n"
     "main() = ticket(hall: \"C\", who: \"h\").length()\n"},
    {"P11", "overload by type",
     "desc(n: Int) = \"int\"\n"
     "desc(s: String) = \"text\"\n"
     "desc(x) = \"any\"\n"
     "main() = desc(1) ++ desc(\"a\") ++ desc(true)\n"},
    {"P12", "tuple splat", "main() = [(1, 2), (3, 4)].map((a, b) => a * b).sum()\n"},
    {"P13", "unit callback",
     "mvar seen: Int = 0\n"
     "bump(n) = { seen = seen + n; seen }\n"
     "main() = { [1, 2].each(n => bump(n)); seen }\n"},
    {"P14", "heterogeneous map",
     "main() = { m = %{\"id\": 7, \"who\": \"ann\"}; match m { %{\"id\": i} -> i\n"
     "_ -> 0 } }\n"},
    {"P15", "heterogeneous concat", "main() = ([1] ++ [\"a\"]).length()\n"},
    {"P16", "try join", "main() = { r = try { 1 } catch { e -> \"bad\" }; r }\n"},
    {"P17", "messages are Dyn",
     "main() = { me = self(); spawn { me <- (\"sum\", 4) }; receive { (tag, n) -> n + 1 } }\n"},
    {"P18", "record with function field",
     "type Op = { run: (Int) -> Int }\n"
     "main() = { o = Op(n => n + 1); o.run(4) }\n"},
    {"P19", "Ord on variants and records",
     "type Rank = Low | Mid | High\n"
     "main() = if Low < High then [High, Low].sort().length() else 0\n"},
    {"P20", "impl for instantiated generic",
     "type Crate[T] = { item: T }\n"
     "trait Weigh weight(self) -> Int end\n"
     "Crate[Int]: Weigh weight(self) = self.item end\n"
     "main() = Crate(9).weight()\n"},
    {"P21", "impl on tuple type",
     "trait Tot tot(self) -> Int end\n"
     "(Int, Int): Tot tot(self) = match self { (a, b) -> a + b } end\n"
     "main() = (3, 4).tot()\n"},
    {"P22", "operator impl through bound",
     "type V = { a: Int, b: Int }\n"
     "V: Num\n"
     "add(self, o: V) -> V = V(self.a + o.a, self.b + o.b)\n"
     "sub(self, o: V) -> V = V(self.a - o.a, self.b - o.b)\n"
     "mul(self, o: V) -> V = V(self.a * o.a, self.b * o.b)\n"
     "div(self, o: V) -> V = V(self.a / o.a, self.b / o.b)\n"
     "end\n"
     "dbl[T: Num](x: T) -> T = x + x\n"
     "main() = dbl(V(1, 2)).b\n"},
    {"P23", "shared constructor",
     "type NumT = NLeaf | Node(Int, NumT, NumT)\n"
     "type TxtT = TLeaf | Node(String, TxtT, TxtT)\n"
     "sizeN(t) = match t { NLeaf -> 0\n"
     "Node(_, l, r) -> 1 + sizeN(l) + sizeN(r) }\n"
     "txt() -> TxtT = Node(\"a\", TLeaf, TLeaf)\n"
     "main() = sizeN(Node(1, NLeaf, NLeaf))\n"},
    {"P24", "type parameter shadows library type",
     "thrice[Set](v: Set) -> (Set, Set, Set) = (v, v, v)\n"
     "main() = thrice(4).1\n"},
    {"P25", "supertrait and default method",
     "trait Base name2(self) -> String end\n"
     "trait Fancy: Base\n"
     "deco(self) -> String = \"*\" ++ self.name2()\n"
     "end\n"
     "type Dog = { n: String }\n"
     "Dog: Base name2(self) = self.n end\n"
     "Dog: Fancy end\n"
     "main() = Dog(\"rex\").deco().length()\n"},
    {"P26", "inline modules, qualified and imported",
     "module Geo\n"
     "pub type Pt = { x: Int, y: Int }\n"
     "pub mk(a, b) = Pt(a, b)\n"
     "pub const DIM = 2\n"
     "end\n"
     "use Geo.{Pt, mk}\n"
     "main() = Geo.mk(1, 2).x + mk(3, 4).y + Pt(5, 6).x\n"},
    {"P27", "reactive record and variant",
     "reactive Cell = { v: Int }\n"
     "reactive Mode = Off | On(Int)\n"
     "main() = { c = Cell(1); c.v = c.v + 4; m: Mode = Off; m.set(On(2)); match m.get() { Off -> "
     "0\n"
     "On(k) -> k + c.v } }\n"},
    {"P28", "parameter named like a method",
     "clip(drop, xs) = if drop > 2 then xs.drop(drop) else xs\n"
     "main() = clip(3, [4, 5, 6, 7]).head()\n"},
    {"P29", "structural conflict of tuple clauses",
     "weigh(((w, n), extra)) = w * n + extra\n"
     "weigh((w, extra)) = w + extra\n"
     "main() = weigh(((2, 3), 4)) + weigh((5, 6))\n"},
    {"P30", "polymorphic value passed to typed HOF",
     "trait W w(self) -> Int end\n"
     "Int: W w(self) = self end\n"
     "sumW[T: W](xs: List[T]) -> Int = match xs { [] -> 0\n"
     "[x | r] -> x.w() + sumW(r) }\n"
     "run(f: (List[Int]) -> Int, xs: List[Int]) -> Int = f(xs)\n"
     "main() = run(sumW, [1, 2])\n"},
};

TEST(appendix_d_negative)
{
    for (size_t i = 0; i < NOS_COUNT(negatives); i++) {
        fprintf(stderr, "%s\n", negatives[i].id);
        rejects(negatives[i].text, negatives[i].part);
    }
}

TEST(appendix_d_positive)
{
    for (size_t i = 0; i < NOS_COUNT(positives); i++) {
        fprintf(stderr, "%s %s\n", positives[i].id, positives[i].title);
        accepts(positives[i].text);
    }
}

/* ---- Appendix C ------------------------------------------------------------------------------ */

TEST(appendix_c_schemes)
{
    accept("trait Area area(self) -> Int end\n"
           "plus(a, b) = a + b\n"
           "tripled(row) = row.map(cell => cell * 2)\n"
           "firstName(p) = p.name\n"
           "biggest(xs) = xs.maximum()\n"
           "keep(f, xs) = xs.filter(f)\n"
           "through(g) = v => g(v)\n"
           "drain(k, total) = if k < 1 then total else drain(k - 1, total + k)\n"
           "glue(xs) = [\"head\"] ++ xs\n"
           "lookupOr(m, k, d) = match m.lookup(k) { Some(v) -> v\nNone -> d }\n"
           "relay(src, step) = step(src).flatMap(step)\n"
           "finish(x, post = w => w) = post([x])\n"
           "contains2(c, a, b) = c.contains(a) && c.contains(b)\n"
           "totalArea(xs) = xs.map(s => s.area()).sum()\n"
           "bounded[T: Area](x: T) -> Int = x.area() + 1\n"
           "fresh() = receive { m -> m }\n"
           "main() = 0\n");
    scheme_is("plus", "(a, b) -> c  {Arith+(a, b, c)}");
    scheme_is("tripled", "a -> b  {a.map(c -> c) : b, Arith*(c, Int, c)}");
    scheme_is("firstName", "a -> b  {a.name : b}");
    scheme_is("biggest", "List[a] -> a  {Ord a}");
    scheme_is("keep", "(a -> Bool, List[a]) -> List[a]");
    scheme_is("through", "(a -> b) -> (a -> b)");
    scheme_is("drain", "(Int, a) -> a  {Arith+(a, Int, a)}");
    scheme_is("glue", "List[a] -> List[b]  {ListCat(String, a, b)}");
    scheme_is("lookupOr", "(Map[a, b], a, b) -> b  {Key a}");
    scheme_is("relay", "(a, a -> b) -> c  {b.flatMap(a -> b) : c}");
    scheme_is("finish", "(a, List[a] -> b) -> b");
    scheme_is("contains2", "(a, b, c) -> Bool  {a.contains(b) : Bool, a.contains(c) : Bool}");
    scheme_is("totalArea", "a -> b  {a.map(c -> d) : List[b], Num b, c.area() : d}");
    scheme_is("bounded", "a -> Int  {Area a}"); // the bound answers a.area()
    scheme_is("fresh", "() -> Dyn");
    end();
}

TEST(failing_predicate_is_reported_at_the_call_with_a_note)
{
    begin();
    CHECK(!add("trait Area area(self) -> Int end\n"
               "totalArea(xs) = xs.map(s => s.area()).sum()\n"
               "main() = totalArea([\"x\"])\n"));
    CHECK_EQ(diags.n_errors, 1);
    CHECK(has_error("no method `area` found for type `String`"));
    CHECK(diags.first->notes && diags.first->notes->span.start < diags.first->span.start);
    end();
}

/* ---- the library ----------------------------------------------------------------------------- */

TEST(signatures_of_natives_are_well_formed)
{
    accept("use stdlib.json\nmain() = 0\n");
    Infer *st = nosi_infer_state(prog);
    for (uint32_t i = 0; i < nosi_n_builtins; i++)
        CHECK(nosi_builtin_scheme(st, &nosi_builtins[i]));
    end();
}

TEST(library_is_well_typed)
{
    accept("main() = 0\n");
    nosi_infer_begin(prog);
    for (uint32_t i = 0; i < prog->module_list.n; i++) {
        Module *m = prog->module_list.at[i];
        for (uint32_t k = 0; k < m->functions.n; k++) {
            Function *f = m->functions.at[k];
            nosi_resolve_function(prog, f);
            nosi_infer_component(prog, &f, 1);
        }
    }
    nosi_infer_finish(prog);
    if (diags.n_errors)
        show_diags();
    CHECK_EQ(diags.n_errors, 0);
    end();
}

/* ---- unification ----------------------------------------------------------------------------- */

TEST(speculation_leaves_no_trace)
{
    accept("main() = 0\n");
    Infer *st = nosi_infer_state(prog);
    nosi_enter(st);
    Type *a = nosi_new_var(st), *b = nosi_new_var(st);
    Type *list = nosi_con1(st, TC_LIST, a), *ints = nosi_con1(st, TC_LIST, BASIC(st, INT));
    CHECK(nosi_would_unify(st, list, ints));
    CHECK_EQ(nosi_prune(a)->kind, TY_VAR);
    CHECK(!nosi_would_unify(st, nosi_con2(st, TC_MAP, a, a),
                            nosi_con2(st, TC_MAP, BASIC(st, INT), BASIC(st, STRING))));
    CHECK_EQ(nosi_prune(a)->kind, TY_VAR);
    CHECK(nosi_unify(st, b, list));
    CHECK(nosi_unify(st, list, ints));
    CHECK_STR(nosi_type_text(&arena, b), "List[Int]");
    end();
}

TEST(occurs_check_and_dynamic_types)
{
    accept("main() = 0\n");
    Infer *st = nosi_infer_state(prog);
    nosi_enter(st);
    Type *a = nosi_new_var(st);
    CHECK(!nosi_unify(st, a, nosi_con1(st, TC_LIST, a)));
    CHECK_EQ(st->clash.kind, CLASH_INFINITE);
    Type *b = nosi_new_var(st), *list = nosi_con1(st, TC_LIST, b);
    CHECK(nosi_unify(st, list, st->dyn)); // consistent, but binds nothing inside
    CHECK_EQ(nosi_prune(b)->kind, TY_VAR);
    CHECK(nosi_unify(st, b, st->dyn));
    CHECK_EQ(nosi_prune(b)->kind, TY_DYN);
    end();
}

/* ---- targets --------------------------------------------------------------------------------- */

TEST(known_calls_have_one_target)
{
    accept("type P = { x: Int, y: Int }\n"
           "P: Num add(self, o: P) -> P = P(self.x + o.x, self.y + o.y)\n"
           "sub(self, o: P) -> P = self\nmul(self, o: P) -> P = self\ndiv(self, o: P) -> P = self "
           "end\n"
           "P: Ord lt(self, o: P) -> Bool = self.x < o.x end\n"
           "opt(a, b = 2) = a\n"
           "c1() = P(1, 2) + P(3, 4)\n"
           "c2() = opt(5)\n"
           "c3() = P(y: 1, x: 2)\n"
           "c4(p: P) = P(p, y: 9)\n"
           "c5() = \"abc\".length()\n"
           "c6(p: P, q: P) = p > q\n"
           "c7(xs: List[Int]) = xs.map(x => x + 1)\n"
           "main() = 0\n");
    CHECK_EQ(body("c1")->target->kind, TARGET_OPERATOR);
    CHECK_STR(body("c1")->target->func->name, "add");
    CHECK_EQ(body("c2")->target->kind, TARGET_FUNC);
    CHECK_EQ(body("c2")->target->n_args, 2);
    CHECK(!body("c2")->target->args[1]);
    CHECK_EQ(body("c2")->target->n_eval, 1);
    Target *named = body("c3")->target;
    CHECK_EQ(named->kind, TARGET_CTOR);
    CHECK_EQ(named->args[0]->ival, 2);
    CHECK_EQ(named->eval_order[0], 1); // y was written first
    Target *update = body("c4")->target;
    CHECK_EQ(update->kind, TARGET_UPDATE);
    CHECK(update->base && !update->args[0] && update->args[1]);
    CHECK_EQ(body("c5")->target->kind, TARGET_BUILTIN);
    CHECK_STR(body("c5")->target->builtin->name, "String.length");
    Target *gt = body("c6")->target; // p > q is lt(q, p)
    CHECK_EQ(gt->kind, TARGET_OPERATOR);
    CHECK(gt->args[0] == body("c6")->b && gt->eval_order[0] == 1);
    CHECK_EQ(body("c7")->target->kind, TARGET_FUNC);
    CHECK_STR(body("c7")->target->func->full_name, "stdlib.list.map");
    end();
}

TEST(unknown_receivers_are_left_to_run_time)
{
    accept("trait Area area(self) -> Int end\n"
           "type A = A(Int)\ntype B = B(Int)\ntype C = { area: () -> Int }\n"
           "A: Area area(self) = 1 end\nB: Area area(self) = 2 end\n"
           "f(x) = x.area()\n"
           "g[T: Area](x: T) -> Int = x.area()\n"
           "h(n: Int) = \"i\"\nh(s: String) = \"s\"\n"
           "k(x) = h(x)\n"
           "main() = f(A(1)) + f(B(2)) + f(C(() => 3)) + g(A(1))\n");
    Target *t = body("f")->target;
    CHECK_EQ(t->kind, TARGET_METHOD);
    CHECK_EQ(t->n_args, 1);
    CHECK_EQ(t->cands.n, 3);
    CHECK(t->cands.at[0].func && t->cands.at[1].func && t->cands.at[2].field);
    CHECK(nosi_type_def(t->cands.at[0].types[0]));
    t = body("g")->target;
    CHECK_EQ(t->kind, TARGET_METHOD);
    CHECK_EQ(t->cands.n, 2);
    t = body("k")->target;
    CHECK_EQ(t->kind, TARGET_OVERLOAD);
    CHECK_EQ(t->cands.n, 2);
    CHECK(nosi_type_is(t->cands.at[0].types[0], TC_INT) ||
          nosi_type_is(t->cands.at[0].types[0], TC_STRING));
    end();
}

TEST(question_mark_unwraps_in_a_function_of_the_same_family)
{
    accept("half(n: Int) -> Result[Int, String] = if n % 2 == 0 then Ok(n / 2) else Err(\"odd\")\n"
           "a(n) = Ok(half(n)? + 1)\n"
           "b(n) = { x = half(n)?\nx }\n"
           "c(s: String) -> Option[Int] = Some(s.toInt()? * 2)\n"
           "main() = 0\n");
    scheme_is("a", "Int -> Result[Int, String]");
    scheme_is("b", "Int -> Result[Int, String]"); // nothing to unwrap for
    scheme_is("c", "String -> Option[Int]");
    Expr *e = body("a")->args.at[0].value->a;
    CHECK_EQ(e->kind, EXPR_TRY_OP);
    CHECK(e->target && !strcmp(e->target->ctor->name, "Ok"));
    CHECK(!body("b")->list.at[0]->a->target);
    end();
}

/* ---- one mistake, one message ---------------------------------------------------------------- */

TEST(no_cascades)
{
    rejects_with("f(x) = nope(x) + 1\nmain() = f(1).foo().bar + 2\n", "unknown variable `nope`", 1);
    rejects_with("g(n: Int) = n\nmain() = { x = g(\"a\")\ny = x + 1\ny.map(z => z) }\n",
                 "type mismatch", 1);
    rejects_with("main() = { a = [1, \"b\"]\na.map(x => x.foo()).sum() + 1 }\n", "type mismatch",
                 1);
    rejects_with("f(x: Nope) -> Nope = x\nmain() = f(1) + 1\n", "unknown type `Nope`", 2);
    rejects_with("type P = { x: Int }\nmain() = { p = P(1)\nq = p.z\nq + 1 }\n", "has no field z",
                 1);
}

TEST(two_independent_mistakes_are_both_reported)
{
    rejects_with("f(n: Int) = n ++ \"a\"\ng(s: String) = s + 1\nmain() = 0\n",
                 "does not implement Concat", 2);
}

TEST(arguments_and_fields)
{
    const char *p = "type P = { x: Int, y: Int }\n";
    char text[512];
    static const char *const cases[][2] = {
        {"P(x: 1, z: 2)", "unknown field `z` for record `P`"},
        {"P(x: 1)", "missing field `y` in record `P`"},
        {"P(x: 1, x: 2)", "duplicate named argument 'x'"},
        {"P(1)", "Wrong number of arguments: expected 2, found 1"},
        {"f(1, q: 2)", "unknown named argument 'q'"},
        {"f(b: 2)", "missing argument `a`"},
        {"{ p = P(1, 2)\np.x = 3\np }", "cannot assign to field `x` of immutable record `P`"},
        {"f[Int](1)", "`f` has no type parameters"},
        {"1 < 2.5", "type mismatch in `<`: expected `Int`, found `Float`"},
        {"assertType[String](1)", "assertType failed: expected `String`, found `Int`"},
    };
    for (size_t i = 0; i < NOS_COUNT(cases); i++) {
        snprintf(text, sizeof text, "%sf(a, b = 1) = a\nmain() = %s\n", p, cases[i][0]);
        rejects(text, cases[i][1]);
    }
}

TEST(conformance_of_implementations)
{
    const char *t = "trait T\na(self) -> Int\nb(self, n: Int) -> Int\nend\ntype K = K(Int)\n";
    char text[512];
    static const char *const cases[][2] = {
        {"K: T a(self) = 1 end", "type `K` does not implement method `b` required by trait `T`"},
        {"K: T a(self) = 1\nb(self, n) = n\nc(self) = 2 end", "`c` is not a member of trait `T`"},
        {"K: T a(self) = 1\nb(self) = 2 end", "Wrong number of arguments"},
        {"K: T a(self) = 1\nb(self, n: String) = 2 end", "type mismatch"},
        {"K: T a(self) = 1\nb(self, n) = \"x\" end", "type mismatch"},
    };
    for (size_t i = 0; i < NOS_COUNT(cases); i++) {
        snprintf(text, sizeof text, "%s%s\nmain() = 0\n", t, cases[i][0]);
        rejects(text, cases[i][1]);
    }
    snprintf(text, sizeof text,
             "%sK: T a(self) = 1 end\nK: T b(self, n) = n end\nmain() = K(1).b(2)\n", t);
    accepts(text); // several blocks
}

TEST(conditional_implementations)
{
    const char *t = "trait Deep deep(self) -> Int end\nInt: Deep deep(self) = 1 end\n"
                    "type Box[T] = { v: T }\n"
                    "Box[t]: Deep when t: Deep\ndeep(self) = 1 + self.v.deep() end\n"
                    "measure[T: Deep](x: T) -> Int = x.deep()\n";
    char text[512];
    snprintf(text, sizeof text, "%smain() = measure(Box(Box(3)))\n", t);
    accepts(text);
    snprintf(text, sizeof text, "%smain() = measure(Box(\"s\"))\n", t);
    rejects(text, "String does not implement Deep");
}

TEST(polymorphic_recursion_of_annotated_functions)
{
    accepts("nest[T](n: Int, x: T) -> Int = if n == 0 then 0 else 1 + nest(n - 1, [x])\n"
            "main() = nest(3, \"a\")\n");
}

/* ---- REPL ------------------------------------------------------------------------------------ */

TEST(units_may_be_added_after_a_check)
{
    accept("type P = { x: Int }\nf(a) = a\nmain() = 0\n");
    CHECK(add("trait T t(self) -> Int end\nP: T t(self) = self.x end\ng(p: P) = p.t() + f(1)\n"));
    CHECK(!add("type Q = { y: Int }\nh(q: Q) = q.nope\n")); // taken back
    diags.n_errors = 0;
    CHECK(add("type Q = { z: Int }\nh(q: Q) = q.z\n"));
    scheme_is("g", "P -> Int");
    end();
}
