/* pointwise.c - the one rule of all elementwise rows: promotion, broadcasting, scalar operands, in-place, and their first derivatives. */
#include "../internal.h"

#include <math.h>

/* -- The dtype of the result -- */

static int category(int dtype) { return dtype == LN_BOOL ? 0 : ln_is_float(dtype) ? 2 : 1; }

/* A tensor with dimensions outweighs a 0-dim one, and that a number, unless the weaker is of a higher category. */
static int stronger(int high, int low) {
  if (high < 0) return low;
  if (low < 0 || category(low) <= category(high)) return high;
  return ln_promote_types(high, low);
}

static int join(int a, int b) { return a < 0 ? b : ln_promote_types(a, b); }

static int number_type(const ln_attrs *attrs, int slot) {
  if (!((attrs->integer >> slot) & 1)) return LN_FLOAT32;
  return ln_has(attrs, slot) ? LN_BOOL : LN_INT64;
}

static int promoted(const ln_call *c, const ln_attrs *attrs, int first, int n) {
  int with_dims = -1, zero_dim = -1, number = -1;
  for (int i = first; i < n; i++) {
    const ln_tensor *t = c->in[i];
    if (!t)
      number = join(number, number_type(attrs, i));
    else if (t->ndim > 0)
      with_dims = join(with_dims, t->dtype);
    else
      zero_dim = join(zero_dim, t->dtype);
  }
  return stronger(with_dims, stronger(zero_dim, number));
}

/* The numbers in an attribute take part as operands do where PyTorch has it so: clamp's bounds, and the 2 in the power that square is. */
static int with_attributes(const ln_op_row *row, const ln_attrs *attrs, int dtype) {
  if (ln_is_float(dtype)) return dtype;
  for (int i = row->first_attr; (row->info.flags & LN_FLAG_BOUNDS) && i < row->n_slots; i++)
    if (ln_has(attrs, i) && isfinite(attrs->slot[i].d) && attrs->slot[i].d != floor(attrs->slot[i].d)) return LN_FLOAT32;
  return dtype == LN_BOOL && (row->info.flags & LN_FLAG_BOOL_COUNTS) ? LN_INT64 : dtype;
}

static int compute_type(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : ln_is_float(dtype) ? LN_FLOAT32 : LN_INT64; }

/* -- The output -- */

