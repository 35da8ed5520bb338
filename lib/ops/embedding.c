/* embedding.c - rows of a table by index, one by one and in bags, and what their gradients are made of. */
#include "index.h"

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

/* The indices as row-major int64, each a row of the table. */
static ln_tensor *usable_indices(ln_rule *r, ln_tensor *indices, int64_t rows) {
  if (!indices || !r_require(r, indices->dtype == LN_INT64 || indices->dtype == LN_INT32,
                             "indices must be int64, got %s (make them with lt.LongTensor or :long())", ln_dtype_name(indices->dtype)))
    return NULL;
  ln_tensor *wide = r_dense(r, indices, LN_INT64);
  return r_check_index(r, wide, 0, rows, 0) ? wide : NULL;
}

static const int64_t *numbers(const ln_tensor *t) { return t ? (const int64_t *)t->data : NULL; }

/* For every index 1 over how often it occurs. */
static ln_tensor *share_of(ln_rule *r, ln_tensor *ids, int64_t rows, int dtype) {
  SLOTS(embedding_dw);
  const int64_t shape[2] = {ids ? ids->numel : 0, 1};
  ln_tensor *ones = r_new(r, shape, 2, dtype), *flat = r_reshape(r, ids, shape, 1);
  if (!ones || !flat || !r_status(r, ln_fill_number(ones, true, &(int64_t){1}))) return NULL;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_rows, rows);
  ln_tensor *counts = r_do(r, LN_OP_embedding_dw, (ln_tensor *const[4]){ones, flat}, 4, &attrs);
  ln_tensor *count = r_do(r, LN_OP_embedding, (ln_tensor *const[2]){counts, flat}, 2, NULL);
  return count ? r_reshape(r, r_do1(r, LN_OP_reciprocal, count), ids->shape, ids->ndim) : NULL;
}

/* Operators do not take row-sparse gradients: only what ends in a leaf can have one. */
static bool check_sparse(ln_rule *r, const ln_tensor *weight, bool by_frequency) {
  return r_require(r, !r->recording || !weight->node, "sparse = true needs a weight that is a leaf, such as a parameter; this one was computed") &&
         r_require(r, !by_frequency, "sparse gradients are not scaled by frequency");
}

void embedding_forward(ln_rule *r) {
  ARGS(embedding);
  int64_t shape[16];
  if (r_bool(r, a_sparse) && !check_sparse(r, weight, r_bool(r, a_scale_grad_by_freq))) return;
  if (!r_check_ndim(r, "weight", weight, 2)) return;
  if (!r_require(r, indices->ndim < LN_MAX_DIMS, "indices have too many dimensions")) return;
  ln_tensor *ids = usable_indices(r, indices, weight->shape[0]), *rows = r_dense(r, weight, weight->dtype);
  memcpy(shape, indices->shape, sizeof(int64_t) * (size_t)indices->ndim);
  shape[indices->ndim] = weight->shape[1];
  ln_tensor *y = r_out(r, 0, shape, indices->ndim + 1, weight->dtype);
  if (!r_ok(r)) return;
  ln_take work = {.dtype = weight->dtype, .n = ids->numel, .width = weight->shape[1], .rows = weight->shape[0], .skip = -1};
  work.ids = numbers(ids);
  work.in = rows->data;
  work.out = y->data;
  KERNEL(r, take, &work);
  if (r->recording && r_bool(r, a_scale_grad_by_freq)) r_keep(r, 0, share_of(r, ids, weight->shape[0], compute_dtype(weight->dtype)));
}

/* -- Gradients -- */

/* The gradient of the weight as values for the rows at ids, without those at padding_idx. */
static void give_sparse(ln_rule *r, ln_tensor *ids, ln_tensor *values, int64_t padding_idx) {
  ln_tensor *sparse, *weight = r->in[0], *kept = padding_idx < 0 ? NULL : r_do1(r, LN_OP_nonzero, r_whole(r, LN_OP_ne, ids, padding_idx));
  if (kept) {
    ln_tensor *at = r_reshape(r, kept, kept->shape, 1);
    values = r_indexed(r, LN_OP_index_select, values, 0, at, NULL);
    ids = r_indexed(r, LN_OP_index_select, ids, 0, at, NULL);
  }
  if (r_ok(r) && values && r_status(r, ln_sparse_make(values, ids, weight->shape[0], false, &sparse))) r->dx[0] = sparse;
}

