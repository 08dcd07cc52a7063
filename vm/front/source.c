/* source.c -- see source.h. */
#include "vm/front/source.h"

#include <string.h>

#include "vm/util/alloc.h"
#include "vm/util/utf8.h"

/* What the numbers of dropped files mean. */
static uint32_t no_lines;
static SourceFile dropped = {.path = "", .text = "", .line_start = &no_lines, .n_lines = 1};

static void file_free(SourceFile *f)
{
    if (f == &dropped)
        return;
    if (!f->is_static)
        nosi_free((char *)f->text);
    nosi_free((char *)f->path);
    nosi_free(f->line_start);
    nosi_free(f);
}

void nosi_sources_init(SourceSet *s)
{
    *s = (SourceSet){0};
}

void nosi_sources_free(SourceSet *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        file_free(s->files[i]);
    nosi_free(s->files);
    *s = (SourceSet){0};
}

static void find_lines(SourceFile *f)
{
    uint32_t n = 1;
    for (size_t i = 0; i < f->n; i++)
        n += f->text[i] == '\n';
    f->line_start = nosi_alloc(n * sizeof *f->line_start);
    f->n_lines = n;
    f->line_start[0] = 0;
    uint32_t line = 1;
    for (size_t i = 0; i < f->n; i++)
        if (f->text[i] == '\n')
            f->line_start[line++] = (uint32_t)i + 1;
}

uint32_t nosi_sources_add(SourceSet *s, const char *path, const char *text, size_t n,
                          bool is_static, bool is_library)
{
    SourceFile *f = nosi_calloc(1, sizeof *f);
    f->path = nosi_strdup(path);
    f->n = n;
    f->is_static = is_static;
    f->is_library = is_library;
    if (is_static) {
        f->text = text;
    } else {
        char *copy = nosi_alloc(n + 1);
        memcpy(copy, text, n);
        copy[n] = 0;
        f->text = copy;
    }
    find_lines(f);
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 16;
        s->files = nosi_realloc(s->files, s->cap * sizeof *s->files);
    }
    s->files[s->n++] = f;
    return s->n;
}

const char *nosi_source_path(SourceSet *s, uint32_t file)
{
    if (!nosi_source(s, file))
        return "";
    s->files[file - 1]->is_compiled = true;
    return s->files[file - 1]->path;
}

void nosi_source_drop(SourceSet *s, uint32_t file)
{
    SourceFile *f = s->files[file - 1];
    if (f == &dropped)
        return;
    if (f->is_compiled)
        f->path = NULL;
    file_free(f);
    s->files[file - 1] = &dropped;
}

const SourceFile *nosi_source(const SourceSet *s, uint32_t file)
{
    return file && file <= s->n ? s->files[file - 1] : NULL;
}

void nosi_source_position(const SourceFile *f, uint32_t offset, uint32_t *line, uint32_t *column)
{
    uint32_t lo = 0, hi = f->n_lines;
    while (hi - lo > 1) { // last line that starts at or before the offset
        uint32_t mid = (lo + hi) / 2;
        if (f->line_start[mid] <= offset)
            lo = mid;
        else
            hi = mid;
    }
    *line = lo + 1;
    uint32_t end = NOS_MIN(offset, (uint32_t)f->n);
    *column = (uint32_t)nosi_utf8_count(f->text + f->line_start[lo], end - f->line_start[lo]) + 1;
}
