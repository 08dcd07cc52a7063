/* stats.c -- what the JIT did, for people and for tools. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jit/record.h"
#include "sched/quiet.h"
#include "vm/interp/machine.h"

enum {
    SHOWN_HITS = 100, // places that were left more often are listed
    SAMPLE_NS = 1000000,
};

static const char *const kind_names[] = {
    [LEAVE_GUARD] = "guard", [LEAVE_ROOM] = "room",       [LEAVE_OTHER] = "other",
    [LEAVE_YIELD] = "yield", [LEAVE_SPECIAL] = "special", [LEAVE_CALL] = "call",
};

/* ---- samples --------------------------------------------------------------------------------- */

/* The CPU time a worker used since the last sample counts for what it does now. */
static struct {
    pthread_t thread;
    bool running; // under the lock
    _Atomic(bool) stop;
    _Atomic(uint64_t) machine_ns, other_ns, n;
} samples;

static uint64_t cpu_ns(pthread_t thread)
{
    clockid_t clock;
    struct timespec t;
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sample(QuietThread *t, void *arg)
{
    bool starting = arg != NULL;
    uint64_t now = cpu_ns(t->thread), used = now - t->sampled_ns;
    t->sampled_ns = now;
    if (starting || !used || now < used)
        return;
    const Machine *m = atomic_load_explicit(&t->machine, memory_order_acquire);
    bool in_machine = m && __atomic_load_n(&m->proc, __ATOMIC_RELAXED);
    atomic_fetch_add(in_machine ? &samples.machine_ns : &samples.other_ns, used);
    atomic_fetch_add(&samples.n, 1);
}

static void *sampler_main(void *arg)
{
    (void)arg;
    struct timespec pause = {0, SAMPLE_NS};
    while (!atomic_load(&samples.stop)) {
        nosi_quiet_each(sample, NULL);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

void nosi_jit_sample(void)
{
    pthread_mutex_lock(&nosi_jit.lock);
    if (!samples.running) {
        atomic_store(&samples.stop, false);
        nosi_quiet_each(sample, &samples);
        samples.running = pthread_create(&samples.thread, NULL, sampler_main, NULL) == 0;
    }
    pthread_mutex_unlock(&nosi_jit.lock);
}

void nosi_jit_sample_end(void)
{
    pthread_mutex_lock(&nosi_jit.lock);
    bool was = samples.running;
    samples.running = false;
    pthread_mutex_unlock(&nosi_jit.lock);
    if (!was)
        return;
    atomic_store(&samples.stop, true);
    pthread_join(samples.thread, NULL);
}

/* ---- perf ------------------------------------------------------------------------------------ */

static FILE *perf_map; // under the lock

void nosi_perf_map_begin(void)
{
    const char *want = getenv("NOS_JIT_PERF_MAP");
    if (perf_map || !want || strcmp(want, "1") != 0)
        return;
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    perf_map = fopen(path, "we");
    // The file has no times: an address must stand for one function.
    nosi_code_keep_addresses = perf_map != NULL;
}

static void perf_function(const JitCode *c, const char *suffix, const void *from, const void *other)
{
    StrBuf name = {0};
    nosi_code_name(&name, c, suffix);
    fprintf(perf_map, "%" PRIxPTR " %zx nos:%s\n", (uintptr_t)from,
            nosi_code_extent(&c->pages, from, other), nosi_strbuf_cstr(&name));
    nosi_strbuf_free(&name);
}

void nosi_perf_map(const JitCode *c)
{
    if (!perf_map)
        return;
    perf_function(c, "", c->entry, c->generic);
    if (c->generic)
        perf_function(c, ":entry", c->generic, c->entry);
    fflush(perf_map); // perf reads it when the program may already have been killed
}

/* ---- the figures, all under the lock --------------------------------------------------------- */

static const char *name_of(const Func *f)
{
    return f->cell->name ? f->cell->name : "?";
}

void nosi_code_name(StrBuf *out, const JitCode *c, const char *suffix)
{
    nosi_strbuf_puts(out, name_of(c->f));
    if (c->osr_pc != IR_CALL_PC)
        nosi_strbuf_printf(out, ":loop@%u", nosi_func_line(c->f, c->osr_pc));
    nosi_strbuf_puts(out, suffix);
}

/* For some types of arguments only? */
static bool is_version(const JitCode *c)
{
    return c->version && c->version != &((const Record *)c->f->jit)->all;
}

static uint64_t exits_of(const JitCode *c)
{
    uint64_t n = 0;
    for (uint32_t x = 0; x < c->exits.n; x++)
        n += exit_hits(c->exits.at[x]);
    return n;
}

static bool is_loop(const JitCode *c)
{
    return c->osr_pc != IR_CALL_PC;
}

/* Its innermost frame: where it was left, or NULL when that is not worth telling. */
static const ExitFrame *shown_place(const ExitRecord *e)
{
    return exit_hits(e) > SHOWN_HITS && e->n_frames ? &e->frames[e->n_frames - 1] : NULL;
}

static const char *op_name(const ExitFrame *f)
{
    return f->pc < f->f->n_code ? nosi_op_info[INSTR_OP(f->f->code[f->pc])].name : "";
}

/* How often something was the case. */
typedef struct Count {
    const char *text;
    uint64_t places, hits;
} Count;
typedef struct Counts {
    VEC(Count) at;
} Counts;

static void count(Counts *out, const char *text, uint64_t hits)
{
    uint32_t k = 0;
    while (k < out->at.n && strcmp(out->at.at[k].text, text) != 0)
        k++;
    if (k == out->at.n)
        vec_push(&out->at, ((Count){.text = text}));
    out->at.at[k].places++;
    out->at.at[k].hits += hits;
}

static void count_refusals(Counts *out)
{
    VEC_EACH (Record *, it, &nosi_jit.records)
        if ((*it)->refused)
            count(out, (*it)->refused, 0);
}

static void each_exit(void (*visit)(const ExitRecord *e, void *arg), void *arg)
{
    VEC_EACH (Record *, it, &nosi_jit.records)
        VEC_EACH (JitCode *, c, &(*it)->codes)
            VEC_EACH (ExitRecord *, e, &(*c)->exits)
                visit(*e, arg);
}

static void count_kind(const ExitRecord *e, void *arg)
{
    uint64_t *n = arg;
    n[e->kind] += exit_hits(e);
}

static void count_exits(uint64_t n[LEAVE__COUNT])
{
    memcpy(n, nosi_jit.freed_exits, sizeof nosi_jit.freed_exits);
    each_exit(count_kind, n);
}

/* Instructions that are the interpreter's. */
static void count_instruction(const ExitRecord *e, void *arg)
{
    if (e->kind == LEAVE_OTHER && e->n_frames)
        count(arg, op_name(&e->frames[e->n_frames - 1]), exit_hits(e));
}

/* ---- the table ------------------------------------------------------------------------------- */

static void table_code(StrBuf *out, const JitCode *c)
{
    nosi_strbuf_printf(out, "%-32s %-6s %6u %6u %5u %7zu %8.2f %10" PRIu64 "\n", name_of(c->f),
                       c->is_poor      ? "poor"
                       : is_loop(c)    ? "loop"
                       : is_version(c) ? "version"
                                       : "call",
                       c->n_ir, c->n_mir, c->n_inlined, c->bytes / 1024,
                       (double)c->compile_ns / 1e6, exits_of(c));
    for (uint32_t x = 0; x < c->exits.n; x++) {
        const ExitRecord *e = c->exits.at[x];
        const ExitFrame *f = shown_place(e);
        if (f)
            nosi_strbuf_printf(out, "    %10" PRIu64 " %-7s %s:%u %s\n", exit_hits(e),
                               kind_names[e->kind], name_of(f->f), nosi_func_line(f->f, f->pc),
                               op_name(f));
    }
}

static void table_head(StrBuf *out)
{
    nosi_strbuf_printf(out, "%-32s %-6s %6s %6s %5s %7s %8s %10s\n", "function", "kind", "IR",
                       "MIR", "inl", "KB", "ms", "exits");
}

static void table(StrBuf *out)
{
    nosi_strbuf_printf(out,
                       "JIT: %" PRIu64 " compiled, %" PRIu64 " refused, %" PRIu64
                       " withdrawn (%" PRIu64 " freed), %zu KB of code, %.1f ms compiling\n",
                       nosi_jit.n_compiled, nosi_jit.n_refused, nosi_jit.n_withdrawn,
                       nosi_jit.n_freed, nosi_jit.code_bytes / 1024,
                       (double)nosi_jit.compile_ns / 1e6);
    double machine = (double)samples.machine_ns / 1e6, other = (double)samples.other_ns / 1e6;
    if (machine + other > 0)
        nosi_strbuf_printf(out,
                           "CPU: %.1f %% of %.0f ms in machine code and what it calls, %.1f %% in "
                           "the interpreter and the scheduler (%" PRIu64 " samples)\n",
                           100 * machine / (machine + other), machine + other,
                           100 * other / (machine + other), atomic_load(&samples.n));
    uint64_t exits[LEAVE__COUNT];
    count_exits(exits);
    nosi_strbuf_puts(out, "exits:");
    for (unsigned k = 0; k < LEAVE__COUNT; k++)
        nosi_strbuf_printf(out, "%s %" PRIu64 " %s", k ? "," : "", exits[k], kind_names[k]);
    nosi_strbuf_putc(out, '\n');
    Counts refusals = {0};
    count_refusals(&refusals);
    VEC_EACH (const Count, r, &refusals.at)
        nosi_strbuf_printf(out, "refused: %" PRIu64 " functions: %s\n", r->places, r->text);
    vec_free(&refusals.at);
    table_head(out);
    VEC_EACH (Record *, it, &nosi_jit.records) {
        const Record *r = *it;
        for (uint32_t k = 0; k < r->codes.n; k++)
            table_code(out, r->codes.at[k]);
        if (r->refused)
            nosi_strbuf_printf(out, "%-32s refused: %s\n", name_of(r->all.link.f), r->refused);
        if (r->cautious)
            nosi_strbuf_printf(out,
                               "%-32s made anew: its values were not what was expected too often\n",
                               name_of(r->all.link.f));
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_string(StrBuf *out, const char *s)
{
    nosi_strbuf_putc(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            nosi_strbuf_printf(out, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            nosi_strbuf_printf(out, "\\u%04x", (unsigned char)*s);
        else
            nosi_strbuf_putc(out, *s);
    }
    nosi_strbuf_putc(out, '"');
}

static void json_code(StrBuf *out, const JitCode *c)
{
    nosi_strbuf_puts(out, "{\"function\":");
    json_string(out, name_of(c->f));
    nosi_strbuf_printf(out, ",\"kind\":\"%s\",\"poor\":%s,\"line\":%u",
                       is_loop(c)      ? "loop"
                       : is_version(c) ? "version"
                                       : "call",
                       c->is_poor ? "true" : "false",
                       nosi_func_line(c->f, is_loop(c) ? c->osr_pc : 0));
    nosi_strbuf_printf(
        out,
        ",\"level\":%u,\"ir\":%u,\"mir\":%u,\"bytes\":%zu,\"ms\":%.3f,\"exits\":%" PRIu64
        ",\"inlined\":%u,\"inlines\":[",
        c->level, c->n_ir, c->n_mir, c->bytes, (double)c->compile_ns / 1e6, exits_of(c),
        c->n_inlined);
    for (uint32_t k = 0; k < c->inlined.n; k++) {
        nosi_strbuf_puts(out, k ? "," : "");
        json_string(out, name_of(c->inlined.at[k]));
    }
    nosi_strbuf_puts(out, "],\"places\":[");
    const char *comma = "";
    for (uint32_t x = 0; x < c->exits.n; x++) {
        const ExitRecord *e = c->exits.at[x];
        const ExitFrame *f = shown_place(e);
        if (!f)
            continue;
        nosi_strbuf_printf(out, "%s{\"hits\":%" PRIu64 ",\"kind\":\"%s\",\"function\":", comma,
                           exit_hits(e), kind_names[e->kind]);
        json_string(out, name_of(f->f));
        nosi_strbuf_printf(out, ",\"line\":%u,\"op\":\"%s\"}", nosi_func_line(f->f, f->pc),
                           op_name(f));
        comma = ",";
    }
    nosi_strbuf_puts(out, "]}");
}

static void json(StrBuf *out)
{
    nosi_strbuf_printf(out,
                       "{\"compiled\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"withdrawn\":%" PRIu64
                       ",\"freed\":%" PRIu64 ",\"code_bytes\":%zu,\"compile_ms\":%.3f",
                       nosi_jit.n_compiled, nosi_jit.n_refused, nosi_jit.n_withdrawn,
                       nosi_jit.n_freed, nosi_jit.code_bytes, (double)nosi_jit.compile_ns / 1e6);
    nosi_strbuf_printf(out, ",\"machine_ms\":%.3f,\"interpreter_ms\":%.3f,\"samples\":%" PRIu64,
                       (double)samples.machine_ns / 1e6, (double)samples.other_ns / 1e6,
                       atomic_load(&samples.n));
    uint64_t exits[LEAVE__COUNT];
    count_exits(exits);
    for (unsigned k = 0; k < LEAVE__COUNT; k++)
        nosi_strbuf_printf(out, "%s\"%s\":%" PRIu64, k ? "," : ",\"exits\":{", kind_names[k],
                           exits[k]);
    nosi_strbuf_puts(out, "},\"interpreted\":{");
    Counts counts = {0};
    each_exit(count_instruction, &counts);
    for (uint32_t k = 0; k < counts.at.n; k++)
        nosi_strbuf_printf(out, "%s\"%s\":{\"places\":%" PRIu64 ",\"hits\":%" PRIu64 "}",
                           k ? "," : "", counts.at.at[k].text, counts.at.at[k].places,
                           counts.at.at[k].hits);
    counts.at.n = 0;
    nosi_strbuf_puts(out, "},\"refusals\":{");
    count_refusals(&counts);
    for (uint32_t k = 0; k < counts.at.n; k++) {
        nosi_strbuf_puts(out, k ? "," : "");
        json_string(out, counts.at.at[k].text);
        nosi_strbuf_printf(out, ":%" PRIu64, counts.at.at[k].places);
    }
    vec_free(&counts.at);
    const char *comma = "";
    nosi_strbuf_puts(out, "},\"refused_functions\":[");
    VEC_EACH (Record *, it, &nosi_jit.records) {
        const Func *f = (*it)->all.link.f;
        if (!(*it)->refused)
            continue;
        nosi_strbuf_printf(out, "%s{\"function\":", comma);
        json_string(out, name_of(f));
        nosi_strbuf_printf(out, ",\"line\":%u,\"reason\":", nosi_func_line(f, 0));
        json_string(out, (*it)->refused);
        nosi_strbuf_putc(out, '}');
        comma = ",";
    }
    nosi_strbuf_puts(out, "],\"code\":[");
    comma = "";
    VEC_EACH (Record *, it, &nosi_jit.records)
        for (uint32_t k = 0; k < (*it)->codes.n; k++) {
            nosi_strbuf_puts(out, comma);
            json_code(out, (*it)->codes.at[k]);
            comma = ",";
        }
    nosi_strbuf_puts(out, "]}\n");
}

void nosi_jit_stats(StrBuf *out, bool as_json)
{
    pthread_mutex_lock(&nosi_jit.lock);
    nosi_jit_reclaim();
    if (as_json)
        json(out);
    else
        table(out);
    pthread_mutex_unlock(&nosi_jit.lock);
}

/* ---- one function ---------------------------------------------------------------------------- */

void nosi_jit_describe(FuncCell *cell, bool brief, StrBuf *out)
{
    const Func *f = atomic_load_explicit(&cell->current, memory_order_acquire);
    if (!f)
        return;
    pthread_mutex_lock(&nosi_jit.lock);
    const Record *r = __atomic_load_n((Record *const *)(const void *)&f->jit, __ATOMIC_ACQUIRE);
    nosi_strbuf_printf(out, "%s(%s): ", name_of(f), f->signature ? f->signature : "");
    uint32_t calls = __atomic_load_n(&f->n_calls, __ATOMIC_RELAXED);
    if (r && r->codes.n) {
        bool whole = false, loops = false;
        for (uint32_t k = 0; k < r->codes.n; k++) {
            const JitCode *c = r->codes.at[k];
            whole |= !c->is_poor && !is_loop(c);
            loops |= !c->is_poor && is_loop(c);
        }
        nosi_strbuf_printf(out, "%s\n",
                           whole   ? "machine code"
                           : loops ? "machine code for its loops"
                                   : "interpreted, its machine code was left too often");
        if (!brief)
            table_head(out);
        for (uint32_t k = 0; k < r->codes.n && !brief; k++) {
            const JitCode *c = r->codes.at[k];
            table_code(out, c);
            for (uint32_t j = 0; j < c->inlined.n; j++)
                nosi_strbuf_printf(out, "%s%s", j ? ", " : "    inlines ",
                                   name_of(c->inlined.at[j]));
            nosi_strbuf_puts(out, c->inlined.n ? "\n" : "");
        }
    } else if (nosi_jit.mode == JIT_OFF) {
        nosi_strbuf_puts(out, "interpreted (the JIT is off)\n");
    } else if (r && r->refused) {
        nosi_strbuf_printf(out, "interpreted, refused: %s\n", r->refused);
    } else if (r && (call_was_asked(r) || r->loops_asked.n)) {
        nosi_strbuf_puts(out, "interpreted, waits to be compiled\n");
    } else {
        nosi_strbuf_printf(out, "interpreted, called %u times\n", calls);
    }
    pthread_mutex_unlock(&nosi_jit.lock);
}
