/* unicode.h -- classes of characters and case mapping. Every argument is a Unicode scalar. */
#ifndef NOSI_UNICODE_H
#define NOSI_UNICODE_H

#include <stdint.h>

#include "vm/util/platform.h"

bool nosi_unicode_is_alpha(uint32_t c); // a letter
bool nosi_unicode_is_upper(uint32_t c);
bool nosi_unicode_is_lower(uint32_t c);
bool nosi_unicode_is_space(uint32_t c); // White_Space

/* The mapping to one character; c itself when there is none. */
uint32_t nosi_unicode_to_upper(uint32_t c);
uint32_t nosi_unicode_to_lower(uint32_t c);
/* The full mapping ("ß" -> "SS"): how many characters it gives, 1..3. */
int nosi_unicode_upper(uint32_t c, uint32_t out[3]);

#endif
