/* reduce.c - sums, means, products, extremes and their indices, over any dims. What is made of these is a text in ops.def. */
#include "shape.h"

/* Output i of the call: x folded over the mask. */
static ln_tensor *fold_into(ln_rule *r, int i, ln_tensor *x, int kind, uint32_t mask, bool keepdim, int dtype) {
  int64_t shape[16];
  ln_fold fold;
  ln_tensor *y = x ? r_out(r, i, shape, ln_kept_shape(x, mask, keepdim, shape), dtype) : NULL;
  if (!y) return NULL;
  ln_fold_init(&fold, kind, x, mask, y, keepdim);
  return KERNEL(r, fold, &fold) ? y : NULL;
}

/* sum and prod: integers and bool are counted in int64 unless a dtype is asked for. */
static ln_tensor *accumulate(ln_rule *r, int kind, uint32_t mask, bool keepdim, int dtype) {
  ln_tensor *x = r->in[0];
  bool whole = !ln_is_float(dtype) && !ln_is_float(x->dtype) && dtype != LN_BOOL;
  bool widens = dtype == LN_FLOAT32 && ln_is_float(x->dtype) && x->dtype != LN_FLOAT64; /* sums are made in float32 or wider */
  if (dtype != x->dtype && !whole && !widens) x = r_dense(r, x, dtype);
  return fold_into(r, 0, x, kind, mask, keepdim, dtype);
}

static int counting_dtype(const ln_tensor *x) { return ln_is_float(x->dtype) ? x->dtype : LN_INT64; }

/* -- sum, mean, prod -- */

void sum_forward(ln_rule *r) {
  ARGS(sum);
  accumulate(r, LN_FOLD_SUM, r_dims(r, a_dim, input->ndim), r_bool(r, a_keepdim), r_dtype(r, a_dtype, counting_dtype(input)));
}

/* y *= factor, where nothing is recorded. */
static void scale(ln_rule *r, ln_tensor *y, double factor) {
  ln_tensor *const in[2] = {y, NULL};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_number(&attrs, 1, factor);
  if (y) r_status(r, ln_run(LN_OP_mul, in, 2, &attrs, true, NULL));
}

void mean_forward(ln_rule *r) {
  ARGS(mean);
  int dtype = r_dtype(r, a_dtype, input->dtype);
  if (!r_require(r, ln_is_float(dtype), "the mean of %s elements is no %s; convert with :float() or give a floating dtype",
                 ln_dtype_name(input->dtype), ln_dtype_name(dtype)))
    return;
  uint32_t mask = r_dims(r, a_dim, input->ndim);
  bool half = dtype == LN_FLOAT16 || dtype == LN_BFLOAT16; /* the sum may be beyond it where the mean is not */
  ln_tensor *y = accumulate(r, LN_FOLD_SUM, mask, r_bool(r, a_keepdim), half ? LN_FLOAT32 : dtype);
  scale(r, y, 1.0 / (double)ln_count_dims(input, mask));
  if (!half || !r_ok(r)) return;
  r->out[0] = NULL;
  r_result(r, 0, r_dense(r, r_own(r, y), dtype));
}

void prod_forward(ln_rule *r) {
  ARGS(prod);
  r->keep_in = r->keep_out = 1;
  accumulate(r, LN_FOLD_PROD, r_dims(r, a_dim, input->ndim), r_bool(r, a_keepdim), r_dtype(r, a_dtype, counting_dtype(input)));
}

static ln_tensor *do_prod(ln_rule *r, ln_tensor *x, uint32_t mask) {
  SLOTS(prod);
  ln_attrs attrs;
  int64_t dims[16];
  int n = 0;
  for (int i = 0; x && i < x->ndim; i++)
    if ((mask >> i) & 1) dims[n++] = i;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_dim, dims, n);
  ln_attrs_int(&attrs, a_keepdim, true);
  return !x ? NULL : n ? r_do(r, LN_OP_prod, &x, 1, &attrs) : x;
}

