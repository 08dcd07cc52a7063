/* project.c -- see project.h. The TOML reader knows what nostos.toml needs: tables, arrays of
 * tables, dotted and quoted keys, strings of one line, words (numbers, dates, Booleans), arrays and
 * inline tables; anything else is an error with its line, never ignored silently. What is not about
 * the project or its entry points is read and dropped. */
#include "vm/project.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vm/util/strbuf.h"

/* ---- directory
 * --------------------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const ProjectFile *)a)->path, ((const ProjectFile *)b)->path);
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n > m && strcmp(s + n - m, suffix) == 0;
}

/* Collects the .nos files below dir; `prefix` is the dotted module path of the directory. */
static const char *scan(Project *p, Arena *arena, const char *dir, const char *prefix, int depth)
{
    if (depth > 64)
        return nosi_arena_printf(arena, "directories nested too deeply below '%s'", p->dir);
    DIR *d = opendir(dir);
    if (!d)
        return nosi_arena_printf(arena, "cannot read directory '%s': %s", dir, strerror(errno));
    const char *error = NULL;
    for (struct dirent *e; !error && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue; // also .nostos
        const char *path = nosi_arena_printf(arena, "%s/%s", dir, e->d_name);
        const char *dot = *prefix ? "." : "";
        struct stat st;
        if (stat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            error = scan(p, arena, path, nosi_arena_printf(arena, "%s%s%s", prefix, dot, e->d_name),
                         depth + 1);
        } else if (S_ISREG(st.st_mode) && ends_with(e->d_name, ".nos")) {
            int stem = (int)strlen(e->d_name) - 4;
            vec_push(&p->files, ((ProjectFile){path, nosi_arena_printf(arena, "%s%s%.*s", prefix,
                                                                       dot, stem, e->d_name)}));
        }
    }
    closedir(d);
    return error;
}

/* ---- nostos.toml
 * -------------------------------------------------------------------------------------------- */

typedef struct Toml {
    Arena *arena;
    const char *path;
    const char *s; // rest of the current line
    int line;
} Toml;

static void skip_blanks(Toml *t)
{
    while (*t->s == ' ' || *t->s == '\t' || *t->s == '\r')
        t->s++;
}

