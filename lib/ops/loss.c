/* loss.c - losses: negative log likelihood, cross entropy, squared error. */
#include "index.h"

enum reduction { NONE, MEAN, SUM };

/* Where the classes of x lie, and what shape its targets have. */
static int classes(ln_call *c, const ln_tensor *x, const ln_tensor *target, int *dim, int64_t *rest, int *n_rest) {
  if (x->ndim == 0) return ln_fail("%s: x needs a dimension of classes", c->name);
  *dim = x->ndim > 1;
  *n_rest = 0;
  for (int i = 0; i < x->ndim; i++)
    if (i != *dim) rest[(*n_rest)++] = x->shape[i];
  if (target->ndim != *n_rest || !ln_same_dims(target->shape, rest, *n_rest))
    return ln_fail("%s: x of shape %s needs targets of shape %s, got %s", c->name, ln_shape_text(x->shape, x->ndim), ln_shape_text(rest, *n_rest),
                   ln_shape_text(target->shape, target->ndim));
  return LN_OK;
}

static int check_weight(const ln_call *c, const ln_tensor *weight, int64_t n) {
  if (!weight || (weight->ndim == 1 && weight->shape[0] == n)) return LN_OK;
  return ln_fail("%s: weight must have one number for each of %lld classes, got shape %s", c->name, (long long)n,
                 ln_shape_text(weight->shape, weight->ndim));
}

static ln_tensor *with_whole(ln_back *b, int op, ln_tensor *x, int64_t number) {
  ln_tensor *const in[2] = {x, NULL};
  ln_attrs attrs = {.integer = 1u << 1};
  attrs.slot[1].i = number;
  return x ? ln_do(b, op, in, 2, &attrs) : NULL;
}

/* Targets with class 0 in place of ignored ones, checked. */
static ln_tensor *usable_targets(ln_back *b, ln_tensor *target, ln_tensor *ignored, int64_t n_classes) {
  ln_tensor *const in[3] = {ignored, NULL, target};
  ln_attrs attrs = {.integer = 1u << 1};
  ln_tensor *usable = ignored ? ln_do(b, LN_OP_where, in, 3, &attrs) : NULL;
  if (!usable || ln_check_index(b->name, usable, 0, n_classes, 1) == LN_OK) return usable;
  b->status = ln_fail("%s (a target is a class from 0 to %lld)", ln_error(), (long long)n_classes - 1);
  return NULL;
}

static ln_tensor *reduce(ln_back *b, ln_tensor *t) { return t ? ln_do_sum(b, t, (1u << t->ndim) - 1, false) : NULL; }

/* The weight of each target: its class's, 0 where it is ignored. */
static ln_tensor *target_weights(ln_back *b, ln_tensor *weight, ln_tensor *usable, ln_tensor *ignored, int dtype) {
  ln_tensor *w;
  if (!usable) return NULL;
  if (!weight) return ln_do_to(b, ln_do1(b, LN_OP_logical_not, ignored), dtype);
  w = ln_do_indexed(b, LN_OP_index_select, weight, 0, ln_do_view(b, usable, (int64_t[]){usable->numel}, 1), NULL);
  w = ln_do_view(b, w, usable->shape, usable->ndim);
  return w ? ln_do_where(b, ignored, NULL, 0, w, 0) : NULL;
}

/* Signature: x, target, weight?, ignore_index:int, reduction:enum */
int nll_loss_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *target = c->in[1], *weight = c->in[2];
  int64_t rest[16], line[16];
  int dim, n_rest, how = (int)ln_int(c->attrs, 1);
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_check_float(c->name, "x", x));
  if (target->dtype != LN_INT64)
    return ln_fail("%s: targets must be int64 classes, got %s (make them with lt.LongTensor or :long())", c->name, ln_dtype_name(target->dtype));
  LN_TRY(classes(c, x, target, &dim, rest, &n_rest));
  LN_TRY(check_weight(c, weight, x->shape[dim]));
  memcpy(line, x->shape, sizeof line);
  line[dim] = 1;
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *ignored = with_whole(b, LN_OP_eq, target, ln_int(c->attrs, 0));
  ln_tensor *usable = usable_targets(b, target, ignored, x->shape[dim]);
  ln_tensor *w = target_weights(b, weight, usable, ignored, x->dtype), *index = ln_do_view(b, usable, line, x->ndim);
  ln_tensor *picked = ln_do_view(b, ln_do_indexed(b, LN_OP_gather, x, dim, index, NULL), rest, n_rest);
  ln_tensor *y = ln_do2(b, LN_OP_mul, picked, w);
  y = y ? ln_do_where(b, ignored, NULL, 0, ln_do1(b, LN_OP_neg, y), 0) : NULL;
  if (how != NONE) y = reduce(b, y);
  if (how == MEAN) {
    ln_tensor *total = reduce(b, w);
    y = ln_do2(b, LN_OP_div, y, total);
    w = ln_do2(b, LN_OP_div, w, total);
  }
  if (index && w) { /* backward: the place of each target and its share */
    ln_tensor_retain(c->extra[0] = index);
    ln_tensor_retain(c->extra[1] = w);
  }
  return ln_compose_end(&compose, y, &c->out[0]);
}

void nll_loss_backward(ln_back *b) {
  ln_tensor *index = b->extra[0];
  ln_tensor *share = ln_do1(b, LN_OP_neg, ln_do2(b, LN_OP_mul, b->g[0], b->extra[1]));
  ln_give(b, 0, ln_do_indexed(b, LN_OP_scatter, ln_do_zeros(b, 0), b->ndim[0] > 1, index, ln_do_view(b, share, index->shape, index->ndim)));
}

