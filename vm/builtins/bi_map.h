/* bi_map.h -- what bi_map.c and bi_set.c share. */
#ifndef NOSI_BI_MAP_H
#define NOSI_BI_MAP_H

#include "vm/builtins/bi.h"

/* Operations on one key that may have to ask user code which stored key is meant: numbers of
 * __mapUser and __mapOp. */
typedef enum MapOperation {
    MAPDO_INSERT,
    MAPDO_REMOVE,
    MAPDO_GET,
    MAPDO_GET_OR_THROW,
    MAPDO_GET_OR,
    MAPDO_LOOKUP,
    MAPDO_CONTAINS,
    MAPDO_SET_INSERT,
    MAPDO_SET_REMOVE,
    MAPDO_SET_CONTAINS,
    MAPDO__COUNT
} MapOperation;

/* What the native returns when an operation did not give MAP_OK: an exception, or a trap to
 * __mapUser. Frees q's candidates. */
Value bi_map_failed(Proc *p, Value *args, unsigned n_args, MapOperation op, MapStatus status,
                    MapQuery *q);
/* The same for operations on whole collections, which the library function `user` then does key by
 * key; MAP_OK: result. */
Value bi_map_whole(Proc *p, LibFunc user, unsigned n, const Value *args, MapStatus st, MapQuery *q,
                   Value result);

/* List of the keys (elements), values or pairs, in steps. */
Value bi_map_list(Proc *p, Value m, MapPart part);

Value bi_set_insert(Proc *p, Value *args, MapQuery *q);
Value bi_set_remove(Proc *p, Value *args, MapQuery *q);
Value bi_set_contains(Proc *p, Value *args, MapQuery *q);

#endif
