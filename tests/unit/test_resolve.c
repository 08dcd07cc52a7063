/* Name resolution: what names mean, who captures what, how clauses become functions, what modules
 * show. Types play no part: the tests stop before inference. */
#include "test.h"

#include "vm/bytecode/builtin.h"
#include "vm/front/parser.h"
#include "vm/types/resolve.h"

static Arena arena;
static SourceSet sources;
static DiagList diags;
static Program *prog;

static const char prelude_text[] = "pub type Option[T] = Some(T) | None\n"
                                   "pub type Result[T, E] = Ok(T) | Err(E)\n"
                                   "pub count(xs: List[a], p: (a) -> Bool) -> Int = helper(xs)\n"
                                   "helper(xs: List[a]) -> Int = 0\n"
                                   "pub map(xs: List[a], f: (a) -> b) -> List[b] = []\n"
                                   "module Map\n"
                                   "pub each(m: Map[k, v], f: (k, v) -> ()) -> () = Map.size(m)\n"
                                   "inner(x) = x\n"
                                   "end\n";

typedef struct File {
    const char *path, *text;
} File;

static const File files[] = {
    {"util.text",
     "pub shout(s: String) -> String = s\nhidden(s) = s\npub const limit = 3\n"
     "type Secret = { v: Int }\npub make() = Secret(1)\npub type Shape = Ring(Int) | Dot\n"},
    {"deep", "use util.text.*\npub relay(s) = shout(s)\n"},
    {"stdlib.json", "pub type Json = Null | Integer(Int) | Text(String)\npub parse(s) = Null\n"},
    {"stdlib.html",
     "pub type Html = Element(String) | Raw(String)\npub div(xs: List[Html]) -> Html = Raw(\"\")\n"
     "pub div(s: String) -> Html = Raw(s)\n"},
};

static SourceUnit *parse(const char *path, const char *text, bool is_library)
{
    uint32_t file = nosi_sources_add(&sources, path, text, strlen(text), true, is_library);
    return nosi_parse_file(&arena, &sources, file, &diags);
}

static SourceUnit *load(void *ctx, Name path, bool *is_library)
{
    (void)ctx;
    for (size_t i = 0; i < NOS_COUNT(files); i++)
        if (strcmp(path, files[i].path) == 0) {
            *is_library = strncmp(path, "stdlib.", 7) == 0;
            return parse(path, files[i].text, *is_library);
        }
    return NULL;
}

static void end(void)
{
    nosi_program_free(prog);
    nosi_sources_free(&sources);
    nosi_arena_free(&arena);
}

static void begin(void)
{
    nosi_builtins_init();
    nosi_arena_init(&arena);
    nosi_sources_init(&sources);
    nosi_diag_init(&diags, &arena, &sources);
    prog = nosi_program_new(&sources, load, NULL);
    prog->diags = &diags;
    nosi_program_add_unit(prog, parse("stdlib.list", prelude_text, true),
                          nosi_intern_cstr("stdlib.list"), true, true);
}

static void add(const char *path, const char *text)
{
    Module *m = nosi_program_add_unit(prog, parse("test.nos", text, false), nosi_intern_cstr(path),
                                      false, false);
    if (!prog->root)
        prog->root = m;
    CHECK_EQ(diags.n_errors, 0); // of the parser
    nosi_rs_resolve(prog);
}

static void render(void)
{
    StrBuf out = {0};
    nosi_diag_render(&diags, &out, false);
    fputs(nosi_strbuf_cstr(&out), stderr);
    nosi_strbuf_free(&out);
}

/* Checks a program that must resolve without complaint, and leaves it to be looked at. */
static void accept(const char *text)
{
    begin();
    add("", text);
    if (diags.n_errors)
        render();
    CHECK_EQ(diags.n_errors, 0);
}

static const char *error_with(const char *part)
{
    for (Diag *d = diags.first; d; d = d->next)
        if (strstr(d->message, part))
            return d->message;
    render();
    fprintf(stderr, "no error contains: %s\n", part);
    return "";
}

static void reject(const char *text, const char *part)
{
    begin();
    add("", text);
    CHECK(strstr(error_with(part), part));
    end();
}

static Symbol *symbol(const char *name)
{
    Symbol *s = nosi_lookup_value(prog, prog->root, nosi_intern_cstr(name));
    CHECK(s);
    return s;
}

