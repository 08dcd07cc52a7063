/* own.c -- which maps and Strings can be changed in place: inserts and removals of a map, and text
 * put behind a String, that nobody else has.
 *
 * `m = m.insert(k, v)` leaves the old map unused. Map.insert may change it in place then
 * (MapEdit in vm/data/map.h), if no other variable, list, closure, message ... has it. That is
 * proved here for each call of Map.insert, Map.remove, Set.insert and Set.remove, by following
 * registers through the code of one function:
 *
 *   A register is *owned* when its map is not OBJ_OWNED, or all references to it are in registers
 *   of its *group*, of which each is owned, and no other map was derived from it. Whatever reads an
 *   owned register otherwise than to look something up ends that for its group (a map that is
 *   passed, stored, captured, sent or returned is not owned by anybody any more), and a register
 *   that may hold maps of two groups makes one of them.
 *
 *   A call becomes the _own native if the other registers of its map's group are not used any more.
 *   Otherwise it becomes the _copy native, whose result is a new map, so owned, also when the map
 *   had the entry already.
 *
 * Maps that come from elsewhere (parameters, results, fields) or were given away are owned again
 * after __disown. It is inserted, mostly before loops, where it lets a call of at least every
 * second turn be _own. What a function passes to another one or returns is not followed.
 *
 * An exception of an _own native means that the map is unchanged, so what a handler can see does
 * not matter.
 *
 * `s = s ++ t` is the same for the handle of a long String (vm/data/string.h, "texts that grow"),
 * in loops: STRCAT and CONCAT edit their first operand, STRCAT_O and CONCAT_O are their _own forms,
 * made where what they give comes to another one. They only look at the other operands, and without
 * _O what they give is never OBJ_OWNED, so they are their own _copy forms. */
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/data/string.h"
#include "vm/value/object.h"
#include "vm/value/shape.h"

enum {
    MAX_CELLS = 1 << 22, // instructions times registers
    MAX_SITES = 64
};

/* What a native, or an instruction, does with its first argument or operand. */
typedef struct MapNative {
    const char *name;
    uint8_t n_params;
    bool edits; // what it gives is its first argument with a change. Otherwise only looks at it
    const char *copy, *own;
} MapNative;

static const MapNative natives[] = {
    {"Map.insert", 3, true, "__mapInsertCopy", "__mapInsertOwn"},
    {"Map.remove", 2, true, "__mapRemoveCopy", "__mapRemoveOwn"},
    {"Set.insert", 2, true, "__setInsertCopy", "__setInsertOwn"},
    {"Set.remove", 2, true, "__setRemoveCopy", "__setRemoveOwn"},
    {"Map.get", 2, false, NULL, NULL},
    {"Map.getOrThrow", 2, false, NULL, NULL},
    {"Map.getOr", 3, false, NULL, NULL},
    {"Map.lookup", 2, false, NULL, NULL},
    {"Map.contains", 2, false, NULL, NULL},
    {"Map.keys", 1, false, NULL, NULL},
    {"Map.values", 1, false, NULL, NULL},
    {"Map.toList", 1, false, NULL, NULL},
    {"Map.size", 1, false, NULL, NULL},
    {"Map.isEmpty", 1, false, NULL, NULL},
    {"Set.contains", 2, false, NULL, NULL},
    {"Set.toList", 1, false, NULL, NULL},
    {"Set.size", 1, false, NULL, NULL},
    {"Set.isEmpty", 1, false, NULL, NULL},
    {"String.length", 1, false, NULL, NULL},
    {"String.byteLength", 1, false, NULL, NULL},
    {"String.isEmpty", 1, false, NULL, NULL},
    {"String.endsWith", 2, false, NULL, NULL},
    {"String.startsWith", 2, false, NULL, NULL},
};
/* STRCAT and CONCAT of Strings. */
static const MapNative append = {"++", 2, true, NULL, NULL};

static const Builtin *builtin(const char *name, uint32_t n)
{
    const Builtin *b = nosi_builtin_find(nosi_intern_cstr(name), n);
    if (!b)
        nosi_fatal("the compiler needs the native %s/%u", name, n);
    return b;
}

