/* enter.c -- see enter.h. */
#include "jit/enter.h"

#include <string.h>
#include <sys/mman.h>

#include "sched/mvar.h"
#include "sched/quiet.h"
#include "sched/sched.h"
#include "vm/interp/frame.h"
#include "vm/util/alloc.h"
#include "vm/util/vec.h"

enum {
    // No more, however long a slice is: a unit stands for at most about 20 bytes of native stack,
    // of which a worker has WORKER_STACK_BYTES (sched/sched.h).
    MAX_BUDGET = 1 << 20,
    REGION_BYTES = 1 << 26, // address space of the shadow stack and of the reify buffer
};

int32_t nosi_jit_units = 256;
uint64_t nosi_jit_published;
void (*nosi_jit_on_thrash)(JitCode *code);
void (*nosi_jit_on_poor)(JitCode *code, const JitCode *guarded);

typedef struct Left {
    Value value;
    uint64_t status;
} Left;

/* Calls code(args) with r15 = m. */
Left nosi_jit_trampoline(void *code, Value *args, Machine *m);
__asm__(".text\n"
        ".globl nosi_jit_trampoline\n"
        ".type nosi_jit_trampoline, @function\n"
        "nosi_jit_trampoline:\n"
        "    .cfi_startproc\n"
        "    pushq %r15\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset %r15, 0\n"
        "    movq %rdx, %r15\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    callq *%rax\n"
        "    popq %r15\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %r15\n"
        "    retq\n"
        "    .cfi_endproc\n"
        ".size nosi_jit_trampoline, .-nosi_jit_trampoline\n");

static void *reserve(void)
{
    void *p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        nosi_fatal("cannot reserve memory for machine code's stacks");
    return p;
}

static void set_proc(Machine *m, Proc *p)
{
    __atomic_store_n(&m->proc, p, __ATOMIC_RELAXED); // samplers look at it
}

static Machine *new_machine(void)
{
    Machine *m = nosi_calloc(1, sizeof *m);
    m->shadow = m->shadow_base = reserve();
    m->reify = m->reify_base = reserve();
    if (nosi_quiet_thread)
        atomic_store_explicit(&nosi_quiet_thread->machine, m, memory_order_release);
    return nosi_machine = m;
}

void nosi_jit_thread_end(void)
{
    Machine *m = nosi_machine;
    if (!m)
        return;
    munmap(m->shadow_base, REGION_BYTES);
    munmap(m->reify_base, REGION_BYTES);
    nosi_free(m);
    nosi_machine = NULL;
}

/* ---- laying out ------------------------------------------------------------------------------ */

typedef struct Pending { // a register whose value has to be made on the heap
    size_t at;           // word of the VM stack
    const ExitSlot *slot;
    const uint64_t *values; // of its exit
} Pending;
typedef struct Whole { // an object that is made of its words
    const ExitObject *object;
    const uint64_t *values;
    uint32_t roots; // the first of its words that are Values, in Layout.roots
    Object *made;   // or NULL
} Whole;
typedef struct Layout {
    Proc *p;
    VEC(Pending) pending;
    VEC(Whole) wholes;
    VEC(Value) roots;
    size_t heap_words; // at most
    Value *top;        // where the next object is made; there is room
} Layout;

static uint32_t find_whole(const Layout *l, const ExitObject *o, const uint64_t *values)
{
    uint32_t k = 0;
    while (k < l->wholes.n && (l->wholes.at[k].object != o || l->wholes.at[k].values != values))
        k++;
    return k;
}

/* Notes what the slot needs on the heap, and what of it a collection may move. */
static void note(Layout *l, const ExitSlot *s, const uint64_t *values)
{
    if (s->kind == SLOT_INT || s->kind == SLOT_FLOAT)
        l->heap_words += FLOAT_WORDS;
    if (s->kind != SLOT_OBJECT || find_whole(l, s->object, values) < l->wholes.n)
        return;
    uint32_t n = obj_words((const Object *)&s->object->header);
    l->heap_words += 1 + n;
    vec_push(&l->wholes, ((Whole){s->object, values, l->roots.n, NULL}));
    const ExitSlot *words = s->object->words;
    for (uint32_t k = 0; k < n; k++)
        if (words[k].kind == SLOT_ANY)
            vec_push(&l->roots, ((Value){values[words[k].index]}));
    for (uint32_t k = 0; k < n; k++)
        note(l, &words[k], values);
}