static Function *function(const char *name)
{
    Symbol *s = symbol(name);
    CHECK_EQ(s->kind, SYM_FUNC);
    return s->funcs.at[0];
}

static Expr *body(const char *name)
{
    return function(name)->clauses.at[0]->body;
}

/* Statement i of the block that is the body. */
static Expr *stmt(const char *name, uint32_t i)
{
    Expr *b = body(name);
    CHECK_EQ(b->kind, EXPR_BLOCK);
    CHECK(i < b->list.n);
    return b->list.at[i];
}

static Local *local_of(FnScope *s, const char *name)
{
    for (uint32_t i = 0; i < s->locals.n; i++)
        if (strcmp(s->locals.at[i]->name, name) == 0)
            return s->locals.at[i];
    fprintf(stderr, "no local %s\n", name);
    abort();
}

static bool captures(const FnScope *s, const char *name)
{
    for (uint32_t i = 0; i < s->captures.n; i++)
        if (strcmp(s->captures.at[i]->name, name) == 0)
            return true;
    return false;
}

/* ---- functions ------------------------------------------------------------------------------- */

TEST(resolve_clauses_become_one_function)
{
    accept("kind(0) = 1\nkind(n) when n < 0 = 2\nother(x) = x\nkind(n: Int) -> Int = 3\nmain() = "
           "kind(1)");
    CHECK_EQ(symbol("kind")->funcs.n, 1);
    CHECK_EQ(function("kind")->clauses.n, 3);
    CHECK_EQ(function("kind")->n_params, 1);
    end();
    accept("tally([]) = 0\ntally(xs: List[Int]) = 1\nmain() = tally([])");
    CHECK_EQ(symbol("tally")->funcs.n, 1);
    end();
}

TEST(resolve_overloads)
{
    accept("desc(n: Int) = 1\ndesc(s: String) = 2\ndesc(x) = 3\ndesc(a, b) = 4\nmain() = desc(1)");
    CHECK_EQ(symbol("desc")->funcs.n, 4);
    end();
    accept("f(0) = 1\nf(n: Int) = 2\nf(s: String) = 3\nf(\"x\") = 4\nmain() = f(1)");
    CHECK_EQ(symbol("f")->funcs.n, 2);
    CHECK_EQ(symbol("f")->funcs.at[0]->clauses.n, 2);
    CHECK_EQ(symbol("f")->funcs.at[1]->clauses.n, 2);
    CHECK_EQ(symbol("f")->funcs.at[1]->clauses.at[0]->params.at[0].type != NULL, 1); // source order
    end();
}

TEST(resolve_defaults)
{
    accept("g(a, b = a + 1, c = b) = a\nmain() = g(1)");
    Function *g = function("g");
    CHECK_EQ(g->n_required, 1);
    CHECK_EQ(g->params[2].default_scope->locals.n, 2);
    CHECK_STR(g->params[1].name, "b");
    CHECK(g->params[2].default_value->local == g->params[2].default_scope->locals.at[1]);
    end();
    reject("g(a, b = c, c = 1) = a\nmain() = g(1)", "unknown variable `c`");
}

TEST(resolve_duplicates_and_builtins)
{
    reject("type A = X\ntype A = Y\nmain() = 0", "`A` is defined multiple times");
    reject("type A = X | X\nmain() = 0", "`X` is defined multiple times");
    reject("type A = { a: Int, a: Int }\nmain() = 0", "`a` is defined multiple times");
    reject("const c = 1\nc() = 2\nmain() = 0", "`c` is defined multiple times");
    reject("isEmpty(xs) = true\nmain() = 0",
           "Function 'isEmpty' shadows built-in function 'isEmpty'");
    reject("trait T split(self) -> Int end\nmain() = 0", "shadows built-in function 'split'");
    reject("trait Logger log(self) -> Int\nshow(self) -> Int end\nmain() = 0",
           "shadows built-in function 'show'");
    accept("trait Logger log(self) -> Int\nflush(self) -> Int\ntoString(self) -> String "
           "end\ncount(x) = x\ntoInt(x) = 1\n"
           "main() = 0");
    CHECK(symbol("count")->fallback && symbol("count")->fallback->module->is_prelude);
    CHECK(symbol("toInt")->builtins.n > 0);
    end();
    accept("type A = L | N(Int)\ntype B = M | N(String)\nmain() = N(1)");
    CHECK_EQ(symbol("N")->ctors.n, 2);
    end();
}

