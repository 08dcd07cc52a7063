/* mirctx.h -- one MIR context: the only door to mir.h.
 *
 * A context is made for one compilation and thrown away. Everything MIR allocates while a context
 * is entered comes from the context's memory (the `mir` target is compiled with malloc, mmap ...
 * renamed to the nosi_mir_* functions of mirctx.c), because MIR_finish is not safe after an error:
 * closing frees the memory and unmaps the code instead, whatever happened before. A context begins
 * with MIR's tables as an earlier one had filled them, if there was one.
 *
 * Not every mistake is reported: a RET with the wrong number of results makes the pinned MIR
 * dereference NULL while it words the message. What is given to MIR must be right; its errors are a
 * safety net.
 *
 * A context belongs to one thread at a time; different threads may use different contexts at once.
 */
#ifndef NOSI_MIRCTX_H
#define NOSI_MIRCTX_H

#include "vm/util/platform.h"

#include "vm/util/vec.h"

typedef struct CodePage {
    void *addr;
    size_t bytes;
} CodePage;
/* Executable pages, never writable at the same time. */
typedef struct CodePages {
    VEC(CodePage) at; // owned
} CodePages;
void nosi_code_free(CodePages *pages); // unmaps
/* What is freed leaves a hole: no other code will have its address. For profilers. */
extern bool nosi_code_keep_addresses;
/* The size of the function at `from`; `other` is another one of the same code, or NULL. */
size_t nosi_code_extent(const CodePages *pages, const void *from, const void *other);

struct MIR_context;
typedef struct MirCtx MirCtx;

/* UNSPEC instructions: (to, x) the square root of a double; (to, x, y) the high word of the signed
 * product. scripts/patch_mir.py gives MIR their patterns. */
enum { MIR_SQRT = 1, MIR_MULH };
/* (label, x, bits), bits in [1, 127]: jumps if none of the bits is set in x, or any. The names of
 * instructions that the same script makes these. */
#define MIR_BIT_NONE MIR_BEQS
#define MIR_BIT_ANY  MIR_BNES

/* Builds one module with MIR's API and gives the address of its machine code (from MIR_gen). */
typedef void *(*MirBuild)(struct MIR_context *mir, void *arg);

void nosi_mirctx_end(void); // frees what is kept for later contexts
MirCtx *nosi_mirctx_open(
    unsigned opt_level); // gives a context; level 0, 1 or 2, fixed for its life (mir.md 3)
void nosi_mirctx_close(MirCtx *m); // takes m; its machine code dies with it
/* Takes m and gives its code, which lives on. The bytes mapped. */
size_t nosi_mirctx_detach(MirCtx *m, CodePages *out);

/* Runs `build`. NULL when MIR reported an error: see nosi_mirctx_error; the context can then only
 * be closed. MIR reports by longjmp to here, so `build` owns nothing that must be freed. */
void *nosi_mirctx_compile(MirCtx *m, MirBuild build, void *arg);
const char *nosi_mirctx_error(const MirCtx *m); // borrows; "" while all is well

#endif
