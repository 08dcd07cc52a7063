/* jit.c -- what is compiled, when and by whom: requests, the compile thread, publication. */
#include "jit/jit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jit/ahead.h"
#include "jit/code.h"
#include "jit/dump.h"
#include "jit/enter.h"
#include "jit/gdb.h"
#include "jit/record.h"
#include "sched/quiet.h"
#include "vm/interp/frame.h"
#include "vm/interp/interp.h"
#include "vm/interp/machine.h"
#include "vm/util/alloc.h"

typedef struct Request {
    struct Request *next;
    Func *f;
    uint32_t osr_pc;
    uint32_t *classes; // owned
    FuncCell **cells;  // owned
    bool is_ahead;     // made by look_ahead
} Request;

NosiJit nosi_jit = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static Request *first, **last = &first; // the queue; under the lock
static VEC(Request *) ahead;            // what nobody has asked for yet; under the lock
static unsigned n_users;                // VMs

static Record *record_of(const Func *f) // under the lock
{
    Record *r = __atomic_load_n((Record *const *)(const void *)&f->jit, __ATOMIC_ACQUIRE);
    if (r)
        return r;
    r = nosi_calloc(1, sizeof *r);
    r->link.f = f;
    r->is_wide = !nosi_signature(f, &r->link.sig);
    vec_push(&nosi_jit.records, r);
    __atomic_store_n((Record **)(uintptr_t)&f->jit, r, __ATOMIC_RELEASE);
    return r;
}

JitFunc *nosi_jit_func(const Func *f)
{
    pthread_mutex_lock(&nosi_jit.lock);
    Record *r = record_of(f);
    pthread_mutex_unlock(&nosi_jit.lock);
    return r->is_wide ? NULL : &r->link;
}

/* ---- freeing --------------------------------------------------------------------------------- */

/* What cannot be found any more, but may be in use by a slice that runs. */
typedef struct Retired {
    uint64_t stamp;
    JitCode *code;   // owned; or
    OsrTable *loops; // owned
} Retired;
static VEC(Retired) retired; // under the lock, oldest first

static void free_retired(bool all) // under the lock
{
    uint32_t n = 0;
    while (n < retired.n && (all || nosi_quiet_over(retired.at[n].stamp))) {
        Retired *it = &retired.at[n++];
        if (it->code) {
            nosi_jit.code_bytes -= it->code->bytes;
            nosi_jit.n_freed++;
            for (uint32_t k = 0; k < it->code->exits.n; k++)
                nosi_jit.freed_exits[it->code->exits.at[k]->kind] +=
                    exit_hits(it->code->exits.at[k]);
            nosi_gdb_unregister(it->code);
            nosi_jit_code_free(it->code);
        }
        nosi_free(it->loops);
    }
    if (n)
        memmove(retired.at, retired.at + n, (retired.n -= n) * sizeof *retired.at);
}

void nosi_jit_reclaim(void)
{
    free_retired(false);
}

/* ---- redefinition ---------------------------------------------------------------------------- */

static bool is_current(const JitCode *c)
{
    VEC_EACH (const Func *, f, &c->depends)
        if (cell_func((*f)->cell) != *f)
            return false;
    return cell_func(c->f->cell) == c->f;
}

/* Under the lock: the function may be compiled again. */
static void forget_requests(Record *r)
{
    Func *f = (Func *)(uintptr_t)r->link.f;
    r->call_asked = false;
    r->loops_asked.n = 0;
    __atomic_store_n(&f->n_calls, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&f->n_loops, 0, __ATOMIC_RELAXED);
}

static void withdraw(Record *r) // under the lock
{
    Func *f = (Func *)(uintptr_t)r->link.f;
    __atomic_store_n(&r->link.entry, NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&f->entry, NULL, __ATOMIC_RELEASE);
    OsrTable *loops = __atomic_exchange_n(&f->osr, NULL, __ATOMIC_ACQ_REL);
    uint64_t stamp = nosi_quiet_begin();
    if (loops)
        vec_push(&retired, ((Retired){stamp, NULL, loops}));
    while (r->codes.n) {
        JitCode *c = vec_pop(&r->codes);
        c->is_void = true;
        r->n_withdrawn++;
        nosi_jit.n_withdrawn++;
        vec_push(&retired, ((Retired){stamp, c, NULL}));
    }
    forget_requests(r);
}

/* Code that inlined or calls the old version is not entered any more. Who is in it leaves it at its
 * next call of what was withdrawn, or goes on with the old version as the interpreter does with a
 * frame of it. */