/* ---- names ----------------------------------------------------------------------------------- */

TEST(resolve_unknown_names)
{
    reject("main() = { base = 4; base * bsae }", "unknown variable `bsae`");
    CHECK_EQ(diags.n_errors, 1);
    reject("main() = { w = Widget(1); 0 }", "Widget");
    reject("main() = String.shout(\"hey\")", "unknown function `String.shout`");
    reject("main() = Option.unwrap(Some(1))", "unknown function `Option.unwrap`");
    reject("main() = f(1)\nother() = g(2)", "unknown variable `f`");
    reject("main() = helper([1])", "unknown variable `helper`"); // private in the prelude
    reject("main() = Map.inner(1)", "unknown function `Map.inner`");
    reject("main() = __take([1], 1)", "unknown variable `__take`");
    reject("main() = break", "break outside of loop is not yet implemented");
    reject("main() = while true { f = () => continue }",
           "continue outside of loop is not yet implemented");
    reject("trait P: Q p(self) -> Int end\ntrait Q q(self) -> Int end\nmain() = 0",
           "unknown trait `Q`");
    reject("Int: Glow glow(self) = 1 end\nmain() = 0", "unknown trait `Glow`");
}

TEST(resolve_immutable_variables)
{
    const char *text = "cannot reassign immutable variable";
    reject("shift(n) = { n = n + 1; n }\nmain() = shift(2)",
           "cannot reassign immutable variable 'n'");
    reject("main() = { t = 5; for i = 0 to 3 { t = t + i }; t }", text);
    reject("main() = { t = 5; t = 5; t }", text);
    reject("main() = { for i = 0 to 3 { i = 2 } }", text);
    reject("main() = { f = 1; f(x) = x; 0 }", text);
    accept("main() = { x: Int = 1; var x: Int = 2; x = 3; _ = 1; _ = 2; x }");
    end();
    accept("main() = { x = 1; f = () => { x = 2; x }; f() }"); // another body
    CHECK(stmt("main", 1)->a->fn->body->list.at[0]->bind_mode == BIND_NEW);
    end();
    accept("main() = { { y = 1; y }; y = 2; y }"); // blocks end scopes
    end();
}

TEST(resolve_assignments_and_cells)
{
    accept("main() = { var x = 1; var y = 1; z = 1; f = () => { x = x + 1; y + z }; x = 5; y }");
    FnScope *s = function("main")->scope;
    CHECK_EQ(stmt("main", 4)->bind_mode, BIND_ASSIGN);
    CHECK(local_of(s, "x")->needs_cell);
    CHECK(local_of(s, "y")->is_captured && !local_of(s, "y")->needs_cell); // never assigned
    CHECK(local_of(s, "z")->is_captured && !local_of(s, "z")->needs_cell);
    FnScope *f = stmt("main", 3)->a->scope;
    CHECK(captures(f, "x") && captures(f, "y") && captures(f, "z"));
    end();
    accept("main() = { var x = 1; f = () => (() => x); x = 2; f }"); // through two bodies
    FnScope *outer = stmt("main", 1)->a->scope;
    CHECK(captures(outer, "x"));
    CHECK(captures(stmt("main", 1)->a->fn->body->scope, "x"));
    CHECK(local_of(function("main")->scope, "x")->needs_cell);
    end();
    accept("main() = { xs = [1]; f = () => { xs[0] = 2 }; xs[0] = 3; xs }");
    CHECK(local_of(function("main")->scope, "xs")->needs_cell);
    CHECK(stmt("main", 2)->local == local_of(function("main")->scope, "xs"));
    end();
    accept("mvar hits: Int = 0\nmain() = { hits = hits + 1; hits = 4; f(hits) }\nf(hits) = { g = "
           "() => { hits = 1; hits }; g() }");
    CHECK_EQ(stmt("main", 0)->bind_mode, BIND_MVAR);
    CHECK(stmt("main", 0)->mvar_locked && !stmt("main", 1)->mvar_locked);
    CHECK_EQ(stmt("f", 0)->a->fn->body->list.at[0]->bind_mode, BIND_NEW); // a local hides the mvar
    end();
}

