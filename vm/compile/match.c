/* match.c -- patterns, as decision trees.
 *
 * A state is a list of rows (arms that may still match), each with the tests it still needs: items
 * (occurrence, pattern). An occurrence is a place in the matched value; it is loaded into a
 * register when first needed. The first row decides what to test next; the test splits the rows
 * into those for success (what the test established is dropped from them) and those for failure. No
 * test is made twice on one path. States that come up again are shared (jump to the code that
 * exists), and so are arm bodies; when a match is so irregular that the tree grows beyond a
 * multiple of its rows, the rest is tried row by row.
 *
 * Rows are made of interned parts, so equal states have equal keys. The order of rows is the order
 * of arms; within a row tests may run in any order, because a pattern test has no effect. */
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/value/shape.h"

/* ---- pictures -------------------------------------------------------------------------------- */

typedef enum {
    AT_ROOT,
    AT_HEAD,
    AT_TAIL,
    AT_TUPLE,
    AT_CTOR_FIELD,
    AT_INDEX,
    AT_NAMED,
    AT_KEY,
    AT_REST
} OccKind;

typedef struct Occ {
    OccKind kind;
    uint32_t index;  // TUPLE, CTOR_FIELD, INDEX
    const void *key; // CTOR_FIELD: Ctor; NAMED: Name; KEY, REST: what was looked up
    struct Occ *parent, *children, *next;
    Type *type;  // static type, or NULL
    int32_t reg; // -1 = not loaded on the current path
    uint32_t id;
} Occ;

/* What a pattern asks of its place first; the rest becomes items. */
typedef enum {
    T_LIT,
    T_RANGE,
    T_TUPLE,
    T_NIL,
    T_CONS,
    T_CTOR,
    T_FIELD,
    T_MAP,
    T_MAPKEY,
    T_SET,
    T_SETKEY,
    T_EQ,
    T_PREFIX
} TestKind;
typedef struct Test {
    TestKind kind;
    Pat *pat;
    Ctor *ctor;      // CTOR, when statically known
    Name name;       // CTOR by name, FIELD
    uint32_t n;      // TUPLE size; MAPKEY, SETKEY: number of the key; PREFIX: heads
    Expr *lit;       // LIT
    const void *key; // MAPKEY, SETKEY: the literal looked up; NULL when pinned
} Test;

enum { MODE_PREFIX = 1 << 30, MODE_LIST = 1 << 29, MODE_MASK = MODE_PREFIX | MODE_LIST };

typedef struct Need {
    Occ *occ;
    Pat *pat;
    uint32_t step; // list: elements already taken; map, set, record: keys already found. MODE_*:
                   // how a prefix is read
} Need;

typedef struct Bind {
    Local *local;
    Occ *occ;
    bool assign;
} Bind;

typedef struct Row {
    uint32_t arm;
    uint32_t n_items, n_binds;
    Need *items;
    Bind *binds;
    struct Row *next; // of equal hash
} Row;

typedef struct Fact { // constructors an occurrence is known not to be
    Occ *occ;
    uint64_t excluded;
} Fact;

typedef struct State {
    Row **rows;
    uint32_t n;
    Fact *facts;
    uint32_t n_facts;
} State;

typedef struct Known { // emitted state
    uint64_t *key;
    uint32_t n;
    Label label;
    struct Known *next;
} Known;

typedef struct ArmState {
    bool emitted;
    bool has_choice; // contains an or-pattern
    Label body;
    uint32_t *regs; // where the body expects the variables, in binding order of its first leaf
    Local **locals;
    uint32_t n;
} ArmState;

typedef struct Matcher {
    Fn *f;
    Match *m;
    Arena *a;
    Occ **roots;
    uint32_t n_occs, n_states, max_states;
    VEC(Occ *) trail; // loaded on the current path
    ArmState *arms;
    Label end, fail;
    bool fail_emitted;
    HashMap rows;  // hash -> Row *
    HashMap known; // hash -> Known *
} Matcher;

/* ---- occurrences ----------------------------------------------------------------------------- */

static Occ *child(Matcher *x, Occ *parent, OccKind kind, uint32_t index, const void *key,
                  Type *type)
{
    for (Occ *o = parent->children; o; o = o->next)
        if (o->kind == kind && o->index == index && o->key == key)
            return o;
    Occ *o = ARENA_NEW(x->a, Occ);
    // What a message or an exception contains is known only where a constructor declares it.
    if (x->m->untyped && kind != AT_CTOR_FIELD && !parent->type)
        type = NULL;
    *o = (Occ){.kind = kind,
               .index = index,
               .key = key,
               .parent = parent,
               .next = parent->children,
               .type = type,
               .reg = -1,
               .id = x->n_occs++};
    parent->children = o;
    return o;
}

static void set_loaded(Matcher *x, Occ *o, uint32_t reg)
{
    o->reg = (int32_t)reg;
    vec_push(&x->trail, o);
}

static void unwind(Matcher *x, uint32_t mark)
{
    while (x->trail.n > mark)
        vec_pop(&x->trail)->reg = -1;
}

static uint32_t load(Matcher *x, Occ *o)
{
    Fn *f = x->f;
    if (o->reg >= 0)
        return (uint32_t)o->reg;
    uint32_t from = load(x, o->parent), to = nosi_cg_alloc(f, 1);
    switch (o->kind) {
    case AT_HEAD:
        nosi_cg_abc(f, OP_HEAD_U, to, from, 0);
        break;
    case AT_TAIL:
        nosi_cg_abc(f, OP_TAIL_U, to, from, 0);
        break;
    case AT_TUPLE:
    case AT_INDEX:
        nosi_cg_abc(f, OP_TUPGET, to, from, o->index);
        break;
    case AT_CTOR_FIELD:
        nosi_cg_abc(f, OP_FIELD_U, to, from, o->index);
        break;
    case AT_NAMED:
        nosi_cg_abc(f, OP_FIELD, to, from, nosi_cg_field_ref(f, o->key, 0, 0));
        break;
    default: // roots and looked-up values are always loaded
        NOS_ASSERT(false);
        break;
    }
    nosi_cg_hint(f, o->type);
    set_loaded(x, o, to);
    return to;
}

/* ---- patterns to tests ----------------------------------------------------------------------- */

bool nosi_cg_irrefutable(const Pat *p)
{
    return p->kind == PAT_WILD || (p->kind == PAT_VAR && p->var_mode == PATVAR_BIND);
}

