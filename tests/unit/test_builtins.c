/* test_builtins.c -- the table of natives, and natives called through bytecode: results and errors
 * as text. The programs under tests/lang/library cover what they mean; here is what can be tested
 * without the compiler, under GC stress too. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "io/io.h"
#include "sched/sched.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/builtins/builtins.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/list.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/interp/interp.h"
#include "vm/util/hashmap.h"

static Sched *s;
static Heap lit;

static void no_roots(void *owner, RootVisit *visit, void *ctx)
{
    (void)owner, (void)visit, (void)ctx;
}

static void setup(void)
{
    nosi_shapes_init();
    nosi_builtins_init();
    nosi_io_init();
    nosi_heap_init(&lit, no_roots, NULL);
    s = nosi_sched_new(
        &(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 1, .quiet_crashes = true});
}
static void finish(void)
{
    nosi_sched_free(s);
    nosi_heap_free(&lit);
}

static Value str(const char *text)
{
    Value v;
    CHECK(nosi_string_cstr(&lit, text, &v));
    return nosi_literal_copy(v);
}
static Value flt(double d)
{
    CHECK(nosi_heap_reserve(&lit, FLOAT_WORDS));
    return nosi_literal_copy(nosi_float_nogc(&lit, d));
}
static Value num(int64_t i)
{
    CHECK(nosi_heap_reserve(&lit, INT64_WORDS));
    return nosi_literal_copy(nosi_int_nogc(&lit, i));
}
static Value list_of(const Value *items, size_t n)
{
    Value v;
    CHECK(nosi_list_from_array(&lit, items, n, VALUE_NIL, &v));
    return nosi_literal_copy(v);
}
#define LIST(...) list_of((Value[]){__VA_ARGS__}, sizeof((Value[]){__VA_ARGS__}) / sizeof(Value))
#define INT(i)    value_small(i)

/* Calls a native with literals; the result or "!" and the exception as text, valid until the next
 * call. */
static const char *call_n(const char *name, const Value *args, uint32_t n)
{
    static StrBuf b;
    const Builtin *f = nosi_builtin_find(nosi_intern_cstr(name), n);
    if (!f) {
        fprintf(stderr, "no native %s/%u\n", name, n);
        abort();
    }
    Asm a = asm_begin("test", 0, (uint16_t)(n + 1));
    for (uint32_t i = 0; i < n; i++)
        ASM(a, LOADK, i, asm_k(&a, args[i]), 0);
    ASM(a, CALLB, n, 0, asm_ref(&a, f));
    ASM(a, RET, n, 0, 0);
    Outcome o = nosi_sched_call(s, asm_end(&a));
    b.n = 0;
    if (o.kind == EXIT_VALUE) {
        nosi_show(&b, o.value->root, SHOW_NESTED, NULL);
    } else if (o.kind == EXIT_EXCEPTION) {
        nosi_strbuf_putc(&b, '!');
        nosi_show(&b, o.value->root, SHOW_TOP, NULL);
    } else {
        nosi_strbuf_printf(&b, "outcome %d", (int)o.kind);
    }
    nosi_outcome_free(&o);
    return nosi_strbuf_cstr(&b);
}
#define CALL0(name) call_n(name, NULL, 0)
#define CALL(name, ...) \
    call_n(name, (Value[]){__VA_ARGS__}, sizeof((Value[]){__VA_ARGS__}) / sizeof(Value))

/* ---- the table ------------------------------------------------------------------------------ */

/* Parameters of a signature, or -1 when it is malformed. */
static int count_params(const char *sig)
{
    const char *arrow = strstr(sig, "=> "), *t = arrow ? arrow + 3 : sig;
    int depth = 0, n = 1;
    const char *end = NULL;
    for (const char *c = t; *c; c++) {
        depth += (*c == '(' || *c == '[') - (*c == ')' || *c == ']');
        if (depth == 0 && strncmp(c, " -> ", 4) == 0) {
            end = c;
            break;
        }
    }
    if (!end || depth)
        return -1;
    if (*t != '(')
        return 1;
    for (const char *c = t; c < end;
         c++) { // does the first parenthesis close right before the arrow?
        depth += (*c == '(' || *c == '[') - (*c == ')' || *c == ']');
        if (depth == 0 && c != end - 1)
            return 1;
        n += depth == 1 && *c == ',';
    }
    return end - t == 2 ? 0 : n;
}