TEST(resolve_spawn)
{
    accept("work(a, b) = a\n"
           "main() = { var i = 0; while i < 3 { spawn { work(i, 1) }; i = i + 1 }; var n = 0; "
           "spawn { n = n + 1 }\n"
           "g = () => 1; spawn(g); spawn(() => 2); spawn(work(1, 2)); spawn(work, i, n) }");
    FnScope *s = function("main")->scope;
    CHECK(!local_of(s, "i")->needs_cell); // the thunk copies it
    CHECK(local_of(s, "n")->needs_cell);
    Expr *plain = stmt("main", 5);
    CHECK_EQ(plain->kind, EXPR_SPAWN);
    CHECK_EQ(plain->scope->kind, SCOPE_SPAWN);
    CHECK_EQ(plain->a->kind, EXPR_CALL);
    CHECK_EQ(stmt("main", 6)->a->kind, EXPR_INT);
    CHECK_EQ(stmt("main", 7)->a->kind, EXPR_CALL);
    Expr *args = stmt("main", 8); // arguments in the parent
    CHECK_EQ(args->kind, EXPR_BLOCK);
    CHECK_EQ(args->list.n, 3);
    CHECK_EQ(args->list.at[2]->kind, EXPR_SPAWN);
    CHECK_EQ(args->list.at[2]->scope->captures.n, 2);
    end();
}

/* ---- local functions ------------------------------------------------------------------------- */

static LocalFn *leader(const char *fn, uint32_t which)
{
    Expr *b = body(fn);
    for (uint32_t i = 0; i < b->list.n; i++)
        if (b->list.at[i]->kind == EXPR_LOCAL_FN && b->list.at[i]->is_leader && which-- == 0)
            return b->list.at[i]->local_fn;
    return NULL;
}

TEST(resolve_local_functions)
{
    accept(
        "main() = { go([], acc) = acc; k = 1; go([h | t], acc) = go(t, acc + h * k); go([1], 0) }");
    LocalFn *go = leader("main", 0);
    CHECK(go);
    CHECK_EQ(go->clauses.n, 2);
    CHECK_EQ(go->siblings.n, 1);
    end();
    accept("main() = { go([]) = 0; go([h | t], ys) = go(t, ys); go([1], [2]) }"); // padded
    go = leader("main", 0);
    CHECK_EQ(go->clauses.n, 2);
    CHECK_EQ(go->n_params, 2);
    CHECK_EQ(go->clauses.at[0]->params.at[1].pat->kind, PAT_WILD);
    end();
    accept("main() = { add(a) = a; add(a, b) = a + b; add(1) + add(1, 2) }"); // separate
    LocalFn *one = leader("main", 0);
    CHECK_EQ(one->siblings.n, 2);
    CHECK(one->other_arity && one->other_arity->n_params == 2);
    Expr *last = stmt("main", body("main")->list.n - 1);
    CHECK(last->a->a->local == one->local && last->b->a->local == one->other_arity->local);
    end();
}

TEST(resolve_mutual_recursion)
{
    accept("main() = { even(0) = true; even(n) = odd(n - 1); odd(0) = false; odd(n) = even(n - 1); "
           "even(4) }");
    LocalFn *f = leader("main", 0);
    CHECK_EQ(f->siblings.n, 2);
    CHECK(captures(f->siblings.at[0]->scope, "odd") && captures(f->siblings.at[1]->scope, "even"));
    CHECK(!leader("main", 1));
    end();
    accept("main() = { ev = n => if n == 0 then true else od(n - 1); od = n => if n == 0 then "
           "false else ev(n - 1); ev(3) }");
    CHECK_EQ(leader("main", 0)->siblings.n, 2);
    end();
    accept("main() = { fact = (n) => if n < 2 then 1 else n * fact(n - 1); fact(5) }");
    CHECK(leader("main", 0));
    end();
    accept("main() = { x = twice(4); twice(n) = n * 2; x }"); // used before it is written
    CHECK_EQ(stmt("main", 0)->kind, EXPR_LOCAL_FN);
    CHECK(stmt("main", 0)->is_leader);
    end();
    accept("main() = { apply = (g, x) => g(x); k = 1; g(n) = n + k; apply(g, 1) }"); // a parameter
                                                                                     // called g is
                                                                                     // not g
    end();
    accept("main() = { plain = n => n + 1; plain(1) }");
    CHECK_EQ(stmt("main", 0)->kind, EXPR_BIND);
    end();
}

