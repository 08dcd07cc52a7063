/* json.h -- values as JSON text (part 3, 1.11 `reflect`). */
#ifndef NOSI_JSON_H
#define NOSI_JSON_H

#include "vm/util/strbuf.h"
#include "vm/value/value.h"

/* Appends compact JSON of any value: records become objects in field order, variants {"Ctor":
 * payload}, maps objects (keys as text), lists, sets, tuples and arrays arrays; () and what has no
 * value in JSON (NaN, infinity) null; a `Json` value is what it stands for. Iterative; never
 * collects. */
void nosi_json_text(StrBuf *out, Value v);
/* Appends text with what JSON strings must escape, without quotes. `s` is UTF-8. */
void nosi_json_escape(StrBuf *out, const char *s, size_t n);

#endif
