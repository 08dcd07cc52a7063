/* longtext.c -- see longtext.h. */
#include "vm/builtins/longtext.h"

#include "vm/heap/blob.h"
#include "vm/util/utf8.h"

enum { SEGMENT = 1 << 16 }; // bytes

bool bi_find_some(const char *s, size_t n, const char *sub, size_t m, size_t *from, size_t bytes)
{
    bytes = NOS_MAX(bytes, 4 * m); // the overlap of two windows must not dominate
    size_t start = *from;
    bool last = n - start <= bytes || n - start - bytes < m;
    int64_t at = start > n ? -1 : nosi_bytes_find(s, last ? n : start + bytes + m, sub, m, start);
    if (at >= 0) {
        *from = (size_t)at;
        return true;
    }
    *from = last || start > n ? SIZE_MAX : start + bytes;
    return false;
}

static void text_drop(LongOp *op)
{
    TextOp *t = (TextOp *)op;
    if (t->drop)
        t->drop(t);
    nosi_strbuf_free(&t->out);
    for (uint32_t i = 0; i < t->full.n; i++)
        nosi_strbuf_free(&t->full.at[i]);
    vec_free(&t->full);
    if (t->blob)
        nosi_blob_unref(t->blob);
}

/* Copies the segments into the blob. False: the slice is over. */
static bool put_together(Proc *p, TextOp *t, size_t chunk)
{
    while (t->seg < t->full.n) {
        StrBuf *b = &t->full.at[t->seg];
        size_t k = NOS_MIN(chunk, b->n - t->at);
        // A segment may end inside a character: counted are the bytes that begin one.
        memcpy(t->blob->bytes + t->put, b->s + t->at, k);
        t->chars += nosi_utf8_count(b->s + t->at, k);
        t->put += k;
        t->at += k;
        if (t->at == b->n) {
            nosi_strbuf_free(b);
            t->at = 0;
            t->seg++;
        }
        if (nosi_long_pause(p, (uint32_t)(k / (2 * LONG_BYTES))))
            return false;
    }
    return true;
}

static Value text_step(Proc *p, LongOp *op)
{
    TextOp *t = (TextOp *)op;
    size_t chunk = (size_t)nosi_long_chunk * LONG_BYTES;
    while (!t->blob) {
        TextFill now = t->fill(p, t, chunk);
        if (now == TEXT_RETURN)
            return op->root[LONG_ROOTS - 1];
        if (t->out.n >= SEGMENT || (now == TEXT_DONE && (t->full.n || t->finish))) {
            t->bytes += t->out.n;
            vec_push(&t->full, t->out);
            t->out = (StrBuf){0};
            if (now == TEXT_MORE) // the next one will be as long: it need not grow and copy itself
                nosi_strbuf_reserve(&t->out, SEGMENT + SEGMENT / 8);
        }
        if (now == TEXT_DONE && t->finish)
            return t->finish(p, t);
        if (now == TEXT_DONE) {
            if (t->full.n == 0)
                return bi_text(p, &t->out);
            t->blob = nosi_blob_new(t->bytes);
            if (!t->blob)
                return nosi_out_of_memory(p);
        }
        if (nosi_long_pause(p, 2 * nosi_long_chunk)) // 8 ns for four bytes would be too fast
            return VALUE_YIELD;
    }
    if (!put_together(p, t, nosi_long_chunk < 16 ? 1024 : (size_t)1 << 14))
        return VALUE_YIELD;
    StrBlob *b = t->blob;
    Value v;
    t->blob = NULL;
    return OK_OR_NOMEM(nosi_string_of_blob(&p->heap, b, t->bytes, t->chars, &v), v);
}

Value bi_long_text(Proc *p, TextOp *t, size_t size)
{
    t->op.step = text_step;
    t->op.drop = text_drop;
    return nosi_long_run(p, &t->op, size);
}
