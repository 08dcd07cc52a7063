/* fifo.h -- singly linked queues: a struct with `first` and `last`, nodes with `next`. Empty: both
 * NULL. The queue and the nodes belong to the caller. */
#ifndef NOSI_FIFO_H
#define NOSI_FIFO_H

#include <stddef.h>

#define FIFO_APPEND(q, node)                        \
    do {                                            \
        __typeof__((q)->first) fifo_node_ = (node); \
        fifo_node_->next = NULL;                    \
        if ((q)->last)                              \
            (q)->last->next = fifo_node_;           \
        else                                        \
            (q)->first = fifo_node_;                \
        (q)->last = fifo_node_;                     \
    } while (0)

/* node is in q. Takes time in proportion to what is before it. */
#define FIFO_REMOVE(q, node)                                                          \
    do {                                                                              \
        __typeof__((q)->first) fifo_node_ = (node), fifo_before_ = NULL;              \
        for (__typeof__((q)->first) i_ = (q)->first; i_ != fifo_node_; i_ = i_->next) \
            fifo_before_ = i_;                                                        \
        if (fifo_before_)                                                             \
            fifo_before_->next = fifo_node_->next;                                    \
        else                                                                          \
            (q)->first = fifo_node_->next;                                            \
        if ((q)->last == fifo_node_)                                                  \
            (q)->last = fifo_before_;                                                 \
        fifo_node_->next = NULL;                                                      \
    } while (0)

#endif