static void on_redefined(const Func *old)
{
    pthread_mutex_lock(&nosi_jit.lock);
    VEC_EACH (Record *, it, &nosi_jit.records) {
        Record *r = *it;
        bool hit = r->link.f == old;
        for (uint32_t k = 0; k < r->codes.n && !hit; k++)
            for (uint32_t d = 0; d < r->codes.at[k]->depends.n && !hit; d++)
                hit = r->codes.at[k]->depends.at[d] == old;
        if (hit)
            withdraw(r);
    }
    free_retired(false);
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* Guards of the code fail all the time: it is made anew, with fewer expectations. False: it has
 * none. Under the lock. */
static bool make_cautious(const JitCode *code)
{
    Record *r = record_of(code->f);
    if (code->is_void)
        return true;
    if (r->cautious)
        return false;
    r->cautious = true;
    withdraw(r);
    return true;
}

static void on_thrash(JitCode *code)
{
    pthread_mutex_lock(&nosi_jit.lock);
    make_cautious(code);
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* The interpreter does better without this code. Machine code may still call it. `guarded`: whose
 * guards make it so, or NULL. */
static void on_poor(JitCode *code, const JitCode *guarded)
{
    pthread_mutex_lock(&nosi_jit.lock);
    Func *f = (Func *)(uintptr_t)code->f;
    OsrTable *t = f->osr;
    if (guarded && make_cautious(guarded)) {
        __atomic_store_n(&code->n_poor, 0, __ATOMIC_RELAXED);
    } else if (nosi_jit.mode != JIT_EAGER && !code->is_void) {
        if (code->osr_pc == IR_CALL_PC)
            __atomic_store_n(&f->entry, NULL, __ATOMIC_RELEASE);
        for (uint32_t k = 0; t && k < t->n; k++)
            if (t->at[k].pc == code->osr_pc)
                __atomic_store_n(&t->at[k].code, NULL, __ATOMIC_RELEASE);
        code->is_poor = true;
    }
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static void publish_loop(Func *f, uint32_t pc, void *code)
{
    OsrTable *old = f->osr;
    uint32_t n = old ? old->n : 0;
    OsrTable *t = nosi_alloc(sizeof *t + (n + 1) * sizeof t->at[0]);
    if (old)
        memcpy(t->at, old->at, n * sizeof t->at[0]);
    t->n = n + 1;
    t->at[n].pc = pc;
    t->at[n].code = code;
    __atomic_store_n(&f->osr, t, __ATOMIC_RELEASE);
    if (old)
        vec_push(&retired, ((Retired){nosi_quiet_begin(), NULL, old}));
}

/* Builds and emits; NULL: `why`. `text` gets the IR and the MIR, or is NULL. */
static JitCode *make_code(IrRequest *request, JitFunc *link, const char **why, StrBuf *text)
{
    StrBuf built = {0}, optimised = {0}, mir = {0};
    if (text)
        request->built = &built;
    Ir *ir = nosi_ir_build(request);
    if (text)
        nosi_ir_print(ir, &optimised);
    *why = ir->refused;
    JitCode *code = *why ? NULL : nosi_emit(ir, link, why, text ? &mir : NULL);
    if (text) {
        nosi_dump_ir(text, "IR as it was built", nosi_strbuf_cstr(&built));
        nosi_dump_ir(text, "IR, optimised", nosi_strbuf_cstr(&optimised));
        nosi_dump_ir(text, "MIR", nosi_strbuf_cstr(&mir));
    }
    nosi_ir_free(ir);
    nosi_strbuf_free(&built);
    nosi_strbuf_free(&optimised);
    nosi_strbuf_free(&mir);
    return code;
}

static bool compile(const Request *q) // false: there is no new code
{
    IrRequest request = {.f = q->f, .osr_pc = q->osr_pc};
    const char *why = NULL;
    JitCode *code = NULL;
    pthread_mutex_lock(&nosi_jit.lock);
    Record *r = record_of(q->f);
    request.cautious = r->cautious;
    if (!r->cautious) {
        request.classes = q->classes;
        request.cells = q->cells;
    }
    pthread_mutex_unlock(&nosi_jit.lock);
    StrBuf dump = {0}, *text = nosi_dump_wanted(q->f) ? &dump : NULL;
    if (text)
        nosi_dump_bytecode(text, q->f, q->osr_pc);
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        request.no_inline = attempt > 0;
        code = make_code(&request, &r->link, &why, text);
        if (text && !code)
            nosi_strbuf_printf(text, "---- refused: %s\n", why);
        if (code || why != nosi_jit_too_large)
            break;
    }
    if (text && code)
        nosi_dump_code(text, code);
    if (text)
        nosi_dump_print(text);
    pthread_mutex_lock(&nosi_jit.lock);
    bool ok = code && is_current(code) && request.cautious == r->cautious;
    if (code && !ok) { // redefined meanwhile, or what it expects was found to be wrong
        nosi_jit_code_free(code);
        forget_requests(r);
    } else if (!code) {
        r->refused = why;
        nosi_jit.n_refused++;
    } else {
        vec_push(&r->codes, code);
        nosi_jit.n_compiled++;
        nosi_jit.code_bytes += code->bytes;
        nosi_jit.compile_ns += code->compile_ns;
        __atomic_fetch_add(&nosi_jit_published, 1, __ATOMIC_RELEASE);
        if (q->osr_pc == IR_CALL_PC) {
            __atomic_store_n(&r->link.entry, code->entry, __ATOMIC_RELEASE);
            __atomic_store_n(&q->f->entry, code->generic, __ATOMIC_RELEASE);
            __atomic_store_n(&q->f->n_loops, 0, __ATOMIC_RELAXED); // see calls_suffice
        } else {
            publish_loop(q->f, q->osr_pc, code->entry);
        }
        nosi_perf_map(code);
        nosi_gdb_register(code);
    }
    free_retired(false);
    pthread_mutex_unlock(&nosi_jit.lock);
    return ok;
}

static void free_request(Request *q)
{
    nosi_free(q->classes);
    nosi_free(q->cells);
    nosi_free(q);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Notes what the first n registers hold. */
static void look_at(const Proc *p, Request *q, uint32_t n)
{
    q->classes = nosi_calloc(q->f->n_regs + 1u, sizeof *q->classes);
    q->cells = nosi_calloc(q->f->n_regs + 1u, sizeof(FuncCell *));
    for (uint32_t k = 0; k < n; k++) {
        Value v = p->base[k];
        q->classes[k] = value_is_object(v)  ? obj_class(value_obj(v))
                        : value_is_small(v) ? (uint32_t)CLASS_INT
                        : value_is_bool(v)  ? (uint32_t)CLASS_BOOL
                                            : 0;
        if (value_is_kind(v, OBJ_CLOSURE))
            q->cells[k] = (FuncCell *)(uintptr_t)value_obj(v)->word[0];
    }
}

static bool wanted(Record *r, uint32_t osr_pc) // under the lock
{
    if (osr_pc == IR_CALL_PC) {
        bool asked = r->call_asked;
        r->call_asked = true;
        return !asked;
    }
    for (uint32_t k = 0; k < r->loops_asked.n; k++)
        if (r->loops_asked.at[k] == osr_pc)
            return false;
    vec_push(&r->loops_asked, osr_pc);
    return true;
}

/* A loop of q->f is hot and has its code. Those behind it are compiled while nothing else is
 * to be done: a process that comes to one need not wait for it to get hot and to be compiled. */
static void look_ahead(const Request *q)
{
    enum { MAX_AHEAD = 3 };
    uint32_t loops[MAX_AHEAD], n_regs = q->f->n_regs;
    bool *known = nosi_calloc(n_regs + 1u, sizeof *known);
    uint32_t n = nosi_loops_ahead(q->f, q->osr_pc, loops, MAX_AHEAD, known);
    for (uint32_t k = 0; k < n; k++) {
        Request *next = nosi_calloc(1, sizeof *next);
        next->f = q->f;
        next->osr_pc = loops[k];
        next->is_ahead = true;
        next->classes = nosi_calloc(n_regs + 1u, sizeof *next->classes);
        next->cells = nosi_calloc(n_regs + 1u, sizeof(FuncCell *));
        for (uint32_t r = 0; r < n_regs; r++)
            if (known[r]) {
                next->classes[r] = q->classes[r];
                next->cells[r] = q->cells[r];
            }
        pthread_mutex_lock(&nosi_jit.lock);
        vec_push(&ahead, next);
        pthread_mutex_unlock(&nosi_jit.lock);
    }
    nosi_free(known);
}

/* Gives what is to be compiled next, or NULL. Under the lock. */
static Request *next_request(void)
{
    Request *q = first;
    if (q) {
        first = q->next;
        if (!first)
            last = &first;
        return q;
    }
    while (ahead.n) {
        q = ahead.at[0];
        memmove(ahead.at, ahead.at + 1, --ahead.n * sizeof(Request *));
        Record *r = record_of(q->f);
        if (!r->call_asked && !r->refused && !r->cautious && wanted(r, q->osr_pc))
            return q;
        free_request(q);
    }
    return NULL;
}

static void *thread_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&nosi_jit.lock);
    while (!nosi_jit.stop) {
        Request *q = next_request();
        if (!q) {
            pthread_cond_wait(&work, &nosi_jit.lock);
            continue;
        }
        pthread_mutex_unlock(&nosi_jit.lock);
        if (compile(q) && q->osr_pc != IR_CALL_PC && !q->is_ahead)
            look_ahead(q);
        free_request(q);
        pthread_mutex_lock(&nosi_jit.lock);
    }
    pthread_mutex_unlock(&nosi_jit.lock);
    return NULL;
}

/* Does the function's code for calls serve a hot loop as well? A loop that goes round a few times a
 * call need not be entered in the middle: the next call, or the one after its code is there, comes
 * soon. */
static bool calls_suffice(const Record *r, const Func *f) // under the lock
{
    enum { MANY_CALLS = PROFILE_HOT / 32 };
    uint32_t calls = __atomic_load_n(&f->n_calls, __ATOMIC_RELAXED);
    if (nosi_jit.mode == JIT_EAGER || r->refused)
        return false;
    if (r->call_asked) // is it on its way? Then the counting of loops begins again
        return !__atomic_load_n(&r->link.entry, __ATOMIC_RELAXED);
    return calls >= MANY_CALLS;
}

static void on_hot(Proc *p, Func *f, const Instr *loop)
{
    uint32_t osr_pc = loop ? (uint32_t)(loop - f->code) : IR_CALL_PC;
    pthread_mutex_lock(&nosi_jit.lock);
    Record *r = record_of(f);
    bool want = !(loop && calls_suffice(r, f)) && wanted(r, osr_pc);
    pthread_mutex_unlock(&nosi_jit.lock);
    if (!loop)
        __atomic_store_n(&f->n_calls, PROFILE_MAX, __ATOMIC_RELAXED);
    if (!want)
        return;
    Request *q = nosi_calloc(1, sizeof *q);
    q->f = f;
    q->osr_pc = osr_pc;
    // A call's registers beyond its arguments hold what others left there.
    look_at(p, q, loop ? f->n_regs : f->n_params + (uint32_t)f->takes_self);
    if (nosi_jit.mode == JIT_EAGER) {
        compile(q);
        free_request(q);
        return;
    }
    pthread_mutex_lock(&nosi_jit.lock);
    *last = q;
    last = &q->next;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

void nosi_jit_begin(const JitOptions *options)
{
    const char *env = getenv("NOS_JIT");
    JitMode mode = options->mode;
    if (n_users++)
        return;
    nosi_dump_begin(options->dump);
    nosi_gdb_begin(options->gdb);
    nosi_perf_map_begin();
    if (env && (mode == JIT_ON || mode == JIT_REPLAY)) {
        if (strcmp(env, "eager") == 0)
            mode = JIT_EAGER;
        else if (strcmp(env, "off") == 0)
            mode = JIT_OFF;
    }
    if (mode == JIT_REPLAY)
        mode = JIT_OFF;
    nosi_jit.mode = mode;
    last = &first;
    if (mode == JIT_OFF)
        return;
    nosi_machine_enter = nosi_jit_enter;
    nosi_jit_on_thrash = on_thrash;
    nosi_jit_on_poor = on_poor;
    nosi_redefined_hook = on_redefined;
    nosi_quiet_leave_hook = nosi_jit_thread_end;
    const char *stress = getenv("NOS_JIT_STRESS");
    if (stress && strcmp(stress, "0") != 0)
        nosi_jit_units = 1; // hardly anything fits into a budget: everything leaves all the time
    nosi_profile_hot = mode == JIT_EAGER ? 1 : PROFILE_HOT;
    nosi_jit.stop = false;
    if (mode == JIT_ON) {
        if (pthread_create(&thread, NULL, thread_main, NULL) != 0)
            return;
        nosi_jit.running = true;
    }
    nosi_hot_hook = on_hot;
}

void nosi_jit_end(void)
{
    if (--n_users)
        return;
    nosi_hot_hook = NULL;
    if (nosi_jit.running) {
        pthread_mutex_lock(&nosi_jit.lock);
        nosi_jit.stop = true;
        pthread_cond_signal(&work);
        pthread_mutex_unlock(&nosi_jit.lock);
        pthread_join(thread, NULL);
        nosi_jit.running = false;
    }
    nosi_jit_sample_end();
    pthread_mutex_lock(&nosi_jit.lock);
    free_retired(true); // all workers have ended
    pthread_mutex_unlock(&nosi_jit.lock);
    for (Request *q = first, *next; q; q = next) {
        next = q->next;
        free_request(q);
    }
    first = NULL;
    while (ahead.n)
        free_request(vec_pop(&ahead));
    vec_free(&ahead);
    nosi_mirctx_end();
}