/* The shape of all operands together; `model` is one of that shape whose layout the result follows, or NULL. */
static int result_shape(const ln_call *c, int n, int64_t *shape, int *ndim, const ln_tensor **model) {
  const ln_tensor *first = NULL;
  ln_tensor so_far;
  for (int i = 0; i < n; i++) {
    const ln_tensor *t = c->in[i];
    if (!t) continue;
    if (!first) {
      first = t;
      *ndim = t->ndim;
      memcpy(shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
    } else if (t->ndim != *ndim || !ln_same_dims(t->shape, shape, *ndim)) {
      so_far.ndim = *ndim;
      memcpy(so_far.shape, shape, sizeof(int64_t) * (size_t)*ndim);
      LN_TRY(ln_broadcast(c->name, &so_far, t, shape, ndim));
    }
  }
  if (!first) return ln_fail("%s: at least one operand must be a tensor", c->name);
  *model = NULL;
  for (int i = 0; i < n && !*model; i++) {
    const ln_tensor *t = c->in[i];
    if (t && t->ndim == *ndim && ln_same_dims(t->shape, shape, *ndim) && ln_is_dense(t)) *model = t;
  }
  return LN_OK;
}

static int make_output(ln_call *c, int n, int dtype) {
  int64_t shape[16];
  int ndim = 0;
  const ln_tensor *model = NULL;
  LN_TRY(result_shape(c, n, shape, &ndim, &model));
  if (c->target || !model) return ln_call_out(c, 0, shape, ndim, dtype);
  return ln_new_strided(shape, model->stride, ndim, dtype, model->device, &c->out[0]);
}

/* -- Forward -- */

/* A whole number beside a narrow integer tensor, a 0-dim tensor too, is first wrapped to its dtype, as the tensor's own elements are. */
static int64_t wrapped(int64_t v, int dtype) {
  switch (dtype) {
  case LN_INT8: return (int8_t)v;
  case LN_INT16: return (int16_t)v;
  case LN_INT32: return (int32_t)v;
  case LN_UINT8: return (uint8_t)v;
  default: return v;
  }
}

/* Integer division by zero stops the process, so it is looked for first. */
static int refuse_zero(const ln_call *c, const ln_attrs *attrs, int dtype) {
  const ln_tensor *b = c->in[1];
  bool nonzero = true;
  if (!b) {
    nonzero = wrapped(attrs->slot[1].i, dtype) != 0;
  } else if (b->numel > 0) {
    ln_tensor *all;
    ln_fold fold;
    LN_TRY(ln_new(NULL, 0, LN_BOOL, b->device, &all));
    ln_fold_init(&fold, LN_FOLD_ALL, b, (1u << b->ndim) - 1, all, false);
    int status = ln_kernel_status(c->name, ln_kernels_of(b->device)->fold(&fold, b->device));
    double value = 1;
    int64_t whole = 1;
    if (status == LN_OK) status = ln_tensor_item(all, &value, &whole);
    ln_tensor_release(all);
    if (status != LN_OK) return status;
    nonzero = whole != 0;
  }
  return nonzero ? LN_OK : ln_fail("%s: integer division by zero", c->name);
}

/* What PyTorch refuses of bool and whole numbers, because the answer would surprise. */
static int refuse_senseless(const ln_call *c, int flags, const ln_attrs *attrs, int dtype) {
  if (dtype == LN_BOOL && (flags & LN_FLAG_NO_BOOL)) return ln_fail("%s: not defined for bool; use logical_xor, logical_not or :int()", c->name);
  if ((flags & LN_FLAG_WHOLE_POWER) && !ln_is_float(dtype) && !c->in[1] && attrs->slot[1].i < 0)
    return ln_fail("%s: a whole number to the negative power %lld is no whole number; convert the tensor with :float()", c->name,
                   (long long)attrs->slot[1].i);
  if ((flags & LN_FLAG_DIVISOR) && !ln_is_float(dtype)) return refuse_zero(c, attrs, dtype);
  return LN_OK;
}

static void read_attrs(const ln_op_row *row, const ln_attrs *attrs, double *at) {
  for (int i = 0, slot = row->first_attr; slot < row->n_slots; i++, slot++) at[i] = ln_has(attrs, slot) ? attrs->slot[slot].d : row->defaults[i];
}

/* An input that shares memory with the output but is laid out otherwise would be read after it was written. */
static bool overlaps(const ln_tensor *y, const ln_tensor *t) {
  if (y->storage != t->storage || t == y) return false;
  return y->data != t->data || !ln_same_shape(y, t) || !ln_same_dims(y->stride, t->stride, y->ndim);
}

static void set_scalar(ln_loop *loop, int operand, const ln_attrs *attrs, int slot) {
  bool whole = (attrs->integer >> slot) & 1;
  ln_loop_scalar(loop, operand, whole ? LN_INT64 : LN_FLOAT64, whole ? (const void *)&attrs->slot[slot].i : (const void *)&attrs->slot[slot].d);
}

static bool is_wider(const ln_tensor *t, int dtype) { return t->ndim == 0 && category(dtype) == 1 && category(t->dtype) == 1 && t->dtype != dtype; }

static int compute(ln_call *c, const ln_op_row *row, const ln_attrs *attrs, int n, int dtype) {
  ln_tensor *operands[4] = {c->out[0]}, *copies[4] = {NULL};
  int status = LN_OK, skipped = (row->info.flags & LN_FLAG_CONDITION) != 0;
  for (int i = 0; i < n && status == LN_OK; i++) {
    operands[i + 1] = c->in[i];
    if (c->target && c->in[i] && overlaps(c->target, c->in[i])) {
      status = ln_new_like(c->in[i], c->in[i]->dtype, &copies[i]);
      if (status == LN_OK) status = ln_copy_into(copies[i], c->in[i]);
      operands[i + 1] = copies[i];
    } else if (c->in[i] && i >= skipped && is_wider(c->in[i], dtype)) {
      status = ln_dense(c->in[i], dtype, &copies[i]);
      operands[i + 1] = copies[i];
    }
  }
  if (status == LN_OK) {
    ln_pointwise work;
    double at[3] = {0};
    int64_t whole[3];
    work.row = row->pointwise;
    work.pass = 0;
    work.dtype = compute_type(dtype);
    work.attrs = at;
    ln_loop_init(&work.loop, operands, n + 1);
    for (int i = 0; i < n; i++) {
      if (c->in[i]) continue;
      set_scalar(&work.loop, i + 1, attrs, i);
      whole[i] = wrapped(attrs->slot[i].i, dtype);
      if (work.loop.dtype[i + 1] == LN_INT64) work.loop.data[i + 1] = (char *)&whole[i];
    }
    read_attrs(row, attrs, at);
    int device = c->out[0]->device;
    if (work.loop.numel > 0) status = ln_kernel_status(c->name, ln_kernels_of(device)->pointwise(&work, device));
  }
  for (int i = 0; i < n; i++)
    if (copies[i]) ln_tensor_release(copies[i]);
  return status;
}

int ln_pointwise_forward(ln_call *c) {
  const ln_op_row *row = ln_row(c->op);
  const ln_attrs *attrs = c->attrs;
  int n = row->info.kind + 1;
  if (c->n_in != n) return ln_fail("%s: takes %d operands, got %d", c->name, n, c->n_in);
  int dtype = promoted(c, attrs, (row->info.flags & LN_FLAG_CONDITION) != 0, n);
  dtype = row->result == LN_CLASS_FLOAT && !ln_is_float(dtype) ? LN_FLOAT32 : with_attributes(row, attrs, dtype);
  LN_TRY(refuse_senseless(c, row->info.flags, attrs, dtype));
  LN_TRY(make_output(c, n, row->result == LN_CLASS_TEST ? LN_BOOL : dtype));
  LN_TRY(compute(c, row, attrs, n, dtype));
  for (int i = 0; c->recording && i < n; i++) {
    if (!c->in[i] || !ln_wants_grad(c->in[i]) || !row->info.derivative[i]) continue;
    c->keep_in |= row->keep[i] & 7;
    c->keep_out |= row->keep[i] >> 3;
  }
  return LN_OK;
}

/* -- First derivatives -- */

/* The derivative of input i, in the shape of the result; summed to the input's afterwards. */
static ln_tensor *derivative(ln_back *b, const ln_op_row *row, int i) {
  ln_tensor *g = b->g[0], *dx = NULL, *operands[6];
  bool broadcast = b->ndim[i] != g->ndim || !ln_same_dims(b->shape[i], g->shape, g->ndim);
  int dtype = broadcast ? g->dtype : b->dtype[i];
  b->status = ln_is_dense(g) ? ln_new_strided(g->shape, g->stride, g->ndim, dtype, g->device, &dx) : ln_new_like(g, dtype, &dx);
  if (b->status != LN_OK) return NULL;
  ln_do_own(b, dx);
  operands[0] = dx;
  operands[1] = g;
  for (int k = 0; k < b->n_in; k++) operands[2 + k] = b->in[k] ? b->in[k] : g; /* what the formula does not mention may be anything */
  operands[2 + b->n_in] = b->out[0] ? b->out[0] : g;
  ln_pointwise work;
  double at[3] = {0};
  work.row = row->pointwise;
  work.pass = 1 + i;
  work.dtype = compute_type(g->dtype);
  work.attrs = at;
  ln_loop_init(&work.loop, operands, 3 + b->n_in);
  for (int k = 0; k < b->n_in; k++)
    if (b->ndim[k] < 0) set_scalar(&work.loop, 2 + k, b->attrs, k);
  read_attrs(row, b->attrs, at);
  if (work.loop.numel > 0) b->status = ln_kernel_status(row->info.name, ln_kernels_of(g->device)->pointwise(&work, g->device));
  return dx;
}

void ln_pointwise_backward(ln_back *b) {
  const ln_op_row *row = ln_row(ln_node_op(b->node));
  for (int i = 0; i < b->n_in && b->status == LN_OK; i++) {
    if (!b->needs[i] || !row->info.derivative[i]) continue;
    ln_tensor *dx = row->passes[i] ? b->g[0] : derivative(b, row, i);
    dx = ln_do_sum_to(b, dx, b->shape[i], b->ndim[i]);
    ln_give(b, i, ln_do_to(b, dx, b->dtype[i]));
  }
}
