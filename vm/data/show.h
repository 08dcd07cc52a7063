/* show.h -- text of values (part 1, section 14). Iterative; never collects; the output is C memory.
 *
 * User Show: natives cannot call it. nosi_show_pending lists the values with a user IMPL_SHOW that
 * the rendering would reach, outermost only, in order; the caller computes their texts (in a
 * library function), then renders with them. */
#ifndef NOSI_SHOW_H
#define NOSI_SHOW_H

#include "vm/util/hashmap.h"
#include "vm/util/strbuf.h"
#include "vm/util/vec.h"
#include "vm/value/shape.h"

typedef struct Builtin Builtin;

typedef enum ShowMode {
    SHOW_TOP,    // show(x), println, interpolation: a String is its own text
    SHOW_NESTED, // an element inside a container: Strings quoted and escaped, Chars quoted
    SHOW_RESULT, // the value of main: quoted without escaping, number suffixes, qualified record
                 // names
} ShowMode;

typedef struct ShowUser {
    const Value
        *texts; // Strings, in the order of nosi_show_pending; roots or C memory that stays valid
    size_t n;
} ShowUser;

typedef struct ValueVec { // a VEC(Value)
    Value *at;
    uint32_t n, cap;
} ValueVec;

/* `user` may be NULL: built-in rendering throughout. A user text stands for its value as it is,
 * unquoted. */
void nosi_show(StrBuf *out, Value v, ShowMode mode, const ShowUser *user);
/* Appends the values that need user Show; v itself included. Valid until the next reserve. */
void nosi_show_pending(Value v, ValueVec *out);
/* Is a walk needed to know? */
bool nosi_show_may_be_pending(Value v);

/* Both in steps, for values of any size: go until it says true. `out` NULL: lists in `pending`.
 * `steps`: parts to look at, at least one; what is left is written back. A Showing may be moved
 * between two steps; it owns C memory, freed by the last step or by nosi_show_free. Its Values are
 * valid until the next reserve. */
typedef struct ShowFrame { // a container whose parts are being shown
    Value v;               // list: what is left of it
    size_t i, n;           // next part
    struct MapWalk *walk;  // map, set: its entries in order; owned
} ShowFrame;
typedef struct Showing {
    StrBuf *out; // NULL: only list user values
    Value v;
    bool result, nested, begun;
    const ShowUser *user; // texts, NULL: built-in rendering
    size_t n_texts;       // used so far
    ValueVec *pending;    // where to list
    int64_t left;
    VEC(ShowFrame) frames;
    HashMap open; // mutable records being shown: they can be cyclic
} Showing;
NOS_INLINE Showing nosi_showing(Value v, ShowMode mode, const ShowUser *user)
{
    return (Showing){
        .v = v, .result = mode == SHOW_RESULT, .nested = mode != SHOW_TOP, .user = user};
}
bool nosi_show_go(Showing *s, StrBuf *out, ValueVec *pending, int64_t *steps);
void nosi_show_free(Showing *s);

/* show() to a file for debugging. */
void nosi_show_debug(Value v);

/* Set by the VM. The first writes `<function NAME/SIG>`, `<function <lambda>>` or `<closure
 * <lambda>>`, the second gives the name in `<native NAME>`. Unset: `<function>`, `<native>`. */
extern void (*nosi_show_closure_hook)(StrBuf *out, FuncCell *cell, size_t n_captures);
extern const char *(*nosi_native_name_hook)(const Builtin *b);

#endif
