/* norm.c - batch normalisation (Ioffe and Szegedy, 2015): statistics, running averages, gradients; layer normalisation (Ba et al., 2016),
 * group normalisation (Wu and He, 2018). */
#include "shape.h"

/* x [N, C, ...] seen as [N, C, M]: the dims behind the channels must follow each other in memory. */
static bool fold_positions(const ln_tensor *x, int64_t *stride) {
  int64_t inner = 1, step = 1;
  for (int d = x->ndim - 1; d >= 2; d--) {
    if (x->shape[d] == 1) continue;
    if (inner == 1) step = x->stride[d];
    if (x->stride[d] != step * inner) return false;
    inner *= x->shape[d];
  }
  stride[0] = x->stride[0];
  stride[1] = x->stride[1];
  stride[2] = step;
  return true;
}

/* A tensor that can be seen so. */
static ln_tensor *folded(ln_rule *r, ln_tensor *x, int64_t *stride) {
  if (!x || fold_positions(x, stride)) return x;
  x = r_dense(r, x, x->dtype);
  if (x) fold_positions(x, stride);
  return x;
}

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

static ln_norm begin(const ln_tensor *x) {
  return (ln_norm){.dtype = x->dtype, .n = x->shape[0], .c = x->shape[1], .m = ln_numel(x->shape + 2, x->ndim - 2)};
}

static void *data_of(const ln_tensor *t) { return t ? t->data : NULL; }

/* A vector of one number a channel in the compute dtype; NULL where there is none. */
static ln_tensor *vector(ln_rule *r, ln_tensor *t, int dtype) { return t ? r_dense(r, t, dtype) : NULL; }

/* Running statistics that the kernel will change. */
static ln_running running(ln_tensor *t) {
  if (!t) return (ln_running){0};
  t->storage->version++;
  return (ln_running){t->data, t->stride[0] * ln_itemsize(t), t->dtype};
}

static bool check_batch_norm(ln_rule *r) {
  ARGS(batch_norm);
  if (!r_require(r, input->ndim >= 2, "input must have at least 2 dimensions, got shape %s", ln_shape_text(input->shape, input->ndim))) return false;
  int64_t channels = input->shape[1];
  return r_require(r, !r_bool(r, a_training) || input->numel == 0 || input->numel / channels > 1,
                   "training needs more than one value per channel, got an input of shape %s", ln_shape_text(input->shape, input->ndim)) &&
         r_require(r, r_bool(r, a_training) || (running_mean && running_var), "running_mean and running_var are needed outside training") &&
         r_check_vector(r, "weight", weight, channels, "channels") && r_check_vector(r, "bias", bias, channels, "channels") &&
         r_check_vector(r, "running_mean", running_mean, channels, "channels") && r_check_vector(r, "running_var", running_var, channels, "channels");
}

/* Kept for backward: mean and 1 / standard deviation, of the batch in training, else the running ones. */
void batch_norm_forward(ln_rule *r) {
  ARGS(batch_norm);
  if (!check_batch_norm(r)) return;
  ln_norm n = begin(input);
  int dtype = compute_dtype(input->dtype);
  n.training = r_bool(r, a_training);
  n.eps = r_float(r, a_eps);
  ln_tensor *w = vector(r, weight, dtype), *shift = vector(r, bias, dtype);
  ln_tensor *mean = r_keep(r, 0, n.training ? r_new(r, &n.c, 1, dtype) : vector(r, running_mean, dtype));
  ln_tensor *rstd = n.training ? r_new(r, &n.c, 1, dtype) : r_do1(r, LN_OP_rsqrt, r_number(r, LN_OP_add, vector(r, running_var, dtype), n.eps));
  ln_tensor *x = folded(r, input, n.x_stride), *y = r_out_like(r, 0, x, input->dtype);
  r_keep(r, 1, rstd);
  r->keep_in |= 3; /* the fused gradient reads input and weight whatever is asked for */
  if (!r_ok(r) || input->numel == 0) return;
  fold_positions(y, n.y_stride);
  n.x = x->data;
  n.y = y->data;
  n.weight = data_of(w);
  n.bias = data_of(shift);
  n.mean = mean->data;
  n.rstd = rstd->data;
  if (n.training) {
    n.running_mean = running(running_mean);
    n.running_var = running(running_var);
    n.momentum = r_float(r, a_momentum);
  }
  KERNEL(r, batch_norm, &n);
}

void batch_norm_backward(ln_rule *r) {
  ARGS(batch_norm);
  ln_norm n = begin(input);
  int dtype = compute_dtype(input->dtype);
  n.training = r_bool(r, a_training);
  n.eps = r_float(r, a_eps);
  ln_tensor *x = folded(r, input, n.x_stride), *dy = folded(r, r->g[0], n.dy_stride), *w = vector(r, weight, dtype);
  ln_tensor *dx = r->needs[0] ? r_new_like(r, x, input->dtype) : NULL;
  ln_tensor *dw = r->needs[1] ? r_zeros(r, &n.c, 1, dtype) : NULL, *db = r->needs[2] ? r_zeros(r, &n.c, 1, dtype) : NULL;
  if (!r_ok(r)) return;
  n.x = x->data;
  n.dy = dy->data;
  n.weight = data_of(w);
  n.mean = r->extra[0]->data;
  n.rstd = r->extra[1]->data;
  n.dx = data_of(dx);
  n.dweight = data_of(dw);
  n.dbias = data_of(db);
  if (dx) fold_positions(dx, n.dx_stride);
  if (input->numel) KERNEL(r, batch_norm_dx, &n);
  r_give(r, 0, dx);
  r_give(r, 1, dw);
  r_give(r, 2, db);
}

