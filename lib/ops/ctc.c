/* ctc.c - connectionist temporal classification: what fits what, the lengths and labels of the sequences, and the mean over them. */
#include "shape.h"

enum reduction { NONE, MEAN, SUM };

/* What all three rules are given. The lengths are on the host; `plan` has on the device, for each sequence, its steps, its labels, and where in the
 * targets they begin. */
typedef struct ctc {
  ln_tensor *log_probs, *targets, *input_lengths, *target_lengths;
  ln_tensor *plan;
  int64_t longest; /* most labels of a sequence */
} ctc;

static bool check_length(ln_rule *r, const char *what, const ln_tensor *lengths, int64_t batch) {
  return r_require(r,
                   lengths->dtype == LN_INT64 && lengths->device == LN_CPU && (lengths->ndim < 2) && (lengths->numel < 2 || lengths->stride[0] == 1),
                   "%s must be a contiguous int64 vector on the cpu", what) &&
         r_require(r, lengths->numel == batch, "%s must have a number for each of %lld sequences, got shape %s", what, (long long)batch,
                   ln_shape_text(lengths->shape, lengths->ndim));
}

/* All lie between 0 and `most`. */
static bool check_range(ln_rule *r, const char *what, const ln_tensor *lengths, int64_t most, const char *unit) {
  const int64_t *n = (const int64_t *)lengths->data;
  for (int64_t b = 0; b < lengths->numel; b++)
    if (!r_require(r, n[b] >= 0 && n[b] <= most, "%s must lie between 0 and %lld, the %s, got %lld for sequence %lld", what, (long long)most, unit,
                   (long long)n[b], (long long)b))
      return false;
  return true;
}

static bool check_targets(ln_rule *r, const ctc *c, int64_t batch) {
  const int64_t *n = (const int64_t *)c->target_lengths->data;
  const ln_tensor *t = c->targets;
  if (!r_require(r, t->dtype == LN_INT64, "targets must be int64 labels, got %s (make them with lt.LongTensor or :long())",
                 ln_dtype_name(t->dtype)) ||
      !r_require(r, t->device == c->log_probs->device, "log_probs and targets must be on one device") ||
      !r_require(r, t->ndim == 1 || (t->ndim == 2 && t->shape[0] == batch),
                 "targets must have the shape {N, S} of %lld sequences, or hold the labels of all one after another, got shape %s", (long long)batch,
                 ln_shape_text(t->shape, t->ndim)))
    return false;
  if (t->ndim == 2) return check_range(r, "target_lengths", c->target_lengths, t->shape[1], "width of targets");
  if (!check_range(r, "target_lengths", c->target_lengths, t->numel, "number of targets")) return false;
  int64_t total = 0;
  for (int64_t b = 0; b < batch; b++) total += n[b];
  return r_require(r, total == t->numel, "target_lengths add up to %lld, but targets of one dimension hold %lld labels", (long long)total,
                   (long long)t->numel);
}

static bool check_ctc(ln_rule *r, const ctc *c, int64_t blank) {
  const ln_tensor *x = c->log_probs;
  if (!r_require(r, x->dtype == LN_FLOAT32 || x->dtype == LN_FLOAT64, "log_probs must be float32 or float64, got %s (convert it with :float())",
                 ln_dtype_name(x->dtype)) ||
      !r_require(r, x->ndim == 3, "log_probs must have 3 dimensions, {T, N, C}, or 2 without a batch, got shape %s",
                 ln_shape_text(x->shape, x->ndim)) ||
      !r_require(r, x->numel > 0, "log_probs must not be empty, got shape %s", ln_shape_text(x->shape, x->ndim)) ||
      !r_require(r, blank >= 0 && blank < x->shape[2], "blank must be one of the classes 0 to %lld, got %lld", (long long)x->shape[2] - 1,
                 (long long)blank))
    return false;
  return check_length(r, "input_lengths", c->input_lengths, x->shape[1]) && check_length(r, "target_lengths", c->target_lengths, x->shape[1]) &&
         check_range(r, "input_lengths", c->input_lengths, x->shape[0], "steps of log_probs") && check_targets(r, c, x->shape[1]);
}

