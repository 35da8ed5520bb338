/* reduce_stats.c - variance, standard deviation, norms and logsumexp: reductions made of reductions. */
#include "rules.h"

#include <math.h>

static uint32_t mask_of(ln_back *b, int k) {
  uint32_t mask = 0;
  b->status = ln_dims_mask(b->name, b->attrs, k, b->ndim[0], &mask);
  return mask;
}

static double count_of(const int64_t *shape, int ndim, uint32_t mask) {
  double n = 1;
  for (int i = 0; i < ndim; i++)
    if ((mask >> i) & 1) n *= (double)shape[i];
  return n;
}

static ln_tensor *do_reduce(ln_back *b, int op, int slot, ln_tensor *x, uint32_t mask, bool keepdim) {
  ln_attrs attrs = {0};
  int64_t dims[16];
  int n = 0;
  if (!x) return NULL;
  for (int i = 0; i < x->ndim; i++)
    if ((mask >> i) & 1) dims[n++] = i;
  if (n) ln_attrs_ints(&attrs, slot, dims, n);
  ln_attrs_int(&attrs, slot + 1, keepdim);
  return ln_do(b, op, &x, 1, &attrs);
}

static ln_tensor *spread(ln_back *b, ln_tensor *t, uint32_t mask, bool keepdim) { return keepdim ? t : ln_do_unsqueeze_mask(b, t, mask, b->ndim[0]); }

/* Half types go through float32, so that only the result is rounded; whole numbers, where they are taken, become float32. */
static ln_tensor *widened(ln_back *b, ln_tensor *x) { return x->dtype == LN_FLOAT64 || x->dtype == LN_FLOAT32 ? x : ln_do_to(b, x, LN_FLOAT32); }

/* -- var, std -- */

static double freedom(const int64_t *shape, int ndim, uint32_t mask, const ln_attrs *a) {
  double n = count_of(shape, ndim, mask) - (double)ln_int(a, 1);
  return n > 0 ? n : 0;
}

static int variance(ln_call *c, bool root) {
  ln_tensor *x = c->in[0];
  uint32_t mask;
  LN_TRY(ln_check_float(c->name, "the tensor", x));
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, x->ndim, &mask));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *wide = widened(b, x);
  ln_tensor *away = ln_do2(b, LN_OP_sub, wide, do_reduce(b, LN_OP_mean, 0, wide, mask, true));
  ln_tensor *y = do_reduce(b, LN_OP_sum, 0, ln_do1(b, LN_OP_square, away), mask, ln_int(c->attrs, 2));
  y = ln_do_scale(b, y, 1 / freedom(x->shape, x->ndim, mask, c->attrs));
  if (root) y = ln_do1(b, LN_OP_sqrt, y);
  c->keep_in = 1;
  c->keep_out = root;
  return ln_compose_end(&compose, ln_do_to(b, y, x->dtype), &c->out[0]);
}

static ln_tensor *away_from_mean(ln_back *b, uint32_t mask) {
  return ln_do2(b, LN_OP_sub, b->in[0], do_reduce(b, LN_OP_mean, 0, b->in[0], mask, true));
}

int var_forward(ln_call *c) { return variance(c, false); }

void var_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  ln_tensor *g = ln_do_scale(b, b->g[0], 2 / freedom(b->shape[0], b->ndim[0], mask, b->attrs));
  ln_give(b, 0, ln_do2(b, LN_OP_mul, away_from_mean(b, mask), spread(b, g, mask, ln_int(b->attrs, 2))));
}

int std_forward(ln_call *c) { return variance(c, true); }

/* Where nothing varies the gradient is 0. */
void std_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  ln_tensor *still = ln_do_compare(b, LN_OP_eq, b->out[0], 0);
  ln_tensor *g = ln_do2(b, LN_OP_div, b->g[0], ln_do_where(b, still, NULL, 1, b->out[0], 0));
  g = ln_do_where(b, still, NULL, 0, g, 0);
  g = ln_do_scale(b, g, 1 / freedom(b->shape[0], b->ndim[0], mask, b->attrs));
  ln_give(b, 0, ln_do2(b, LN_OP_mul, away_from_mean(b, mask), spread(b, g, mask, ln_int(b->attrs, 2))));
}

/* -- norm -- */

int norm_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  double p = ln_float(c->attrs, 0);
  bool keepdim = ln_int(c->attrs, 2);
  uint32_t mask;
  LN_TRY(ln_check_float(c->name, "the tensor", x));
  LN_TRY(ln_dims_mask(c->name, c->attrs, 1, x->ndim, &mask));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *y;
  int dtype = x->dtype;
  x = widened(b, x);
  if (isinf(p)) {
    y = do_reduce(b, p > 0 ? LN_OP_amax : LN_OP_amin, 0, ln_do1(b, LN_OP_abs, x), mask, keepdim);
  } else if (p == 0) {
    y = do_reduce(b, LN_OP_sum, 0, ln_do_to(b, ln_do_compare(b, LN_OP_ne, x, 0), x->dtype), mask, keepdim);
  } else if (p == 2) {
    y = ln_do1(b, LN_OP_sqrt, do_reduce(b, LN_OP_sum, 0, ln_do1(b, LN_OP_square, x), mask, keepdim));
  } else {
    ln_tensor *powers = ln_do1(b, LN_OP_abs, x);
    if (p != 1) powers = ln_do_pow(b, powers, p);
    y = do_reduce(b, LN_OP_sum, 0, powers, mask, keepdim);
    if (p != 1) y = ln_do_pow(b, y, 1 / p);
  }
  c->keep_in = c->keep_out = 1;
  return ln_compose_end(&compose, ln_do_to(b, y, dtype), &c->out[0]);
}

