/* count.c - how often values occur, and quantiles of them: bincount, histc, quantile, nanquantile. */
#include "index.h"

#include <math.h>

/* The extreme of a tensor as a number of the host. */
static bool extreme_of(ln_rule *r, int op, ln_tensor *x, double *number, int64_t *whole) {
  ln_tensor *y = r_do1(r, op, x);
  return y && r_status(r, ln_tensor_item(y, number, whole));
}

/* zeros[bins] with `weights` added at the places of index; all are vectors. */
static ln_tensor *tally(ln_rule *r, ln_tensor *index, ln_tensor *weights, int64_t bins, int dtype) {
  ln_tensor *zeros = r_zeros(r, &bins, 1, dtype);
  return r_indexed(r, LN_OP_scatter_add, zeros, 0, index, weights);
}

static ln_tensor *ones_like(ln_rule *r, const ln_tensor *x, int dtype) {
  ln_tensor *one = r_number(r, LN_OP_eq, r_zeros(r, NULL, 0, dtype), 0);
  return r_expand(r, one ? r_to(r, one, dtype) : NULL, x->shape, x->ndim);
}

void bincount_forward(ln_rule *r) {
  ARGS(bincount);
  int64_t bins = r_int(r, a_minlength), least = 0, most = -1;
  double number;
  if (!r_require(r, input->ndim == 1 && !ln_is_float(input->dtype) && input->dtype != LN_BOOL,
                 "a vector of whole numbers is needed, got %s of shape %s", ln_dtype_name(input->dtype), ln_shape_text(input->shape, input->ndim)) ||
      !r_require(r, bins >= 0, "minlength must not be negative, got %lld", (long long)bins) ||
      !r_require(r, !weights || ln_same_shape(weights, input), "weights must have the shape of input, %s, got %s",
                 ln_shape_text(input->shape, input->ndim), weights ? ln_shape_text(weights->shape, weights->ndim) : ""))
    return;
  ln_tensor *index = r_to(r, input, LN_INT64);
  if (input->numel > 0 && index && !(extreme_of(r, LN_OP_min_all, index, &number, &least) && extreme_of(r, LN_OP_max_all, index, &number, &most)))
    return;
  if (!r_require(r, least >= 0, "the numbers must not be negative, the least is %lld", (long long)least)) return;
  bins = most + 1 > bins ? most + 1 : bins;
  int dtype = !weights ? LN_INT64 : weights->dtype == LN_FLOAT32 ? LN_FLOAT32 : LN_FLOAT64;
  if (index) r_result(r, 0, tally(r, index, weights ? r_to(r, weights, dtype) : ones_like(r, index, dtype), bins, dtype));
}

void histc_forward(ln_rule *r) {
  ARGS(histc);
  int64_t bins = r_int(r, a_bins), whole;
  double low = r_float(r, a_min), high = r_float(r, a_max);
  ln_tensor *x = r_reshape(r, input, &input->numel, 1);
  if (!r_require(r, bins > 0, "bins must be above 0, got %lld", (long long)bins) || !x) return;
  if (low == high && x->numel > 0 && !(extreme_of(r, LN_OP_min_all, x, &low, &whole) && extreme_of(r, LN_OP_max_all, x, &high, &whole))) return;
  if (!r_require(r, isfinite(low) && isfinite(high) && low <= high, "the range from %g to %g is not finite and rising", low, high)) return;
  if (low == high) low -= 1, high += 1;
  ln_tensor *inside = r_do2(r, LN_OP_logical_and, r_number(r, LN_OP_ge, x, low), r_number(r, LN_OP_le, x, high));
  ln_tensor *place = r_number(r, LN_OP_mul, r_number(r, LN_OP_sub, r_where(r, inside, x, 0, NULL, low), low), (double)bins / (high - low));
  ln_tensor *index = r_whole(r, LN_OP_clamp_max, place ? r_to(r, place, LN_INT64) : NULL, bins - 1);
  r_result(r, 0, tally(r, index, inside ? r_to(r, inside, x->dtype) : NULL, bins, x->dtype));
}

/* -- Quantiles -- */

enum { LINEAR, LOWER, HIGHER, MIDPOINT, NEAREST };

/* The elements at fractional ranks along the last dim. */
static ln_tensor *at_ranks(ln_rule *r, ln_tensor *sorted, ln_tensor *rank, int mode) {
  static const int rounding[] = {
    [LINEAR] = LN_OP_floor, [LOWER] = LN_OP_floor, [HIGHER] = LN_OP_ceil, [MIDPOINT] = LN_OP_floor, [NEAREST] = LN_OP_round};
  ln_tensor *place = r_do1(r, rounding[mode], rank), *first;
  first = r_indexed(r, LN_OP_gather, sorted, -1, place ? r_to(r, place, LN_INT64) : NULL, NULL);
  if (mode != LINEAR && mode != MIDPOINT) return first;
  ln_tensor *next = r_do1(r, LN_OP_ceil, rank), *weight = mode == LINEAR ? r_do2(r, LN_OP_sub, rank, place) : NULL;
  ln_tensor *second = r_indexed(r, LN_OP_gather, sorted, -1, next ? r_to(r, next, LN_INT64) : NULL, NULL);
  ln_tensor *const in[3] = {first, second, weight};
  ln_attrs half;
  ln_attrs_begin(&half);
  ln_attrs_number(&half, 2, 0.5);
  return r_ok(r) ? r_do(r, LN_OP_lerp, in, 3, &half) : NULL;
}

