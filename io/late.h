/* late.h -- libraries that are loaded when they are first needed.
 *
 * libcurl, libpq and OpenSSL bring about thirty other libraries with them: to load and relocate
 * them takes longer than everything else a short program does. So they are not linked. Each
 * function of theirs that io/ calls stands in late.def, and is a jump through a slot that is filled
 * when the library is loaded: io/ includes the library's own headers and calls it as if it were
 * linked. On machines we have no jump for, they are linked as usual and loading does nothing. */
#ifndef NOSI_LATE_H
#define NOSI_LATE_H

#include <stdbool.h>

typedef enum LateLibrary { LATE_CURL, LATE_PQ, LATE_TLS, N_LATE_LIBRARIES } LateLibrary;

/* Must have succeeded before the first call of a function of the library; any thread, any number of
 * times. The first time takes some milliseconds. NULL, or an owned text that says why the library
 * cannot be had (missing, too old, no file descriptor left): the next time tries again. */
char *nosi_late_load(LateLibrary l);
bool nosi_late_is_loaded(LateLibrary l); // does not wait for who is loading it

#endif