static ln_tensor *zero_where(ln_back *b, ln_tensor *condition, ln_tensor *t) { return t ? ln_do_where(b, condition, NULL, 0, t, 0) : NULL; }

/* dx = g sign(x) |x|^(p-1) y^(1-p), 0 where y is 0. */
static ln_tensor *power_dx(ln_back *b, ln_tensor *g, ln_tensor *y, double p) {
  ln_tensor *x = b->in[0], *nought = ln_do_compare(b, LN_OP_eq, y, 0), *safe = ln_do_where(b, nought, NULL, 1, y, 0);
  ln_tensor *ratio = zero_where(b, nought, p == 2 ? ln_do2(b, LN_OP_div, g, safe) : ln_do2(b, LN_OP_mul, g, ln_do_pow(b, safe, 1 - p)));
  if (p == 2) return ln_do2(b, LN_OP_mul, x, ratio);
  ln_tensor *zero = ln_do_compare(b, LN_OP_eq, x, 0);
  ln_tensor *size = ln_do_where(b, zero, NULL, 1, ln_do1(b, LN_OP_abs, x), 0);
  ln_tensor *slope = zero_where(b, zero, ln_do_pow(b, size, p - 1));
  return ln_do2(b, LN_OP_mul, ln_do2(b, LN_OP_mul, ln_do1(b, LN_OP_sign, x), slope), ratio);
}

void norm_backward(ln_back *b) {
  double p = ln_float(b->attrs, 0);
  bool keepdim = ln_int(b->attrs, 2);
  uint32_t mask = mask_of(b, 1);
  ln_tensor *g = spread(b, b->g[0], mask, keepdim), *y = spread(b, b->out[0], mask, keepdim), *x = b->in[0];
  if (p == 0) {
    ln_give(b, 0, ln_do_zeros(b, 0));
  } else if (isinf(p)) {
    ln_tensor *hits = ln_do2(b, LN_OP_eq, ln_do1(b, LN_OP_abs, x), y);
    hits = hits ? ln_do_to(b, hits, b->dtype[0]) : NULL;
    ln_tensor *share = ln_do2(b, LN_OP_div, g, ln_do_sum(b, hits, mask, true));
    ln_give(b, 0, ln_do2(b, LN_OP_mul, ln_do2(b, LN_OP_mul, hits, ln_do1(b, LN_OP_sign, x)), share));
  } else if (p == 1) {
    ln_give(b, 0, ln_do2(b, LN_OP_mul, ln_do1(b, LN_OP_sign, x), g));
  } else {
    ln_give(b, 0, power_dx(b, g, y, p));
  }
}

/* -- logsumexp -- */

static ln_tensor *finite_or_zero(ln_back *b, ln_tensor *t) { return t ? ln_do_where(b, ln_do1(b, LN_OP_isinf, t), NULL, 0, t, 0) : NULL; }

int logsumexp_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *y;
  uint32_t mask;
  bool keepdim = ln_int(c->attrs, 1);
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, x->ndim, &mask));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  b->ndim = &x->ndim;
  int dtype = ln_is_float(x->dtype) ? x->dtype : LN_FLOAT32;
  x = widened(b, x);
  if (count_of(x->shape, x->ndim, mask) == 0) {
    y = ln_do1(b, LN_OP_log, do_reduce(b, LN_OP_sum, 0, x, mask, keepdim));
  } else {
    ln_tensor *top = finite_or_zero(b, do_reduce(b, LN_OP_amax, 0, x, mask, true));
    y = do_reduce(b, LN_OP_sum, 0, ln_do1(b, LN_OP_exp, ln_do2(b, LN_OP_sub, x, top)), mask, true);
    y = ln_do2(b, LN_OP_add, ln_do1(b, LN_OP_log, y), top);
    if (!keepdim) y = do_reduce(b, LN_OP_sum, 0, y, mask, false); /* of single elements: drops the dims */
  }
  c->keep_in = c->keep_out = 1;
  return ln_compose_end(&compose, ln_do_to(b, y, dtype), &c->out[0]);
}

void logsumexp_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  bool keepdim = ln_int(b->attrs, 1);
  ln_tensor *y = finite_or_zero(b, spread(b, b->out[0], mask, keepdim));
  ln_tensor *share = ln_do1(b, LN_OP_exp, ln_do2(b, LN_OP_sub, b->in[0], y));
  ln_give(b, 0, ln_do2(b, LN_OP_mul, share, spread(b, b->g[0], mask, keepdim)));
}