Ctor *nosi_cg_pat_ctor(Compiler *c, const Pat *p)
{
    (void)c;
    Symbol *s = p->symbol;
    TypeDef *def = p->type ? nosi_cg_typedef(p->type) : NULL;
    if (!s || s->kind != SYM_CTOR)
        return NULL;
    if (s->ctors.n == 1)
        return s->ctors.at[0];
    for (uint32_t i = 0; def && i < s->ctors.n; i++)
        if (s->ctors.at[i]->type == def)
            return s->ctors.at[i];
    return NULL;
}

static Name ctor_name(const Pat *p)
{
    return p->symbol && p->symbol->kind == SYM_CTOR && p->symbol->ctors.n
               ? p->symbol->ctors.at[0]->name
               : p->name;
}

static bool is_type(Type *t, TyConId id)
{
    return nosi_cg_is(t, id);
}

/* The record shape behind a `{f, g}` pattern when its static type tells. */
static Ctor *record_ctor(const Pat *p)
{
    TypeDef *def = p->type ? nosi_cg_typedef(p->type) : NULL;
    if (!def || def->ctors.n != 1 || !def->ctors.at[0]->has_named)
        return NULL;
    return def->ctors.at[0];
}

static uint32_t field_index(const Ctor *k, Name name)
{
    for (uint32_t i = 0; i < k->n_fields; i++)
        if (k->fields->at[i].name == name)
            return i;
    return UINT32_MAX;
}

/* Equal literal keys have equal words: small integers, immediates, strings that were made once. */
static const void *literal_key(Matcher *x, const Pat *p, uint32_t i)
{
    Value v;
    if ((p->key_pinned && p->key_pinned[i]) || p->keys.at[i]->kind == EXPR_NAME ||
        !nosi_cg_literal_scalar(x->f, p->keys.at[i], &v))
        return NULL;
    return (const void *)(uintptr_t)(v.bits ? v.bits : UINT64_MAX);
}

static Test test_of(Matcher *x, const Need *it)
{
    Pat *p = it->pat;
    uint32_t step = it->step & ~(uint32_t)MODE_MASK;
    Test t = {.pat = p};
    switch (p->kind) {
    case PAT_LIT:
        t.kind = T_LIT;
        t.lit = p->lit;
        break;
    case PAT_RANGE:
        t.kind = T_RANGE;
        break;
    case PAT_TUPLE:
        t.kind = T_TUPLE;
        t.n = p->elems.n;
        break;
    case PAT_LIST:
        if (it->step & MODE_PREFIX) {
            t.kind = T_PREFIX;
            t.n = p->elems.n;
        } else {
            t.kind = step < p->elems.n ? T_CONS : T_NIL;
        }
        break;
    case PAT_CTOR:
        if (step == 0) {
            t.kind = T_CTOR;
            t.ctor = nosi_cg_pat_ctor(x->f->c, p);
            t.name = t.ctor ? t.ctor->name : ctor_name(p);
        } else {
            t.kind = T_FIELD;
            t.name = p->fields.at[step - 1];
        }
        break;
    case PAT_RECORD:
        t.ctor = record_ctor(p);
        if (t.ctor) {
            t.kind = T_CTOR;
            t.name = t.ctor->name;
        } else {
            t.kind = T_FIELD;
            t.name = p->fields.at[step];
        }
        break;
    case PAT_MAP:
        t.kind = step == 0 ? T_MAP : T_MAPKEY;
        t.n = step - 1;
        t.key = step ? literal_key(x, p, t.n) : NULL;
        break;
    case PAT_SET:
        t.kind = step == 0 ? T_SET : T_SETKEY;
        t.n = step - 1;
        t.key = step ? literal_key(x, p, t.n) : NULL;
        break;
    case PAT_VAR:
    case PAT_PIN:
        t.kind = T_EQ;
        break;
    case PAT_WILD:
    case PAT_OR:
        NOS_ASSERT(false);
        break;
    }
    return t;
}

static bool same_literal(const Expr *a, const Expr *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case EXPR_UNIT:
        return true;
    case EXPR_BOOL:
    case EXPR_INT:
    case EXPR_CHAR:
        return a->ival == b->ival;
    case EXPR_SIZED:
        return a->ival == b->ival && a->num == b->num;
    case EXPR_STRING:
    case EXPR_BIGINT:
    case EXPR_DECIMAL:
        return a->n == b->n && memcmp(a->str, b->str, a->n) == 0;
    case EXPR_FLOAT:
    case EXPR_FLOAT32:
        return memcmp(&a->fval, &b->fval, sizeof a->fval) == 0;
    case EXPR_NEG:
        return same_literal(a->a, b->a);
    default:
        return false;
    }
}

/* Could a value equal both literals although they are written differently? (0.0 and -0.0, 1.0d
 * and 1.00d) */
static bool fuzzy(const Expr *e)
{
    if (e->kind == EXPR_NEG)
        e = e->a;
    return e->kind == EXPR_FLOAT || e->kind == EXPR_FLOAT32 || e->kind == EXPR_DECIMAL ||
           e->kind == EXPR_BIGINT;
}

typedef enum { REL_SAME, REL_EXCLUDES, REL_NONE } Relation;

/* Kinds of values that are disjoint from each other. */
static int value_class(TestKind k)
{
    switch (k) {
    case T_LIT:
    case T_RANGE:
        return 1;
    case T_TUPLE:
        return 2;
    case T_NIL:
    case T_CONS:
        return 3;
    case T_CTOR:
        return 4;
    case T_MAP:
    case T_MAPKEY:
        return 5;
    case T_SET:
    case T_SETKEY:
        return 6;
    default:
        return 0;
    }
}

/* If test a of an occurrence succeeded, what about b on the same? REL_SAME also means: a failed, so
 * b fails. */
