/* pool.c - maximum and mean over windows. Written for any number of spatial dims; the rows of the table fix it. */
#include "rules.h"

/* Sizes of the windows; slots: kernel_size, stride? (the kernel's), padding, and dilation where the operator has one. */
static int read_windows(const char *op, const ln_attrs *a, int first, bool dilated, ln_pool *p) {
  LN_TRY(ln_list_n(op, "kernel_size", a, first, p->spatial, p->kernel));
  const int64_t *list;
  if (ln_has(a, first + 1) && ln_list(a, first + 1, &list) > 0)
    LN_TRY(ln_list_n(op, "stride", a, first + 1, p->spatial, p->stride));
  else
    memcpy(p->stride, p->kernel, sizeof p->stride);
  LN_TRY(ln_list_n(op, "padding", a, first + 2, p->spatial, p->padding));
  for (int d = 0; d < p->spatial; d++) p->dilation[d] = 1;
  if (dilated) LN_TRY(ln_list_n(op, "dilation", a, first + 3, p->spatial, p->dilation));
  for (int d = 0; d < p->spatial; d++) {
    if (p->kernel[d] < 1 || p->stride[d] < 1 || p->dilation[d] < 1)
      return ln_fail("%s: kernel_size %s, stride %s and dilation %s must be at least 1", op, ln_shape_text(p->kernel, p->spatial),
                     ln_shape_text(p->stride, p->spatial), ln_shape_text(p->dilation, p->spatial));
    if (p->padding[d] < 0 || 2 * p->padding[d] > p->dilation[d] * (p->kernel[d] - 1) + 1)
      return ln_fail("%s: padding %s must lie between 0 and half the kernel %s", op, ln_shape_text(p->padding, p->spatial),
                     ln_shape_text(p->kernel, p->spatial));
  }
  return LN_OK;
}

/* How many windows there are; with ceil_mode also one that hangs over the end, if it begins inside the input or the left padding. */
static int count_windows(const char *op, ln_pool *p, bool ceil_mode) {
  for (int d = 0; d < p->spatial; d++) {
    int64_t reach = p->dilation[d] * (p->kernel[d] - 1) + 1, room = p->in[d] + 2 * p->padding[d] - reach;
    int64_t n = room < 0 && !(ceil_mode && room + p->stride[d] > 0) ? 0 : (room + (ceil_mode ? p->stride[d] - 1 : 0)) / p->stride[d] + 1;
    if (ceil_mode && (n - 1) * p->stride[d] >= p->in[d] + p->padding[d]) n--;
    if (n < 1)
      return ln_fail("%s: the window of %lld does not fit into an input of %lld with padding %lld", op, (long long)reach, (long long)p->in[d],
                     (long long)p->padding[d]);
    p->out[d] = n;
  }
  return LN_OK;
}

/* Puts a batch dimension in front where there is none. */
static void with_batch(const int64_t *shape, const int64_t *stride, int ndim, int spatial, int64_t *full, int64_t *places) {
  int lead = spatial + 2 - ndim;
  full[0] = 1;
  if (places) places[0] = 0;
  memcpy(full + lead, shape, sizeof(int64_t) * (size_t)ndim);
  if (places) memcpy(places + lead, stride, sizeof(int64_t) * (size_t)ndim);
}

static int check_input(const char *op, const ln_tensor *x, int spatial) {
  if (x->ndim == spatial + 2 || x->ndim == spatial + 1) return LN_OK;
  return ln_fail("%s: input must have %d dimensions, or %d without a batch, got shape %s", op, spatial + 2, spatial + 1,
                 ln_shape_text(x->shape, x->ndim));
}

/* A tensor without gaps, retained; its geometry with a batch dimension. */
static int readable(ln_tensor *t, int spatial, ln_tensor **out, int64_t *shape, int64_t *stride) {
  if (ln_is_dense(t)) {
    ln_tensor_retain(t);
    *out = t;
  } else {
    LN_TRY(ln_dense(t, t->dtype, out));
  }
  with_batch((*out)->shape, (*out)->stride, t->ndim, spatial, shape, stride);
  return LN_OK;
}

/* A new tensor [N, C, spatial] in the layout of another: channels-last stays so. */
static int like_layout(ln_call *c, int i, const int64_t *shape, int ndim, const ln_tensor *model, int dtype) {
  bool last = model->ndim >= 3 && model->stride[model->ndim - 1] != 1 && model->stride[model->ndim - 3 < 0 ? 0 : model->ndim - 3] == 1;
  int64_t stride[5], n;
  int channel = ndim - 3;
  if (!last || ln_numel(shape, ndim) == 0) return ln_new(shape, ndim, dtype, model->device, &c->out[i]);
  n = shape[channel];
  stride[channel] = 1;
  for (int d = ndim - 1; d > channel; d--) {
    stride[d] = n;
    n *= shape[d];
  }
  if (channel > 0) stride[0] = n;
  return ln_new_strided(shape, stride, ndim, dtype, model->device, &c->out[i]);
}