TEST(table_is_well_formed)
{
    nosi_builtins_init();
    CHECK(nosi_n_builtins > 300);
    for (uint32_t i = 0; i < nosi_n_builtins; i++) {
        const Builtin *b = &nosi_builtins[i];
        if (count_params(b->signature) != b->n_params) {
            fprintf(stderr, "%s: %s\n", b->name, b->signature);
            abort();
        }
        CHECK(b->name == nosi_intern_cstr(b->name));
        CHECK(nosi_builtin_find(b->name, b->n_params) == b); // no two rows with one name and arity
        CHECK(b->doc[0] && strchr(".?)", b->doc[strlen(b->doc) - 1]));
        CHECK(b->fn);
    }
    CHECK(!nosi_builtin_find(nosi_intern_cstr("println"), 2));
    CHECK(!nosi_builtin_find(nosi_intern_cstr("no such thing"), 1));
}

/* ---- natives -------------------------------------------------------------------------------- */

static void strings(void)
{
    CHECK_STR(CALL("String.length", str("héllo")), "5");
    CHECK_STR(CALL("String.trim", str(" \t a b\n")), "\"a b\"");
    CHECK_STR(CALL("String.toUpper", str("straße")), "\"STRASSE\"");
    CHECK_STR(CALL("String.toLower", str("ΟΔΟΣ İ")), "\"οδος i\xCC\x87\"");
    CHECK_STR(CALL("String.toInt", str(" 42 ")), "Some(42)");
    CHECK_STR(CALL("String.toInt", str("4x")), "None");
    CHECK_STR(CALL("String.toFloat", str("1e3")), "Some(1000.0)");
    CHECK_STR(CALL("String.split", str("a,,b"), str(",")), "[\"a\", \"\", \"b\"]");
    CHECK_STR(CALL("String.split", str("añb"), str("")), "[\"a\", \"ñ\", \"b\"]");
    CHECK_STR(CALL("String.lines", str("a\r\n\nb\n")), "[\"a\", \"\", \"b\"]");
    CHECK_STR(CALL("String.words", str("  a  bc ")), "[\"a\", \"bc\"]");
    CHECK_STR(CALL("String.words", str("   ")), "[]");
    CHECK_STR(CALL("String.replace", str("hello"), str(""), str("x")), "\"xhello\"");
    CHECK_STR(CALL("String.replaceAll", str("aXbX"), str("X"), str("--")), "\"a--b--\"");
    CHECK_STR(CALL("String.replaceAll", str("ab"), str(""), str("-")), "\"-a-b-\"");
    CHECK_STR(CALL("String.indexOf", str("日本語"), str("語")), "2");
    CHECK_STR(CALL("String.lastIndexOf", str("abcabc"), str("bc")), "4");
    CHECK_STR(CALL("String.substring", str("héllo"), INT(1), INT(3)), "\"él\"");
    CHECK_STR(CALL("String.repeat", str("ab"), INT(-1)), "\"\"");
    CHECK_STR(CALL("String.padStart", str("é"), INT(3), str("日x")), "\"日日é\"");
    CHECK_STR(CALL("String.reverse", str("a😀b")), "\"b😀a\"");
    CHECK_STR(CALL("String.codeAt", str("abc"), INT(3)),
              "!(\"Panic\", \"Index 3 out of bounds for string of length 3\")");
    CHECK_STR(CALL("String.join", LIST(str("a"), INT(1), value_char('c')), str("-")), "\"a-1-c\"");
    CHECK_STR(CALL("String.trim", INT(1)), "!(\"TypeError\", \"expected String, got Int\")");
    CHECK_STR(CALL("String.from_chars", LIST(value_char('h'), value_char(0xE9))), "\"hé\"");
}

