/* conv.c - convolution and its two gradients, each an operator, so that every order of derivative is made of the three (ops.def).
 *
 * Results of floating convolutions on the cpu are laid out channels-last: what follows keeps that layout, and chains never convert it. */
#include "shape.h"

/* The attributes of all three, in the same slots. */
static bool read_options(ln_rule *r, ln_conv *v) {
  SLOTS(conv1d);
  if (!r_sizes(r, a_stride, v->spatial, v->stride) || !r_sizes(r, a_padding, v->spatial, v->padding) ||
      !r_sizes(r, a_dilation, v->spatial, v->dilation))
    return false;
  int64_t groups = r_int(r, a_groups);
  if (!r_require(r, groups >= 1 && groups <= INT32_MAX, "groups must be at least 1, got %lld", (long long)groups)) return false;
  v->groups = (int)groups;
  for (int d = 0; d < v->spatial; d++) {
    if (!r_require(r, v->stride[d] >= 1 && v->dilation[d] >= 1, "stride %s and dilation %s must be at least 1", ln_shape_text(v->stride, v->spatial),
                   ln_shape_text(v->dilation, v->spatial)) ||
        !r_require(r, v->padding[d] >= 0, "padding %s must not be negative", ln_shape_text(v->padding, v->spatial)))
      return false;
  }
  return true;
}

/* One dim of the result's size. */
static bool resolve_dim(ln_rule *r, ln_conv *v, int d, const int64_t *xs, const int64_t *ws) {
  int64_t reach = 0, room = 0;
  v->in[d] = xs[2 + d];
  v->kernel[d] = ws[2 + d];
  if (!r_require(r, v->kernel[d] >= 1, "a kernel has at least one element (weight %s)", ln_shape_text(ws, v->spatial + 2))) return false;
  bool large = __builtin_mul_overflow(v->dilation[d], v->kernel[d] - 1, &reach) || __builtin_add_overflow(reach, 1, &reach) ||
               __builtin_mul_overflow(v->padding[d], 2, &room) || __builtin_add_overflow(room, v->in[d], &room);
  if (!r_require(r, !large, "dilation %s or padding %s is too large", ln_shape_text(v->dilation, v->spatial),
                 ln_shape_text(v->padding, v->spatial)) ||
      !r_require(r, reach <= room, "the kernel reaches over %lld elements, the padded input has %lld (input %s, weight %s)", (long long)reach,
                 (long long)room, ln_shape_text(xs, v->spatial + 2), ln_shape_text(ws, v->spatial + 2)))
    return false;
  v->out[d] = (room - reach) / v->stride[d] + 1;
  return true;
}

/* Geometry of x and w and the size that follows for y. xs and ws: [N, C, spatial], [O, C / groups, kernel]. */
static bool resolve(ln_rule *r, const int64_t *xs, const int64_t *ws, ln_conv *v) {
  v->n = xs[0];
  v->c = xs[1];
  v->o = ws[0];
  if (!r_require(r, v->c % v->groups == 0 && v->o % v->groups == 0, "%lld input and %lld output channels cannot be split into %d groups",
                 (long long)v->c, (long long)v->o, v->groups) ||
      !r_require(r, ws[1] * v->groups == v->c, "weight expects %lld input channels, input has %lld (input %s, weight %s, groups %d)",
                 (long long)(ws[1] * v->groups), (long long)v->c, ln_shape_text(xs, v->spatial + 2), ln_shape_text(ws, v->spatial + 2), v->groups))
    return false;
  for (int d = 0; d < v->spatial; d++)
    if (!resolve_dim(r, v, d, xs, ws)) return false;
  return true;
}

static void set_strides(int64_t *to, const ln_tensor *t) { memcpy(to, t->stride, sizeof(int64_t) * (size_t)t->ndim); }

static bool check_operands(ln_rule *r, const ln_tensor *x, const ln_tensor *w, int spatial) {
  return r_check_float(r, "input", x) && r_check_same_dtype(r, x, w) && r_check_spatial(r, x, spatial);
}

/* -- Forward -- */

static bool check_bias(ln_rule *r, const ln_tensor *x, const ln_tensor *bias, int64_t channels) {
  return !bias ||
         (r_check_same_dtype(r, x, bias) && r_require(r, bias->ndim == 1 && bias->shape[0] == channels, "bias must have shape {%lld}, got %s",
                                                      (long long)channels, ln_shape_text(bias->shape, bias->ndim)));
}

/* What comes of an input without channels. */
static void only_bias(ln_rule *r, ln_tensor *y, ln_tensor *bias, int spatial) {
  if (!bias) {
    r_status(r, ln_zero(y));
    return;
  }
  const int64_t channels[4] = {bias->numel, 1, 1, 1};
  r_copy(r, y, r_reshape(r, bias, channels, spatial + 1));
}

