/* order.c - rows in order and what is read off them: sort, topk, kthvalue, the medians, mode, quantiles; and places in sorted rows. */
#include "index.h"

#include <math.h>

/* -- Rows in order -- */

typedef struct wish {
  int dim;
  bool descending;
  int64_t from, count; /* places of the order */
} wish;

/* The elements at those places along dim, and where they stood: into values and indices, of x's size but along dim, or NULL. */
static void put_in_order(ln_rule *r, ln_tensor *x, wish w, ln_tensor *values, ln_tensor *indices) {
  ln_tensor *dense = r_dense(r, x, x->dtype);
  if (!r_ok(r)) return;
  ln_rows rows = ln_rows_along(dense, w.dim);
  ln_order work = {
    .dtype = x->dtype, .descending = w.descending, .outer = rows.outer, .size = rows.size, .inner = rows.inner, .from = w.from, .count = w.count};
  work.x = dense->data;
  work.values = values ? values->data : NULL;
  work.indices = indices ? (int64_t *)indices->data : NULL;
  KERNEL(r, sort, &work);
}

static int64_t size_along(const ln_tensor *x, int dim) { return x->ndim ? x->shape[dim] : 1; }

/* New tensors for `count` elements along dim; the dim goes where it is of one and need not stay. */
static bool make_pair(ln_rule *r, const ln_tensor *x, int dim, int64_t count, bool keep, ln_tensor **values, ln_tensor **indices) {
  int64_t shape[16];
  int ndim = x->ndim;
  memcpy(shape, x->shape, sizeof shape);
  if (ndim) shape[dim] = count;
  if (ndim && !keep) ndim = ln_kept_shape(x, 1u << dim, false, shape);
  *values = r_new(r, shape, ndim, x->dtype);
  *indices = r_new(r, shape, ndim, LN_INT64);
  return r_ok(r);
}

static void give_pair(ln_rule *r, ln_tensor *values, ln_tensor *indices) {
  r_result(r, 0, values);
  r_result(r, 1, indices);
}

void sort_forward(ln_rule *r) {
  ARGS(sort);
  ln_tensor *values, *indices;
  int dim = r_dim(r, a_dim, input->ndim);
  int64_t n = size_along(input, dim);
  if (!r_ok(r) || !make_pair(r, input, dim, n, true, &values, &indices)) return;
  put_in_order(r, input, (wish){dim, r_bool(r, a_descending), 0, n}, values, indices);
  give_pair(r, values, indices);
}

void argsort_forward(ln_rule *r) {
  ARGS(argsort);
  int dim = r_dim(r, a_dim, input->ndim);
  ln_tensor *indices = r_new(r, input->shape, input->ndim, LN_INT64);
  if (!indices) return;
  put_in_order(r, input, (wish){dim, r_bool(r, a_descending), 0, size_along(input, dim)}, NULL, indices);
  r_result(r, 0, indices);
}

void topk_forward(ln_rule *r) {
  ARGS(topk);
  ln_tensor *values, *indices;
  int dim = r_dim(r, a_dim, input->ndim);
  int64_t k = r_int(r, a_k), n = size_along(input, dim);
  if (!r_require(r, k >= 0 && k <= n, "k is %lld, the size along dimension %d of shape %s is %lld", (long long)k, dim,
                 ln_shape_text(input->shape, input->ndim), (long long)n) ||
      !make_pair(r, input, dim, k, true, &values, &indices))
    return;
  put_in_order(r, input, (wish){dim, r_bool(r, a_largest), 0, input->ndim ? k : 1}, values, indices);
  give_pair(r, values, indices);
}

void kthvalue_forward(ln_rule *r) {
  ARGS(kthvalue);
  ln_tensor *values, *indices;
  int dim = r_dim(r, a_dim, input->ndim);
  int64_t k = r_int(r, a_k), n = size_along(input, dim);
  if (!r_require(r, k >= 1 && k <= n, "k is %lld, which is not from 1 to the size along dimension %d of shape %s, %lld", (long long)k, dim,
                 ln_shape_text(input->shape, input->ndim), (long long)n) ||
      !make_pair(r, input, dim, 1, r_bool(r, a_keepdim), &values, &indices))
    return;
  put_in_order(r, input, (wish){dim, false, k - 1, 1}, values, indices);
  give_pair(r, values, indices);
}

/* -- Medians -- */

