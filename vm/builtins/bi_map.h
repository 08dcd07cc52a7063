/* bi_map.h -- what bi_map.c and bi_set.c share. */
#ifndef NOSI_BI_MAP_H
#define NOSI_BI_MAP_H

#include "sched/long.h"
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
    MAPDO_INSERT_COPY, // the result is a new map: MAP_COPY
    MAPDO_REMOVE_COPY,
    MAPDO_SET_INSERT_COPY,
    MAPDO_SET_REMOVE_COPY,
    MAPDO__COUNT
} MapOperation;

/* What the native returns when an operation did not give MAP_OK: an exception, or a trap to
 * __mapUser. Frees q's candidates. */
Value bi_map_failed(Proc *p, Value *args, unsigned n_args, MapOperation op, MapStatus status,
                    MapQuery *q);
/* Operations on whole collections, in steps: job = ..._begin(...). What user Eq must decide the
 * library function `user` does key by key, called with the n_args arguments. */
typedef struct MapLongOp {
    LongOp op; // root[]: the arguments of `user`
    LibFunc user;
    unsigned n_args;
    MapJob job;
} MapLongOp;
Value bi_map_run(Proc *p, MapLongOp *o, LibFunc user, unsigned n_args, const Value *args);
/* Does the library answer what user Eq decides? */
MapMatch bi_map_match(LibFunc user);

/* Takes from the budget what an insert or a removal costs. */
void bi_map_charge_edit(Proc *p, Value m);

/* List of the keys (elements), values or pairs, in steps. */
Value bi_map_list(Proc *p, Value m, MapPart part);

Value bi_set_insert(Proc *p, Value *args, MapQuery *q);
Value bi_set_remove(Proc *p, Value *args, MapQuery *q);
Value bi_set_contains(Proc *p, Value *args, MapQuery *q);

#endif