static void lists(void)
{
    Value l = LIST(INT(3), INT(1), INT(2));
    CHECK_STR(CALL("head", l), "3");
    CHECK_STR(CALL("tail", VALUE_NIL),
              "!(\"IndexOutOfBounds\", \"index 0 out of bounds (length 0)\")");
    CHECK_STR(CALL("length", l), "3");
    CHECK_STR(CALL("length", INT(1)),
              "!(\"TypeError\", \"expected List, String, Tuple, or Array, got Int\")");
    CHECK_STR(CALL("concat", l, l), "[3, 1, 2, 3, 1, 2]");
    CHECK_STR(CALL("range", INT(1), INT(4)), "[1, 2, 3]");
    CHECK_STR(CALL("__take", l, INT(-1)), "[]");
    CHECK_STR(CALL("__take", l, INT(99)), "[3, 1, 2]");
    CHECK_STR(CALL("__drop", l, INT(2)), "[2]");
    CHECK_STR(CALL("__drop", l, INT(99)), "[]");
    CHECK_STR(CALL("__reverse", l), "[2, 1, 3]");
    CHECK_STR(CALL("__sortNative", l), "Some([1, 2, 3])");
    CHECK_STR(CALL("__sortNative", LIST(flt(2.5), flt(-1.0), flt(0.0 / 0.0), flt(1.0))),
              "Some([-1.0, 1.0, 2.5, NaN])");
    CHECK_STR(CALL("__sortNative", LIST(str("b"), str("a"), str(""))),
              "Some([\"\", \"a\", \"b\"])");
    CHECK_STR(CALL("__sortNative", LIST(num(INT64_MAX), num(INT64_MIN), INT(0))),
              "Some([-9223372036854775808, 0, 9223372036854775807])");
    CHECK_STR(CALL("__sortNative", LIST(INT(1), flt(1.0))), "None");
    CHECK_STR(CALL("__sortNative", LIST(VALUE_TRUE)), "None");
    CHECK_STR(CALL("__uniqueNative", LIST(INT(1), INT(2), INT(1), str("a"), str("a"))),
              "Some([1, 2, \"a\"])");
    CHECK_STR(CALL("__uniqueNative", LIST(l, l)), "None");
    CHECK_STR(CALL("__sum", l), "Some(6)");
    CHECK_STR(CALL("__sum", VALUE_NIL), "Some(0)");
    CHECK_STR(CALL("__sum", LIST(num(INT64_MAX), INT(1))), "Some(-9223372036854775808)");
    CHECK_STR(CALL("__product", LIST(flt(1.5), flt(2.0))), "Some(3.0)");
    CHECK_STR(CALL("__sum", LIST(INT(1), flt(2.0))), "None");
    CHECK_STR(CALL("__replicate", INT(2), INT(7)), "[7, 7]");
}

static void numbers(void)
{
    CHECK_STR(CALL("sqrt", INT(16)), "4.0");
    CHECK_STR(CALL("round", flt(-2.5)), "-3");
    CHECK_STR(CALL("floor", flt(1e30)), "9223372036854775807");
    CHECK_STR(CALL("abs", num(INT64_MIN)), "-9223372036854775808");
    CHECK_STR(CALL("min", flt(0.0 / 0.0), flt(1.0)), "1.0");
    CHECK_STR(CALL("max", INT(1), INT(2)), "2");
    CHECK_STR(CALL("pow", INT(2), INT(-1)), "!(\"Panic\", \"PowInt: negative exponent for Int\")");
    CHECK_STR(CALL("asInt8", INT(300)), "44");
    CHECK_STR(CALL("toChar", INT(0xD800)),
              "!(\"Panic\", \"toChar: 55296 is not a Unicode character\")");
    CHECK_STR(CALL("Float.toFixed", flt(3.14159), INT(2)), "\"3.14\"");
    CHECK_STR(CALL("Int.shiftLeft", INT(1), INT(63)), "-9223372036854775808");
    CHECK_STR(CALL("Int.shiftRightLogical", INT(-1), INT(60)), "15");
    CHECK_STR(CALL("Int.shiftLeft", INT(1), INT(-1)), "!(\"Panic\", \"negative shift count -1\")");
    CHECK_STR(CALL("Char.isAlpha", value_char(0x65E5)), "true");
    CHECK_STR(CALL("sqrt", str("x")), "!(\"TypeError\", \"expected number, got String\")");
    CHECK_STR(CALL("compare", str("a"), str("b")), "-1");
    CHECK_STR(CALL("compare", VALUE_TRUE, VALUE_FALSE),
              "!(\"Panic\", \"Compare: values are not comparable\")");
}

static void core(void)
{
    CHECK_STR(CALL("show", LIST(INT(1), str("a"))), "\"[1, \\\"a\\\"]\"");
    CHECK_STR(CALL("assert", VALUE_FALSE), "!(\"Panic\", \"Assertion failed\")");
    CHECK_STR(CALL("assert_eq", INT(1), INT(2)), "!(\"Panic\", \"Assertion failed: 1 != 2\")");
    CHECK_STR(CALL("assert_eq", str(""), str(" ")),
              "!(\"Panic\", \"Assertion failed: \\\"\\\" != \\\" \\\"\")");
    CHECK_STR(CALL("panic", LIST(INT(1))), "!(\"Panic\", \"[1]\")");
    CHECK_STR(CALL("throw", INT(5)), "!5");
    CHECK_STR(CALL("typeOf", LIST(INT(1))), "\"Int64List\"");
    CHECK_STR(CALL("copy", LIST(INT(1))), "[1]");
    CHECK_STR(CALL("Time.fromDate", INT(2023), INT(2), INT(29)),
              "!(\"Panic\", \"Invalid date: 2023-2-29\")");
    CHECK_STR(CALL("Time.formatUtc", num(1709247907045), str("%F %T %3f %Q")),
              "\"2024-02-29 23:05:07 045 %Q\"");
    CHECK_STR(CALL("Path.normalize", str("/a/../../b/./c")), "\"/b/c\"");
    CHECK_STR(CALL("Path.normalize", str("../../a/../b")), "\"../../b\"");
    CHECK_STR(CALL("Path.join", str("a"), str("b"), str("c")), "\"a/b/c\"");
    CHECK_STR(CALL("Path.extension", str("x/.bashrc")), "\"\"");
    CHECK_STR(CALL("Random.int", INT(2), INT(1)), "!(\"Panic\", \"Random.int: empty range\")");
    CHECK_STR(CALL("Random.int", INT(7), INT(7)), "7");
}

