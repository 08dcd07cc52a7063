/* json.h -- values as JSON text (part 3, 1.11 `reflect`): the only place that says what a value is
 * in JSON. Parsing is json_parse.h. */
#ifndef NOSI_JSON_H
#define NOSI_JSON_H

#include "vm/util/hashmap.h"
#include "vm/util/strbuf.h"
#include "vm/util/vec.h"
#include "vm/value/value.h"

typedef struct JsonFrame JsonFrame;

/* Writing in steps. Between two of them nothing may be collected, or the values would move. */
typedef struct JsonWriter {
    StrBuf *out; // borrowed; what is in it may be taken out between two steps
    VEC(JsonFrame) frames;
    HashMap open; // mutable records being written: they can be cyclic
} JsonWriter;

/* Compact JSON of any value: records become objects in field order, variants {"Ctor": payload}
 * (null without fields, the field itself, an array of several), lists, sets, arrays and tuples
 * arrays, maps objects with their keys shown, `()` and numbers without a value in JSON (NaN,
 * infinity) null, BigInts and Decimals numbers when an Int or a Float has exactly that value, else
 * strings; a `Json` value is what it stands for. Iterative; never collects. */
void nosi_json_write_begin(JsonWriter *w, StrBuf *out, Value v);
/* Writes about `bytes` bytes more. True: that was all. */
bool nosi_json_write(JsonWriter *w, size_t bytes);
void nosi_json_write_end(JsonWriter *w); // at any time
/* All at once: appends to out. */
void nosi_json_text(StrBuf *out, Value v);

/* Appends text with what JSON strings must escape, without quotes. `s` is UTF-8. */
void nosi_json_escape(StrBuf *out, const char *s, size_t n);

#endif
