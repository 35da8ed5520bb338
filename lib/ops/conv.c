/* conv.c - convolution and its two gradients, each an operator, so that every order of derivative is made of the three.
 *
 * Results of floating convolutions on the cpu are laid out channels-last: what follows keeps that layout, and chains never convert it. */
#include "rules.h"

/* What the three operators share, slots counted from `first`: stride, padding, dilation, groups. */
static int read_options(const char *op, const ln_attrs *a, int first, ln_conv *v) {
  LN_TRY(ln_list_n(op, "stride", a, first, v->spatial, v->stride));
  LN_TRY(ln_list_n(op, "padding", a, first + 1, v->spatial, v->padding));
  LN_TRY(ln_list_n(op, "dilation", a, first + 2, v->spatial, v->dilation));
  v->groups = (int)ln_int(a, first + 3);
  for (int d = 0; d < v->spatial; d++) {
    if (v->stride[d] < 1 || v->dilation[d] < 1)
      return ln_fail("%s: stride %s and dilation %s must be at least 1", op, ln_shape_text(v->stride, v->spatial),
                     ln_shape_text(v->dilation, v->spatial));
    if (v->padding[d] < 0) return ln_fail("%s: padding %s must not be negative", op, ln_shape_text(v->padding, v->spatial));
  }
  return LN_OK;
}

/* Geometry of x and w and the size that follows for y. xs and ws: [N, C, spatial], [O, C / groups, kernel]. */
static int settle(const char *op, const int64_t *xs, const int64_t *ws, ln_conv *v) {
  v->n = xs[0];
  v->c = xs[1];
  v->o = ws[0];
  if (v->groups < 1 || v->c % v->groups || v->o % v->groups)
    return ln_fail("%s: %lld input and %lld output channels cannot be split into %d groups", op, (long long)v->c, (long long)v->o, v->groups);
  if (ws[1] * v->groups != v->c)
    return ln_fail("%s: weight expects %lld input channels, input has %lld (input %s, weight %s, groups %d)", op, (long long)(ws[1] * v->groups),
                   (long long)v->c, ln_shape_text(xs, v->spatial + 2), ln_shape_text(ws, v->spatial + 2), v->groups);
  for (int d = 0; d < v->spatial; d++) {
    v->in[d] = xs[2 + d];
    v->kernel[d] = ws[2 + d];
    int64_t reach = v->dilation[d] * (v->kernel[d] - 1) + 1, room = v->in[d] + 2 * v->padding[d];
    if (v->kernel[d] < 1) return ln_fail("%s: a kernel has at least one element (weight %s)", op, ln_shape_text(ws, v->spatial + 2));
    if (reach > room)
      return ln_fail("%s: the kernel reaches over %lld elements, the padded input has %lld (input %s, weight %s)", op, (long long)reach,
                     (long long)room, ln_shape_text(xs, v->spatial + 2), ln_shape_text(ws, v->spatial + 2));
    v->out[d] = (room - reach) / v->stride[d] + 1;
  }
  return LN_OK;
}

/* A tensor in [N, C, spatial] that a kernel can read: without gaps, with a batch dimension. Owned by the caller. */
static int readable(ln_tensor *t, int spatial, ln_tensor **out) {
  if (ln_is_dense(t)) {
    *out = ln_alias(t);
    if (!*out) return LN_NOMEM;
  } else {
    ln_tensor *dense;
    LN_TRY(ln_dense(t, t->dtype, &dense));
    *out = ln_alias(dense);
    ln_tensor_release(dense);
    if (!*out) return LN_NOMEM;
  }
  if (t->ndim == spatial + 2) return LN_OK;
  int64_t shape[5], stride[5];
  shape[0] = 1;
  stride[0] = (*out)->numel;
  memcpy(shape + 1, (*out)->shape, sizeof(int64_t) * (size_t)t->ndim);
  memcpy(stride + 1, (*out)->stride, sizeof(int64_t) * (size_t)t->ndim);
  ln_set_geometry(*out, shape, stride, spatial + 2);
  return LN_OK;
}

static void channels_last(const int64_t *shape, int ndim, int64_t *stride) {
  int64_t n = shape[1];
  stride[1] = 1;
  for (int d = ndim - 1; d >= 2; d--) {
    stride[d] = n;
    n *= shape[d];
  }
  stride[0] = n;
}

/* A new [N, C, spatial]; without the batch dimension when `batched` is false. */
static int make_output(ln_call *c, const int64_t *shape, int ndim, bool batched, const ln_tensor *like, int64_t *stride) {
  bool last = like->device == LN_CPU && ln_numel(shape, ndim) > 0;
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_new(shape, ndim, like->dtype, like->device, &c->out[0]));
  if (last) {
    int64_t places[5];
    channels_last(shape, ndim, places);
    ln_set_geometry(c->out[0], shape, places, ndim);
  }
  memcpy(stride, c->out[0]->stride, sizeof(int64_t) * (size_t)ndim);
  if (!batched) {
    int64_t s[5], p[5];
    memcpy(s, c->out[0]->shape, sizeof s);
    memcpy(p, c->out[0]->stride, sizeof p);
    ln_set_geometry(c->out[0], s + 1, p + 1, ndim - 1);
  }
  return LN_OK;
}