/* t, which is on the host, on the rule's device. */
static ln_tensor *delivered(ln_rule *r, ln_tensor *t) {
  if (!t || r->device == LN_CPU) return t;
  ln_tensor *there = r_new(r, t->shape, t->ndim, t->dtype);
  return r_copy(r, there, t) ? there : NULL;
}

static void make_plan(ln_rule *r, ctc *c) {
  const int64_t batch = c->log_probs->shape[1], shape[2] = {3, batch};
  const int64_t *labels = (const int64_t *)c->target_lengths->data;
  ln_tensor *plan = NULL;
  if (!r_ok(r) || !r_status(r, ln_new(shape, 2, LN_INT64, LN_CPU, &plan)) || !r_own(r, plan)) return;
  int64_t *row = (int64_t *)plan->data, first = 0;
  memcpy(row, c->input_lengths->data, (size_t)batch * sizeof *row);
  memcpy(row + batch, labels, (size_t)batch * sizeof *row);
  c->longest = 0;
  for (int64_t b = 0; b < batch; b++) {
    row[2 * batch + b] = c->targets->ndim == 2 ? b * c->targets->shape[1] : first;
    first += labels[b];
    c->longest = labels[b] > c->longest ? labels[b] : c->longest;
  }
  c->plan = delivered(r, plan);
}

/* The labels, in row-major memory; padding, which may be anything, is blank. */
static void make_labels(ln_rule *r, ctc *c, int64_t blank) {
  SLOTS(arange);
  if (c->targets->ndim == 2 && c->plan) {
    ln_attrs attrs;
    ln_attrs_begin(&attrs);
    ln_attrs_float(&attrs, a_start, 0);
    ln_attrs_float(&attrs, a_end, (double)c->targets->shape[1]);
    ln_attrs_int(&attrs, a_dtype, LN_INT64);
    ln_attrs_int(&attrs, a_device, r->device);
    ln_tensor *column = r_select(r, c->plan, 0, 1), *place = r_do(r, LN_OP_arange, NULL, 0, &attrs);
    ln_tensor *real = column ? r_do2(r, LN_OP_lt, place, r_reshape(r, column, (const int64_t[2]){column->numel, 1}, 2)) : NULL;
    c->targets = real ? r_where(r, real, c->targets, 0, NULL, (double)blank) : NULL;
  }
  c->targets = r_dense(r, c->targets, LN_INT64);
  r_check(r, c->targets, (ln_violation){.kind = LN_CHECK_CLASS, .dim = 1, .size = c->log_probs->shape[2]}, 0, c->log_probs->shape[2]);
}

/* Strides of [T, N, C] whose classes lie one after another. */
static ln_tensor *with_close_classes(ln_rule *r, ln_tensor *x) { return x && x->stride[2] != 1 && x->shape[2] != 1 ? r_dense(r, x, x->dtype) : x; }

static bool begin(ln_rule *r, ctc *c, int64_t blank, bool zero_infinity, ln_ctc *w) {
  if (!check_ctc(r, c, blank)) return false;
  make_plan(r, c);
  make_labels(r, c, blank);
  ln_tensor *x = with_close_classes(r, c->log_probs);
  const int64_t batch = c->log_probs->shape[1], width = LN_CTC_MARGIN + 2 * c->longest + 1;
  ln_tensor *room = r_new(r, (const int64_t[2]){batch, LN_CTC_ROOM * width}, 2, LN_FLOAT64);
  if (!r_ok(r)) return false;
  const int64_t *plan = (const int64_t *)c->plan->data;
  *w = (ln_ctc){.dtype = x->dtype,
                .zero_infinity = zero_infinity,
                .steps = x->shape[0],
                .batch = batch,
                .classes = x->shape[2],
                .blank = blank,
                .width = width,
                .targets = (const int64_t *)c->targets->data,
                .input_lengths = plan,
                .target_lengths = plan + batch,
                .first = plan + 2 * batch,
                .x = x->data,
                .x_step = x->stride[0],
                .x_batch = x->stride[1],
                .room = (double *)room->data};
  return true;
}

