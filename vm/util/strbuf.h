/* strbuf.h -- a growable byte string, always NUL-terminated. */
#ifndef NOSI_STRBUF_H
#define NOSI_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

#include "vm/util/platform.h"

typedef struct StrBuf {
    char *s; // owned; NULL until the first append
    size_t n, cap;
} StrBuf;

void nosi_strbuf_free(StrBuf *b);
NOS_INLINE void nosi_strbuf_reserve(StrBuf *b, size_t extra); // room for them and the NUL
void nosi_strbuf_add(StrBuf *b, const char *s, size_t n);
void nosi_strbuf_puts(StrBuf *b, const char *s);
void nosi_strbuf_putc(StrBuf *b, char c);
void nosi_strbuf_printf(StrBuf *b, const char *fmt, ...) NOS_PRINTF(2, 3);
void nosi_strbuf_vprintf(StrBuf *b, const char *fmt, va_list ap) NOS_PRINTF(2, 0);
const char *nosi_strbuf_cstr(StrBuf *b); // borrows; valid until the next append

void nosi_strbuf_grow(StrBuf *b, size_t extra); // there is not yet so much room

NOS_INLINE void nosi_strbuf_reserve(StrBuf *b, size_t extra)
{
    if (NOS_UNLIKELY(b->cap - b->n <= extra))
        nosi_strbuf_grow(b, extra);
}

#endif
