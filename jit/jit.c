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
    Version *version; // of a call
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
    r->all.link.f = f;
    r->is_wide = !nosi_signature(f, &r->all.link.sig);
    r->open = nosi_signature_open(f);
    vec_push(&nosi_jit.records, r);
    __atomic_store_n((Record **)(uintptr_t)&f->jit, r, __ATOMIC_RELEASE);
    return r;
}

/* ---- versions -------------------------------------------------------------------------------- */

/* Of calls, and of each loop that is entered while it runs. */
enum { MAX_VERSIONS = 8, MAX_LOOPS = 4 };

/* The one for arguments of these types. Under the lock. */
static Version *version_for(Record *r, const uint8_t *types)
{
    Signature sig = r->all.link.sig;
    bool is_own = false;
    for (uint32_t k = 0; k < sig.n; k++)
        if (r->open >> k & 1 && (types[k] == TY_INT || types[k] == TY_FLOAT)) {
            sig.param[k] = types[k];
            is_own = true;
        }
    if (!is_own)
        return &r->all;
    VEC_EACH (Version *, it, &r->versions)
        if (memcmp((*it)->link.sig.param, sig.param, sig.n) == 0)
            return *it;
    if (r->versions.n == MAX_VERSIONS)
        return &r->all;
    Version *v = nosi_calloc(1, sizeof *v);
    v->link.f = r->all.link.f;
    nosi_signature_result(v->link.f, &sig);
    v->link.sig = sig;
    vec_push(&r->versions, v);
    return v;
}

JitFunc *nosi_jit_func(const Func *f, const uint8_t *types)
{
    pthread_mutex_lock(&nosi_jit.lock);
    Record *r = record_of(f);
    JitFunc *link = r->is_wide ? NULL : &version_for(r, types)->link;
    pthread_mutex_unlock(&nosi_jit.lock);
    return link;
}

static bool has_code(Record *r) // for calls
{
    Version *v;
    for (uint32_t k = 0; (v = version_at(r, k)); k++)
        if (__atomic_load_n(&v->link.entry, __ATOMIC_RELAXED))
            return true;
    return false;
}

/* Who has boxed arguments tries one version after the other, beginning with Func.entry: the newest
 * first, and the one that takes everything last. Where this entry is in that chain; what its end
 * holds, NULL, for another one. */
static void **place_in_chain(Record *r, const void *generic)
{
    void **at = &((Func *)(uintptr_t)r->all.link.f)->entry;
    while (*at && *at != generic) {
        Version *v;
        for (uint32_t k = 0; (v = version_at(r, k)) && v->generic != *at; k++)
            ;
        NOS_ASSERT(v); // what is chained is some version's
        at = &v->link.next;
    }
    return at;
}

static void unchain(Record *r, Version *v)
{
    void **at = place_in_chain(r, v->generic);
    if (*at)
        __atomic_store_n(at, v->link.next, __ATOMIC_RELEASE);
}

static void chain(Record *r, Version *v)
{
    void **at = v == &r->all ? place_in_chain(r, NULL) : &((Func *)(uintptr_t)v->link.f)->entry;
    __atomic_store_n(&v->link.next, *at, __ATOMIC_RELEASE);
    __atomic_store_n(at, v->generic, __ATOMIC_RELEASE);
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
    Func *f = (Func *)(uintptr_t)r->all.link.f;
    Version *v;
    for (uint32_t k = 0; (v = version_at(r, k)); k++)
        v->asked = false;
    r->loops_asked.n = 0;
    __atomic_store_n(&f->n_calls, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&f->n_loops, 0, __ATOMIC_RELAXED);
}

