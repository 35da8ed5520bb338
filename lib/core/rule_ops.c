/* rule_ops.c - operators as rules in C call them. What needs no C at all is a text in ops.def (program.c). */
#include "../graph.h"
#include "../ops/rules.h"

bool r_do_all(ln_rule *r, int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, ln_tensor **out) {
  int n_out = ln_row(op)->info.n_outputs;
  for (int i = 0; i < n_out; i++) out[i] = NULL;
  if (!r_ok(r) || !r_status(r, ln_run(op, inputs, n, attrs, false, out))) return false;
  for (int i = 0; i < n_out; i++) out[i] = r_own(r, out[i]);
  return r_ok(r);
}

ln_tensor *r_do(ln_rule *r, int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs) {
  ln_tensor *out[LN_MAX_OUTPUTS];
  return r_do_all(r, op, inputs, n, attrs, out) ? out[0] : NULL;
}

ln_tensor *r_do1(ln_rule *r, int op, ln_tensor *x) { return x ? r_do(r, op, &x, 1, NULL) : NULL; }

ln_tensor *r_do2(ln_rule *r, int op, ln_tensor *x, ln_tensor *y) {
  ln_tensor *const in[2] = {x, y};
  return x && y ? r_do(r, op, in, 2, NULL) : NULL;
}

/* -- With numbers: operand i of an elementwise operator has slot i -- */

ln_tensor *r_number(ln_rule *r, int op, ln_tensor *x, double number) {
  ln_tensor *const in[2] = {x, NULL};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_number(&attrs, 1, number);
  return x ? r_do(r, op, in, 2, &attrs) : NULL;
}

ln_tensor *r_whole(ln_rule *r, int op, ln_tensor *x, int64_t number) {
  ln_tensor *const in[2] = {x, NULL};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_whole(&attrs, 1, number);
  return x ? r_do(r, op, in, 2, &attrs) : NULL;
}

ln_tensor *r_where(ln_rule *r, ln_tensor *condition, ln_tensor *yes, double yes_number, ln_tensor *no, double no_number) {
  ln_tensor *const in[3] = {condition, yes, no};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_number(&attrs, 1, yes_number);
  ln_attrs_number(&attrs, 2, no_number);
  return condition ? r_do(r, LN_OP_where, in, 3, &attrs) : NULL;
}

/* -- Shapes -- */

static int dims_of(uint32_t mask, int ndim, int64_t *dims) {
  int n = 0;
  for (int i = 0; i < ndim; i++)
    if ((mask >> i) & 1) dims[n++] = i;
  return n;
}

ln_tensor *r_sum(ln_rule *r, ln_tensor *x, uint32_t mask, bool keepdim) {
  SLOTS(sum);
  int64_t dims[16];
  ln_attrs attrs;
  int n = x ? dims_of(mask, x->ndim, dims) : 0;
  if (n == 0) return x;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_dim, dims, n);
  ln_attrs_int(&attrs, a_keepdim, keepdim);
  return r_do(r, LN_OP_sum, &x, 1, &attrs);
}

/* reshape, expand, sum_to_size: a list alone. */
static ln_tensor *with_shape(ln_rule *r, int op, ln_tensor *x, const int64_t *shape, int ndim) {
  ln_attrs attrs;
  if (!x || (x->ndim == ndim && ln_same_dims(x->shape, shape, ndim))) return x;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, 0, shape, ndim);
  return r_do(r, op, &x, 1, &attrs);
}

ln_tensor *r_reshape(ln_rule *r, ln_tensor *x, const int64_t *shape, int ndim) { return with_shape(r, LN_OP_reshape, x, shape, ndim); }

ln_tensor *r_expand(ln_rule *r, ln_tensor *x, const int64_t *shape, int ndim) { return with_shape(r, LN_OP_expand, x, shape, ndim); }

ln_tensor *r_sum_to(ln_rule *r, ln_tensor *x, const int64_t *shape, int ndim) { return with_shape(r, LN_OP_sum_to_size, x, shape, ndim); }

/* transpose, select: two whole numbers. */
static ln_tensor *with_two(ln_rule *r, int op, ln_tensor *x, int64_t first, int64_t second) {
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, 0, first);
  ln_attrs_int(&attrs, 1, second);
  return x ? r_do(r, op, &x, 1, &attrs) : NULL;
}

ln_tensor *r_transpose(ln_rule *r, ln_tensor *x, int dim0, int dim1) { return with_two(r, LN_OP_transpose, x, dim0, dim1); }

ln_tensor *r_permute(ln_rule *r, ln_tensor *x, const int *order, int n) {
  SLOTS(permute);
  ln_attrs attrs;
  int64_t dims[16];
  for (int i = 0; i < n; i++) dims[i] = order[i];
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_dims, dims, n);
  return x ? r_do(r, LN_OP_permute, &x, 1, &attrs) : NULL;
}

ln_tensor *r_narrow(ln_rule *r, ln_tensor *x, int dim, int64_t start, int64_t length) {
  SLOTS(narrow);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  ln_attrs_int(&attrs, a_start, start);
  ln_attrs_int(&attrs, a_length, length);
  return x ? r_do(r, LN_OP_narrow, &x, 1, &attrs) : NULL;
}

ln_tensor *r_select(ln_rule *r, ln_tensor *x, int dim, int64_t index) { return with_two(r, LN_OP_select, x, dim, index); }

ln_tensor *r_spread(ln_rule *r, ln_tensor *x, uint32_t mask, int ndim) {
  int64_t shape[16];
  if (!x || x->ndim == ndim) return x;
  for (int i = 0, at = 0; i < ndim; i++) shape[i] = (mask >> i) & 1 ? 1 : x->shape[at++];
  return r_reshape(r, x, shape, ndim);
}

static ln_tensor *move(ln_rule *r, ln_tensor *x, int dtype, int device) {
  SLOTS(to);
  ln_attrs attrs;
  if (!x || (x->dtype == dtype && x->device == device)) return x;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dtype, dtype);
  ln_attrs_int(&attrs, a_device, device);
  return r_do(r, LN_OP_to, &x, 1, &attrs);
}

ln_tensor *r_to(ln_rule *r, ln_tensor *x, int dtype) { return x ? move(r, x, dtype, x->device) : NULL; }

ln_tensor *r_fit(ln_rule *r, ln_tensor *dx, const ln_tensor *x) {
  int64_t shape[16];
  if (!dx) return NULL;
  if (!ln_same_shape(dx, x)) { /* first summed over what broadcasting repeated, then repeated over what a reduction folded */
    int lead = dx->ndim - x->ndim;
    for (int i = 0; i < x->ndim; i++) shape[i] = x->shape[i] == 1 || lead + i < 0 ? 1 : dx->shape[lead + i];
    dx = r_sum_to(r, dx, shape + (lead < 0 ? -lead : 0), x->ndim + (lead < 0 ? lead : 0));
    dx = r_expand(r, dx, x->shape, x->ndim);
  }
  return dx ? move(r, dx, x->dtype, x->device) : NULL;
}