typedef enum { NO_EDIT, EDIT_COPY, EDIT_OWN } Edit;

/* A register that could be disowned between instruction `slot` - 1 and the next one, when control
 * falls through from it (slot 0: at the function's entry). Whoever jumps to the next one passes it.
 */
typedef struct Site {
    uint32_t slot, next; // next: 1 + the next one of this slot, or 0
    uint16_t reg;
    bool on, needed;
} Site;

typedef struct Own {
    Fn *f;
    uint32_t n_regs, n_code, words; // words of a register set
    const MapNative **native;       // per instruction, or NULL
    uint8_t *edit;                  // Edit per instruction
    bool *edited;                   // per register: an edit writes it, so it is a variable
    bool *at_head;                  // per register: used across turns of a loop
    VEC(Site) sites;
    uint32_t *first_site; // per slot: 1 + site, or 0
    bool adds_sites;
    uint64_t *live;   // per instruction: registers that are used there or later
    uint16_t *states; // per instruction: group of each register, 0: not owned
    bool *reached;
    VEC(uint32_t) work;
} Own;

static Ins *ins_at(const Own *o, uint32_t k)
{
    return &o->f->code.at[k];
}

/* ---- what instructions read ------------------------------------------------------------------ */

typedef struct Reads {
    uint32_t n, first[4], count[4];
} Reads;

static void reads_range(Reads *r, uint32_t first, uint32_t count)
{
    if (!count)
        return;
    r->first[r->n] = first;
    r->count[r->n++] = count;
}

static Reads reads_of(const Own *o, uint32_t k)
{
    const Ins *i = ins_at(o, k);
    Opcode op = INSTR_OP(i->w);
    const OpInfo *info = &nosi_op_info[op];
    uint32_t a = INSTR_A(i->w), b = INSTR_B(i->w), c = INSTR_C(i->w);
    Reads r = {0};
    switch (op) {
    case OP_TUPLE:
    case OP_SET:
    case OP_STRCAT:
    case OP_STRCAT_O:
        reads_range(&r, b, c);
        break;
    case OP_LIST:
        reads_range(&r, b, c + 1);
        break;
    case OP_MAP:
        reads_range(&r, b, 2 * c);
        break;
    case OP_NEW:
        reads_range(&r, b, ((const Shape *)o->f->refs.at[c])->n_fields);
        break;
    case OP_SETINDEX:
        reads_range(&r, b, 1);
        reads_range(&r, c, 2);
        break;
    case OP_CLOSURE: // as many as it captures; its function may not be compiled yet
        reads_range(&r, b, i->top > b ? i->top - b : 0);
        break;
    case OP_CALLB:
        reads_range(&r, b, ((const Builtin *)o->f->refs.at[c])->n_params);
        break;
    case OP_CAPTURE:
        reads_range(&r, 0, 1);
        break;
    case OP_TOPGET:
        break;
    default:
        if (info->effects & FX_INVOKE) { // its arguments lie in the window
            b += FRAME_HEADER;
            reads_range(&r, b, i->top > b ? i->top - b : 0);
            break;
        }
        if (info->a == ROLE_reg)
            reads_range(&r, a, 1);
        if (info->b == ROLE_reg)
            reads_range(&r, b, 1);
        if (info->format == FMT_ABC && info->c == ROLE_reg)
            reads_range(&r, c, 1);
        break;
    }
    return r;
}

/* Does it put Strings together? */
static bool is_append(const Ins *i)
{
    return INSTR_OP(i->w) == OP_STRCAT || (INSTR_OP(i->w) == OP_CONCAT && i->rep == REP_STRING);
}

static bool has_window(Opcode op)
{
    return nosi_op_info[op].b == ROLE_win;
}

static int32_t written(const Ins *i)
{
    return nosi_op_info[INSTR_OP(i->w)].a == ROLE_dst ? INSTR_A(i->w) : -1;
}

/* ---- control flow ---------------------------------------------------------------------------- */

typedef void Visit(Own *o, uint32_t to, void *ctx);

static void visit_label(Own *o, Label l, Visit *visit, void *ctx)
{
    uint32_t at = o->f->label_at.at[l];
    if (at < o->n_code)
        visit(o, at, ctx);
}

