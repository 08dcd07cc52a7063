/* run.c -- see run.h. */
#include "vm/run.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"
#if NOS_JIT
#include "jit/jit.h"
#endif
#include "sched/mvar.h"
#include "sched/sched.h"
#include "vm/builtins/builtins.h"
#include "vm/bytecode/builtin.h"
#include "vm/compile/compile.h"
#include "vm/data/compare.h"
#include "vm/data/show.h"
#include "vm/interp/interp.h"
#include "vm/interp/rtcall.h"

static const char *const lib_funcs[] = {
#define LIBFUNC(id, name, n_params, meaning) name,
#include "vm/interp/libfuncs.def"
#undef LIBFUNC
};

/* ---- hooks
 * -------------------------------------------------------------------------------------------------
 */

static void show_function(StrBuf *out, FuncCell *cell, size_t n_captures)
{
    const Func *f = atomic_load_explicit(&cell->current, memory_order_acquire);
    if (f && !f->is_lambda)
        nosi_strbuf_printf(out, "<function %s/%s>", cell->name, f->signature ? f->signature : "");
    else
        nosi_strbuf_puts(out, n_captures ? "<closure <lambda>>" : "<function <lambda>>");
}

static const char *native_name(const Builtin *b)
{
    return b->name;
}

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
    return seed;
}

void nosi_run_init(Vm *vm)
{
    nosi_show_closure_hook = show_function;
    nosi_native_name_hook = native_name;
    nosi_before_report = nosi_run_flush;
    nosi_io_init();
    nosi_builtins_set_args(vm->options.args, vm->options.n_args);
    // A replay repeats everything that is chance.
    uint64_t replay = vm->options.sched_seed ? vm->options.sched_seed : nosi_sched_env_seed();
    nosi_hash_seed = vm->options.has_seed ? vm->options.seed : replay ? replay : random_seed();
    nosi_random_seed = vm->options.has_seed ? vm->options.seed : replay ? replay : random_seed();
    SchedOptions o = {
        .run_slice = nosi_run_slice,
        .n_workers = vm->options.threads,
        .max_depth = vm->options.max_depth,
        .max_heap_words = vm->options.max_heap_bytes / sizeof(Value),
        .max_processes = vm->options.max_processes,
        .seed = replay,
        .crash_aborts = vm->options.crash_aborts,
    };
    vm->sched = nosi_sched_new(&o);
#if NOS_JIT
    // When a function is compiled depends on time: a replay that is not eager does without.
    JitOptions jit = {.mode = replay && vm->options.jit == JIT_ON ? JIT_REPLAY
                                                                  : (JitMode)vm->options.jit,
                      .dump = vm->options.jit_dump,
                      .gdb = vm->options.jit_gdb};
    nosi_jit_begin(&jit);
    if (vm->options.jit_stats)
        nosi_jit_sample();
#endif
}

void nosi_run_end(Vm *vm)
{
    nosi_sched_free(vm->sched);
    vm->sched = NULL;
#if NOS_JIT
    nosi_jit_end();
#endif
    VEC_EACH (Mvar *, m, &vm->mvars)
        nosi_mvar_free(*m);
    vec_free(&vm->mvars);
}

void nosi_run_report_jit(const Vm *vm)
{
#if NOS_JIT
    if (vm->options.jit_stats) {
        StrBuf b = {0};
        nosi_jit_stats(&b, vm->options.jit_stats_json);
        fputs(b.s, stderr);
        nosi_strbuf_free(&b);
    }
    nosi_jit_dump_end();
#else
    (void)vm;
#endif
}

void nosi_run_jit_stats(StrBuf *out)
{
#if NOS_JIT
    nosi_jit_sample();
    nosi_jit_stats(out, false);
#else
    nosi_strbuf_puts(out, "This build has no JIT.\n");
#endif
}

void nosi_run_jit_describe(FuncCell *cell, bool brief, StrBuf *out)
{
#if NOS_JIT
    nosi_jit_describe(cell, brief, out);
#else
    nosi_strbuf_printf(out, "%s: interpreted (this build has no JIT)\n", cell->name);
    (void)brief;
#endif
}

_Atomic(int) nosi_output_errno;

void nosi_run_flush(void)
{
    int none = 0;
    if (fflush(stdout) != 0)
        atomic_compare_exchange_strong(&nosi_output_errno, &none, errno);
}