static Relation relate(const Test *a, const Test *b)
{
    int ca = value_class(a->kind), cb = value_class(b->kind);
    if (ca && cb && ca != cb)
        return REL_EXCLUDES;
    if (a->kind != b->kind)
        return ca == 3 && cb == 3 ? REL_EXCLUDES : REL_NONE;
    switch (a->kind) {
    case T_LIT:
        if (same_literal(a->lit, b->lit))
            return REL_SAME;
        return fuzzy(a->lit) && fuzzy(b->lit) ? REL_NONE : REL_EXCLUDES;
    case T_RANGE:
        return a->pat->lo == b->pat->lo && a->pat->hi == b->pat->hi &&
                       a->pat->inclusive == b->pat->inclusive
                   ? REL_SAME
                   : REL_NONE;
    case T_TUPLE:
        return a->n == b->n ? REL_SAME : REL_EXCLUDES;
    case T_NIL:
    case T_CONS:
    case T_MAP:
    case T_SET:
        return REL_SAME;
    case T_CTOR:
        if (a->name != b->name)
            return REL_EXCLUDES;
        if (a->ctor == b->ctor)
            return REL_SAME;
        return a->ctor && b->ctor ? REL_EXCLUDES : REL_NONE;
    case T_FIELD:
        return a->name == b->name ? REL_SAME : REL_NONE;
    case T_EQ: // what it is compared with may be bound differently in another row
        return REL_NONE;
    case T_MAPKEY:
    case T_SETKEY:
        return a->key && a->key == b->key ? REL_SAME : REL_NONE;
    case T_PREFIX: // the same pattern: it may occur in several rows
        return a->pat == b->pat ? REL_SAME : REL_NONE;
    }
    return REL_NONE;
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct RowBuilder {
    uint32_t arm;
    VEC(Need) items;
    VEC(Bind) binds;
} RowBuilder;

/* Adds what (occ, pat, step) needs: bindings at once, the rest as an item. */
static void add_item(Matcher *x, RowBuilder *b, Occ *o, Pat *p, uint32_t step)
{
    if (!p)
        return;
    switch (p->kind) {
    case PAT_WILD:
        return;
    case PAT_VAR:
        if (p->var_mode == PATVAR_EQUAL)
            break;
        vec_push(&b->binds, ((Bind){p->local, o, p->var_mode == PATVAR_ASSIGN}));
        return;
    case PAT_LIST:
        if (p->is_prefix && !(step & MODE_MASK)) {
            if (is_type(o->type, TC_STRING))
                step |= MODE_PREFIX;
            else if (is_type(o->type, TC_LIST))
                step |= MODE_LIST;
        } else if (!(step & MODE_PREFIX) && (step & ~(uint32_t)MODE_MASK) == p->elems.n &&
                   p->tail) {
            add_item(x, b, o, p->tail, 0);
            return;
        }
        break;
    case PAT_RECORD:
        if (p->fields.n == step)
            return;
        break;
    default:
        break;
    }
    vec_push(&b->items, ((Need){o, p, step}));
}

static Row *finish_row(Matcher *x, RowBuilder *b)
{
    uint64_t h = b->arm; // field by field: the structs have padding
    for (uint32_t i = 0; i < b->items.n; i++)
        h = (h * 31 + (uintptr_t)b->items.at[i].occ) * 31 + (uintptr_t)b->items.at[i].pat +
            b->items.at[i].step;
    for (uint32_t i = 0; i < b->binds.n; i++)
        h = h * 31 + (uintptr_t)b->binds.at[i].local + (uintptr_t)b->binds.at[i].occ * 3;
    const void *key = (const void *)(uintptr_t)(h | 1);
    for (Row *r = nosi_hashmap_get(&x->rows, key); r; r = r->next) {
        bool same = r->arm == b->arm && r->n_items == b->items.n && r->n_binds == b->binds.n;
        for (uint32_t i = 0; i < r->n_items && same; i++)
            same = r->items[i].occ == b->items.at[i].occ && r->items[i].pat == b->items.at[i].pat &&
                   r->items[i].step == b->items.at[i].step;
        for (uint32_t i = 0; i < r->n_binds && same; i++)
            same =
                r->binds[i].local == b->binds.at[i].local && r->binds[i].occ == b->binds.at[i].occ;
        if (same) {
            vec_free(&b->items);
            vec_free(&b->binds);
            return r;
        }
    }
    Row *r = ARENA_NEW(x->a, Row);
    *r = (Row){.arm = b->arm,
               .n_items = b->items.n,
               .n_binds = b->binds.n,
               .next = nosi_hashmap_get(&x->rows, key)};
    r->items = nosi_arena_memdup(x->a, b->items.at, b->items.n * sizeof(Need));
    r->binds = nosi_arena_memdup(x->a, b->binds.at, b->binds.n * sizeof(Bind));
    nosi_hashmap_put(&x->rows, key, r);
    vec_free(&b->items);
    vec_free(&b->binds);
    return r;
}

static void start_row(RowBuilder *b, const Row *r)
{
    *b = (RowBuilder){.arm = r->arm};
    for (uint32_t i = 0; i < r->n_binds; i++)
        vec_push(&b->binds, r->binds[i]);
}

/* Where the value of a map key is. */
static Occ *key_value(Matcher *x, Occ *map, const Test *t)
{
    Type *type = t->pat->elems.at[t->n]->type;
    return t->key ? child(x, map, AT_KEY, 0, t->key, type)
                  : child(x, map, AT_KEY, t->n + 1, t->pat, type);
}

/* Row r after the test of its item k succeeded: that item is replaced by what is below it. */
static void add_below(Matcher *x, RowBuilder *b, const Need *it, const Test *t)
{
    Pat *p = it->pat;
    Occ *o = it->occ;
    uint32_t step = it->step & ~(uint32_t)MODE_MASK, mode = it->step & MODE_MASK;
    switch (t->kind) {
    case T_TUPLE:
        for (uint32_t i = 0; i < p->elems.n; i++)
            add_item(x, b, child(x, o, AT_TUPLE, i, NULL, p->elems.at[i]->type), p->elems.at[i], 0);
        break;
    case T_CONS: {
        Pat *head = p->elems.at[step];
        add_item(x, b, child(x, o, AT_HEAD, 0, NULL, head->type), head, 0);
        add_item(x, b, child(x, o, AT_TAIL, 0, NULL, p->type), p, (step + 1) | mode);
        break;
    }
    case T_CTOR: {
        const Ctor *k = t->ctor;
        bool named = p->kind == PAT_RECORD || p->has_named;
        if (named && !k) {
            if (p->fields.n)
                add_item(x, b, o, p, 1);
            break;
        }
        for (uint32_t i = 0; i < p->elems.n; i++) {
            uint32_t at = named ? field_index(k, p->fields.at[i]) : i;
            Type *type = p->elems.at[i]->type;
            if (k && at < k->n_fields)
                add_item(x, b, child(x, o, AT_CTOR_FIELD, at, k, type), p->elems.at[i], 0);
            else if (!k)
                add_item(x, b, child(x, o, AT_INDEX, at, NULL, type), p->elems.at[i], 0);
        }
        break;
    }
    case T_FIELD: { // record or constructor by name
        uint32_t i = p->kind == PAT_RECORD ? step : step - 1;
        add_item(x, b, child(x, o, AT_NAMED, 0, p->fields.at[i], p->elems.at[i]->type),
                 p->elems.at[i], 0);
        if (i + 1 < p->fields.n)
            add_item(x, b, o, p, step + 1);
        break;
    }
    case T_MAP:
    case T_SET:
        if (p->keys.n)
            add_item(x, b, o, p, 1);
        break;
    case T_MAPKEY:
        add_item(x, b, key_value(x, o, t), p->elems.at[t->n], 0);
        NOS_FALLTHROUGH;
    case T_SETKEY:
        if (t->n + 1 < p->keys.n)
            add_item(x, b, o, p, step + 1);
        break;
    case T_PREFIX:
        add_item(x, b, child(x, o, AT_REST, 0, p, p->type), p->tail, 0);
        break;
    case T_LIT:
    case T_RANGE:
    case T_NIL:
    case T_EQ:
        break;
    }
}

static Row *after_test(Matcher *x, const Row *r, uint32_t k, const Test *t)
{
    RowBuilder b;
    start_row(&b, r);
    for (uint32_t i = 0; i < r->n_items; i++) {
        if (i == k)
            add_below(x, &b, &r->items[i], t);
        else
            vec_push(&b.items, r->items[i]);
    }
    return finish_row(x, &b);
}

typedef VEC(Row *) RowVec;

/* Does the item stand for several alternatives? */
static bool is_choice(const Need *it)
{
    return it->pat->kind == PAT_OR ||
           (it->pat->kind == PAT_LIST && it->pat->is_prefix && !(it->step & MODE_MASK));
}

/* Appends r with its choices at `o` (NULL: anywhere) spelled out. */
static void push_expanded(Matcher *x, RowVec *out, Row *r, const Occ *o)
{
    for (uint32_t k = 0; k < r->n_items; k++) {
        const Need *it = &r->items[k];
        if (!is_choice(it) || (o && it->occ != o))
            continue;
        bool prefix = it->pat->kind == PAT_LIST;
        uint32_t n = prefix ? 2 : it->pat->elems.n;
        for (uint32_t alt = 0; alt < n; alt++) {
            RowBuilder b;
            start_row(&b, r);
            for (uint32_t i = 0; i < r->n_items; i++) {
                if (i != k)
                    vec_push(&b.items, r->items[i]);
                else if (prefix)
                    vec_push(&b.items, ((Need){it->occ, it->pat, alt ? MODE_LIST : MODE_PREFIX}));
                else
                    add_item(x, &b, it->occ, it->pat->elems.at[alt], 0);
            }
            push_expanded(x, out, finish_row(x, &b), o);
        }
        return;
    }
    vec_push(out, r);
}

static int32_t item_at(const Row *r, const Occ *o)
{
    for (uint32_t i = 0; i < r->n_items; i++)
        if (r->items[i].occ == o)
            return (int32_t)i;
    return -1;
}

/* ---- facts ----------------------------------------------------------------------------------- */

/* How many alternatives the static type has for tests like t, and which one t is; 0 = unknown. */
static uint32_t alternatives(const Occ *o, const Test *t, uint32_t *which)
{
    if ((t->kind == T_CONS || t->kind == T_NIL) && is_type(o->type, TC_LIST)) {
        *which = t->kind == T_CONS;
        return 2;
    }
    if (t->kind == T_LIT && t->lit->kind == EXPR_BOOL && is_type(o->type, TC_BOOL)) {
        *which = t->lit->ival != 0;
        return 2;
    }
    TypeDef *def = o->type ? nosi_cg_typedef(o->type) : NULL;
    if (t->kind == T_CTOR && t->ctor && def == t->ctor->type && def->ctors.n <= 64) {
        *which = t->ctor->index;
        return def->ctors.n;
    }
    return 0;
}

static uint64_t excluded(const State *s, const Occ *o)
{
    for (uint32_t i = 0; i < s->n_facts; i++)
        if (s->facts[i].occ == o)
            return s->facts[i].excluded;
    return 0;
}

static State with_fact(Matcher *x, const State *s, Occ *o, uint64_t excl)
{
    State out = *s;
    out.facts = ARENA_ARRAY(x->a, Fact, s->n_facts + 1);
    if (s->n_facts)
        memcpy(out.facts, s->facts, s->n_facts * sizeof(Fact));
    for (uint32_t i = 0; i < s->n_facts; i++) {
        if (out.facts[i].occ == o) {
            out.facts[i].excluded |= excl;
            return out;
        }
    }
    out.facts[out.n_facts++] = (Fact){o, excl};
    return out;
}

/* Does matching the item read anything inside the value? If not, the test of the last possible
 * constructor can be left out. */
static bool has_payload(const Need *it)
{
    const Pat *p = it->pat;
    if (p->kind == PAT_LIST)
        return p->elems.n > 0 || p->tail;
    for (uint32_t i = 0; i < p->elems.n; i++)
        if (p->elems.at[i] && p->elems.at[i]->kind != PAT_WILD)
            return true;
    return false;
}

/* ---- shared states --------------------------------------------------------------------------- */

typedef VEC(uint64_t) Words;

static void key_occ(Words *k, const Occ *o)
{
    vec_push(k, (uint64_t)o->id << 32 | (uint32_t)o->reg);
}

static void state_key(const State *s, Words *k)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const Row *r = s->rows[i];
        vec_push(k, (uint64_t)(uintptr_t)r);
        for (uint32_t j = 0; j < r->n_items; j++) {
            key_occ(k, r->items[j].occ);
            vec_push(k, excluded(s, r->items[j].occ));
        }
        for (uint32_t j = 0; j < r->n_binds; j++)
            key_occ(k, r->binds[j].occ);
    }
}

