/* norm.c - batch normalisation (Ioffe and Szegedy, 2015): statistics, running averages, gradients. */
#include "rules.h"

/* x [N, C, ...] seen as [N, C, M]: the dims behind the channels must follow each other in memory. */
static bool fold_places(const ln_tensor *x, int64_t *stride) {
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

/* A tensor that can be seen so, retained. */
static int readable(ln_tensor *x, ln_tensor **out, int64_t *stride) {
  if (fold_places(x, stride)) {
    ln_tensor_retain(x);
    *out = x;
    return LN_OK;
  }
  LN_TRY(ln_dense(x, x->dtype, out));
  fold_places(*out, stride);
  return LN_OK;
}

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

/* A vector of one number a channel in compute dtype, or NULL. */
static int vector(const char *op, const char *what, ln_tensor *t, int64_t channels, int dtype, ln_tensor **out) {
  *out = NULL;
  if (!t) return LN_OK;
  if (t->ndim != 1 || t->shape[0] != channels)
    return ln_fail("%s: %s must have one number for each of %lld channels, got shape %s", op, what, (long long)channels,
                   ln_shape_text(t->shape, t->ndim));
  return ln_dense(t, dtype, out);
}

static void begin(ln_norm *n, const ln_tensor *x) {
  *n = (ln_norm){.dtype = x->dtype, .n = x->shape[0], .c = x->shape[1], .m = ln_numel(x->shape + 2, x->ndim - 2)};
}

static int same_layout(const ln_tensor *x, ln_tensor **out) {
  return ln_new_strided(x->shape, ln_is_dense(x) ? x->stride : NULL, x->ndim, x->dtype, x->device, out);
}

/* running = running * (1 - momentum) + value * momentum, in place. */
static int update_running(ln_back *b, ln_tensor *running, ln_tensor *value, double momentum) {
  ln_tensor *mixed = ln_do2(b, LN_OP_add, ln_do_scale(b, running, 1 - momentum), ln_do_to(b, ln_do_scale(b, value, momentum), running->dtype));
  if (!mixed) return b->status;
  running->storage->version++;
  return b->status = ln_copy_into(running, mixed);
}

static int update_statistics(ln_call *c, const ln_norm *n, ln_tensor *mean, ln_tensor *variance) {
  double momentum = ln_float(c->attrs, 1), count = (double)(n->n * n->m);
  ln_compose compose;
  ln_tensor *kept = NULL;
  ln_back *b = ln_compose_begin(&compose, c->name);
  if (c->in[3]) update_running(b, c->in[3], mean, momentum);
  if (c->in[4]) update_running(b, c->in[4], ln_do_scale(b, variance, count / (count - 1)), momentum);
  int status = ln_compose_end(&compose, mean, &kept);
  if (kept) ln_tensor_release(kept);
  return status;
}

/* In eval, mean and rstd come from the running statistics. */
static int running_statistics(ln_call *c, int64_t channels, int dtype, double eps, ln_tensor **mean, ln_tensor **rstd) {
  if (!c->in[3] || !c->in[4]) return ln_fail("batch_norm: running_mean and running_var are needed outside training");
  LN_TRY(vector(c->name, "running_mean", c->in[3], channels, dtype, mean));
  ln_tensor *variance;
  LN_TRY(vector(c->name, "running_var", c->in[4], channels, dtype, &variance));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_do_own(b, variance);
  return ln_compose_end(&compose, ln_do1(b, LN_OP_rsqrt, ln_do_shift(b, variance, eps)), rstd);
}

static int check_batch_norm(const ln_call *c, const ln_tensor *x, bool training) {
  LN_TRY(ln_check_float(c->name, "input", x));
  if (x->ndim < 2) return ln_fail("batch_norm: input must have at least 2 dimensions, got shape %s", ln_shape_text(x->shape, x->ndim));
  if (c->target) return ln_fail("batch_norm: there is no in-place form");
  if (training && x->numel > 0 && x->numel / x->shape[1] <= 1)
    return ln_fail("batch_norm: training needs more than one value per channel, got an input of shape %s", ln_shape_text(x->shape, x->ndim));
  return LN_OK;
}

/* Signature: x, weight?, bias?, running_mean?, running_var?; training, momentum, eps. Extras: mean and rstd of the batch. */
int batch_norm_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *rx = NULL, *w = NULL, *shift = NULL, *mean = NULL, *rstd = NULL, *variance = NULL;
  ln_norm n;
  bool training = ln_int(c->attrs, 0);
  double eps = ln_float(c->attrs, 2);
  LN_TRY(check_batch_norm(c, x, training));
  int dtype = compute_dtype(x->dtype);
  begin(&n, x);
  n.training = training;
  n.eps = eps;
  int status = vector(c->name, "weight", c->in[1], n.c, dtype, &w);
  if (status == LN_OK) status = vector(c->name, "bias", c->in[2], n.c, dtype, &shift);
  for (int i = 3; i < 5 && status == LN_OK; i++)
    if (c->in[i] && (c->in[i]->ndim != 1 || c->in[i]->shape[0] != n.c))
      status = ln_fail("%s: running statistics must have one number for each of %lld channels, got shape %s", c->name, (long long)n.c,
                       ln_shape_text(c->in[i]->shape, c->in[i]->ndim));
  if (status == LN_OK && training) {
    status = ln_new(&n.c, 1, dtype, x->device, &mean);
    if (status == LN_OK) status = ln_new(&n.c, 1, dtype, x->device, &rstd);
    if (status == LN_OK) status = ln_new(&n.c, 1, dtype, x->device, &variance);
  } else if (status == LN_OK) {
    status = running_statistics(c, n.c, dtype, eps, &mean, &rstd);
  }
  if (status == LN_OK) status = readable(x, &rx, n.x_stride);
  if (status == LN_OK) status = same_layout(rx, &c->out[0]);
  if (status == LN_OK && x->numel) {
    fold_places(c->out[0], n.y_stride);
    n.x = rx->data;
    n.y = c->out[0]->data;
    n.weight = w ? w->data : NULL;
    n.bias = shift ? shift->data : NULL;
    n.mean = mean->data;
    n.rstd = rstd->data;
    n.variance = variance ? variance->data : NULL;
    status = ln_kernel_status(c->name, ln_kernels_of(x->device)->batch_norm(&n, x->device));
    if (status == LN_OK && training && (c->in[3] || c->in[4])) status = update_statistics(c, &n, mean, variance);
  }
  if (rx) ln_tensor_release(rx);
  if (w) ln_tensor_release(w);
  if (shift) ln_tensor_release(shift);
  if (variance) ln_tensor_release(variance);
  c->extra[0] = mean;
  c->extra[1] = rstd;
  c->keep_in = 3;
  return status;
}