static bool falls_through(const Own *o, uint32_t k)
{
    return !(nosi_op_info[INSTR_OP(ins_at(o, k)->w)].effects & FX_END) && k + 1 < o->n_code;
}

static void each_jump(Own *o, uint32_t k, Visit *visit, void *ctx)
{
    const Ins *i = ins_at(o, k);
    if (INSTR_OP(i->w) == OP_SWITCH) {
        const SwitchInfo *s = &o->f->switches.at[i->label];
        for (uint32_t j = 0; j < s->n; j++)
            visit_label(o, s->labels[j], visit, ctx);
    } else if (i->label != NO_LABEL) {
        visit_label(o, i->label, visit, ctx);
    }
}

/* Where control goes from instruction k when it does not raise. */
static void each_next(Own *o, uint32_t k, Visit *visit, void *ctx)
{
    each_jump(o, k, visit, ctx);
    if (falls_through(o, k))
        visit(o, k + 1, ctx);
}

typedef void VisitHandler(Own *o, const HandlerInfo *h, void *ctx);

static void each_handler(Own *o, uint32_t k, VisitHandler *visit, void *ctx)
{
    Fn *f = o->f;
    VEC_EACH (HandlerInfo, h, &f->handlers)
        if (k >= f->label_at.at[h->start] && k < f->label_at.at[h->end])
            visit(o, h, ctx);
}

/* ---- liveness -------------------------------------------------------------------------------- */

static bool get_bit(const uint64_t *set, uint32_t r)
{
    return set[r / 64] >> (r % 64) & 1;
}

static uint64_t *live_at(const Own *o, uint32_t k)
{
    return &o->live[(size_t)k * o->words];
}

static void add_live(Own *o, uint32_t to, void *ctx)
{
    uint64_t *set = ctx;
    for (uint32_t w = 0; w < o->words; w++)
        set[w] |= live_at(o, to)[w];
}

static void add_handler_live(Own *o, const HandlerInfo *h, void *ctx)
{
    uint32_t at = o->f->label_at.at[h->handler];
    uint64_t *set = ctx;
    for (uint32_t w = 0; at < o->n_code && w < o->words; w++)
        set[w] |=
            live_at(o, at)[w] & ~(h->reg / 64u == w ? (uint64_t)1 << (h->reg % 64) : (uint64_t)0);
}

static void find_live(Own *o)
{
    uint64_t *set = nosi_alloc(o->words * sizeof *set);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = o->n_code; k-- > 0;) {
            int32_t dst = written(ins_at(o, k));
            memset(set, 0, o->words * sizeof *set);
            each_next(o, k, add_live, set);
            if (dst >= 0)
                set[dst / 64] &= ~((uint64_t)1 << (dst % 64));
            each_handler(o, k, add_handler_live, set);
            Reads r = reads_of(o, k);
            for (uint32_t j = 0; j < r.n; j++)
                for (uint32_t x = r.first[j]; x < r.first[j] + r.count[j]; x++)
                    set[x / 64] |= (uint64_t)1 << (x % 64);
            if (memcmp(set, live_at(o, k), o->words * sizeof *set) == 0)
                continue;
            memcpy(live_at(o, k), set, o->words * sizeof *set);
            changed = true;
        }
    }
    nosi_free(set);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* A state gives each register its group: 1 + the smallest register in it, or 0. */

static void regroup(const Own *o, uint16_t *s, uint16_t was)
{
    uint16_t now = 0;
    for (uint32_t r = 0; r < o->n_regs && was; r++)
        if (s[r] == was) {
            now = now ? now : (uint16_t)(r + 1);
            s[r] = now;
        }
}

/* Register r holds something else now. */
static void forget(const Own *o, uint16_t *s, uint32_t r)
{
    uint16_t was = s[r];
    s[r] = 0;
    if (was == r + 1)
        regroup(o, s, was);
}

static void disband(const Own *o, uint16_t *s, uint16_t group)
{
    for (uint32_t r = 0; r < o->n_regs && group; r++)
        if (s[r] == group)
            s[r] = 0;
}

static void alone(const Own *o, uint16_t *s, uint32_t r)
{
    forget(o, s, r);
    s[r] = (uint16_t)(r + 1);
}