static void withdraw(Record *r) // under the lock
{
    Func *f = (Func *)(uintptr_t)r->all.link.f;
    Version *v;
    __atomic_store_n(&f->entry, NULL, __ATOMIC_RELEASE);
    for (uint32_t k = 0; (v = version_at(r, k)); k++) {
        __atomic_store_n(&v->link.entry, NULL, __ATOMIC_RELEASE);
        __atomic_store_n(&v->link.next, NULL, __ATOMIC_RELEASE);
        v->generic = NULL;
    }
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
        bool hit = r->all.link.f == old;
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
            unchain(record_of(f), code->version);
        for (uint32_t k = 0; t && k < t->n; k++)
            if (t->at[k].code == code->entry)
                __atomic_store_n(&t->at[k].code, NULL, __ATOMIC_RELEASE);
        code->is_poor = true;
    }
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static void publish_loop(Func *f, const JitCode *code)
{
    OsrTable *old = f->osr;
    uint32_t n = old ? old->n : 0;
    OsrTable *t = nosi_alloc(sizeof *t + (n + 1) * sizeof t->at[0]);
    if (old)
        memcpy(t->at, old->at, n * sizeof t->at[0]);
    t->n = n + 1;
    t->at[n].pc = code->osr_pc;
    t->at[n].n_checks = code->checks.n;
    t->at[n].checks = code->checks.at;
    t->at[n].code = code->entry;
    __atomic_store_n(&f->osr, t, __ATOMIC_RELEASE);
    if (old)
        vec_push(&retired, ((Retired){nosi_quiet_begin(), NULL, old}));
}

/* Functions that code calls without inlining them. */
typedef VEC(JitFunc *) Called;

static void note_calls(const Ir *ir, Called *called)
{
    VEC_EACH (const IrBlock, x, &ir->blocks)
        VEC_EACH (const Ref, ins, &x->ins) {
            const IrIns *i = ir_ins(ir, *ins);
            if (i->op == IR_CALL || i->op == IR_TAILCALL)
                vec_push(called, (JitFunc *)(intptr_t)i->imm);
        }
}

/* Builds and emits; NULL: `why`. `text` gets the IR and the MIR, or is NULL. */
static JitCode *make_code(IrRequest *request, JitFunc *link, Called *called, const char **why,
                          StrBuf *text)
{
    StrBuf built = {0}, optimised = {0}, mir = {0};
    if (text)
        request->built = &built;
    Ir *ir = nosi_ir_build(request);
    if (text)
        nosi_ir_print(ir, &optimised);
    *why = ir->refused;
    JitCode *code = *why ? NULL : nosi_emit(ir, link, why, text ? &mir : NULL);
    if (code)
        note_calls(ir, called);
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

static bool call_wanted(Version *v) // under the lock
{
    bool asked = v->asked;
    v->asked = true;
    return !asked;
}

static void enqueue(Request *q) // under the lock
{
    *last = q;
    last = &q->next;
}

/* Code calls a version of a function with open parameters: it has no other way to become hot. */
static void ask_for_callees(const Called *called) // under the lock
{
    VEC_EACH (JitFunc *, it, called) {
        Version *v = (Version *)*it;
        Record *r = record_of(v->link.f);
        if (!r->open || r->refused || cell_func(v->link.f->cell) != v->link.f || !call_wanted(v))
            continue;
        Request *q = nosi_calloc(1, sizeof *q);
        q->f = (Func *)(uintptr_t)v->link.f;
        q->version = v;
        q->osr_pc = IR_CALL_PC;
        enqueue(q);
    }
}

static bool compile(const Request *q) // false: there is no new code
{
    IrRequest request = {.f = q->f, .osr_pc = q->osr_pc};
    const char *why = NULL;
    JitCode *code = NULL;
    Called called = {0};
    pthread_mutex_lock(&nosi_jit.lock);
    Record *r = record_of(q->f);
    Version *version = q->version ? q->version : &r->all;
    request.sig = r->is_wide ? NULL : &version->link.sig;
    request.cautious = r->cautious;
    if (!r->cautious) {
        request.classes = q->classes;
        request.cells = q->cells;
    }
    pthread_mutex_unlock(&nosi_jit.lock);
    StrBuf dump = {0}, *text = nosi_dump_wanted(q->f) ? &dump : NULL;
    if (text)
        nosi_dump_bytecode(text, q->f, &version->link.sig, q->osr_pc);
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        request.no_inline = attempt > 0;
        code = make_code(&request, &version->link, &called, &why, text);
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
            code->version = version;
            if (version->generic) // asked for twice, for it was withdrawn meanwhile
                unchain(r, version);
            version->generic = code->generic;
            __atomic_store_n(&version->link.entry, code->entry, __ATOMIC_RELEASE);
            chain(r, version);
            __atomic_store_n(&q->f->n_loops, 0, __ATOMIC_RELAXED); // see calls_suffice
        } else {
            publish_loop(q->f, code);
        }
        ask_for_callees(&called);
        nosi_perf_map(code);
        nosi_gdb_register(code);
    }
    free_retired(false);
    pthread_mutex_unlock(&nosi_jit.lock);
    vec_free(&called);
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
        q->classes[k] = value_class(v);
        if (value_is_kind(v, OBJ_CLOSURE))
            q->cells[k] = (FuncCell *)(uintptr_t)value_obj(v)->word[0];
    }
}