void batch_norm_backward(ln_back *b) {
  ln_tensor *x = b->in[0], *rx, *dy, *w = NULL, *dx = NULL, *dw = NULL, *db = NULL;
  ln_norm n;
  begin(&n, x);
  n.training = ln_int(b->attrs, 0);
  n.eps = ln_float(b->attrs, 2);
  int dtype = compute_dtype(x->dtype);
  if ((b->status = readable(x, &rx, n.x_stride)) != LN_OK || !ln_do_own(b, rx)) return;
  if ((b->status = readable(b->g[0], &dy, n.dy_stride)) != LN_OK || !ln_do_own(b, dy)) return;
  if ((b->status = vector(b->name, "weight", b->in[1], n.c, dtype, &w)) != LN_OK) return;
  ln_do_own(b, w);
  if (b->needs[0] && ((b->status = same_layout(rx, &dx)) != LN_OK || !ln_do_own(b, dx))) return;
  if (b->needs[1] && ((b->status = ln_new(&n.c, 1, dtype, x->device, &dw)) != LN_OK || !ln_do_own(b, dw))) return;
  if (b->needs[2] && ((b->status = ln_new(&n.c, 1, dtype, x->device, &db)) != LN_OK || !ln_do_own(b, db))) return;
  n.x = rx->data;
  n.dy = dy->data;
  n.weight = w ? w->data : NULL;
  n.mean = b->extra[0]->data;
  n.rstd = b->extra[1]->data;
  n.dx = dx ? dx->data : NULL;
  n.dweight = dw ? dw->data : NULL;
  n.dbias = db ? db->data : NULL;
  if (dx) fold_places(dx, n.dx_stride);
  if (x->numel) b->status = ln_kernel_status(b->name, ln_kernels_of(x->device)->batch_norm_dx(&n, x->device));
  if (!x->numel && dw) b->status = ln_zero(dw);
  if (!x->numel && db) b->status = ln_zero(db);
  ln_give(b, 0, dx);
  if (dw) ln_give(b, 1, ln_do_to(b, dw, b->dtype[1]));
  if (db) ln_give(b, 2, ln_do_to(b, db, b->dtype[2]));
}

