/* diag.h -- diagnostics as data: collected while the front end runs, rendered at the end.
 *
 * Rendered as `FILE:LINE:COL: error: MESSAGE`, the source line, a caret line, then `help:` /
 * `note:` lines (decision 24). Colour only wraps whole parts, never the inside of a message. */
#ifndef NOSI_DIAG_H
#define NOSI_DIAG_H

#include <stdio.h>

#include "vm/front/source.h"
#include "vm/util/arena.h"
#include "vm/util/strbuf.h"

typedef enum { DIAG_ERROR, DIAG_WARNING } DiagSeverity;
typedef enum { DIAG_PARSE, DIAG_COMPILE, DIAG_RUNTIME } DiagKind;

typedef struct DiagNote {
    struct DiagNote *next;
    Span span; // file 0: no excerpt
    const char *text;
    bool is_help; // "help:" instead of "note:"
} DiagNote;

typedef struct Diag {
    struct Diag *next;
    DiagSeverity severity;
    DiagKind kind;
    Span span;
    const char *message;
    DiagNote *notes, **notes_tail;
} Diag;

typedef struct DiagList {
    Arena *arena;             // borrowed; holds every text
    const SourceSet *sources; // borrowed
    Diag *first, **tail;
    uint32_t n_errors, n_warnings;
    bool silent; // speculative checking: count, but keep nothing
} DiagList;

void nosi_diag_init(DiagList *d, Arena *arena, const SourceSet *sources);
/* Adds a diagnostic; the result (never NULL) takes notes. Identical (span, message) pairs are kept
 * once. */
Diag *nosi_diag_error(DiagList *d, DiagKind kind, Span span, const char *fmt, ...) NOS_PRINTF(4, 5);
Diag *nosi_diag_warning(DiagList *d, DiagKind kind, Span span, const char *fmt, ...)
    NOS_PRINTF(4, 5);
void nosi_diag_help(DiagList *d, Diag *to, const char *fmt, ...) NOS_PRINTF(3, 4);
void nosi_diag_note(DiagList *d, Diag *to, Span span, const char *fmt, ...) NOS_PRINTF(4, 5);
/* Renders all diagnostics sorted by position (file order, then offset). */
void nosi_diag_render(const DiagList *d, StrBuf *out, bool colour);
/* One JSON object per line: file line column endLine endColumn severity kind message hint? notes?.
 */
void nosi_diag_render_json(const DiagList *d, StrBuf *out);

/* "Did you mean": collects candidates within Levenshtein distance 2 (1 for names of up to 2
 * characters), at most three, best first. */
typedef struct Suggest {
    const char *wanted;
    const char *best[3];
    int distance[3];
    int n;
} Suggest;
void nosi_suggest_init(Suggest *s, const char *wanted);
void nosi_suggest_offer(Suggest *s, const char *candidate);
/* Adds "did you mean `x`?" / "did you mean one of: x, y?" to `to` when there is something to
 * suggest. */
void nosi_suggest_help(const Suggest *s, DiagList *d, Diag *to);

#endif
