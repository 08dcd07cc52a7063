/* list.c -- see list.h. */
#include "vm/data/list.h"

enum {
    CHUNK = 512
}; // cells per reserve: large enough to make the reserve free, small enough for a small heap

/* ---- the cursor cache
 * ---------------------------------------------------------------------------------------- */

/* The entry for `list`, if there is one. Entries of an earlier epoch are dropped. */
static struct ListCursorEntry *find(Heap *h, ListCursor *c, Value list)
{
    uint64_t epoch = nosi_heap_epoch(h);
    if (c->epoch != epoch) {
        memset(c, 0, sizeof *c);
        c->epoch = epoch;
        return NULL;
    }
    for (int i = 0; i < LIST_CURSORS; i++)
        if (c->at[i].list == list.bits)
            return &c->at[i];
    return NULL;
}

static struct ListCursorEntry *enter(ListCursor *c, Value list)
{
    struct ListCursorEntry *e = &c->at[c->next++ % LIST_CURSORS];
    *e = (struct ListCursorEntry){.list = list.bits, .cell = list.bits};
    return e;
}

enum { WORTH_CACHING = 8 }; // steps

bool nosi_list_known_length(Heap *h, ListCursor *c, Value list, size_t *n)
{
    const struct ListCursorEntry *e = find(h, c, list);
    if (!e || !e->length)
        return false;
    *n = (size_t)e->length - 1;
    return true;
}

void nosi_list_note_length(Heap *h, ListCursor *c, Value list, size_t n)
{
    if (n <= WORTH_CACHING)
        return;
    struct ListCursorEntry *e = find(h, c, list);
    (e ? e : enter(c, list))->length = n + 1;
}

size_t nosi_list_nearest(Heap *h, ListCursor *c, Value list, size_t index, Value *cell)
{
    const struct ListCursorEntry *e = index >= WORTH_CACHING ? find(h, c, list) : NULL;
    *cell = list;
    if (!e || e->position > index)
        return 0;
    cell->bits = e->cell;
    return (size_t)e->position;
}

void nosi_list_note_position(Heap *h, ListCursor *c, Value list, size_t index, Value cell)
{
    if (index < WORTH_CACHING)
        return;
    struct ListCursorEntry *e = find(h, c, list);
    e = e ? e : enter(c, list);
    e->position = index;
    e->cell = cell.bits;
}

size_t nosi_list_length(Heap *h, ListCursor *c, Value list)
{
    size_t n = 0;
    if (c && value_is_cons(list) && nosi_list_known_length(h, c, list, &n))
        return n;
    for (Value x = list; value_is_cons(x); x = value_tail(x))
        n++;
    if (c)
        nosi_list_note_length(h, c, list, n);
    return n;
}

bool nosi_list_nth(Heap *h, ListCursor *c, Value list, int64_t index, Value *out)
{
    Value x = list;
    size_t position = 0, known;
    if (index < 0)
        return false;
    if (c && value_is_cons(list)) {
        if (index >= WORTH_CACHING && nosi_list_known_length(h, c, list, &known) &&
            (size_t)index >= known)
            return false;
        position = nosi_list_nearest(h, c, list, (size_t)index, &x);
    }
    for (; position < (size_t)index && value_is_cons(x); position++)
        x = value_tail(x);
    if (!value_is_cons(x))
        return false;
    if (c)
        nosi_list_note_position(h, c, list, position, x);
    *out = value_head(x);
    return true;
}

/* ---- building
 * ------------------------------------------------------------------------------------------------
 */

void nosi_list_push_nogc(Heap *h, Value *list, Value *last, Value item)
{
    Value cell = nosi_cons_nogc(h, item, VALUE_NIL);
    if (value_is_nil(*last))
        *list = cell;
    else
        nosi_heap_write(h, &value_cell(*last)[1], cell);
    *last = cell;
}

Value nosi_list_from_array_nogc(Heap *h, const Value *items, size_t n, Value tail)
{
    if (n == 0)
        return tail;
    Value first = value_cons_at(h->top);
    for (size_t i = 0; i < n; i++) // front to back in memory, so that walking is sequential
        nosi_cons_nogc(h, items[i], i + 1 < n ? value_cons_at(h->top + 2) : tail);
    return first;
}

bool nosi_list_from_array(Heap *h, const Value *items, size_t n, Value tail, Value *out)
{
    bool ok = true;
    ROOT(h, tail);
    while (n && ok) { // chunks from the end, each front to back
        size_t k = n % CHUNK ? n % CHUNK : CHUNK;
        ok = nosi_heap_reserve(h, k * CONS_WORDS);
        if (ok)
            tail = nosi_list_from_array_nogc(h, items + n - k, k, tail);
        n -= k;
    }
    UNROOT(h);
    *out = tail;
    return ok;
}

bool nosi_list_append_reversed(Heap *h, Value a, Value b, Value *out)
{
    bool ok = true;
    ROOT(h, a);
    ROOT(h, b);
    while (value_is_cons(a) && (ok = nosi_heap_reserve(h, CHUNK * CONS_WORDS)))
        for (int i = 0; i < CHUNK && value_is_cons(a); i++) {
            b = nosi_cons_nogc(h, value_head(a), b);
            a = value_tail(a);
        }
    UNROOT(h);
    UNROOT(h);
    *out = b;
    return ok;
}

bool nosi_list_reverse(Heap *h, Value list, Value *out)
{
    return nosi_list_append_reversed(h, list, VALUE_NIL, out);
}

bool nosi_list_range(Heap *h, int64_t from, int64_t to, Value *out)
{
    Value list = VALUE_NIL;
    bool ok = true;
    ROOT(h, list);
    while (to > from && (ok = nosi_heap_reserve(h, CHUNK * (CONS_WORDS + INT64_WORDS))))
        for (int i = 0; i < CHUNK && to > from; i++) {
            Value x = nosi_int_nogc(h, --to);
            list = nosi_cons_nogc(h, x, list);
        }
    UNROOT(h);
    *out = list;
    return ok;
}

size_t nosi_list_to_array(Value list, Value *out, size_t n)
{
    size_t i = 0;
    for (; i < n && value_is_cons(list); list = value_tail(list))
        out[i++] = value_head(list);
    return i;
}
