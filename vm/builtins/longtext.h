/* longtext.h -- natives that make text of any length, in steps (sched/long.h).
 *
 *      TextOp t = {.fill = upper_fill, .op.root = {args[0]}};
 *      return bi_long_text(p, &t, sizeof t);
 *
 * The text is collected in segments, so that no step copies all of it, and put together at the end.
 */
#ifndef NOSI_LONGTEXT_H
#define NOSI_LONGTEXT_H

#include "sched/long.h"
#include "vm/builtins/bi.h"
#include "vm/interp/longbytes.h"

typedef enum TextFill {
    TEXT_MORE,
    TEXT_DONE,
    TEXT_RETURN, // give up: the native returns op.root[LONG_ROOTS - 1], whatever kind of result
} TextFill;

typedef struct TextOp TextOp;
struct TextOp {
    LongOp op;
    /* Appends the next piece, of about `bytes` bytes of input or output, to t->out. Never
     * collects before TEXT_DONE. */
    TextFill (*fill)(Proc *p, TextOp *t, size_t bytes);
    void (*drop)(TextOp *t); // what fill owns; NULL: nothing
    /* What becomes of the text instead of a String, NULL: a String. It is in full[0..n). */
    Value (*finish)(Proc *p, TextOp *t);
    StrBuf out;
    size_t i, j, n;   // fill's own
    void *state;      // fill's own
    VEC(StrBuf) full; // segments before `out`; owned
    size_t bytes;     // in `full`
    StrBlob *blob;    // putting together; owned
    size_t seg, at;   // next segment, bytes copied of it
    size_t put, chars;
};

/* `size`: of the struct that begins with t. */
Value bi_long_text(Proc *p, TextOp *t, size_t size);

/* Looking for text in steps: the first occurrence of sub[0..m) in s[0..n) at or after *from. False:
 * not found before *from, which has moved on by about `bytes`; *from == SIZE_MAX: there is none. */
bool bi_find_some(const char *s, size_t n, const char *sub, size_t m, size_t *from, size_t bytes);

#endif