static void fill(Layout *l, const ExitFrame *f, const uint64_t *values)
{
    Proc *p = l->p;
    for (uint32_t k = 0; k < f->n_slots; k++) {
        const ExitSlot *s = &f->slots[k];
        Value *to = &p->base[s->reg];
        switch ((SlotKind)s->kind) {
        case SLOT_CONST:
            *to = (Value){s->bits};
            break;
        case SLOT_ANY:
        case SLOT_RAW: // only in objects
            *to = (Value){values[s->index]};
            break;
        case SLOT_BOOL:
            *to = value_bool(values[s->index] != 0);
            break;
        case SLOT_INT:
            if (small_fits((int64_t)values[s->index])) {
                *to = value_small((int64_t)values[s->index]);
                break;
            }
            NOS_FALLTHROUGH;
        case SLOT_FLOAT:
        case SLOT_OBJECT:
            *to = VALUE_ZERO;
            vec_push(&l->pending, ((Pending){(size_t)(to - p->stack), s, values}));
            note(l, s, values);
            break;
        }
    }
}

static Object *take(Layout *l, uint64_t header)
{
    Object *o = (Object *)l->top;
    o->header = header;
    l->top += 1 + obj_words(o);
    return o;
}

static Value made(Layout *l, const ExitSlot *s, const uint64_t *values)
{
    Object *o;
    switch ((SlotKind)s->kind) {
    case SLOT_CONST:
        return (Value){s->bits};
    case SLOT_ANY: // has been moved: see the caller
    case SLOT_RAW:
        return (Value){values[s->index]};
    case SLOT_BOOL:
        return value_bool(values[s->index] != 0);
    case SLOT_INT:
        if (small_fits((int64_t)values[s->index]))
            return value_small((int64_t)values[s->index]);
        o = take(l, OBJ_HEADER(OBJ_INT64, 0, 1));
        o->word[0] = values[s->index];
        return value_object(o);
    case SLOT_FLOAT:
        o = take(l, OBJ_HEADER(OBJ_FLOAT, 0, 1));
        o->word[0] = values[s->index];
        return value_object(o);
    case SLOT_OBJECT:
        break;
    }
    uint32_t at = find_whole(l, s->object, values);
    Whole *w = &l->wholes.at[at];
    if (!w->made) {
        uint32_t root = w->roots;
        o = w->made = take(l, s->object->header);
        for (uint32_t k = 0; k < obj_words(o); k++) {
            const ExitSlot *x = &s->object->words[k];
            o->word[k] = x->kind == SLOT_ANY ? l->roots.at[root++].bits : made(l, x, values).bits;
        }
    }
    return value_object(w->made);
}

static void fill_pending(Layout *l)
{
    VEC_EACH (const Pending, x, &l->pending)
        l->p->stack[x->at] = made(l, x->slot, x->values);
}

/* All frames are there: what they hold are roots. Behind a native (`special`) nothing may be
 * collected: it may have parked, or go on in the next slice, with Values and reserved room that it
 * alone knows of (sched/long.h). */
static bool make_pending(Layout *l, bool special)
{
    Heap *h = &l->p->heap;
    Fragment *f = NULL;
    if (!l->heap_words) // and then nothing is pending
        return true;
    if (special) {
        f = nosi_fragment_new(l->heap_words);
        l->top = f->data;
    } else {
        Value *words = l->roots.at;
        ROOT_ARRAY(h, words, l->roots.n);
        bool ok = nosi_reserve(l->p, l->heap_words);
        UNROOT(h);
        if (!ok)
            return false;
        l->top = h->top;
    }
    fill_pending(l);
    if (f) {
        f->words = (size_t)(l->top - f->data);
        nosi_heap_join(h, f);
    } else {
        h->top = l->top;
    }
    return true;
}

/* The outermost frame lies where the frame that was entered lies; the others above it. */
static bool push_frames(Layout *l, Machine *m, const ExitRecord **innermost)
{
    Proc *p = l->p;
    const uint64_t *rp = m->reify;
    uint32_t dist = 0;
    bool first = true;
    while (rp > m->reify_base) {
        ExitRecord *r = (ExitRecord *)(uintptr_t)rp[-1];
        rp -= 1 + r->n_values;
        __atomic_store_n(&r->hits, exit_hits(r) + 1, __ATOMIC_RELAXED);
        *innermost = r;
        for (uint32_t k = 0; k < r->n_frames; k++) {
            const ExitFrame *f = &r->frames[k];
            if (first) {
                p->base[-3] = (Value){(uint64_t)(uintptr_t)f->f};
                if (!nosi_stack_room(p, f->f->n_regs))
                    return false;
            } else if (!nosi_frame_push(p, f->f, dist, FRAME_LINK(dist))) {
                return false;
            }
            // What lay there before must not be kept alive by registers that are not.
            if (!first)
                memset(p->base, 0, f->f->n_regs * sizeof *p->base);
            first = false;
            fill(l, f, rp);
            if (NOS_UNLIKELY(f->n_holds))
                nosi_mvars_lay_out(p, f->n_holds);
            p->pc = f->f->code + f->pc;
            dist = f->dist;
        }
    }
    return true;
}

