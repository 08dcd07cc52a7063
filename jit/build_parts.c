/* build_parts.c -- objects that are not made (scalar replacement).
 *
 * A tuple, an immutable record or variant, or a closure is nothing but its words (PARTS) until
 * somebody asks for the whole. Reading a word of it, testing what it is, calling it and leaving
 * need no whole: an exit record says how the interpreter's object is made of the words. A phi of
 * such objects that all look the same is as many phis of words, so an accumulator that is a tuple
 * stays in registers.
 *
 * Who asks for the whole (nosi_b_whole) gets it made there. That must not be more often than it
 * would have been made in the first place, nor in many places; and a closure has an identity, so
 * that there must be one only. Otherwise its key is noted as demoted, and the function is built
 * again with an object that is made at once. */
#include <string.h>

#include "jit/build.h"

enum { MAX_MADE = 4 }; // wholes of one object, on different ways

IrType nosi_b_field_type(const Shape *s, uint32_t k)
{
    switch ((FieldRep)s->field_reps[k]) {
    case FIELD_VALUE:
        return TY_ANY;
    case FIELD_INT:
        return TY_INT;
    case FIELD_FLOAT:
        return TY_FLOAT;
    case FIELD_BOOL:
        return TY_BOOL;
    default:
        return TY_NONE;
    }
}

IrType nosi_ir_word_type(uint64_t header, uint32_t k)
{
    const Object *o = (const Object *)&header;
    switch (obj_kind(o)) {
    case OBJ_TUPLE:
        return TY_ANY;
    case OBJ_CLOSURE:
        return k == 0 ? TY_INT : TY_ANY;
    case OBJ_RECORD:
    case OBJ_VARIANT:
        return nosi_b_field_type(nosi_shape(obj_aux(o)), k);
    default:
        return TY_NONE;
    }
}

/* May an object with this header be known by its words alone? */
static bool may_be_parts(uint64_t header)
{
    const Object *o = (const Object *)&header;
    uint32_t n = obj_words(o);
    if (n == 0 || n > MAX_PARTS || obj_has_flag(o, OBJ_MUTABLE))
        return false;
    for (uint32_t k = 0; k < n; k++)
        if (nosi_ir_word_type(header, k) == TY_NONE)
            return false;
    return true;
}

bool nosi_b_header(const Build *b, Ref x, uint64_t *header)
{
    const IrIns *i = INS(x);
    *header = (uint64_t)i->imm;
    if (i->op == IR_PARTS || i->op == IR_OBJECT)
        return !i->n_sub;
    Value v = {(uint64_t)i->imm};
    if (i->op != IR_CONST || i->type != TY_ANY || !value_is_object(v))
        return false;
    *header = value_obj(v)->header;
    return nosi_b_may_split(*header);
}

bool nosi_b_may_split(uint64_t header)
{
    return may_be_parts(header) && obj_kind((const Object *)&header) != OBJ_CLOSURE;
}

bool nosi_b_unpack(Build *b, Ref x, uint64_t header, Ref *words, uint32_t state)
{
    const Object *o = (const Object *)&header;
    bool is_tuple = obj_kind(o) == OBJ_TUPLE;
    Ref test = nosi_b_is_class(b, x, is_tuple ? b_tuple_class(obj_words(o)) : obj_class(o),
                               is_tuple ? TUPLE_MASK : SHAPE_MASK);
    if (!b_is_const(b, test))
        nosi_b_add(b, (IrIns){.op = IR_GUARD, .a = test, .imm = 1, .state = state});
    else if (!INS(test)->imm)
        return false;
    for (uint32_t k = 0; k < obj_words(o); k++)
        words[k] = nosi_b_add(
            b, (IrIns){
                   .op = IR_WORD, .type = (uint8_t)nosi_ir_word_type(header, k), .a = x, .imm = k});
    return true;
}

Ref nosi_b_word(Build *b, Ref x, uint32_t k)
{
    IrIns i = *INS(x);
    if (i.op != IR_CONST)
        return b->ir->args.at[i.args + k];
    const Object *o = value_obj((Value){(uint64_t)i.imm});
    IrType t = nosi_ir_word_type(o->header, k);
    return t == TY_ANY ? nosi_b_const_value(b, obj_value(o, k))
                       : nosi_b_const_of(b, t, (int64_t)o->word[k], 0);
}

static Ref add_words(Build *b, IrIns o, const Ref *words)
{
    o.args = b->ir->args.n;
    for (uint32_t k = 0; k < o.n_args; k++)
        vec_push(&b->ir->args, words[k]);
    return nosi_b_add(b, o);
}

Ref nosi_b_parts(Build *b, uint64_t header, const Ref *words, uint64_t key)
{
    return add_words(b,
                     (IrIns){.op = IR_PARTS,
                             .type = TY_PARTS,
                             .imm = (int64_t)header,
                             .imm2 = (int64_t)key,
                             .n_args = obj_words((const Object *)&header)},
                     words);
}

static Ref make(Build *b, uint64_t header, const Ref *parts, uint32_t state)
{
    uint32_t n = obj_words((const Object *)&header);
    Ref words[64];
    for (uint32_t k = 0; k < n; k++)
        words[k] =
            nosi_ir_word_type(header, k) == TY_ANY ? nosi_b_as_any(b, parts[k], state) : parts[k];
    return add_words(
        b,
        (IrIns){
            .op = IR_OBJECT, .type = TY_ANY, .imm = (int64_t)header, .n_args = n, .state = state},
        words);
}

Ref nosi_b_object(Build *b, Body *body, uint64_t header, const Ref *words)
{
    uint64_t key = nosi_b_key(body, body->pc, KEY_OBJECT);
    if (may_be_parts(header) && !body->patches && !nosi_b_is_demoted(b, key))
        return nosi_b_parts(b, header, words, key);
    return make(b, header, words, nosi_b_before(b, body));
}

/* Is the open block in a loop that the block `outside` is not in? */
static bool in_inner_loop(const Build *b, uint32_t outside)
{
    for (const Body *x = b->innermost; x; x = x->parent)
        for (uint32_t pc = 0; pc <= x->pc; pc++) {
            const Target *t = &x->targets[pc];
            if (t->is_header && t->block > outside && x->pc <= t->last_back)
                return true;
        }
    return false;
}

Ref nosi_b_whole(Build *b, Ref parts, uint32_t state)
{
    IrIns i = *INS(parts);
    uint32_t n_made = 0;
    VEC_EACH (const Made, m, &b->made)
        if (m->parts == parts) {
            if (nosi_b_dominates(b, INS(m->object)->block, b->block))
                return m->object;
            n_made++;
        }
    uint64_t header = (uint64_t)i.imm;
    if (obj_kind((const Object *)&header) == OBJ_CLOSURE || n_made >= MAX_MADE ||
        in_inner_loop(b, i.block))
        nosi_b_demote(b, (uint64_t)i.imm2);
    Ref words[MAX_PARTS];
    memcpy(words, &b->ir->args.at[i.args], i.n_args * sizeof *words);
    Ref object = make(b, header, words, state);
    vec_push(&b->made, ((Made){parts, object}));
    return object;
}