/* A reduction along one dim, which stays. */
static ln_tensor *reduced(ln_rule *r, int op, ln_tensor *x, int dim) {
  ln_attrs attrs;
  int64_t d = dim;
  ln_attrs_begin(&attrs);
  if (op == LN_OP_argmax)
    ln_attrs_int(&attrs, 0, d);
  else
    ln_attrs_ints(&attrs, 0, &d, 1);
  ln_attrs_int(&attrs, 1, true);
  return x && x->ndim ? r_do(r, op, &x, 1, &attrs) : x && op == LN_OP_argmax ? r_zeros(r, NULL, 0, LN_INT64) : x;
}

static ln_tensor *whole_where(ln_rule *r, ln_tensor *condition, ln_tensor *yes, ln_tensor *no) {
  ln_tensor *const in[3] = {condition, yes, no};
  return condition && yes && no ? r_do(r, LN_OP_where, in, 3, NULL) : NULL;
}

/* How many elements along dim are numbers, as int64; the dim stays. */
static ln_tensor *numbers_along(ln_rule *r, ln_tensor *x, int dim) {
  ln_tensor *good = r_do1(r, LN_OP_logical_not, r_do1(r, LN_OP_isnan, x));
  return good && !good->ndim ? r_to(r, good, LN_INT64) : reduced(r, LN_OP_sum, good, dim);
}

/* The lower of the two in the middle and its place, with the dim of size 1. A NaN is the median, or is left out. */
static void median(ln_rule *r, ln_tensor *x, int dim, bool skips_nan, ln_tensor **value, ln_tensor **index) {
  int64_t n = size_along(x, dim);
  bool whole_rows = skips_nan && ln_is_float(x->dtype);
  *value = *index = NULL;
  if (!r_require(r, n > 0, "there is no median of no elements (shape %s)", ln_shape_text(x->shape, x->ndim)) ||
      !make_pair(r, x, dim, whole_rows ? n : 1, true, value, index))
    return;
  put_in_order(r, x, whole_rows ? (wish){dim, false, 0, n} : (wish){dim, false, (n - 1) / 2, 1}, *value, *index);
  if (!r_ok(r) || !ln_is_float(x->dtype)) return;
  if (skips_nan) {
    ln_tensor *count = numbers_along(r, x, dim);
    ln_tensor *place = r_whole(r, LN_OP_clamp_min, r_whole(r, LN_OP_floor_divide, r_whole(r, LN_OP_sub, count, 1), 2), 0);
    *value = r_indexed(r, LN_OP_gather, *value, dim, place, NULL);
    *index = r_indexed(r, LN_OP_gather, *index, dim, place, NULL);
  } else {
    ln_tensor *top = reduced(r, LN_OP_amax, x, dim), *bad = r_do1(r, LN_OP_isnan, top);
    *value = whole_where(r, bad, top, *value);
    *index = whole_where(r, bad, reduced(r, LN_OP_argmax, x, dim), *index);
  }
}

static ln_tensor *without_dim(ln_rule *r, ln_tensor *t, int dim) {
  int64_t shape[16];
  return t && t->ndim ? r_reshape(r, t, shape, ln_kept_shape(t, 1u << dim, false, shape)) : t;
}

static void median_along(ln_rule *r, bool skips_nan) {
  ARGS(median_dim);
  ln_tensor *value, *index;
  int dim = r_dim(r, a_dim, input->ndim);
  if (!r_ok(r)) return;
  median(r, input, dim, skips_nan, &value, &index);
  bool keep = r_bool(r, a_keepdim);
  give_pair(r, keep ? value : without_dim(r, value, dim), keep ? index : without_dim(r, index, dim));
}

static void median_of_all(ln_rule *r, bool skips_nan) {
  ln_tensor *x = r->in[0], *value, *index;
  if (x->numel == 0 && ln_is_float(x->dtype)) { /* as a mean has it */
    r_result(r, 0, r_number(r, LN_OP_add, r_zeros(r, NULL, 0, x->dtype), (double)NAN));
    return;
  }
  median(r, r_reshape(r, x, &x->numel, 1), 0, skips_nan, &value, &index);
  r_result(r, 0, without_dim(r, value, 0));
}

void median_dim_forward(ln_rule *r) { median_along(r, false); }
void nanmedian_dim_forward(ln_rule *r) { median_along(r, true); }
void median_all_forward(ln_rule *r) { median_of_all(r, false); }
void nanmedian_all_forward(ln_rule *r) { median_of_all(r, true); }