/* ---- patterns -------------------------------------------------------------------------------- */

TEST(resolve_pattern_variables)
{
    accept(
        "main() = { want = 7; var m = 1; match 9 { want -> 1, m -> 2, (a, a) -> 3, other -> 4 } }");
    Expr *match = stmt("main", 2);
    CHECK_EQ(match->arms.at[0].pat->var_mode, PATVAR_EQUAL);
    CHECK_EQ(match->arms.at[1].pat->var_mode, PATVAR_ASSIGN);
    CHECK_EQ(match->arms.at[2].pat->elems.at[0]->var_mode, PATVAR_BIND);
    CHECK_EQ(match->arms.at[2].pat->elems.at[1]->var_mode, PATVAR_EQUAL);
    CHECK_EQ(match->arms.at[3].pat->var_mode, PATVAR_BIND);
    end();
    accept("same(x, x) = true\nsame(_, _) = false\nmain() = { x = 1; f = x => match x { x -> x }; "
           "(var_a, b) = (1, 2); f(b) }");
    CHECK_EQ(function("same")->clauses.at[0]->params.at[1].pat->var_mode, PATVAR_EQUAL);
    CHECK_EQ(stmt("main", 1)->a->fn->params.at[0].pat->var_mode, PATVAR_BIND);
    end();
    accept("main() = { var a = 1; var b = 2; (a, b) = (b, a); a }");
    CHECK_EQ(stmt("main", 2)->pat->elems.at[0]->var_mode, PATVAR_ASSIGN);
    end();
}

TEST(resolve_or_patterns)
{
    accept("type S = A(Int) | B(Int)\nmain() = match A(1) { A(x) | B(x) -> x }");
    Pat *p = body("main")->arms.at[0].pat;
    CHECK(p->elems.at[0]->elems.at[0]->local == p->elems.at[1]->elems.at[0]->local);
    CHECK_EQ(p->elems.at[1]->elems.at[0]->var_mode, PATVAR_BIND);
    end();
    reject("type S = A(Int) | B(Int)\nmain() = match A(1) { A(x) | B(y) -> 1 }",
           "is not bound in all alternatives");
    reject("main() = match 1 { Zonk(x) -> x }", "unknown constructor `Zonk`");
    reject("main() = match #{1} { #{^q} -> 1 }", "unknown variable `q`");
}

/* ---- paths, pipes ---------------------------------------------------------------------------- */

TEST(resolve_paths)
{
    accept(
        "module Geo\npub type Pt = { x: Int, y: Int }\npub mk(a, b) = Pt(a, b)\npub const dim = 2\n"
        "module In pub f() = mk(1, 2) end\nend\n"
        "main() = { p = Geo.mk(1, 2); q = Geo.Pt(3, 4); d = Geo.dim; i = Geo.In.f(); m = %{1: 2}; "
        "k = m.Map.insert(3, 4)\n"
        "p.x + String.length(\"a\") }");
    Expr *mk = stmt("main", 0)->a;
    CHECK_EQ(mk->kind, EXPR_CALL);
    CHECK_EQ(mk->a->kind, EXPR_QUALIFIED);
    CHECK_EQ(mk->args.n, 2);
    CHECK_EQ(stmt("main", 1)->a->a->symbol->kind, SYM_CTOR);
    CHECK_EQ(stmt("main", 2)->a->kind, EXPR_QUALIFIED);
    CHECK_EQ(stmt("main", 3)->a->a->symbol->kind, SYM_FUNC);
    Expr *insert = stmt("main", 5)->a;
    CHECK_EQ(insert->kind, EXPR_CALL);
    CHECK_EQ(insert->args.n, 3);
    CHECK_EQ(insert->a->symbol->kind, SYM_BUILTIN);
    CHECK_EQ(stmt("main", 6)->a->kind, EXPR_FIELD);
    end();
    reject("module M f() = 1 end\nmain() = M.f()",
           "cannot access private function `f` from outside module `M`");
    reject("module M pub f() = 1 end\nmain() = M.g()", "unknown function `M.g`");
    reject("module Vault\ntype Key = { code: Int }\npub fresh() = Key(7)\nend\nuse Vault.*\nmain() "
           "= Key(1).code",
           "type `Key` is private in module `Vault`");
    accept("trait Area area99(self) -> Int end\nInt: Area area99(self) = self end\n"
           "main() = { a = area99(3); b = Int.area99(3); c = Area.area99(3); d = [1].map(area99); "
           "Int(2.5) }");
    CHECK_EQ(stmt("main", 0)->a->kind, EXPR_METHOD);
    CHECK_EQ(stmt("main", 1)->a->kind, EXPR_CALL);
    CHECK_EQ(stmt("main", 2)->a->kind, EXPR_METHOD);
    CHECK_EQ(stmt("main", 4)->a->symbol->kind, SYM_BUILTIN);
    end();
}

