/* bi_env.c -- Env and Path. */
#include "vm/builtins/bi.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "vm/builtins/builtins.h"
#include "vm/util/env.h"

extern char **environ;

static const char *const *program_args;
static uint32_t n_program_args;
/* The C library's environment is not thread safe; everything of ours that touches it takes this. */

void nosi_builtins_set_args(const char *const *args, uint32_t n)
{
    program_args = args;
    n_program_args = n;
}

/* ---- Env ------------------------------------------------------------------------------------ */

/* Text from the system, which need not be UTF-8. */
static bool lossy(Proc *p, const char *s, Value *out)
{
    return nosi_string_lossy(&p->heap, s, strlen(s), out);
}

static Value variable(Proc *p, const char *name)
{
    Value v;
    pthread_mutex_lock(&nosi_env_mutex);
    const char *value = *name && !strchr(name, '=') ? getenv(name) : NULL;
    char *copied = value ? nosi_strdup(value) : NULL;
    pthread_mutex_unlock(&nosi_env_mutex);
    if (!copied)
        return nosi_none();
    bool ok = lossy(p, copied, &v);
    nosi_free(copied);
    return OK_OR_NOMEM(ok && nosi_some(&p->heap, v, &v), v);
}

Value nosi_bi_env_get(Proc *p, Value *args)
{
    StrBuf name = {0};
    WANT_STRING(0);
    bool whole = nosi_string_copy_cstr(args[0], &name);
    Value v = whole ? variable(p, nosi_strbuf_cstr(&name)) : nosi_none();
    nosi_strbuf_free(&name);
    return v;
}

Value nosi_bi_env_home(Proc *p, Value *args)
{
    (void)args;
    return variable(p, "HOME");
}

Value nosi_bi_env_set(Proc *p, Value *args)
{
    StrBuf name = {0}, value = {0};
    WANT_STRING(0);
    WANT_STRING(1);
    bool ok = nosi_string_copy_cstr(args[0], &name) && nosi_string_copy_cstr(args[1], &value);
    if (ok) {
        pthread_mutex_lock(&nosi_env_mutex);
        ok = setenv(nosi_strbuf_cstr(&name), nosi_strbuf_cstr(&value), 1) == 0;
        pthread_mutex_unlock(&nosi_env_mutex);
    }
    nosi_strbuf_free(&name);
    nosi_strbuf_free(&value);
    return ok ? VALUE_UNIT : nosi_panic(p, "Env.set: not a valid name or value");
}

Value nosi_bi_env_remove(Proc *p, Value *args)
{
    StrBuf name = {0};
    WANT_STRING(0);
    if (nosi_string_copy_cstr(args[0], &name)) {
        pthread_mutex_lock(&nosi_env_mutex);
        unsetenv(nosi_strbuf_cstr(&name)); // a name that cannot exist does not
        pthread_mutex_unlock(&nosi_env_mutex);
    }
    nosi_strbuf_free(&name);
    return VALUE_UNIT;
}

Value nosi_bi_env_all(Proc *p, Value *args)
{
    Heap *h = &p->heap;
    Value list = VALUE_NIL, pair[2] = {VALUE_UNIT, VALUE_UNIT};
    VEC(char *) lines = {0};
    bool ok = true;
    (void)args;
    pthread_mutex_lock(&nosi_env_mutex);
    for (char **e = environ; e && *e; e++)
        vec_push(&lines, nosi_strdup(*e));
    pthread_mutex_unlock(&nosi_env_mutex);
    ROOT(h, list);
    ROOT_ARRAY(h, pair, 2);
    for (uint32_t i = lines.n; i-- > 0;) {
        char *equals = strchr(lines.at[i], '=');
        if (ok && equals) {
            *equals = 0;
            ok = lossy(p, lines.at[i], &pair[0]) && lossy(p, equals + 1, &pair[1]) &&
                 nosi_heap_reserve(h, 3 + CONS_WORDS);
            if (ok)
                list = nosi_cons_nogc(h, nosi_tuple_nogc(h, pair, 2), list);
        }
        nosi_free(lines.at[i]);
    }
    UNROOT(h);
    UNROOT(h);
    vec_free(&lines);
    return OK_OR_NOMEM(ok, list);
}

