/* main.c -- random functions of the shapes that jit/emit.c makes, compiled by the pinned MIR at
 * each of its levels; what they do is compared with what run.c works out.
 *
 *      mir_programs [--seconds N] [--seed N] [--only K]
 *
 * What does not agree is made smaller and printed, as MIR. `--only` makes program K of a seed and
 * prints it. Exit status 1: a program was found. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "jit/mirctx.h"
#include "program.h"

enum { PATIENCE = 5 }; // seconds for a program, which takes a few ms

/* code(args) with r15 = world. What it gives stays in its registers: (rax, rdx) or (xmm0, rax). */
Result mir_programs_enter(void *code, uint64_t *args, void *world);
__asm__(".text\n"
        ".globl mir_programs_enter\n"
        ".type mir_programs_enter, @function\n"
        "mir_programs_enter:\n"
        "    pushq %r15\n"
        "    movq %rdx, %r15\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    callq *%rax\n"
        "    popq %r15\n"
        "    retq\n"
        ".size mir_programs_enter, .-mir_programs_enter\n");

/* All NaNs are equal: which of two operands one comes from is nobody's business. */
static void settle(World *w)
{
    for (uint32_t k = 0; k < N_CELLS; k++) {
        if (isnan(w->floats[k]))
            w->floats[k] = NAN;
        if (isnan(w->singles[k]))
            w->singles[k] = NAN;
    }
    uint64_t *words[] = {w->exits, w->heap};
    uint32_t n[] = {sizeof w->exits / 8, N_HEAP};
    for (uint32_t j = 0; j < 2; j++)
        for (uint32_t k = 0; k < n[j]; k++) {
            double d;
            memcpy(&d, &words[j][k], sizeof d);
            if (isnan(d) && words[j][k] << 12 == (uint64_t)1 << 63) // the processor's
                words[j][k] = 0x7FF8000000000000;
        }
    // Addresses, as distances.
    w->reify = (uint64_t *)(uintptr_t)(w->reify - w->exits);
    w->top = (uint64_t *)(uintptr_t)(w->top - w->heap);
    w->shadow = (uint64_t *)(uintptr_t)(w->shadow - w->slots);
    w->limit = NULL;
    w->proc = NULL;
    memset(w->arrays, 0, sizeof w->arrays);
    memset(w->slots, 0, sizeof w->slots);
}

static bool same_value(const Program *p, int64_t x, int64_t y)
{
    double a, b;
    memcpy(&a, &x, sizeof a);
    memcpy(&b, &y, sizeof b);
    return x == y || (p->gives_float && isnan(a) && isnan(b));
}

typedef struct FloatResult {
    double value;
    int64_t status;
} FloatResult;
typedef FloatResult FloatTrampoline(void *code, uint64_t *args, void *world);

static Result enter(const Program *p, void *code, World *w)
{
    if (!p->gives_float)
        return mir_programs_enter(code, w->args, w);
    void *at = (void *)(uintptr_t)mir_programs_enter;
    FloatTrampoline *trampoline;
    memcpy(&trampoline, &at, sizeof trampoline);
    FloatResult f = trampoline(code, w->args, w);
    Result r = {.status = f.status};
    memcpy(&r.value, &f.value, sizeof r.value);
    return r;
}