TEST(resolve_pipes)
{
    accept("f(a) = a\ng(a, b) = a\nmodule M pub h(a, b) = a end\ntype R = { m: Int }\n"
           "main() = { a = 1 |> f; b = 1 |> g(2) |> M.h(3); r = R(1); c = 1 |> r.m(2); d = 1 |> (x "
           "=> x); e = 2 |> Some; a }");
    CHECK_EQ(stmt("main", 0)->a->kind, EXPR_CALL);
    CHECK_EQ(stmt("main", 1)->a->kind, EXPR_CALL);
    CHECK_EQ(stmt("main", 1)->a->args.n, 2);
    CHECK_EQ(stmt("main", 1)->a->args.at[0].value->kind, EXPR_CALL);
    CHECK_EQ(stmt("main", 3)->a->a->kind, EXPR_FIELD);
    CHECK_EQ(stmt("main", 3)->a->args.n, 2);
    CHECK_EQ(stmt("main", 4)->a->a->kind, EXPR_LAMBDA);
    CHECK_EQ(stmt("main", 5)->a->a->symbol->kind, SYM_CTOR);
    end();
}

/* ---- modules --------------------------------------------------------------------------------- */

TEST(resolve_imports)
{
    accept(
        "use util.text.{shout, Shape, limit as most}\nmain() = { s = Ring(most); shout(\"a\") }");
    end();
    accept("use util.text.*\nmain() = text.shout(\"a\") ++ util.text.shout(\"b\")");
    end();
    accept("use util.text\nmain() = text.shout(\"a\")");
    end();
    accept("use util.text.{Shape as Form}\nmain() = match Dot { Ring(n) -> n, Dot -> 0 }");
    end();
    accept("use stdlib.json\nmain() = json.parse(\"1\")");
    end();
    reject("use nowhere.*\nmain() = 0", "module `nowhere` not found");
    reject("use util.text.{shot}\nmain() = 0", "`shot` is not defined in module `util.text`");
    reject("use util.text.{hidden}\nmain() = 0", "`hidden` is private in module `util.text`");
    reject("use util.text.*\nmain() = hidden(1)", "unknown variable `hidden`");
    reject("use util.text.*\nmain() = Secret(1)", "type `Secret` is private in module `util.text`");
    reject("use deep.*\nmain() = shout(\"a\")", "unknown variable `shout`"); // not transitive
    reject("module A pub type T = X end\nmodule B pub type T = Y end\nuse A.{T}\nuse B.{T}\nmain() "
           "= 0",
           "import conflict: `T` is imported from both `A` and `B`");
    reject("main() = stdlib.json.parse(\"1\")", "module `stdlib.json` is not imported");
    accept("main() = Integer(3)"); // a library constructor, no import needed
    end();
    accept("use stdlib.html.{Html}\nspan(x) = x\nmain() = { p = 1; Html(div([div(\"a\"), "
           "Raw(\"b\")])) }");
    end();
}