static void copy_reg(const Own *o, uint16_t *s, uint32_t to, uint32_t from)
{
    if (to == from)
        return;
    forget(o, s, to);
    if (!s[from])
        return;
    s[to] = s[from];
    if (to + 1 < s[to])
        regroup(o, s, s[to]);
}

/* The state `in` also arrives where the state is s. True: s changed. What is owned in one only is
 * not owned; registers that share a group in either share one. */
static bool join(const Own *o, uint16_t *s, const uint16_t *in)
{
    bool changed = false, again = true;
    for (uint32_t r = 0; r < o->n_regs; r++) { // one does not own r: neither does its group
        if (s[r] && !in[r]) {
            disband(o, s, s[r]);
            changed = true;
        }
    }
    while (again) {
        again = false;
        for (uint32_t r = 0; r < o->n_regs; r++) {
            if (!in[r])
                continue;
            uint32_t first = in[r] - 1u;
            if (s[r] == s[first])
                continue;
            // r and `first` share a group on that way.
            uint16_t a = s[r], b = s[first];
            if (!a || !b)
                disband(o, s, a ? a : b);
            else
                for (uint32_t x = 0; x < o->n_regs; x++)
                    if (s[x] == NOS_MAX(a, b))
                        s[x] = NOS_MIN(a, b);
            changed = again = true;
        }
    }
    return changed;
}

/* What was in the register is not owned any more, what is there now is. */
static void disown(const Own *o, uint16_t *s, uint32_t slot)
{
    for (uint32_t x = o->first_site[slot]; x; x = o->sites.at[x - 1].next)
        if (o->sites.at[x - 1].on)
            disband(o, s, s[o->sites.at[x - 1].reg]);
    for (uint32_t x = o->first_site[slot]; x; x = o->sites.at[x - 1].next)
        if (o->sites.at[x - 1].on)
            alone(o, s, o->sites.at[x - 1].reg);
}

/* ---- following ------------------------------------------------------------------------------- */

static uint16_t *state_at(const Own *o, uint32_t k)
{
    return &o->states[(size_t)k * o->n_regs];
}

static void arrive(Own *o, uint32_t to, void *ctx)
{
    uint16_t *s = state_at(o, to);
    uint16_t *in = nosi_alloc(o->n_regs * sizeof *in);
    memcpy(in, ctx, o->n_regs * sizeof *in);
    for (uint32_t r = 0; r < o->n_regs; r++) // what is not used any more does not matter
        if (in[r] && !get_bit(live_at(o, to), r))
            forget(o, in, r);
    bool changed = true;
    if (o->reached[to])
        changed = join(o, s, in);
    else
        memcpy(s, in, o->n_regs * sizeof *s);
    o->reached[to] = true;
    if (changed)
        vec_push(&o->work, to);
    nosi_free(in);
}

static void arrive_handler(Own *o, const HandlerInfo *h, void *ctx)
{
    uint32_t at = o->f->label_at.at[h->handler];
    if (at >= o->n_code)
        return;
    uint16_t *s = nosi_alloc(o->n_regs * sizeof *s);
    memcpy(s, ctx, o->n_regs * sizeof *s);
    forget(o, s, h->reg);
    arrive(o, at, s);
    nosi_free(s);
}

/* Does instruction k only look at the map in its operand `which` (0: a, 1: b)? */
static bool only_looks(const Own *o, uint32_t k, int which)
{
    switch (INSTR_OP(ins_at(o, k)->w)) {
    case OP_MAPFIND:
    case OP_SETHAS:
    case OP_INDEX:
        return which == 1;
    case OP_JNMAP:
    case OP_JNSET:
        return which == 0;
    case OP_CALLB:
        return which == 1 && o->native[k];
    default:
        return false;
    }
}

