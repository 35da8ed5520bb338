/* pointwise.c - the one rule of all elementwise rows: promotion, broadcasting, scalar operands, in-place, and their first derivatives. */
#include "../rule.h"

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

/* Operand i, when it is a number, has slot i. */
static int number_type(const ln_rule *r, int i) {
  if (!r_is_whole(r, i)) return LN_FLOAT32;
  return r_has(r, i) ? LN_BOOL : LN_INT64;
}

/* The first operand of a row with a condition does not count. */
static int first_counted(const ln_rule *r) { return (r->row->info.flags & LN_FLAG_CONDITION) != 0; }

static int promoted(const ln_rule *r) {
  int with_dims = -1, zero_dim = -1, number = -1;
  for (int i = first_counted(r); i < r->n_in; i++) {
    const ln_tensor *t = r->in[i];
    if (!t)
      number = join(number, number_type(r, i));
    else if (t->ndim > 0)
      with_dims = join(with_dims, t->dtype);
    else
      zero_dim = join(zero_dim, t->dtype);
  }
  return stronger(with_dims, stronger(zero_dim, number));
}

/* The numbers in an attribute take part as operands do where PyTorch has it so: clamp's bounds, and the 2 in the power that square is. */
static int with_attributes(const ln_rule *r, int dtype) {
  int flags = r->row->info.flags;
  if (ln_is_float(dtype)) return dtype;
  if (r->row->result == LN_CLASS_FLOAT) return LN_FLOAT32;
  for (int slot = r->row->first_attr; (flags & LN_FLAG_BOUNDS) && slot < r->row->n_slots; slot++) {
    double value = r_float(r, slot);
    if (isfinite(value) && value != floor(value)) return LN_FLOAT32;
  }
  return dtype == LN_BOOL && (flags & LN_FLAG_BOOL_COUNTS) ? LN_INT64 : dtype;
}

static int compute_type(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : ln_is_float(dtype) ? LN_FLOAT32 : LN_INT64; }

/* -- The output -- */

