/* pool.c - maximum and mean over windows of 1 to 3 dimensions. */
#include "index.h"

/* Sizes of the windows; all pooling rows have these in the same slots. */
static bool read_windows(ln_rule *r, ln_pool *p) {
  SLOTS(max_pool1d);
  const int64_t *list;
  int n = p->spatial;
  if (!r_sizes(r, a_kernel_size, n, p->kernel)) return false;
  bool stride = r_has(r, a_stride) && r_list(r, a_stride, &list) > 0;
  if (stride ? !r_sizes(r, a_stride, n, p->stride) : (memcpy(p->stride, p->kernel, sizeof p->stride), false)) return false;
  return r_sizes(r, a_padding, n, p->padding);
}

static bool check_windows(ln_rule *r, const ln_pool *p) {
  int n = p->spatial;
  for (int d = 0; d < n && r_ok(r); d++) {
    int64_t reach = 0;
    bool positive = p->kernel[d] >= 1 && p->stride[d] >= 1 && p->dilation[d] >= 1;
    bool large =
      positive && (__builtin_mul_overflow(p->dilation[d], p->kernel[d] - 1, &reach) || reach > INT64_MAX / 4 || p->stride[d] > INT64_MAX / 4);
    if (!r_require(r, positive, "kernel_size %s, stride %s and dilation %s must be at least 1", ln_shape_text(p->kernel, n),
                   ln_shape_text(p->stride, n), ln_shape_text(p->dilation, n)) ||
        !r_require(r, !large, "kernel_size %s, stride %s or dilation %s is too large", ln_shape_text(p->kernel, n), ln_shape_text(p->stride, n),
                   ln_shape_text(p->dilation, n)))
      return false;
    r_require(r, p->padding[d] >= 0 && p->padding[d] <= (reach + 1) / 2, "padding %s must lie between 0 and half the kernel %s",
              ln_shape_text(p->padding, n), ln_shape_text(p->kernel, n));
  }
  return r_ok(r);
}

static bool read_max(ln_rule *r, ln_pool *p) {
  SLOTS(max_pool1d);
  return read_windows(r, p) && r_sizes(r, a_dilation, p->spatial, p->dilation) && check_windows(r, p);
}

static bool read_mean(ln_rule *r, ln_pool *p) {
  SLOTS(avg_pool1d);
  for (int d = 0; d < p->spatial; d++) p->dilation[d] = 1;
  p->count_include_pad = r_bool(r, a_count_include_pad);
  p->divisor = r_has(r, a_divisor_override) ? r_int(r, a_divisor_override) : 0;
  return read_windows(r, p) && check_windows(r, p) &&
         r_require(r, !r_has(r, a_divisor_override) || p->divisor != 0, "divisor_override must not be 0");
}

/* How many windows there are; with ceil_mode also one that hangs over the end, if it begins inside the input or the left padding. */
static bool count_windows(ln_rule *r, ln_pool *p, bool ceil_mode) {
  for (int d = 0; d < p->spatial; d++) {
    int64_t reach = p->dilation[d] * (p->kernel[d] - 1) + 1, room = p->in[d] + 2 * p->padding[d] - reach;
    int64_t n = room < 0 && !(ceil_mode && room + p->stride[d] > 0) ? 0 : (room + (ceil_mode ? p->stride[d] - 1 : 0)) / p->stride[d] + 1;
    if (ceil_mode && (n - 1) * p->stride[d] >= p->in[d] + p->padding[d]) n--;
    if (!r_require(r, n >= 1, "the window of %lld does not fit into an input of %lld with padding %lld", (long long)reach, (long long)p->in[d],
                   (long long)p->padding[d]))
      return false;
    p->out[d] = n;
  }
  return true;
}

static bool check_input(ln_rule *r, const ln_tensor *x, int spatial) { return r_check_float(r, "input", x) && r_check_spatial(r, x, spatial); }

static void set_shape(ln_pool *p, const int64_t *shape) {
  p->n = shape[0];
  p->c = shape[1];
  memcpy(p->in, shape + 2, sizeof(int64_t) * (size_t)p->spatial);
}

static void set_strides(int64_t *to, const ln_tensor *t) { memcpy(to, t->stride, sizeof(int64_t) * (size_t)t->ndim); }

/* -- Forward -- */

/* x in [N, C, spatial], and the shape of the result. */
static ln_tensor *begin(ln_rule *r, ln_pool *p, ln_tensor *input, bool ceil_mode, int64_t *shape) {
  ln_tensor *x = r_with_batch(r, input, p->spatial);
  if (!x) return NULL;
  set_shape(p, x->shape);
  if (!count_windows(r, p, ceil_mode)) return NULL;
  memcpy(shape, x->shape, sizeof(int64_t) * 2);
  memcpy(shape + 2, p->out, sizeof(int64_t) * (size_t)p->spatial);
  p->x = x->data;
  set_strides(p->x_stride, x);
  return x;
}

static void maximum(ln_rule *r, int spatial) {
  ARGS(max_pool1d);
  ln_pool p = {.dtype = input->dtype, .spatial = spatial};
  int64_t shape[5];
  if (!check_input(r, input, spatial) || !read_max(r, &p)) return;
  ln_tensor *x = begin(r, &p, input, r_bool(r, a_ceil_mode), shape);
  if (!x) return;
  bool batched = input->ndim == spatial + 2, last = ln_is_channels_last(x, spatial);
  ln_tensor *y = r_out_spatial(r, 0, shape, spatial, batched, last, input->dtype);
  ln_tensor *indices = r_out_spatial(r, 1, shape, spatial, batched, last, LN_INT64);
  if (!r_ok(r) || y->numel == 0) return;
  p.y = y->data;
  p.indices = (int64_t *)indices->data;
  set_strides(p.y_stride, y);
  KERNEL(r, max_pool, &p);
}

