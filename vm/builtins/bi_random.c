/* bi_random.c -- Random. Every process has its own sequence, started from the run's seed and the
 * process's number, so that a seeded run gives each process the same numbers again whatever the
 * scheduler does. */
#include "vm/builtins/bi.h"

#include <errno.h>
#include <sys/random.h>

#include "vm/builtins/builtins.h"

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

Value nosi_bi_random_choice(Proc *p, Value *args)
{
    Value v = VALUE_UNIT;
    WANT_LIST(0);
    ListCursor *cursor = nosi_list_cursor(p);
    size_t n = nosi_list_length(&p->heap, cursor, args[0]);
    if (n == 0)
        return nosi_panic(p, "Cannot choose from empty list");
    nosi_list_nth(&p->heap, cursor, args[0], (int64_t)below(p, n), &v);
    return v;
}

Value nosi_bi_random_shuffle(Proc *p, Value *args)
{
    Value v;
    WANT_LIST(0);
    size_t n = nosi_list_length(&p->heap, nosi_list_cursor(p), args[0]);
    Value *a = nosi_alloc((n + 1) * sizeof *a);
    nosi_list_to_array(args[0], a, n);
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)below(p, i);
        Value t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
    ROOT_ARRAY(&p->heap, a, n);
    bool ok = nosi_list_from_array(&p->heap, a, n, VALUE_NIL, &v);
    UNROOT(&p->heap);
    nosi_free(a);
    return OK_OR_NOMEM(ok, v);
}

Value nosi_bi_random_bytes(Proc *p, Value *args)
{
    WANT_INT(0);
    int64_t n = value_int(args[0]);
    if (n < 0)
        return nosi_panic(p, "Random.bytes: negative count");
    if (n > INT32_MAX)
        return nosi_out_of_memory(p);
    unsigned char *bytes = nosi_alloc((size_t)n + 1);
    for (size_t done = 0; done < (size_t)n;) {
        ssize_t got = getrandom(bytes + done, (size_t)n - done, 0);
        if (got < 0 && errno != EINTR) {
            nosi_free(bytes);
            return nosi_panic(p, "Random.bytes: no random source");
        }
        done += got > 0 ? (size_t)got : 0;
    }
    Value list = VALUE_NIL;
    bool ok = nosi_reserve(p, (size_t)n * CONS_WORDS);
    for (size_t i = (size_t)n; ok && i-- > 0;)
        list = nosi_cons_nogc(&p->heap, value_small(bytes[i]), list);
    nosi_free(bytes);
    return ok ? list : VALUE_THROWN;
}