/* Ends the groups of what instruction k reads and may pass on. */
static void escape(const Own *o, uint32_t k, uint16_t *s)
{
    const Ins *i = ins_at(o, k);
    Reads r = reads_of(o, k);
    if (INSTR_OP(i->w) == OP_MOVE || is_append(i))
        return;
    for (uint32_t j = 0; j < r.n; j++)
        for (uint32_t x = r.first[j]; x < r.first[j] + r.count[j]; x++) {
            bool is_a = nosi_op_info[INSTR_OP(i->w)].a == ROLE_reg && x == INSTR_A(i->w);
            bool is_first = x == r.first[j] && x == INSTR_B(i->w);
            if (j == 0 && ((is_a && only_looks(o, k, 0)) || (is_first && only_looks(o, k, 1))))
                continue;
            disband(o, s, s[x]);
        }
}

/* A map or String that nobody else has, or that is not OBJ_OWNED. */
static bool is_new_map(const Own *o, const Ins *i)
{
    if (INSTR_OP(i->w) == OP_LOADK) {
        Value v = o->f->consts.at[INSTR_D(i->w)];
        return (value_is_kind(v, OBJ_MAP) || value_is_kind(v, OBJ_SET) || value_is_string(v)) &&
               !obj_has_flag(value_obj(v), OBJ_OWNED);
    }
    return INSTR_OP(i->w) == OP_MAP || INSTR_OP(i->w) == OP_SET || is_append(i);
}

/* The group of the edited map ends: with the edit, or because another map was derived from it. */
static void edit(Own *o, uint32_t k, uint16_t *s)
{
    uint32_t m = INSTR_B(ins_at(o, k)->w), dst = INSTR_A(ins_at(o, k)->w);
    uint16_t group = s[m];
    bool own = group != 0;
    for (uint32_t r = 0; own && r < o->n_regs; r++)
        own = s[r] != group || r == dst || k + 1 >= o->n_code || !get_bit(live_at(o, k + 1), r);
    o->edit[k] = own ? EDIT_OWN : EDIT_COPY;
    disband(o, s, group);
    alone(o, s, dst);
}

static void add_site(Own *o, uint32_t slot, uint32_t reg)
{
    if (o->sites.n == MAX_SITES || slot >= o->n_code || !get_bit(live_at(o, slot), reg))
        return;
    for (uint32_t x = o->first_site[slot]; x; x = o->sites.at[x - 1].next)
        if (o->sites.at[x - 1].reg == reg)
            return;
    vec_push(&o->sites, ((Site){slot, o->first_site[slot], (uint16_t)reg, true, false}));
    o->first_site[slot] = o->sites.n;
}

/* Sites for variables that are not owned any more behind instruction k, and for those of which it
 * makes a second one. */
static void add_lost(Own *o, uint32_t k, const uint16_t *s)
{
    const Ins *i = ins_at(o, k);
    for (uint32_t r = 0; r < o->n_regs; r++)
        if (o->edited[r] && state_at(o, k)[r] && !s[r])
            add_site(o, k + 1, r);
    if (INSTR_OP(i->w) == OP_MOVE && o->at_head[INSTR_A(i->w)] && o->edited[INSTR_B(i->w)])
        add_site(o, k + 1, INSTR_B(i->w));
}

/* Notes where the map in the register is owned anyway. */
static void check_sites(Own *o, uint32_t slot, const uint16_t *s)
{
    for (uint32_t x = o->first_site[slot]; x; x = o->sites.at[x - 1].next) {
        Site *site = &o->sites.at[x - 1];
        site->needed = !s[site->reg];
        for (uint32_t r = 0; r < o->n_regs; r++)
            site->needed |=
                r != site->reg && s[r] && s[r] == s[site->reg] && get_bit(live_at(o, slot), r);
    }
}