/* `code` was entered by the interpreter and did `used` units of work before it, or what it called,
 * left as `last` says. */
static void note_visit(JitCode *code, const ExitRecord *last, int64_t used)
{
    uint32_t n = __atomic_load_n(&code->n_poor, __ATOMIC_RELAXED);
    if (last->kind == LEAVE_YIELD || used >= POOR_VISIT)
        n /= 2;
    else if (last->kind == LEAVE_ROOM && exit_hits(last) % ROOM_SHARE)
        return;
    else
        n++;
    __atomic_store_n(&code->n_poor, n, __ATOMIC_RELAXED);
    if (NOS_UNLIKELY(n == MAX_POOR) && nosi_jit_on_poor)
        nosi_jit_on_poor(code, last->kind == LEAVE_GUARD ? last->code : NULL);
}

static MachineReturn lay_out(Proc *p, Machine *m, int64_t used)
{
    Layout layout = {.p = p}, *l = &layout;
    const ExitRecord *innermost = NULL;
    MachineReturn out = {m->special, MACHINE_RAISE};
    bool raised = m->raised != 0;
    const ExitRecord *last = NULL;
    (void)__atomic_load_n(&nosi_jit_published, __ATOMIC_ACQUIRE);
    if (m->reify > m->reify_base) { // the first one that left
        const uint64_t *rp = m->reify;
        JitCode *outermost = ((const ExitRecord *)(uintptr_t)rp[-1])->code;
        while (rp > m->reify_base) {
            last = (const ExitRecord *)(uintptr_t)rp[-1];
            rp -= 1 + last->n_values;
        }
        note_visit(outermost, last, used);
    }
    // What a native began cannot be undone: limits must not come between it and its frames.
    bool special = last && last->kind == LEAVE_SPECIAL;
    uint32_t max_depth = p->max_depth;
    size_t max_words = p->heap.max_words;
    if (special) {
        p->max_depth = UINT32_MAX;
        p->heap.max_words = 0;
    }
    if (last && last->kind == LEAVE_GUARD && exit_hits(last) == MAX_GUARD_HITS &&
        nosi_jit_on_thrash)
        nosi_jit_on_thrash(last->code);
    bool ok = push_frames(l, m, &innermost);
    m->reify = m->reify_base;
    ok = make_pending(l, special) && ok;
    p->max_depth = max_depth;
    p->heap.max_words = max_words;
    vec_free(&l->pending);
    vec_free(&l->wholes);
    vec_free(&l->roots);
    set_proc(m, NULL);
    if (!ok || raised)
        return out;
    out.result = innermost->kind == LEAVE_SPECIAL ? MACHINE_SPECIAL
                 : innermost->kind == LEAVE_YIELD ? MACHINE_YIELD
                                                  : MACHINE_RESUME;
    return out;
}

MachineReturn nosi_jit_enter(Proc *p, void *code)
{
    Machine *m = nosi_machine ? nosi_machine : new_machine();
    int64_t granted = (int64_t)p->budget * nosi_jit_units;
    int64_t room = (int64_t)(p->max_depth - p->depth) * ENTRY_CHARGE;
    granted = NOS_MIN(granted, NOS_MIN(room, MAX_BUDGET));
    m->budget = granted;
    set_proc(m, p);
    m->raised = 0;
    Left r = nosi_jit_trampoline(code, p->base, m);
    int64_t used = granted - m->budget;
    p->budget -= (int32_t)(used / nosi_jit_units);
    if (NOS_LIKELY(r.status == STATUS_RETURNED)) {
        set_proc(m, NULL);
        return (MachineReturn){r.value, MACHINE_RETURNED};
    }
    if (r.status == STATUS_DECLINED) {
        set_proc(m, NULL);
        return (MachineReturn){r.value, MACHINE_DECLINED};
    }
    return lay_out(p, m, used);
}
