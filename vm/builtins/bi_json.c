/* bi_json.c -- JSON text and Json values. */
#include "vm/builtins/bi.h"

#include "vm/builtins/longtext.h"
#include "vm/data/json.h"
#include "vm/data/json_parse.h"

/* ---- to Json ------------------------------------------------------------------------------- */

/* Text to Json, or any value to Json: what a value is in JSON is said in one place, the writer, so
 * reflect reads what that writes. root[0]: the text, or the value, whose text goes into `own`. */
typedef struct ParseOp {
    LongOp op;
    JsonWriter w;
    JsonParse j;
    StrBuf own;
    enum { PARSE_WRITE, PARSE_SCAN, PARSE_BUILD } phase;
} ParseOp;

static void parse_drop(LongOp *op)
{
    ParseOp *o = (ParseOp *)op;
    nosi_json_write_end(&o->w);
    nosi_json_end(&o->j);
    nosi_strbuf_free(&o->own);
}

static Value parse_error(Proc *p, ParseOp *o)
{
    StrBuf text = {0};
    nosi_strbuf_puts(&text, "JSON parse error: ");
    nosi_json_error(&o->j, &text);
    return bi_panic_text(p, &text);
}

static void text_at(ParseOp *o) // a short string moves
{
    const char *s = o->own.s;
    size_t n;
    if (!s)
        nosi_string_view(o->op.root[0], &s, &n);
    nosi_json_text_at(&o->j, s);
}

static JsonStatus parse_some(Proc *p, ParseOp *o, size_t bytes)
{
    switch (o->phase) {
    case PARSE_WRITE:
        o->w.out = &o->own;
        if (nosi_json_write(&o->w, bytes)) {
            nosi_json_begin(&o->j, nosi_strbuf_cstr(&o->own), o->own.n);
            o->phase = PARSE_SCAN;
        }
        return JSON_MORE;
    case PARSE_SCAN:
        return nosi_json_scan(&o->j, bytes);
    case PARSE_BUILD:
        break;
    }
    return nosi_json_build(&o->j, &p->heap, bytes);
}

static Value parse_step(Proc *p, LongOp *op)
{
    ParseOp *o = (ParseOp *)op;
    size_t bytes = (size_t)nosi_long_chunk * 16;
    for (;;) {
        switch (parse_some(p, o, bytes)) {
        case JSON_BAD:
            return parse_error(p, o);
        case JSON_NOMEM:
            return nosi_out_of_memory(p);
        case JSON_DONE:
            if (o->phase == PARSE_BUILD)
                return o->j.result;
            if (!nosi_json_reserve(&o->j, &p->heap))
                return nosi_out_of_memory(p);
            text_at(o);
            o->phase = PARSE_BUILD;
            break;
        case JSON_MORE:
            break;
        }
        if (nosi_long_pause(p, (uint32_t)(bytes / 3)))
            return VALUE_YIELD;
    }
}

Value nosi_bi_json_parse(Proc *p, Value *args)
{
    ParseOp o = {.op = {.step = parse_step, .drop = parse_drop, .root = {args[0]}},
                 .phase = PARSE_SCAN};
    const char *s;
    size_t n;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_json_begin(&o.j, s, n);
    return nosi_long_run(p, &o.op, sizeof o);
}

Value nosi_bi_reflect(Proc *p, Value *args)
{
    ParseOp o = {.op = {.step = parse_step, .drop = parse_drop, .root = {args[0]}},
                 .phase = PARSE_WRITE};
    nosi_json_write_begin(&o.w, &o.own, args[0]);
    return nosi_long_run(p, &o.op, sizeof o);
}

/* ---- values to text ------------------------------------------------------------------------- */

typedef struct WriteOp {
    TextOp t;
    JsonWriter w;
} WriteOp;

static TextFill write_fill(Proc *p, TextOp *t, size_t bytes)
{
    (void)p;
    WriteOp *o = (WriteOp *)t;
    o->w.out = &t->out;
    return nosi_json_write(&o->w, bytes) ? TEXT_DONE : TEXT_MORE;
}

static void write_drop(TextOp *t)
{
    nosi_json_write_end(&((WriteOp *)t)->w);
}

Value nosi_bi_json_stringify(Proc *p, Value *args)
{
    WriteOp o = {.t = {.fill = write_fill, .drop = write_drop, .op.root = {args[0]}}};
    nosi_json_write_begin(&o.w, &o.t.out, args[0]);
    return bi_long_text(p, &o.t, sizeof o);
}

Value nosi_bi_json_escape(Proc *p, Value *args)
{
    StrBuf out = {0};
    const char *s;
    size_t n;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_json_escape(&out, s, n);
    p->budget -= (int32_t)NOS_MIN(n / 256, (size_t)1 << 24);
    return bi_text(p, &out);
}