static ln_tensor *flat(ln_rule *r, ln_tensor *t) { return t ? r_reshape(r, t, &t->numel, 1) : NULL; }

void embedding_backward(ln_rule *r) {
  ARGS(embedding);
  if (!r_bool(r, a_sparse)) {
    ln_text_backward(r);
    return;
  }
  const int64_t shape[2] = {indices->numel, weight->shape[1]};
  if (r->needs[0] && r->g[0]) give_sparse(r, flat(r, r_dense(r, indices, LN_INT64)), r_reshape(r, r->g[0], shape, 2), r_int(r, a_padding_idx));
}

/* The rows of `dy` that go with the indices: as they come, or those at `from`; their indices, NULL for the former. */
static bool check_sources(ln_rule *r, const ln_tensor *dy, const ln_tensor *indices, ln_tensor *from, ln_tensor **sources) {
  *sources = NULL;
  if (from)
    return r_require(r, dy->ndim == 2 && ln_same_shape(from, indices), "dy %s and from %s do not go with indices %s",
                     ln_shape_text(dy->shape, dy->ndim), ln_shape_text(from->shape, from->ndim), ln_shape_text(indices->shape, indices->ndim)) &&
           (*sources = usable_indices(r, from, dy->shape[0]));
  return r_require(r, dy->ndim == indices->ndim + 1 && ln_same_dims(dy->shape, indices->shape, indices->ndim), "dy %s does not go with indices %s",
                   ln_shape_text(dy->shape, dy->ndim), ln_shape_text(indices->shape, indices->ndim));
}

void embedding_dw_forward(ln_rule *r) {
  ARGS(embedding_dw);
  int64_t rows = r_int(r, a_rows), shape[2] = {rows, dy->ndim ? dy->shape[dy->ndim - 1] : 0};
  ln_tensor *sources;
  if (!check_sources(r, dy, indices, from, &sources)) return;
  if (!r_require(r, !scale || (ln_same_shape(scale, indices) && ln_is_float(dy->dtype)), "scale %s does not go with indices %s",
                 ln_shape_text(scale->shape, scale->ndim), ln_shape_text(indices->shape, indices->ndim)))
    return;
  ln_tensor *ids = usable_indices(r, indices, rows), *in = r_dense(r, dy, dy->dtype), *y = r_out(r, 0, shape, 2, dy->dtype);
  ln_tensor *factors = scale ? r_dense(r, scale, compute_dtype(dy->dtype)) : NULL;
  if (!r_ok(r) || !r_status(r, ln_zero(y))) return;
  ln_take work = {.dtype = dy->dtype, .n = ids->numel, .width = shape[1], .rows = rows, .sources = dy->shape[0], .skip = r_int(r, a_padding_idx)};
  work.ids = numbers(ids);
  work.from = numbers(sources);
  work.scale = factors ? factors->data : NULL;
  work.in = in->data;
  work.out = y->data;
  KERNEL(r, take_add, &work);
}

void embedding_dot_forward(ln_rule *r) {
  ARGS(embedding_dot);
  ln_tensor *sources;
  if (!r_check_ndim(r, "weight", weight, 2) || !check_sources(r, dy, indices, from, &sources)) return;
  if (!r_require(r, dy->shape[dy->ndim - 1] == weight->shape[1], "rows of weight %s and of dy %s differ in length", ln_shape_text(weight->shape, 2),
                 ln_shape_text(dy->shape, dy->ndim)) ||
      !r_check_same_dtype(r, weight, dy))
    return;
  ln_tensor *ids = usable_indices(r, indices, weight->shape[0]), *in = r_dense(r, weight, weight->dtype), *with = r_dense(r, dy, dy->dtype);
  ln_tensor *y = r_out(r, 0, indices->shape, indices->ndim, weight->dtype);
  if (!r_ok(r)) return;
  ln_take work = {.dtype = weight->dtype, .n = ids->numel, .width = weight->shape[1], .rows = weight->shape[0], .sources = dy->shape[0]};
  work.ids = numbers(ids);
  work.from = numbers(sources);
  work.in = in->data;
  work.with = with->data;
  work.out = y->data;
  KERNEL(r, take_dot, &work);
}