/* -- layer_norm: rows of all that normalized_shape covers; group_norm: a row is a group of channels of an image -- */

static bool check_layer_norm(ln_rule *r, ln_row_norm *work) {
  ARGS(layer_norm);
  const int64_t *shape;
  int n = r_list(r, a_normalized_shape, &shape), lead = input->ndim - n;
  if (!r_require(r, n > 0 && lead >= 0 && ln_same_dims(input->shape + (lead < 0 ? 0 : lead), shape, lead < 0 ? 0 : n),
                 "normalized_shape %s is not the end of the input's shape %s", ln_shape_text(shape, n), ln_shape_text(input->shape, input->ndim)))
    return false;
  for (int i = 0; i < 2; i++) {
    const ln_tensor *t = i ? bias : weight;
    if (!r_require(r, !t || (t->ndim == n && ln_same_dims(t->shape, shape, n)), "%s must have the shape %s, got %s", i ? "bias" : "weight",
                   ln_shape_text(shape, n), ln_shape_text(t->shape, t->ndim)))
      return false;
  }
  *work = (ln_row_norm){.rows = ln_numel(input->shape, lead), .size = ln_numel(shape, n), .groups = 1, .inner = 1, .eps = r_float(r, a_eps)};
  return true;
}

static bool check_group_norm(ln_rule *r, ln_row_norm *work) {
  ARGS(group_norm);
  int64_t groups = r_int(r, a_num_groups), channels = input->ndim > 1 ? input->shape[1] : 0;
  if (!r_require(r, input->ndim >= 2, "input must have at least 2 dimensions, got shape %s", ln_shape_text(input->shape, input->ndim)) ||
      !r_require(r, groups >= 1 && channels % groups == 0, "%lld channels must be divisible by num_groups %lld (input %s)", (long long)channels,
                 (long long)groups, ln_shape_text(input->shape, input->ndim)) ||
      !r_require(r, input->numel != groups, "more than 1 value per group is needed, got input of shape %s and %lld groups",
                 ln_shape_text(input->shape, input->ndim), (long long)groups) ||
      !r_check_vector(r, "weight", weight, channels, "channels") || !r_check_vector(r, "bias", bias, channels, "channels"))
    return false;
  int64_t inner = ln_numel(input->shape + 2, input->ndim - 2);
  *work =
    (ln_row_norm){.rows = input->shape[0] * groups, .size = channels / groups * inner, .groups = groups, .inner = inner, .eps = r_float(r, a_eps)};
  return true;
}

/* Kept for backward: mean and 1 / standard deviation of each row. */
static void rows_forward(ln_rule *r, ln_row_norm work, ln_tensor *input, ln_tensor *weight, ln_tensor *bias) {
  int dtype = compute_dtype(input->dtype);
  ln_tensor *x = r_dense(r, input, input->dtype), *w = vector(r, weight, dtype), *shift = vector(r, bias, dtype);
  ln_tensor *y = r_out(r, 0, input->shape, input->ndim, input->dtype);
  ln_tensor *mean = r_keep(r, 0, r_new(r, &work.rows, 1, dtype)), *rstd = r_keep(r, 1, r_new(r, &work.rows, 1, dtype));
  r->keep_in |= 3; /* the fused gradient reads input and weight whatever is asked for */
  if (!r_ok(r) || input->numel == 0) return;
  work.dtype = input->dtype;
  work.x = x->data;
  work.y = y->data;
  work.weight = data_of(w);
  work.bias = data_of(shift);
  work.mean = mean->data;
  work.rstd = rstd->data;
  KERNEL(r, layer_norm, &work);
}

static void rows_backward(ln_rule *r, ln_row_norm work, ln_tensor *input, ln_tensor *weight, ln_tensor *bias) {
  int dtype = compute_dtype(input->dtype);
  ln_tensor *x = r_dense(r, input, input->dtype), *dy = r_dense(r, r->g[0], input->dtype), *w = vector(r, weight, dtype);
  ln_tensor *dx = r->needs[0] ? r_new(r, input->shape, input->ndim, input->dtype) : NULL;
  ln_tensor *dw = weight && r->needs[1] ? r_zeros(r, weight->shape, weight->ndim, dtype) : NULL;
  ln_tensor *db = bias && r->needs[2] ? r_zeros(r, bias->shape, bias->ndim, dtype) : NULL;
  if (!r_ok(r)) return;
  work.dtype = input->dtype;
  work.x = x->data;
  work.dy = dy->data;
  work.weight = data_of(w);
  work.mean = r->extra[0]->data;
  work.rstd = r->extra[1]->data;
  work.dx = data_of(dx);
  work.dweight = data_of(dw);
  work.dbias = data_of(db);
  if (input->numel > 0) KERNEL(r, layer_norm_dx, &work);
  r_give(r, 0, dx);
  r_give(r, 1, dw);
  r_give(r, 2, db);
}

#define ROW_NORM(name)                                                       \
  void name##_forward(ln_rule *r) {                                          \
    ARGS(name);                                                              \
    ln_row_norm work;                                                        \
    if (check_##name(r, &work)) rows_forward(r, work, input, weight, bias);  \
  }                                                                          \
  void name##_backward(ln_rule *r) {                                         \
    ARGS(name);                                                              \
    ln_row_norm work;                                                        \
    if (check_##name(r, &work)) rows_backward(r, work, input, weight, bias); \
  }
ROW_NORM(layer_norm)
ROW_NORM(group_norm)