static const char *fail(Toml *t, const char *what)
{
    return nosi_arena_printf(t->arena, "%s:%d: %s", t->path, t->line, what);
}

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* A string in quotes, without them. NULL: malformed. */
static const char *read_string(Toml *t)
{
    char quote = *t->s++;
    StrBuf b = {0};
    while (*t->s && *t->s != '\n' && *t->s != quote) {
        char c = *t->s++;
        if (c == '\\' && quote == '"' && *t->s && *t->s != '\n') {
            c = *t->s++;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        nosi_strbuf_putc(&b, c);
    }
    const char *v = *t->s == quote ? nosi_arena_strndup(t->arena, nosi_strbuf_cstr(&b), b.n) : NULL;
    nosi_strbuf_free(&b);
    t->s += v != NULL;
    return v;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

static const char *read_word(Toml *t, const char *more)
{
    const char *start = t->s;
    while (is_key_char(*t->s) || (*t->s && strchr(more, *t->s)))
        t->s++;
    return t->s == start ? NULL : nosi_arena_strndup(t->arena, start, (size_t)(t->s - start));
}

/* `a`, `"a b"`, `a.b.c`. */
static const char *read_key(Toml *t)
{
    const char *key = NULL;
    for (;;) {
        const char *part = is_quote(*t->s) ? read_string(t) : read_word(t, "");
        if (!part)
            return NULL;
        key = key ? nosi_arena_printf(t->arena, "%s.%s", key, part) : part;
        skip_blanks(t);
        if (*t->s != '.')
            return key;
        t->s++;
        skip_blanks(t);
    }
}

/* An array, which may go over several lines, or an inline table; only its end is found. */
static const char *skip_nested(Toml *t)
{
    char open[32];
    int depth = 0;
    do {
        char c = *t->s;
        if (is_quote(c)) {
            if (!read_string(t))
                return NULL;
            continue;
        }
        if (c == '[' || c == '{') {
            if (depth == (int)sizeof open)
                return NULL;
            open[depth++] = c;
        } else if (c == ']' || c == '}') {
            if (open[--depth] != (c == ']' ? '[' : '{'))
                return NULL;
        } else if (c == '#') {
            t->s += strcspn(t->s, "\n");
            continue;
        } else if (c == '\n' && open[0] == '[') {
            t->line++;
        } else if (c == '\n' || !c) {
            return NULL;
        }
        t->s++;
    } while (depth);
    return "";
}

/* Strings come back without quotes, words as written, nested things empty. NULL: malformed. */
static const char *read_value(Toml *t, bool *is_string)
{
    *is_string = is_quote(*t->s);
    if (*is_string)
        return read_string(t);
    return *t->s == '[' || *t->s == '{' ? skip_nested(t) : read_word(t, ".+:");
}

/* `key = value` in the table. Returns an error text or NULL. */
static const char *set_value(Project *p, Toml *t, const char *table, const char *key,
                             const char *value, bool is_string)
{
    const char **to = NULL;
    ProjectBin *bin = strcmp(table, "bin") == 0 ? &vec_last(&p->bins) : NULL;
    if (bin && strcmp(key, "default") == 0) {
        bin->is_default = strcmp(value, "true") == 0;
        if (is_string || (!bin->is_default && strcmp(value, "false") != 0))
            return fail(t, "`default` is true or false");
    } else if (bin) {
        to = strcmp(key, "name") == 0 ? &bin->name : strcmp(key, "entry") == 0 ? &bin->entry : NULL;
    } else if (strcmp(table, "project") == 0 && strcmp(key, "name") == 0) {
        to = &p->name;
    }
    if (!to)
        return NULL;
    if (!is_string)
        return fail(t, nosi_arena_printf(t->arena, "`%s` must be a string", key));
    *to = value;
    return NULL;
}

static const char *read_toml(Project *p, Arena *arena, const char *path, const char *text)
{
    Toml t = {arena, path, text, 1};
    const char *table = "";
    while (*t.s) {
        skip_blanks(&t);
        if (*t.s == '[') {
            bool array = t.s[1] == '[';
            t.s += 1 + array;
            skip_blanks(&t);
            table = read_key(&t);
            skip_blanks(&t);
            if (!table || strncmp(t.s, array ? "]]" : "]", 1 + array) != 0)
                return fail(&t, "malformed table header");
            t.s += 1 + array;
            if (strcmp(table, "bin") == 0) {
                if (!array)
                    return fail(&t, "write [[bin]], not [bin]");
                vec_push(&p->bins, ((ProjectBin){0}));
            }
        } else if (*t.s && *t.s != '\n' && *t.s != '#') {
            const char *key = read_key(&t);
            skip_blanks(&t);
            if (!key || *t.s != '=')
                return fail(&t, "expected `key = value`");
            t.s++;
            skip_blanks(&t);
            bool is_string;
            const char *value = read_value(&t, &is_string);
            if (!value)
                return fail(&t, "malformed value");
            const char *error = set_value(p, &t, table, key, value, is_string);
            if (error)
                return error;
        }
        skip_blanks(&t);
        if (*t.s == '#')
            t.s += strcspn(t.s, "\n");
        if (*t.s && *t.s != '\n')
            return fail(&t, "unexpected text at the end of the line");
        t.s += *t.s == '\n';
        t.line++;
    }
    VEC_EACH (ProjectBin, bin, &p->bins) {
        if (!bin->name || !bin->entry)
            return nosi_arena_printf(arena, "%s: a [[bin]] entry needs `name` and `entry`", path);
    }
    return p->name ? NULL : nosi_arena_printf(arena, "%s: [project] needs a `name`", path);
}

const char *nosi_project_read(Project *p, Arena *arena, const char *dir)
{
    *p = (Project){0};
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    p->dir = nosi_arena_strndup(arena, dir, n);
    const char *error = scan(p, arena, p->dir, "", 0);
    if (error)
        return error;
    if (!p->files.n)
        return nosi_arena_printf(arena, "No .nos files found in '%s'", p->dir);
    qsort(p->files.at, p->files.n, sizeof(ProjectFile), by_path);

    const char *path = nosi_arena_printf(arena, "%s/nostos.toml", p->dir);
    FILE *f = fopen(path, "rb");
    if (!f)
        return errno == ENOENT
                   ? NULL
                   : nosi_arena_printf(arena, "cannot read '%s': %s", path, strerror(errno));
    p->has_toml = true;
    StrBuf b = {0};
    char buf[4096];
    for (size_t got; (got = fread(buf, 1, sizeof buf, f)) > 0 && b.n < (1u << 20);)
        nosi_strbuf_add(&b, buf, got);
    fclose(f);
    error = read_toml(p, arena, path, nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return error;
}

static const char *bin_names(const Project *p, Arena *arena)
{
    const char *list = "";
    VEC_EACH (ProjectBin, b, &p->bins)
        list = nosi_arena_printf(arena, "%s%s%s", list, *list ? ", " : "", b->name);
    return list;
}

const char *nosi_project_entry(const Project *p, Arena *arena, const char *bin, const char **error)
{
    if (bin && !p->bins.n) {
        *error = "--bin requires a nostos.toml with [[bin]] entries";
        return NULL;
    }
    VEC_EACH (ProjectBin, b, &p->bins) {
        if (bin ? strcmp(b->name, bin) == 0 : b->is_default)
            return b->entry;
    }
    if (bin) {
        *error =
            nosi_arena_printf(arena, "No [[bin]] entry named '%s' in nostos.toml. Available: %s",
                              bin, bin_names(p, arena));
        return NULL;
    }
    if (p->bins.n) {
        *error =
            nosi_arena_printf(arena, "no [[bin]] entry is the default; choose one with --bin: %s",
                              bin_names(p, arena));
        return NULL;
    }
    VEC_EACH (ProjectFile, f, &p->files) {
        if (strcmp(f->module, "main") == 0)
            return "";
    }
    *error = nosi_arena_printf(
        arena,
        "No 'main.nos' found in directory '%s' (a nostos.toml with [[bin]] entries may "
        "name another entry point)",
        p->dir);
    return NULL;
}

void nosi_project_free(Project *p)
{
    vec_free(&p->bins);
    vec_free(&p->files);
}
