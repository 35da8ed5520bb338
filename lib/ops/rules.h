/* rules.h - prototypes of every structured operator's rule, made from ops.def. */
#ifndef LUNETTE_RULES_H
#define LUNETTE_RULES_H

#include "../internal.h"

#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define LN_RULE_NOGRAD(name)
#define LN_RULE_COMPOSITE(name)
#define LN_RULE_COMPOSED(name) void name##_backward(ln_back *b);
#define LN_RULE_FUSED(name)         \
  void name##_backward(ln_back *b); \
  void name##_backward_any(ln_back *b);
#define OP(name, outputs, grad, flags, doc) \
  int name##_forward(ln_call *c);           \
  LN_RULE_##grad(name)
#define OVERLOAD(...)
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef OVERLOAD

/* The arguments of an operator by name, within a function: ARGS(conv2d) declares input, weight, bias (borrowed, NULL when absent) out of an array of
 * inputs, and the numbers of its slots, a_stride, a_padding ...; SLOTS(conv2d) the latter alone. */
#define LN_ARG_NONE(...)
#define LN_ARG_SLOT(name, ...) a_##name,
#define LN_ARG_POSITION(name) i_##name,
#define LN_ARG_LOCAL(name) __attribute__((unused)) ln_tensor *name = in_[i_##name];
#define SLOTS(op) enum { SIG_##op(LN_ARG_NONE, LN_ARG_NONE, LN_ARG_NONE, LN_ARG_SLOT, LN_ARG_SLOT) a_count_of_##op }

#endif