static void follow(Own *o, uint32_t k)
{
    const Ins *i = ins_at(o, k);
    Opcode op = INSTR_OP(i->w);
    int32_t dst = written(i);
    uint16_t *s = nosi_alloc(o->n_regs * sizeof *s);
    memcpy(s, state_at(o, k), o->n_regs * sizeof *s);
    escape(o, k, s);
    bool edits = o->native[k] && o->native[k]->edits;
    if (edits && s[INSTR_B(i->w)]) {
        // When it raises nothing was changed; if it copies, what it was derived from is not owned.
        uint16_t *after = nosi_alloc(o->n_regs * sizeof *after);
        memcpy(after, s, o->n_regs * sizeof *after);
        edit(o, k, after);
        if (o->edit[k] == EDIT_COPY)
            disband(o, s, s[INSTR_B(i->w)]);
        each_handler(o, k, arrive_handler, s);
        memcpy(s, after, o->n_regs * sizeof *s);
        nosi_free(after);
    } else {
        each_handler(o, k, arrive_handler, s);
        if (edits)
            edit(o, k, s);
        else if (op == OP_MOVE)
            copy_reg(o, s, INSTR_A(i->w), INSTR_B(i->w));
        else if (dst >= 0)
            forget(o, s, (uint32_t)dst);
        if (has_window(op)) {
            for (uint32_t r = INSTR_B(i->w); r < o->n_regs; r++)
                if ((int32_t)r != dst)
                    forget(o, s, r);
        }
    }
    if (dst >= 0 && is_new_map(o, i))
        alone(o, s, (uint32_t)dst);
    each_jump(o, k, arrive, s);
    if (falls_through(o, k)) {
        if (o->adds_sites)
            add_lost(o, k, s);
        check_sites(o, k + 1, s);
        disown(o, s, k + 1);
        arrive(o, k + 1, s);
    }
    nosi_free(s);
}

static void analyse(Own *o)
{
    memset(o->reached, 0, o->n_code * sizeof *o->reached);
    memset(o->edit, NO_EDIT, o->n_code);
    VEC_EACH (Site, site, &o->sites)
        site->needed = false; // nobody comes there
    uint16_t *s = nosi_calloc(o->n_regs, sizeof *s);
    check_sites(o, 0, s);
    disown(o, s, 0);
    arrive(o, 0, s);
    nosi_free(s);
    while (o->work.n)
        follow(o, vec_pop(&o->work));
}

/* ---- where to disown ------------------------------------------------------------------------- */

/* Where does the value that a register holds come to? Follows it through moves. */
typedef struct Trace {
    Own *o;
    uint64_t *seen;     // per instruction: registers that were looked at
    VEC(uint64_t) work; // instruction << 16 | register
} Trace;

typedef struct TraceStep {
    Trace *t;
    uint32_t reg;
} TraceStep;

static void trace_to(Own *o, uint32_t to, void *ctx)
{
    const TraceStep *step = ctx;
    uint64_t *seen = &step->t->seen[(size_t)to * o->words];
    if (!get_bit(live_at(o, to), step->reg) || get_bit(seen, step->reg))
        return;
    seen[step->reg / 64] |= (uint64_t)1 << (step->reg % 64);
    vec_push(&step->t->work, (uint64_t)to << 16 | step->reg);
}

static void trace_next(Own *o, uint32_t k, TraceStep *step)
{
    each_jump(o, k, trace_to, step);
    for (uint32_t x = o->first_site[k + 1]; x; x = o->sites.at[x - 1].next)
        if (o->sites.at[x - 1].on && o->sites.at[x - 1].reg == step->reg)
            return; // it becomes another map
    if (falls_through(o, k))
        trace_to(o, k + 1, step);
}

/* Does the value in register `reg` at instruction `at` come to an edit in place, and with `again`
 * what this edit gives as well? One edit in place is no gain for a map that was disowned: the first
 * one copies. */
static bool reaches_edit(Own *o, uint32_t at, uint32_t reg, bool again)
{
    Trace t = {.o = o};
    if (at >= o->n_code)
        return false;
    t.seen = nosi_calloc((size_t)o->n_code * o->words, sizeof *t.seen);
    TraceStep step = {&t, reg};
    bool found = false;
    trace_to(o, at, &step);
    while (t.work.n && !found) {
        uint64_t next = vec_pop(&t.work);
        uint32_t k = (uint32_t)(next >> 16), r = (uint32_t)(next & 0xFFFF);
        const Ins *i = ins_at(o, k);
        if (o->edit[k] == EDIT_OWN && INSTR_B(i->w) == r)
            found = !again || reaches_edit(o, k + 1, INSTR_A(i->w), false);
        if (INSTR_OP(i->w) == OP_MOVE && INSTR_B(i->w) == r) {
            step.reg = INSTR_A(i->w);
            trace_next(o, k, &step);
        }
        step.reg = r;
        if (written(i) != (int32_t)r)
            trace_next(o, k, &step);
    }
    nosi_free(t.seen);
    vec_free(&t.work);
    return found;
}

