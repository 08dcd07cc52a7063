/* literals.c -- values known at compile time.
 *
 * They are built in a heap of their own and copied into memory that lives for ever
 * (nosi_literal_copy). Lists and tuples of literals become one constant. */
#include <stdio.h>
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/data/num.h"
#include "vm/data/string.h"

static void no_roots(void *owner, RootVisit *visit, void *ctx)
{
    (void)owner, (void)visit, (void)ctx;
}

Value nosi_cg_int_value(int64_t i)
{
    if (small_fits(i))
        return value_small(i);
    struct {
        uint64_t header, word;
    } o = {OBJ_HEADER(OBJ_INT64, 0, 1), (uint64_t)i};
    return nosi_literal_copy(value_object(&o));
}

/* Literals that were made already. They are pointers, never NULL: the map holds their words. */
static bool known(const HashMap *map, const void *key, Value *out)
{
    out->bits = (uintptr_t)nosi_hashmap_get(map, key);
    return out->bits != 0;
}

static Value keep(HashMap *map, const void *key, Value v)
{
    nosi_hashmap_put(map, key, (void *)(uintptr_t)v.bits);
    return v;
}

Value nosi_cg_string(Compiler *c, const char *s, size_t n)
{
    Name key = nosi_intern(s, n);
    Value v;
    if (!memchr(s, 0, n) && known(&c->strings, key, &v))
        return v;
    Heap h;
    v = VALUE_UNIT;
    nosi_heap_init(&h, no_roots, NULL);
    if (!nosi_string_new(&h, s, n, &v))
        nosi_fatal("out of memory for a string constant");
    v = nosi_literal_copy(v);
    nosi_heap_free(&h);
    return memchr(s, 0, n) ? v : keep(&c->strings, key, v);
}

static Value float_value(Compiler *c, double d)
{
    struct {
        uint64_t header, word;
    } o = {OBJ_HEADER(OBJ_FLOAT, 0, 1), 0};
    memcpy(&o.word, &d, 8);
    const void *key = (const void *)(uintptr_t)(o.word + 1 ? o.word + 1 : 1);
    Value v;
    if (known(&c->floats, key, &v) && value_float(v) == d && !d == !value_float(v))
        return v;
    return keep(&c->floats, key, nosi_literal_copy(value_object(&o)));
}

Value nosi_cg_closure_value(Compiler *c, FuncCell *cell)
{
    Value v;
    if (known(&c->closure_values, cell, &v))
        return v;
    struct {
        uint64_t header, word;
    } o = {OBJ_HEADER(OBJ_CLOSURE, 0, 1), (uint64_t)(uintptr_t)cell};
    return keep(&c->closure_values, cell, nosi_literal_copy(value_object(&o)));
}

Value nosi_cg_native_value(Compiler *c, const Builtin *b)
{
    Value v;
    if (known(&c->native_values, b, &v))
        return v;
    struct {
        uint64_t header, word;
    } o = {OBJ_HEADER(OBJ_NATIVE, 0, 1), (uint64_t)(uintptr_t)b};
    return keep(&c->native_values, b, nosi_literal_copy(value_object(&o)));
}

/* A number read from decimal text. */
static bool parsed(const char *s, size_t n, bool decimal, Value *out)
{
    Heap h;
    nosi_heap_init(&h, no_roots, NULL);
    Value v = VALUE_UNIT;
    NumStatus st = decimal ? nosi_parse_decimal(&h, s, n, &v) : nosi_parse_bigint(&h, s, n, &v);
    if (st == NUM_OK)
        *out = nosi_literal_copy(v);
    nosi_heap_free(&h);
    return st == NUM_OK;
}

static Value sized_value(TyConId id, int64_t x)
{
    switch (id) {
    case TC_INT8:
        return value_sized(IMM_I8, (int8_t)x);
    case TC_INT16:
        return value_sized(IMM_I16, (int16_t)x);
    case TC_INT32:
        return value_sized(IMM_I32, (int32_t)x);
    case TC_UINT8:
        return value_sized(IMM_U8, (uint8_t)x);
    case TC_UINT16:
        return value_sized(IMM_U16, (uint16_t)x);
    case TC_UINT32:
        return value_sized(IMM_U32, (uint32_t)x);
    default: {
        struct {
            uint64_t header, word;
        } o = {OBJ_HEADER(OBJ_UINT64, 0, 1), (uint64_t)x};
        return nosi_literal_copy(value_object(&o));
    }
    }
}

static TyConId sized_con(SizedKind k)
{
    static const TyConId con[] = {
        [NUM_I8] = TC_INT8,    [NUM_I16] = TC_INT16,  [NUM_I32] = TC_INT32, [NUM_U8] = TC_UINT8,
        [NUM_U16] = TC_UINT16, [NUM_U32] = TC_UINT32, [NUM_U64] = TC_UINT64};
    return con[k];
}

/* An integer literal takes the numeric type the checker gave it. */
static bool int_literal(Fn *f, int64_t x, Type *type, Value *out)
{
    Type *t = type ? nosi_prune(type) : NULL;
    TyConId id = t && t->kind == TY_CON ? t->con->id : TC_INT;
    char text[24];
    switch (id) {
    case TC_FLOAT:
        *out = float_value(f->c, (double)x);
        return true;
    case TC_FLOAT32:
        *out = value_float32((float)x);
        return true;
    case TC_INT8:
    case TC_INT16:
    case TC_INT32:
    case TC_UINT8:
    case TC_UINT16:
    case TC_UINT32:
    case TC_UINT64:
        *out = sized_value(id, x);
        return true;
    case TC_BIGINT:
    case TC_DECIMAL:
        snprintf(text, sizeof text, "%lld", (long long)x);
        return parsed(text, strlen(text), id == TC_DECIMAL, out);
    default:
        *out = nosi_cg_int_value(x);
        return true;
    }
}

