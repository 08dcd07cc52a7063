/* bi_set.c -- Set. */
#include "vm/builtins/bi_map.h"

Value bi_set_insert(Proc *p, Value *args, MapQuery *q)
{
    Value v = VALUE_UNIT;
    WANT_SET(0);
    bi_map_charge_edit(p, args[0]);
    MapStatus st = nosi_set_insert(&p->heap, args[0], args[1], q, &v);
    MapOperation op = q->edit == MAP_COPY ? MAPDO_SET_INSERT_COPY : MAPDO_SET_INSERT;
    return st == MAP_OK ? v : bi_map_failed(p, args, 2, op, st, q);
}

Value bi_set_remove(Proc *p, Value *args, MapQuery *q)
{
    Value v = VALUE_UNIT;
    WANT_SET(0);
    bi_map_charge_edit(p, args[0]);
    MapStatus st = nosi_set_remove(&p->heap, args[0], args[1], q, &v);
    MapOperation op = q->edit == MAP_COPY ? MAPDO_SET_REMOVE_COPY : MAPDO_SET_REMOVE;
    return st == MAP_OK ? v : bi_map_failed(p, args, 2, op, st, q);
}

Value bi_set_contains(Proc *p, Value *args, MapQuery *q)
{
    bool has = false;
    WANT_SET(0);
    if (q->match == MATCH_NONE)
        return VALUE_FALSE;
    MapStatus st = nosi_set_contains(args[0], args[1], q, &has);
    return st == MAP_OK ? value_bool(has) : bi_map_failed(p, args, 2, MAPDO_SET_CONTAINS, st, q);
}

#define SET_NATIVE_OF(name, suffix, how)                                                     \
    Value nosi_bi_##name##suffix(Proc *p, Value *args)                                       \
    {                                                                                        \
        MapQuery q = {.match = nosi_lib_funcs[LIB_MAP_USER] ? MATCH_EQUAL : MATCH_STRUCTURE, \
                      .edit = how};                                                          \
        return bi_##name(p, args, &q);                                                       \
    }
#define SET_NATIVE(name) SET_NATIVE_OF(name, , MAP_SHARE)
SET_NATIVE(set_insert)
SET_NATIVE_OF(set_insert, _copy, MAP_COPY)
SET_NATIVE_OF(set_insert, _own, MAP_OWN)
SET_NATIVE(set_remove)
SET_NATIVE_OF(set_remove, _copy, MAP_COPY)
SET_NATIVE_OF(set_remove, _own, MAP_OWN)
SET_NATIVE(set_contains)

Value nosi_bi_set_empty(Proc *p, Value *args)
{
    (void)args;
    if (!nosi_reserve(p, MAP_EMPTY_WORDS))
        return VALUE_THROWN;
    return nosi_set_empty_nogc(&p->heap);
}

Value nosi_bi_set_size(Proc *p, Value *args)
{
    WANT_SET(0);
    return value_small((int64_t)nosi_map_size(args[0]));
}

Value nosi_bi_set_is_empty(Proc *p, Value *args)
{
    WANT_SET(0);
    return value_bool(nosi_map_size(args[0]) == 0);
}

Value nosi_bi_set_to_list(Proc *p, Value *args)
{
    WANT_SET(0);
    return bi_map_list(p, args[0], MAP_KEYS);
}

Value nosi_bi_set_from_list(Proc *p, Value *args)
{
    MapLongOp o;
    WANT_LIST(0);
    nosi_map_from_list_begin(&o.job, &p->heap, bi_map_match(LIB_SET_LITERAL), false, args[0]);
    return bi_map_run(p, &o, LIB_SET_LITERAL, 1, args);
}

static Value combine(Proc *p, Value *args, MapOp op)
{
    MapLongOp o;
    WANT_SET(0);
    WANT_SET(1);
    nosi_map_combine_begin(&o.job, &p->heap, bi_map_match(LIB_SET_COMBINE_USER), op, args[0],
                           args[1]);
    return bi_map_run(p, &o, LIB_SET_COMBINE_USER, 3, (Value[]){value_small(op), args[0], args[1]});
}

Value nosi_bi_set_union(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_UNION);
}
Value nosi_bi_set_intersection(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_INTERSECTION);
}
Value nosi_bi_set_difference(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_DIFFERENCE);
}
Value nosi_bi_set_symmetric_difference(Proc *p, Value *args)
{
    return combine(p, args, MAPOP_SYMMETRIC);
}

Value nosi_bi_set_is_subset(Proc *p, Value *args)
{
    MapLongOp o;
    WANT_SET(0);
    WANT_SET(1);
    nosi_set_subset_begin(&o.job, bi_map_match(LIB_SET_SUBSET_USER), args[0], args[1]);
    return bi_map_run(p, &o, LIB_SET_SUBSET_USER, 2, args);
}

Value nosi_bi_set_is_proper_subset(Proc *p, Value *args)
{
    WANT_SET(0);
    WANT_SET(1);
    if (nosi_map_size(args[0]) >= nosi_map_size(args[1]))
        return VALUE_FALSE;
    return nosi_bi_set_is_subset(p, args);
}
