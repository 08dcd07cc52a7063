/* json_parse.h -- JSON text (RFC 8259) as values of the library's type Json.
 *
 * Linear, without recursion, and in steps, so that a long text never holds a worker. Two passes:
 *
 *   scan    checks the text and writes a tape: a node per value or key in the order of the text.
 *           Afterwards the size of the result is known exactly.
 *   build   makes the values in reserved space; it never collects.
 *
 *      nosi_json_begin(&j, s, n);
 *      while ((st = nosi_json_scan(&j, bytes)) == JSON_MORE) ...;
 *      if (st == JSON_BAD) ... nosi_json_error(&j, &out);
 *      nosi_json_reserve(&j, heap), then, as soon as the text may have moved, nosi_json_text_at
 *      while ((st = nosi_json_build(&j, heap, bytes)) == JSON_MORE) ...;
 *      ... j.result ...;  nosi_json_end(&j);
 *
 * Rules: keys keep their order and may repeat; integers that fit 64 bits become Integer, all other
 * numbers Number; an escape that is half of a surrogate pair becomes U+FFFD. */
#ifndef NOSI_JSON_PARSE_H
#define NOSI_JSON_PARSE_H

#include "vm/heap/heap.h"
#include "vm/util/strbuf.h"
#include "vm/value/shape.h"

typedef enum JsonStatus { JSON_MORE, JSON_DONE, JSON_BAD, JSON_NOMEM } JsonStatus;

typedef union JsonNode JsonNode;
typedef struct JsonOpen JsonOpen;
typedef struct JsonKey JsonKey;

typedef struct JsonParse {
    const char *s;     // borrowed: valid UTF-8
    size_t n, at;      // bytes; how far the scan has come
    int state;         // what may come next (json_parse.c)
    const char *error; // after JSON_BAD: what is wrong at `at`
    struct {           // a string that is being scanned
        size_t start, bytes;
        bool key, open, escaped;
    } str;
    JsonNode **tape; // in segments, so that no step copies all of it; owned
    size_t n_nodes, n_segments, cap_segments;
    JsonOpen *open; // containers around the next value; owned
    size_t depth, cap_open;
    size_t words, bytes; // of the result: in the heap, and in the blobs of long strings
    JsonKey *keys;       // keys that were seen; owned
    size_t next;         // build: the next node
    struct {             // build: a long string that is being copied
        StrBlob *blob;   // owned
        size_t from, to, chars;
    } copy;
    Value result;
    Value *slot; // build: where the next value goes
} JsonParse;

void nosi_json_begin(JsonParse *j, const char *s, size_t n);
/* Goes on for about `bytes` bytes of text. JSON_MORE, JSON_DONE or JSON_BAD. */
JsonStatus nosi_json_scan(JsonParse *j, size_t bytes);
/* After JSON_DONE: room for the whole result. May collect; false: out of memory. */
bool nosi_json_reserve(JsonParse *j, Heap *h);
/* The text lies there now. */
void nosi_json_text_at(JsonParse *j, const char *s);
/* Goes on for about `bytes` bytes. JSON_MORE, JSON_DONE (j->result) or JSON_NOMEM. */
JsonStatus nosi_json_build(JsonParse *j, Heap *h, size_t bytes);
/* "unexpected character at line 2, column 5": appends what is wrong and where, in characters. */
void nosi_json_error(const JsonParse *j, StrBuf *out);
void nosi_json_end(JsonParse *j); // at any time

#endif
