/* signature.c -- the texts of builtins.def ("Ord a => ([a], a) -> Bool") read into schemes. */
#include <ctype.h>
#include <string.h>

#include "vm/types/infer.h"

typedef struct Sig {
    Infer *st;
    const char *s;  // rest of the text
    Type *vars[26]; // single letters
    bool failed;
} Sig;

static void skip(Sig *g)
{
    while (*g->s == ' ')
        g->s++;
}

static bool eat(Sig *g, const char *token)
{
    skip(g);
    size_t n = strlen(token);
    if (strncmp(g->s, token, n) != 0)
        return false;
    g->s += n;
    return true;
}

static Name word(Sig *g)
{
    skip(g);
    const char *start = g->s;
    while (isalnum((unsigned char)*g->s) || *g->s == '_' || *g->s == '.')
        g->s++;
    return g->s > start ? nosi_intern(start, (size_t)(g->s - start)) : NULL;
}

static Type *sig_type(Sig *g);

/* An unknown name is a bug of the table: the type becomes dynamic, and the unit test complains. */
static Type *named(Sig *g, Name name)
{
    Infer *st = g->st;
    if (islower((unsigned char)name[0])) {
        if (name[1]) {
            g->failed = true;
            return st->dyn;
        }
        Type **v = &g->vars[name[0] - 'a'];
        if (!*v)
            *v = nosi_new_var(st);
        return *v;
    }
    Type *args[4];
    uint32_t n = 0;
    if (eat(g, "[")) {
        do {
            Type *t = sig_type(g);
            if (n < NOS_COUNT(args))
                args[n++] = t;
        } while (eat(g, ","));
        g->failed |= !eat(g, "]");
    }
    Type **own = n ? nosi_arena_memdup(st->arena, args, n * sizeof *args) : NULL;
    if (!strcmp(name, "Dyn"))
        return st->dyn;
    if (!strcmp(name, "Never"))
        return nosi_new_var(st);
    for (int i = 0; i < TC__BUILTIN_COUNT; i++)
        if (!strcmp(nosi_tycons[i].name, name)) {
            g->failed |= nosi_tycons[i].arity != n;
            return nosi_new_con(st, &nosi_tycons[i], own, n);
        }
    TypeDef *def = NULL;
    if (!strcmp(name, "Option"))
        def = st->p->option;
    else if (!strcmp(name, "Result"))
        def = st->p->result;
    for (uint32_t i = 0; !def && i < st->p->types.n; i++)
        if (st->p->types.at[i]->name == name && st->p->types.at[i]->module->is_library)
            def = st->p->types.at[i];
    if (!def || def->n_params != n) {
        g->failed = true;
        return st->dyn;
    }
    if (def->alias)
        return nosi_subst(st, &(Subst){.vars = def->params, .inst = own, .n = n}, def->alias);
    return nosi_def_type(st, def, own);
}

static Type *sig_type(Sig *g)
{
    Infer *st = g->st;
    enum { MAX_ITEMS = 16 };
    Type *items[MAX_ITEMS];
    uint32_t n = 0;
    bool is_params = false;
    Type *t = NULL;
    if (eat(g, "(")) {
        if (!eat(g, ")")) {
            do {
                Type *item = sig_type(g);
                if (n < MAX_ITEMS)
                    items[n++] = item;
                else
                    g->failed = true;
            } while (eat(g, ","));
            g->failed |= !eat(g, ")");
        }
        skip(g);
        is_params = !strncmp(g->s, "->", 2);
        if (!is_params)
            t = n == 0 ? BASIC(st, UNIT)
                : n == 1
                    ? items[0]
                    : nosi_new_tuple(st, nosi_arena_memdup(st->arena, items, n * sizeof *items), n);
    } else if (eat(g, "[")) {
        t = nosi_con1(st, TC_LIST, sig_type(g));
        g->failed |= !eat(g, "]");
    } else {
        Name w = word(g);
        if (!w) {
            g->failed = true;
            return st->dyn;
        }
        t = named(g, w);
    }
    if (!eat(g, "->"))
        return t;
    if (!is_params) {
        items[0] = t;
        n = 1;
    }
    Type *result = sig_type(g);
    return nosi_new_fun(st, nosi_arena_memdup(st->arena, items, n * sizeof *items), n, n, result);
}

static void sig_preds(Sig *g)
{
    const char *arrow = strstr(g->s, "=>");
    if (!arrow)
        return;
    Infer *st = g->st;
    do {
        Name c = word(g), v = word(g);
        if (!c || !v) {
            g->failed = true;
            break;
        }
        bool is_len = !strcmp(c, "Len");
        Pred *p = nosi_new_pred(st, is_len ? PRED_LEN : PRED_CLASS, (Span){0});
        p->a = p->root = named(g, v);
        Trait *const traits[] = {st->t_show, st->t_eq,   st->t_ord,   st->t_num,
                                 st->t_hash, st->t_copy, st->t_concat};
        for (uint32_t i = 0; i < NOS_COUNT(traits); i++)
            if (traits[i]->name == c)
                p->trait = traits[i];
        if (!strcmp(c, "Key")) {
            p->trait = st->t_hash;
            p->is_key = true;
        }
        g->failed |= !is_len && !p->trait;
        vec_push(&st->pending, p);
    } while (eat(g, ","));
    g->failed |= !eat(g, "=>");
}

const Scheme *nosi_builtin_scheme(Infer *st, const Builtin *b)
{
    Scheme *s = nosi_hashmap_get(&st->builtin_schemes, b);
    if (s)
        return s;
    // Its variables must not be undone by a surrounding speculation: they are bound to nothing.
    Sig g = {.st = st, .s = b->signature};
    uint32_t mark = st->pending.n;
    nosi_enter(st);
    sig_preds(&g);
    Type *t = sig_type(&g);
    skip(&g);
    g.failed |= *g.s != 0;
    if (g.failed || t->kind != TY_FUN || t->n != b->n_params)
        nosi_fatal("builtins.def: bad signature of %s/%u: %s", b->name, b->n_params, b->signature);
    nosi_leave(st, mark, &t, 1, &s);
    nosi_hashmap_put(&st->builtin_schemes, b, s);
    return s;
}
