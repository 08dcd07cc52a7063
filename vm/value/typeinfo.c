/* typeinfo.c -- see typeinfo.h.
 *
 * The table of names is replaced as a whole when types are added, so readers need no lock; the ones
 * before stay, because somebody may be reading them. */
#include "vm/value/typeinfo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "vm/util/alloc.h"
#include "vm/util/hashmap.h"

typedef struct Entry {
    const TypeInfo *info; // NULL: free
    Name key;             // its name or full name
} Entry;

typedef struct Table {
    struct Table *older;
    size_t n, cap; // entries; power of two, or 0
    Entry at[];
} Table;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(Table *) table; // written under table_lock

static uint64_t hash(const char *s, size_t n)
{
    return nosi_hash_bytes(s, n, 7);
}

static void add(Table *t, Name key, const TypeInfo *info)
{
    size_t i = hash(key, strlen(key)) & (t->cap - 1);
    while (t->at[i].info) {
        if (t->at[i].key == key && t->at[i].info->full_name == info->full_name) {
            t->at[i].info = info;
            return;
        }
        i = (i + 1) & (t->cap - 1);
    }
    t->at[i] = (Entry){info, key};
    t->n++;
}

void nosi_typeinfo_publish(const TypeInfo *const *types, size_t n)
{
    pthread_mutex_lock(&table_lock);
    Table *old = atomic_load_explicit(&table, memory_order_relaxed);
    size_t cap = 64;
    while (cap < 2 * ((old ? old->n : 0) + 2 * n))
        cap *= 2;
    Table *t = nosi_calloc(1, sizeof *t + cap * sizeof *t->at);
    t->cap = cap;
    t->older = old;
    for (size_t i = 0; old && i < old->cap; i++)
        if (old->at[i].info)
            add(t, old->at[i].key, old->at[i].info);
    for (size_t i = 0; i < n; i++) {
        add(t, types[i]->full_name, types[i]);
        if (types[i]->name != types[i]->full_name)
            add(t, types[i]->name, types[i]);
    }
    // Release pairs with the acquire in nosi_typeinfo_find.
    atomic_store_explicit(&table, t, memory_order_release);
    pthread_mutex_unlock(&table_lock);
}

const TypeInfo *nosi_typeinfo_find(const char *name, size_t n, const char *file)
{
    const Table *t = atomic_load_explicit(&table, memory_order_acquire);
    const TypeInfo *best = NULL;
    int rank = -1;
    if (!t)
        return NULL;
    for (size_t i = hash(name, n) & (t->cap - 1); t->at[i].info; i = (i + 1) & (t->cap - 1)) {
        const TypeInfo *info = t->at[i].info;
        Name key = t->at[i].key;
        if (strlen(key) != n || memcmp(key, name, n) != 0)
            continue;
        int r = file && info->file && !strcmp(file, info->file) ? 3
                : key == info->full_name                        ? 2
                                                                : !info->is_library;
        if (r > rank) {
            rank = r;
            best = info;
        }
    }
    return best;
}

/* ---- text ------------------------------------------------------------------------------------ */

enum { MAX_NESTING = 200 };

typedef struct Reader {
    Arena *a;
    const char *s, *end, *file;
    StrBuf *unknown;
    int depth;
} Reader;

static void skip(Reader *r)
{
    while (r->s < r->end && *r->s == ' ')
        r->s++;
}

static bool eat(Reader *r, char c)
{
    skip(r);
    if (r->s >= r->end || *r->s != c)
        return false;
    r->s++;
    return true;
}

static const TypeRef *fail(Reader *r, const char *s, size_t n)
{
    if (!r->unknown->n)
        nosi_strbuf_add(r->unknown, s, n);
    return NULL;
}

static TypeRef *basic(Arena *a, TypeId id, const TypeRef *const *args, uint32_t n)
{
    TypeRef *t = ARENA_NEW(a, TypeRef);
    *t = (TypeRef){.kind = REF_BASIC, .id = id, .args = args, .n = n};
    return t;
}

static const TypeRef *read_type(Reader *r);