void nosi_run_show_result(StrBuf *out, Value v)
{
    nosi_show(out, v, SHOW_RESULT, NULL);
}

/* ---- compiling
 * --------------------------------------------------------------------------------------------- */

/* A run-time error as a JSON line: the first line of its report, at the line that raised it. */
static void report_json(Vm *vm, const Outcome *o)
{
    static const char prefix[] = "Runtime error: ";
    const char *text = o->text ? o->text : prefix;
    if (strncmp(text, prefix, sizeof prefix - 1) == 0)
        text += sizeof prefix - 1;
    Span span = {0};
    const TraceFrame *at = o->trace && o->trace->n_inner ? &o->trace->frames[0] : NULL;
    for (uint32_t i = 1; at && at->func->file && i <= vm->sources.n && !span.file; i++) {
        const SourceFile *f = nosi_source(&vm->sources, i);
        uint32_t line = nosi_func_line(at->func, at->pc);
        if (strcmp(f->path, at->func->file) == 0 && line && line <= f->n_lines)
            span = (Span){i, f->line_start[line - 1], f->line_start[line - 1]};
    }
    nosi_diag_error(&vm->diags, DIAG_RUNTIME, span, "%.*s", (int)strcspn(text, "\n"), text);
    nosi_vm_report(vm);
}

/* Prints how a run ended; returns the exit status. */
static int report(Vm *vm, Outcome *o)
{
    nosi_run_flush();
    if (vm->options.json_errors && o->kind != EXIT_VALUE && o->kind != EXIT_CODE &&
        o->kind != EXIT_INTERRUPTED)
        report_json(vm, o);
    switch (o->kind) {
    case EXIT_VALUE:
        return 0;
    case EXIT_CODE:
        return o->code;
    case EXIT_INTERRUPTED:
        fputs("Interrupted\n", stderr);
        return 130;
    default:
        fputs(o->text ? o->text : "Runtime error: the main process was killed\n", stderr);
        return 1;
    }
}

static void find_lib_funcs(Vm *vm)
{
    for (uint32_t i = 0; i < NOS_COUNT(lib_funcs); i++) {
        Function *f = nosi_program_required(vm->program, nosi_intern_cstr(lib_funcs[i]));
        if (f)
            nosi_lib_funcs[i] = f->cell;
    }
}

bool nosi_run_compile(Vm *vm)
{
    CompileResult result;
    bool ok = nosi_compile_program(vm->program, &result);
    for (uint32_t i = 0; i < result.n_mvars; i++)
        vec_push(&vm->mvars, result.mvars[i].mvar);
    if (nosi_vm_report(vm) || !ok)
        return false;
    find_lib_funcs(vm);
    for (uint32_t i = 0; i < result.n_mvars; i++)
        if (result.mvars[i].init)
            vec_push(&vm->mvar_inits, ((MvarStart){result.mvars[i].mvar, result.mvars[i].init}));
    return true;
}

int nosi_run_initialisers(Vm *vm)
{
    int status = 0;
    for (uint32_t i = 0; i < vm->mvar_inits.n && !status; i++) {
        const MvarStart *m = &vm->mvar_inits.at[i];
        Outcome o = nosi_sched_run(vm->sched, m->init);
        if (o.kind == EXIT_VALUE) {
            nosi_mvar_store(vm->sched, m->mvar, o.value);
            o.value = NULL;
        } else {
            status = report(vm, &o);
        }
        nosi_outcome_free(&o);
    }
    vm->mvar_inits.n = 0;
    return status;
}

/* ---- running
 * -----------------------------------------------------------------------------------------------
 */

int nosi_vm_run(Vm *vm)
{
    int failed = nosi_run_initialisers(vm);
    if (failed)
        return failed;
    nosi_sched_restart_pids(vm->sched);
    Outcome o = nosi_sched_run_program(vm->sched, vm->entry);
    int status = report(vm, &o);
    if (o.kind == EXIT_VALUE && o.value && !value_is_unit(o.value->root)) {
        StrBuf out = {0};
        nosi_run_show_result(&out, o.value->root);
        nosi_strbuf_putc(&out, '\n');
        fwrite(out.s, 1, out.n, stdout);
        nosi_strbuf_free(&out);
    }
    nosi_run_flush();
    nosi_outcome_free(&o);
    return status;
}
