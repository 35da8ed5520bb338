/* rule.h - the context that every rule of an operator runs in, forward and backward.
 *
 * A rule is straight code: a failure sticks in the context, and from then on every helper does nothing and returns NULL, 0 or false, as it does for an
 * argument that is NULL. What a helper returns is owned by the context and released by whoever runs the rule.
 *
 * Forward, `in` holds the inputs, NULL where one is absent or a number. Backward it holds the same, but what was not kept is geometry alone: shape,
 * strides, dtype and device without data. `out` holds the results: forward those that the rule makes, backward those that were kept. */
#ifndef LUNETTE_RULE_H
#define LUNETTE_RULE_H

#include "table.h"

#define LN_FEW_TEMPS 16

struct ln_rule {
  const ln_op_row *row;
  const char *name; /* for messages */
  int op;
  int status;
  int device; /* of the inputs */
  int n_in;
  ln_tensor *const *in;
  const ln_attrs *attrs; /* never NULL */
  ln_tensor **out;
  ln_tensor **extra; /* LN_MAX_EXTRAS tensors that forward keeps for backward */
  /* forward */
  ln_tensor *target; /* in place: in[0], to be written and to become out[0]; else NULL */
  bool recording;    /* some input wants a gradient */
  bool alias;        /* out[0] looks at in[0]'s storage */
  uint64_t keep_in;  /* inputs that backward needs, a bit each; the last one stands for all beyond it */
  uint32_t keep_out; /* outputs that backward needs */
  /* backward */
  ln_tensor **g;  /* gradients of the outputs, NULL where none came */
  ln_tensor **dx; /* gradients of the inputs, to be made for those with needs[i] */
  bool *needs;
  /* temporaries */
  ln_tensor **temps;
  int n_temps, temp_capacity;
  ln_tensor *few[LN_FEW_TEMPS];
};

