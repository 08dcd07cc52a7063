/* mirctx.c -- see mirctx.h. */
#include "jit/mirctx.h"

#include <mir-gen.h>
#include <mir.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vm/util/alloc.h"
#include "vm/util/arena.h"
#include "vm/util/vec.h"

typedef CodePage Mapping;

/* What a context allocates first. To fill MIR's tables takes a third of the time of a small
 * compilation, so they are filled once: later contexts begin with a copy, at the same addresses,
 * since the tables point to each other. */
typedef struct Image {
    MIR_context_t mir; // lives in `data`
    size_t used;
    char *fresh;    // owned; the first `n_fresh` bytes of `data` as they were before a compilation
    size_t n_fresh; // 0: there is no such copy
    Mapping page;   // owned
    _Alignas(16) char data[];
} Image;

enum { IMAGE_BYTES = 1 << 20 }; // twice what MIR's tables need: small functions fit in as well

static Image *spare; // owned; the image of nobody, or NULL

struct MirCtx {
    Image *image;      // owned
    Arena arena;       // what does not fit into the image
    VEC(Mapping) maps; // code pages
    jmp_buf on_error;  // valid while `current` is this context
    bool failed;
    char error[256];
};

static _Thread_local MirCtx *current; // whose MIR code runs on this thread

/* ---- what MIR calls instead of the C library ------------------------------------------------- */

enum { SIZE_HEADER = 16 }; // keeps the arena's alignment

void *nosi_mir_malloc(size_t bytes);
void *nosi_mir_calloc(size_t n, size_t bytes);
void *nosi_mir_realloc(void *p, size_t bytes);
void nosi_mir_free(void *p);
void *nosi_mir_mmap(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset);
int nosi_mir_munmap(void *addr, size_t bytes);
int nosi_mir_mprotect(void *addr, size_t bytes, int prot);

void *nosi_mir_malloc(size_t bytes)
{
    Image *image = current->image;
    size_t need = (SIZE_HEADER + bytes + SIZE_HEADER - 1) & ~(size_t)(SIZE_HEADER - 1);
    size_t *p;
    if (NOS_LIKELY(need <= IMAGE_BYTES - image->used)) {
        p = (size_t *)(void *)(image->data + image->used);
        image->used += need;
    } else {
        p = nosi_arena_alloc_raw(&current->arena, need);
    }
    *p = bytes;
    return (char *)p + SIZE_HEADER;
}

void *nosi_mir_calloc(size_t n, size_t bytes)
{
    return memset(nosi_mir_malloc(n * bytes), 0, n * bytes);
}

void *nosi_mir_realloc(void *p, size_t bytes)
{
    if (!p)
        return nosi_mir_malloc(bytes);
    size_t old = *(size_t *)((char *)p - SIZE_HEADER);
    if (bytes <= old)
        return p;
    return memcpy(nosi_mir_malloc(bytes), p, old);
}

void nosi_mir_free(void *p)
{
    (void)p; // image and arena go as a whole
}

void *nosi_mir_mmap(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    (void)prot; // written first: see make_executable
    void *p = mmap(addr, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
    if (p != MAP_FAILED)
        vec_push(&current->maps, ((Mapping){p, bytes}));
    return p;
}

int nosi_mir_munmap(void *addr, size_t bytes)
{
    (void)addr, (void)bytes; // nosi_mirctx_close does it
    return 0;
}

int nosi_mir_mprotect(void *addr, size_t bytes, int prot)
{
    (void)addr, (void)bytes, (void)prot; // MIR asks for each piece of code; see make_executable
    return 0;
}

/* Never writable and executable at once: nobody runs a page before its compilation is over. */
static bool make_executable(MirCtx *m)
{
    VEC_EACH (Mapping, map, &m->maps)
        if (mprotect(map->addr, map->bytes, PROT_READ | PROT_EXEC) != 0) {
            snprintf(m->error, sizeof m->error, "memory cannot be made executable");
            return false;
        }
    return true;
}

/* ---- contexts -------------------------------------------------------------------------------- */

NOS_NORETURN static void NOS_PRINTF(2, 3)
    on_mir_error(MIR_error_type_t type, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(current->error, sizeof current->error, format, ap);
    va_end(ap);
    if (!current->error[0])
        snprintf(current->error, sizeof current->error, "MIR error %d", (int)type);
    longjmp(current->on_error, 1);
}

/* MIR_init has put some bytes of code, which we do not use, on a page. No code is to follow there:
 * the page stays with the image. */
static bool close_page(const Image *image, const Mapping *page)
{
    uint8_t nothing[16] = {0}, *end = (uint8_t *)page->addr + page->bytes;
    const uint8_t *used = _MIR_publish_code(image->mir, nothing, sizeof nothing);
    if (used < (uint8_t *)page->addr || used + sizeof nothing >= end)
        return false;
    size_t room = (size_t)(end - used) - sizeof nothing;
    uint8_t *rest = nosi_calloc(1, room);
    _MIR_publish_code(image->mir, rest, room);
    nosi_free(rest);
    return current->maps.n == 1;
}

/* With MIR's tables as they are before a compilation. The caller has made it `current`. */
static void fill_image(MirCtx *m)
{
    Image *image = m->image = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE);
    if (image) {
        memcpy(image->data, image->fresh, image->used = image->n_fresh);
        return;
    }
    image = m->image = nosi_alloc(sizeof *image + IMAGE_BYTES);
    image->used = image->n_fresh = 0;
    image->fresh = NULL;
    image->page = (Mapping){0};
    image->mir = MIR_init();
    MIR_set_error_func(image->mir, on_mir_error);
    MIR_gen_init(image->mir);
    MIR_type_t d = MIR_T_D;
    MIR_var_t x = {.type = MIR_T_D, .name = "x"};
    _MIR_register_unspec_insn(image->mir, MIR_SQRT, "sqrtsd", 1, &d, 1, false, &x);
    if (m->maps.n != 1 || !close_page(image, &m->maps.at[0]) || m->arena.blocks)
        return; // not what the pinned MIR does: the image serves once
    image->page = vec_pop(&m->maps);
    image->fresh = nosi_alloc(image->used);
    memcpy(image->fresh, image->data, image->n_fresh = image->used);
}

