/* list.h -- Lists: header-less cons cells ending in []. All functions are iterative.
 *
 * Functions with a Heap may collect (in bounded steps, so that a long list does not need its space
 * at once), protect their own arguments, and return false when memory ran out. */
#ifndef NOSI_LIST_H
#define NOSI_LIST_H

#include "vm/heap/heap.h"

NOS_INLINE bool value_is_list(Value v)
{
    return value_is_cons(v) || value_is_nil(v);
}

/* Every process keeps one: it makes `for i = 0 to xs.length() { ... xs[i] ... }` linear (decision
 * 30). Zero-initialise. It is not a root: a collection moves cells, so entries of an earlier epoch
 * are ignored. */
enum { LIST_CURSORS = 4 };
typedef struct ListCursor {
    uint64_t epoch; // nosi_heap_epoch() for which the entries hold
    uint32_t next;  // slot to replace next
    struct ListCursorEntry {
        uint64_t list; // identity: bits of the first cell; 0 = empty
        uint64_t cell; // bits of the cell at `position`
        uint64_t position;
        uint64_t length; // length + 1, 0 = unknown
    } at[LIST_CURSORS];
} ListCursor;

/* Number of elements. `c` may be NULL. Never collects. Heap is needed for the epoch only. */
size_t nosi_list_length(Heap *h, ListCursor *c, Value list);
/* The element at `index`; false when out of range. Never collects. */
bool nosi_list_nth(Heap *h, ListCursor *c, Value list, int64_t index, Value *out);
/* The parts of both, for who walks in steps (vm/interp/longlist.c). `list` is no []. */
bool nosi_list_known_length(Heap *h, ListCursor *c, Value list, size_t *n); // false: not known
void nosi_list_note_length(Heap *h, ListCursor *c, Value list, size_t n);
/* The cell nearest to `index` from which to walk on, and its position. */
size_t nosi_list_nearest(Heap *h, ListCursor *c, Value list, size_t index, Value *cell);
void nosi_list_note_position(Heap *h, ListCursor *c, Value list, size_t index, Value cell);
/* List of items[0..n) followed by `tail`; items must be roots (registers, ROOT_ARRAY). */
bool nosi_list_from_array(Heap *h, const Value *items, size_t n, Value tail, Value *out);
/* The same in reserved space: n * CONS_WORDS words. */
Value nosi_list_from_array_nogc(Heap *h, const Value *items, size_t n, Value tail);
bool nosi_list_reverse(Heap *h, Value list, Value *out);
bool nosi_list_append_reversed(Heap *h, Value a, Value b, Value *out); // reverse(a) ++ b
bool nosi_list_range(Heap *h, int64_t from, int64_t to, Value *out);   // from, ..., to - 1
/* Copies the elements into out[0..n) (C memory): at most n; returns how many there were to copy.
 * Never collects. */
size_t nosi_list_to_array(Value list, Value *out, size_t n);

/* Building front to back: Value list = VALUE_NIL, last = VALUE_NIL; both ROOTed; needs CONS_WORDS
 * reserved per push. */
void nosi_list_push_nogc(Heap *h, Value *list, Value *last, Value item);

#endif