static void maps(void)
{
    Value pair[2] = {str("a"), INT(1)}, p;
    CHECK(nosi_tuple_new(&lit, pair, 2, &p));
    p = nosi_literal_copy(p);
    Value l = LIST(p);
    CHECK_STR(CALL("Map.fromList", l), "%{\"a\": 1}");
    CHECK_STR(CALL("Map.fromList", LIST(INT(1))),
              "!(\"TypeError\", \"expected pair, got something else\")");
    CHECK_STR(CALL("Set.fromList", LIST(INT(2), INT(1), INT(2))), "#{2, 1}");
    CHECK_STR(CALL("Set.fromList", LIST(flt(1.5))),
              "!(\"TypeError\", \"expected hashable type, got Float\")");
    CHECK_STR(CALL("Map.get", INT(1), INT(2)), "!(\"TypeError\", \"expected Map, got Int\")");
}

static void arrays(void)
{
    CHECK_STR(CALL("newInt64Array", INT(3)), "Int64Array[0, 0, 0]");
    CHECK_STR(CALL("newInt64Array", INT(-1)), "!(\"Panic\", \"Int64Array: negative length -1\")");
    CHECK_STR(CALL("Int64Array.fromList", LIST(str("x"))),
              "!(\"TypeError\", \"expected list of Int\")");
    CHECK_STR(CALL("Bytes.fromList", LIST(INT(256))),
              "!(\"Panic\", \"Bytes.fromList: an element is not in 0..255\")");
}

TEST(natives)
{
    setup();
    strings();
    lists();
    numbers();
    core();
    maps();
    arrays();
    finish();
}

TEST(natives_under_gc_stress)
{
    setup();
    nosi_gc_stress = true;
    strings();
    lists();
    numbers();
    core();
    maps();
    arrays();
    finish();
}

TEST(big_sort_is_right)
{
    enum { N = 20000 };
    static Value v[N];
    setup();
    for (int i = 0; i < N; i++)
        v[i] = INT((int64_t)((uint64_t)i * 2654435761u % 100003) - 50000);
    const char *text = CALL("__sortNative", list_of(v, N));
    long last = -100000, n = 0;
    for (const char *c = strchr(text, '[') + 1; *c != ']' && c[-1] != ']'; n++) {
        char *end;
        long x = strtol(c, &end, 10);
        CHECK(x >= last);
        last = x;
        c = end + (*end == ',' ? 2 : 0);
        if (*end == ']')
            break;
    }
    CHECK_EQ(n, N - 1); // the loop leaves before it counts the last one
    finish();
}

/* ---- files ---------------------------------------------------------------------------------- */

static const char *path_in(const char *dir, const char *name)
{
    static char path[4][256];
    static int next;
    char *to = path[next++ % 4];
    snprintf(to, 256, "%s/%s", dir, name);
    return to;
}