TEST(resolve_project)
{
    begin();
    nosi_program_add_unit(
        prog,
        parse("config.nos",
              "pub port() = 80\nmvar hits: Int = port()\npub hit() = { hits = hits + 1; hits }",
              false),
        nosi_intern_cstr("config"), false, false);
    nosi_program_add_unit(prog,
                          parse("net/http.nos",
                                "use config.*\nuse net.tcp.{open2}\npub start() = open2(port())\n"
                                "module In pub f() = start() end",
                                false),
                          nosi_intern_cstr("net.http"), false, false);
    nosi_program_add_unit(
        prog,
        parse("net/tcp.nos", "use net.http.*\npub open2(p) = if p == 0 then start() else p", false),
        nosi_intern_cstr("net.tcp"), false, false);
    add("main", "use net.http.{start}\nuse config.*\nmain() = start() + config.hit() + hit() + "
                "http.start() + net.http.start()");
    if (diags.n_errors)
        render();
    CHECK_EQ(diags.n_errors, 0);
    CHECK_EQ(prog->mvars.n, 1);
    nosi_diag_init(&diags, &arena, &sources);
    nosi_rs_finish(prog, true);
    add("main", "other() = net.http.In.f()");
    CHECK(strstr(error_with("`In` is private in module `net.http`"), "In"));
    end();
    begin();
    nosi_program_add_unit(prog, parse("config.nos", "pub port() = 80", false),
                          nosi_intern_cstr("config"), false, false);
    add("main", "main() = config.port()");
    CHECK(strstr(error_with("module `config` is not imported; add `use config.*` or `use "
                            "config.{port}` to use `port`"),
                 "use"));
    end();
}

/* ---- mvars, constants ------------------------------------------------------------------------ */

TEST(resolve_mvar_rules)
{
    reject("mvar peak: Int = 0\nf(x) = if x > peak then { peak = x }\nmain() = f(1)",
           "reads mvar `peak` and later writes it");
    reject("mvar m: Int = 0\nf(x) = match m { 0 -> { m = x }, _ -> () }\nmain() = f(1)",
           "reads mvar `m` and later writes it");
    reject("mvar m: Int = 0\nf(x) = { m = { m = 2; 3 } }\nmain() = f(1)",
           "nested write to mvar `m` would cause deadlock");
    reject("mvar m: Int = 0\nwait() = receive { x -> x }\nf() = { m = m + wait() }\nmain() = f()",
           "mvar safety violation");
    accept("mvar m: Int = 0\nget2() = m\n"
           "a(x) = { cur = m; if x > cur then { m = x } }\nb(x) = if get2() > x then { m = x "
           "}\nc(x) = if m > x then { m = m + x }\n"
           "d(x) = { if x > m then m.update(o => x) else 0 }\nmain() = { a(1); m = m + 1; receive "
           "{ x -> x } }");
    end();
}

TEST(resolve_constants)
{
    accept("const A = -1\nconst B = A + 2\nconst C = [(A, Some(B))]\nconst X = B * 2\nmain() = C");
    CHECK_EQ(prog->consts.n, 4);
    CHECK_STR(prog->consts.at[0]->name, "A");
    end();
    reject("f() = 1\nconst A = f()\nmain() = A", "const value must be a constant expression");
    reject("const A = B\nconst B = A\nmain() = A", "depends on itself");
    reject("var x = 1\nmain() = x", "`var` is not allowed at the top level");
    reject("(a, b) = (1, 2)\nmain() = a", "must name one variable");
    accept("mvar b: Int = a + 1\nmvar a: Int = 0\nt = 1\nmain() = t");
    CHECK_STR(prog->mvars.at[0]->name, "b"); // declaration order
    CHECK_EQ(prog->tops.n, 1);
    end();
}

/* ---- order ----------------------------------------------------------------------------------- */

static int place(const char *name)
{
    for (uint32_t i = 0; i < prog->order.n; i++)
        if (strcmp(prog->order.at[i]->name, name) == 0)
            return (int)i;
    return -1;
}

TEST(resolve_order)
{
    accept("main() = a(1)\na(x) = b(x)\nb(x) = if x > 0 then a(x - 1) else c\nc = d(2)\nd(x) = "
           "x.e()\ne(x) = count([x], y => true)\n");
    CHECK(place("main") > place("a") && place("a") > place("d") && place("d") > place("e") &&
          place("e") > place("count"));
    CHECK_EQ(place("count") > place("helper"),
             1); // library functions come in when they are reached
    CHECK_EQ(place("each"), -1);
    int i = place("a") < place("b") ? place("a") : place("b");
    bool same = false; // a and b are one component
    for (uint32_t k = 0; k < prog->scc_end.n; k++)
        if ((int)prog->scc_end.at[k] == i + 2)
            same = k == 0 || (int)prog->scc_end.at[k - 1] == i;
    CHECK(same);
    end();
    // A component held together by method names of implementations only is cut.
    accept("trait D d2(self) -> Int end\nInt: D d2(self) = help(self) end\nString: D d2(self) = "
           "help(1) end\n"
           "help(x) = x.d2()\nmain() = help(1)");
    CHECK_EQ(prog->scc_end.n, prog->order.n);
    end();
}

