/* stack.h -- how deep native recursion may go on this thread.
 *
 * Recursion over what a user has written is bounded by limits of the parser. Where it follows
 * references instead (a definition that names another that names another ...), the length of the
 * way has no natural limit, and this test turns the end of the stack into an error message. */
#ifndef NOSI_STACK_H
#define NOSI_STACK_H

#include <stdbool.h>

/* Less than 1 MiB (or an eighth of it) is left of the calling thread's stack. A few nanoseconds. */
bool nosi_stack_is_low(void);

#endif
