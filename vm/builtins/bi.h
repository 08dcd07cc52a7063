/* bi.h -- what the files of vm/builtins share: prototypes of all natives, argument checks, results.
 *
 * Static types do not protect a native: a dynamically typed value may arrive anywhere. So every
 * native looks at its arguments first. */
#ifndef NOSI_BI_H
#define NOSI_BI_H

#include "sched/sched.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/interp/rtcall.h"
#include "vm/util/alloc.h"
#include "vm/util/strbuf.h"

#define BUILTIN(c_name, name, n, signature, effects, doc) NativeFn nosi_bi_##c_name;
#include "vm/builtins/builtins.def"
#undef BUILTIN

/* Leaves the native with a TypeError unless args[i] fits. */
#define WANT(i, test, name)                           \
    do {                                              \
        if (NOS_UNLIKELY(!(test)))                    \
            return nosi_type_error(p, name, args[i]); \
    } while (0)
#define WANT_STRING(i) WANT(i, value_is_string(args[i]), "String")
#define WANT_INT(i)    WANT(i, value_is_int(args[i]), "Int")
#define WANT_BOOL(i)   WANT(i, value_is_bool(args[i]), "Bool")
#define WANT_CHAR(i)   WANT(i, value_is_imm_kind(args[i], IMM_CHAR), "Char")
#define WANT_PID(i)    WANT(i, value_is_imm_kind(args[i], IMM_PID), "Pid")
#define WANT_REF(i)    WANT(i, value_is_imm_kind(args[i], IMM_REF), "Ref")
#define WANT_LIST(i)   WANT(i, value_is_list(args[i]), "List")
#define WANT_MAP(i)    WANT(i, value_is_map(args[i]), "Map")
#define WANT_SET(i)    WANT(i, value_is_set(args[i]), "Set")

/* return OK_OR_NOMEM(nosi_string_new(..., &v), v); */
#define OK_OR_NOMEM(call, v) ((call) ? (v) : nosi_out_of_memory(p))

NOS_INLINE Value bi_int(Proc *p, int64_t x)
{
    Value v;
    if (NOS_LIKELY(small_fits(x)))
        return value_small(x);
    return OK_OR_NOMEM(nosi_int(&p->heap, x, &v), v);
}
NOS_INLINE Value bi_float(Proc *p, double d)
{
    if (!nosi_reserve(p, FLOAT_WORDS))
        return VALUE_THROWN;
    return nosi_float_nogc(&p->heap, d);
}

/* bi_core.c */
Value bi_text(Proc *p, StrBuf *text); // String of the text; frees it
Value bi_string(Proc *p, const char *s, size_t n);
Value bi_panic_text(Proc *p, StrBuf *text); // raises ("Panic", text); frees it
/* Is user code needed to write v? */
bool bi_needs_user_show(Value v);
bool bi_has_impl(uint32_t type_id, ImplSlot slot);

#endif
