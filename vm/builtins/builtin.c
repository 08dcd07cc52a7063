/* builtin.c -- the table of natives and the look-up by name and arity. */
#include "vm/builtins/bi.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "vm/builtins/builtins.h"
#include "vm/util/hashmap.h"

enum {
#define BUILTIN(...) +1
    N_BUILTINS = 0
#include "vm/builtins/builtins.def"
#undef BUILTIN
};

static Builtin table[N_BUILTINS] = {
#define BUILTIN(c_name, name, n, signature, effects, doc) \
    {name, signature, n, effects, doc, nosi_bi_##c_name},
#include "vm/builtins/builtins.def"
#undef BUILTIN
};

const Builtin *const nosi_builtins = table;
const uint32_t nosi_n_builtins = N_BUILTINS;
uint64_t nosi_random_seed;

static HashMap first_of_name;          // Name -> first row of that name
static Builtin *next_same[N_BUILTINS]; // by row: another one of the same name

static const char *native_name(const Builtin *b)
{
    return b->name;
}

void nosi_builtins_init(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    for (uint32_t i = N_BUILTINS; i-- > 0;) {
        Builtin *b = &table[i];
        b->name = nosi_intern_cstr(b->name);
        next_same[i] = nosi_hashmap_get(&first_of_name, b->name);
        nosi_hashmap_put(&first_of_name, b->name, b);
    }
    nosi_native_name_hook = native_name;
    if (getrandom(&nosi_random_seed, sizeof nosi_random_seed, 0) != sizeof nosi_random_seed)
        nosi_random_seed = (uint64_t)getpid() * 0x9E3779B97F4A7C15u;
    setvbuf(stdout, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, 1 << 16);
}

const Builtin *nosi_builtin_find(Name name, uint32_t n_params)
{
    Builtin *b = nosi_hashmap_get(&first_of_name, name);
    while (b && b->n_params != n_params)
        b = next_same[b - table];
    return b;
}