TEST(files)
{
    char dir[] = "/tmp/nosi_test_XXXXXX";
    CHECK(mkdtemp(dir));
    setup();
    const char *f = path_in(dir, "a.txt");
    char want[512];
    CHECK_STR(CALL("File.writeAll", str(f), str("one\ntwo é\n")), "()");
    CHECK_STR(CALL("File.readAll", str(f)), "\"one\ntwo é\n\"");
    CHECK_STR(CALL("File.size", str(f)), "11");
    CHECK_STR(CALL("File.append", str(f), str("x")), "()");
    CHECK_STR(CALL("File.exists", str(f)), "true");
    CHECK_STR(CALL("Dir.exists", str(f)), "false");
    CHECK_STR(CALL("Dir.list", str(dir)), "[\"a.txt\"]");

    int fd = open(path_in(dir, "bad"), O_CREAT | O_WRONLY, 0600);
    CHECK_EQ(write(fd, "ab\xFF", 3), 3);
    close(fd);
    snprintf(want, sizeof want, "!(\"io_error\", \"IO error: invalid UTF-8 at byte 2: %s/bad\")",
             dir);
    CHECK_STR(CALL("File.readAll", str(path_in(dir, "bad"))), want);
    snprintf(want, sizeof want, "!(\"io_error\", \"File not found: %s/none\")", dir);
    CHECK_STR(CALL("File.readAll", str(path_in(dir, "none"))), want);
    snprintf(want, sizeof want, "!(\"io_error\", \"IO error: Is a directory: %s\")", dir);
    CHECK_STR(CALL("File.readAll", str(dir)), want);
    CHECK(strlen(CALL("File.readAll", str("/proc/self/status"))) > 100);
    CHECK_STR(CALL("File.readAll", str("/dev/null")), "\"\"");

    int64_t h = atoll(CALL("File.open", str(f), str("r")));
    CHECK(h > 0);
    CHECK_STR(CALL("File.readLine", INT(h)), "\"one\n\"");
    CHECK_STR(CALL("File.nextLine", INT(h)), "Some(\"two é\")");
    CHECK_STR(CALL("File.seek", INT(h), INT(4), str("start")), "4");
    CHECK_STR(CALL("File.read", INT(h), INT(5)), "\"two \"");
    CHECK_STR(CALL("File.read", INT(h), INT(1)), "\"é\"");
    CHECK_STR(CALL("File.read", INT(h), INT(100)), "\"\nx\"");
    CHECK_STR(CALL("File.read", INT(h), INT(100)), "\"\"");
    CHECK_STR(CALL("File.readLine", INT(h)), "\"eof\"");
    CHECK_STR(CALL("File.nextLine", INT(h)), "None");
    CHECK_STR(CALL("File.close", INT(h)), "()");
    CHECK_STR(CALL("File.readLine", INT(h)), "!(\"io_error\", \"Invalid handle\")");
    CHECK_STR(CALL("File.open", str(f), str("q")), "!(\"io_error\", \"Invalid file mode: q\")");
    CHECK_STR(CALL("Dir.createAll", str(path_in(dir, "x/y/z"))), "()");
    CHECK_STR(CALL("Dir.removeAll", str(dir)), "()");
    CHECK_STR(CALL("File.exists", str(dir)), "false");
    finish();
}

typedef struct Feeder {
    const char *path;
    int delay_ms;
} Feeder;

static void *feed(void *arg)
{
    Feeder *f = arg;
    usleep((useconds_t)f->delay_ms * 1000);
    int fd = open(f->path, O_WRONLY);
    CHECK_EQ(write(fd, "late\nmore", 9), 9);
    usleep(20000);
    CHECK_EQ(write(fd, " text\n", 6), 6);
    close(fd);
    return NULL;
}

// A pipe without a writer: reading waits for one, without a thread of the pool.
TEST(fifo)
{
    char dir[] = "/tmp/nosi_test_XXXXXX";
    CHECK(mkdtemp(dir));
    setup();
    Feeder f = {path_in(dir, "fifo"), 50};
    CHECK_EQ(mkfifo(f.path, 0600), 0);
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, feed, &f), 0);
    CHECK_STR(CALL("File.readAll", str(f.path)), "\"late\nmore text\n\"");
    pthread_join(t, NULL);
    CHECK_EQ(pthread_create(&t, NULL, feed, &f), 0);
    int64_t h = atoll(CALL("File.open", str(f.path), str("r")));
    CHECK_STR(CALL("File.nextLine", INT(h)), "Some(\"late\")");
    CHECK_STR(CALL("File.nextLine", INT(h)), "Some(\"more text\")");
    CHECK_STR(CALL("File.nextLine", INT(h)), "None");
    CHECK_STR(CALL("File.close", INT(h)), "()");
    pthread_join(t, NULL);
    CHECK_STR(CALL("Dir.removeAll", str(dir)), "()");
    finish();
}

TEST(standard_input)
{
    int fd[2];
    CHECK_EQ(pipe(fd), 0);
    CHECK_EQ(write(fd[1], "a\r\nb\nrest\nof it", 15), 15);
    close(fd[1]);
    dup2(fd[0], 0);
    setup();
    CHECK_STR(CALL0("readLine"), "Some(\"a\")");
    CHECK_STR(CALL0("Io.readLine"), "Some(\"b\")");
    CHECK_STR(CALL0("Io.readAll"), "\"rest\nof it\"");
    CHECK_STR(CALL0("readLine"), "None");
    finish();
}
