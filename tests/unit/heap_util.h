/* heap_util.h -- for tests of the heap: a fingerprint of an object graph, random graphs, registers
 * as roots. */
#ifndef HEAP_UTIL_H
#define HEAP_UTIL_H

#include "vm/heap/blob.h"
#include "vm/heap/heap.h"
#include "vm/util/hashmap.h"
#include "vm/util/vec.h"
#include "vm/value/shape.h"

/* Sanitizers and whole-heap verification slow these tests down by a factor of ten and more: they do
 * less then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || NOS_DEBUG >= 3
#define SLOW_BUILD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW_BUILD 1
#endif
#endif
#ifndef SLOW_BUILD
#define SLOW_BUILD 0
#endif
#define SCALED(n) (SLOW_BUILD ? (n) / 10 : (n))

static inline uint64_t rnd(uint64_t *s)
{
    uint64_t z = (*s += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Numbers the objects reachable from v breadth first and mixes their contents, so that two graphs
 * with the same fingerprint have the same structure, sharing included. */
static inline uint64_t fingerprint(Value v)
{
    HashMap ids = {0};
    VEC(Value) queue = {0};
    uint64_t h = 1469598103934665603u;
#define MIX(x) (h = (h ^ (uint64_t)(x)) * 0xD6E8FEB86659FD93u, h ^= h >> 31)
#define LINK(x)                                                         \
    do {                                                                \
        Value x_ = (x);                                                 \
        if (!value_is_pointer(x_)) {                                    \
            MIX(x_.bits);                                               \
            break;                                                      \
        }                                                               \
        void *id_ = nosi_hashmap_get(&ids, (void *)(uintptr_t)x_.bits); \
        if (!id_) {                                                     \
            vec_push(&queue, x_);                                       \
            id_ = (void *)(uintptr_t)queue.n;                           \
            nosi_hashmap_put(&ids, (void *)(uintptr_t)x_.bits, id_);    \
        }                                                               \
        MIX((uintptr_t)id_ + 77);                                       \
    } while (0)
    LINK(v);
    for (uint32_t i = 0; i < queue.n; i++) {
        Value x = queue.at[i];
        if (value_is_cons(x)) {
            MIX(1);
            LINK(value_head(x));
            LINK(value_tail(x));
            continue;
        }
        Object *o = value_obj(x);
        MIX(obj_kind(o));
        MIX(obj_words(o));
        MIX(obj_aux(o));
        uint32_t first = 0, end = obj_words(o);
        uint64_t raw = 0;
        switch (nosi_obj_info[obj_kind(o)].scan) {
        case SCAN_RAW:
            for (uint32_t j = 0; j < end; j++)
                MIX(o->word[j]);
            end = 0;
            break;
        case SCAN_OFFHEAP:
            if (obj_kind(o) == OBJ_LSTRING || obj_kind(o) == OBJ_BYTES) {
                StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
                MIX(nosi_hash_bytes(b->bytes + o->word[LSTRING_OFFSET], o->word[LSTRING_BYTES], 0));
            } else {
                MIX(nosi_hash_bytes((void *)(uintptr_t)o->word[ARRAY_MEM],
                                    o->word[ARRAY_LEN] * (obj_kind(o) == OBJ_ARRAY
                                                              ? elem_size((ElemKind)obj_aux(o))
                                                              : 1),
                                    0));
            }
            end = 0;
            break;
        case SCAN_TAIL1:
            MIX(o->word[0]);
            first = 1;
            break;
        case SCAN_TAIL2:
            MIX(o->word[0]);
            MIX(o->word[1]);
            first = 2;
            break;
        case SCAN_SHAPED:
            raw = nosi_shape(obj_aux(o))->raw_mask;
            break;
        case SCAN_VALUES:
            break;
        }
        for (uint32_t j = first; j < end; j++) {
            if (j < 64 && (raw >> j & 1))
                MIX(o->word[j]);
            else
                LINK(((Value){o->word[j]}));
        }
    }
#undef LINK
#undef MIX
    vec_free(&queue);
    nosi_hashmap_free(&ids);
    return h;
}

enum { N_REGS = 64 };
typedef struct Regs {
    Value r[N_REGS];
    bool lists_fixed; // no list is changed after it was built (as in programs: holes are filled
                      // first)
} Regs;
static inline void walk_regs(void *owner, RootVisit *visit, void *ctx)
{
    visit(((Regs *)owner)->r, N_REGS, ctx);
}
static inline void regs_init(Regs *regs)
{
    for (int i = 0; i < N_REGS; i++)
        regs->r[i] = VALUE_UNIT;
    regs->lists_fixed = false;
}

