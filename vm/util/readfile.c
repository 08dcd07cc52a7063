/* readfile.c -- see readfile.h. */
#include "vm/util/readfile.h"

#include <errno.h>
#include <stdio.h>

#include "vm/util/strbuf.h"

char *nosi_read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rbe");
    if (!f)
        return NULL;
    StrBuf b = {0};
    char buf[65536];
    size_t got;
    while ((got = fread(buf, 1, sizeof buf, f)) > 0)
        nosi_strbuf_add(&b, buf, got);
    int err = ferror(f) ? errno : 0;
    fclose(f);
    if (err) {
        nosi_strbuf_free(&b);
        errno = err;
        return NULL;
    }
    nosi_strbuf_reserve(&b, 1);
    b.s[b.n] = 0;
    *n = b.n;
    return b.s;
}
