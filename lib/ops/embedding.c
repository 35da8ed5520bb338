/* embedding.c - rows of a table by index, and the gradient of the table. */
#include "index.h"

/* The indices as row-major int64, each a row of the table. */
static ln_tensor *usable_indices(ln_rule *r, ln_tensor *indices, int64_t rows) {
  if (!r_require(r, indices->dtype == LN_INT64 || indices->dtype == LN_INT32,
                 "indices must be int64, got %s (make them with lt.LongTensor or :long())", ln_dtype_name(indices->dtype)))
    return NULL;
  ln_tensor *wide = r_dense(r, indices, LN_INT64);
  return r_check_index(r, wide, 0, rows, 0) ? wide : NULL;
}

void embedding_forward(ln_rule *r) {
  ARGS(embedding);
  int64_t shape[16];
  if (!r_check_ndim(r, "weight", weight, 2)) return;
  if (!r_require(r, indices->ndim < LN_MAX_DIMS, "indices have too many dimensions")) return;
  ln_tensor *ids = usable_indices(r, indices, weight->shape[0]), *rows = r_dense(r, weight, weight->dtype);
  memcpy(shape, indices->shape, sizeof(int64_t) * (size_t)indices->ndim);
  shape[indices->ndim] = weight->shape[1];
  ln_tensor *y = r_out(r, 0, shape, indices->ndim + 1, weight->dtype);
  if (!r_ok(r)) return;
  ln_take work = {.dtype = weight->dtype, .n = ids->numel, .width = weight->shape[1], .rows = weight->shape[0], .skip = -1};
  work.ids = (const int64_t *)ids->data;
  work.in = rows->data;
  work.out = y->data;
  KERNEL(r, take, &work);
}

void embedding_dw_forward(ln_rule *r) {
  ARGS(embedding_dw);
  int64_t rows = r_int(r, a_rows), shape[2] = {rows, dy->ndim ? dy->shape[dy->ndim - 1] : 0};
  if (!r_require(r, dy->ndim == indices->ndim + 1 && ln_same_dims(dy->shape, indices->shape, indices->ndim), "dy %s does not go with indices %s",
                 ln_shape_text(dy->shape, dy->ndim), ln_shape_text(indices->shape, indices->ndim)))
    return;
  ln_tensor *ids = usable_indices(r, indices, rows), *in = r_dense(r, dy, dy->dtype), *y = r_out(r, 0, shape, 2, dy->dtype);
  if (!r_ok(r) || !r_status(r, ln_zero(y))) return;
  ln_take work = {.dtype = dy->dtype, .n = ids->numel, .width = shape[1], .rows = rows, .skip = r_int(r, a_padding_idx)};
  work.ids = (const int64_t *)ids->data;
  work.in = in->data;
  work.out = y->data;
  KERNEL(r, take_add, &work);
}
