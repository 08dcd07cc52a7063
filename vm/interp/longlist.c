/* longlist.c -- see longlist.h. */
#include "vm/interp/longlist.h"

#include "sched/sched.h"

/* ---- building lists ------------------------------------------------------------------------- */

typedef struct ListOp {
    LongOp op;
    int64_t n;  // building: elements still to come; walking: cells behind us
    int64_t to; // range: the last number made; walking: where to stop
} ListOp;

enum { FROM, LIST, LAST, TAIL, ELEM }; // roots of one that builds

/* Copies up to n elements of FROM. What is behind them: TAIL. */
static Value copy_step(Proc *p, LongOp *op)
{
    ListOp *b = (ListOp *)op;
    Value *r = op->root;
    Heap *h = &p->heap;
    do {
        uint32_t chunk = nosi_long_chunk;
        if (!nosi_reserve(p, chunk * CONS_WORDS))
            return VALUE_THROWN;
        Value x = r[FROM];
        for (; chunk && b->n > 0 && value_is_cons(x); chunk--, b->n--) {
            nosi_list_push_nogc(h, &r[LIST], &r[LAST], value_head(x));
            x = value_tail(x);
        }
        r[FROM] = x;
        if (b->n <= 0 || !value_is_cons(x)) {
            if (value_is_nil(r[LAST]))
                return r[TAIL];
            if (!value_is_nil(r[TAIL]))
                nosi_heap_write(h, &value_cell(r[LAST])[1], r[TAIL]);
            p->budget -= (int32_t)((nosi_long_chunk - chunk) >> 3);
            return r[LIST];
        }
    } while (!nosi_long_pause(p, nosi_long_chunk));
    return VALUE_YIELD;
}

Value nosi_long_append(Proc *p, Value list, Value tail)
{
    if (!value_is_cons(list) || value_is_nil(tail))
        return value_is_cons(list) ? list : tail;
    ListOp b = {
        .op = {.step = copy_step, .movable = true, .root = {list, VALUE_NIL, VALUE_NIL, tail}},
        .n = INT64_MAX};
    return nosi_long_run(p, &b.op, sizeof b);
}

Value nosi_long_take(Proc *p, Value list, int64_t n)
{
    if (n <= 0 || !value_is_cons(list))
        return VALUE_NIL;
    ListOp b = {
        .op = {.step = copy_step, .movable = true, .root = {list, VALUE_NIL, VALUE_NIL, VALUE_NIL}},
        .n = n};
    return nosi_long_run(p, &b.op, sizeof b);
}

static Value reverse_step(Proc *p, LongOp *op)
{
    Value *r = op->root;
    Heap *h = &p->heap;
    do {
        uint32_t chunk = nosi_long_chunk;
        if (!nosi_reserve(p, chunk * CONS_WORDS))
            return VALUE_THROWN;
        Value x = r[FROM], tail = r[TAIL];
        for (; chunk && value_is_cons(x); chunk--) {
            tail = nosi_cons_nogc(h, value_head(x), tail);
            x = value_tail(x);
        }
        r[FROM] = x;
        r[TAIL] = tail;
        if (!value_is_cons(x)) {
            p->budget -= (int32_t)((nosi_long_chunk - chunk) >> 3);
            return tail;
        }
    } while (!nosi_long_pause(p, nosi_long_chunk));
    return VALUE_YIELD;
}

Value nosi_long_append_reversed(Proc *p, Value list, Value tail)
{
    ListOp b = {
        .op = {.step = reverse_step, .movable = true, .root = {list, VALUE_NIL, VALUE_NIL, tail}}};
    return nosi_long_run(p, &b.op, sizeof b);
}

/* n elements in front of TAIL: next - 1, next - 2, ... or ELEM. */
static Value fill_step(Proc *p, LongOp *op, bool numbers)
{
    ListOp *b = (ListOp *)op;
    Value *r = op->root;
    Heap *h = &p->heap;
    do {
        uint32_t chunk = nosi_long_chunk;
        if (!nosi_reserve(p, chunk * (CONS_WORDS + (numbers ? INT64_WORDS : 0))))
            return VALUE_THROWN;
        Value tail = r[TAIL];
        for (; chunk && b->n > 0; chunk--, b->n--)
            tail = nosi_cons_nogc(h, numbers ? nosi_int_nogc(h, --b->to) : r[ELEM], tail);
        r[TAIL] = tail;
        if (b->n <= 0) {
            p->budget -= (int32_t)((nosi_long_chunk - chunk) >> 3);
            return tail;
        }
    } while (!nosi_long_pause(p, nosi_long_chunk));
    return VALUE_YIELD;
}

static Value range_step(Proc *p, LongOp *op)
{
    return fill_step(p, op, true);
}
static Value replicate_step(Proc *p, LongOp *op)
{
    return fill_step(p, op, false);
}

Value nosi_long_range(Proc *p, int64_t from, int64_t to)
{
    if (from >= to)
        return VALUE_NIL;
    uint64_t n = (uint64_t)to - (uint64_t)from;
    ListOp b = {.op = {.step = range_step, .movable = true, .root = {[TAIL] = VALUE_NIL}},
                .n = n > INT64_MAX ? INT64_MAX : (int64_t)n,
                .to = to};
    return nosi_long_run(p, &b.op, sizeof b);
}

Value nosi_long_replicate(Proc *p, int64_t n, Value v)
{
    if (n <= 0)
        return VALUE_NIL;
    ListOp b = {
        .op = {.step = replicate_step, .movable = true, .root = {[TAIL] = VALUE_NIL, [ELEM] = v}},
        .n = n};
    return nosi_long_run(p, &b.op, sizeof b);
}

