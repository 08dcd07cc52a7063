/* string.h -- Strings: immutable UTF-8 text.
 *
 * Canonical representation: fewer than 64 bytes is a STRING (bytes inside the heap, zero padded, so
 * equal strings have equal words), 64 bytes or more is an LSTRING (a view of a shared StrBlob). No
 * other form exists; a short and a long string are never equal. Both know their number of code
 * points; when it equals the number of bytes the text is ASCII and indexing is O(1).
 *
 * Functions with a Heap may collect; they return false when memory ran out (the caller raises
 * OutOfMemory) and protect their own Value arguments. `out` may be anything, also an argument.
 * Functions without a Heap never collect. C bytes passed in must not lie in the heap (a view of a
 * short string does): use the Value forms for that. */
#ifndef NOSI_STRING_H
#define NOSI_STRING_H

#include "vm/heap/blob.h"
#include "vm/heap/heap.h"
#include "vm/util/strbuf.h"

enum { STRING_SHORT_MAX = 63 }; // bytes of the longest STRING
enum {
    STRING_MAX_WORDS = 2 + 8
}; // words (with header) that any one string takes in the heap, at most

NOS_INLINE bool value_is_string(Value v)
{
    return value_is_object(v) &&
           (obj_kind(value_obj(v)) == OBJ_STRING || obj_kind(value_obj(v)) == OBJ_LSTRING);
}

/* ---- looking
 * -------------------------------------------------------------------------------------------------
 */

/* Borrows the bytes (not NUL-terminated). Valid until the next reserve. */
void nosi_string_view(Value s, const char **bytes, size_t *n);
size_t nosi_string_byte_length(Value s);
size_t nosi_string_length(Value s); // code points
NOS_INLINE bool nosi_string_is_ascii(Value s)
{
    return nosi_string_length(s) == nosi_string_byte_length(s);
}
bool nosi_string_equal(Value a, Value b);
bool nosi_string_equal_bytes(Value s, const char *bytes, size_t n);
int nosi_string_compare(Value a, Value b); // -1, 0, 1: bytewise, which is by code point
uint64_t nosi_string_hash(Value s); // seeded (nosi_hash_seed); cached in long strings. Never 0
/* Byte offset of the code point `index`; the byte length when index is at or past the end. */
size_t nosi_string_offset(Value s, size_t index);
/* Code-point index of a byte offset. */
size_t nosi_string_index(Value s, size_t offset);
/* The code point at an index; false when out of range. */
bool nosi_string_code_at(Value s, int64_t index, uint32_t *out);
/* First occurrence at or after byte offset `from` / last occurrence: byte offset, or -1. "" is
 * found at `from` / at the end. */
int64_t nosi_string_find(Value s, Value sub, size_t from);
int64_t nosi_string_find_last(Value s, Value sub);
bool nosi_string_starts_with(Value s, Value prefix);
bool nosi_string_ends_with(Value s, Value suffix);
/* NUL-terminated copy for system calls; false when the text contains a NUL (a prefix is given
 * then). */
bool nosi_string_copy_cstr(Value s, StrBuf *out);
/* The same for raw bytes: memmem that is linear whatever the pattern. Offset or -1. */
int64_t nosi_bytes_find(const char *s, size_t n, const char *sub, size_t m, size_t from);

/* ---- making
 * --------------------------------------------------------------------------------------------------
 */

bool nosi_string_new(Heap *h, const char *s, size_t n, Value *out); // s is valid UTF-8
bool nosi_string_cstr(Heap *h, const char *s, Value *out);
bool nosi_string_printf(Heap *h, Value *out, const char *fmt, ...) NOS_PRINTF(3, 4);
typedef enum { STR_OK, STR_INVALID, STR_NOMEM } StrStatus;
/* Validates; on STR_INVALID *bad (may be NULL) is the offset of the first malformed byte. */
StrStatus nosi_string_checked(Heap *h, const char *s, size_t n, size_t *bad, Value *out);
/* Malformed sequences become U+FFFD. */
bool nosi_string_lossy(Heap *h, const char *s, size_t n, Value *out);
/* Takes one reference to a blob (in every case) and makes its first n bytes a string without
 * copying, when n >= 64. The bytes are validated. For big file reads: fill b->bytes, set b->used,
 * then this. */
