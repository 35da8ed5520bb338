/* loss.c - negative log likelihood, cross entropy, margins between labels and other classes. */
#include "index.h"

enum reduction { NONE, MEAN, SUM };

/* Where the classes of x lie, and the shape of its targets. */
static bool classes(ln_rule *r, const ln_tensor *x, const ln_tensor *target, int *dim, int64_t *rest, int *n_rest) {
  if (!r_require(r, x->ndim > 0, "input needs a dimension of classes")) return false;
  *dim = x->ndim > 1;
  *n_rest = 0;
  for (int i = 0; i < x->ndim; i++)
    if (i != *dim) rest[(*n_rest)++] = x->shape[i];
  return r_require(r, target->ndim == *n_rest && ln_same_dims(target->shape, rest, *n_rest), "input of shape %s needs targets of shape %s, got %s",
                   ln_shape_text(x->shape, x->ndim), ln_shape_text(rest, *n_rest), ln_shape_text(target->shape, target->ndim));
}

/* Targets with class 0 in place of ignored ones, checked. */
static ln_tensor *usable_targets(ln_rule *r, ln_tensor *target, ln_tensor *ignored, int64_t n_classes) {
  ln_tensor *const in[3] = {ignored, NULL, target};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_whole(&attrs, 1, 0);
  ln_tensor *usable = ignored ? r_do(r, LN_OP_where, in, 3, &attrs) : NULL;
  return r_check(r, usable, (ln_violation){.kind = LN_CHECK_CLASS, .dim = 1, .size = n_classes}, 0, n_classes) ? usable : NULL;
}

/* The weight of each target: its class's, 0 where it is ignored. */
static ln_tensor *target_weights(ln_rule *r, ln_tensor *weight, ln_tensor *usable, ln_tensor *ignored, int dtype) {
  if (!usable) return NULL;
  if (!weight) return r_to(r, r_do1(r, LN_OP_logical_not, ignored), dtype);
  ln_tensor *w = r_indexed(r, LN_OP_index_select, weight, 0, r_reshape(r, usable, &usable->numel, 1), NULL);
  w = r_reshape(r, w, usable->shape, usable->ndim);
  return w ? r_where(r, ignored, NULL, 0, w, 0) : NULL;
}

static ln_tensor *sum_of_all(ln_rule *r, ln_tensor *t) { return t ? r_sum(r, t, (1u << t->ndim) - 1, false) : NULL; }

/* Kept for backward: the index of each target, and the share that it has in the result. */
void nll_loss_forward(ln_rule *r) {
  ARGS(nll_loss);
  int64_t rest[16], line[16];
  int dim, n_rest, how = (int)r_int(r, a_reduction);
  if (!r_require(r, target->dtype == LN_INT64, "targets must be int64 classes, got %s (make them with lt.LongTensor or :long())",
                 ln_dtype_name(target->dtype)) ||
      !classes(r, input, target, &dim, rest, &n_rest) || !r_check_vector(r, "weight", weight, input->shape[dim], "classes"))
    return;
  memcpy(line, input->shape, sizeof line);
  line[dim] = 1;
  ln_tensor *ignored = r_whole(r, LN_OP_eq, target, r_int(r, a_ignore_index));
  ln_tensor *usable = usable_targets(r, target, ignored, input->shape[dim]);
  ln_tensor *w = target_weights(r, weight, usable, ignored, input->dtype), *index = r_keep(r, 0, r_reshape(r, usable, line, input->ndim));
  ln_tensor *picked = r_reshape(r, r_indexed(r, LN_OP_gather, input, dim, index, NULL), rest, n_rest);
  ln_tensor *y = r_do1(r, LN_OP_neg, r_do2(r, LN_OP_mul, picked, w));
  y = y ? r_where(r, ignored, NULL, 0, y, 0) : NULL;
  if (how != NONE) y = sum_of_all(r, y);
  if (how == MEAN) {
    ln_tensor *total = sum_of_all(r, w), *nothing = total ? r_number(r, LN_OP_eq, total, 0) : NULL;
    y = r_do2(r, LN_OP_div, y, total);
    w = r_do2(r, LN_OP_div, w, nothing ? r_where(r, nothing, NULL, 1, total, 0) : NULL); /* where all are ignored no share is infinite */
  }
  r_keep(r, 1, w);
  r_result(r, 0, y);
}

/* -- label_margins -- */

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

static bool begin_margins(ln_rule *r, ln_label_margin *w) {
  ARGS(label_margins);
  if (!r_check_ndim(r, "input", input, 2) ||
      !r_require(r, target->dtype == LN_INT64 && ln_same_shape(input, target), "target must hold int64 labels in the shape %s, got %s of shape %s",
                 ln_shape_text(input->shape, 2), ln_dtype_name(target->dtype), ln_shape_text(target->shape, target->ndim)))
    return false;
  *w = (ln_label_margin){.dtype = compute_dtype(input->dtype), .rows = input->shape[0], .classes = input->shape[1]};
  return r_check(r, target, (ln_violation){.kind = LN_CHECK_CLASS, .dim = 1, .size = w->classes}, INT64_MIN, w->classes);
}

/* Kept for backward: which classes of each row are no label. */
void label_margins_forward(ln_rule *r) {
  ARGS(label_margins);
  ln_label_margin w;
  if (!begin_margins(r, &w)) return;
  ln_tensor *x = r_dense(r, input, w.dtype), *t = r_dense(r, target, LN_INT64), *y = r_new(r, &w.rows, 1, w.dtype);
  ln_tensor *others = r_keep(r, 0, r_new(r, input->shape, 2, LN_UINT8));
  r->keep_in |= 3; /* the fused gradient reads both */
  if (!r_ok(r)) return;
  w.x = x->data;
  w.targets = (const int64_t *)t->data;
  w.others = (uint8_t *)others->data;
  w.y = y->data;
  if (input->numel > 0)
    KERNEL(r, label_margin, &w);
  else
    r_status(r, ln_zero(y));
  r_result(r, 0, r_to(r, y, input->dtype));
}