enum { MAX_SHARED_ROWS = 64 }; // longer lists of arms hardly ever come up twice

/* True: the state's code exists, a jump to it was emitted. Otherwise it is emitted here and now. */
static bool shared(Matcher *x, const State *s)
{
    if (s->n > MAX_SHARED_ROWS)
        return false;
    Words k = {0};
    state_key(s, &k);
    uint64_t h = nosi_hash_bytes(k.at, k.n * sizeof *k.at, 1);
    const void *key = (const void *)(uintptr_t)(h | 1);
    for (Known *n = nosi_hashmap_get(&x->known, key); n; n = n->next) {
        if (n->n == k.n && memcmp(n->key, k.at, k.n * sizeof *k.at) == 0) {
            nosi_cg_goto(x->f, n->label);
            vec_free(&k);
            return true;
        }
    }
    Known *n = ARENA_NEW(x->a, Known);
    *n = (Known){nosi_arena_memdup(x->a, k.at, k.n * sizeof *k.at), k.n, nosi_cg_here(x->f),
                 nosi_hashmap_get(&x->known, key)};
    nosi_hashmap_put(&x->known, key, n);
    vec_free(&k);
    return false;
}

/* ---- emitting tests -------------------------------------------------------------------------- */

static void test_literal(Matcher *x, const Occ *o, Expr *lit, Label no)
{
    Fn *f = x->f;
    uint32_t r = (uint32_t)o->reg;
    Value v;
    bool ok = nosi_cg_literal_scalar(f, lit, &v);
    if (NOS_NEVER(!ok))
        return;
    if (value_is_small(v) && is_type(o->type, TC_INT) && value_small_int(v) >= INT16_MIN &&
        value_small_int(v) <= INT16_MAX)
        nosi_cg_jump(f, OP_JNE_IK, r, (uint16_t)value_small_int(v), no);
    else if (value_is_bool(v) && is_type(o->type, TC_BOOL))
        nosi_cg_jump(f, value_is_true(v) ? OP_JF : OP_JT, r, 0, no);
    else
        nosi_cg_jump(f, OP_JNEQK, r, nosi_cg_const(f, v), no);
}

