/* bi_map.c -- Map, and what it shares with Set (bi_set.c): keys whose equality user code decides.
 */
#include "vm/builtins/bi_map.h"

/* Numbers of operations that the library passes through __mapUser. */
typedef Value OpFn(Proc *p, Value *args, MapQuery *q);

static Value bad_key(Proc *p, const MapQuery *q)
{
    if (value_is_absent(q->bad))
        return nosi_throw_kind(p, "TypeError", "expected pair, got something else");
    return nosi_type_error(p, "hashable type", q->bad);
}

Value bi_map_failed(Proc *p, Value *args, unsigned n_args, MapOperation op, MapStatus status,
                    MapQuery *q)
{
    if (status == MAP_BAD_KEY || status == MAP_NOMEM || q->match != MATCH_EQUAL) {
        vec_free(&q->candidates);
        return status == MAP_BAD_KEY ? bad_key(p, q) : nosi_out_of_memory(p);
    }
    // Some stored keys are equal if user Eq says so: the library asks it and comes back with
    // __mapOp.
    Heap *h = &p->heap;
    Value list = VALUE_NIL, triple;
    Value *pairs = q->candidates.n ? &q->candidates.at[0].a : NULL;
    uint32_t n = q->candidates.n;
    Value items[3] = {args[0], args[1], n_args > 2 ? args[2] : VALUE_UNIT};
    ROOT_ARRAY(h, pairs, 2 * (size_t)n);
    ROOT_ARRAY(h, items, 3);
    ROOT(h, list);
    bool ok = nosi_tuple_new(h, items, 3, &triple);
    if (ok) {
        ROOT(h, triple);
        ok = nosi_heap_reserve(h, (size_t)n * CONS_WORDS);
        UNROOT(h);
    }
    for (uint32_t i = n; ok && i-- > 0;)
        list = nosi_cons_nogc(h, pairs[2 * i + 1], list);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    vec_free(&q->candidates);
    if (!ok)
        return nosi_out_of_memory(p);
    return nosi_trap(p, nosi_lib_funcs[LIB_MAP_USER], 3, (Value[]){value_small(op), triple, list});
}

/* ---- single keys ---------------------------------------------------------------------------- */

/* A big map is a chain of cache misses. */
static int32_t way_cost(Value m)
{
    size_t n = nosi_map_size(m);
    return n < 1 << 9 ? 0 : n < 1 << 14 ? 1 : 3;
}

/* For an insert or a removal. */
void bi_map_charge_edit(Proc *p, Value m)
{
    p->budget -= 1 + 2 * way_cost(m);
}

static Value map_insert(Proc *p, Value *args, MapQuery *q)
{
    Value v = VALUE_UNIT;
    WANT_MAP(0);
    bi_map_charge_edit(p, args[0]);
    MapStatus st = nosi_map_insert(&p->heap, args[0], args[1], args[2], q, &v);
    MapOperation op = q->edit == MAP_COPY ? MAPDO_INSERT_COPY : MAPDO_INSERT;
    return st == MAP_OK ? v : bi_map_failed(p, args, 3, op, st, q);
}

static Value map_remove(Proc *p, Value *args, MapQuery *q)
{
    Value v = VALUE_UNIT;
    WANT_MAP(0);
    bi_map_charge_edit(p, args[0]);
    MapStatus st = nosi_map_remove(&p->heap, args[0], args[1], q, &v);
    MapOperation op = q->edit == MAP_COPY ? MAPDO_REMOVE_COPY : MAPDO_REMOVE;
    return st == MAP_OK ? v : bi_map_failed(p, args, 2, op, st, q);
}

/* The value of a key or VALUE_ABSENT in *out; otherwise what the native returns. */
NOS_INLINE bool find(Proc *p, Value *args, unsigned n_args, MapOperation op, MapQuery *q,
                     Value *out)
{
    if (!value_is_map(args[0])) {
        *out = nosi_type_error(p, "Map", args[0]);
        return false;
    }
    if (q->match == MATCH_NONE) {
        *out = VALUE_ABSENT;
        return true;
    }
    p->budget -= way_cost(args[0]);
    MapStatus st = nosi_map_get(args[0], args[1], q, out);
    if (st != MAP_OK)
        *out = bi_map_failed(p, args, n_args, op, st, q);
    return st == MAP_OK;
}

static Value no_key(Proc *p, Value key, const char *kind, const char *before)
{
    StrBuf text = {0};
    nosi_show(&text, key, SHOW_NESTED, NULL);
    Value v = nosi_throw_kind(p, kind, "%skey %s not found", before, nosi_strbuf_cstr(&text));
    nosi_strbuf_free(&text);
    return v;
}

NOS_INLINE Value map_get(Proc *p, Value *args, MapQuery *q)
{
    Value v;
    if (!find(p, args, 2, MAPDO_GET, q, &v))
        return v;
    return value_is_absent(v) ? no_key(p, args[1], "KeyNotFound", "") : v;
}

static Value map_get_or_throw(Proc *p, Value *args, MapQuery *q)
{
    Value v;
    if (!find(p, args, 2, MAPDO_GET_OR_THROW, q, &v))
        return v;
    return value_is_absent(v) ? no_key(p, args[1], "Panic", "Map.getOrThrow: ") : v;
}