/* The shape of all operands together; `model` is one of that shape whose layout the result follows, or NULL. */
static bool result_shape(ln_rule *r, int64_t *shape, int *ndim, const ln_tensor **model) {
  const ln_tensor *first = NULL;
  ln_tensor so_far;
  for (int i = 0; i < r->n_in; i++) {
    const ln_tensor *t = r->in[i];
    if (!t) continue;
    if (!first) {
      first = t;
      *ndim = t->ndim;
      memcpy(shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
    } else if (t->ndim != *ndim || !ln_same_dims(t->shape, shape, *ndim)) {
      so_far.ndim = *ndim;
      memcpy(so_far.shape, shape, sizeof(int64_t) * (size_t)*ndim);
      if (!r_status(r, ln_broadcast(r->name, &so_far, t, shape, ndim))) return false;
    }
  }
  *model = NULL;
  for (int i = 0; i < r->n_in && !*model; i++) {
    const ln_tensor *t = r->in[i];
    if (t && t->ndim == *ndim && ln_same_dims(t->shape, shape, *ndim) && ln_is_dense(t)) *model = t;
  }
  return r_require(r, first != NULL, "at least one operand must be a tensor");
}

static ln_tensor *make_output(ln_rule *r, int dtype) {
  int64_t shape[16];
  int ndim = 0;
  const ln_tensor *model = NULL;
  if (!result_shape(r, shape, &ndim, &model)) return NULL;
  return r_out_strided(r, 0, shape, model ? model->stride : NULL, ndim, dtype);
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

static bool refuse_zero(ln_rule *r, int dtype) {
  static const ln_violation zero = {.kind = LN_CHECK_DIVISOR};
  if (r->in[1]) return r_check(r, r->in[1], zero, 0, 0);
  return r_require(r, wrapped(r->attrs->slot[1].i, dtype) != 0, "integer division by zero");
}

/* What PyTorch refuses of a dtype, because the answer would surprise or there is none. */
static bool refuse_senseless(ln_rule *r, int dtype) {
  int flags = r->row->info.flags;
  if (r->row->result == LN_CLASS_WHOLE && !r_require(r, !ln_is_float(dtype), "defined for whole numbers alone, not for %s", ln_dtype_name(dtype)))
    return false;
  if (!(flags & (LN_FLAG_NO_BOOL | LN_FLAG_WHOLE_POWER | LN_FLAG_DIVISOR)) || ln_is_float(dtype)) return true;
  if ((flags & LN_FLAG_NO_BOOL) && !r_require(r, dtype != LN_BOOL, "not defined for bool; use logical_xor, logical_not or :int()")) return false;
  if (flags & LN_FLAG_DIVISOR) return refuse_zero(r, dtype);
  return r_require(r, !(flags & LN_FLAG_WHOLE_POWER) || r->in[1] || r->attrs->slot[1].i >= 0,
                   "a whole number to the negative power %lld is no whole number; convert the tensor with :float()", (long long)r->attrs->slot[1].i);
}

static void read_attrs(const ln_rule *r, double *at) {
  const ln_op_row *row = r->row;
  for (int i = 0, slot = row->first_attr; slot < row->n_slots; i++, slot++) at[i] = r_float(r, slot);
}

static void set_scalar(ln_loop *loop, int operand, const ln_attrs *attrs, int slot) {
  bool whole = (attrs->integer >> slot) & 1;
  ln_loop_scalar(loop, operand, whole ? LN_INT64 : LN_FLOAT64, whole ? (const void *)&attrs->slot[slot].i : (const void *)&attrs->slot[slot].d);
}

static bool is_wider(const ln_tensor *t, int dtype) { return t->ndim == 0 && category(dtype) == 1 && category(t->dtype) == 1 && t->dtype != dtype; }

static void compute(ln_rule *r, int dtype) {
  int n = r->n_in;
  ln_tensor *operands[4] = {r->out[0]};
  for (int i = 0; i < n; i++) {
    ln_tensor *t = r->in[i];
    operands[i + 1] = t && i >= first_counted(r) && is_wider(t, dtype) ? r_dense(r, t, dtype) : t;
  }
  if (!r_ok(r)) return;
  ln_pointwise work;
  double at[3] = {0};
  int64_t whole[3];
  work.row = r->row->pointwise;
  work.pass = 0;
  work.dtype = dtype == LN_BOOL && r->row->result == LN_CLASS_TEST ? LN_BOOL : compute_type(dtype);
  work.attrs = at;
  ln_loop_init_any_order(&work.loop, operands, n + 1);
  for (int i = 0; i < n; i++) {
    if (r->in[i]) continue;
    set_scalar(&work.loop, i + 1, r->attrs, i);
    whole[i] = wrapped(r->attrs->slot[i].i, dtype);
    if (work.loop.dtype[i + 1] == LN_INT64) work.loop.data[i + 1] = (char *)&whole[i];
  }
  read_attrs(r, at);
  if (work.loop.numel > 0) KERNEL(r, pointwise, &work);
}

void ln_pointwise_forward(ln_rule *r) {
  int n = r->row->info.kind + 1;
  if (!r_require(r, r->n_in == n, "takes %d operands, got %d", n, r->n_in)) return;
  int dtype = with_attributes(r, promoted(r));
  if (refuse_senseless(r, dtype) && make_output(r, r->row->result == LN_CLASS_TEST ? LN_BOOL : dtype)) compute(r, dtype);
}

/* -- First derivatives -- */

/* The derivative of input i, in the shape of the result; summed to the input's afterwards. */
static ln_tensor *derivative(ln_rule *r, int i) {
  ln_tensor *g = r->g[0], *operands[6];
  ln_tensor *dx = r_new_like(r, g, ln_same_shape(r->in[i], g) ? r->in[i]->dtype : g->dtype);
  if (!dx) return NULL;
  operands[0] = dx;
  operands[1] = g;
  for (int k = 0; k < r->n_in; k++) /* what the formula does not mention may be anything */
    operands[2 + k] = r->in[k] && r->in[k]->data ? r->in[k] : g;
  operands[2 + r->n_in] = r->out[0] ? r->out[0] : g;
  ln_pointwise work;
  double at[3] = {0};
  work.row = r->row->pointwise;
  work.pass = 1 + i;
  work.dtype = compute_type(g->dtype);
  work.attrs = at;
  ln_loop_init_any_order(&work.loop, operands, 3 + r->n_in);
  for (int k = 0; k < r->n_in; k++)
    if (!r->in[k]) set_scalar(&work.loop, 2 + k, r->attrs, k);
  read_attrs(r, at);
  if (work.loop.numel > 0) KERNEL(r, pointwise, &work);
  return dx;
}

void ln_pointwise_backward(ln_rule *r) {
  for (int i = 0; i < r->n_in; i++)
    if (r->needs[i] && r->row->info.derivative[i]) r_give(r, i, r->row->passes[i] ? r->g[0] : derivative(r, i));
}
