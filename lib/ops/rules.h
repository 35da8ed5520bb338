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
#define OP(name, signature, outputs, grad, doc) \
  int name##_forward(ln_call *c);               \
  LN_RULE_##grad(name)
#define VIEW(name, signature, doc) \
  int name##_forward(ln_call *c);  \
  void name##_backward(ln_back *b);
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef VIEW

#endif