/* -- mode -- */

static ln_tensor *positions(ln_rule *r, const ln_tensor *like, int dim) {
  SLOTS(arange);
  ln_attrs attrs;
  int64_t shape[16];
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_start, 0);
  ln_attrs_float(&attrs, a_end, (double)like->shape[dim]);
  ln_attrs_int(&attrs, a_dtype, LN_INT64);
  ln_attrs_int(&attrs, a_device, r->device);
  ln_tensor *line = r_do(r, LN_OP_arange, NULL, 0, &attrs);
  for (int i = 0; i < like->ndim; i++) shape[i] = i == dim ? like->shape[i] : 1;
  return r_expand(r, r_reshape(r, line, shape, like->ndim), like->shape, like->ndim);
}

/* For each element of sorted rows the place where its run of equals begins. */
static ln_tensor *run_starts(ln_rule *r, ln_tensor *sorted, ln_tensor *place, int dim) {
  SLOTS(cummax);
  int64_t n = sorted->shape[dim];
  ln_attrs attrs;
  ln_tensor *differs = r_do2(r, LN_OP_ne, r_narrow(r, sorted, dim, 1, n - 1), r_narrow(r, sorted, dim, 0, n - 1));
  ln_tensor *begins = r_do2(r, LN_OP_mul, differs, r_narrow(r, place, dim, 1, n - 1));
  ln_tensor *const parts[2] = {r_narrow(r, place, dim, 0, 1), begins};
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  ln_tensor *all = begins ? r_do(r, LN_OP_cat, parts, 2, &attrs) : NULL;
  return all ? r_do(r, LN_OP_cummax, &all, 1, &attrs) : NULL;
}

/* The longest run of the sorted row, the first of equally long ones. */
void mode_forward(ln_rule *r) {
  ARGS(mode);
  int dim = r_dim(r, a_dim, input->ndim);
  int64_t n = size_along(input, dim);
  ln_tensor *values, *indices;
  if (!r_require(r, n > 0, "there is no mode of no elements (shape %s)", ln_shape_text(input->shape, input->ndim)) ||
      !make_pair(r, input, dim, n, true, &values, &indices))
    return;
  put_in_order(r, input, (wish){dim, false, 0, n}, values, indices);
  if (input->ndim && n > 1 && r_ok(r)) {
    ln_tensor *place = positions(r, values, dim), *starts = place ? run_starts(r, values, place, dim) : NULL;
    ln_tensor *best = reduced(r, LN_OP_argmax, r_do2(r, LN_OP_sub, place, starts), dim);
    values = r_indexed(r, LN_OP_gather, values, dim, best, NULL);
    indices = r_indexed(r, LN_OP_gather, indices, dim, best, NULL);
  }
  bool keep = r_bool(r, a_keepdim);
  give_pair(r, keep ? values : without_dim(r, values, dim), keep ? indices : without_dim(r, indices, dim));
}

/* -- Places in sorted rows -- */

/* A number as a tensor of a dtype. */
static ln_tensor *number_as(ln_rule *r, int slot, int dtype) {
  ln_tensor *t = r_new(r, NULL, 0, dtype);
  return t && r_status(r, ln_fill_number(t, r_is_whole(r, slot), &r->attrs->slot[slot])) ? t : NULL;
}

static ln_tensor *places(ln_rule *r, ln_tensor *sorted, ln_tensor *values, ln_tensor *sorter, bool right) {
  ln_tensor *s = r_dense(r, sorted, sorted->dtype), *v = r_dense(r, values, values->dtype), *order = sorter ? r_dense(r, sorter, LN_INT64) : NULL;
  ln_tensor *y = r_new(r, values->shape, values->ndim, LN_INT64);
  if (!r_ok(r)) return NULL;
  ln_search work = {.dtype = s->dtype, .right = right, .shared = s->ndim == 1, .n = s->shape[s->ndim - 1], .sorted = s->data, .values = v->data};
  work.m = work.shared ? v->numel : v->shape[v->ndim - 1];
  work.rows = work.shared ? 1 : work.m ? v->numel / work.m : 0;
  work.sorter = order ? (const int64_t *)order->data : NULL;
  work.y = (int64_t *)y->data;
  return v->numel == 0 || KERNEL(r, search, &work) ? y : NULL;
}

