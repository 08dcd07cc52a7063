/* main.c -- the nostos command: parses the command line (options.def), assembles a VM, runs. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/exec.h"
#include "sched/slices.h"
#if NOS_JIT
#include "jit/jit.h"
#endif
#include "vm/bytecode/bytecode.h"
#include "vm/run.h"
#include "vm/vm.h"

#ifndef NOS_VERSION
#define NOS_VERSION "0.1.0"
#endif

enum { EXIT_WRONG_USAGE = 2 };

typedef enum {
    CMD_NONE,
#define COMMAND(id, name, usage, text) CMD_##id,
#define OPTION(id, name, short_name, arg, text)
#include "vm/options.def"
#undef COMMAND
#undef OPTION
} CommandId;

typedef enum {
#define COMMAND(id, name, usage, text)
#define OPTION(id, name, short_name, arg, text) OPT_##id,
#include "vm/options.def"
#undef COMMAND
#undef OPTION
    OPT__COUNT
} OptionId;

typedef struct OptionInfo {
    const char *name;
    char short_name;
    const char *arg;
    const char *text;
} OptionInfo;

static const OptionInfo option_info[OPT__COUNT] = {
#define COMMAND(id, name, usage, text)
#define OPTION(id, name, short_name, arg, text) [OPT_##id] = {name, short_name, arg, text},
#include "vm/options.def"
#undef COMMAND
#undef OPTION
};

static const struct {
    CommandId id;
    const char *name, *usage, *text;
} commands[] = {
#define COMMAND(id, name, usage, text) {CMD_##id, name, usage, text},
#define OPTION(id, name, short_name, arg, text)
#include "vm/options.def"
#undef COMMAND
#undef OPTION
};

typedef struct Cli {
    CommandId command;
    bool given[OPT__COUNT];
    const char *path; // program file or directory
    const char *bin;
    VmOptions vm;
} Cli;

static void print_help(FILE *out)
{
    fputs(
        "Usage: nostos [OPTIONS] FILE.nos | DIR [ARGUMENTS]\n"
        "       nostos COMMAND ...\n"
        "\n"
        "Runs a Nostos program. Options come before the program (`--` ends them); everything after "
        "it\nbelongs to the program.\n"
        "Without arguments on a terminal: the REPL.\n"
        "\nCommands:\n",
        out);
    for (size_t i = 0; i < NOS_COUNT(commands); i++)
        fprintf(out, "  %-26s %s\n", commands[i].usage, commands[i].text);
    fputs("\nOptions:\n", out);
    for (int i = 0; i < OPT__COUNT; i++) {
        const OptionInfo *o = &option_info[i];
        char name[64], dash[8] = "    ";
        if (o->short_name)
            snprintf(dash, sizeof dash, "-%c, ", o->short_name);
        snprintf(name, sizeof name, "%s--%s%s%s", dash, o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        fprintf(out, "  %-26s %s\n", name, o->text);
    }
    fputs("\nEnvironment: NOS_SEED, NOS_SCHED_SEED, NOS_GC_STRESS (see HACKING.md).\n"
          "Exit status: 0 success, 1 compile error or uncaught error in main, 2 wrong usage, 130 "
          "interrupted.\n",
          out);
}

NOS_NORETURN static void NOS_PRINTF(1, 2) usage_error(const char *fmt, ...)
{
    va_list ap;
    fputs("nostos: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\nTry `nostos --help`.\n", stderr);
    exit(EXIT_WRONG_USAGE);
}

static uint64_t number_argument(const char *option, const char *text, bool allow_suffix,
                                uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    uint64_t scale = 1;
    if (allow_suffix && *end) {
        char c = *end++;
        scale = c == 'K' || c == 'k'   ? 1u << 10
                : c == 'M' || c == 'm' ? 1u << 20
                : c == 'G' || c == 'g' ? 1u << 30
                                       : 0;
    }
    // strtoull also takes blanks and a sign.
    if (errno || *end || *text < '0' || *text > '9' || !scale || n > max / scale)
        usage_error("--%s: not a valid number: '%s'", option, text);
    if (n < min)
        usage_error("--%s: at least %llu", option, (unsigned long long)min);
    return n * scale;
}

static unsigned jit_mode(const char *value)
{
#if NOS_JIT
    static const char *const names[] = {[JIT_ON] = "on", [JIT_OFF] = "off", [JIT_EAGER] = "eager"};
    for (unsigned k = 0; k < NOS_COUNT(names); k++)
        if (names[k] && strcmp(value, names[k]) == 0)
            return k;
    usage_error("--jit: `on`, `off` or `eager`, not '%s'", value);
#else
    if (strcmp(value, "off") != 0)
        usage_error("--jit: this build has no JIT%s", "");
    return 0;
#endif
}

static void apply_option(Cli *cli, OptionId id, const char *value)
{
    cli->given[id] = true;
    const char *name = option_info[id].name;
    switch (id) {
    case OPT_JSON_ERRORS:
        cli->vm.json_errors = true;
        break;
    case OPT_WARNINGS:
        cli->vm.show_warnings = true;
        break;
    case OPT_BIN:
        cli->bin = value;
        break;
    case OPT_THREADS:
        cli->vm.threads = (uint32_t)number_argument(name, value, false, 1, 1024);
        break;
    case OPT_MAX_DEPTH:
        cli->vm.max_depth = (uint32_t)number_argument(name, value, false, 1, 1u << 30);
        break;
    case OPT_MAX_HEAP:
        cli->vm.max_heap_bytes = number_argument(name, value, true, 1, 1ull << 48);
        break;
    case OPT_MAX_PROCESSES:
        cli->vm.max_processes = number_argument(name, value, false, 1, 1ull << 48);
        break;
    case OPT_SEED:
        cli->vm.seed = number_argument(name, value, false, 0, UINT64_MAX);
        cli->vm.has_seed = true;
        break;
    case OPT_SCHED_SEED:
        cli->vm.sched_seed = number_argument(name, value, false, 1, UINT64_MAX);
        break;
    case OPT_ON_CRASH:
        if (strcmp(value, "abort") != 0 && strcmp(value, "report") != 0)
            usage_error("--on-crash: `report` or `abort`, not '%s'", value);
        cli->vm.crash_aborts = strcmp(value, "abort") == 0;
        break;
    case OPT_JIT:
        cli->vm.jit = jit_mode(value);
        break;
    case OPT_JIT_STATS:
        if (value && strcmp(value, "json") != 0)
            usage_error("--jit-stats: nothing or `json`, not '%s'", value);
        cli->vm.jit_stats = true;
        cli->vm.jit_stats_json = value != NULL;
        break;
    case OPT_JIT_DUMP:
        jit_mode("on"); // there is one
        cli->vm.jit_dump = value;
        break;
    case OPT_JIT_GDB:
        jit_mode("on");
        cli->vm.jit_gdb = true;
        break;
    default:
        break;
    }
}

static int find_option(const char *arg, const char **value)
{
    *value = NULL;
    if (arg[1] != '-') {
        for (int i = 0; i < OPT__COUNT; i++)
            if (option_info[i].short_name && arg[1] == option_info[i].short_name && !arg[2])
                return i;
        return -1;
    }
    size_t n = strcspn(arg + 2, "=");
    for (int i = 0; i < OPT__COUNT; i++) {
        if (strlen(option_info[i].name) == n && strncmp(option_info[i].name, arg + 2, n) == 0) {
            if (arg[2 + n] == '=')
                *value = arg + 3 + n;
            return i;
        }
    }
    return -1;
}

static void parse_command_line(Cli *cli, int argc, char **argv)
{
    int i = 1;
    bool options = true; // until `--`
    for (; i < argc && !cli->path; i++) {
        char *arg = argv[i];
        if (options && strcmp(arg, "--") == 0) {
            options = false;
            continue;
        }
        if (options && arg[0] == '-' && arg[1]) {
            const char *value;
            int id = find_option(arg, &value);
            if (id < 0)
                usage_error("unknown option '%s'", arg);
            const char *takes = option_info[id].arg;
            if (takes && takes[0] != '[' && !value) {
                if (i + 1 >= argc)
                    usage_error("option '%s' needs an argument", arg);
                value = argv[++i];
            } else if (!takes && value) {
                usage_error("option '%s' takes no argument", arg);
            }
            apply_option(cli, (OptionId)id, value);
            continue;
        }
        if (cli->command == CMD_NONE) {
            for (size_t c = 0; c < NOS_COUNT(commands); c++)
                if (strcmp(arg, commands[c].name) == 0)
                    cli->command = commands[c].id;
            if (cli->command != CMD_NONE)
                continue;
            cli->command = CMD_RUN;
        }
        cli->path = arg;
    }
    cli->vm.args = (const char *const *)argv + i;
    cli->vm.n_args = (uint32_t)(argc - i);
}

static void disassemble(Vm *vm)
{
    StrBuf out = {0};
    for (uint32_t i = 0; i < nosi_n_funcs(); i++) {
        FuncCell *cell = nosi_func_by_id(i);
        Func *f = cell->current;
        if (f && !f->is_library)
            nosi_disasm(f, &out);
    }
    fputs(nosi_strbuf_cstr(&out), stdout);
    nosi_strbuf_free(&out);
    (void)vm;
}

static int run_program(Cli *cli, Vm *vm)
{
    struct stat st;
    bool is_dir = stat(cli->path, &st) == 0 && S_ISDIR(st.st_mode);
    if (cli->bin && !is_dir) {
        nosi_vm_error(vm, "--bin requires a nostos.toml with [[bin]] entries");
        return 1;
    }
    bool loaded =
        is_dir ? nosi_vm_load_project(vm, cli->path, cli->bin) : nosi_vm_load_file(vm, cli->path);
    if (!loaded)
        return 1;
    if (cli->command == CMD_CHECK || cli->given[OPT_CHECK])
        return 0;
    if (cli->given[OPT_DISASM]) {
        disassemble(vm);
        return 0;
    }
    int status = nosi_vm_run(vm);
    nosi_run_report_jit(vm);
    return status;
}

/* A standard stream that is closed would be what the program's first file gets. Output to a closed
 * one fails, like a write to a full device. */
