/* embed.h -- the standard library's source text, embedded into the binary by scripts/embed.py. */
#ifndef NOSI_EMBED_H
#define NOSI_EMBED_H

#include <stddef.h>
#include <stdint.h>

typedef struct NosiEmbeddedFile {
    const char *module; // "stdlib.list"
    const char *text;   // NUL-terminated
    size_t size;
} NosiEmbeddedFile;

extern const NosiEmbeddedFile nosi_embedded_lib[];
extern const uint32_t nosi_n_embedded_lib;

#endif