/* What is wrong, or NULL. */
static const char *check(const Program *p, FILE *text)
{
    static char what[200];
    static World want[N_INPUTS], got;
    Result wanted[N_INPUTS];
    for (uint32_t i = 0; i < N_INPUTS; i++) {
        program_fill(&want[i], p, i);
        wanted[i] = program_run(p, &want[i]);
        settle(&want[i]);
    }
    for (unsigned level = 0; level < N_LEVELS; level++) {
        ProgramBuild how = {p, level == 0 ? text : NULL};
        MirCtx *ctx = nosi_mirctx_open(level);
        void *code = nosi_mirctx_compile(ctx, program_build, &how);
        what[0] = '\0';
        if (!code)
            snprintf(what, sizeof what, "level %u: %s", level, nosi_mirctx_error(ctx));
        for (uint32_t i = 0; i < N_INPUTS && !what[0]; i++) {
            program_fill(&got, p, i);
            Result r = enter(p, code, &got);
            settle(&got);
            if (r.status != wanted[i].status || !same_value(p, r.value, wanted[i].value))
                snprintf(what, sizeof what,
                         "level %u, input %u: (%lld, %lld) instead of (%lld, %lld)", level, i,
                         (long long)r.value, (long long)r.status, (long long)wanted[i].value,
                         (long long)wanted[i].status);
            else if (memcmp(&got, &want[i], sizeof got) != 0) {
                const uint64_t *a = (const void *)&got, *b = (const void *)&want[i];
                size_t k = 0;
                while (a[k] == b[k])
                    k++;
                snprintf(what, sizeof what,
                         "level %u, input %u: byte %zu of the world: %llx instead of %llx", level,
                         i, k * 8, (unsigned long long)a[k], (unsigned long long)b[k]);
            }
        }
        nosi_mirctx_close(ctx);
        if (what[0])
            return what;
    }
    return NULL;
}

/* In a process of its own, since wrong code may do anything. 0: right, 1: wrong, more: it died. */
static int check_apart(const Program *p)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE);
        _exit(check(p, NULL) != NULL);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("mir_programs");
        exit(2);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Leaves out all that can be. */
static bool shrink(const Program *p, Block *b)
{
    bool any = false;
    for (uint32_t k = b->n; k-- > 0;) {
        Stmt *s = &b->at[k];
        if (s->off)
            continue;
        s->off = true;
        if (check_apart(p) != 0) {
            any = true;
            continue;
        }
        s->off = false;
        any |= shrink(p, &s->body[0]);
        any |= shrink(p, &s->body[1]);
    }
    return any;
}

static void report(uint64_t seed, uint64_t k)
{
    Program p;
    program_make(&p, seed, k);
    while (shrink(&p, &p.body))
        ;
    fprintf(stderr, "program %llu of seed %llu:\n", (unsigned long long)k,
            (unsigned long long)seed);
    int how = check_apart(&p);
    if (how > 1)
        fprintf(stderr, "died of signal %d%s\n", how - 128,
                how - 128 == SIGALRM ? ", for it takes too long" : "");
    fflush(stderr);
    alarm(PATIENCE);
    const char *what = check(&p, stderr);
    fprintf(stderr, "%s\n", what ? what : "(right now it is right)");
    nosi_arena_free(&p.arena);
}

static uint64_t argument(int argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 0);
    return otherwise;
}

int main(int argc, char **argv)
{
    enum { BATCH = 500 };
    for (int i = 1; i < argc; i += 2)
        if ((strcmp(argv[i], "--seconds") && strcmp(argv[i], "--seed") &&
             strcmp(argv[i], "--only")) ||
            i + 1 == argc) {
            fprintf(stderr, "usage: mir_programs [--seconds N] [--seed N] [--only K]\n");
            return 2;
        }
    uint64_t seconds = argument(argc, argv, "--seconds", 60),
             seed = argument(argc, argv, "--seed", 1),
             only = argument(argc, argv, "--only", UINT64_MAX);
    time_t end = time(NULL) + (time_t)seconds;
    if (only != UINT64_MAX) {
        Program p;
        program_make(&p, seed, only);
        const char *what = check(&p, stdout);
        printf("%s\n", what ? what : "right");
        nosi_arena_free(&p.arena);
        return what != NULL;
    }
    uint64_t *now =
        mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED) {
        perror("mir_programs");
        return 2;
    }
    while (time(NULL) < end) {
        uint64_t first = *now;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            for (; *now < first + BATCH; ++*now) {
                Program p;
                alarm(PATIENCE);
                program_make(&p, seed, *now);
                if (check(&p, NULL))
                    _exit(1);
                nosi_arena_free(&p.arena);
            }
            _exit(0);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            perror("mir_programs");
            return 2;
        }
        if (status != 0) {
            report(seed, *now);
            return 1;
        }
    }
    printf("%llu programs at %d levels, no difference\n", (unsigned long long)*now, N_LEVELS);
    return 0;
}