static inline Shape *test_shape(void)
{
    static TypeDesc *t;
    if (!t) {
        nosi_shapes_init();
        Name f[] = {nosi_intern_cstr("a"), nosi_intern_cstr("b"), nosi_intern_cstr("c"),
                    nosi_intern_cstr("d")};
        uint8_t reps[] = {FIELD_VALUE, FIELD_FLOAT, FIELD_VALUE, FIELD_INT};
        ShapeSpec spec = {nosi_intern_cstr("Mixed"), 4, true, f, reps};
        t = nosi_type_register(spec.name, spec.name, true, true, &spec, 1);
    }
    return t->ctors[0];
}

/* One random step on the graph held by the registers: builds something of old values, overwrites,
 * or drops. */
static inline void random_step(Heap *h, Regs *g, uint64_t *seed)
{
    Value *dst = &g->r[rnd(seed) % N_REGS];
#define PICK() (g->r[rnd(seed) % N_REGS])
    switch (rnd(seed) % 16) {
    case 0:
        *dst = value_small((int64_t)(rnd(seed) >> 3));
        break;
    case 1:
        CHECK(nosi_heap_reserve(h, FLOAT_WORDS));
        *dst = nosi_float_nogc(h, (double)(rnd(seed) % 1000));
        break;
    case 2:
    case 3:
    case 4:
    case 5: {
        CHECK(nosi_heap_reserve(h, CONS_WORDS));
        Value head = PICK(), tail = PICK();
        *dst = nosi_cons_nogc(h, head, tail);
        break;
    }
    case 6:
    case 7:
    case 8: {
        uint32_t n = (uint32_t)(rnd(seed) % 9);
        CHECK(nosi_heap_reserve(h, n + 1));
        Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, n);
        for (uint32_t i = 0; i < n; i++)
            o->word[i] = PICK().bits;
        *dst = value_object(o);
        break;
    }
    case 9: {
        CHECK(nosi_heap_reserve(h, 5));
        Object *o = nosi_heap_take_nogc(h, OBJ_RECORD, test_shape()->id, 4);
        o->header |= (OBJ_MUTABLE | OBJ_RAW) << 3;
        o->word[0] = PICK().bits;
        o->word[1] = rnd(seed); // raw words look like anything
        o->word[2] = PICK().bits;
        o->word[3] = PICK().bits + 8 * (rnd(seed) % 2);
        *dst = value_object(o);
        break;
    }
    case 10: {
        CHECK(nosi_heap_reserve(h, 2));
        Object *o = nosi_heap_take_nogc(h, OBJ_CELL, 0, 1);
        o->word[0] = PICK().bits;
        *dst = value_object(o);
        break;
    }
    case 11: {
        size_t n = 64 + rnd(seed) % 100;
        CHECK(nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, n));
        StrBlob *b = nosi_blob_new(n);
        memset(b->bytes, 'a' + (int)(rnd(seed) % 26), n);
        b->used = n;
        Object *o = nosi_heap_take_nogc(h, OBJ_LSTRING, 0, LSTRING_WORDS);
        o->word[LSTRING_BLOB] = (uint64_t)(uintptr_t)b;
        o->word[LSTRING_OFFSET] = 0;
        o->word[LSTRING_BYTES] = o->word[LSTRING_CHARS] = n;
        o->word[LSTRING_HASH] = 0;
        nosi_heap_add_offheap_nogc(h, o, n);
        *dst = value_object(o);
        break;
    }
    case 12: {
        uint64_t n = rnd(seed) % 20;
        CHECK(nosi_heap_reserve_bytes(h, ARRAY_WORDS + 1, n * 8));
        Object *o = nosi_heap_take_nogc(h, OBJ_ARRAY, ELEM_I64, ARRAY_WORDS);
        int64_t *mem = nosi_calloc(n, 8);
        for (uint64_t i = 0; i < n; i++)
            mem[i] = (int64_t)rnd(seed);
        o->word[ARRAY_MEM] = (uint64_t)(uintptr_t)mem;
        o->word[ARRAY_LEN] = n;
        nosi_heap_add_offheap_nogc(h, o, n * 8);
        *dst = value_object(o);
        break;
    }
    case 13:
    case 14: { // mutation through the barrier
        Value v = PICK(), w = PICK();
        if (value_is_kind(v, OBJ_CELL))
            nosi_heap_write(h, (Value *)&value_obj(v)->word[0], w);
        else if (value_is_kind(v, OBJ_RECORD))
            nosi_heap_write(h, (Value *)&value_obj(v)->word[rnd(seed) % 2 * 2], w);
        else if (value_is_cons(v) && !g->lists_fixed)
            nosi_heap_write(h, &value_cell(v)[1], w);
        break;
    }
    default:
        *dst = VALUE_UNIT;
        break;
    }
#undef PICK
}

/* A tuple of all registers, to take one fingerprint of everything (in C memory, so that taking it
 * changes nothing). */
static inline uint64_t regs_fingerprint(const Regs *g)
{
    struct {
        uint64_t header;
        Value v[N_REGS];
    } t = {OBJ_HEADER(OBJ_TUPLE, 0, N_REGS), {{0}}};
    memcpy(t.v, g->r, sizeof t.v);
    return fingerprint(value_object(&t));
}

#endif