static void output_shape(const ln_tensor *x, const ln_pool *p, int64_t *shape) {
  int lead = x->ndim - p->spatial;
  memcpy(shape, x->shape, sizeof(int64_t) * (size_t)lead);
  memcpy(shape + lead, p->out, sizeof(int64_t) * (size_t)p->spatial);
}

/* -- max_pool2d: kernel_size, stride?, padding, dilation, ceil_mode -- */

int max_pool2d_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *rx;
  ln_pool p = {.dtype = x->dtype, .spatial = 2};
  int64_t full[5], shape[5], places[5];
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_check_float(c->name, "input", x));
  LN_TRY(check_input(c->name, x, p.spatial));
  LN_TRY(read_windows(c->name, c->attrs, 0, true, &p));
  LN_TRY(readable(x, p.spatial, &rx, full, p.x_stride));
  p.n = full[0];
  p.c = full[1];
  memcpy(p.in, full + 2, sizeof(int64_t) * (size_t)p.spatial);
  int status = count_windows(c->name, &p, ln_int(c->attrs, 4));
  output_shape(x, &p, shape);
  if (status == LN_OK) status = like_layout(c, 0, shape, x->ndim, rx, x->dtype);
  if (status == LN_OK) status = like_layout(c, 1, shape, x->ndim, rx, LN_INT64);
  if (status == LN_OK && c->out[0]->numel) {
    with_batch(shape, c->out[0]->stride, x->ndim, p.spatial, full, places);
    memcpy(p.y_stride, places, sizeof places);
    p.x = rx->data;
    p.y = c->out[0]->data;
    p.indices = (int64_t *)c->out[1]->data;
    status = ln_kernel_status(c->name, ln_kernels_of(x->device)->max_pool(&p, x->device));
  }
  ln_tensor_release(rx);
  c->keep_out = 2;
  return status;
}

void max_pool2d_backward(ln_back *b) {
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 5, b->shape[0], b->ndim[0]);
  for (int k = 0; k < 4; k++) {
    const int64_t *list;
    if (!ln_has(b->attrs, k)) continue;
    int n = ln_list(b->attrs, k, &list);
    ln_attrs_ints(&attrs, k, list, n);
  }
  ln_tensor *const in[2] = {b->g[0], b->out[1]};
  if (in[0]) ln_give(b, 0, ln_do(b, LN_OP_max_pool2d_dx, in, 2, &attrs));
}

/* dy, indices; size, kernel_size, stride?, padding, dilation. The indices say where each element goes; a device whose threads gather looks for
 * them in the windows that hold an element. */
int max_pool2d_dx_forward(ln_call *c) {
  ln_tensor *dy = c->in[0], *indices = c->in[1], *places = NULL, *g = NULL;
  const int64_t *size;
  int n = ln_list(c->attrs, 5, &size);
  ln_pool p = {.dtype = dy->dtype, .spatial = 2};
  int64_t full[5], out[5];
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(check_input(c->name, dy, p.spatial));
  LN_TRY(read_windows(c->name, c->attrs, 0, true, &p));
  if (n != dy->ndim || !ln_same_shape(dy, indices) || indices->dtype != LN_INT64)
    return ln_fail("%s: dy %s, indices %s and size %s do not go together", c->name, ln_shape_text(dy->shape, dy->ndim),
                   ln_shape_text(indices->shape, indices->ndim), ln_shape_text(size, n));
  /* both in the layout of the indices */
  int status = ln_is_dense(indices) ? (ln_tensor_retain(places = indices), LN_OK) : ln_dense(indices, LN_INT64, &places);
  if (status == LN_OK) status = ln_new_strided(places->shape, places->stride, n, dy->dtype, dy->device, &g);
  if (status == LN_OK) status = ln_copy_into(g, dy);
  if (status == LN_OK) status = like_layout(c, 0, size, n, places, dy->dtype);
  if (status == LN_OK && dy->numel == 0) status = ln_zero(c->out[0]);
  if (status == LN_OK && dy->numel) {
    with_batch(dy->shape, places->stride, n, p.spatial, full, p.y_stride);
    memcpy(p.out, full + 2, sizeof(int64_t) * (size_t)p.spatial);
    with_batch(size, c->out[0]->stride, n, p.spatial, out, p.x_stride);
    p.n = out[0];
    p.c = out[1];
    memcpy(p.in, out + 2, sizeof(int64_t) * (size_t)p.spatial);
    p.x = g->data;
    p.y = c->out[0]->data;
    p.indices = (int64_t *)places->data;
    status = ln_kernel_status(c->name, ln_kernels_of(dy->device)->max_pool_dx(&p, dy->device));
  }
  if (g) ln_tensor_release(g);
  if (places) ln_tensor_release(places);
  c->keep_in = 2;
  return status;
}