/* -- cross_entropy: log_softmax, then one of three ways -- */

static ln_tensor *do_nll(ln_back *b, ln_tensor *lp, ln_tensor *target, ln_tensor *weight, int64_t ignore, int how) {
  ln_tensor *const in[3] = {lp, target, weight};
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, ignore);
  ln_attrs_int(&attrs, 1, how);
  return lp ? ln_do(b, LN_OP_nll_loss, in, 3, &attrs) : NULL;
}

/* weight as a tensor that broadcasts over x's classes. */
static ln_tensor *class_weights(ln_back *b, ln_tensor *weight, int ndim, int dim) {
  int64_t shape[16];
  for (int i = 0; i < ndim; i++) shape[i] = i == dim ? weight->shape[0] : 1;
  return ln_do_view(b, weight, shape, ndim);
}

/* - sum over classes of weight * lp */
static ln_tensor *over_classes(ln_back *b, ln_tensor *lp, ln_tensor *weight, int dim) {
  if (weight) lp = ln_do2(b, LN_OP_mul, lp, class_weights(b, weight, lp->ndim, dim));
  return ln_do1(b, LN_OP_neg, ln_do_sum(b, lp, 1u << dim, false));
}

static ln_tensor *with_smoothing(ln_back *b, ln_call *c, ln_tensor *lp, int dim, double smoothing, int how) {
  ln_tensor *target = c->in[1], *weight = c->in[2];
  int64_t ignore = ln_int(c->attrs, 0);
  ln_tensor *hard = do_nll(b, lp, target, weight, ignore, how);
  ln_tensor *ignored = with_whole(b, LN_OP_eq, target, ignore);
  ln_tensor *soft = ignored ? ln_do_where(b, ignored, NULL, 0, over_classes(b, lp, weight, dim), 0) : NULL;
  if (how != NONE) soft = reduce(b, soft);
  if (how == MEAN) {
    ln_tensor *usable = usable_targets(b, target, ignored, lp->shape[dim]);
    soft = ln_do2(b, LN_OP_div, soft, reduce(b, target_weights(b, weight, usable, ignored, lp->dtype)));
  }
  return ln_do2(b, LN_OP_add, ln_do_scale(b, hard, 1 - smoothing), ln_do_scale(b, soft, smoothing / (double)lp->shape[dim]));
}

static ln_tensor *with_probabilities(ln_back *b, ln_call *c, ln_tensor *lp, int dim, double smoothing, int how) {
  ln_tensor *p = ln_do_to(b, c->in[1], lp->dtype);
  if (smoothing > 0) p = ln_do_shift(b, ln_do_scale(b, p, 1 - smoothing), smoothing / (double)lp->shape[dim]);
  ln_tensor *y = over_classes(b, ln_do2(b, LN_OP_mul, lp, p), c->in[2], dim);
  if (how != NONE) y = reduce(b, y);
  return how == MEAN ? ln_do_scale(b, y, 1 / (double)(lp->numel / lp->shape[dim])) : y;
}

/* Signature: x, target, weight?, ignore_index:int, reduction:enum, label_smoothing:float */
int cross_entropy_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *target = c->in[1];
  int how = (int)ln_int(c->attrs, 1), dim = x->ndim > 1;
  double smoothing = ln_float(c->attrs, 2);
  bool probabilities = ln_is_float(target->dtype) && ln_same_shape(x, target);
  int64_t rest[16];
  int n_rest;
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_check_float(c->name, "x", x));
  if (!(smoothing >= 0 && smoothing <= 1)) return ln_fail("cross_entropy: label_smoothing must lie between 0 and 1, got %g", smoothing);
  if (!probabilities && target->dtype != LN_INT64)
    return ln_fail(
      "cross_entropy: targets must be int64 classes (make them with lt.LongTensor or :long()) or probabilities of x's shape %s, got %s of shape %s",
      ln_shape_text(x->shape, x->ndim), ln_dtype_name(target->dtype), ln_shape_text(target->shape, target->ndim));
  if (!probabilities) LN_TRY(classes(c, x, target, &dim, rest, &n_rest));
  if (x->ndim == 0) return ln_fail("%s: x needs a dimension of classes", c->name);
  LN_TRY(check_weight(c, c->in[2], x->shape[dim]));
  ln_compose compose;
  ln_back *b = ln_composite_begin(&compose, c->name);
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, dim);
  ln_tensor *lp = ln_do(b, LN_OP_log_softmax, &x, 1, &attrs), *y = NULL;
  if (lp && probabilities)
    y = with_probabilities(b, c, lp, dim, smoothing, how);
  else if (lp)
    y = smoothing > 0 ? with_smoothing(b, c, lp, dim, smoothing, how) : do_nll(b, lp, target, c->in[2], ln_int(c->attrs, 0), how);
  return ln_compose_end(&compose, y, &c->out[0]);
}

int mse_loss_forward(ln_call *c) {
  int how = (int)ln_int(c->attrs, 0);
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  int64_t shape[16];
  int ndim;
  LN_TRY(ln_check_float(c->name, "x", c->in[0]));
  LN_TRY(ln_broadcast(c->name, c->in[0], c->in[1], shape, &ndim));
  ln_compose compose;
  ln_back *b = ln_composite_begin(&compose, c->name);
  ln_tensor *y = ln_do1(b, LN_OP_square, ln_do2(b, LN_OP_sub, c->in[0], c->in[1]));
  if (how != NONE && y) y = how == SUM ? reduce(b, y) : ln_do(b, LN_OP_mean, &y, 1, &(ln_attrs){0});
  return ln_compose_end(&compose, y, &c->out[0]);
}
