/* entry.h -- the entry for boxed arguments of a function that has machine code.
 *
 * (Value *args) -> (Value, status), with r15 as everywhere: unboxes the arguments as the signature
 * says, calls what the link's `entry` is at that time, and boxes the result. When an argument is of
 * another kind or the link has no entry it goes on with the link's `next`, if there is one, and
 * declines otherwise, before it has changed anything. Boxed
 * arguments are cleared where they were: the callee keeps alive what it needs. */
#ifndef NOSI_ENTRY_H
#define NOSI_ENTRY_H

#include "jit/ir.h"

/* x86-64 code, which can stand anywhere. Made without MIR, which would take as long for it as for a
 * small function. */
typedef struct EntryCode {
    size_t n;
    uint8_t at[4096];
} EntryCode;
void nosi_entry_make(EntryCode *c, const JitFunc *link);

#endif