static void test_range(Matcher *x, uint32_t r, const Pat *p, Label no)
{
    Fn *f = x->f;
    int64_t lo = p->lo, hi = p->hi;
    if (!p->inclusive) {
        if (hi == INT64_MIN)
            lo = 1, hi = 0; // empty
        else
            hi--;
    }
    uint32_t k = f->consts.n; // two consecutive constants
    vec_push(&f->consts, nosi_cg_int_value(lo));
    vec_push(&f->consts, nosi_cg_int_value(hi));
    if (f->consts.n > UINT16_MAX)
        f->too_large = true;
    nosi_cg_jump(f, OP_JNRANGE, r, k, no);
}

static uint32_t pinned_value(Fn *f, Local *l, Symbol *s, Span span)
{
    uint32_t reg;
    if (l && !l->needs_cell && !nosi_cg_static_fn(f, l) && nosi_cg_lookup(f, l, &reg))
        return reg;
    reg = nosi_cg_alloc(f, 1);
    if (l) {
        nosi_cg_read_local(f, l, reg);
    } else if (s) {
        Expr name = {.kind = EXPR_NAME, .span = span, .symbol = s};
        nosi_cg_symbol(f, &name, s, reg);
    } else {
        nosi_cg_unit(f, reg);
    }
    return reg;
}

/* A variable bound further left in the same pattern, or one of the function. */
static uint32_t equal_to(Matcher *x, const Row *r, const Pat *p)
{
    for (uint32_t i = 0; i < r->n_binds; i++)
        if (r->binds[i].local == p->local && !r->binds[i].assign)
            return load(x, r->binds[i].occ);
    return pinned_value(x->f, p->local, p->symbol, p->span);
}

static void test_key(Matcher *x, const Occ *o, const Test *t, uint32_t to, Label no)
{
    Fn *f = x->f;
    Pat *p = t->pat;
    Expr *key = p->keys.at[t->n];
    uint32_t k;
    Value v;
    if (key->kind == EXPR_NAME || !nosi_cg_literal_scalar(f, key, &v)) {
        k = pinned_value(f, key->local, key->symbol, key->span);
    } else {
        k = nosi_cg_alloc(f, 1);
        nosi_cg_loadk(f, k, v);
    }
    nosi_cg_abc(f, t->kind == T_MAPKEY ? OP_MAPFIND : OP_SETHAS, to, (uint32_t)o->reg, k);
    nosi_cg_jump(f, OP_JABSENT, to, 0, no);
}

static void test_prefix(Matcher *x, const Occ *o, const Pat *p, uint32_t to, Label no)
{
    Fn *f = x->f;
    StrBuf text = {0};
    for (uint32_t i = 0; i < p->elems.n; i++)
        nosi_strbuf_add(&text, p->elems.at[i]->lit->str, p->elems.at[i]->lit->n);
    Value v = nosi_cg_string(f->c, text.n ? text.s : "", text.n);
    nosi_strbuf_free(&text);
    nosi_cg_abc(f, OP_STRPFX, to, (uint32_t)o->reg, nosi_cg_const(f, v));
    nosi_cg_jump(f, OP_JABSENT, to, 0, no);
}

/* Jumps to `no` unless the value at o passes. */
static void emit_test(Matcher *x, const Row *row, Occ *o, const Test *t, Label no)
{
    Fn *f = x->f;
    uint32_t r = load(x, o);
    switch (t->kind) {
    case T_LIT:
        test_literal(x, o, t->lit, no);
        break;
    case T_RANGE:
        test_range(x, r, t->pat, no);
        break;
    case T_TUPLE:
        nosi_cg_jump(f, OP_JNTUPLE, r, t->n, no);
        break;
    case T_NIL:
        nosi_cg_jump(f, OP_JNNIL, r, 0, no);
        break;
    case T_CONS:
        nosi_cg_jump(f, OP_JNCONS, r, 0, no);
        break;
    case T_CTOR:
        if (t->ctor && t->ctor->n_fields == 0) // an immediate
            nosi_cg_jump(f, OP_JNEQK, r,
                         nosi_cg_const(f, value_ctor(nosi_cg_shape(f->c, t->ctor)->id)), no);
        else
            nosi_cg_jump(
                f, OP_JNCTOR, r,
                nosi_cg_ctor_ref(f, t->name, t->ctor ? nosi_cg_shape(f->c, t->ctor)->id : 0), no);
        break;
    case T_FIELD:
        nosi_cg_jump(f, OP_JNFIELD, r, nosi_cg_field_ref(f, t->name, 0, 0), no);
        break;
    case T_MAP:
        nosi_cg_jump(f, OP_JNMAP, r, 0, no);
        break;
    case T_SET:
        nosi_cg_jump(f, OP_JNSET, r, 0, no);
        break;
    case T_MAPKEY: {
        Occ *value = key_value(x, o, t);
        uint32_t to = nosi_cg_alloc(f, 1);
        test_key(x, o, t, to, no);
        set_loaded(x, value, to);
        break;
    }
    case T_SETKEY:
        test_key(x, o, t, nosi_cg_alloc(f, 1), no);
        break;
    case T_EQ: {
        uint32_t other = equal_to(x, row, t->pat);
        nosi_cg_jump(f, OP_JNEQ, r, other, no);
        break;
    }
    case T_PREFIX: {
        Occ *rest = child(x, o, AT_REST, 0, t->pat, t->pat->type);
        uint32_t to = nosi_cg_alloc(f, 1);
        test_prefix(x, o, t->pat, to, no);
        set_loaded(x, rest, to);
        break;
    }
    }
}