static inline bool r_ok(const ln_rule *r) { return r->status == LN_OK; }
/* Sets the error text, with the operator's name in front, unless there was a failure before; false. */
bool r_fail(ln_rule *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes a status over; true when it is LN_OK and nothing failed before. */
bool r_status(ln_rule *r, int status);
/* Fails with the message unless the condition holds; true when nothing has failed. */
static inline bool r_answer(bool good) { return good; } /* whose value may be left unused */
#define r_require(r, condition, ...) r_answer(r_ok(r) && ((condition) || r_fail(r, __VA_ARGS__)))

void r_begin(ln_rule *r);
void r_end(ln_rule *r);                             /* releases the temporaries */
ln_tensor *r_own(ln_rule *r, ln_tensor *t);         /* t's reference belongs to the context; t */
void r_drop(ln_rule *r, ln_tensor *t);              /* a temporary is not needed any more */
ln_tensor *r_keep(ln_rule *r, int i, ln_tensor *t); /* t becomes extra[i]; t */

/* -- Attributes by slot (ops/rules.h names the slots); one that is absent has the signature's default -- */
static inline bool r_has(const ln_rule *r, int slot) { return (r->attrs->present >> slot) & 1; }
static inline int64_t r_int(const ln_rule *r, int slot) { return r_has(r, slot) ? r->attrs->slot[slot].i : r->row->defaults[slot].i; }
static inline double r_float(const ln_rule *r, int slot) { return r_has(r, slot) ? r->attrs->slot[slot].d : r->row->defaults[slot].d; }
static inline bool r_bool(const ln_rule *r, int slot) { return r_int(r, slot) != 0; }
static inline int r_dtype(const ln_rule *r, int slot, int otherwise) { return r_has(r, slot) ? (int)r->attrs->slot[slot].i : otherwise; }
static inline bool r_is_whole(const ln_rule *r, int slot) { return (r->attrs->integer >> slot) & 1; } /* of a number */
int r_list(ln_rule *r, int slot, const int64_t **list);     /* ints; at most LN_MAX_DIMS of them; their count */
bool r_sizes(ln_rule *r, int slot, int want, int64_t *out); /* ints: `want` numbers, or one that stands for all */
int r_dim(ln_rule *r, int slot, int ndim);                  /* a dim, counted from the end when negative; ndim 0 counts as 1 */
uint32_t r_dims(ln_rule *r, int slot, int ndim);            /* dims as a mask; absent or empty means all */

/* -- Outputs -- */
/* Output i: the target when in place (whose shape must agree), else a new row-major tensor. */
ln_tensor *r_out(ln_rule *r, int i, const int64_t *shape, int ndim, int dtype);
ln_tensor *r_out_strided(ln_rule *r, int i, const int64_t *shape, const int64_t *stride, int ndim, int dtype);
ln_tensor *r_out_like(ln_rule *r, int i, const ln_tensor *t, int dtype); /* shape and, where it has no gaps, layout of t */
void r_result(ln_rule *r, int i, ln_tensor *t);                          /* output i is t; in place its elements are written into the target */
/* out[0] is in[0] with another geometry, from an element on. */
void r_alias(ln_rule *r, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset);
void r_pass(ln_rule *r);                       /* out[0] is in[0], with its history */
void r_give(ln_rule *r, int i, ln_tensor *dx); /* backward: the gradient of input i, fitted to its shape and dtype */

/* -- New tensors and layouts -- */
ln_tensor *r_new(ln_rule *r, const int64_t *shape, int ndim, int dtype);
ln_tensor *r_new_strided(ln_rule *r, const int64_t *shape, const int64_t *stride, int ndim, int dtype);
ln_tensor *r_new_like(ln_rule *r, const ln_tensor *t, int dtype); /* shape and, where it has no gaps, layout of t */
ln_tensor *r_zeros(ln_rule *r, const int64_t *shape, int ndim, int dtype);
ln_tensor *r_dense(ln_rule *r, ln_tensor *t, int dtype); /* row-major memory of a dtype: t itself, or a copy; without history */
ln_tensor *r_gapless(ln_rule *r, ln_tensor *t);          /* t itself where its elements fill one block, else a row-major copy */
ln_tensor *r_look(ln_rule *r, const ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim,
                  int64_t offset);                   /* an alias, without history */
bool r_copy(ln_rule *r, ln_tensor *y, ln_tensor *x); /* y = x, converted and broadcast */

/* Runs a kernel of the rule's device unless something failed; the arguments must be filled. */
bool r_kernel(ln_rule *r, const char *failure);
#define KERNEL(r, kernel, work) r_kernel(r, r_ok(r) ? ln_kernels_of((r)->device)->kernel(work, (r)->device) : NULL)

/* Looks for an element that may not be (ln_check); a device says later what it found. NULL and empty tensors are not checked. */
bool r_check(ln_rule *r, ln_tensor *t, ln_violation what, int64_t low, int64_t high);

/* -- Operators (core/rule_ops.c) -- */
ln_tensor *r_do(ln_rule *r, int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs); /* the first output; all are owned */
bool r_do_all(ln_rule *r, int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, ln_tensor **out);
ln_tensor *r_do1(ln_rule *r, int op, ln_tensor *x); /* without attributes */
ln_tensor *r_do2(ln_rule *r, int op, ln_tensor *x, ln_tensor *y);
ln_tensor *r_number(ln_rule *r, int op, ln_tensor *x, double number); /* x and a number: add, mul, eq ... */
ln_tensor *r_whole(ln_rule *r, int op, ln_tensor *x, int64_t number);
ln_tensor *r_where(ln_rule *r, ln_tensor *condition, ln_tensor *yes, double yes_number, ln_tensor *no, double no_number); /* NULL: the number */
ln_tensor *r_sum(ln_rule *r, ln_tensor *x, uint32_t mask, bool keepdim);
ln_tensor *r_reshape(ln_rule *r, ln_tensor *x, const int64_t *shape, int ndim);
ln_tensor *r_expand(ln_rule *r, ln_tensor *x, const int64_t *shape, int ndim);
ln_tensor *r_sum_to(ln_rule *r, ln_tensor *x, const int64_t *shape, int ndim); /* the inverse of broadcasting */
ln_tensor *r_transpose(ln_rule *r, ln_tensor *x, int dim0, int dim1);
ln_tensor *r_permute(ln_rule *r, ln_tensor *x, const int *order, int n);
ln_tensor *r_narrow(ln_rule *r, ln_tensor *x, int dim, int64_t start, int64_t length);
ln_tensor *r_select(ln_rule *r, ln_tensor *x, int dim, int64_t index);
ln_tensor *r_spread(ln_rule *r, ln_tensor *x, uint32_t mask, int ndim); /* reduced dims back, as 1 */
ln_tensor *r_to(ln_rule *r, ln_tensor *x, int dtype);
ln_tensor *r_fit(ln_rule *r, ln_tensor *dx, const ln_tensor *x); /* dx summed or repeated to x's shape, in its dtype and on its device */

/* -- Rules shared by many rows -- */
void ln_pointwise_forward(ln_rule *r);
void ln_pointwise_backward(ln_rule *r);

/* -- Texts (core/program.c): what a row says in terms of operators -- */
const ln_program *ln_forward_program(const ln_op_row *row); /* compiled at first use; NULL, with the error set, when it cannot be */
const ln_program *ln_gradient_program(const ln_op_row *row);
/* What the gradient of an input will look at, added to the masks. Rows with texts have at most LN_MAX_ARGUMENTS inputs. */
void ln_program_keeps(const ln_program *p, int input, uint64_t *in, uint32_t *out);
void ln_text_forward(ln_rule *r);
void ln_text_backward(ln_rule *r);

#endif
