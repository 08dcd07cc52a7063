/* embed.c -- a host program: knows include/nostos.h and nothing else of the project. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nostos.h"

static int failures;

static void check(bool ok, const char *what, int line)
{
    if (ok)
        return;
    failures++;
    fprintf(stderr, "embed.c:%d: failed: %s\n", line, what);
}
#define CHECK(x) check(x, #x, __LINE__)

/* ---- what the programs write goes to files meanwhile ---------------------------------------- */

static int kept[2];
static FILE *captured[2];
static char text[2][4096]; // of standard output and error

static void capture(void)
{
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        kept[i] = dup(i + 1);
        captured[i] = tmpfile();
        if (kept[i] < 0 || !captured[i] || dup2(fileno(captured[i]), i + 1) < 0)
            abort();
    }
}

static void release(void)
{
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        rewind(captured[i]);
        size_t n = fread(text[i], 1, sizeof text[i] - 1, captured[i]);
        text[i][n] = 0;
        fclose(captured[i]);
        dup2(kept[i], i + 1);
        close(kept[i]);
    }
}

static bool wrote(const char *out, const char *err)
{
    bool ok = strcmp(text[0], out) == 0 && (*err ? strstr(text[1], err) != NULL : !*text[1]);
    if (!ok)
        fprintf(stderr, "got standard output: %s\nstandard error: %s\n", text[0], text[1]);
    return ok;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static nos_status run(const char *program, const nos_options *options)
{
    capture();
    nos_vm *vm = nos_new(options);
    nos_status status = nos_load_text(vm, "host.nos", program, strlen(program));
    if (status == NOS_OK)
        status = nos_run(vm);
    nos_free(vm);
    release();
    return status;
}

static void test_statuses(void)
{
    CHECK(run("main() = println(\"hello\")", NULL) == NOS_OK);
    CHECK(wrote("hello\n", ""));
    CHECK(run("main() = [1, 2].map(x => x * 2)", NULL) == NOS_OK);
    CHECK(wrote("[2, 4]\n", ""));
    CHECK(run("main() = 1 + \"a\"", NULL) == NOS_ERROR_COMPILE);
    CHECK(wrote("", "host.nos:1:12: error: "));
    CHECK(run("main() = (", NULL) == NOS_ERROR_COMPILE);
    CHECK(wrote("", "host.nos:1:10: error: "));
    CHECK(run("f() = 1", NULL) == NOS_ERROR_COMPILE); // what a file without main is, too
    CHECK(wrote("", "Entry point 'main/' not found"));
    CHECK(run("main() = { println(\"before\"); throw(\"x\") }", NULL) == NOS_ERROR_RUNTIME);
    CHECK(wrote("before\n", "Runtime error: Panic: Uncaught exception: x\n\nStack trace:\n"));
    CHECK(run("mvar m: Int = 1 / 0\nmain() = 1", NULL) == NOS_ERROR_RUNTIME);
    CHECK(wrote("", "DivisionByZero"));
    CHECK(run("main() = receive { \"never\" -> () }", NULL) == NOS_ERROR_RUNTIME);
    CHECK(wrote("", "deadlock"));
    CHECK(run("main() = exit(0)", NULL) == NOS_OK);
    CHECK(run("main() = exit(4)", NULL) == NOS_ERROR_RUNTIME);
    CHECK(wrote("", ""));
}

static void test_usage_errors(void)
{
    const char *p = "main() = 1";
    nos_vm *vm = nos_new(NULL);
    CHECK(nos_run(vm) == NOS_ERROR_USAGE); // nothing loaded
    CHECK(nos_load_text(vm, NULL, p, strlen(p)) == NOS_ERROR_USAGE);
    CHECK(nos_load_text(vm, "x", NULL, 0) == NOS_ERROR_USAGE);
    CHECK(nos_load_file(vm, NULL) == NOS_ERROR_USAGE);
    CHECK(nos_load_text(NULL, "x", p, strlen(p)) == NOS_ERROR_USAGE);
    CHECK(nos_load_file(NULL, "x") == NOS_ERROR_USAGE);
    CHECK(nos_run(NULL) == NOS_ERROR_USAGE);
    CHECK(nos_load_text(vm, "x", p, strlen(p)) == NOS_OK);
    CHECK(nos_load_text(vm, "x", p, strlen(p)) == NOS_ERROR_USAGE); // one program per VM
    capture();
    CHECK(nos_run(vm) == NOS_OK);
    CHECK(nos_run(vm) == NOS_ERROR_USAGE); // once
    release();
    CHECK(wrote("1\n", ""));
    nos_free(vm);
    nos_free(NULL);
    nos_free(nos_new(NULL)); // never used

    capture();
    vm = nos_new(NULL);
    CHECK(nos_load_text(vm, "x", "main() = (", 10) == NOS_ERROR_COMPILE);
    CHECK(nos_run(vm) == NOS_ERROR_USAGE);
    CHECK(nos_load_text(vm, "x", p, strlen(p)) == NOS_ERROR_USAGE); // a failed VM stays failed
    nos_free(vm);
    release();
}

static void test_options(void)
{
    static const char *const args[] = {"one", "zw\303\266lf"};
    nos_options o = {.threads = 1, .args = args, .n_args = 2};
    CHECK(run("main() = println(Env.args())", &o) == NOS_OK);
    CHECK(wrote("[\"one\", \"zw\303\266lf\"]\n", ""));
    CHECK(run("main() = println(Env.args())", NULL) == NOS_OK); // not those of the VM before
    CHECK(wrote("[]\n", ""));
    o = (nos_options){.max_heap_bytes = 8u << 20};
    const char *grow = "grow(xs, n) = if n == 0 then xs.length() else grow([n | xs], n - 1)\n"
                       "main() = grow([], 100000000)";
    CHECK(run(grow, &o) == NOS_ERROR_RUNTIME);
    CHECK(wrote("", "Out of memory"));
}

/* Each VM has its own program, mvars and processes. */
static void test_one_after_the_other(void)
{
    static const char counter[] = "type P = { x: Int }\n"
                                  "P: Show show(self) = \"P#\" ++ show(self.x) end\n"
                                  "mvar n: Int = 0\n"
                                  "top = P(41)\n"
                                  "work() = { n = n + 1\n n }\n"
                                  "main() = {\n"
                                  "  me = self()\n"
                                  "  for i = 0 to 50 { spawn { work(); me <- i } }\n"
                                  "  for i = 0 to 50 { receive { x -> x } }\n"
                                  "  println(\"${top} ${n} ${%{1: \"a\"}.insert(2, \"b\")}\")\n"
                                  "  spawn { receive { \"never\" -> () } }\n" // abandoned
                                  "  ()\n"
                                  "}\n";
    for (int i = 0; i < 5; i++) {
        CHECK(run(counter, NULL) == NOS_OK);
        CHECK(wrote("P#41 50 %{1: \"a\", 2: \"b\"}\n", ""));
    }
    CHECK(run("type P = { x: Int, y: Int }\nmain() = P(1, 2)", NULL) == NOS_OK);
    CHECK(wrote("P{x: 1, y: 2}\n", ""));
    CHECK(run("main() = throw(work())", NULL) == NOS_ERROR_COMPILE); // the names are gone
}

static void test_files(void)
{
    char dir[] = "/tmp/nostos-embed-XXXXXX", file[64], module[64];
    if (!mkdtemp(dir))
        abort();
    snprintf(file, sizeof file, "%s/prog.nos", dir);
    snprintf(module, sizeof module, "%s/helper.nos", dir);
    FILE *f = fopen(module, "w");
    fputs("pub twice(x) = x * 2\n", f);
    fclose(f);
    f = fopen(file, "w");
    fputs("use helper.twice\nmain() = twice(21)\n", f);
    fclose(f);
    capture();
    nos_vm *vm = nos_new(NULL);
    CHECK(nos_load_file(vm, file) == NOS_OK);
    CHECK(nos_run(vm) == NOS_OK);
    nos_free(vm);
    vm = nos_new(NULL);
    CHECK(nos_load_file(vm, "/nonexistent/x.nos") == NOS_ERROR_COMPILE);
    nos_free(vm);
    release();
    CHECK(wrote("42\n", "cannot read '/nonexistent/x.nos'"));
    unlink(file);
    unlink(module);
    rmdir(dir);
}

int main(void)
{
    test_statuses();
    test_usage_errors();
    test_options();
    test_one_after_the_other();
    test_files();
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
