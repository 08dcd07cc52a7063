/* intern.h -- names: every distinct spelling exists once, so names compare by pointer.
 *
 * One table per VM process, filled by the front end and by the loader. Thread safe (a mutex;
 * interning is never on a hot path). Names live until the OS process ends. */
#ifndef NOSI_INTERN_H
#define NOSI_INTERN_H

#include <stddef.h>

typedef const char *Name; // interned: equal spellings are equal pointers

Name nosi_intern(const char *s, size_t n);
Name nosi_intern_cstr(const char *s);

#endif