static void convolve(ln_rule *r, int spatial) {
  ARGS(conv1d);
  ln_conv v = {.dtype = input->dtype, .spatial = spatial};
  if (!check_operands(r, input, weight, spatial) || !r_check_ndim(r, "weight", weight, spatial + 2) || !read_options(r, &v)) return;
  ln_tensor *x = r_with_batch(r, input, spatial);
  if (!x || !resolve(r, x->shape, weight->shape, &v) || !check_bias(r, input, bias, v.o)) return;
  int64_t shape[5] = {v.n, v.o, v.out[0], v.out[1], v.out[2]};
  ln_tensor *w = r_dense(r, weight, weight->dtype), *b = bias ? r_dense(r, bias, bias->dtype) : NULL;
  ln_tensor *y = r_out_spatial(r, 0, shape, spatial, input->ndim == spatial + 2, r->device == LN_CPU, input->dtype);
  if (!r_ok(r) || y->numel == 0) return;
  if (w->numel == 0) {
    only_bias(r, y, b, spatial);
    return;
  }
  v.x = x->data;
  v.w = w->data;
  v.bias = b ? b->data : NULL;
  v.y = y->data;
  set_strides(v.x_stride, x);
  set_strides(v.w_stride, w);
  set_strides(v.y_stride, y);
  KERNEL(r, conv, &v);
}

/* -- Gradient of the input -- */

static void convolve_dx(ln_rule *r, int spatial) {
  ARGS(conv1d_dx);
  ln_conv v = {.dtype = dy->dtype, .spatial = spatial};
  const int64_t *size;
  int n = r_list(r, a_size, &size);
  int64_t shape[5] = {1};
  if (!check_operands(r, dy, weight, spatial) || !r_check_ndim(r, "weight", weight, spatial + 2) ||
      !r_require(r, n == dy->ndim, "size %s does not go with dy %s", ln_shape_text(size, n), ln_shape_text(dy->shape, dy->ndim)) ||
      !read_options(r, &v))
    return;
  memcpy(shape + (n == spatial + 1), size, sizeof(int64_t) * (size_t)n);
  ln_tensor *g = r_with_batch(r, dy, spatial);
  if (!g || !resolve(r, shape, weight->shape, &v)) return;
  int64_t want[5] = {v.n, v.o, v.out[0], v.out[1], v.out[2]};
  if (!r_require(r, ln_same_dims(g->shape, want, spatial + 2), "dy %s is not the result of an input %s", ln_shape_text(dy->shape, dy->ndim),
                 ln_shape_text(size, n)))
    return;
  ln_tensor *w = r_dense(r, weight, weight->dtype), *dx = r_out_spatial(r, 0, shape, spatial, n == spatial + 2, r->device == LN_CPU, dy->dtype);
  if (!r_ok(r) || dx->numel == 0) return;
  if (dy->numel == 0) {
    r_status(r, ln_zero(dx));
    return;
  }
  v.dy = g->data;
  v.w = w->data;
  v.y = dx->data;
  set_strides(v.y_stride, g);
  set_strides(v.w_stride, w);
  set_strides(v.x_stride, dx);
  KERNEL(r, conv_dx, &v);
}

/* -- Gradient of the weight -- */

static void convolve_dw(ln_rule *r, int spatial) {
  ARGS(conv1d_dw);
  ln_conv v = {.dtype = input->dtype, .spatial = spatial};
  const int64_t *size;
  int n = r_list(r, a_size, &size);
  if (!check_operands(r, input, dy, spatial) || !r_require(r, n == spatial + 2, "size %s is no weight's", ln_shape_text(size, n)) ||
      !r_require(r, dy->ndim == input->ndim, "dy %s does not go with input %s", ln_shape_text(dy->shape, dy->ndim),
                 ln_shape_text(input->shape, input->ndim)) ||
      !read_options(r, &v))
    return;
  ln_tensor *x = r_with_batch(r, input, spatial), *g = r_with_batch(r, dy, spatial);
  if (!r_ok(r) || !resolve(r, x->shape, size, &v)) return;
  int64_t want[5] = {v.n, v.o, v.out[0], v.out[1], v.out[2]};
  if (!r_require(r, ln_same_dims(g->shape, want, spatial + 2), "dy %s is not the result of an input %s", ln_shape_text(dy->shape, dy->ndim),
                 ln_shape_text(input->shape, input->ndim)))
    return;
  ln_tensor *dw = r_out(r, 0, size, n, input->dtype);
  if (!dw || dw->numel == 0) return;
  if (dy->numel == 0) {
    r_status(r, ln_zero(dw));
    return;
  }
  v.x = x->data;
  v.dy = g->data;
  v.y = dw->data;
  set_strides(v.x_stride, x);
  set_strides(v.y_stride, g);
  set_strides(v.w_stride, dw);
  KERNEL(r, conv_dw, &v);
}

#define CONVOLUTION(n)                                          \
  void conv##n##d_forward(ln_rule *r) { convolve(r, n); }       \
  void conv##n##d_dx_forward(ln_rule *r) { convolve_dx(r, n); } \
  void conv##n##d_dw_forward(ln_rule *r) { convolve_dw(r, n); }
CONVOLUTION(1)
CONVOLUTION(2)
CONVOLUTION(3)