/* Types up to the closing bracket, which is read too. */
static bool read_list(Reader *r, char close, const TypeRef *const **out, uint32_t *n)
{
    const TypeRef *few[8];
    const TypeRef **at = few;
    uint32_t cap = 8;
    bool ok = true;
    *n = 0;
    do {
        const TypeRef *t = read_type(r);
        if (!t)
            return false;
        if (*n == cap) {
            const TypeRef **more = ARENA_ARRAY(r->a, const TypeRef *, 2 * cap);
            memcpy(more, at, cap * sizeof *at);
            at = more;
            cap *= 2;
        }
        at[(*n)++] = t;
    } while (eat(r, ','));
    ok = eat(r, close);
    *out = nosi_arena_memdup(r->a, at, *n * sizeof *at);
    return ok;
}

/* Replaces the parameters of an alias by its arguments. */
static const TypeRef *with_args(Arena *a, const TypeRef *t, const TypeRef *const *args)
{
    if (t->kind == REF_PARAM)
        return args[t->param];
    if (!t->n)
        return t;
    const TypeRef **own = ARENA_ARRAY(a, const TypeRef *, t->n);
    for (uint32_t i = 0; i < t->n; i++)
        own[i] = with_args(a, t->args[i], args);
    TypeRef *copy = ARENA_NEW(a, TypeRef);
    *copy = *t;
    copy->args = own;
    return copy;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

static const struct {
    const char *name;
    TypeId id;
    uint32_t arity;
} basics[] = {
    {"Int", TYPE_INT, 0},
    {"Int64", TYPE_INT, 0},
    {"Int8", TYPE_INT8, 0},
    {"Int16", TYPE_INT16, 0},
    {"Int32", TYPE_INT32, 0},
    {"UInt8", TYPE_UINT8, 0},
    {"UInt16", TYPE_UINT16, 0},
    {"UInt32", TYPE_UINT32, 0},
    {"UInt64", TYPE_UINT64, 0},
    {"Float", TYPE_FLOAT, 0},
    {"Float64", TYPE_FLOAT, 0},
    {"Float32", TYPE_FLOAT32, 0},
    {"BigInt", TYPE_BIGINT, 0},
    {"Decimal", TYPE_DECIMAL, 0},
    {"Bool", TYPE_BOOL, 0},
    {"Char", TYPE_CHAR, 0},
    {"String", TYPE_STRING, 0},
    {"Unit", TYPE_UNIT, 0},
    {"List", TYPE_LIST, 1},
    {"Map", TYPE_MAP, 2},
    {"Set", TYPE_SET, 1},
    {"Pid", TYPE_PID, 0},
    {"Ref", TYPE_REF, 0},
    {"Int64Array", TYPE_INT64ARRAY, 0},
    {"Bytes", TYPE_BYTES, 0},
    {"Float64Array", TYPE_FLOAT64ARRAY, 0},
    {"Buffer", TYPE_BUFFER, 0},
    {"Float32Array", TYPE_FLOAT32ARRAY, 0},
    {"UInt8Array", TYPE_UINT8ARRAY, 0},
};

static const TypeRef *read_name(Reader *r)
{
    const char *start = r->s, *full = NULL;
    while (r->s < r->end && is_name(*r->s))
        r->s++;
    size_t n = (size_t)(r->s - start), n_full = n;
    if (r->s < r->end && *r->s == *TYPE_TEXT_FULL) {
        full = ++r->s;
        while (r->s < r->end && *r->s != *TYPE_TEXT_END)
            r->s++;
        n_full = (size_t)(r->s - full);
        r->s += r->s < r->end;
    }
    const TypeRef *const *args = NULL;
    uint32_t n_args = 0;
    if (!n || (eat(r, '[') && !read_list(r, ']', &args, &n_args)))
        return fail(r, start, n ? (size_t)(r->s - start) : (size_t)(r->end - start));
    const TypeInfo *info = nosi_typeinfo_find(full ? full : start, n_full, full ? NULL : r->file);
    if (!info || info->is_library) // a type of the program's own hides a built-in one
        for (size_t i = 0; i < NOS_COUNT(basics); i++)
            if (strlen(basics[i].name) == n && !memcmp(basics[i].name, start, n)) {
                if (!n_args && basics[i].arity) { // `List` alone: of anything
                    static const TypeRef any = {.kind = REF_ANY};
                    static const TypeRef *const anys[] = {&any, &any};
                    args = anys;
                    n_args = basics[i].arity;
                }
                return n_args == basics[i].arity ? basic(r->a, basics[i].id, args, n_args)
                                                 : fail(r, start, n);
            }
    if (!info)
        return fail(r, start, n);
    if (!n_args && info->n_params) {
        const TypeRef **anys = ARENA_ARRAY(r->a, const TypeRef *, info->n_params);
        for (uint32_t i = 0; i < info->n_params; i++)
            anys[i] = ARENA_NEW(r->a, TypeRef);
        args = anys;
        n_args = info->n_params;
    }
    if (info->n_params != n_args)
        return fail(r, start, n);
    if (info->alias)
        return with_args(r->a, info->alias, args);
    TypeRef *t = ARENA_NEW(r->a, TypeRef);
    *t = (TypeRef){.kind = REF_NAMED, .info = info, .args = args, .n = n_args};
    return t;
}

static const TypeRef *read_atom(Reader *r)
{
    const TypeRef *const *args;
    uint32_t n;
    const char *start = r->s;
    if (eat(r, '[')) {
        if (!read_list(r, ']', &args, &n) || n != 1)
            return fail(r, start, (size_t)(r->end - start));
        return basic(r->a, TYPE_LIST, args, 1);
    }
    if (!eat(r, '('))
        return read_name(r);
    if (eat(r, ')'))
        return basic(r->a, TYPE_UNIT, NULL, 0);
    if (!read_list(r, ')', &args, &n))
        return fail(r, start, (size_t)(r->end - start));
    return n == 1 ? args[0] : basic(r->a, TYPE_TUPLE, args, n);
}

static const TypeRef *read_type(Reader *r)
{
    skip(r);
    if (r->depth >= MAX_NESTING)
        return fail(r, r->s, (size_t)(r->end - r->s));
    r->depth++;
    const TypeRef *t = read_atom(r);
    skip(r);
    if (t && r->end - r->s >= 2 && r->s[0] == '-' && r->s[1] == '>') { // a function
        r->s += 2;
        t = read_type(r) ? ARENA_NEW(r->a, TypeRef) : NULL;
    }
    r->depth--;
    return t;
}

const TypeRef *nosi_typeref_read(Arena *a, const char *text, size_t n, const char *file,
                                 StrBuf *unknown)
{
    Reader r = {.a = a, .s = text, .end = text + n, .file = file, .unknown = unknown};
    const TypeRef *t = read_type(&r);
    skip(&r);
    return t && r.s < r.end ? fail(&r, text, n) : t;
}

static void show_args(StrBuf *out, const TypeRef *t, const TypeInfo *of, const char *open,
                      const char *close)
{
    nosi_strbuf_puts(out, open);
    for (uint32_t i = 0; i < t->n; i++) {
        if (i)
            nosi_strbuf_puts(out, ", ");
        nosi_typeref_show(out, t->args[i], of);
    }
    nosi_strbuf_puts(out, close);
}

void nosi_typeref_show(StrBuf *out, const TypeRef *t, const TypeInfo *of)
{
    switch (t->kind) {
    case REF_ANY:
        nosi_strbuf_puts(out, "Any");
        return;
    case REF_PARAM:
        nosi_strbuf_puts(out, of && t->param < of->n_params ? of->params[t->param] : "?");
        return;
    case REF_NAMED:
        nosi_strbuf_puts(out, t->info->name);
        break;
    case REF_BASIC:
        if (t->id == TYPE_TUPLE) {
            show_args(out, t, of, "(", ")");
            return;
        }
        nosi_strbuf_puts(out, t->id == TYPE_UNIT ? "()" : nosi_typedesc(t->id)->name);
        break;
    }
    if (t->n)
        show_args(out, t, of, "[", "]");
}

void nosi_type_text_plain(StrBuf *out, const char *text, size_t n)
{
    bool full = false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == *TYPE_TEXT_FULL || text[i] == *TYPE_TEXT_END)
            full = text[i] == *TYPE_TEXT_FULL;
        else if (!full)
            nosi_strbuf_putc(out, text[i]);
    }
}