static void mean(ln_rule *r, int spatial) {
  ARGS(avg_pool1d);
  ln_pool p = {.dtype = input->dtype, .spatial = spatial};
  int64_t shape[5];
  if (!check_input(r, input, spatial) || !read_mean(r, &p)) return;
  ln_tensor *x = begin(r, &p, input, r_bool(r, a_ceil_mode), shape);
  ln_tensor *y = x ? r_out_spatial(r, 0, shape, spatial, input->ndim == spatial + 2, ln_is_channels_last(x, spatial), input->dtype) : NULL;
  if (!y || y->numel == 0) return;
  p.y = y->data;
  set_strides(p.y_stride, y);
  KERNEL(r, avg_pool, &p);
}

/* -- Gradients -- */

/* The size of the input with a batch dimension; dy must be what comes of it. */
static bool read_size(ln_rule *r, ln_pool *p, const ln_tensor *dy, int slot, bool ceil_mode, int64_t *full) {
  const int64_t *size;
  int n = r_list(r, slot, &size), lead = dy->ndim - p->spatial;
  full[0] = 1;
  if (!r_require(r, n == dy->ndim, "size %s does not go with dy %s", ln_shape_text(size, n), ln_shape_text(dy->shape, dy->ndim))) return false;
  memcpy(full + (n == p->spatial + 1), size, sizeof(int64_t) * (size_t)n);
  for (int i = 0; i < n; i++)
    if (!r_require(r, size[i] >= 0, "size %s must not be negative", ln_shape_text(size, n))) return false;
  set_shape(p, full);
  return count_windows(r, p, ceil_mode) &&
         r_require(r, ln_same_dims(dy->shape, size, lead) && ln_same_dims(dy->shape + lead, p->out, p->spatial),
                   "dy %s is not the result of an input %s", ln_shape_text(dy->shape, dy->ndim), ln_shape_text(size, n));
}

/* The output dx, zeroed where there is no dy; NULL when nothing is left to do. */
static ln_tensor *begin_dx(ln_rule *r, ln_pool *p, const ln_tensor *dy, const ln_tensor *model, const int64_t *full) {
  ln_tensor *dx = r_out_spatial(r, 0, full, p->spatial, dy->ndim == p->spatial + 2, ln_is_channels_last(model, p->spatial), dy->dtype);
  if (!dx || dx->numel == 0) return NULL;
  if (dy->numel == 0) {
    r_status(r, ln_zero(dx));
    return NULL;
  }
  p->y = dx->data;
  set_strides(p->x_stride, dx);
  return dx;
}

/* t in the layout of `model`, which is of the same shape. */
static ln_tensor *in_layout_of(ln_rule *r, ln_tensor *t, const ln_tensor *model) {
  if (!t || !model || ln_same_dims(t->stride, model->stride, t->ndim)) return model ? t : NULL;
  ln_tensor *moved = r_new_strided(r, model->shape, model->stride, model->ndim, t->dtype);
  return r_copy(r, moved, t) ? moved : NULL;
}

/* The indices say where each element goes; a device whose threads gather looks for them in the windows that hold an element. */
static void maximum_dx(ln_rule *r, int spatial) {
  ARGS(max_pool1d_dx);
  ln_pool p = {.dtype = dy->dtype, .spatial = spatial};
  int64_t full[5];
  if (!check_input(r, dy, spatial) || !read_max(r, &p) ||
      !r_require(r, ln_same_shape(dy, indices) && indices->dtype == LN_INT64, "dy %s and indices %s %s do not go together",
                 ln_shape_text(dy->shape, dy->ndim), ln_dtype_name(indices->dtype), ln_shape_text(indices->shape, indices->ndim)) ||
      !read_size(r, &p, dy, a_size, r_bool(r, a_ceil_mode), full))
    return;
  ln_tensor *at = r_with_batch(r, indices, spatial), *g = in_layout_of(r, r_with_batch(r, dy, spatial), at);
  if (!g || !begin_dx(r, &p, dy, at, full)) return;
  p.x = g->data;
  p.indices = (int64_t *)at->data;
  set_strides(p.y_stride, g);
  const char *failure = ln_kernels_of(r->device)->max_pool_dx(&p, r->device);
  if (failure && r->device == LN_CPU && !r_check_index(r, indices, 0, ln_numel(p.in, spatial), dy->ndim - 1)) return; /* which one it was */
  r_kernel(r, failure);
}

static void mean_dx(ln_rule *r, int spatial) {
  ARGS(avg_pool1d_dx);
  ln_pool p = {.dtype = dy->dtype, .spatial = spatial};
  int64_t full[5];
  if (!check_input(r, dy, spatial) || !read_mean(r, &p) || !read_size(r, &p, dy, a_size, r_bool(r, a_ceil_mode), full)) return;
  ln_tensor *g = r_with_batch(r, dy, spatial);
  if (!g || !begin_dx(r, &p, dy, g, full)) return;
  p.x = g->data;
  set_strides(p.y_stride, g);
  KERNEL(r, avg_pool_dx, &p);
}

#define POOLING(n)                                                 \
  void max_pool##n##d_forward(ln_rule *r) { maximum(r, n); }       \
  void max_pool##n##d_dx_forward(ln_rule *r) { maximum_dx(r, n); } \
  void avg_pool##n##d_forward(ln_rule *r) { mean(r, n); }          \
  void avg_pool##n##d_dx_forward(ln_rule *r) { mean_dx(r, n); }
POOLING(1)
POOLING(2)
POOLING(3)
