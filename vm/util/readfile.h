/* readfile.h -- whole files, for the front end and for tools: it blocks. */
#ifndef NOSI_READFILE_H
#define NOSI_READFILE_H

#include <stddef.h>

/* Gives NUL-terminated memory; NULL with errno: it could not. */
char *nosi_read_file(const char *path, size_t *n);

#endif
