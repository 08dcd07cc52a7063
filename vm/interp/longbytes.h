/* longbytes.h -- moving and looking at many bytes, in steps (sched/long.h). */
#ifndef NOSI_LONGBYTES_H
#define NOSI_LONGBYTES_H

#include "sched/long.h"
#include "vm/heap/blob.h"

/* Bytes that take about as long as `elements` list cells; the slice pays for them. */
enum { LONG_BYTES = 4 };

/* Does something with part[0] and then part[1], about 16 KiB between two looks at the budget:
 *
 *   copies them to `to`, when that is set. A part without `s` repeats what is at the beginning of
 *   `to`: its first `period` bytes, which are there;
 *   checks that they are UTF-8 and counts the code points, when `text` is set.
 *
 * Then `done` gives the result. The memory must not move between the steps: root[] keeps the owners
 * alive (blobs, arrays and buffers do not move, and nothing is collected before `done`). */
typedef struct ByteOp ByteOp;
struct ByteOp {
    LongOp op;
    struct {
        const char *s;
        size_t n;
    } part[2];
    unsigned k; // the part
    size_t i;   // what is done of it
    char *to;
    size_t at, period;
    size_t populated; // of `to`: up to here
    bool text, invalid;
    size_t chars;
    StrBlob *blob; // owned, until `done` takes it
    char *memory;  // owned, until `done` takes it
    Value (*done)(Proc *p, ByteOp *o);
};
/* `size`: of the struct that begins with o. */
Value nosi_long_bytes(Proc *p, ByteOp *o, size_t size);

#endif