/* -- Bags -- */

static ln_tensor *there(ln_rule *r, ln_tensor *t) {
  SLOTS(to);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_device, r->device);
  return r->device == LN_CPU ? t : r_do(r, LN_OP_to, &t, 1, &attrs);
}

/* Where bags begin, and behind them where the last one ends: an int64 vector on the host. */
static bool fill_ends(ln_rule *r, const ln_tensor *offsets, int64_t n, bool has_last, ln_tensor *ends) {
  int64_t *at = (int64_t *)ends->data;
  if (!r_status(r, ln_tensor_read(offsets, NULL, at))) return false;
  if (!has_last) at[offsets->numel] = n;
  r_require(r, offsets->numel == 0 || at[0] == 0, "offsets must begin with 0, the first bag with the first index, not with %lld", (long long)at[0]);
  for (int64_t k = 1; k < offsets->numel && r_ok(r); k++)
    r_require(r, at[k] >= at[k - 1], "offsets must not decrease: entry %lld is %lld, after %lld", (long long)k, (long long)at[k],
              (long long)at[k - 1]);
  return r_require(r, offsets->numel == 0 || at[offsets->numel - 1] <= n, "offsets must not exceed the number of indices, %lld: entry %lld is %lld",
                   (long long)n, (long long)offsets->numel - 1, (long long)at[offsets->numel - 1]);
}

/* How many bags there are, and how many indices they hold. */
static bool read_bags(ln_rule *r, const ln_tensor *indices, const ln_tensor *offsets, bool has_last, ln_bag *work) {
  work->n = indices->numel;
  if (!offsets) {
    work->bags = indices->ndim == 2 ? indices->shape[0] : 0;
    work->bag_size = indices->ndim == 2 ? indices->shape[1] : 0;
    return r_require(r, indices->ndim == 2, "offsets must be given for indices of shape %s: only a matrix is a bag a row",
                     ln_shape_text(indices->shape, indices->ndim)) &&
           r_require(r, !has_last, "include_last_offset goes with offsets; rows of a matrix are bags by themselves");
  }
  if (!r_require(r, indices->ndim == 1, "offsets go with a vector of indices, not with shape %s", ln_shape_text(indices->shape, indices->ndim)) ||
      !r_require(r, offsets->ndim == 1, "offsets must be a vector, not of shape %s", ln_shape_text(offsets->shape, offsets->ndim)) ||
      !r_require(r, offsets->dtype == LN_INT64 || offsets->dtype == LN_INT32,
                 "offsets must be int64, got %s (make them with lt.LongTensor or :long())", ln_dtype_name(offsets->dtype)) ||
      !r_require(r, !has_last || offsets->numel > 0, "with include_last_offset there must be one offset at least"))
    return false;
  work->bags = offsets->numel - has_last;
  const int64_t size = work->bags + 1;
  ln_tensor *ends;
  if (!r_status(r, ln_new(&size, 1, LN_INT64, LN_CPU, &ends))) return false;
  r_own(r, ends);
  if (!fill_ends(r, offsets, work->n, has_last, ends)) return false;
  work->n = work->bags ? ((int64_t *)ends->data)[work->bags] : 0;
  work->offsets = numbers(there(r, ends));
  return r_ok(r);
}

static bool check_weights(ln_rule *r, const ln_tensor *weight, const ln_tensor *indices, const ln_tensor *factors, int mode) {
  return !factors || (r_require(r, mode == LN_BAG_SUM, "per_sample_weights go with mode \"sum\" alone") &&
                      r_require(r, ln_same_shape(factors, indices), "per_sample_weights %s must have the shape of the indices, %s",
                                ln_shape_text(factors->shape, factors->ndim), ln_shape_text(indices->shape, indices->ndim)) &&
                      r_require(r, factors->dtype == weight->dtype, "per_sample_weights must be %s, as weight is, not %s",
                                ln_dtype_name(weight->dtype), ln_dtype_name(factors->dtype)));
}

