/* payload.h -- text and bytes on their way out of a heap, and into one. */
#ifndef NOSI_PAYLOAD_H
#define NOSI_PAYLOAD_H

#include "sched/proc.h"
#include "vm/data/bytes.h"

/* What a String or Bytes holds, for as long as an operation needs it, whatever becomes of the
 * process. */
typedef struct Payload {
    const char *data;
    size_t n;
    StrBlob *held; // counted, or NULL
    char *copied;  // owned, or NULL
} Payload;

bool nosi_payload_take(Proc *p, Payload *out, Value v); // false after raising TypeError
void nosi_payload_free(Payload *l);

/* How many of the first n bytes are whole characters: an incomplete one at the end does not count.
 */
size_t nosi_whole_chars(const char *s, size_t n);
/* Bytes, or a String in which malformed sequences are U+FFFD; raises when memory runs out. s is
 * outside of heaps. */
Value nosi_payload_value(Proc *p, const char *s, size_t n, bool want_bytes);
/* A String argument as a C string, owned; NULL after raising. `what` names it in the message about
 * a NUL character. */
char *nosi_cstr_arg(Proc *p, Value v, const char *what);

#endif