static void open_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDONLY) != fd)
            _exit(1);
}

/* Output that got lost makes the run a failure. */
static int end_output(int status)
{
    nosi_run_flush();
    int err = atomic_load(&nosi_output_errno);
    if (err || ferror(stdout)) {
        fprintf(stderr, "Error: cannot write to standard output%s%s\n", err ? ": " : "",
                err ? strerror(err) : "");
        status = status ? status : 1;
    }
    fflush(stderr);
    return status;
}

static int run_command(Cli *cli)
{
    if (cli->given[OPT_HELP]) {
        print_help(stdout);
        return 0;
    }
    if (cli->given[OPT_VERSION]) {
        puts("nostos " NOS_VERSION);
        return 0;
    }
    if (cli->command == CMD_NONE || (cli->command != CMD_REPL && !cli->path)) {
        fputs("Error: No input file specified\n", stderr);
        print_help(stderr);
        return EXIT_WRONG_USAGE;
    }
    Vm *vm = nosi_vm_new(&cli->vm);
    if (cli->command == CMD_REPL) {
        int status = nosi_repl(vm, cli->path, stdin, isatty(STDIN_FILENO));
        nosi_run_report_jit(vm);
        return status;
    }
    return run_program(cli, vm);
}

/* We are compiled for processors since 2009 (-march=x86-64-v2, see CMakeLists.txt). */
static void check_processor(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("popcnt") && __builtin_cpu_supports("sse4.2"))
        return;
    fputs("nostos: this processor is too old: SSE4.2 and POPCNT are needed (x86-64-v2)\n", stderr);
    exit(EXIT_FAILURE);
#endif
}

int main(int argc, char **argv)
{
    Cli cli = {0};
    open_standard_streams();
    check_processor();
    signal(SIGUSR1,
           SIG_IGN); // until a program runs there is nothing to report, and no reason to die
    parse_command_line(&cli, argc, argv);
    const char *seed = getenv("NOS_SEED");
    if (seed && *seed && !cli.vm.has_seed)
        apply_option(&cli, OPT_SEED, seed);
    if (cli.command == CMD_NONE && argc <= 1 && isatty(STDIN_FILENO))
        cli.command = CMD_REPL;
    // The VM is not torn down: other processes of the program are abandoned (part 3, 2.6) and the
    // OS takes the memory back at once.
    int status = end_output(run_command(&cli));
    nosi_exec_kill_all();
    nosi_slices_report();
    _exit(status);
}
