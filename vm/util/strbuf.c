/* strbuf.c -- see strbuf.h. */
#include "vm/util/strbuf.h"

#include <stdio.h>
#include <string.h>

#include "vm/util/alloc.h"

void nosi_strbuf_free(StrBuf *b)
{
    nosi_free(b->s);
    *b = (StrBuf){0};
}

void nosi_strbuf_grow(StrBuf *b, size_t extra)
{
    size_t need = b->n + extra + 1;
    size_t cap = b->cap ? b->cap * 2 : 64;
    if (cap < need)
        cap = need;
    b->s = nosi_realloc(b->s, cap);
    b->cap = cap;
    b->s[b->n] = 0; // a buffer is a C string at any time
}

void nosi_strbuf_add(StrBuf *b, const char *s, size_t n)
{
    nosi_strbuf_reserve(b, n);
    if (n)
        memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = 0;
}

void nosi_strbuf_puts(StrBuf *b, const char *s)
{
    nosi_strbuf_add(b, s, strlen(s));
}

void nosi_strbuf_putc(StrBuf *b, char c)
{
    nosi_strbuf_add(b, &c, 1);
}

void nosi_strbuf_vprintf(StrBuf *b, const char *fmt, va_list ap)
{
    va_list ap2;
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap2);
    va_end(ap2);
    nosi_strbuf_reserve(b, (size_t)n);
    vsnprintf(b->s + b->n, (size_t)n + 1, fmt, ap);
    b->n += (size_t)n;
}

void nosi_strbuf_printf(StrBuf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(b, fmt, ap);
    va_end(ap);
}

const char *nosi_strbuf_cstr(StrBuf *b)
{
    return b->s ? b->s : "";
}
