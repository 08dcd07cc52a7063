/* main.c -- the nostos command: parses the command line (options.def), assembles a VM, runs. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm/bytecode/bytecode.h"
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
    fputs("Usage: nostos [OPTIONS] FILE.nos | DIR [ARGUMENTS]\n"
          "       nostos COMMAND ...\n"
          "\n"
          "Runs a Nostos program. Options come before the program; everything after it belongs to "
          "the program.\n"
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
                                uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    uint64_t scale = 1;
    if (allow_suffix && *end) {
        scale = *end == 'K' ? 1u << 10 : *end == 'M' ? 1u << 20 : *end == 'G' ? 1u << 30 : 0;
        end++;
    }
    if (errno || end == text || *end || *text == '-' || !scale || n > max / scale) {
        usage_error("--%s: not a valid number: '%s'", option, text);
    }
    return n * scale;
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
        cli->vm.threads = (uint32_t)number_argument(name, value, false, 1024);
        if (!cli->vm.threads)
            usage_error("%s", "--threads: at least 1");
        break;
    case OPT_MAX_DEPTH:
        cli->vm.max_depth = (uint32_t)number_argument(name, value, false, 1u << 30);
        break;
    case OPT_MAX_HEAP:
        cli->vm.max_heap_bytes = number_argument(name, value, true, 1ull << 48);
        break;
    case OPT_SEED:
        cli->vm.seed = number_argument(name, value, false, UINT64_MAX);
        cli->vm.has_seed = true;
        break;
    case OPT_ON_CRASH:
        if (strcmp(value, "abort") != 0 && strcmp(value, "report") != 0)
            usage_error("--on-crash: `report` or `abort`, not '%s'", value);
        cli->vm.crash_aborts = strcmp(value, "abort") == 0;
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
    for (; i < argc && !cli->path; i++) {
        char *arg = argv[i];
        if (arg[0] == '-' && arg[1]) {
            const char *value;
            int id = find_option(arg, &value);
            if (id < 0)
                usage_error("unknown option '%s'", arg);
            if (option_info[id].arg && !value) {
                if (i + 1 >= argc)
                    usage_error("option '%s' needs an argument", arg);
                value = argv[++i];
            } else if (!option_info[id].arg && value) {
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
    if (stat(cli->path, &st) != 0) {
        fprintf(stderr, "Error: cannot read '%s': %s\n", cli->path, strerror(errno));
        return 1;
    }
    bool loaded = S_ISDIR(st.st_mode) ? nosi_vm_load_project(vm, cli->path, cli->bin)
                                      : nosi_vm_load_file(vm, cli->path);
    if (!loaded)
        return 1;
    if (cli->command == CMD_CHECK || cli->given[OPT_CHECK])
        return 0;
    if (cli->given[OPT_DISASM]) {
        disassemble(vm);
        return 0;
    }
    return nosi_vm_run(vm);
}

int main(int argc, char **argv)
{
    Cli cli = {0};
    parse_command_line(&cli, argc, argv);
    if (cli.given[OPT_HELP]) {
        print_help(stdout);
        return 0;
    }
    if (cli.given[OPT_VERSION]) {
        puts("nostos " NOS_VERSION);
        return 0;
    }
    const char *seed = getenv("NOS_SEED");
    if (seed && *seed && !cli.vm.has_seed)
        apply_option(&cli, OPT_SEED, seed);
    if (cli.command == CMD_NONE && argc <= 1 && isatty(STDIN_FILENO))
        cli.command = CMD_REPL;
    if (cli.command == CMD_NONE || (cli.command != CMD_REPL && !cli.path)) {
        fputs("Error: No input file specified\n", stderr);
        print_help(stderr);
        return EXIT_WRONG_USAGE;
    }
    Vm *vm = nosi_vm_new(&cli.vm);
    int status;
    if (cli.command == CMD_REPL) {
        status = cli.path && !nosi_vm_load_file(vm, cli.path)
                     ? 1
                     : nosi_repl(vm, stdin, isatty(STDIN_FILENO));
    } else {
        status = run_program(&cli, vm);
    }
    // The VM is not torn down: other processes of the program are abandoned (part 3, 2.6) and the
    // OS takes the memory back at once.
    fflush(NULL);
    _exit(status);
}
