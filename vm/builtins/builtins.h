/* builtins.h -- what the VM tells the library at start. */
#ifndef NOSI_BUILTINS_H
#define NOSI_BUILTINS_H

#include <stdint.h>

/* The program's arguments, for Env.args. Borrowed for ever. */
void nosi_builtins_set_args(const char *const *args, uint32_t n);

/* What every process's random numbers start from; set once before any program runs (decision 27).
 * nosi_builtins_init takes it from the OS. */
extern uint64_t nosi_random_seed;

/* Writes what println has buffered. */
void nosi_stdout_flush(void);

#endif
