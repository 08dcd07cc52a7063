/* scan.h -- which words of an object are Values. Internal to vm/heap. */
#ifndef NOSI_SCAN_H
#define NOSI_SCAN_H

#include "vm/heap/heap.h"
#include "vm/value/shape.h"

/* Runs `body` with `Value *slot` for every Value in object `o`, whose header is `header` (the one
 * in memory may be a forwarding mark). */
#define OBJ_EACH_SLOT(o, hdr, slot, body)                                      \
    do {                                                                       \
        Slots slots_ = obj_slots(hdr);                                         \
        for (uint32_t i_ = slots_.first; i_ < slots_.end; i_++) {              \
            if (NOS_UNLIKELY(slots_.raw) && i_ < 64 && (slots_.raw >> i_ & 1)) \
                continue;                                                      \
            Value *slot = (Value *)&(o)->word[i_];                             \
            body;                                                              \
        }                                                                      \
    } while (0)

typedef struct Slots {
    uint32_t first, end;
    uint64_t raw;
} Slots;

NOS_INLINE Slots obj_slots(uint64_t header)
{
    static const uint8_t scan[OBJ__COUNT] = {
#define OBJ(name, how, text) [OBJ_##name] = SCAN_##how,
#include "vm/value/objects.def"
#undef OBJ
    };
    uint32_t words = (uint32_t)(header >> 40);
    switch ((ObjScan)scan[header >> 8 & 0xFF]) {
    case SCAN_VALUES:
        return (Slots){0, words, 0};
    case SCAN_SHAPED:
        if (!(header & OBJ_RAW << 3))
            return (Slots){0, words, 0};
        return (Slots){0, words, nosi_shape((uint32_t)(header >> 16 & 0xFFFFFF))->raw_mask};
    case SCAN_TAIL1:
        return (Slots){1, words, 0};
    case SCAN_TAIL2:
        return (Slots){2, words, 0};
    case SCAN_RAW:
    case SCAN_OFFHEAP:
        break;
    }
    return (Slots){0, 0, 0};
}

NOS_INLINE bool obj_is_offheap(uint64_t header)
{
    unsigned k = header >> 8 & 0xFF;
    return k == OBJ_LSTRING || k == OBJ_ARRAY || k == OBJ_BYTES || k == OBJ_BUFFER;
}

/* Can what is in an object with this header change? (A record of a `var type`, a captured variable,
 * an array, a buffer.) */
NOS_INLINE bool obj_is_mutable(uint64_t header)
{
    const uint32_t kinds = 1u << OBJ_CELL | 1u << OBJ_ARRAY | 1u << OBJ_BUFFER;
    _Static_assert(OBJ__COUNT <= 32, "kinds fit a word");
    return ((kinds >> (header >> 8 & 31)) | (header >> 3 & OBJ_MUTABLE)) & 1;
}

struct OldBlock {
    OldBlock *next;
    Value *top, *limit;
    Value *scan; // while collecting: promoted words from here on are still to be scanned
    Value data[];
};

NOS_INLINE bool old_block_holds(const OldBlock *b, uintptr_t p)
{
    return p - (uintptr_t)b->data < (uintptr_t)b->limit - (uintptr_t)b->data;
}
#endif