static void set_strides(int64_t *to, const ln_tensor *t) { memcpy(to, t->stride, sizeof(int64_t) * (size_t)t->ndim); }

static int check_operands(const char *op, const ln_tensor *x, const ln_tensor *w, int spatial) {
  LN_TRY(ln_check_float(op, "input", x));
  LN_TRY(ln_check_same_dtype(op, x, w));
  if (x->ndim != spatial + 2 && x->ndim != spatial + 1)
    return ln_fail("%s: input must have %d dimensions, or %d without a batch, got shape %s", op, spatial + 2, spatial + 1,
                   ln_shape_text(x->shape, x->ndim));
  return LN_OK;
}

typedef const char *(*pass_fn)(const ln_conv *c, int device);

static int run(const char *op, pass_fn pass, const ln_conv *v, int device, const ln_tensor *out) {
  return out->numel ? ln_kernel_status(op, pass(v, device)) : LN_OK;
}

/* -- Forward: x, weight, bias?; stride, padding, dilation, groups -- */

static int convolve(ln_call *c, int spatial) {
  ln_tensor *x = c->in[0], *w = c->in[1], *bias = c->in[2], *rx = NULL, *rw = NULL, *rb = NULL;
  ln_conv v = {.dtype = x->dtype, .spatial = spatial};
  LN_TRY(check_operands(c->name, x, w, spatial));
  LN_TRY(ln_check_dim(c->name, "weight", w, spatial + 2));
  if (bias) LN_TRY(ln_check_same_dtype(c->name, x, bias));
  LN_TRY(read_options(c->name, c->attrs, 0, &v));
  int64_t shape[5];
  int status = readable(x, spatial, &rx);
  if (status == LN_OK) status = settle(c->name, rx->shape, w->shape, &v);
  if (status == LN_OK && bias && (bias->ndim != 1 || bias->shape[0] != v.o))
    status = ln_fail("%s: bias must have shape {%lld}, got %s", c->name, (long long)v.o, ln_shape_text(bias->shape, bias->ndim));
  if (status == LN_OK) status = ln_dense(w, w->dtype, &rw);
  if (status == LN_OK && bias) status = ln_dense(bias, bias->dtype, &rb);
  shape[0] = v.n;
  shape[1] = v.o;
  memcpy(shape + 2, v.out, sizeof v.out);
  if (status == LN_OK) status = make_output(c, shape, spatial + 2, x->ndim == spatial + 2, x, v.y_stride);
  if (status == LN_OK) {
    v.x = rx->data;
    v.w = rw->data;
    v.bias = rb ? rb->data : NULL;
    v.y = c->out[0]->data;
    set_strides(v.x_stride, rx);
    set_strides(v.w_stride, rw);
    status = run(c->name, ln_kernels_of(x->device)->conv, &v, x->device, c->out[0]);
  }
  if (rx) ln_tensor_release(rx);
  if (rw) ln_tensor_release(rw);
  if (rb) ln_tensor_release(rb);
  c->keep_in = 3;
  return status;
}

/* The attributes of a gradient operator: the size it gives, then the convolution's own four. */
static void with_size(ln_attrs *to, const int64_t *size, int ndim, const ln_attrs *from) {
  *to = (ln_attrs){0};
  ln_attrs_ints(to, 4, size, ndim);
  for (int k = 0; k < 3; k++) {
    const int64_t *list;
    int n = ln_list(from, k, &list);
    ln_attrs_ints(to, k, list, n);
  }
  ln_attrs_int(to, 3, ln_int(from, 3));
}

static void without_size(ln_attrs *to, const ln_attrs *from) {
  *to = (ln_attrs){0};
  for (int k = 0; k < 3; k++) {
    const int64_t *list;
    int n = ln_list(from, k, &list);
    ln_attrs_ints(to, k, list, n);
  }
  ln_attrs_int(to, 3, ln_int(from, 3));
}

static ln_tensor *do_conv(ln_back *b, int op, ln_tensor *first, ln_tensor *second, const ln_attrs *attrs) {
  ln_tensor *const in[3] = {first, second, NULL};
  return first && second ? ln_do(b, op, in, op == LN_OP_conv2d ? 3 : 2, attrs) : NULL;
}

int conv2d_forward(ln_call *c) { return convolve(c, 2); }

void conv2d_backward(ln_back *b) {
  ln_attrs attrs;
  ln_tensor *g = b->g[0];
  if (b->needs[0]) {
    with_size(&attrs, b->shape[0], b->ndim[0], b->attrs);
    ln_give(b, 0, do_conv(b, LN_OP_conv2d_dx, g, b->in[1], &attrs));
  }
  if (b->needs[1]) {
    with_size(&attrs, b->shape[1], b->ndim[1], b->attrs);
    ln_give(b, 1, do_conv(b, LN_OP_conv2d_dw, b->in[0], g, &attrs));
  }
  if (b->n_in > 2 && b->needs[2]) ln_give(b, 2, ln_do_sum(b, g, g->ndim == 4 ? 13 : 6, false)); /* all dims but the channels' */
}