/* The product of all elements but one, for each: y / x, or where one element is 0 the product of the others there. */
static ln_tensor *products_of_others(ln_rule *r, ln_tensor *x, uint32_t mask) {
  ln_tensor *zero = r_number(r, LN_OP_eq, x, 0), *count = r_sum(r, zero, mask, true), *safe = r_where(r, zero, NULL, 1, x, 0);
  ln_tensor *rest = do_prod(r, safe, mask);
  ln_tensor *at_zero = count ? r_where(r, r_number(r, LN_OP_eq, count, 1), rest, 0, NULL, 0) : NULL;
  ln_tensor *elsewhere = r_do2(r, LN_OP_div, count ? r_where(r, r_number(r, LN_OP_eq, count, 0), rest, 0, NULL, 0) : NULL, safe);
  return r_where(r, zero, at_zero, 0, elsewhere, 0);
}

/* Products of all elements in front of each along the last dim, or behind each: doubled in reach log2(n) times, so that it can be differentiated. */
static ln_tensor *running_products(ln_rule *r, ln_tensor *x, bool behind) {
  SLOTS(cat);
  ln_attrs attrs;
  int last = x->ndim - 1;
  int64_t n = x->shape[last], shape[16];
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, last);
  memcpy(shape, x->shape, sizeof shape);
  for (int64_t reach = 0; x && (reach == 0 || reach < n); reach = reach ? 2 * reach : 1) { /* first moved by one, then multiplied with itself */
    int64_t step = reach ? reach : 1, from = behind ? step : 0;
    shape[last] = step < n ? step : n;
    ln_tensor *ones = r_zeros(r, shape, x->ndim, x->dtype), *kept = r_narrow(r, x, last, from < n ? from : n, n > step ? n - step : 0);
    ones = ones ? r_number(r, LN_OP_add, ones, 1) : NULL;
    ln_tensor *const parts[2] = {behind ? kept : ones, behind ? ones : kept};
    ln_tensor *moved = ones && kept ? r_do(r, LN_OP_cat, parts, 2, &attrs) : NULL;
    x = reach ? r_do2(r, LN_OP_mul, x, moved) : moved;
  }
  return x;
}

/* The same for a gradient that is differentiated again: right beside any number of zeros. */
static ln_tensor *products_of_others_any_order(ln_rule *r, ln_tensor *x, uint32_t mask) {
  int n = x->ndim, kept = 0, order[16], inverse[16];
  int64_t shape[16], permuted[16];
  for (int i = 0; i < n; i++)
    if (!((mask >> i) & 1)) order[kept++] = i;
  for (int i = 0, at = kept; i < n; i++)
    if ((mask >> i) & 1) order[at++] = i;
  for (int i = 0; i < n; i++) {
    inverse[order[i]] = i;
    shape[i] = permuted[i] = x->shape[order[i]];
  }
  shape[kept] = ln_count_dims(x, mask);
  ln_tensor *flat = r_reshape(r, r_permute(r, x, order, n), shape, kept + 1);
  if (!flat) return NULL;
  ln_tensor *others = r_do2(r, LN_OP_mul, running_products(r, flat, false), running_products(r, flat, true));
  return r_permute(r, r_reshape(r, others, permuted, n), inverse, n);
}

void prod_backward(ln_rule *r) {
  ARGS(prod);
  uint32_t mask = r_dims(r, a_dim, input->ndim);
  ln_tensor *g = r_spread(r, r->g[0], mask, input->ndim), *x = g ? r_to(r, input, g->dtype) : NULL;
  if (!x || x->ndim == 0 || x->numel == 0) {
    r_give(r, 0, g);
    return;
  }
  bool again = ln_mode_get() & LN_MODE_GRAD;
  r_give(r, 0, r_do2(r, LN_OP_mul, again ? products_of_others_any_order(r, x, mask) : products_of_others(r, x, mask), g));
}

/* -- Extremes -- */

static void extreme(ln_rule *r, int kind, uint32_t mask, bool keepdim) {
  ln_tensor *x = r->in[0];
  if (r_require(r, ln_count_dims(x, mask) > 0, "there is no extreme of no elements (shape %s)", ln_shape_text(x->shape, x->ndim)))
    fold_into(r, 0, x, kind, mask, keepdim, x->dtype);
}