Value nosi_bi_env_cwd(Proc *p, Value *args)
{
    Value v;
    (void)args;
    char *dir = getcwd(NULL, 0);
    if (!dir)
        return nosi_panic(p, "Failed to get cwd: %s", strerror(errno));
    bool ok = lossy(p, dir, &v);
    free(dir); // NOLINT: getcwd's
    return OK_OR_NOMEM(ok, v);
}

Value nosi_bi_env_set_cwd(Proc *p, Value *args)
{
    StrBuf dir = {0};
    Value v;
    WANT_STRING(0);
    bool ok = nosi_string_copy_cstr(args[0], &dir) && chdir(nosi_strbuf_cstr(&dir)) == 0;
    int err = errno;
    nosi_strbuf_free(&dir);
    if (ok)
        return OK_OR_NOMEM(nosi_ok(&p->heap, VALUE_UNIT, &v), v);
    return OK_OR_NOMEM(nosi_string_printf(&p->heap, &v, "Failed to set cwd: %s", strerror(err)) &&
                           nosi_err(&p->heap, v, &v),
                       v);
}

Value nosi_bi_env_args(Proc *p, Value *args)
{
    Heap *h = &p->heap;
    Value list = VALUE_NIL, v = VALUE_UNIT;
    bool ok = true;
    (void)args;
    ROOT(h, list);
    ROOT(h, v);
    for (uint32_t i = n_program_args; ok && i-- > 0;) {
        ok = lossy(p, program_args[i], &v) && nosi_heap_reserve(h, CONS_WORDS);
        if (ok)
            list = nosi_cons_nogc(h, v, list);
    }
    UNROOT(h);
    UNROOT(h);
    return OK_OR_NOMEM(ok, list);
}

Value nosi_bi_env_platform(Proc *p, Value *args)
{
    (void)args;
#if defined(__APPLE__)
    return bi_string(p, "macos", 5);
#elif defined(_WIN32)
    return bi_string(p, "windows", 7);
#else
    return bi_string(p, "linux", 5);
#endif
}

Value nosi_bi_env_is_interactive(Proc *p, Value *args)
{
    return nosi_bi_runtime_is_interactive(p, args);
}

/* ---- Path: text only, nothing is looked at
 * ------------------------------------------------------------------------------------ */

typedef struct Text {
    const char *s;
    size_t n;
} Text;

static Text text_of(Value v)
{
    Text t;
    nosi_string_view(v, &t.s, &t.n);
    return t;
}

static Value join(Proc *p, Value *args, int n)
{
    StrBuf out = {0};
    for (int i = 0; i < n; i++)
        WANT_STRING(i);
    for (int i = 0; i < n; i++) {
        Text t = text_of(args[i]);
        if (t.n && t.s[0] == '/')
            out.n = 0;
        else if (out.n && out.s[out.n - 1] != '/')
            nosi_strbuf_putc(&out, '/');
        nosi_strbuf_add(&out, t.s, t.n);
    }
    return bi_text(p, &out);
}

Value nosi_bi_path_join(Proc *p, Value *args)
{
    return join(p, args, 2);
}
Value nosi_bi_path_join3(Proc *p, Value *args)
{
    return join(p, args, 3);
}
Value nosi_bi_path_join4(Proc *p, Value *args)
{
    return join(p, args, 4);
}

/* Where the last component is: [from, to); trailing separators do not count. */
static void last_component(Text t, size_t *from, size_t *to)
{
    *to = t.n;
    while (*to > 0 && t.s[*to - 1] == '/')
        --*to;
    *from = *to;
    while (*from > 0 && t.s[*from - 1] != '/')
        --*from;
}

/* Position of the dot of the extension; `to` when there is none. */
static size_t extension_dot(Text t, size_t from, size_t to)
{
    size_t dot = to;
    while (dot > from && t.s[dot - 1] != '.')
        dot--;
    return dot > from + 1 ? dot - 1 : to; // a leading dot is part of the name
}

static Value piece(Proc *p, Value s, size_t from, size_t to)
{
    Value v;
    return OK_OR_NOMEM(nosi_string_slice(&p->heap, s, from, to, &v), v);
}

Value nosi_bi_path_dirname(Proc *p, Value *args)
{
    size_t from, to;
    WANT_STRING(0);
    Text t = text_of(args[0]);
    last_component(t, &from, &to);
    size_t end = from;
    while (end > 1 && t.s[end - 1] == '/')
        end--;
    return piece(p, args[0], 0, end);
}

