/* late.c -- see late.h. */
#include "io/late.h"

#if NOS_LATE

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "vm/util/alloc.h"

static void not_loaded(void)
{
    nosi_fatal("a function of a library is called before the library is loaded");
}

// The slots. Written under `loading`, before `loaded` says so.
#define LATE(lib, f) \
    __attribute__((used, visibility("hidden"))) void (*nosi_late_##f)(void) = not_loaded;
#include "io/late.def"
#undef LATE

#if defined(__x86_64__)
#define JUMP(f) "jmp *nosi_late_" #f "(%rip)\n"
#elif defined(__aarch64__)
// x16 is the register the ABI leaves to veneers such as this.
#define JUMP(f) "adrp x16, nosi_late_" #f "\nldr x16, [x16, :lo12:nosi_late_" #f "]\nbr x16\n"
#endif

/* The functions themselves. Hidden: the libraries, when they are there, must find each other's and
 * their own, not these. */
#define LATE(lib, f)                                                                         \
    __asm__(".text\n.p2align 4\n.globl " #f "\n.hidden " #f "\n.type " #f ", %function\n" #f \
            ":\n" JUMP(f) ".size " #f ", . - " #f "\n");
#include "io/late.def"
#undef LATE

static struct {
    const char *file;
    _Atomic(bool) loaded; // after it, the library's slots are what they will always be
} libraries[N_LATE_LIBRARIES] = {
    {.file = NOS_LATE_CURL}, {.file = NOS_LATE_PQ}, {.file = NOS_LATE_TLS}};

static const struct {
    LateLibrary lib;
    const char *name;
    void (**slot)(void);
} functions[] = {
#define LATE(lib, f) {LATE_##lib, #f, &nosi_late_##f},
#include "io/late.def"
#undef LATE
};

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static char *load_locked(LateLibrary l)
{
    /* Never unloaded. A handle finds the functions of what the library depends on too: libcrypto's
     * are found through libssl. */
    void *lib = dlopen(libraries[l].file, RTLD_LAZY | RTLD_LOCAL);
    if (!lib)
        return nosi_strdup(dlerror());
    for (size_t i = 0; i < NOS_COUNT(functions); i++)
        if (functions[i].lib == l) {
            void *f = dlsym(lib, functions[i].name);
            if (!f)
                return nosi_strdup(dlerror());
            *(void **)functions[i].slot = f; // the idiom of POSIX for dlsym
        }
    return NULL;
}

bool nosi_late_is_loaded(LateLibrary l)
{
    return atomic_load_explicit(&libraries[l].loaded, memory_order_acquire);
}

char *nosi_late_load(LateLibrary l)
{
    char *why = NULL;
    if (nosi_late_is_loaded(l))
        return NULL;
    pthread_mutex_lock(&loading);
    if (!libraries[l].loaded && !(why = load_locked(l)))
        atomic_store_explicit(&libraries[l].loaded, true, memory_order_release);
    pthread_mutex_unlock(&loading);
    return why;
}

#else

bool nosi_late_is_loaded(LateLibrary l)
{
    (void)l;
    return true;
}

char *nosi_late_load(LateLibrary l)
{
    (void)l;
    return NULL;
}

#endif