/* The same of operators: in training x's own statistics are computed anew, so that their gradients count. */
void batch_norm_backward_any(ln_back *b) {
  ln_tensor *x = b->in[0], *g = b->g[0], *mean = b->extra[0], *rstd = b->extra[1];
  int n = b->ndim[0], dtype = compute_dtype(x->dtype);
  uint32_t mask = ((1u << n) - 1) & ~2u;
  int64_t shape[16];
  bool training = ln_int(b->attrs, 0);
  double count = 1;
  for (int i = 0; i < n; i++) {
    shape[i] = i == 1 ? b->shape[0][1] : 1;
    if (i != 1) count *= (double)b->shape[0][i];
  }
  x = ln_do_to(b, x, dtype);
  g = ln_do_to(b, g, dtype);
  if (!x || !g) return;
  if (training) {
    mean = ln_do_scale(b, ln_do_sum(b, x, mask, true), 1 / count);
    ln_tensor *square = ln_do1(b, LN_OP_square, ln_do2(b, LN_OP_sub, x, mean));
    rstd = ln_do1(b, LN_OP_rsqrt, ln_do_shift(b, ln_do_scale(b, ln_do_sum(b, square, mask, true), 1 / count), ln_float(b->attrs, 2)));
  } else {
    mean = ln_do_view(b, mean, shape, n);
    rstd = ln_do_view(b, rstd, shape, n);
  }
  ln_tensor *hat = ln_do2(b, LN_OP_mul, ln_do2(b, LN_OP_sub, x, mean), rstd), *ghat = ln_do2(b, LN_OP_mul, g, hat);
  if (b->needs[1]) ln_give(b, 1, ln_do_to(b, ln_do_sum(b, ghat, mask, false), b->dtype[1]));
  if (b->needs[2]) ln_give(b, 2, ln_do_to(b, ln_do_sum(b, g, mask, false), b->dtype[2]));
  if (!b->needs[0]) return;
  ln_tensor *w = b->in[1] ? ln_do_to(b, ln_do_view(b, b->in[1], shape, n), dtype) : NULL;
  ln_tensor *scaled = w ? ln_do2(b, LN_OP_mul, rstd, w) : rstd, *inner = g;
  if (training) {
    inner = ln_do2(b, LN_OP_sub, g, ln_do_scale(b, ln_do_sum(b, g, mask, true), 1 / count));
    inner = ln_do2(b, LN_OP_sub, inner, ln_do2(b, LN_OP_mul, hat, ln_do_scale(b, ln_do_sum(b, ghat, mask, true), 1 / count)));
  }
  ln_give(b, 0, ln_do_to(b, ln_do2(b, LN_OP_mul, inner, scaled), b->dtype[0]));
}
