/* table.h - the operator table as C sees it (core/table.c), and the one way to run an operator (core/op.c). */
#ifndef LUNETTE_TABLE_H
#define LUNETTE_TABLE_H

#include "tensor.h"

#define LN_MAX_EXTRAS 2 /* tensors that a rule keeps for backward beside inputs and outputs */

enum ln_op_id {
#define UNARY(name, ...) LN_OP_##name,
#define BINARY(name, ...) LN_OP_##name,
#define TERNARY(name, ...) LN_OP_##name,
#define OP(name, ...) LN_OP_##name,
#define OVERLOAD(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef OVERLOAD
  LN_OP_COUNT,
  /* nodes that are no operator */
  LN_NODE_ACCUMULATE = LN_OP_COUNT,
  LN_NODE_FUNCTION
};

/* What an argument of a signature is. */
enum ln_kind {
  LN_KIND_TENSOR,
  LN_KIND_LIST,
  LN_KIND_OPERAND,
  LN_KIND_SCALAR,
  LN_KIND_INT,
  LN_KIND_FLOAT,
  LN_KIND_BOOL,
  LN_KIND_INTS,
  LN_KIND_DTYPE,
  LN_KIND_DEVICE,
  LN_KIND_ENUM,
  LN_KIND_GENERATOR /* never in the block: the wrapper sets it around the call */
};

/* One argument of a signature. */
typedef struct ln_param {
  const char *name;    /* in the signature's text, `length` letters */
  const char *choices; /* of an enum: "none|mean|sum)" */
  uint8_t length, kind;
  int8_t input, slot; /* -1 for none */
  bool optional;      /* may be absent; without a default */
  bool has_default;
  ln_slot value; /* the default, as in a block of attributes; ints: the one number */
} ln_param;

enum { LN_GRAD_NONE, LN_GRAD_COMPOSED, LN_GRAD_FUSED, LN_GRAD_FORMULA, LN_GRAD_RECORDED };
enum ln_class { LN_CLASS_FLOAT, LN_CLASS_SAME, LN_CLASS_TEST, LN_CLASS_WHOLE };

typedef struct ln_rule ln_rule;
typedef struct ln_program ln_program;
typedef void (*ln_rule_fn)(ln_rule *r);

typedef struct ln_op_row {
  ln_op_info info;
  ln_rule_fn forward;
  ln_rule_fn backward;      /* NULL: the text says it */
  const char *forward_text; /* NULL: `forward` says it */
  const char *gradient_text;
  ln_program *forward_program, *gradient_program; /* of the texts, compiled at first use (core/program.c) */
  ln_param *params;
  int n_params, n_slots;
  ln_slot defaults[LN_ATTR_SLOTS];
  int pointwise;  /* position among the pointwise rows, -1 */
  int first_attr; /* pointwise: slot of its first attribute, behind those of its operands */
  int cost;       /* pointwise: 0 light, 1 heavy */
  int result;     /* pointwise: ln_class */
  bool passes[3]; /* pointwise: derivative i is g itself */
} ln_op_row;

const ln_op_row *ln_row(int op);
/* The number of a word among the choices of an enum, -1 when it is none. */
int ln_choice(const ln_param *param, const char *name, int length);
const ln_op_row *ln_row_named(const char *name, int length); /* NULL when there is none */

/* ln_apply without the hand-over to a scope: for use inside lib/. */
int ln_run(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, bool inplace, ln_tensor **outputs);

/* A block of attributes: begun empty, then filled slot by slot. Slots that are not given have the default of the signature. */
static inline void ln_attrs_begin(ln_attrs *a) {
  a->present = a->integer = 0;
  a->pool_used = 0;
}
void ln_attrs_ints(ln_attrs *a, int slot, const int64_t *list, int n);
static inline void ln_attrs_int(ln_attrs *a, int slot, int64_t value) {
  a->slot[slot].i = value;
  a->present |= 1u << slot;
}
static inline void ln_attrs_float(ln_attrs *a, int slot, double value) {
  a->slot[slot].d = value;
  a->present |= 1u << slot;
}
/* An operand or scalar that is a number. */
static inline void ln_attrs_number(ln_attrs *a, int slot, double value) { a->slot[slot].d = value; }
static inline void ln_attrs_whole(ln_attrs *a, int slot, int64_t value) {
  a->slot[slot].i = value;
  a->integer |= 1u << slot;
}

#endif