/* Kept for backward: alpha. */
void ctc_losses_forward(ln_rule *r) {
  ARGS(ctc_losses);
  ctc c = {log_probs, targets, input_lengths, target_lengths, NULL, 0};
  ln_ctc w;
  if (!begin(r, &c, r_int(r, a_blank), r_bool(r, a_zero_infinity), &w)) return;
  ln_tensor *alpha = r_keep(r, 0, r_new(r, (const int64_t[3]){w.batch, w.steps, w.width}, 3, w.dtype)), *y = r_out(r, 0, &w.batch, 1, w.dtype);
  if (!alpha || !y) return;
  w.alpha = alpha->data;
  w.loss = y->data;
  KERNEL(r, ctc, &w);
}

void ctc_losses_dx_forward(ln_rule *r) {
  ARGS(ctc_losses_dx);
  ctc c = {log_probs, targets, input_lengths, target_lengths, NULL, 0};
  ln_ctc w;
  if (!begin(r, &c, r_int(r, a_blank), r_bool(r, a_zero_infinity), &w)) return;
  const int64_t shape[3] = {w.batch, w.steps, w.width};
  if (!r_require(r, alpha->ndim == 3 && ln_same_dims(alpha->shape, shape, 3) && alpha->device == r->device, "alpha must have the shape %s",
                 ln_shape_text(shape, 3)) ||
      !r_require(r, dy->ndim == 1 && dy->shape[0] == w.batch && dy->device == r->device, "dy must have the shape %s", ln_shape_text(shape, 1)))
    return;
  ln_tensor *g = r_dense(r, dy, w.dtype), *kept = r_dense(r, alpha, w.dtype);
  ln_tensor *dx =
    ln_is_dense(log_probs) && log_probs->stride[2] == 1 ? r_out_like(r, 0, log_probs, w.dtype) : r_out(r, 0, log_probs->shape, 3, w.dtype);
  if (!r_ok(r)) return;
  w.alpha = kept->data;
  w.dloss = g->data;
  w.dx = dx->data;
  w.dx_step = dx->stride[0];
  w.dx_batch = dx->stride[1];
  KERNEL(r, ctc_dx, &w);
}

void ctc_losses_dx_backward(ln_rule *r) { r_fail(r, "the gradient of ctc_loss cannot be differentiated again"); }

/* -- The loss of a batch, or of one sequence -- */

static ln_tensor *losses(ln_rule *r, ln_tensor *x, ln_tensor *const *others, int64_t blank, bool zero_infinity) {
  SLOTS(ctc_losses);
  ln_tensor *const in[4] = {x, others[0], others[1], others[2]};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_blank, blank);
  ln_attrs_int(&attrs, a_zero_infinity, zero_infinity);
  return x ? r_do(r, LN_OP_ctc_losses, in, 4, &attrs) : NULL;
}

/* The number of labels of each sequence, 1 at least, in y's dtype and on its device. */
static ln_tensor *divisors(ln_rule *r, const ln_tensor *lengths, const ln_tensor *y) {
  ln_tensor *n = NULL;
  if (!y || !r_status(r, ln_new(y->shape, 1, y->dtype, LN_CPU, &n)) || !r_own(r, n)) return NULL;
  for (int64_t b = 0; b < y->numel; b++) {
    int64_t length = ((const int64_t *)lengths->data)[b];
    if (length < 1) length = 1;
    if (n->dtype == LN_FLOAT64)
      ((double *)n->data)[b] = (double)length;
    else
      ((float *)n->data)[b] = (float)length;
  }
  return delivered(r, n);
}

void ctc_loss_forward(ln_rule *r) {
  ARGS(ctc_loss);
  int how = (int)r_int(r, a_reduction);
  bool alone = log_probs->ndim == 2;
  const int64_t shape[3] = {alone ? log_probs->shape[0] : 0, 1, alone ? log_probs->shape[1] : 0};
  ln_tensor *x = alone ? r_reshape(r, log_probs, shape, 3) : log_probs, *const others[3] = {targets, input_lengths, target_lengths};
  ln_tensor *y = losses(r, x, others, r_int(r, a_blank), r_bool(r, a_zero_infinity));
  if (how == MEAN) y = r_do2(r, LN_OP_div, y, divisors(r, target_lengths, y));
  double batch = y ? (double)y->numel : 1;
  if (how != NONE) y = y ? r_sum(r, y, 1, false) : NULL;
  if (how == MEAN) y = r_number(r, LN_OP_div, y, batch);
  r_result(r, 0, alone && how == NONE ? r_reshape(r, y, NULL, 0) : y);
}
