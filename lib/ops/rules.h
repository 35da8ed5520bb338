/* rules.h - prototypes of every structured operator's rule, and its arguments by name, made from ops.def. */
#ifndef LUNETTE_RULES_H
#define LUNETTE_RULES_H

#include "../graph.h"

#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define OVERLOAD(...)
/* Each takes the name behind it: LN_FORWARD_RULE(softmax), LN_FORWARD_TEXT("...")(softmax). */
#define LN_IGNORE(name)
#define LN_FORWARD_RULE(name) void name##_forward(ln_rule *r);
#define LN_FORWARD_TEXT(text) LN_IGNORE
#define LN_GRADIENT_NOGRAD(name)
#define LN_GRADIENT_RECORDED(name)
#define LN_GRADIENT_RULE(name) void name##_backward(ln_rule *r);
#define LN_GRADIENT_TEXT(text) LN_IGNORE
#define LN_GRADIENT_FUSED(text) LN_GRADIENT_RULE
#define OP(name, outputs, flags, forward, gradient, doc) LN_FORWARD_##forward(name) LN_GRADIENT_##gradient(name)
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef OVERLOAD

/* The arguments of an operator by name, within a rule: ARGS(conv2d) declares the tensors input, weight and bias, of a list its first, NULL where they
 * are absent, and the slots a_stride, a_padding ... SLOTS(conv2d) declares the slots alone. i_weight is the position among the inputs. */
#define LN_NO_ARG(...)
#define LN_ARG_SLOT(name, ...) a_##name,
#define LN_ARG_POSITION(name) i_##name,
#define LN_ARG_LOCAL(name) __attribute__((unused)) ln_tensor *name = r->in[i_##name];
#define SLOTS(op) enum { SIG_##op(LN_NO_ARG, LN_NO_ARG, LN_NO_ARG, LN_ARG_SLOT, LN_ARG_SLOT) a_count_of_##op }
#define ARGS(op)                                                                                                    \
  SLOTS(op);                                                                                                        \
  enum { SIG_##op(LN_ARG_POSITION, LN_ARG_POSITION, LN_ARG_POSITION, LN_ARG_POSITION, LN_NO_ARG) i_count_of_##op }; \
  SIG_##op(LN_ARG_LOCAL, LN_ARG_LOCAL, LN_NO_ARG, LN_ARG_LOCAL, LN_NO_ARG)(void) i_count_of_##op

#endif
