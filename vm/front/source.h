/* source.h -- source files and positions in them. */
#ifndef NOSI_SOURCE_H
#define NOSI_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "vm/util/platform.h"

/* Byte range [start, end) in file number `file` of the SourceSet. {0} is "nowhere". */
typedef struct Span {
    uint32_t file; // 1-based index into SourceSet.files; 0 = no position
    uint32_t start, end;
} Span;

typedef struct SourceFile {
    const char *path; // as shown in messages; owned
    const char *text; // NUL-terminated; owned unless is_static
    size_t n;
    uint32_t *line_start; // byte offset of every line; owned; n_lines entries
    uint32_t n_lines;
    bool is_library;  // part of the standard library
    bool is_static;   // text is borrowed (embedded in the binary)
    bool is_compiled; // the path is borrowed for ever
} SourceFile;

typedef struct SourceSet {
    SourceFile *
        *files; // stable pointers, because other threads read positions while files are added
    uint32_t n, cap;
} SourceSet;

void nosi_sources_init(SourceSet *s);
void nosi_sources_free(SourceSet *s);
/* Adds a file; takes nothing: `path` is copied, `text` is copied unless is_static. Returns its
 * 1-based number. */
uint32_t nosi_sources_add(SourceSet *s, const char *path, const char *text, size_t n,
                          bool is_static, bool is_library);
/* The path of a file, for code compiled from it: borrows for ever. */
const char *nosi_source_path(SourceSet *s, uint32_t file);
/* Frees a file to whose positions nothing refers any more: its number means an empty one now. */
void nosi_source_drop(SourceSet *s, uint32_t file);
const SourceFile *nosi_source(const SourceSet *s, uint32_t file); // NULL for 0
/* 1-based line and column (columns count characters, not bytes) of a byte offset. */
void nosi_source_position(const SourceFile *f, uint32_t offset, uint32_t *line, uint32_t *column);

NOS_INLINE Span nosi_span_join(Span a, Span b)
{
    return (Span){a.file, NOS_MIN(a.start, b.start), NOS_MAX(a.end, b.end)};
}

#endif