/* -- Gradient of the input: dy, weight; size, stride, padding, dilation, groups -- */

int conv2d_dx_forward(ln_call *c) {
  ln_tensor *dy = c->in[0], *w = c->in[1], *rdy = NULL, *rw = NULL;
  const int spatial = 2;
  ln_conv v = {.dtype = dy->dtype, .spatial = spatial};
  const int64_t *size;
  int n = ln_list(c->attrs, 4, &size);
  int64_t shape[5] = {1};
  LN_TRY(check_operands(c->name, dy, w, spatial));
  LN_TRY(ln_check_dim(c->name, "weight", w, spatial + 2));
  if (n != dy->ndim) return ln_fail("%s: size %s does not go with dy %s", c->name, ln_shape_text(size, n), ln_shape_text(dy->shape, dy->ndim));
  LN_TRY(read_options(c->name, c->attrs, 0, &v));
  memcpy(shape + (n == spatial + 1), size, sizeof(int64_t) * (size_t)n);
  LN_TRY(settle(c->name, shape, w->shape, &v));
  int status = readable(dy, spatial, &rdy);
  if (status == LN_OK) status = ln_dense(w, w->dtype, &rw);
  if (status == LN_OK) status = make_output(c, shape, spatial + 2, n == spatial + 2, dy, v.x_stride);
  if (status == LN_OK) {
    v.dy = rdy->data;
    v.w = rw->data;
    v.y = c->out[0]->data;
    set_strides(v.y_stride, rdy);
    set_strides(v.w_stride, rw);
    if (!ln_same_dims(rdy->shape + 2, v.out, spatial))
      status = ln_fail("%s: dy %s is not the result of an input %s", c->name, ln_shape_text(dy->shape, dy->ndim), ln_shape_text(size, n));
    if (status == LN_OK && dy->numel == 0)
      status = ln_zero(c->out[0]);
    else if (status == LN_OK)
      status = run(c->name, ln_kernels_of(dy->device)->conv_dx, &v, dy->device, c->out[0]);
  }
  if (rdy) ln_tensor_release(rdy);
  if (rw) ln_tensor_release(rw);
  c->keep_in = 3;
  return status;
}

void conv2d_dx_backward(ln_back *b) {
  ln_attrs attrs;
  ln_tensor *g = b->g[0];
  without_size(&attrs, b->attrs);
  if (b->needs[0]) ln_give(b, 0, do_conv(b, LN_OP_conv2d, g, b->in[1], &attrs));
  with_size(&attrs, b->shape[1], b->ndim[1], b->attrs);
  if (b->needs[1]) ln_give(b, 1, do_conv(b, LN_OP_conv2d_dw, g, b->in[0], &attrs));
}

/* -- Gradient of the weight: x, dy; size, stride, padding, dilation, groups -- */

int conv2d_dw_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *dy = c->in[1], *rx = NULL, *rdy = NULL;
  const int spatial = 2;
  ln_conv v = {.dtype = x->dtype, .spatial = spatial};
  const int64_t *size;
  int n = ln_list(c->attrs, 4, &size);
  LN_TRY(check_operands(c->name, x, dy, spatial));
  if (n != spatial + 2) return ln_fail("%s: size %s is no weight's", c->name, ln_shape_text(size, n));
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(read_options(c->name, c->attrs, 0, &v));
  int status = readable(x, spatial, &rx);
  if (status == LN_OK) status = readable(dy, spatial, &rdy);
  if (status == LN_OK) status = settle(c->name, rx->shape, size, &v);
  if (status == LN_OK && (rdy->shape[0] != v.n || rdy->shape[1] != v.o || !ln_same_dims(rdy->shape + 2, v.out, spatial)))
    status = ln_fail("%s: dy %s is not the result of an input %s", c->name, ln_shape_text(dy->shape, dy->ndim), ln_shape_text(x->shape, x->ndim));
  if (status == LN_OK) status = ln_new(size, n, x->dtype, x->device, &c->out[0]);
  if (status == LN_OK) {
    v.x = rx->data;
    v.dy = rdy->data;
    v.y = c->out[0]->data;
    set_strides(v.x_stride, rx);
    set_strides(v.y_stride, rdy);
    set_strides(v.w_stride, c->out[0]);
    if (dy->numel == 0)
      status = ln_zero(c->out[0]);
    else
      status = run(c->name, ln_kernels_of(x->device)->conv_dw, &v, x->device, c->out[0]);
  }
  if (rx) ln_tensor_release(rx);
  if (rdy) ln_tensor_release(rdy);
  c->keep_in = 3;
  return status;
}

void conv2d_dw_backward(ln_back *b) {
  ln_attrs attrs;
  ln_tensor *g = b->g[0];
  with_size(&attrs, b->shape[0], b->ndim[0], b->attrs);
  if (b->needs[0]) ln_give(b, 0, do_conv(b, LN_OP_conv2d_dx, b->in[1], g, &attrs));
  without_size(&attrs, b->attrs);
  if (b->needs[1]) ln_give(b, 1, do_conv(b, LN_OP_conv2d, b->in[0], g, &attrs));
}