static void extreme_over_dims(ln_rule *r, int kind) {
  ARGS(amax);
  extreme(r, kind, r_dims(r, a_dim, input->ndim), r_bool(r, a_keepdim));
}

void amax_forward(ln_rule *r) { extreme_over_dims(r, LN_FOLD_MAX); }
void amin_forward(ln_rule *r) { extreme_over_dims(r, LN_FOLD_MIN); }
void max_all_forward(ln_rule *r) { extreme(r, LN_FOLD_MAX, (1u << r->in[0]->ndim) - 1, false); }
void min_all_forward(ln_rule *r) { extreme(r, LN_FOLD_MIN, (1u << r->in[0]->ndim) - 1, false); }

/* The extreme along one dim (output 0) and its index (output 1). */
static void extreme_along(ln_rule *r, int kind, int index_kind) {
  ARGS(max_dim);
  int dim = r_dim(r, a_dim, input->ndim);
  uint32_t mask = input->ndim ? 1u << dim : 0;
  bool keepdim = r_bool(r, a_keepdim);
  if (!r_require(r, ln_count_dims(input, mask) > 0, "dim %d has no elements (shape %s)", dim, ln_shape_text(input->shape, input->ndim))) return;
  fold_into(r, 0, input, kind, mask, keepdim, input->dtype);
  fold_into(r, 1, input, index_kind, mask, keepdim, LN_INT64);
}

void max_dim_forward(ln_rule *r) { extreme_along(r, LN_FOLD_MAX, LN_FOLD_ARGMAX); }
void min_dim_forward(ln_rule *r) { extreme_along(r, LN_FOLD_MIN, LN_FOLD_ARGMIN); }

static void index_of(ln_rule *r, int kind) {
  ARGS(argmax);
  uint32_t mask = (1u << input->ndim) - 1;
  if (r_has(r, a_dim)) mask = input->ndim ? 1u << r_dim(r, a_dim, input->ndim) : (r_dim(r, a_dim, 0), 0);
  if (r_require(r, ln_count_dims(input, mask) > 0, "there is no index among no elements (shape %s)", ln_shape_text(input->shape, input->ndim)))
    fold_into(r, 0, input, kind, mask, r_bool(r, a_keepdim), LN_INT64);
}

void argmax_forward(ln_rule *r) { index_of(r, LN_FOLD_ARGMAX); }
void argmin_forward(ln_rule *r) { index_of(r, LN_FOLD_ARGMIN); }

/* -- Truth -- */

/* The result is bool, but for uint8, which once served as bool. */
static void truth(ln_rule *r, int kind) {
  ARGS(all);
  int dtype = input->dtype == LN_UINT8 ? LN_UINT8 : LN_BOOL;
  fold_into(r, 0, input, kind, r_dims(r, a_dim, input->ndim), r_bool(r, a_keepdim), dtype);
}

void all_forward(ln_rule *r) { truth(r, LN_FOLD_ALL); }
void any_forward(ln_rule *r) { truth(r, LN_FOLD_ANY); }

void count_nonzero_forward(ln_rule *r) {
  ARGS(count_nonzero);
  fold_into(r, 0, input, LN_FOLD_COUNT_NONZERO, r_dims(r, a_dim, input->ndim), false, LN_INT64);
}

/* -- cumsum -- */

void cumsum_forward(ln_rule *r) {
  ARGS(cumsum);
  int dim = r_dim(r, a_dim, input->ndim), dtype = r_dtype(r, a_dtype, counting_dtype(input));
  ln_tensor *x = r_dense(r, input, dtype), *y = r_new(r, input->shape, input->ndim, dtype);
  if (!r_ok(r)) return;
  ln_rows rows = ln_rows_along(x, dim);
  rows.reverse = r_bool(r, a_reverse);
  rows.x = x->data;
  rows.out = y->data;
  if (KERNEL(r, cumsum, &rows)) r_result(r, 0, y);
}