StrStatus nosi_string_from_blob(Heap *h, StrBlob *b, size_t n, size_t *bad, Value *out);
/* The same for bytes that are known to be valid and to be `chars` code points. */
bool nosi_string_of_blob(Heap *h, StrBlob *b, size_t n, size_t chars, Value *out);
/* The n >= 64 bytes at `offset`; `charge`: bytes this handle accounts for. Takes one reference. */
bool nosi_string_at_blob(Heap *h, StrBlob *b, size_t offset, size_t n, size_t chars, size_t charge,
                         Value *out);
/* Short text into space that is already reserved: at most STRING_MAX_WORDS words. n <=
 * STRING_SHORT_MAX. */
Value nosi_string_short_nogc(Heap *h, const char *s, size_t n);
/* A string of all n >= 64 bytes of b, which are `chars` code points: LSTRING_WORDS + 1 words. Takes
 * one reference. */
Value nosi_string_long_nogc(Heap *h, StrBlob *b, size_t n, size_t chars);
/* Decimal digits of an Int: at most STRING_INT_WORDS words. */
enum { STRING_INT_DIGITS = 20, STRING_INT_WORDS = 2 + 3 };
Value nosi_string_of_int_nogc(Heap *h, int64_t i);
/* String of one code point: at most STRING_ONE_WORDS words. */
enum { STRING_ONE_WORDS = 3 };
Value nosi_string_of_char_nogc(Heap *h, uint32_t c);

/* a ++ b. Amortised O(bytes of b) when a is the newest view of its blob. */
bool nosi_string_concat(Heap *h, Value a, Value b, Value *out);
/* All of parts[0..n), which must be roots (registers, ROOT_ARRAY) and all Strings; one pass. */
bool nosi_string_concat_n(Heap *h, const Value *parts, size_t n, Value *out);
/* The same where only the parts behind the first one have to be copied: the first one is the newest
 * view of its blob, which has room. False: it is not, or there is no memory for the handle. `own`:
 * as nosi_string_append_own. */
bool nosi_string_append_in_place(Heap *h, const Value *parts, size_t n, bool own, Value *out);
/* ---- texts that grow
 *
 * `s = s ++ t` where nobody else has s (vm/compile/own.c): its handle, which is marked OBJ_OWNED,
 * is extended instead of making another one. Marked handles come from here only. Whoever gets one
 * may use it as any other String; who wants to own it needs a handle of his own first
 * (nosi_string_disown). What the functions above give is never marked: where it would be one of
 * their arguments, it is another handle. */
NOS_INLINE bool nosi_string_is_own(Value s)
{
    const uint64_t mark = OBJ_HEADER(OBJ_LSTRING, 0, 0) | (uint64_t)OBJ_OWNED << 3;
    return value_is_object(s) && (value_obj(s)->header & 0xFFFF) == mark;
}
/* The same text, which nobody extends. */
bool nosi_string_disown(Heap *h, Value s, Value *out);
/* nosi_string_concat_n that may extend parts[0], and gives an own handle if the text is long. */
bool nosi_string_append_own(Heap *h, const Value *parts, size_t n, Value *out);
/* The quick way of that: extends s, which is own, by parts, at most STRING_EXTEND_MAX bytes; those
 * may also be small Ints, of which the text is taken. False: they are more, or no Strings, or it
 * takes memory or a collection; nothing was done. Never collects. */
enum { STRING_EXTEND_MAX = 1 << 10 };
bool nosi_string_extend_nogc(Heap *h, Value s, const Value *parts, size_t n);
/* s, which is own, is now the n bytes at `offset` of b. Takes one reference. Never collects. */
void nosi_string_rebase_nogc(Heap *h, Value s, StrBlob *b, size_t offset, size_t n, size_t chars);
/* A new handle, which nobody has yet, becomes own. */
NOS_INLINE void nosi_string_mark_own(Value s)
{
    if (value_is_kind(s, OBJ_LSTRING))
        value_obj(s)->header |= (uint64_t)OBJ_OWNED << 3;
}

/* Bytes [from, to) of s; both are code-point boundaries. O(1) for long results (shares), short ones
 * are copied. */
bool nosi_string_slice(Heap *h, Value s, size_t from, size_t to, Value *out);
/* Code points a .. b-1, both clamped to [0, length]; a >= b gives "". */
bool nosi_string_substring(Heap *h, Value s, int64_t a, int64_t b, Value *out);
/* How many characters the native `__someChars` gives at most: those of a piece of a pipeline. */
enum { STRING_SOME_CHARS = 128 };
/* One-character String at index (the caller has checked the range: index < length). */
bool nosi_string_at(Heap *h, Value s, size_t index, Value *out);

#endif