static bool negated(Fn *f, Expr *e, Value *out)
{
    Expr *a = e->a;
    switch (a->kind) {
    case EXPR_INT:
        return int_literal(f, (int64_t)(0 - (uint64_t)a->ival), e->type ? e->type : a->type, out);
    case EXPR_FLOAT:
        *out = float_value(f->c, -a->fval);
        return true;
    case EXPR_FLOAT32:
        *out = value_float32(-(float)a->fval);
        return true;
    case EXPR_SIZED:
        if (a->num >= NUM_U8)
            return false; // raises at run time
        *out = sized_value(sized_con(a->num), -a->ival);
        return true;
    default:
        return false;
    }
}

enum { MAX_FOLD = 8 }; // nesting: every level of an expression tries again

/* Arithmetic on literals: constants are often written as products. Int overflow wraps as at run
 * time. */
static bool folded(Fn *f, Expr *e, Value *out)
{
    Value a, b;
    if (e->target || e->op > BIN_DIV || f->fold_depth >= MAX_FOLD)
        return false;
    f->fold_depth++;
    bool constant = nosi_cg_literal_scalar(f, e->b, &b) && nosi_cg_literal_scalar(f, e->a, &a);
    f->fold_depth--;
    if (!constant)
        return false;
    if (value_is_int(a) && value_is_int(b) && e->op != BIN_DIV) {
        uint64_t x = (uint64_t)value_int(a), y = (uint64_t)value_int(b);
        *out = nosi_cg_int_value((int64_t)(e->op == BIN_ADD   ? x + y
                                           : e->op == BIN_SUB ? x - y
                                                              : x * y));
        return true;
    }
    if (value_is_float(a) && value_is_float(b)) {
        double x = value_float(a), y = value_float(b);
        *out = float_value(f->c, e->op == BIN_ADD   ? x + y
                                 : e->op == BIN_SUB ? x - y
                                 : e->op == BIN_MUL ? x * y
                                                    : x / y);
        return true;
    }
    return false;
}

bool nosi_cg_literal_scalar(Fn *f, Expr *e, Value *out)
{
    if (e->target && e->target->kind != TARGET_CTOR)
        return false;
    switch (e->kind) {
    case EXPR_UNIT:
        *out = VALUE_UNIT;
        return true;
    case EXPR_BOOL:
        *out = value_bool(e->ival != 0);
        return true;
    case EXPR_INT:
        return int_literal(f, e->ival, e->type, out);
    case EXPR_SIZED:
        *out = sized_value(sized_con(e->num), e->ival);
        return true;
    case EXPR_FLOAT:
        *out = float_value(f->c, e->fval);
        return true;
    case EXPR_FLOAT32:
        *out = value_float32((float)e->fval);
        return true;
    case EXPR_BIGINT:
        return parsed(e->str, e->n, false, out);
    case EXPR_DECIMAL:
        return parsed(e->str, e->n, true, out);
    case EXPR_CHAR:
        *out = value_char((uint32_t)e->ival);
        return true;
    case EXPR_STRING:
        *out = nosi_cg_string(f->c, e->str, e->n);
        return true;
    case EXPR_NEG:
        return negated(f, e, out);
    case EXPR_BINARY:
        return folded(f, e, out);
    case EXPR_LIST:
        if (e->list.n || e->a)
            return false;
        *out = VALUE_NIL;
        return true;
    case EXPR_UPPER:
    case EXPR_QUALIFIED: {
        if (e->target && e->target->kind == TARGET_CTOR && e->target->ctor->n_fields == 0) {
            *out = value_ctor(nosi_cg_shape(f->c, e->target->ctor)->id);
            return true;
        }
        Symbol *s = e->symbol;
        return s && s->kind == SYM_CONST && s->item && s->item->value &&
               nosi_cg_literal(f, s->item->value, out);
    }
    default:
        return false;
    }
}

/* A list or tuple whose elements are literals. */
static bool aggregate(Fn *f, Expr *e, Value *out)
{
    uint32_t n = e->list.n;
    if (e->kind == EXPR_LIST && e->a)
        return false;
    Value *items = nosi_alloc(n * sizeof *items + 1);
    for (uint32_t i = 0; i < n; i++) {
        if (!nosi_cg_literal(f, e->list.at[i], &items[i])) {
            nosi_free(items);
            return false;
        }
    }
    if (e->kind == EXPR_TUPLE) {
        Object *o = nosi_alloc((n + 1) * sizeof(uint64_t));
        o->header = OBJ_HEADER(OBJ_TUPLE, 0, n);
        memcpy(o->word, items, n * sizeof *items);
        *out = nosi_literal_copy(value_object(o));
        nosi_free(o);
    } else {
        Value *cells = nosi_alloc_aligned(16, n * 2 * sizeof *cells);
        for (uint32_t i = 0; i < n; i++) {
            cells[2 * i] = items[i];
            cells[2 * i + 1] = i + 1 < n ? value_cons_at(&cells[2 * i + 2]) : VALUE_NIL;
        }
        *out = nosi_literal_copy(value_cons_at(cells));
        nosi_free(cells);
    }
    nosi_free(items);
    return true;
}

bool nosi_cg_literal(Fn *f, Expr *e, Value *out)
{
    if (nosi_cg_literal_scalar(f, e, out))
        return true;
    return (e->kind == EXPR_LIST || e->kind == EXPR_TUPLE) && e->list.n && aggregate(f, e, out);
}
