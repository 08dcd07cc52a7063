/* vm.h -- a whole virtual machine: sources, program, compiled code and scheduler put together.
 *
 * The only place that knows every part. Parts below do not know each other more than the layer
 * table allows; the hooks they need (running a slice, names of functions for show, ...) are
 * installed here. */
#ifndef NOSI_VM_H
#define NOSI_VM_H

#include <stdio.h>

#include "vm/front/diag.h"
#include "vm/types/program.h"

typedef struct Sched Sched;

typedef struct VmOptions {
    uint32_t threads;        // workers; 0 = one per core
    uint32_t max_depth;      // frames per process; 0 = default
    uint64_t max_heap_bytes; // per process; 0 = no limit
    uint64_t max_processes;  // alive at a time; 0 = no limit
    unsigned jit;            // JitMode (jit/jit.h)
    bool jit_stats;          // print what the JIT did at the end
    bool jit_stats_json;     // as JSON
    const char *jit_dump;    // functions whose compilation is printed, or NULL; borrowed for ever
    bool jit_gdb;            // tell gdb about machine code
    uint64_t seed;           // hashing and random numbers, when has_seed
    bool has_seed;
    uint64_t sched_seed; // one fixed interleaving and a logical clock; 0 = none
    bool json_errors;
    bool crash_aborts; // --on-crash=abort
    bool show_warnings;
    const char *const *args; // the program's arguments; borrowed for the life of the VM
    uint32_t n_args;
} VmOptions;

typedef struct Mvar Mvar;
typedef struct MvarStart {
    Mvar *mvar;
    FuncCell *init; // gives the initial value
} MvarStart;

typedef struct Piece { // see vm/pieces.h
    Arena trees;
    ProgramPart program;
    uint32_t first_source, end_source;
} Piece;

typedef struct Vm {
    VmOptions options;
    Arena arena; // syntax trees and diagnostics of the current input
    SourceSet sources;
    Program *program;
    Sched *sched;
    VEC(Mvar *) mvars;         // all that were ever defined; owned
    VEC(MvarStart) mvar_inits; // mvars compiled but not set yet
    FuncCell *entry;           // what nosi_vm_run calls: main
    char *directory; // of the program file or project: where `use a.b` looks for a/b.nos; owned,
                     // NULL = nowhere
    bool is_project;
    bool has_instances; // the library functions that serve user instances are required
    DiagList diags;     // of the current load
    VEC(Piece) pieces;  // of the REPL: earlier inputs; the first one is all that was loaded before
    uint32_t n_cut_sources;
    size_t piece_bytes, collect_at;
} Vm;

Vm *nosi_vm_new(const VmOptions *options); // gives
void nosi_vm_free(Vm *vm);                 // takes

/* Load a program; compile errors are rendered to stderr (or as JSON lines to stdout). False:
 * nothing may be run. A file program: the file and what it uses. A project: every .nos file below
 * the directory. `bin` selects a [[bin]] entry of nostos.toml, NULL = the default one. */
bool nosi_vm_load_file(Vm *vm, const char *path);
bool nosi_vm_load_project(Vm *vm, const char *dir, const char *bin);
bool nosi_vm_load_text(Vm *vm, const char *name, const char *text,
                       size_t n); // text under a made-up file name
/* Compiles what is loaded and finds the entry point. */
bool nosi_vm_prepare(Vm *vm, const char *entry);
/* Runs module initialisers and the entry point; prints its result. Returns the exit status. */
int nosi_vm_run(Vm *vm);

/* Parses, checks and compiles `unit` as an addition to the root module (REPL). */
bool nosi_vm_add(Vm *vm, SourceUnit *unit);
/* Renders and clears the collected diagnostics; true when there were errors. */
bool nosi_vm_report(Vm *vm);
/* An error without a place in a source text: "Error: ..." on stderr, or a JSON line. */
void nosi_vm_error(Vm *vm, const char *fmt, ...) NOS_PRINTF(2, 3);

/* The read-eval-print loop, after loading the definitions in `path` if that is not NULL. Returns
 * the exit status. */
int nosi_repl(Vm *vm, const char *path, FILE *in, bool interactive);

#endif