/* Sites for a variable before loops, and where it is given something that is not new. */
static void add_sites(Own *o, uint32_t reg)
{
    for (uint32_t k = 0; k < o->n_code; k++) {
        const Ins *i = ins_at(o, k);
        if (INSTR_OP(i->w) == OP_LOOP) {
            uint32_t head = o->f->label_at.at[i->label];
            if (head == 0 || falls_through(o, head - 1))
                add_site(o, head, reg);
        }
        if (written(i) == (int32_t)reg && falls_through(o, k) && INSTR_OP(i->w) != OP_LOADI &&
            !is_new_map(o, i) && !(o->native[k] && o->native[k]->edits))
            add_site(o, k + 1, reg);
    }
}

static void find_variables(Own *o)
{
    for (uint32_t k = 0; k < o->n_code; k++) {
        const Ins *i = ins_at(o, k);
        if (o->native[k] && o->native[k]->edits)
            o->edited[INSTR_A(i->w)] = true;
        if (INSTR_OP(i->w) == OP_LOOP) {
            const uint64_t *live = live_at(o, o->f->label_at.at[i->label]);
            for (uint32_t r = 0; r < o->n_regs; r++)
                o->at_head[r] |= get_bit(live, r);
        }
    }
}

static void choose_sites(Own *o)
{
    find_variables(o);
    for (uint32_t r = 0; r < o->n_regs; r++)
        if (o->edited[r])
            add_sites(o, r);
    o->adds_sites = true;
    for (uint32_t n = UINT32_MAX; n != o->sites.n;) {
        n = o->sites.n;
        analyse(o);
    }
    o->adds_sites = false;
    // What is owned without it stays so without it; then those that do not help.
    VEC_EACH (Site, site, &o->sites)
        site->on = site->needed;
    analyse(o);
    for (bool changed = true; changed;) {
        changed = false;
        VEC_EACH (Site, site, &o->sites) {
            if (!site->on || reaches_edit(o, site->slot, site->reg, true))
                continue;
            site->on = false;
            changed = true;
        }
        if (changed)
            analyse(o);
    }
}

/* ---- the result ------------------------------------------------------------------------------ */

static void set_append(Own *o, uint32_t k)
{
    Ins *i = ins_at(o, k);
    Opcode op = INSTR_OP(i->w) == OP_STRCAT ? OP_STRCAT_O : OP_CONCAT_O;
    if (o->edit[k] == EDIT_OWN && reaches_edit(o, k + 1, INSTR_A(i->w), false))
        i->w = INSTR_ABC(op, INSTR_A(i->w), INSTR_B(i->w), INSTR_C(i->w));
}

static void set_native(Own *o, uint32_t k, const char *name)
{
    Ins *i = ins_at(o, k);
    const Builtin *b = builtin(name, o->native[k]->n_params);
    i->w = INSTR_ABC(OP_CALLB, INSTR_A(i->w), INSTR_B(i->w), nosi_cg_ref(o->f, b));
}

static Ins disown_ins(Own *o, uint32_t r, uint32_t line)
{
    return (Ins){.w = INSTR_ABC(OP_CALLB, r, r, nosi_cg_ref(o->f, builtin("__disown", 1))),
                 .label = NO_LABEL,
                 .line = line,
                 .rep = REP_OTHER,
                 .top = (uint16_t)(r + 1)};
}

static void insert_disowns(Own *o)
{
    Fn *f = o->f;
    uint32_t *moved = nosi_alloc((o->n_code + 1) * sizeof *moved);
    VEC(Ins) out = {0};
    for (uint32_t k = 0; k < o->n_code; k++) {
        Ins i = *ins_at(o, k);
        for (uint32_t x = o->first_site[k]; x; x = o->sites.at[x - 1].next)
            if (o->sites.at[x - 1].on)
                vec_push(&out, disown_ins(o, o->sites.at[x - 1].reg, i.line));
        moved[k] = out.n;
        vec_push(&out, i);
    }
    moved[o->n_code] = out.n;
    for (uint32_t l = 0; l < f->label_at.n; l++)
        if (f->label_at.at[l] != UINT32_MAX)
            f->label_at.at[l] = moved[f->label_at.at[l]];
    f->code.n = 0;
    VEC_EACH (Ins, i, &out)
        vec_push(&f->code, *i);
    vec_free(&out);
    nosi_free(moved);
}

