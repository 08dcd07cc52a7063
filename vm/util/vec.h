/* vec.h -- growable arrays of any type.
 *
 *   VEC(int) xs = {0};  vec_push(&xs, 3);  xs.at[0];  xs.n;  vec_free(&xs);
 *
 * Elements may move when the vector grows: keep indices, not pointers, across a push. */
#ifndef NOSI_VEC_H
#define NOSI_VEC_H

#include <stddef.h>
#include <stdint.h>

#include "vm/util/alloc.h"

#define VEC(T)           \
    struct {             \
        T *at;           \
        uint32_t n, cap; \
    }

#define vec_reserve(v, extra)                                                          \
    ((v)->n + (extra) > (v)->cap                                                       \
         ? (void)((v)->cap = nosi_vec_capacity((v)->cap, (v)->n + (uint32_t)(extra)),  \
                  (v)->at = nosi_realloc((v)->at, (size_t)(v)->cap * sizeof *(v)->at)) \
         : (void)0)
#define vec_push(v, x) (vec_reserve((v), 1), (void)((v)->at[(v)->n++] = (x)))
#define vec_add(v) \
    (vec_reserve((v), 1), &(v)->at[(v)->n++]) /* pointer to the new, uninitialised element */
/* Gives back what is more than the elements need. */
#define vec_fit(v)                                                                                 \
    ((v)->n < (v)->cap ? (void)((v)->at = nosi_realloc((v)->at, (size_t)(v)->n * sizeof *(v)->at), \
                                (v)->cap = (v)->n)                                                 \
                       : (void)0)
#define vec_pop(v)  ((v)->at[--(v)->n])
#define vec_last(v) ((v)->at[(v)->n - 1])
#define vec_free(v) (nosi_free((v)->at), (void)((v)->at = NULL, (v)->n = (v)->cap = 0))
#define VEC_EACH(T, it, v) \
    for (__typeof__(T) *it = (v)->at, *it##_end = it ? it + (v)->n : it; it != it##_end; it++)

static inline uint32_t nosi_vec_capacity(uint32_t cap, uint32_t need)
{
    uint32_t c = cap ? cap : 8;
    while (c < need)
        c = c < (1u << 30) ? c * 2 : need;
    return c;
}

#endif
