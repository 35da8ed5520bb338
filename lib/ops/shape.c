/* shape.c - shapes and layouts that several families of rules share. */
#include "shape.h"

int ln_kept_shape(const ln_tensor *x, uint32_t mask, bool keepdim, int64_t *shape) {
  int n = 0;
  for (int i = 0; i < x->ndim; i++) {
    if (!((mask >> i) & 1))
      shape[n++] = x->shape[i];
    else if (keepdim)
      shape[n++] = 1;
  }
  return n;
}

int64_t ln_count_dims(const ln_tensor *x, uint32_t mask) {
  int64_t n = 1;
  for (int i = 0; i < x->ndim; i++)
    if ((mask >> i) & 1) n *= x->shape[i];
  return n;
}

ln_rows ln_rows_along(const ln_tensor *x, int dim) {
  ln_rows rows = {.dtype = x->dtype, .outer = 1, .size = 1, .inner = 1};
  if (x->ndim == 0) return rows;
  rows.outer = ln_numel(x->shape, dim);
  rows.size = x->shape[dim];
  rows.inner = ln_numel(x->shape + dim + 1, x->ndim - dim - 1);
  return rows;
}

ln_tensor ln_look(const ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim) {
  ln_tensor v; /* a header is large: only what is looked at is copied */
  v.dtype = t->dtype;
  v.device = t->device;
  v.flags = 0;
  v.data = t->data;
  v.storage = t->storage;
  v.node = v.accumulator = NULL;
  v.base = v.grad = NULL;
  ln_set_geometry(&v, shape, stride, ndim);
  return v;
}

ln_tensor *r_with_batch(ln_rule *r, ln_tensor *t, int spatial) {
  int64_t shape[5] = {1}, stride[5];
  t = r_gapless(r, t);
  if (!t || t->ndim == spatial + 2) return t;
  stride[0] = t->numel;
  memcpy(shape + 1, t->shape, sizeof(int64_t) * (size_t)t->ndim);
  memcpy(stride + 1, t->stride, sizeof(int64_t) * (size_t)t->ndim);
  return r_look(r, t, shape, stride, spatial + 2, 0);
}

static void channels_last_strides(const int64_t *shape, int ndim, int64_t *stride) {
  int64_t n = shape[1];
  stride[1] = 1;
  for (int d = ndim - 1; d >= 2; d--) {
    stride[d] = n;
    n *= shape[d];
  }
  stride[0] = n;
}

ln_tensor *r_out_spatial(ln_rule *r, int i, const int64_t *shape, int spatial, bool batched, bool channels_last, int dtype) {
  int64_t stride[5];
  int lead = !batched, n = spatial + 2;
  channels_last = channels_last && ln_numel(shape, n) > 0;
  if (channels_last) channels_last_strides(shape, n, stride);
  ln_tensor *y = r_out_strided(r, i, shape + lead, channels_last ? stride + lead : NULL, n - lead, dtype);
  return batched || !y ? y : r_with_batch(r, y, spatial);
}

bool ln_is_channels_last(const ln_tensor *t, int spatial) {
  int channel = t->ndim - spatial - 1;
  return channel >= 0 && t->stride[t->ndim - 1] != 1 && t->stride[channel] == 1;
}

/* A dim of one element lies anywhere: it counts as the outermost. */
static int64_t distance(const ln_tensor *t, int i) { return t->shape[i] > 1 ? t->stride[i] : INT64_MAX; }

void ln_memory_order(const ln_tensor *t, int *order) {
  bool row_major = ln_tensor_is_contiguous(t);
  for (int i = 0; i < t->ndim; i++) {
    int at = i;
    for (; at > 0 && !row_major && distance(t, order[at - 1]) < distance(t, i); at--) order[at] = order[at - 1];
    order[at] = i;
  }
}

void ln_strides_in_order(const int64_t *shape, int ndim, const int *order, int64_t *stride) {
  int64_t n = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    stride[order[i]] = n;
    n *= shape[order[i]] > 1 ? shape[order[i]] : 1;
  }
}

ln_tensor ln_part(const ln_tensor *t, const int64_t *start, const int64_t *length) {
  ln_tensor part = ln_look(t, length, t->stride, t->ndim);
  for (int d = 0; d < t->ndim && part.numel > 0; d++) part.data += start[d] * t->stride[d] * ln_itemsize(t);
  return part;
}

bool r_add_into(ln_rule *r, ln_tensor *to, ln_tensor *from) {
  static const double alpha[3] = {1};
  ln_tensor *const operands[3] = {to, to, from};
  int dtype = to->dtype == LN_FLOAT64 ? LN_FLOAT64 : ln_is_float(to->dtype) ? LN_FLOAT32 : LN_INT64;
  ln_pointwise work = {.row = ln_row(LN_OP_add)->pointwise, .dtype = dtype, .attrs = alpha};
  ln_loop_init(&work.loop, operands, 3);
  return KERNEL(r, pointwise, &work);
}
