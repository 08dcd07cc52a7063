/* diag.c -- see diag.h. */
#include "vm/front/diag.h"

#include <stdlib.h>
#include <string.h>

#include "vm/util/alloc.h"
#include "vm/util/utf8.h"

void nosi_diag_init(DiagList *d, Arena *arena, const SourceSet *sources)
{
    *d = (DiagList){.arena = arena, .sources = sources};
    d->tail = &d->first;
}

NOS_PRINTF(5, 0)
static Diag *add(DiagList *d, DiagSeverity severity, DiagKind kind, Span span, const char *fmt,
                 va_list ap)
{
    StrBuf b = {0};
    nosi_strbuf_vprintf(&b, fmt, ap);
    for (Diag *old = d->first; old; old = old->next) {
        if (old->span.file == span.file && old->span.start == span.start &&
            old->severity == severity && strcmp(old->message, nosi_strbuf_cstr(&b)) == 0) {
            nosi_strbuf_free(&b);
            return old;
        }
    }
    Diag *diag = ARENA_NEW(d->arena, Diag);
    diag->severity = severity;
    diag->kind = kind;
    diag->span = span;
    diag->message = nosi_arena_strndup(d->arena, nosi_strbuf_cstr(&b), b.n);
    diag->notes_tail = &diag->notes;
    nosi_strbuf_free(&b);
    if (severity == DIAG_ERROR)
        d->n_errors++;
    else
        d->n_warnings++;
    if (!d->silent) {
        *d->tail = diag;
        d->tail = &diag->next;
    }
    return diag;
}

Diag *nosi_diag_error(DiagList *d, DiagKind kind, Span span, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Diag *diag = add(d, DIAG_ERROR, kind, span, fmt, ap);
    va_end(ap);
    return diag;
}

Diag *nosi_diag_warning(DiagList *d, DiagKind kind, Span span, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Diag *diag = add(d, DIAG_WARNING, kind, span, fmt, ap);
    va_end(ap);
    return diag;
}

NOS_PRINTF(5, 0)
static void add_note(DiagList *d, Diag *to, Span span, bool is_help, const char *fmt, va_list ap)
{
    StrBuf b = {0};
    nosi_strbuf_vprintf(&b, fmt, ap);
    DiagNote *note = ARENA_NEW(d->arena, DiagNote);
    note->span = span;
    note->is_help = is_help;
    note->text = nosi_arena_strndup(d->arena, nosi_strbuf_cstr(&b), b.n);
    nosi_strbuf_free(&b);
    *to->notes_tail = note;
    to->notes_tail = &note->next;
}

void nosi_diag_help(DiagList *d, Diag *to, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_note(d, to, (Span){0}, true, fmt, ap);
    va_end(ap);
}

void nosi_diag_note(DiagList *d, Diag *to, Span span, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_note(d, to, span, false, fmt, ap);
    va_end(ap);
}

/* ---- text
 * --------------------------------------------------------------------------------------------------
 */

typedef struct Colours {
    const char *error, *warning, *note, *bold, *off;
} Colours;

static const Colours no_colours = {"", "", "", "", ""};
static const Colours terminal_colours = {"\x1b[1;31m", "\x1b[1;33m", "\x1b[1;36m", "\x1b[1m",
                                         "\x1b[0m"};

/* The source line of the span and a line of carets under it. */
static void excerpt(const SourceFile *f, Span span, const Colours *c, StrBuf *out)
{
    uint32_t line, column;
    nosi_source_position(f, span.start, &line, &column);
    uint32_t start = f->line_start[line - 1];
    uint32_t end = line < f->n_lines ? f->line_start[line] - 1 : (uint32_t)f->n;
    if (end > start && f->text[end - 1] == '\r')
        end--;
    nosi_strbuf_add(out, f->text + start, end - start);
    nosi_strbuf_putc(out, '\n');
    for (uint32_t i = start; i < span.start && i < end;
         i++) // keep tabs, so that the caret stands below its text
        if (((unsigned char)f->text[i] & 0xC0) != 0x80)
            nosi_strbuf_putc(out, f->text[i] == '\t' ? '\t' : ' ');
    uint32_t stop = NOS_MIN(NOS_MAX(span.end, span.start + 1), end);
    size_t width = stop > span.start ? nosi_utf8_count(f->text + span.start, stop - span.start) : 1;
    nosi_strbuf_puts(out, c->error);
    nosi_strbuf_putc(out, '^');
    for (size_t i = 1; i < width; i++)
        nosi_strbuf_putc(out, '~');
    nosi_strbuf_puts(out, c->off);
    nosi_strbuf_putc(out, '\n');
}

static void location(const SourceFile *f, Span span, StrBuf *out)
{
    uint32_t line, column;
    nosi_source_position(f, span.start, &line, &column);
    nosi_strbuf_printf(out, "%s:%u:%u: ", f->path, line, column);
}

static int by_position(const void *a, const void *b)
{
    const Diag *x = *(Diag *const *)a, *y = *(Diag *const *)b;
    if (x->span.file != y->span.file)
        return x->span.file < y->span.file ? -1 : 1;
    return x->span.start < y->span.start ? -1 : x->span.start > y->span.start;
}

static Diag **sorted(const DiagList *d, uint32_t *n)
{
    *n = 0;
    for (Diag *x = d->first; x; x = x->next)
        ++*n;
    Diag **all = nosi_alloc(*n * sizeof *all);
    uint32_t i = 0;
    for (Diag *x = d->first; x; x = x->next)
        all[i++] = x;
    qsort(all, *n, sizeof *all, by_position);
    return all;
}

