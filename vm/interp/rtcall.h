/* rtcall.h -- prototypes of rtcalls.def, and predicates that neither allocate nor raise. */
#ifndef NOSI_RTCALL_H
#define NOSI_RTCALL_H

#include "sched/proc.h"
#include "vm/data/compare.h"
#include "vm/data/num.h"

#define RTCALL_UNWRAP(...)            __VA_ARGS__
#define RTCALL(name, params, effects) Value nosi_rt_##name(Proc *p, RTCALL_UNWRAP params);
#include "vm/interp/rtcalls.def"
#undef RTCALL

/* Library functions the runtime calls: libfuncs.def. Set by the VM. */
typedef enum LibFunc {
#define LIBFUNC(id, name, n_params, text) LIB_##id,
#include "vm/interp/libfuncs.def"
#undef LIBFUNC
    LIB__COUNT
} LibFunc;
typedef struct LibFuncInfo {
    const char *name;
    unsigned n_params;
} LibFuncInfo;
extern const LibFuncInfo nosi_lib_func_info[LIB__COUNT];
extern FuncCell *nosi_lib_funcs[LIB__COUNT];

bool nosi_rt_is_literal(Value v, Value literal);      // same kind and equal (JNEQK); both objects
bool nosi_rt_is_ctor(Value v, const CtorRef *ref);    // JNCTOR
bool nosi_rt_has_field(Value v, const FieldRef *ref); // JNFIELD

/* Raises what a failed numeric operation is called (part 1, 9.2 and 11.3). Unary ones pass a twice.
 */
Value nosi_rt_num_error(Proc *p, NumStatus st, Value a, Value b, bool binary);

/* Compares for natives, in steps (sched/long.h), by order or for equality (CMP_EQUAL or anything
 * else). `done` gives the native's result: ab: the two values. ask: user code decides, if what it
 * is asked about is equal the result is r. */
typedef Value CompareDone(Proc *p, const Value *ab, CmpResult r, bool ask);
Value nosi_long_compare(Proc *p, Value a, Value b, bool ordered, CompareDone *done);

#endif