Value nosi_long_from_array(Proc *p, LongOp *op, const Value *items, size_t *left)
{
    Value *list = &op->root[LONG_ROOTS - 1];
    do {
        size_t k = NOS_MIN(*left, (size_t)nosi_long_chunk);
        // Front to back inside a chunk, chunks from the end.
        if (!nosi_reserve(p, k * CONS_WORDS))
            return VALUE_THROWN;
        *list = nosi_list_from_array_nogc(&p->heap, items + *left - k, k, *list);
        *left -= k;
        if (*left == 0)
            return *list;
    } while (!nosi_long_pause(p, nosi_long_chunk));
    return VALUE_YIELD;
}

/* ---- walking -------------------------------------------------------------------------------- */

enum { LEFT, WHOLE, STORE }; // roots: what is left of the list, the list, SET: the new element

/* Up to cell `to` or the end. False: the slice is over. */
static bool walk(Proc *p, ListOp *w)
{
    // Sixteen of them take as long as what a chunk is meant to take: nothing is written.
    uint32_t most = nosi_long_chunk < 16 ? nosi_long_chunk : nosi_long_chunk * 4;
    do {
        Value x = w->op.root[LEFT];
        int64_t n = w->n, end = w->to - n > (int64_t)most ? n + most : w->to;
        while (n < end && value_is_cons(x)) {
            x = value_tail(x);
            n++;
        }
        uint32_t done = (uint32_t)(n - w->n);
        w->op.root[LEFT] = x;
        w->n = n;
        if (n == w->to || !value_is_cons(x)) {
            p->budget -= (int32_t)(done >> 4);
            return true;
        }
    } while (!nosi_long_pause(p, most >> 1));
    return false;
}

static Value length_step(Proc *p, LongOp *op)
{
    ListOp *w = (ListOp *)op;
    if (!walk(p, w))
        return VALUE_YIELD;
    nosi_list_note_length(&p->heap, nosi_list_cursor(p), op->root[WHOLE], (size_t)w->n);
    return value_small(w->n);
}

Value nosi_long_length(Proc *p, Value list)
{
    size_t known;
    if (!value_is_cons(list))
        return VALUE_ZERO;
    if (nosi_list_known_length(&p->heap, nosi_list_cursor(p), list, &known))
        return value_small((int64_t)known);
    ListOp w = {.op = {.step = length_step, .movable = true, .root = {list, list}},
                .to = INT64_MAX};
    return nosi_long_run(p, &w.op, sizeof w);
}

static Value out_of_bounds(Proc *p, int64_t i)
{
    return nosi_panic(p, "Index %lld out of bounds", (long long)i);
}

static Value drop_step(Proc *p, LongOp *op)
{
    return walk(p, (ListOp *)op) ? op->root[LEFT] : VALUE_YIELD;
}

Value nosi_long_drop(Proc *p, Value list, int64_t n)
{
    if (n <= 0)
        return list;
    ListOp w = {.op = {.step = drop_step, .movable = true, .root = {list}}, .to = n};
    return nosi_long_run(p, &w.op, sizeof w);
}

static Value index_step(Proc *p, LongOp *op)
{
    ListOp *w = (ListOp *)op;
    if (!walk(p, w))
        return VALUE_YIELD;
    Value x = op->root[LEFT];
    if (!value_is_cons(x))
        return out_of_bounds(p, w->to);
    nosi_list_note_position(&p->heap, nosi_list_cursor(p), op->root[WHOLE], (size_t)w->to, x);
    return value_head(x);
}

Value nosi_long_index(Proc *p, Value list, int64_t i)
{
    Value x = list;
    size_t length;
    if (i < 0 || !value_is_cons(list))
        return out_of_bounds(p, i);
    if (nosi_list_known_length(&p->heap, nosi_list_cursor(p), list, &length) && (size_t)i >= length)
        return out_of_bounds(p, i);
    size_t at = nosi_list_nearest(&p->heap, nosi_list_cursor(p), list, (size_t)i, &x);
    if (at == (size_t)i && value_is_cons(x))
        return value_head(x);
    ListOp w = {
        .op = {.step = index_step, .movable = true, .root = {x, list}}, .n = (int64_t)at, .to = i};
    return nosi_long_run(p, &w.op, sizeof w);
}

/* The cell to replace is found first: out of range nothing is built. */
static Value set_step(Proc *p, LongOp *op)
{
    ListOp *w = (ListOp *)op;
    if (!walk(p, w))
        return VALUE_YIELD;
    Value behind = op->root[LEFT];
    if (!value_is_cons(behind))
        return out_of_bounds(p, w->to);
    if (!nosi_reserve(p, CONS_WORDS))
        return VALUE_THROWN;
    op->root[STORE] = nosi_cons_nogc(&p->heap, op->root[STORE], value_tail(op->root[LEFT]));
    op->root[TAIL] = op->root[STORE];
    op->root[FROM] = op->root[WHOLE];
    op->root[LIST] = op->root[LAST] = VALUE_NIL;
    op->step = copy_step;
    return op->step(p, op);
}

Value nosi_long_set(Proc *p, Value list, int64_t i, Value v)
{
    if (i < 0)
        return out_of_bounds(p, i);
    ListOp w = {.op = {.step = set_step, .movable = true, .root = {list, list, v}}, .to = i};
    return nosi_long_run(p, &w.op, sizeof w);
}
