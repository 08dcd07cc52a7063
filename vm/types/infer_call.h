/* infer_call.h -- what calls (infer_call.c) and method calls (infer_method.c) share. */
#ifndef NOSI_INFER_CALL_H
#define NOSI_INFER_CALL_H

#include "vm/types/infer.h"

#define NO_ARG UINT32_MAX

typedef VEC(Cand) CandList;

typedef enum { ARGS_OK, ARGS_COUNT, ARGS_UNKNOWN_NAME, ARGS_DUPLICATE, ARGS_MISSING } ArgsFit;

uint32_t nosi_cand_params(const Cand *c);
const char *nosi_cand_name(const Cand *c);
/* Which argument goes to which parameter: slots[parameter] = argument, NO_ARG = default. */
ArgsFit nosi_fit_args(const Cand *c, const Name *names, uint32_t n, uint32_t *slots,
                      uint32_t *culprit);
Type *nosi_cand_type(Infer *st, const Cand *c, Span span, Subst *sub);
void nosi_add_cand(CandList *l, Cand c);

/* Argument to parameter, with tuple spreading and unit results (2.4). */
bool nosi_adapt(Infer *st, Type *param, Type *arg, Expr *expr, Span span);
CallArgs *nosi_call_args(Infer *st, Expr *e, Expr *receiver,
                         Type *receiver_type); // types of the others are NULL
void nosi_infer_args(Infer *st, CallArgs *args);
void nosi_apply(Infer *st, const Cand *c, const CallArgs *args, Type *result, Span span,
                Expr *node);
Type *nosi_call_single(Infer *st, Expr *e, const Cand *c, CallArgs *args, Type **out_fun,
                       uint32_t receivers);
/* args from `first` on are passed to a function value of type t. */
Type *nosi_call_value(Infer *st, Expr *e, Type *t, CallArgs *args, uint32_t first, const char *name,
                      LocalFn *local);
Pred *nosi_overload_pred(Infer *st, Span span, Name name, const CandList *l, CallArgs *args,
                         Expr *node);

Target *nosi_new_target(Infer *st, TargetKind kind, Name name);
void nosi_target_args(Infer *st, Target *t, const CallArgs *args, const uint32_t *slots,
                      uint32_t n_params, uint32_t first);
/* Every implementation of a trait's method (visible in m) as run-time candidates. */
void nosi_trait_cands(Infer *st, Target *t, Trait *trait, Name name, Module *m);

#endif