Value nosi_bi_path_basename(Proc *p, Value *args)
{
    size_t from, to;
    WANT_STRING(0);
    last_component(text_of(args[0]), &from, &to);
    return piece(p, args[0], from, to);
}

Value nosi_bi_path_extension(Proc *p, Value *args)
{
    size_t from, to;
    WANT_STRING(0);
    Text t = text_of(args[0]);
    last_component(t, &from, &to);
    size_t dot = extension_dot(t, from, to);
    return piece(p, args[0], dot == to ? to : dot + 1, to);
}

Value nosi_bi_path_with_extension(Proc *p, Value *args)
{
    StrBuf out = {0};
    size_t from, to;
    WANT_STRING(0);
    WANT_STRING(1);
    Text t = text_of(args[0]), ext = text_of(args[1]);
    last_component(t, &from, &to);
    nosi_strbuf_add(&out, t.s, extension_dot(t, from, to));
    if (ext.n) {
        nosi_strbuf_putc(&out, '.');
        nosi_strbuf_add(&out, ext.s, ext.n);
    }
    return bi_text(p, &out);
}

/* The next component of t at *i; false at the end. */
static bool component(Text t, size_t *i, Text *out)
{
    while (*i < t.n && t.s[*i] == '/')
        ++*i;
    size_t from = *i;
    while (*i < t.n && t.s[*i] != '/')
        ++*i;
    *out = (Text){t.s + from, *i - from};
    return *i > from;
}

Value nosi_bi_path_normalize(Proc *p, Value *args)
{
    StrBuf out = {0};
    Text c;
    size_t i = 0;
    WANT_STRING(0);
    Text t = text_of(args[0]);
    bool absolute = t.n && t.s[0] == '/';
    if (absolute)
        nosi_strbuf_putc(&out, '/');
    size_t kept = out.n; // what `..` cannot take away: the root, or leading `..`
    while (component(t, &i, &c)) {
        if (c.n == 1 && c.s[0] == '.')
            continue;
        if (c.n == 2 && memcmp(c.s, "..", 2) == 0 && (out.n > kept || absolute)) {
            while (out.n > kept && out.s[out.n - 1] != '/')
                out.n--;
            if (out.n > kept)
                out.n--;
            continue;
        }
        if (out.n && out.s[out.n - 1] != '/')
            nosi_strbuf_putc(&out, '/');
        nosi_strbuf_add(&out, c.s, c.n);
        if (c.n == 2 && memcmp(c.s, "..", 2) == 0)
            kept = out.n;
    }
    if (out.n == 0)
        nosi_strbuf_putc(&out, '.');
    return bi_text(p, &out);
}

Value nosi_bi_path_is_absolute(Proc *p, Value *args)
{
    WANT_STRING(0);
    Text t = text_of(args[0]);
    return value_bool(t.n && t.s[0] == '/');
}

Value nosi_bi_path_is_relative(Proc *p, Value *args)
{
    WANT_STRING(0);
    Text t = text_of(args[0]);
    return value_bool(!t.n || t.s[0] != '/');
}

Value nosi_bi_path_split(Proc *p, Value *args)
{
    Heap *h = &p->heap;
    Value list = VALUE_NIL, last = VALUE_NIL, v = VALUE_NIL;
    bool ok = true;
    WANT_STRING(0);
    ROOT(h, list);
    ROOT(h, last);
    ROOT(h, v);
    Text t = text_of(args[0]), c;
    if (t.n && t.s[0] == '/') {
        ok = nosi_string_slice(h, args[0], 0, 1, &v) && nosi_heap_reserve(h, CONS_WORDS);
        if (ok)
            nosi_list_push_nogc(h, &list, &last, v);
    }
    for (size_t i = 0; ok;) {
        t = text_of(args[0]); // again: a short string moves
        if (!component(t, &i, &c))
            break;
        ok = nosi_string_slice(h, args[0], i - c.n, i, &v) && nosi_heap_reserve(h, CONS_WORDS);
        if (ok)
            nosi_list_push_nogc(h, &list, &last, v);
    }
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    return OK_OR_NOMEM(ok, list);
}