NOS_INLINE Value map_get_or(Proc *p, Value *args, MapQuery *q)
{
    Value v;
    if (!find(p, args, 3, MAPDO_GET_OR, q, &v))
        return v;
    return value_is_absent(v) ? args[2] : v;
}

NOS_INLINE Value map_lookup(Proc *p, Value *args, MapQuery *q)
{
    Value v;
    if (!find(p, args, 2, MAPDO_LOOKUP, q, &v))
        return v;
    if (value_is_absent(v))
        return nosi_none();
    return OK_OR_NOMEM(nosi_some(&p->heap, v, &v), v);
}

NOS_INLINE Value map_contains(Proc *p, Value *args, MapQuery *q)
{
    Value v;
    if (!find(p, args, 2, MAPDO_CONTAINS, q, &v))
        return v;
    return value_bool(!value_is_absent(v));
}

#define MAP_NATIVE_OF(name, suffix, how)                                                     \
    Value nosi_bi_##name##suffix(Proc *p, Value *args)                                       \
    {                                                                                        \
        MapQuery q = {.match = nosi_lib_funcs[LIB_MAP_USER] ? MATCH_EQUAL : MATCH_STRUCTURE, \
                      .edit = how};                                                          \
        return name(p, args, &q);                                                            \
    }
#define MAP_NATIVE(name) MAP_NATIVE_OF(name, , MAP_SHARE)
MAP_NATIVE(map_insert)
MAP_NATIVE_OF(map_insert, _copy, MAP_COPY)
MAP_NATIVE_OF(map_insert, _own, MAP_OWN)
MAP_NATIVE(map_remove)
MAP_NATIVE_OF(map_remove, _copy, MAP_COPY)
MAP_NATIVE_OF(map_remove, _own, MAP_OWN)
MAP_NATIVE(map_get)
MAP_NATIVE(map_get_or_throw)
MAP_NATIVE(map_get_or)
MAP_NATIVE(map_lookup)
MAP_NATIVE(map_contains)

Value nosi_bi_disown(Proc *p, Value *args)
{
    Value v = args[0];
    if (value_is_string(v))
        return OK_OR_NOMEM(nosi_string_disown(&p->heap, v, &v), v);
    if (!value_is_map(v) && !value_is_set(v))
        return v; // not of the type it was said to be: whoever uses it will say so
    return OK_OR_NOMEM(nosi_map_disown(&p->heap, v, &v) == MAP_OK, v);
}

Value nosi_bi_map_op(Proc *p, Value *args) // operation, collection, key, value, found
{
    static OpFn *const ops[MAPDO__COUNT] = {
        [MAPDO_INSERT] = map_insert,
        [MAPDO_REMOVE] = map_remove,
        [MAPDO_GET] = map_get,
        [MAPDO_GET_OR_THROW] = map_get_or_throw,
        [MAPDO_GET_OR] = map_get_or,
        [MAPDO_LOOKUP] = map_lookup,
        [MAPDO_CONTAINS] = map_contains,
        [MAPDO_SET_INSERT] = bi_set_insert,
        [MAPDO_SET_REMOVE] = bi_set_remove,
        [MAPDO_SET_CONTAINS] = bi_set_contains,
        [MAPDO_INSERT_COPY] = map_insert,
        [MAPDO_REMOVE_COPY] = map_remove,
        [MAPDO_SET_INSERT_COPY] = bi_set_insert,
        [MAPDO_SET_REMOVE_COPY] = bi_set_remove,
    };
    WANT_INT(0);
    WANT_BOOL(4);
    int64_t op = value_int(args[0]);
    bool found = value_is_true(args[4]);
    if (op < 0 || op >= MAPDO__COUNT)
        return nosi_panic(p, "__mapOp: bad operation");
    if (!found && (op == MAPDO_REMOVE || op == MAPDO_SET_REMOVE))
        return args[1];
    MapQuery q = {.match = found ? MATCH_SAME : MATCH_NONE,
                  .edit = op >= MAPDO_INSERT_COPY ? MAP_COPY : MAP_SHARE};
    return ops[op](p, args + 1, &q);
}

/* ---- whole maps ----------------------------------------------------------------------------- */

Value nosi_bi_map_empty(Proc *p, Value *args)
{
    (void)args;
    if (!nosi_reserve(p, MAP_EMPTY_WORDS))
        return VALUE_THROWN;
    return nosi_map_empty_nogc(&p->heap);
}

Value nosi_bi_map_size(Proc *p, Value *args)
{
    WANT_MAP(0);
    return value_small((int64_t)nosi_map_size(args[0]));
}

Value nosi_bi_map_is_empty(Proc *p, Value *args)
{
    WANT_MAP(0);
    return value_bool(nosi_map_size(args[0]) == 0);
}

typedef struct ListOp {
    LongOp op; // root[0]: the map, root[1]: the list
    MapPart part;
    bool reserved;
    MapWalk walk;
    size_t left; // entries that are not in the list yet
} ListOp;