void label_margins_backward(ln_rule *r) {
  ARGS(label_margins);
  ln_label_margin w;
  if (!begin_margins(r, &w)) return;
  ln_tensor *x = r_dense(r, input, w.dtype), *t = r_dense(r, target, LN_INT64), *dy = r_dense(r, r->g[0], w.dtype);
  ln_tensor *dx = r_new(r, input->shape, 2, w.dtype);
  if (!r_ok(r)) return;
  w.x = x->data;
  w.targets = (const int64_t *)t->data;
  w.others = (uint8_t *)r->extra[0]->data;
  w.dy = dy->data;
  w.dx = dx->data;
  if (input->numel > 0) KERNEL(r, label_margin_dx, &w);
  r_give(r, 0, dx);
}

/* -- cross_entropy: log_softmax, then one of three ways -- */

static ln_tensor *log_softmax(ln_rule *r, ln_tensor *x, int dim) {
  SLOTS(log_softmax);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  return r_do(r, LN_OP_log_softmax, &x, 1, &attrs);
}

static ln_tensor *do_nll(ln_rule *r, ln_tensor *log_p, ln_tensor *target, ln_tensor *weight, int64_t ignore, int how) {
  SLOTS(nll_loss);
  ln_tensor *const in[3] = {log_p, target, weight};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_ignore_index, ignore);
  ln_attrs_int(&attrs, a_reduction, how);
  return log_p ? r_do(r, LN_OP_nll_loss, in, 3, &attrs) : NULL;
}

/* - sum over classes of weight * log_p */
static ln_tensor *over_classes(ln_rule *r, ln_tensor *log_p, ln_tensor *weight, int dim) {
  int64_t shape[16];
  for (int i = 0; log_p && i < log_p->ndim; i++) shape[i] = i == dim ? log_p->shape[dim] : 1;
  if (weight && log_p) log_p = r_do2(r, LN_OP_mul, log_p, r_reshape(r, weight, shape, log_p->ndim));
  return r_do1(r, LN_OP_neg, r_sum(r, log_p, 1u << dim, false));
}

static ln_tensor *with_smoothing(ln_rule *r, ln_tensor *log_p, int dim, double smoothing, int how) {
  ARGS(cross_entropy);
  int64_t ignore = r_int(r, a_ignore_index), n = input->shape[dim];
  ln_tensor *hard = do_nll(r, log_p, target, weight, ignore, how);
  ln_tensor *ignored = r_whole(r, LN_OP_eq, target, ignore), *soft = over_classes(r, log_p, weight, dim);
  soft = ignored && soft ? r_where(r, ignored, NULL, 0, soft, 0) : NULL;
  if (how != NONE) soft = sum_of_all(r, soft);
  if (how == MEAN)
    soft = r_do2(r, LN_OP_div, soft, sum_of_all(r, target_weights(r, weight, usable_targets(r, target, ignored, n), ignored, input->dtype)));
  return r_do2(r, LN_OP_add, r_number(r, LN_OP_mul, hard, 1 - smoothing), r_number(r, LN_OP_mul, soft, smoothing / (double)n));
}

static ln_tensor *with_probabilities(ln_rule *r, ln_tensor *log_p, int dim, double smoothing, int how) {
  ARGS(cross_entropy);
  ln_tensor *p = r_to(r, target, input->dtype);
  double n = (double)input->shape[dim];
  if (smoothing > 0) p = r_number(r, LN_OP_add, r_number(r, LN_OP_mul, p, 1 - smoothing), smoothing / n);
  ln_tensor *y = over_classes(r, r_do2(r, LN_OP_mul, log_p, p), weight, dim);
  if (how != NONE) y = sum_of_all(r, y);
  double rows = (double)ln_count_dims(input, ((1u << input->ndim) - 1) & ~(1u << dim));
  return how == MEAN ? r_number(r, LN_OP_mul, y, 1 / rows) : y;
}

void cross_entropy_forward(ln_rule *r) {
  ARGS(cross_entropy);
  int how = (int)r_int(r, a_reduction), dim = input->ndim > 1, n_rest;
  double smoothing = r_float(r, a_label_smoothing);
  bool probabilities = ln_is_float(target->dtype) && ln_same_shape(input, target);
  int64_t rest[16];
  if (!r_require(r, smoothing >= 0 && smoothing <= 1, "label_smoothing must lie between 0 and 1, got %g", smoothing) ||
      !r_require(r, probabilities || target->dtype == LN_INT64,
                 "targets must be int64 classes (make them with lt.LongTensor or :long()) or probabilities of input's shape %s, got %s of shape %s",
                 ln_shape_text(input->shape, input->ndim), ln_dtype_name(target->dtype), ln_shape_text(target->shape, target->ndim)) ||
      (!probabilities && !classes(r, input, target, &dim, rest, &n_rest)) || !r_require(r, input->ndim > 0, "input needs a dimension of classes") ||
      !r_check_vector(r, "weight", weight, input->shape[dim], "classes"))
    return;
  ln_tensor *log_p = log_softmax(r, input, dim), *y;
  if (probabilities)
    y = with_probabilities(r, log_p, dim, smoothing, how);
  else
    y = smoothing > 0 ? with_smoothing(r, log_p, dim, smoothing, how) : do_nll(r, log_p, target, weight, r_int(r, a_ignore_index), how);
  r_result(r, 0, y);
}