/* The ranks of the quantiles in rows of n elements, of which `count` are numbers [..., 1]. A row with a NaN has it last, and so as its quantile. */
static ln_tensor *ranks_of(ln_rule *r, ln_tensor *q, ln_tensor *count, int64_t n, bool skips_nan) {
  ln_tensor *last = count ? r_to(r, r_number(r, LN_OP_sub, count, 1), q->dtype) : NULL;
  if (skips_nan) return r_do2(r, LN_OP_mul, r_number(r, LN_OP_clamp_min, last, 0), q);
  ln_tensor *rank = r_number(r, LN_OP_mul, q, (double)(n - 1));
  return r_where(r, r_number(r, LN_OP_eq, last, (double)(n - 1)), rank, 0, NULL, (double)(n - 1));
}

static ln_tensor *count_numbers(ln_rule *r, ln_tensor *x) {
  ln_tensor *good = r_do1(r, LN_OP_logical_not, r_do1(r, LN_OP_isnan, x));
  return good ? r_sum(r, good, 1u << (x->ndim - 1), true) : NULL;
}

static ln_tensor *quantile_points(ln_rule *r, ln_tensor *given, int slot, int dtype) {
  double value;
  int64_t whole, one = 1;
  if (given &&
      (!r_require(r, given->ndim <= 1, "q must be a number or a vector, got shape %s", ln_shape_text(given->shape, given->ndim)) ||
       !r_require(r, given->dtype == dtype, "q must have the dtype of input, %s, got %s", ln_dtype_name(dtype), ln_dtype_name(given->dtype))))
    return NULL;
  ln_tensor *q = given;
  if (!q && ((q = r_new(r, NULL, 0, dtype)) == NULL || !r_status(r, ln_fill_number(q, r_is_whole(r, slot), &r->attrs->slot[slot])))) return NULL;
  for (int k = 0; k < 2 && q->numel > 0; k++) {
    if (!extreme_of(r, k ? LN_OP_max_all : LN_OP_min_all, q, &value, &whole) ||
        !r_require(r, value >= 0 && value <= 1, "q must lie between 0 and 1, got %g", value))
      return NULL;
  }
  return q->ndim ? q : r_reshape(r, q, &one, 1);
}

static void quantiles(ln_rule *r, bool skips_nan) {
  ARGS(quantile);
  int dim = 0, last;
  bool all = !r_has(r, a_dim), keep = r_bool(r, a_keepdim);
  if (!r_require(r, input->dtype == LN_FLOAT32 || input->dtype == LN_FLOAT64, "input must be float32 or float64, got %s",
                 ln_dtype_name(input->dtype)) ||
      !r_require(r, input->numel > 0, "there is no quantile of no elements (shape %s)", ln_shape_text(input->shape, input->ndim)))
    return;
  ln_tensor *x = all || input->ndim == 0 ? r_reshape(r, input, &input->numel, 1) : input, *q_points = quantile_points(r, q, a_q, input->dtype);
  if (!all) dim = r_dim(r, a_dim, input->ndim);
  if (!r_ok(r)) return;
  last = x->ndim - 1;
  x = r_transpose(r, x, dim, last);
  ln_tensor *sorted = r_do1(r, LN_OP_sort, x), *rank = x ? ranks_of(r, q_points, count_numbers(r, x), x->shape[last], skips_nan) : NULL;
  if (!rank || !sorted) return;
  int64_t shape[17], lines[16];
  memcpy(lines, x->shape, sizeof lines);
  lines[last] = q_points->numel;
  ln_tensor *y = r_transpose(r, at_ranks(r, sorted, r_expand(r, rank, lines, x->ndim), (int)r_int(r, a_interpolation)), dim, last);
  int order[16] = {dim}, n = 0, vector = q && q->ndim == 1;
  for (int i = 0, k = 1; i <= last; i++)
    if (i != dim) order[k++] = i;
  if (vector) shape[n++] = q_points->numel;
  for (int i = 0; i < input->ndim; i++)
    if (keep || (!all && i != dim)) shape[n++] = all || i == dim ? 1 : input->shape[i];
  r_result(r, 0, r_reshape(r, r_permute(r, y, order, last + 1), shape, n));
}

void quantile_forward(ln_rule *r) { quantiles(r, false); }
void nanquantile_forward(ln_rule *r) { quantiles(r, true); }
