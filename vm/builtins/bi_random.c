/* bi_random.c -- Random. Every process has its own sequence, started from the run's seed and the
 * process's number, so that a seeded run gives each process the same numbers again whatever the
 * scheduler does. */
#include "vm/builtins/bi.h"

#include <errno.h>
#include <sys/random.h>

#include "vm/builtins/builtins.h"
#include "vm/interp/longlist.h"

static uint64_t mix(uint64_t x) // splitmix64
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint64_t next(Proc *p)
{
    uint64_t *state = &nosi_proc_extra(p)->random;
    if (*state == 0)
        *state = mix(nosi_random_seed ^ mix(p->serial)) | 1;
    *state += 0x9E3779B97F4A7C15u;
    if (*state == 0) // means "not seeded"
        *state = 0x9E3779B97F4A7C15u;
    return mix(*state);
}

/* Uniform in 0 .. n-1; n > 0. */
static uint64_t below(Proc *p, uint64_t n)
{
    uint64_t reject =
        -n % n; // 2^64 mod n: the low products that would make some results more likely
    for (;;) {
        unsigned __int128 product = (unsigned __int128)next(p) * n;
        if ((uint64_t)product >= reject)
            return (uint64_t)(product >> 64);
    }
}

Value nosi_bi_random_seed(Proc *p, Value *args)
{
    WANT_INT(0);
    nosi_proc_extra(p)->random = mix((uint64_t)value_int(args[0])) | 1;
    return VALUE_UNIT;
}

Value nosi_bi_random_int(Proc *p, Value *args)
{
    WANT_INT(0);
    WANT_INT(1);
    int64_t low = value_int(args[0]), high = value_int(args[1]);
    if (low > high)
        return nosi_panic(p, "Random.int: empty range");
    uint64_t n = (uint64_t)high - (uint64_t)low + 1; // 0: all 2^64
    return bi_int(p, (int64_t)((uint64_t)low + (n ? below(p, n) : next(p))));
}

Value nosi_bi_random_float(Proc *p, Value *args)
{
    (void)args;
    return bi_float(p, (double)(next(p) >> 11) * 0x1p-53);
}

Value nosi_bi_random_bool(Proc *p, Value *args)
{
    (void)args;
    return value_bool(next(p) >> 63);
}

/* Lists in steps: choice and shuffle. */
typedef struct ListOp {
    LongOp op; // root[0]: what is left of the list, root[1]: the list
    size_t n, i;
    Value *items; // owned
    enum { COUNTING, CHOOSING, COLLECTING, SHUFFLING, MAKING } phase;
    bool choice;
} ListOp;

static void list_drop(LongOp *op)
{
    nosi_free(((ListOp *)op)->items);
}

static Value list_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    do {
        Value x = op->root[0];
        uint32_t most = nosi_long_chunk, k = 0;
        switch (o->phase) {
        case COUNTING:
            for (; k < most && value_is_cons(x); k++)
                x = value_tail(x);
            o->n += k;
            op->root[0] = x;
            if (value_is_cons(x))
                break;
            op->root[0] = op->root[1];
            if (o->n == 0)
                return o->choice ? nosi_panic(p, "Cannot choose from empty list") : VALUE_NIL;
            o->phase = o->choice ? CHOOSING : COLLECTING;
            if (o->choice)
                o->i = (size_t)below(p, o->n);
            else
                o->items = nosi_alloc(o->n * sizeof *o->items);
            break;
        case CHOOSING:
            for (; k < most && o->i; k++, o->i--)
                x = value_tail(x);
            op->root[0] = x;
            if (o->i == 0)
                return value_head(x);
            break;
        case COLLECTING:
            for (; k < most && value_is_cons(x); k++, x = value_tail(x))
                o->items[o->i++] = value_head(x);
            op->root[0] = x;
            if (!value_is_cons(x))
                o->phase = SHUFFLING;
            break;
        case SHUFFLING: // i elements are not placed yet
            for (; k < most / 2 && o->i > 1; k++, o->i--) {
                size_t j = (size_t)below(p, o->i);
                Value t = o->items[o->i - 1];
                o->items[o->i - 1] = o->items[j];
                o->items[j] = t;
            }
            if (o->i > 1)
                break;
            o->phase = MAKING;
            op->more.slots = o->items;
            op->more.n = o->n;
            op->movable = true;
            op->root[LONG_ROOTS - 1] = VALUE_NIL;
            o->i = o->n;
            break;
        case MAKING:
            return nosi_long_from_array(p, op, o->items, &o->i);
        }
    } while (!nosi_long_pause(p, nosi_long_chunk));
    return VALUE_YIELD;
}

static Value over_list(Proc *p, Value list, bool choice)
{
    ListOp o = {.op = {.step = list_step, .drop = list_drop, .root = {list, list}},
                .choice = choice};
    return nosi_long_run(p, &o.op, sizeof o);
}

Value nosi_bi_random_choice(Proc *p, Value *args)
{
    WANT_LIST(0);
    return over_list(p, args[0], true);
}

Value nosi_bi_random_shuffle(Proc *p, Value *args)
{
    WANT_LIST(0);
    return over_list(p, args[0], false);
}

typedef struct BytesOp {
    LongOp op; // root[0]: the list
    size_t n;  // bytes to come
} BytesOp;

static Value bytes_step(Proc *p, LongOp *op)
{
    BytesOp *o = (BytesOp *)op;
    unsigned char bytes[256]; // getrandom gives so many at once, or fails
    while (o->n) {
        size_t k = NOS_MIN(NOS_MIN(o->n, (size_t)nosi_long_chunk), sizeof bytes);
        ssize_t got;
        while ((got = getrandom(bytes, k, 0)) < 0 && errno == EINTR)
            ;
        if (got < (ssize_t)k)
            return nosi_panic(p, "Random.bytes: no random source");
        if (!nosi_reserve(p, k * CONS_WORDS))
            return VALUE_THROWN;
        for (size_t i = 0; i < k; i++)
            op->root[0] = nosi_cons_nogc(&p->heap, value_small(bytes[i]), op->root[0]);
        o->n -= k;
        if (nosi_long_pause(p, (uint32_t)k) && o->n)
            return VALUE_YIELD;
    }
    return op->root[0];
}

Value nosi_bi_random_bytes(Proc *p, Value *args)
{
    WANT_INT(0);
    int64_t n = value_int(args[0]);
    if (n < 0)
        return nosi_panic(p, "Random.bytes: negative count");
    if (n > INT32_MAX)
        return nosi_out_of_memory(p);
    BytesOp o = {.op = {.step = bytes_step, .movable = true, .root = {VALUE_NIL}}, .n = (size_t)n};
    return nosi_long_run(p, &o.op, sizeof o);
}