/* ---- leaves ---------------------------------------------------------------------------------- */

typedef struct Move {
    uint32_t to, from;
} Move;

/* All moves at once: sources are read before they are overwritten. */
static void parallel_moves(Fn *f, Move *at, uint32_t n)
{
    uint32_t top = f->top;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++)
            if (at[j].from == at[i].to && at[j].from != at[j].to) {
                uint32_t t = nosi_cg_alloc(f, 1);
                nosi_cg_move(f, t, at[j].from);
                at[j].from = t;
            }
    for (uint32_t i = 0; i < n; i++)
        nosi_cg_move(f, at[i].to, at[i].from);
    f->top = top;
}

static void assign_all(Matcher *x, const Row *r)
{
    Fn *f = x->f;
    uint32_t n = 0;
    Move *moves = ARENA_ARRAY(x->a, Move, r->n_binds + 1);
    for (uint32_t i = 0; i < r->n_binds; i++) {
        const Bind *b = &r->binds[i];
        uint32_t reg, from;
        if (!b->assign)
            continue;
        from = load(x, b->occ);
        if (b->local->needs_cell)
            nosi_cg_write_local(f, b->local, from);
        else if (nosi_cg_lookup(f, b->local, &reg))
            moves[n++] = (Move){reg, from};
    }
    parallel_moves(f, moves, n);
}

static uint32_t bound_index(const ArmState *a, const Local *l)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (a->locals[i] == l)
            return i;
    return UINT32_MAX;
}

/* The row's tests are done. False: a guard may fail, go on with the rows behind it. */
static bool leaf(Matcher *x, const Row *r)
{
    Fn *f = x->f;
    Match *m = x->m;
    ArmState *arm = &x->arms[r->arm];
    Expr *guard = m->rows[r->arm].guard;
    uint32_t mark = nosi_cg_scope_begin(f), trail = x->trail.n, top = f->top, n = 0;
    Label no = guard ? nosi_cg_label(f) : NO_LABEL;
    uint32_t *regs = ARENA_ARRAY(x->a, uint32_t, r->n_binds + 1);
    Local **locals = ARENA_ARRAY(x->a, Local *, r->n_binds + 1);
    for (uint32_t i = 0; i < r->n_binds; i++) {
        const Bind *b = &r->binds[i];
        if (b->assign)
            continue;
        uint32_t from = load(x, b->occ);
        if (arm->has_choice && !arm->emitted &&
            !b->local->needs_cell) { // other leaves will move their values here
            uint32_t own = nosi_cg_alloc(f, 1);
            nosi_cg_move(f, own, from);
            nosi_cg_declare(f, b->local, own);
        } else {
            nosi_cg_bind_local(f, b->local, from);
        }
        locals[n] = b->local;
        nosi_cg_lookup(f, b->local, &regs[n++]);
    }
    if (guard)
        nosi_cg_cond(f, guard, false, no);
    if (m->matched)
        m->matched(f, m->ctx, r->arm);
    assign_all(x, r);
    if (arm->emitted) {
        Move *moves = ARENA_ARRAY(x->a, Move, n + 1);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t k = bound_index(arm, locals[i]);
            moves[i] = (Move){k == UINT32_MAX ? regs[i] : arm->regs[k], regs[i]};
        }
        parallel_moves(f, moves, n);
        nosi_cg_goto(f, arm->body);
    } else if (!f->dead) {
        arm->emitted = true;
        arm->regs = regs;
        arm->locals = locals;
        arm->n = n;
        arm->body = nosi_cg_here(f);
        m->body(f, m->ctx, r->arm);
        nosi_cg_goto(f, x->end);
    }
    if (m->keep) // no guard; the variables stay
        return true;
    nosi_cg_scope_end(f, mark);
    if (guard)
        nosi_cg_bind(f, no);
    unwind(x, trail);
    f->top = top;
    return !guard;
}

/* ---- the tree -------------------------------------------------------------------------------- */

static void fail(Matcher *x)
{
    Fn *f = x->f;
    if (!x->m->fail) {
        nosi_cg_goto(f, x->m->fail_label);
    } else if (x->fail_emitted) {
        nosi_cg_goto(f, x->fail);
    } else if (!f->dead) {
        x->fail_emitted = true;
        x->fail = nosi_cg_here(f);
        uint32_t top = f->top;
        x->m->fail(f, x->m->ctx);
        f->top = top;
    }
}

static bool resolvable(Matcher *x, const Row *r, const Need *it)
{
    if (it->pat->kind != PAT_VAR || it->pat->var_mode != PATVAR_EQUAL || !it->pat->local)
        return true;
    for (uint32_t i = 0; i < r->n_binds; i++)
        if (r->binds[i].local == it->pat->local)
            return true;
    uint32_t reg;
    return nosi_cg_static_fn(x->f, it->pat->local) || nosi_cg_lookup(x->f, it->pat->local, &reg);
}

/* Which item of the first row to test: the one most of the following rows test as well. */
static uint32_t choose_item(Matcher *x, const State *s)
{
    const Row *first = s->rows[0];
    uint32_t best = 0, best_score = 0;
    for (uint32_t k = 0; k < first->n_items; k++) {
        if (!resolvable(x, first, &first->items[k]))
            continue;
        uint32_t score = 1;
        while (score < s->n && score < 64 && item_at(s->rows[score], first->items[k].occ) >= 0)
            score++;
        if (score > best_score) {
            best = k;
            best_score = score;
        }
    }
    return best;
}