static void free_image(Image *image)
{
    if (!image)
        return;
    if (image->page.addr)
        munmap(image->page.addr, image->page.bytes);
    nosi_free(image->fresh);
    nosi_free(image);
}

void nosi_mirctx_end(void)
{
    free_image(__atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE));
}

MirCtx *nosi_mirctx_open(unsigned opt_level)
{
    NOS_ASSERT(!current && opt_level <= 2);
    MirCtx *m = nosi_calloc(1, sizeof *m);
    current = m;
    fill_image(m);
    MIR_gen_set_optimize_level(m->image->mir, opt_level);
    current = NULL;
    return m;
}

void nosi_mirctx_close(MirCtx *m)
{
    VEC_EACH (Mapping, map, &m->maps)
        munmap(map->addr, map->bytes);
    vec_free(&m->maps);
    nosi_arena_free(&m->arena);
    Image *image = m->image;
    if (image->n_fresh)
        image = __atomic_exchange_n(&spare, image, __ATOMIC_ACQ_REL);
    free_image(image); // one spare is enough
    nosi_free(m);
}

size_t nosi_mirctx_detach(MirCtx *m, CodePages *out)
{
    size_t bytes = 0;
    *out = (CodePages){0};
    VEC_EACH (Mapping, map, &m->maps) {
        vec_push(&out->at, ((CodePage){map->addr, map->bytes}));
        bytes += map->bytes;
    }
    m->maps.n = 0;
    nosi_mirctx_close(m);
    return bytes;
}

/* MIR does not tell how long its code is. Behind the last function of a page are zeros, which may
 * be the end of its last constant too. */
size_t nosi_code_extent(const CodePages *pages, const void *from, const void *other)
{
    enum { CONSTANT = 8 };
    const uint8_t *start = from, *limit = other;
    VEC_EACH (CodePage, page, &pages->at) {
        const uint8_t *low = page->addr, *end = low + page->bytes;
        if (start < low || start >= end)
            continue;
        if (limit > start && limit < end)
            end = limit;
        while (end > start && end[-1] == 0)
            end--;
        return NOS_MIN((size_t)(end - start + CONSTANT - 1) / CONSTANT * CONSTANT,
                       (size_t)(low + page->bytes - start));
    }
    return 0;
}

bool nosi_code_keep_addresses;

void nosi_code_free(CodePages *pages)
{
    enum { HOLE = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED };
    VEC_EACH (CodePage, page, &pages->at)
        if (!nosi_code_keep_addresses ||
            mmap(page->addr, page->bytes, PROT_NONE, HOLE, -1, 0) == MAP_FAILED)
            munmap(page->addr, page->bytes);
    vec_free(&pages->at);
}

void *nosi_mirctx_compile(MirCtx *m, MirBuild build, void *arg)
{
    NOS_ASSERT(!current);
    if (NOS_NEVER(m->failed))
        return NULL;
    void *volatile code = NULL;
    current = m;
    if (setjmp(m->on_error) == 0)
        code = build(m->image->mir, arg);
    else
        m->failed = true;
    current = NULL;
    if (!m->failed && !make_executable(m)) {
        m->failed = true;
        code = NULL;
    }
    return code;
}

const char *nosi_mirctx_error(const MirCtx *m)
{
    return m->error;
}
