/* jit.c -- what is compiled, when and by whom: requests, the compile thread, publication. */
#include "jit/jit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jit/code.h"
#include "jit/enter.h"
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
} Request;

/* What the JIT knows of one version of a function. Lives for ever. */
typedef struct Record {
    JitFunc link; // first: nosi_jit_func gives its address
    bool call_asked, call_refused;
    bool cautious; // what was expected of values did not hold: expect nothing
    VEC(uint32_t) loops_asked;
    VEC(JitCode *) codes; // owned
    const char *refused;
} Record;

/* One for all VMs of the program, as functions are. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    JitMode mode;
    bool running, stop;
    Request *first, **last;
    VEC(Record *) records; // owned
    pthread_t thread;
    uint64_t n_compiled, n_refused, compile_ns;
    unsigned n_users; // VMs
} jit = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static Record *record_of(const Func *f) // under the lock
{
    Record *r = __atomic_load_n((Record *const *)(const void *)&f->jit, __ATOMIC_ACQUIRE);
    if (r)
        return r;
    Signature sig;
    if (!nosi_signature(f, &sig))
        return NULL;
    r = nosi_calloc(1, sizeof *r);
    r->link.f = f;
    r->link.sig = sig;
    vec_push(&jit.records, r);
    __atomic_store_n((Record **)(uintptr_t)&f->jit, r, __ATOMIC_RELEASE);
    return r;
}

JitFunc *nosi_jit_func(const Func *f)
{
    pthread_mutex_lock(&jit.lock);
    Record *r = record_of(f);
    pthread_mutex_unlock(&jit.lock);
    return r ? &r->link : NULL;
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
    __atomic_store_n(&f->osr, NULL, __ATOMIC_RELEASE);
    for (uint32_t k = 0; k < r->codes.n; k++)
        r->codes.at[k]->is_void = true;
    forget_requests(r);
}

/* Code that inlined or calls the old version is not entered any more. Who is in it leaves it at its
 * next call of what was withdrawn, or goes on with the old version as the interpreter does with a
 * frame of it. */
static void on_redefined(const Func *old)
{
    pthread_mutex_lock(&jit.lock);
    VEC_EACH (Record *, it, &jit.records) {
        Record *r = *it;
        bool hit = r->link.f == old;
        for (uint32_t k = 0; k < r->codes.n && !hit; k++)
            for (uint32_t d = 0; d < r->codes.at[k]->depends.n && !hit; d++)
                hit = !r->codes.at[k]->is_void && r->codes.at[k]->depends.at[d] == old;
        if (!hit)
            continue;
        withdraw(r);
    }
    pthread_mutex_unlock(&jit.lock);
}

/* The interpreter does better without this code. Machine code may still call it. */
static void on_poor(JitCode *code)
{
    pthread_mutex_lock(&jit.lock);
    Func *f = (Func *)(uintptr_t)code->f;
    OsrTable *t = f->osr;
    if (jit.mode != JIT_EAGER && !code->is_void) {
        if (code->osr_pc == IR_CALL_PC)
            __atomic_store_n(&f->entry, NULL, __ATOMIC_RELEASE);
        for (uint32_t k = 0; t && k < t->n; k++)
            if (t->at[k].pc == code->osr_pc)
                __atomic_store_n(&t->at[k].code, NULL, __ATOMIC_RELEASE);
        code->is_poor = true;
    }
    pthread_mutex_unlock(&jit.lock);
}

/* A guard of the code fails all the time. */
static void on_thrash(JitCode *code)
{
    pthread_mutex_lock(&jit.lock);
    Record *r = record_of(code->f);
    if (r && !code->is_void && !r->cautious) {
        r->cautious = true;
        withdraw(r);
    }
    pthread_mutex_unlock(&jit.lock);
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
    __atomic_store_n(&f->osr, t, __ATOMIC_RELEASE); // the old one may be in use: it stays
}