void nosi_diag_render(const DiagList *d, StrBuf *out, bool colour)
{
    const Colours *c = colour ? &terminal_colours : &no_colours;
    uint32_t n;
    Diag **all = sorted(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        const Diag *x = all[i];
        const SourceFile *f = nosi_source(d->sources, x->span.file);
        bool is_error = x->severity == DIAG_ERROR;
        nosi_strbuf_puts(out, c->bold);
        if (f)
            location(f, x->span, out);
        nosi_strbuf_printf(out, "%s%s:%s ", is_error ? c->error : c->warning,
                           is_error ? "error" : "warning", c->off);
        nosi_strbuf_printf(out, "%s%s%s\n", c->bold, x->message, c->off);
        if (f)
            excerpt(f, x->span, c, out);
        for (const DiagNote *note = x->notes; note; note = note->next) {
            const SourceFile *nf = nosi_source(d->sources, note->span.file);
            if (nf)
                location(nf, note->span, out);
            else
                nosi_strbuf_puts(out, "  ");
            nosi_strbuf_printf(out, "%s%s:%s %s\n", c->note, note->is_help ? "help" : "note",
                               c->off, note->text);
            if (nf)
                excerpt(nf, note->span, c, out);
        }
    }
    nosi_free(all);
}

/* ---- JSON
 * --------------------------------------------------------------------------------------------------
 */

static void json_string(StrBuf *out, const char *s)
{
    nosi_strbuf_putc(out, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            nosi_strbuf_printf(out, "\\%c", c);
        else if (c == '\n')
            nosi_strbuf_puts(out, "\\n");
        else if (c < 0x20)
            nosi_strbuf_printf(out, "\\u%04x", c);
        else
            nosi_strbuf_putc(out, (char)c);
    }
    nosi_strbuf_putc(out, '"');
}

void nosi_diag_render_json(const DiagList *d, StrBuf *out)
{
    uint32_t n;
    Diag **all = sorted(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        const Diag *x = all[i];
        const SourceFile *f = nosi_source(d->sources, x->span.file);
        uint32_t line = 0, column = 0, end_line = 0, end_column = 0;
        if (f) {
            nosi_source_position(f, x->span.start, &line, &column);
            nosi_source_position(f, x->span.end, &end_line, &end_column);
        }
        nosi_strbuf_puts(out, "{\"file\":");
        json_string(out, f ? f->path : "");
        nosi_strbuf_printf(out, ",\"line\":%u,\"column\":%u,\"endLine\":%u,\"endColumn\":%u", line,
                           column, end_line, end_column);
        nosi_strbuf_printf(out, ",\"severity\":\"%s\",\"kind\":\"%s\",\"message\":",
                           x->severity == DIAG_ERROR ? "error" : "warning",
                           x->kind == DIAG_PARSE     ? "parse"
                           : x->kind == DIAG_COMPILE ? "compile"
                                                     : "runtime");
        json_string(out, x->message);
        const char *hint = NULL;
        uint32_t n_notes = 0;
        for (const DiagNote *note = x->notes; note; note = note->next) {
            if (note->is_help && !hint)
                hint = note->text;
            n_notes += !note->is_help;
        }
        if (hint) {
            nosi_strbuf_puts(out, ",\"hint\":");
            json_string(out, hint);
        }
        if (n_notes) {
            nosi_strbuf_puts(out, ",\"notes\":[");
            const char *sep = "";
            for (const DiagNote *note = x->notes; note; note = note->next) {
                if (note->is_help)
                    continue;
                nosi_strbuf_puts(out, sep);
                json_string(out, note->text);
                sep = ",";
            }
            nosi_strbuf_putc(out, ']');
        }
        nosi_strbuf_puts(out, "}\n");
    }
    nosi_free(all);
}

/* ---- did you mean
 * ------------------------------------------------------------------------------------------ */

/* Levenshtein distance, or 99 when it is certainly above 2. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX || m > MAX || n > m + 2 || m > n + 2)
        return 99;
    int row[MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int up = row[j];
            int best = diagonal + (a[i - 1] != b[j - 1]);
            best = NOS_MIN(best, up + 1);
            row[j] = NOS_MIN(best, row[j - 1] + 1);
            diagonal = up;
        }
    }
    return row[m];
}

void nosi_suggest_init(Suggest *s, const char *wanted)
{
    *s = (Suggest){.wanted = wanted};
}

/* Nearer, or as near and first in the alphabet: candidates come in the order of hash tables. */
static bool is_better(const Suggest *s, const char *candidate, int dist, int than)
{
    return dist < s->distance[than] ||
           (dist == s->distance[than] && strcmp(candidate, s->best[than]) < 0);
}

void nosi_suggest_offer(Suggest *s, const char *candidate)
{
    int limit = strlen(s->wanted) <= 2 ? 1 : 2;
    int dist = distance(s->wanted, candidate);
    if (dist == 0 || dist > limit || candidate[0] == '_')
        return;
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->best[i], candidate) == 0)
            return;
    int i = s->n < 3 ? s->n++ : 2;
    if (i == 2 && s->best[2] && !is_better(s, candidate, dist, 2))
        return;
    for (; i > 0 && is_better(s, candidate, dist, i - 1); i--) {
        s->best[i] = s->best[i - 1];
        s->distance[i] = s->distance[i - 1];
    }
    s->best[i] = candidate;
    s->distance[i] = dist;
}

void nosi_suggest_help(const Suggest *s, DiagList *d, Diag *to)
{
    if (s->n == 1)
        nosi_diag_help(d, to, "did you mean `%s`?", s->best[0]);
    else if (s->n == 2)
        nosi_diag_help(d, to, "did you mean one of: %s, %s?", s->best[0], s->best[1]);
    else if (s->n == 3)
        nosi_diag_help(d, to, "did you mean one of: %s, %s, %s?", s->best[0], s->best[1],
                       s->best[2]);
}