/* Both in one dtype; false when they do not go together. */
static bool prepare_search(ln_rule *r, ln_tensor **sorted, ln_tensor **values, int slot) {
  ln_tensor *s = *sorted, *v = *values;
  double number = r->attrs->slot[slot].d;
  if (!r_require(r, s->ndim > 0, "the sorted tensor needs a dimension")) return false;
  int dtype = v ? ln_promote_types(s->dtype, v->dtype) : s->dtype;
  if (!v && !r_is_whole(r, slot) && number != floor(number)) dtype = ln_promote_types(dtype, LN_FLOAT32);
  *sorted = r_to(r, s, dtype);
  *values = v ? r_to(r, v, dtype) : number_as(r, slot, dtype);
  return r_require(r, s->ndim == 1 || (v && s->ndim == v->ndim && ln_same_dims(s->shape, v->shape, s->ndim - 1)),
                   "the sorted tensor %s must be a vector or agree with the values %s in all dimensions but the last",
                   ln_shape_text(s->shape, s->ndim), v ? ln_shape_text(v->shape, v->ndim) : "{}");
}

void searchsorted_forward(ln_rule *r) {
  ARGS(searchsorted);
  enum { LEFT, RIGHT };
  bool right = r_bool(r, a_right);
  ln_tensor *sorted = sorted_sequence;
  if (!prepare_search(r, &sorted, &input, a_input)) return;
  if (!r_require(r, !(r_has(r, a_side) && right && r_int(r, a_side) == LEFT), "side left and right = true contradict each other")) return;
  if (sorter && (!r_require(r, sorter->dtype == LN_INT64 && ln_same_shape(sorter, sorted), "sorter must be int64 and of the shape %s, got %s %s",
                            ln_shape_text(sorted->shape, sorted->ndim), ln_dtype_name(sorter->dtype), ln_shape_text(sorter->shape, sorter->ndim)) ||
                 !r_check_index(r, sorter, 0, sorted->shape[sorted->ndim - 1], sorted->ndim - 1)))
    return;
  if (r_has(r, a_side)) right = r_int(r, a_side) == RIGHT;
  ln_tensor *y = places(r, sorted, input, sorter, right);
  r_result(r, 0, y ? r_to(r, y, r_bool(r, a_out_int32) ? LN_INT32 : LN_INT64) : NULL);
}

void bucketize_forward(ln_rule *r) {
  ARGS(bucketize);
  if (!r_check_ndim(r, "boundaries", boundaries, 1) || !prepare_search(r, &boundaries, &input, a_input)) return;
  ln_tensor *y = places(r, boundaries, input, NULL, r_bool(r, a_right));
  r_result(r, 0, y ? r_to(r, y, r_bool(r, a_out_int32) ? LN_INT32 : LN_INT64) : NULL);
}

void isin_forward(ln_rule *r) {
  ARGS(isin);
  bool invert = r_bool(r, a_invert);
  if (!r_require(r, elements || test_elements, "one of elements and test_elements must be a tensor")) return;
  int dtype = elements && test_elements ? ln_promote_types(elements->dtype, test_elements->dtype) : elements ? elements->dtype : test_elements->dtype;
  ln_tensor *x = elements ? r_to(r, elements, dtype) : number_as(r, a_elements, dtype);
  ln_tensor *t = test_elements ? r_to(r, test_elements, dtype) : number_as(r, a_test_elements, dtype);
  if (!x || !t) return;
  int64_t n = t->numel;
  ln_tensor *found;
  if (n == 0) {
    found = r_zeros(r, x->shape, x->ndim, LN_BOOL);
  } else {
    t = r_reshape(r, t, &n, 1);
    ln_tensor *values = r_new(r, &n, 1, dtype);
    if (!t || !values) return;
    put_in_order(r, t, (wish){0, false, 0, n}, values, NULL);
    ln_tensor *place = r_ok(r) ? r_whole(r, LN_OP_clamp_max, places(r, values, x, NULL, false), n - 1) : NULL;
    ln_tensor *flat = place ? r_reshape(r, place, &place->numel, 1) : NULL;
    found = r_do2(r, LN_OP_eq, place ? r_reshape(r, r_indexed(r, LN_OP_index_select, values, 0, flat, NULL), x->shape, x->ndim) : NULL, x);
  }
  r_result(r, 0, invert ? r_do1(r, LN_OP_logical_not, found) : found);
}
