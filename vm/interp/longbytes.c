/* longbytes.c -- see longbytes.h. */
#include "vm/interp/longbytes.h"

#include "vm/util/alloc.h"
#include "vm/util/populate.h"
#include "vm/util/utf8.h"

static void bytes_drop(LongOp *op)
{
    ByteOp *o = (ByteOp *)op;
    if (o->blob)
        nosi_blob_unref(o->blob);
    nosi_free(o->memory);
}

/* The end of a piece of about n bytes at s, of `all`, that does not cut a character. */
static size_t whole_characters(const char *s, size_t n, size_t all)
{
    if (n >= all)
        return all;
    for (size_t k = n; k > 0 && n - k < 4; k--)
        if (((unsigned char)s[k] & 0xC0) != 0x80)
            return k;
    return n; // no UTF-8 anyway
}

static Value bytes_step(Proc *p, LongOp *op)
{
    ByteOp *o = (ByteOp *)op;
    size_t piece = nosi_long_chunk < 16 ? 64 : (size_t)1 << 14;
    for (; o->k < NOS_COUNT(o->part); o->k++, o->i = 0) {
        while (o->i < o->part[o->k].n) {
            const char *s = o->part[o->k].s;
            size_t left = o->part[o->k].n - o->i, n = NOS_MIN(left, piece);
            if (o->text) {
                n = whole_characters(s + o->i, n, left);
                if (nosi_utf8_validate(s + o->i, n) < n) {
                    o->invalid = true;
                    return o->done(p, o);
                }
                o->chars += nosi_utf8_count(s + o->i, n);
            }
            // Large memory is fresh from the system. What is written next is pages of it.
            if (o->to && o->at >= o->populated && o->part[o->k].n >= POPULATE_MOST) {
                nosi_populate(o->to + o->at, NOS_MIN(left, (size_t)POPULATE_MOST));
                o->populated = o->at + POPULATE_MOST;
            }
            if (!s) { // what is there already, as long as the period fits
                n = NOS_MIN(n, o->at - o->at % o->period);
                memcpy(o->to + o->at, o->to, n);
            } else if (o->to) {
                memcpy(o->to + o->at, s + o->i, n);
            }
            o->at += n;
            o->i += n;
            if (nosi_long_pause(p, (uint32_t)(n / (2 * LONG_BYTES))))
                return VALUE_YIELD;
        }
    }
    return o->done(p, o);
}

Value nosi_long_bytes(Proc *p, ByteOp *o, size_t size)
{
    o->op.step = bytes_step;
    o->op.drop = bytes_drop;
    return nosi_long_run(p, &o->op, size);
}
