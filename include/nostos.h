/* nostos.h -- the embedding API: run Nostos programs from C. Nothing else of the library is public.
 *
 * One VM runs one program. All functions are called from one thread; the VM starts its worker
 * threads itself. One VM exists at a time: free it before making the next one. Compiled code, types
 * and interned names belong to the process: the memory they take is not given back. */
#ifndef NOSTOS_H
#define NOSTOS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nos_vm nos_vm;

typedef enum nos_status {
    NOS_OK = 0,
    NOS_ERROR_COMPILE = 1, // diagnostics were written to standard error
    NOS_ERROR_RUNTIME = 2, // an uncaught exception ended `main`, whose report was written to
                           // standard error, or exit(n) with n != 0
    NOS_ERROR_USAGE = 3,   // called in the wrong order, or with a bad argument
} nos_status;

typedef struct nos_options {
    uint32_t threads;        // worker threads; 0 = one per core
    uint64_t max_heap_bytes; // memory limit of each process; 0 = none
    const char *const *args; // what the program sees as Env.args(); borrowed until nos_free
    uint32_t n_args;
} nos_options;

/* Creates a VM; options may be NULL. Gives the VM, never NULL. */
nos_vm *nos_new(const nos_options *options);
/* A program is loaded once per VM, and only if no load has failed.
 *
 * Compiles the program in `text` (n bytes of UTF-8); `name` stands for the file in messages. */
nos_status nos_load_text(nos_vm *vm, const char *name, const char *text, size_t n);
/* The same for a file; `use a.b` finds a/b.nos beside it. */
nos_status nos_load_file(nos_vm *vm, const char *path);
/* Runs module initialisers and `main`; prints main's value unless it is (). Once per VM. */
nos_status nos_run(nos_vm *vm);
/* Takes the VM. */
void nos_free(nos_vm *vm);

#ifdef __cplusplus
}
#endif

#endif