/* ---- exhaustiveness (needs types) -------------------------------------------------------------
 */

static void check_types(const char *text, const char *part)
{
    begin();
    nosi_program_add_unit(prog, parse("test.nos", text, false), nosi_intern_cstr(""), false, false);
    bool ok = nosi_program_check(prog, &diags);
    if (part)
        CHECK(strstr(error_with(part), part));
    else if (!ok)
        render();
    CHECK_EQ(ok, part == NULL);
    end();
}

TEST(resolve_exhaustiveness)
{
    static const char type[] = "type L = Red | Amber(Int) | Green\ntype M = L\n";
    char text[512];
    const char *cases[][2] = {
        {"f(l: L) = match l { Green -> 1 }\n",
         "non-exhaustive patterns: `Red`, `Amber` not covered"},
        {"f(l: M) = match l { Green -> 1, Red | Amber(1) when false -> 2 }\n", NULL},
        {"f(l: M) = { x = match l { Green | Red -> 1 }; x }\n",
         "non-exhaustive patterns: `Amber` not covered"},
        {"f(b) = match b { true -> 1 }\n", "non-exhaustive patterns: false not covered"},
        {"f(b) = match b { x when x -> 1 }\n", NULL},
        {"f(b) = match Some(b) { None -> 1 }\n", "non-exhaustive patterns: `Some(_)` not covered"},
        {"f(b: Result[Int, Int]) = (() => match b { Ok(1) -> 1 })()\n",
         "non-exhaustive patterns: `Err(_)` not covered"},
        {"f(n: Int) = match n { 1 -> 1 }\n", NULL},
        {"f(n: L) = match (n, 1) { (Red, 1) -> 1 }\n", NULL},
    };
    for (size_t i = 0; i < NOS_COUNT(cases); i++) {
        snprintf(text, sizeof text, "%s%smain() = 0\n", type, cases[i][0]);
        check_types(text, cases[i][1]);
    }
}

/* ---- REPL ------------------------------------------------------------------------------------ */

static void next_unit(const char *text)
{
    nosi_diag_init(&diags, &arena, &sources);
    add("", text);
    nosi_rs_finish(prog, diags.n_errors == 0);
}

TEST(resolve_redefinition)
{
    accept("f(x) = x\ng(x) = f(x)\ntype T = A | B\nmain() = 0");
    nosi_rs_finish(prog, true);
    Function *old = function("f");
    FuncCell *cell = (FuncCell *)&arena; // any address
    old->cell = cell;
    next_unit("f(x) = x + 1\nf(x, y) = x");
    CHECK_EQ(diags.n_errors, 0);
    CHECK(function("f") != old && function("f")->cell == cell);
    CHECK_EQ(symbol("f")->funcs.n, 2);
    TypeDef *t = nosi_lookup_type(prog, prog->root, nosi_intern_cstr("T"));
    uint32_t n_types = prog->types.n;
    next_unit("type T = C\nh() = nope\nuse util.text.*\nf(x) = 2"); // fails: nothing of it stays
    CHECK_EQ(diags.n_errors, 1);
    CHECK(nosi_lookup_type(prog, prog->root, nosi_intern_cstr("T")) == t);
    CHECK_EQ(prog->types.n, n_types);
    CHECK(!nosi_lookup_value(prog, prog->root, nosi_intern_cstr("h")));
    CHECK(!nosi_lookup_value(prog, prog->root, nosi_intern_cstr("shout")));
    CHECK_EQ(symbol("f")->funcs.n, 2);
    next_unit("use util.text.*\nk() = shout(\"a\") ++ f(1)");
    CHECK_EQ(diags.n_errors, 0);
    end();
}