static void dump_ir(const Request *q, const Ir *ir)
{
    const char *dump = getenv("NOS_JIT_DUMP");
    if (!dump || !q->f->cell->name || strcmp(dump, q->f->cell->name) != 0)
        return;
    StrBuf b = {0};
    nosi_ir_print(ir, &b);
    fprintf(stderr, "--- %s %s\n%s", q->f->cell->name,
            q->osr_pc == IR_CALL_PC ? "(call)" : "(loop)", b.s ? b.s : "");
    nosi_strbuf_free(&b);
}

static void compile(const Request *q)
{
    IrRequest request = {.f = q->f, .osr_pc = q->osr_pc};
    const char *why = NULL;
    JitCode *code = NULL;
    pthread_mutex_lock(&jit.lock);
    Record *r = record_of(q->f);
    request.cautious = r && r->cautious;
    if (r && !r->cautious) {
        request.classes = q->classes;
        request.cells = q->cells;
    }
    pthread_mutex_unlock(&jit.lock);
    if (!r)
        return;
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        request.no_inline = attempt > 0;
        Ir *ir = nosi_ir_build(&request);
        dump_ir(q, ir);
        why = ir->refused;
        if (!why)
            code = nosi_emit(ir, &r->link, &why);
        nosi_ir_free(ir);
        if (code || why != nosi_jit_too_large)
            break;
    }
    pthread_mutex_lock(&jit.lock);
    if (code && !is_current(code)) { // redefined meanwhile
        nosi_jit_code_free(code);
        forget_requests(r);
    } else if (!code) {
        r->refused = why;
        r->call_refused |= q->osr_pc == IR_CALL_PC;
        jit.n_refused++;
    } else {
        vec_push(&r->codes, code);
        jit.n_compiled++;
        jit.compile_ns += code->compile_ns;
        if (q->osr_pc == IR_CALL_PC) {
            __atomic_store_n(&r->link.entry, code->entry, __ATOMIC_RELEASE);
            __atomic_store_n(&q->f->entry, code->generic, __ATOMIC_RELEASE);
        } else {
            publish_loop(q->f, q->osr_pc, code->entry);
        }
    }
    pthread_mutex_unlock(&jit.lock);
}

static void free_request(Request *q)
{
    nosi_free(q->classes);
    nosi_free(q->cells);
    nosi_free(q);
}

static void *thread_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&jit.lock);
    while (!jit.stop) {
        Request *q = jit.first;
        if (!q) {
            pthread_cond_wait(&jit.work, &jit.lock);
            continue;
        }
        jit.first = q->next;
        if (!jit.first)
            jit.last = &jit.first;
        pthread_mutex_unlock(&jit.lock);
        compile(q);
        free_request(q);
        pthread_mutex_lock(&jit.lock);
    }
    pthread_mutex_unlock(&jit.lock);
    return NULL;
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