static void list_drop(LongOp *op)
{
    nosi_map_walk_free(&((ListOp *)op)->walk);
}

/* All space is reserved first: nothing is collected after it, so the entries in C memory stay
 * valid. */
static Value list_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    Heap *h = &p->heap;
    int64_t chunk = nosi_long_chunk, left;
    if (!o->reserved) {
        size_t words = CONS_WORDS + (o->part == MAP_PAIRS ? 3 : 0);
        if (!nosi_reserve(p, nosi_map_size(op->root[0]) * words))
            return VALUE_THROWN;
        nosi_map_walk_begin(&o->walk, op->root[0]);
        o->left = o->walk.n;
        o->reserved = true;
    }
    while (left = chunk, !nosi_map_walk_go(&o->walk, &left)) {
        if (nosi_long_pause(p, (uint32_t)(chunk - left)))
            return VALUE_YIELD;
    }
    const MapEntry *e = o->walk.e;
    while (o->left) {
        Value list = op->root[1];
        for (uint32_t k = nosi_long_chunk; k && o->left; k--) {
            const MapEntry *x = &e[--o->left];
            Value v = o->part == MAP_VALUES ? x->value : x->key;
            if (o->part == MAP_PAIRS)
                v = nosi_tuple_nogc(h, (Value[]){x->key, x->value}, 2);
            list = nosi_cons_nogc(h, v, list);
        }
        op->root[1] = list;
        if (nosi_long_pause(p, nosi_long_chunk) && o->left)
            return VALUE_YIELD;
    }
    return op->root[1];
}

Value bi_map_list(Proc *p, Value m, MapPart part)
{
    ListOp o;
    if (nosi_map_size(m) == 0)
        return VALUE_NIL;
    o.op = (LongOp){.step = list_step, .drop = list_drop, .root = {m, VALUE_NIL}};
    o.part = part;
    o.reserved = false;
    o.walk.at = NULL;
    o.walk.e = o.walk.sorted = NULL;
    return nosi_long_run(p, &o.op, sizeof o);
}

static Value part(Proc *p, Value *args, MapPart which)
{
    WANT_MAP(0);
    return bi_map_list(p, args[0], which);
}

Value nosi_bi_map_keys(Proc *p, Value *args)
{
    return part(p, args, MAP_KEYS);
}
Value nosi_bi_map_values(Proc *p, Value *args)
{
    return part(p, args, MAP_VALUES);
}
Value nosi_bi_map_to_list(Proc *p, Value *args)
{
    return part(p, args, MAP_PAIRS);
}

static void map_drop(LongOp *op)
{
    nosi_map_job_free(&((MapLongOp *)op)->job);
}

static Value map_step(Proc *p, LongOp *op)
{
    MapLongOp *o = (MapLongOp *)op;
    MapJob *j = &o->job;
    int64_t chunk = nosi_long_chunk, left;
    while (left = chunk, !nosi_map_job_go(j, &left))
        if (nosi_long_pause(p, (uint32_t)NOS_MIN(chunk - left, INT32_MAX)))
            return VALUE_YIELD;
    p->budget -= (int32_t)NOS_MIN((chunk - left) >> 3, SLICE_BUDGET);
    switch (j->status) {
    case MAP_OK:
        return j->subset ? value_bool(j->is) : j->out;
    case MAP_NEED_USER:
        return nosi_trap(p, nosi_lib_funcs[o->user], o->n_args, op->root);
    case MAP_BAD_KEY:
        return bad_key(p, &j->q);
    default:
        return nosi_out_of_memory(p);
    }
}

MapMatch bi_map_match(LibFunc user)
{
    return nosi_lib_funcs[user] ? MATCH_EQUAL : MATCH_STRUCTURE;
}

Value bi_map_run(Proc *p, MapLongOp *o, LibFunc user, unsigned n_args, const Value *args)
{
    o->op = (LongOp){.step = map_step, .drop = map_drop};
    for (unsigned i = 0; i < n_args; i++)
        o->op.root[i] = args[i];
    o->user = user;
    o->n_args = n_args;
    return nosi_long_run(p, &o->op, sizeof *o);
}

Value nosi_bi_map_from_list(Proc *p, Value *args)
{
    MapLongOp o;
    WANT_LIST(0);
    nosi_map_from_list_begin(&o.job, &p->heap, bi_map_match(LIB_MAP_LITERAL), true, args[0]);
    return bi_map_run(p, &o, LIB_MAP_LITERAL, 1, args);
}

static Value combine(Proc *p, Value *args, MapOp op)
{
    MapLongOp o;
    WANT_MAP(0);
    WANT_MAP(1);
    nosi_map_combine_begin(&o.job, &p->heap, bi_map_match(LIB_MAP_COMBINE_USER), op, args[0],
                           args[1]);
    return bi_map_run(p, &o, LIB_MAP_COMBINE_USER, 3, (Value[]){value_small(op), args[0], args[1]});
}

Value nosi_bi_map_union(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_UNION);
}
Value nosi_bi_map_merge(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_MERGE);
}
Value nosi_bi_map_intersection(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_INTERSECTION);
}
Value nosi_bi_map_difference(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_DIFFERENCE);
}