/* What was scattered is gathered again, plane by plane. */
void max_pool2d_dx_backward(ln_back *b) {
  int n = b->ndim[0], lead = n - 2;
  int64_t planes[5], picked[5];
  memcpy(planes, b->g[0]->shape, sizeof(int64_t) * (size_t)lead);
  memcpy(picked, b->shape[0], sizeof(int64_t) * (size_t)lead);
  planes[lead] = b->g[0]->shape[n - 2] * b->g[0]->shape[n - 1];
  picked[lead] = b->shape[0][n - 2] * b->shape[0][n - 1];
  ln_tensor *const in[2] = {ln_do_view(b, b->g[0], planes, lead + 1), ln_do_view(b, b->in[1], picked, lead + 1)};
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, lead);
  if (in[0] && in[1]) ln_give(b, 0, ln_do_view(b, ln_do(b, LN_OP_gather, in, 2, &attrs), b->shape[0], n));
}

/* -- avg_pool2d: kernel_size, stride?, padding, ceil_mode, count_include_pad, divisor_override? -- */

static int read_mean(ln_call *c, int first, ln_pool *p) {
  LN_TRY(read_windows(c->name, c->attrs, first, false, p));
  p->count_include_pad = ln_int(c->attrs, first + 4);
  p->divisor = ln_has(c->attrs, first + 5) ? ln_int(c->attrs, first + 5) : 0;
  if (ln_has(c->attrs, first + 5) && p->divisor == 0) return ln_fail("%s: divisor_override must not be 0", c->name);
  return LN_OK;
}

int avg_pool2d_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *rx;
  ln_pool p = {.dtype = x->dtype, .spatial = 2};
  int64_t full[5], shape[5];
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_check_float(c->name, "input", x));
  LN_TRY(check_input(c->name, x, p.spatial));
  LN_TRY(read_mean(c, 0, &p));
  LN_TRY(readable(x, p.spatial, &rx, full, p.x_stride));
  p.n = full[0];
  p.c = full[1];
  memcpy(p.in, full + 2, sizeof(int64_t) * (size_t)p.spatial);
  int status = count_windows(c->name, &p, ln_int(c->attrs, 3));
  output_shape(x, &p, shape);
  if (status == LN_OK) status = like_layout(c, 0, shape, x->ndim, rx, x->dtype);
  if (status == LN_OK && c->out[0]->numel) {
    with_batch(shape, c->out[0]->stride, x->ndim, p.spatial, full, p.y_stride);
    p.x = rx->data;
    p.y = c->out[0]->data;
    status = ln_kernel_status(c->name, ln_kernels_of(x->device)->avg_pool(&p, x->device));
  }
  ln_tensor_release(rx);
  return status;
}

/* The attributes after one more, or one less, in front. */
static void shift(ln_attrs *to, const ln_attrs *from, int from_first, int to_first) {
  const int64_t *list;
  for (int k = 0; k < 3; k++) {
    if (!ln_has(from, from_first + k)) continue;
    int n = ln_list(from, from_first + k, &list);
    ln_attrs_ints(to, to_first + k, list, n);
  }
  for (int k = 3; k < 6; k++)
    if (ln_has(from, from_first + k)) ln_attrs_int(to, to_first + k, ln_int(from, from_first + k));
}

void avg_pool2d_backward(ln_back *b) {
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 6, b->shape[0], b->ndim[0]);
  shift(&attrs, b->attrs, 0, 0);
  ln_give(b, 0, ln_do(b, LN_OP_avg_pool2d_dx, &b->g[0], 1, &attrs));
}

int avg_pool2d_dx_forward(ln_call *c) {
  ln_tensor *dy = c->in[0], *g;
  const int64_t *size;
  int n = ln_list(c->attrs, 6, &size);
  ln_pool p = {.dtype = dy->dtype, .spatial = 2};
  int64_t full[5], out[5];
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(check_input(c->name, dy, p.spatial));
  if (n != dy->ndim) return ln_fail("%s: size %s does not go with dy %s", c->name, ln_shape_text(size, n), ln_shape_text(dy->shape, dy->ndim));
  LN_TRY(read_mean(c, 0, &p));
  LN_TRY(readable(dy, p.spatial, &g, full, p.y_stride));
  memcpy(p.out, full + 2, sizeof(int64_t) * (size_t)p.spatial);
  int status = like_layout(c, 0, size, n, g, dy->dtype);
  if (status == LN_OK && dy->numel == 0) status = ln_zero(c->out[0]);
  if (status == LN_OK && dy->numel) {
    with_batch(size, c->out[0]->stride, n, p.spatial, out, p.x_stride);
    p.n = out[0];
    p.c = out[1];
    memcpy(p.in, out + 2, sizeof(int64_t) * (size_t)p.spatial);
    p.x = g->data;
    p.y = c->out[0]->data;
    status = ln_kernel_status(c->name, ln_kernels_of(dy->device)->avg_pool_dx(&p, dy->device));
  }
  ln_tensor_release(g);
  return status;
}

void avg_pool2d_dx_backward(ln_back *b) {
  ln_attrs attrs = {0};
  shift(&attrs, b->attrs, 0, 0);
  ln_give(b, 0, ln_do(b, LN_OP_avg_pool2d, &b->g[0], 1, &attrs));
}