static Relation row_relation(Matcher *x, const Row *r, const Row *owner, const Occ *o,
                             const Test *t, int32_t *k, Test *own)
{
    *k = item_at(r, o);
    if (*k < 0)
        return REL_NONE;
    *own = test_of(x, &r->items[*k]);
    return r == owner ? REL_SAME : relate(t, own);
}

/* Rows of s when t succeeded (yes) or failed at o. `owner` is the row the test comes from (NULL:
 * any of its kind). */
static State split(Matcher *x, const State *s, const Row *owner, Occ *o, const Test *t, bool yes)
{
    State out = *s;
    Test own;
    int32_t k;
    if (!yes) { // mostly the first row goes and the others stay
        uint32_t kept = 0;
        for (uint32_t i = 1; i < s->n; i++)
            kept += row_relation(x, s->rows[i], owner, o, t, &k, &own) != REL_SAME;
        if (kept + 1 == s->n && row_relation(x, s->rows[0], owner, o, t, &k, &own) == REL_SAME) {
            out.rows++;
            out.n--;
            return out;
        }
    }
    out.rows = ARENA_ARRAY(x->a, Row *, s->n + 1);
    out.n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        Row *r = s->rows[i];
        Relation rel = row_relation(x, r, owner, o, t, &k, &own);
        if (rel == REL_SAME && yes)
            r = after_test(x, r, (uint32_t)k, &own);
        if (yes ? rel != REL_EXCLUDES : rel != REL_SAME)
            out.rows[out.n++] = r;
    }
    return out;
}

/* Distinct constructor-like tests at o in the order of rows. */
static uint32_t candidates(Matcher *x, const State *s, const Occ *o, Test *out, const Need **items,
                           uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        int32_t k = item_at(s->rows[i], o);
        if (k < 0)
            continue;
        Test t = test_of(x, &s->rows[i]->items[k]);
        uint32_t which, j = 0;
        if (!alternatives(o, &t, &which))
            continue;
        while (j < n && relate(&out[j], &t) != REL_SAME)
            j++;
        if (j == n && n < max) {
            out[n] = t;
            items[n++] = &s->rows[i]->items[k];
        } else if (j < n && has_payload(&s->rows[i]->items[k])) {
            items[j] = &s->rows[i]->items[k];
        }
    }
    return n;
}

static void tree(Matcher *x, State s);

/* A branch of the tree: what it loads is forgotten behind it. */
static void branch(Matcher *x, State s)
{
    uint32_t trail = x->trail.n, top = x->f->top;
    tree(x, s);
    unwind(x, trail);
    x->f->top = top;
}

static void emit_switch(Matcher *x, const State *s, Occ *o, const Test *cands, uint32_t n)
{
    Fn *f = x->f;
    TypeDef *def = cands[0].ctor->type;
    uint32_t n_ctors = def->ctors.n, r = load(x, o);
    SwitchInfo info = {
        .type = def->desc->id, .n = n_ctors, .labels = ARENA_ARRAY(&f->c->scratch, Label, n_ctors)};
    Label other = nosi_cg_label(f);
    f->label_used.at[other] = true;
    for (uint32_t i = 0; i < n_ctors; i++)
        info.labels[i] = other;
    for (uint32_t i = 0; i < n; i++) {
        Label l = nosi_cg_label(f);
        info.labels[cands[i].ctor->index] = l;
        f->label_used.at[l] = true;
    }
    if (f->dead)
        return;
    if (f->refs.n >= UINT16_MAX)
        f->too_large = true;
    vec_push(&f->refs, (void *)o); // replaced by the table when the code is laid out
    info.ref = f->refs.n - 1;
    vec_push(&f->switches, info);
    nosi_cg_ad(f, OP_SWITCH, r, (int32_t)info.ref);
    vec_last(&f->code).label = (Label)f->switches.n - 1;
    State rest = *s;
    uint64_t excl = 0;
    for (uint32_t i = 0; i < n; i++) {
        rest = split(x, &rest, NULL, o, &cands[i], false);
        excl |= (uint64_t)1 << cands[i].ctor->index;
    }
    rest = with_fact(x, &rest, o, excl);
    nosi_cg_bind(f, other);
    branch(x, rest);
    for (uint32_t i = 0; i < n; i++) {
        nosi_cg_bind(f, info.labels[cands[i].ctor->index]);
        branch(x, split(x, s, NULL, o, &cands[i], true));
    }
}

/* Row by row, for what would make too large a tree. */
static void linear(Matcher *x, State s)
{
    while (s.n) {
        if (x->f->dead || shared(x, &s))
            return;
        Row *r = s.rows[0];
        uint32_t trail = x->trail.n, top = x->f->top;
        Label no = nosi_cg_label(x->f);
        State one = s;
        one.n = 1;
        while (r->n_items) {
            one.rows = &r;
            uint32_t k = choose_item(x, &one);
            Test t = test_of(x, &r->items[k]);
            emit_test(x, r, r->items[k].occ, &t, no);
            r = after_test(x, r, k, &t);
            RowVec alts = {0};
            push_expanded(x, &alts, r, NULL);
            r = alts.at[0];
            if (alts.n > 1) { // alternatives below: each with the rest of the row behind it
                State sub = s;
                for (uint32_t i = 1; i < s.n; i++)
                    vec_push(&alts, s.rows[i]);
                sub.n = alts.n;
                sub.rows = nosi_arena_memdup(x->a, alts.at, alts.n * sizeof(Row *));
                vec_free(&alts);
                linear(x, sub);
                goto next;
            }
            vec_free(&alts);
        }
        leaf(x, r); // a failed guard goes on behind it
    next:
        unwind(x, trail);
        if (!x->m->keep)
            x->f->top = top;
        nosi_cg_bind(x->f, no);
        s.rows++;
        s.n--;
    }
    fail(x);
}

static bool is_tuple_type(Type *t, uint32_t n)
{
    t = t ? nosi_prune(t) : NULL;
    return t && t->kind == TY_TUPLE && t->n == n;
}