static void on_hot(Proc *p, Func *f, const Instr *loop)
{
    uint32_t osr_pc = loop ? (uint32_t)(loop - f->code) : IR_CALL_PC;
    pthread_mutex_lock(&jit.lock);
    Record *r = record_of(f);
    bool want = r && wanted(r, osr_pc);
    pthread_mutex_unlock(&jit.lock);
    if (!loop)
        __atomic_store_n(&f->n_calls, PROFILE_MAX, __ATOMIC_RELAXED);
    if (!want)
        return;
    Request *q = nosi_calloc(1, sizeof *q);
    q->f = f;
    q->osr_pc = osr_pc;
    // A call's registers beyond its arguments hold what others left there.
    look_at(p, q, loop ? f->n_regs : f->n_params + (uint32_t)f->takes_self);
    if (jit.mode == JIT_EAGER) {
        compile(q);
        free_request(q);
        return;
    }
    pthread_mutex_lock(&jit.lock);
    *jit.last = q;
    jit.last = &q->next;
    pthread_cond_signal(&jit.work);
    pthread_mutex_unlock(&jit.lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

void nosi_jit_begin(JitMode mode)
{
    const char *env = getenv("NOS_JIT");
    if (jit.n_users++)
        return;
    if (env && (mode == JIT_ON || mode == JIT_REPLAY)) {
        if (strcmp(env, "eager") == 0)
            mode = JIT_EAGER;
        else if (strcmp(env, "off") == 0)
            mode = JIT_OFF;
    }
    if (mode == JIT_REPLAY)
        mode = JIT_OFF;
    jit.mode = mode;
    jit.last = &jit.first;
    if (mode == JIT_OFF)
        return;
    nosi_machine_enter = nosi_jit_enter;
    nosi_jit_on_thrash = on_thrash;
    nosi_jit_on_poor = on_poor;
    nosi_redefined_hook = on_redefined;
    const char *stress = getenv("NOS_JIT_STRESS");
    if (stress && strcmp(stress, "0") != 0)
        nosi_jit_units = 1; // hardly anything fits into a budget: everything leaves all the time
    nosi_profile_hot = mode == JIT_EAGER ? 1 : PROFILE_HOT;
    jit.stop = false;
    if (mode == JIT_ON) {
        if (pthread_create(&jit.thread, NULL, thread_main, NULL) != 0)
            return;
        jit.running = true;
    }
    nosi_hot_hook = on_hot;
}

void nosi_jit_end(void)
{
    if (--jit.n_users)
        return;
    nosi_hot_hook = NULL;
    if (jit.running) {
        pthread_mutex_lock(&jit.lock);
        jit.stop = true;
        pthread_cond_signal(&jit.work);
        pthread_mutex_unlock(&jit.lock);
        pthread_join(jit.thread, NULL);
        jit.running = false;
    }
    for (Request *q = jit.first, *next; q; q = next) {
        next = q->next;
        free_request(q);
    }
    jit.first = NULL;
}

void nosi_jit_stats(StrBuf *out)
{
    pthread_mutex_lock(&jit.lock);
    nosi_strbuf_printf(out, "JIT: %llu compiled, %llu refused, %.1f ms compiling\n",
                       (unsigned long long)jit.n_compiled, (unsigned long long)jit.n_refused,
                       (double)jit.compile_ns / 1e6);
    nosi_strbuf_printf(out, "%-32s %-6s %6s %6s %5s %8s %10s\n", "function", "kind", "IR", "MIR",
                       "inl", "ms", "exits");
    VEC_EACH (Record *, it, &jit.records) {
        Record *r = *it;
        const char *name = r->link.f->cell->name;
        for (uint32_t k = 0; k < r->codes.n; k++) {
            const JitCode *c = r->codes.at[k];
            uint64_t exits = 0;
            for (uint32_t x = 0; x < c->exits.n; x++)
                exits += c->exits.at[x]->hits;
            nosi_strbuf_printf(out, "%-32s %-6s %6u %6u %5u %8.2f %10llu\n", name,
                               c->is_void                ? "void"
                               : c->is_poor              ? "poor"
                               : c->osr_pc == IR_CALL_PC ? "call"
                                                         : "loop",
                               c->n_ir, c->n_mir, c->n_inlined, (double)c->compile_ns / 1e6,
                               (unsigned long long)exits);
            for (uint32_t x = 0; x < c->exits.n; x++) {
                const ExitRecord *e = c->exits.at[x];
                static const char *const kinds[] = {"guard", "room",    "other",
                                                    "yield", "special", "call"};
                if (e->hits > 100 && e->n_frames) {
                    const ExitFrame *f = &e->frames[e->n_frames - 1];
                    nosi_strbuf_printf(
                        out, "    %10llu %-7s %s:%u %s\n", (unsigned long long)e->hits,
                        kinds[e->kind], f->f->cell->name, nosi_func_line(f->f, f->pc),
                        f->pc < f->f->n_code ? nosi_op_info[INSTR_OP(f->f->code[f->pc])].name : "");
                }
            }
        }
        if (r->refused)
            nosi_strbuf_printf(out, "%-32s refused: %s\n", name, r->refused);
    }
    pthread_mutex_unlock(&jit.lock);
}
