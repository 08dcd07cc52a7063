/* bytecode.c -- the table of opcodes and the registry of functions. */
#include "vm/bytecode/bytecode.h"

#include <pthread.h>
#include <stdatomic.h>

#include "vm/util/vec.h"

const OpInfo nosi_op_info[OP__COUNT] = {
#define OP(name, fmt, a, b, c, fx, text) \
    [OP_##name] = {#name, text, FMT_##fmt, ROLE_##a, ROLE_##b, ROLE_##c, fx},
#include "vm/bytecode/opcodes.def"
#undef OP
};

static pthread_mutex_t funcs_mutex = PTHREAD_MUTEX_INITIALIZER;
static VEC(FuncCell *) funcs; // under funcs_mutex; cells live for ever

FuncCell *nosi_func_declare(Name name)
{
    FuncCell *cell = nosi_calloc(1, sizeof *cell);
    cell->name = name;
    pthread_mutex_lock(&funcs_mutex);
    cell->id = funcs.n;
    vec_push(&funcs, cell);
    pthread_mutex_unlock(&funcs_mutex);
    return cell;
}

void (*nosi_redefined_hook)(const Func *old);

void nosi_func_publish(FuncCell *cell, Func *f)
{
    const Func *old = atomic_load_explicit(&cell->current, memory_order_relaxed);
    f->cell = cell;
    // Release pairs with the acquire loads at calls: who sees the function sees its code. An older
    // version stays where it is: frames, traces and machine code may refer to it for ever.
    atomic_store_explicit(&cell->current, f, memory_order_release);
    if (old && nosi_redefined_hook)
        nosi_redefined_hook(old);
}

uint32_t nosi_n_funcs(void)
{
    pthread_mutex_lock(&funcs_mutex);
    uint32_t n = funcs.n;
    pthread_mutex_unlock(&funcs_mutex);
    return n;
}

FuncCell *nosi_func_by_id(uint32_t id)
{
    pthread_mutex_lock(&funcs_mutex);
    FuncCell *cell = id < funcs.n ? funcs.at[id] : NULL;
    pthread_mutex_unlock(&funcs_mutex);
    return cell;
}

uint32_t nosi_func_line(const Func *f, uint32_t pc)
{
    uint32_t lo = 0, hi = f->n_lines; // the last entry whose pc is not beyond ours
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (f->lines[mid].pc <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? f->lines[lo - 1].line : 0;
}