static State expand(Matcher *x, State s, const Occ *o)
{
    bool any = false;
    for (uint32_t i = 0; i < s.n && !any; i++)
        for (uint32_t k = 0; k < s.rows[i]->n_items; k++)
            any |= is_choice(&s.rows[i]->items[k]) && (!o || s.rows[i]->items[k].occ == o);
    if (!any)
        return s;
    RowVec rows = {0};
    for (uint32_t i = 0; i < s.n; i++)
        push_expanded(x, &rows, s.rows[i], o);
    s.n = rows.n;
    s.rows = nosi_arena_memdup(x->a, rows.at, rows.n * sizeof(Row *));
    vec_free(&rows);
    return s;
}

static void tree(Matcher *x, State s)
{
    Fn *f = x->f;
    for (;;) {
        if (f->dead)
            return;
        if (s.n == 0) {
            fail(x);
            return;
        }
        Row *first = s.rows[0];
        if (first->n_items == 0) {
            if (s.n > 1 && x->n_states > 1 && shared(x, &s))
                return;
            if (leaf(x, first))
                return;
            s.rows++;
            s.n--;
            continue;
        }
        if (++x->n_states > x->max_states) {
            s = expand(x, s, NULL);
            linear(x, s);
            return;
        }
        uint32_t k = choose_item(x, &s);
        Occ *o = first->items[k].occ;
        s = expand(x, s, o);
        first = s.rows[0];
        int32_t at = item_at(first, o);
        if (at < 0) // an alternative without a test there
            continue;
        if (x->n_states > 1 && shared(x, &s))
            return;

        Test t = test_of(x, &first->items[at]);
        Row *owner = first;
        uint32_t which, n_alts = alternatives(o, &t, &which);
        uint64_t excl = excluded(&s, o);
        if (t.kind == T_TUPLE && is_tuple_type(o->type, t.n)) { // TUPGET checks by itself
            s = split(x, &s, owner, o, &t, true);
            continue;
        }
        if (n_alts) {
            uint32_t left = n_alts - (uint32_t)__builtin_popcountll(excl);
            Test *cands = ARENA_ARRAY(x->a, Test, left + 1);
            const Need **items = ARENA_ARRAY(x->a, const Need *, left + 1);
            uint32_t n = candidates(x, &s, o, cands, items, left);
            if (t.kind == T_CTOR && left >= 4 && n >= 3 && t.ctor->type->desc) {
                emit_switch(x, &s, o, cands, n);
                return;
            }
            if (left == 1 && n == 1 && !has_payload(items[0])) { // nothing else it could be
                s = split(x, &s, owner, o, &t, true);
                continue;
            }
            // When everything is covered, one that looks inside goes first, so that the last test
            // can be left out.
            for (uint32_t i = 0; n == left && i < n && !has_payload(&first->items[at]); i++) {
                if (has_payload(items[i])) {
                    t = cands[i];
                    owner = NULL;
                    alternatives(o, &t, &which);
                    break;
                }
            }
        }
        Label no = nosi_cg_label(f);
        load(x, o); // stays loaded for the other branch too
        uint32_t trail = x->trail.n, top = f->top;
        emit_test(x, first, o, &t, no);
        tree(x, split(x, &s, owner, o, &t, true));
        unwind(x, trail);
        if (!x->m->keep)
            f->top = top;
        nosi_cg_bind(f, no);
        s = split(x, &s, owner, o, &t, false);
        if (n_alts)
            s = with_fact(x, &s, o, (uint64_t)1 << which);
    }
}

static bool has_choice(const Pat *p)
{
    if (!p)
        return false;
    if (p->kind == PAT_OR || p->is_prefix)
        return true;
    for (uint32_t i = 0; i < p->elems.n; i++)
        if (has_choice(p->elems.at[i]))
            return true;
    return has_choice(p->tail);
}

void nosi_cg_match(Fn *f, Match *m)
{
    Matcher x = {.f = f,
                 .m = m,
                 .a = &f->c->scratch,
                 .end = nosi_cg_label(f),
                 .max_states = 200 + 12 * m->n_rows};
    x.arms = ARENA_ARRAY(x.a, ArmState, m->n_rows + 1);
    x.roots = ARENA_ARRAY(x.a, Occ *, m->n_cols + 1);
    for (uint32_t k = 0; k < m->n_cols; k++) {
        Occ *o = x.roots[k] = ARENA_NEW(x.a, Occ);
        *o = (Occ){.kind = AT_ROOT, .reg = (int32_t)m->regs[k], .id = x.n_occs++};
        if (!m->untyped && m->types)
            o->type = m->types[k];
        for (uint32_t i = 0; i < m->n_rows && !o->type && !m->untyped; i++)
            o->type = m->rows[i].pats[k] ? m->rows[i].pats[k]->type : NULL;
    }
    State s = {.n = m->n_rows, .rows = ARENA_ARRAY(x.a, Row *, m->n_rows + 1)};
    for (uint32_t i = 0; i < m->n_rows; i++) {
        RowBuilder b = {.arm = i};
        for (uint32_t k = 0; k < m->n_cols; k++) {
            add_item(&x, &b, x.roots[k], m->rows[i].pats[k], 0);
            x.arms[i].has_choice |= has_choice(m->rows[i].pats[k]);
        }
        s.rows[i] = finish_row(&x, &b);
    }
    uint32_t top = f->top;
    tree(&x, s);
    if (!m->keep)
        f->top = top;
    for (uint32_t i = 0; m->keep && i < x.arms[0].n; i++)
        nosi_hashmap_put(&f->vars, x.arms[0].locals[i], (void *)(uintptr_t)(x.arms[0].regs[i] + 1));
    nosi_cg_bind(f, x.end);
    vec_free(&x.trail);
    nosi_hashmap_free(&x.rows);
    nosi_hashmap_free(&x.known);
}

/* ---- failures -------------------------------------------------------------------------------- */

static ErrorRef *error_ref(ErrorRefKind kind, const char *text)
{
    ErrorRef *e = nosi_alloc(sizeof *e);
    *e = (ErrorRef){kind, text ? nosi_strdup(text) : NULL};
    return e;
}

Label nosi_cg_panic_label(Fn *f, ErrorRefKind kind, const char *text)
{
    Label l = nosi_cg_label(f);
    vec_push(&f->cold, ((struct Cold){l, f->line, error_ref(kind, text)}));
    return l;
}

void nosi_cg_panic(Fn *f, ErrorRefKind kind, const char *text)
{
    nosi_cg_abc(f, OP_PANIC, 0, nosi_cg_ref(f, error_ref(kind, text)), 0);
}