static uint32_t count_asked(const Record *r, uint32_t osr_pc) // under the lock
{
    uint32_t n = 0;
    VEC_EACH (const uint32_t, pc, &r->loops_asked)
        n += *pc == osr_pc;
    return n;
}

/* Is code wanted for the loop at osr_pc, as the frame at `base` runs it? *is_last: it is the last
 * one, and had better take everything. Under the lock. */
static bool loop_wanted(Record *r, uint32_t osr_pc, const Value *base, bool *is_last)
{
    const OsrTable *t = r->all.link.f->osr;
    uint32_t n_asked = count_asked(r, osr_pc), n_there = 0;
    for (uint32_t k = 0; t && k < t->n; k++)
        n_there += t->at[k].pc == osr_pc;
    if (n_asked == MAX_LOOPS || n_asked > n_there || // one is on its way, or was refused
        (n_there && nosi_osr_match(t, osr_pc, base) != UINT32_MAX))
        return false;
    *is_last = n_asked == MAX_LOOPS - 1;
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
    for (uint32_t k = 0; k < n && q->classes; k++) {
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
        if (!call_was_asked(r) && !r->refused && !r->cautious && count_asked(r, q->osr_pc) == 0) {
            vec_push(&r->loops_asked, q->osr_pc);
            return q;
        }
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

/* In the calling thread: what is asked for, and what the code of that asks for. */
static void compile_all(void)
{
    pthread_mutex_lock(&nosi_jit.lock);
    for (Request *q; (q = next_request());) {
        pthread_mutex_unlock(&nosi_jit.lock);
        compile(q);
        free_request(q);
        pthread_mutex_lock(&nosi_jit.lock);
    }
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* Does the function's code for calls serve a hot loop as well? A loop that goes round a few times a
 * call need not be entered in the middle: the next call, or the one after its code is there, comes
 * soon. */
static bool calls_suffice(Record *r, const Func *f) // under the lock
{
    enum { MANY_CALLS = PROFILE_HOT / 32 };
    uint32_t calls = __atomic_load_n(&f->n_calls, __ATOMIC_RELAXED);
    if (nosi_jit.mode == JIT_EAGER || r->refused)
        return false;
    if (call_was_asked(r)) // is it on its way? Then the counting of loops begins again
        return !has_code(r);
    return calls >= MANY_CALLS;
}

/* The version for the arguments of a call that begins. Under the lock. */
static Version *version_of_call(Record *r, const Proc *p)
{
    uint8_t types[MAX_SIGNATURE];
    for (uint32_t k = 0; k < r->all.link.sig.n; k++)
        types[k] = (uint8_t)ir_type_of_class(value_class(p->base[k]));
    return version_for(r, types);
}

static void on_hot(Proc *p, Func *f, const Instr *loop)
{
    uint32_t osr_pc = loop ? (uint32_t)(loop - f->code) : IR_CALL_PC;
    pthread_mutex_lock(&nosi_jit.lock);
    Record *r = record_of(f);
    Version *v = loop ? NULL : version_of_call(r, p);
    bool is_last = false;
    bool want =
        loop ? !calls_suffice(r, f) && loop_wanted(r, osr_pc, p->base, &is_last) : call_wanted(v);
    bool seen_all = r->all.asked || r->refused || !r->open;
    pthread_mutex_unlock(&nosi_jit.lock);
    if (!loop && seen_all)
        __atomic_store_n(&f->n_calls, PROFILE_MAX, __ATOMIC_RELAXED);
    if (!want)
        return;
    Request *q = nosi_calloc(1, sizeof *q);
    q->f = f;
    q->version = v;
    q->osr_pc = osr_pc;
    // A call's registers beyond its arguments hold what others left there.
    if (!is_last)
        look_at(p, q, loop ? f->n_regs : f->n_params + (uint32_t)f->takes_self);
    pthread_mutex_lock(&nosi_jit.lock);
    enqueue(q);
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&nosi_jit.lock);
    if (nosi_jit.mode == JIT_EAGER)
        compile_all();
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
