/* buffer.c -- see buffer.h. */
#include "vm/data/buffer.h"

#include "vm/data/string.h"
#include "vm/util/alloc.h"

bool nosi_buffer_new(Heap *h, Value *out)
{
    if (!nosi_heap_reserve_bytes(h, BUFFER_WORDS + 1, 0))
        return false;
    Object *o = nosi_heap_take_nogc(h, OBJ_BUFFER, 0, BUFFER_WORDS);
    o->word[BUFFER_MEM] = o->word[BUFFER_LEN] = o->word[BUFFER_CAP] = 0;
    nosi_heap_add_offheap_nogc(h, o, 0);
    *out = value_object(o);
    return true;
}

bool nosi_buffer_room(Heap *h, Value b, size_t n, char **memory, size_t *cap)
{
    const Object *o = value_obj(b);
    size_t len = o->word[BUFFER_LEN];
    *memory = NULL;
    *cap = o->word[BUFFER_CAP];
    if (n <= *cap - len)
        return true;
    *cap = NOS_MAX(NOS_MAX(*cap * 2, len + n), (size_t)64);
    if (h->max_words && *cap / 8 > h->max_words)
        return false;
    *memory = nosi_try_alloc(*cap);
    return *memory != NULL;
}

void nosi_buffer_extend(Heap *h, Value b, char *memory, size_t cap, size_t len)
{
    Object *o = value_obj(b);
    if (memory) {
        nosi_free((char *)(uintptr_t)o->word[BUFFER_MEM]);
        // The next constructor of a handle collects, if it became too much.
        nosi_heap_grow_offheap_nogc(h, o, cap - o->word[BUFFER_CAP]);
        o->word[BUFFER_MEM] = (uint64_t)(uintptr_t)memory;
        o->word[BUFFER_CAP] = cap;
    }
    o->word[BUFFER_LEN] = len;
}

bool nosi_buffer_append(Heap *h, Value b, const char *s, size_t n)
{
    const Object *o = value_obj(b);
    size_t len = o->word[BUFFER_LEN], cap;
    char *old = (char *)(uintptr_t)o->word[BUFFER_MEM], *memory;
    if (!nosi_buffer_room(h, b, n, &memory, &cap))
        return false;
    if (memory && len)
        memcpy(memory, old, len);
    if (n)
        memcpy((memory ? memory : old) + len, s, n); // before the free: s may lie in this buffer
    nosi_buffer_extend(h, b, memory, cap, len + n);
    return true;
}

void nosi_buffer_view(Value b, const char **bytes, size_t *n)
{
    const Object *o = value_obj(b);
    *n = o->word[BUFFER_LEN];
    *bytes = *n ? (const char *)(uintptr_t)o->word[BUFFER_MEM] : "";
}

void nosi_buffer_clear(Value b)
{
    value_obj(b)->word[BUFFER_LEN] = 0;
}

bool nosi_buffer_to_string(Heap *h, Value b, Value *out)
{
    const char *p;
    size_t n;
    nosi_buffer_view(b, &p, &n);
    ROOT(h, b); // owns p
    bool ok = nosi_string_new(h, p, n, out);
    UNROOT(h);
    return ok;
}
