/* decode.h -- Json values as values of a declared type: the one decoder behind jsonToType,
 * fromJson, fromJsonValue, makeRecord, makeVariant and typed rows (part 3, 1.10 and 1.11).
 *
 * Iterative and in steps. Where a Json is expected any other value is taken as it is when it has
 * the right type (columns of a database, fields given to makeRecord): Ints become Floats and sized
 * ones where those are declared, `()` is None and anything else Some for an Option.
 *
 *      nosi_decode_begin(&d, style); d.arena holds the type
 *      nosi_decode_value(&d, type, json)  or one of the others: what is to be made
 *      while ((st = nosi_decode_go(&d, h, roots, steps)) == DECODE_MORE) ...
 *      ... d.vals[0], or the text d.error
 *      nosi_decode_end(&d);
 *
 * The caller makes d->vals[0 .. d->n) roots; `roots` is that RootFrame, kept up to date here. */
#ifndef NOSI_DECODE_H
#define NOSI_DECODE_H

#include "vm/heap/heap.h"
#include "vm/util/strbuf.h"
#include "vm/util/vec.h"
#include "vm/value/typeinfo.h"

typedef enum DecodeStatus { DECODE_MORE, DECODE_DONE, DECODE_FAILED, DECODE_NOMEM } DecodeStatus;

/* Whose error texts: jsonToType's ("Expected Json Object, found Array") or fromJsonValue's
 * ("Expected Object for record type T"). */
typedef enum DecodeStyle { DECODE_TYPED, DECODE_BY_NAME } DecodeStyle;

typedef struct DecodeEnv DecodeEnv;
typedef struct DecodeFrame DecodeFrame;

typedef struct Decoder {
    DecodeStyle style;
    Arena arena; // types and environments
    RootFrame *roots;
    Value *vals; // owned: sources, replaced by results; [0]: the whole
    size_t n, cap;
    VEC(DecodeFrame) frames;
    DecodeEnv *top; // without parameters
    StrBuf error;   // after DECODE_FAILED
} Decoder;

void nosi_decode_begin(Decoder *d, DecodeStyle style);
void nosi_decode_end(Decoder *d); // at any time

/* What to make. `json` need not be a root before the first step. False: d->error says why not. */
bool nosi_decode_value(Decoder *d, const TypeRef *type, Value json);
/* A record, or the constructor `ctor` of a variant (NULL: a record), from a Map of field names (or
 * _0, _1, ... ) to Json or other values. */
bool nosi_decode_fields(Decoder *d, const TypeRef *type, const char *ctor, size_t n, Value map);
/* A record from a tuple: by the names of its columns when it has them and they cover all fields,
 * else by position. */
bool nosi_decode_row(Decoder *d, const TypeRef *type, Value row);

/* About `steps` values more. */
DecodeStatus nosi_decode_go(Decoder *d, Heap *h, RootFrame *roots, uint32_t steps);

#endif