/* What backward needs: the bag and the share of each index, or where the maxima stand. */
static void keep_for_backward(ln_rule *r, ln_bag *work, ln_tensor *ids, bool by_frequency, ln_tensor **share) {
  const int64_t shape[2] = {work->bags, work->width};
  const int dtype = compute_dtype(work->dtype);
  ln_tensor *kept = work->mode == LN_BAG_MAX ? r_new(r, shape, 2, LN_INT64) : r_new(r, &work->n, 1, LN_INT64);
  *share = work->mode == LN_BAG_MEAN ? r_new(r, &work->n, 1, dtype) : NULL;
  if (!r_keep(r, 0, kept) || !r_ok(r)) return;
  *(work->mode == LN_BAG_MAX ? &work->best : &work->bag_of) = (int64_t *)kept->data;
  work->share = *share ? (*share)->data : NULL;
  KERNEL(r, bag, work);
  if (by_frequency) {
    ln_tensor *rare = share_of(r, ids, work->rows, dtype);
    *share = *share ? r_do2(r, LN_OP_mul, *share, rare) : rare;
  }
  if (*share) r_keep(r, 1, *share);
}

void embedding_bag_forward(ln_rule *r) {
  ARGS(embedding_bag);
  const bool by_frequency = r_bool(r, a_scale_grad_by_freq);
  ln_bag work = {.dtype = weight->dtype, .mode = (int)r_int(r, a_mode), .skip = r_int(r, a_padding_idx)};
  if (!r_check_ndim(r, "weight", weight, 2) || !check_weights(r, weight, indices, per_sample_weights, work.mode) ||
      !r_require(r, !by_frequency || work.mode != LN_BAG_MAX, "mode \"max\" does not scale gradients by frequency") ||
      !r_require(r, !r_bool(r, a_sparse) || work.mode != LN_BAG_MAX, "mode \"max\" has no sparse gradients") ||
      (r_bool(r, a_sparse) && !check_sparse(r, weight, by_frequency)) || !read_bags(r, indices, offsets, r_bool(r, a_include_last_offset), &work))
    return;
  work.rows = weight->shape[0];
  work.width = weight->shape[1];
  const int64_t shape[2] = {work.bags, work.width};
  ln_tensor *ids = usable_indices(r, indices, work.rows), *rows = r_dense(r, weight, weight->dtype), *share;
  ln_tensor *factors = per_sample_weights ? r_dense(r, per_sample_weights, compute_dtype(weight->dtype)) : NULL;
  ln_tensor *y = r_out(r, 0, shape, 2, weight->dtype);
  if (!r_ok(r)) return;
  work.ids = numbers(ids);
  work.in = rows->data;
  work.out = y->data;
  work.scale = factors ? factors->data : NULL;
  if (r->recording)
    keep_for_backward(r, &work, r_narrow(r, r_reshape(r, ids, &ids->numel, 1), 0, 0, work.n), by_frequency, &share);
  else
    KERNEL(r, bag, &work);
}

void embedding_bag_backward(ln_rule *r) {
  ARGS(embedding_bag);
  const bool sparse = r_bool(r, a_sparse) && r->needs[0];
  if (sparse) r->needs[0] = false; /* the text computes it dense */
  ln_text_backward(r);
  if (!sparse || !r->g[0]) return;
  r->needs[0] = true;
  ln_tensor *bag_of = r->extra[0], *share = r->extra[1], *values = r_indexed(r, LN_OP_index_select, r->g[0], 0, bag_of, NULL);
  ln_tensor *factors = per_sample_weights ? r_narrow(r, flat(r, per_sample_weights), 0, 0, bag_of->numel) : share;
  const int64_t column[2] = {bag_of->numel, 1};
  if (factors) values = r_to(r, r_do2(r, LN_OP_mul, values, r_reshape(r, factors, column, 2)), weight->dtype);
  give_sparse(r, r_narrow(r, flat(r, r_dense(r, indices, LN_INT64)), 0, 0, bag_of->numel), values, r_int(r, a_padding_idx));
}
