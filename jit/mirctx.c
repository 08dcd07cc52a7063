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

/* Tables that grow leave blocks behind, which are used again at once, since the first use of a page
 * costs more than all that is done with it. What MIR frees is not: the pinned version reads SSA
 * edges that it has freed (gvn_modify). Blocks begin behind a header of 8 bytes, at multiples
 * of 16. Up to 1 KB there is a class of blocks for each size, above that four for each power of
 * two. */
enum {
    BLOCK_HEADER = 8,
    BLOCK_ALIGN = 16,
    SMALL_BLOCK = 1024,
    N_SMALL = SMALL_BLOCK / BLOCK_ALIGN
};
enum { N_CLASSES = N_SMALL + 1 + 4 * 32 };

typedef struct Block {
    size_t bytes;       // of all of it: the size of its class
    struct Block *next; // while it is free; otherwise what MIR stores
} Block;

typedef struct Pool {
    size_t used;            // bytes of the image
    Block *free[N_CLASSES]; // by class
} Pool;

/* What a context allocates first. To fill MIR's tables takes a third of the time of a small
 * compilation, so they are filled once: later contexts begin with a copy, at the same addresses,
 * since the tables point to each other. */
typedef struct Image {
    MIR_context_t mir; // lives in `data`
    Pool pool;
    char *data;      // owned, mapped
    char *fresh;     // owned; `data` and `pool` as they were before a compilation
    Pool fresh_pool; // used == 0: there is no such copy
    Mapping page;    // owned
} Image;

enum { IMAGE_BYTES = 1 << 20 }; // what most functions need

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

void *nosi_mir_malloc(size_t bytes);
void *nosi_mir_calloc(size_t n, size_t bytes);
void *nosi_mir_realloc(void *p, size_t bytes);
void nosi_mir_free(void *p);
void *nosi_mir_mmap(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset);
int nosi_mir_munmap(void *addr, size_t bytes);
int nosi_mir_mprotect(void *addr, size_t bytes, int prot);

static Block *block_of(void *p)
{
    return (Block *)(void *)((char *)p - BLOCK_HEADER);
}

/* The class of blocks for so many bytes, header included; `size`: of its blocks. */
static unsigned class_for(size_t bytes, size_t *size)
{
    if (bytes <= SMALL_BLOCK) {
        *size = (bytes + BLOCK_ALIGN - 1) & ~(size_t)(BLOCK_ALIGN - 1);
        return (unsigned)(*size / BLOCK_ALIGN);
    }
    unsigned log = 63 - (unsigned)__builtin_clzll(bytes - 1); // 2^log < bytes <= 2^(log + 1)
    size_t step = (size_t)1 << (log - 2), quarter = (bytes - 1) >> (log - 2);
    *size = (quarter + 1) * step;
    return N_SMALL + 1 + 4 * (log - 10) + (unsigned)(quarter & 3);
}

void *nosi_mir_malloc(size_t bytes)
{
    Image *image = current->image;
    size_t size;
    Block **list = &image->pool.free[class_for(bytes + BLOCK_HEADER, &size)], *b = *list;
    if (b) {
        *list = b->next;
    } else if (NOS_LIKELY(size <= IMAGE_BYTES - BLOCK_HEADER - image->pool.used)) {
        b = block_of(image->data + BLOCK_ALIGN + image->pool.used);
        image->pool.used += size;
    } else {
        b = block_of((char *)nosi_arena_alloc_raw(&current->arena, size + BLOCK_ALIGN) +
                     BLOCK_ALIGN);
    }
    b->bytes = size;
    return (char *)b + BLOCK_HEADER;
}

void *nosi_mir_calloc(size_t n, size_t bytes)
{
    return memset(nosi_mir_malloc(n * bytes), 0, n * bytes);
}

void nosi_mir_free(void *p)
{
    (void)p; // see Pool
}

/* The block is nobody's any more. */
static void give_back(Block *b)
{
    size_t size;
    Block **list = &current->image->pool.free[class_for(b->bytes, &size)];
    NOS_ASSERT(size == b->bytes);
#if NOS_DEBUG >= 2
    memset(&b->next, 0xA5, size - BLOCK_HEADER); // who uses it still shall notice
#endif
    b->next = *list;
    *list = b;
}

void *nosi_mir_realloc(void *p, size_t bytes)
{
    if (!p)
        return nosi_mir_malloc(bytes);
    size_t old = block_of(p)->bytes - BLOCK_HEADER;
    if (bytes <= old)
        return p;
    void *to = memcpy(nosi_mir_malloc(bytes), p, old);
    give_back(block_of(p));
    return to;
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
        image->pool = image->fresh_pool;
        memcpy(image->data, image->fresh, BLOCK_HEADER + image->pool.used);
        return;
    }
    image = m->image = nosi_calloc(1, sizeof *image);
    image->data =
        mmap(NULL, IMAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (image->data == MAP_FAILED)
        nosi_fatal("out of memory (%d bytes)", IMAGE_BYTES);
    image->mir = MIR_init();
    MIR_set_error_func(image->mir, on_mir_error);
    MIR_gen_init(image->mir);
    MIR_type_t d = MIR_T_D, i64 = MIR_T_I64;
    MIR_var_t x = {.type = MIR_T_D, .name = "x"};
    MIR_var_t factors[] = {{.type = MIR_T_I64, .name = "x"}, {.type = MIR_T_I64, .name = "y"}};
    _MIR_register_unspec_insn(image->mir, MIR_SQRT, "sqrtsd", 1, &d, 1, false, &x);
    _MIR_register_unspec_insn(image->mir, MIR_MULH, "mulh", 1, &i64, 2, false, factors);
    if (m->maps.n != 1 || !close_page(image, &m->maps.at[0]) || m->arena.blocks)
        return; // not what the pinned MIR does: the image serves once
    image->page = vec_pop(&m->maps);
    image->fresh_pool = image->pool;
    image->fresh = nosi_alloc(BLOCK_HEADER + image->pool.used);
    memcpy(image->fresh, image->data, BLOCK_HEADER + image->pool.used);
}

static void free_image(Image *image)
{
    if (!image)
        return;
    if (image->page.addr)
        munmap(image->page.addr, image->page.bytes);
    munmap(image->data, IMAGE_BYTES);
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
    if (image->fresh)
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