/* Does the first operand of STRCAT k, a temporary, come from a variable? */
static bool appends_to_variable(const Own *o, uint32_t k)
{
    uint32_t r = INSTR_B(ins_at(o, k)->w);
    if (INSTR_OP(ins_at(o, k)->w) == OP_CONCAT)
        return true;
    while (k-- > 0)
        if (written(ins_at(o, k)) == (int32_t)r)
            return INSTR_OP(ins_at(o, k)->w) == OP_MOVE;
    return false;
}

/* Appends in loops, where it pays to look closer. */
static bool find_appends(Own *o)
{
    bool any = false;
    uint32_t above = o->n_code; // the loop reaches down to there
    for (uint32_t k = o->n_code; k-- > 0;) {
        const Ins *i = ins_at(o, k);
        if (INSTR_OP(i->w) == OP_LOOP)
            above = NOS_MIN(above, o->f->label_at.at[i->label]);
        if (k < above)
            above = o->n_code;
        if (above <= k && is_append(i) && appends_to_variable(o, k)) {
            o->native[k] = &append;
            any = true;
        }
    }
    return any;
}

static bool find_natives(Own *o)
{
    static const Builtin *known[sizeof natives / sizeof *natives];
    bool edits = find_appends(o);
    for (uint32_t k = 0; k < o->n_code; k++) {
        const Ins *i = ins_at(o, k);
        if (INSTR_OP(i->w) != OP_CALLB)
            continue;
        const Builtin *b = o->f->refs.at[INSTR_C(i->w)];
        for (uint32_t j = 0; j < sizeof natives / sizeof *natives; j++) {
            if (!known[j])
                known[j] = builtin(natives[j].name, natives[j].n_params);
            if (b == known[j]) {
                o->native[k] = &natives[j];
                edits |= natives[j].edits;
            }
        }
    }
    return edits;
}

void nosi_cg_own(Fn *f)
{
    Own o = {.f = f, .n_code = f->code.n};
    o.n_regs = NOS_MAX(f->max_regs, f->first_param + f->n_params);
    o.words = (o.n_regs + 63) / 64;
    if (!o.n_regs || f->too_large || (uint64_t)o.n_regs * o.n_code > MAX_CELLS)
        return;
    o.native = nosi_calloc(o.n_code, sizeof *o.native);
    if (find_natives(&o)) {
        o.edit = nosi_calloc(o.n_code, sizeof *o.edit);
        o.edited = nosi_calloc(o.n_regs, sizeof *o.edited);
        o.at_head = nosi_calloc(o.n_regs, sizeof *o.at_head);
        o.first_site = nosi_calloc(o.n_code + 1, sizeof *o.first_site);
        o.live = nosi_calloc((size_t)o.n_code * o.words, sizeof *o.live);
        o.states = nosi_calloc((size_t)o.n_code * o.n_regs, sizeof *o.states);
        o.reached = nosi_calloc(o.n_code, sizeof *o.reached);
        find_live(&o);
        choose_sites(&o);
        bool any = memchr(o.edit, EDIT_OWN, o.n_code) != NULL;
        for (uint32_t k = 0; k < o.n_code && any; k++)
            if (o.native[k] == &append)
                set_append(&o, k);
            else if (o.edit[k] == EDIT_OWN)
                set_native(&o, k, o.native[k]->own);
            else if (o.edit[k] == EDIT_COPY &&
                     reaches_edit(&o, k + 1, INSTR_A(ins_at(&o, k)->w), false))
                set_native(&o, k, o.native[k]->copy);
        if (any)
            insert_disowns(&o);
        nosi_free(o.edit);
        nosi_free(o.first_site);
        nosi_free(o.edited);
        nosi_free(o.at_head);
        vec_free(&o.sites);
        nosi_free(o.live);
        nosi_free(o.states);
        nosi_free(o.reached);
        vec_free(&o.work);
    }
    nosi_free(o.native);
}
