/* im2col.c - the windows of an image as columns, and columns summed back into an image: copies and sums between strided looks, on any device. */
#include "shape.h"

typedef struct sliding {
  int64_t n, c, in[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
} sliding;

static bool read_windows(ln_rule *r, sliding *w, int a_kernel_size, int a_dilation, int a_padding, int a_stride) {
  if (!r_sizes(r, a_kernel_size, 2, w->kernel) || !r_sizes(r, a_dilation, 2, w->dilation) || !r_sizes(r, a_padding, 2, w->padding) ||
      !r_sizes(r, a_stride, 2, w->stride))
    return false;
  for (int d = 0; d < 2; d++) {
    int64_t most = INT32_MAX;
    bool good = w->kernel[d] >= 1 && w->dilation[d] >= 1 && w->stride[d] >= 1 && w->padding[d] >= 0;
    bool small = w->kernel[d] <= most && w->dilation[d] <= most && w->stride[d] <= most && w->padding[d] <= most && w->in[d] <= INT64_MAX / 4;
    if (!r_require(r, good, "kernel_size %s, dilation %s and stride %s must be at least 1, padding %s at least 0", ln_shape_text(w->kernel, 2),
                   ln_shape_text(w->dilation, 2), ln_shape_text(w->stride, 2), ln_shape_text(w->padding, 2)) ||
        !r_require(r, small, "kernel_size %s, dilation %s, stride %s or padding %s is too large", ln_shape_text(w->kernel, 2),
                   ln_shape_text(w->dilation, 2), ln_shape_text(w->stride, 2), ln_shape_text(w->padding, 2)))
      return false;
    int64_t room = w->in[d] + 2 * w->padding[d] - w->dilation[d] * (w->kernel[d] - 1) - 1;
    w->out[d] = room / w->stride[d] + 1;
    if (!r_require(r, room >= 0, "no window of kernel_size %s and dilation %s fits into %s with padding %s", ln_shape_text(w->kernel, 2),
                   ln_shape_text(w->dilation, 2), ln_shape_text(w->in, 2), ln_shape_text(w->padding, 2)))
      return false;
  }
  return true;
}

/* Padded images [N, C, H, W] in a dtype, zeros. */
static ln_tensor *new_images(ln_rule *r, const sliding *w, int dtype) {
  int64_t shape[4] = {w->n, w->c, w->in[0] + 2 * w->padding[0], w->in[1] + 2 * w->padding[1]};
  return r_zeros(r, shape, 4, dtype);
}

/* The images without their padding. */
static ln_tensor inner_part(const sliding *w, const ln_tensor *images) {
  int64_t start[4] = {0, 0, w->padding[0], w->padding[1]}, length[4] = {w->n, w->c, w->in[0], w->in[1]};
  return ln_part(images, start, length);
}

/* Columns [N, C * kH * kW, oH * oW] as [N, C, kH, kW, oH, oW]. */
static ln_tensor six_dims(const sliding *w, const ln_tensor *columns) {
  int64_t shape[6] = {w->n, w->c, w->kernel[0], w->kernel[1], w->out[0], w->out[1]};
  return ln_look(columns, shape, NULL, 6);
}

/* -- Windows to columns -- */

void im2col_forward(ln_rule *r) {
  ARGS(im2col);
  if (!r_check_spatial(r, input, 2)) return;
  int lead = input->ndim - 2, ndim = input->ndim - 1;
  sliding w = {.n = lead == 2 ? input->shape[0] : 1, .c = input->shape[lead - 1], .in = {input->shape[lead], input->shape[lead + 1]}};
  if (!read_windows(r, &w, a_kernel_size, a_dilation, a_padding, a_stride)) return;
  int64_t shape[3] = {w.n, w.c * w.kernel[0] * w.kernel[1], w.out[0] * w.out[1]};
  ln_tensor *y = r_out(r, 0, shape + 3 - ndim, ndim, input->dtype), *x = r_with_batch(r, input, 2);
  if (!r_ok(r) || y->numel == 0) return;
  if (w.padding[0] || w.padding[1]) {
    ln_tensor *images = new_images(r, &w, input->dtype), part;
    if (!images) return;
    part = inner_part(&w, images);
    if (part.numel > 0) r_copy(r, &part, x);
    x = images;
  }
  ln_tensor columns = six_dims(&w, y), windows = columns;
  const int64_t stride[6] = {
    x->stride[0], x->stride[1], x->stride[2] * w.dilation[0], x->stride[3] * w.dilation[1], x->stride[2] * w.stride[0], x->stride[3] * w.stride[1]};
  windows = ln_look(x, columns.shape, stride, 6);
  r_copy(r, &columns, &windows);
}

/* -- Columns to images -- */

/* What the tap (i, j) of every window adds to. */
static ln_tensor images_of_tap(const sliding *w, const ln_tensor *images, int64_t i, int64_t j) {
  int64_t shape[4] = {w->n, w->c, w->out[0], w->out[1]};
  const int64_t stride[4] = {images->stride[0], images->stride[1], images->stride[2] * w->stride[0], images->stride[3] * w->stride[1]};
  ln_tensor part = ln_look(images, shape, stride, 4);
  part.data += (i * w->dilation[0] * images->stride[2] + j * w->dilation[1] * images->stride[3]) * ln_itemsize(images);
  return part;
}

static void add_columns(ln_rule *r, const sliding *w, ln_tensor *columns, ln_tensor *images) {
  ln_tensor all = six_dims(w, columns);
  int64_t shape[4] = {w->n, w->c, w->out[0], w->out[1]};
  for (int64_t i = 0; i < w->kernel[0]; i++)
    for (int64_t j = 0; j < w->kernel[1] && r_ok(r); j++) {
      const int64_t stride[4] = {all.stride[0], all.stride[1], all.stride[4], all.stride[5]};
      ln_tensor tap = ln_look(&all, shape, stride, 4), part = images_of_tap(w, images, i, j);
      tap.data += (i * all.stride[2] + j * all.stride[3]) * ln_itemsize(&all);
      r_add_into(r, &part, &tap);
    }
}

void col2im_forward(ln_rule *r) {
  ARGS(col2im);
  bool batched = input->ndim == 3;
  if (!r_require(r, batched || input->ndim == 2, "input must have 3 dimensions, or 2 without a batch, got shape %s",
                 ln_shape_text(input->shape, input->ndim)))
    return;
  sliding w = {.n = batched ? input->shape[0] : 1};
  int64_t rows = input->shape[input->ndim - 2], length = input->shape[input->ndim - 1];
  if (!r_sizes(r, a_output_size, 2, w.in) ||
      !r_require(r, w.in[0] >= 1 && w.in[1] >= 1, "output_size %s must be at least 1", ln_shape_text(w.in, 2)) ||
      !read_windows(r, &w, a_kernel_size, a_dilation, a_padding, a_stride))
    return;
  int64_t taps;
  if (!r_require(r, !__builtin_mul_overflow(w.kernel[0], w.kernel[1], &taps) && rows % taps == 0,
                 "the %lld rows of input %s do not divide into kernels of %s", (long long)rows, ln_shape_text(input->shape, input->ndim),
                 ln_shape_text(w.kernel, 2)) ||
      !r_require(r, length == w.out[0] * w.out[1], "an image of %s has %lld windows, input %s has %lld columns", ln_shape_text(w.in, 2),
                 (long long)(w.out[0] * w.out[1]), ln_shape_text(input->shape, input->ndim), (long long)length))
    return;
  w.c = rows / taps;
  int64_t shape[4] = {w.n, w.c, w.in[0], w.in[1]};
  ln_tensor *y = r_out_spatial(r, 0, shape, 2, batched, false, input->dtype), *columns = r_dense(r, input, input->dtype);
  ln_tensor *images = new_images(r, &w, ln_is_float(input->dtype) && input->dtype != LN_FLOAT64 ? LN_FLOAT32 : input->dtype), part;
  if (!r_ok(r) || y->numel == 0) return;
  if (columns->numel > 0) add_columns(r, &w, columns, images);
  part = inner_part(&w, images);
  r_copy(r, y, &part);
}
