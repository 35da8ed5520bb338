/* copy.c - moving values between layouts, dtypes and devices: the helpers of all rules, and the operators clone, contiguous, to, copy. */
#include "rules.h"

/* -- Helpers -- */

static int copy_here(ln_tensor *y, ln_tensor *x) {
  ln_loop loop;
  ln_tensor *const operands[2] = {y, x};
  ln_loop_init(&loop, operands, 2);
  if (loop.numel == 0) return LN_OK;
  return ln_kernel_status("copy", ln_kernels_of(y->device)->convert(&loop, y->device));
}

/* Across devices bytes move as they are: x is made row-major of y's dtype where it lives, and laid out where it arrives. */
static int copy_across(ln_tensor *y, ln_tensor *x) {
  ln_tensor *packed = NULL, *arrived = NULL;
  int status = ln_dense(x, y->dtype, &packed);
  if (status == LN_OK) status = ln_new(x->shape, x->ndim, y->dtype, y->device, &arrived);
  const ln_kernels *k = ln_kernels_of(y->device == LN_CPU ? x->device : y->device);
  if (status == LN_OK)
    status = ln_kernel_status("copy", k->copy(arrived->data, y->device, packed->data, x->device, (size_t)(x->numel * ln_itemsize(y))));
  if (status == LN_OK) status = copy_here(y, arrived);
  if (packed) ln_tensor_release(packed);
  if (arrived) ln_tensor_release(arrived);
  return status;
}

int ln_copy_into(ln_tensor *y, ln_tensor *x) { return y->device == x->device ? copy_here(y, x) : copy_across(y, x); }

int ln_dense(ln_tensor *t, int dtype, ln_tensor **out) {
  if (t->dtype == dtype && ln_tensor_is_contiguous(t)) {
    ln_tensor_retain(t);
    *out = t;
    return LN_OK;
  }
  LN_TRY(ln_new_like(t, dtype, out));
  int status = copy_here(*out, t);
  if (status != LN_OK) ln_tensor_release(*out);
  return status;
}

int ln_zero(ln_tensor *y) {
  static const double zero = 0;
  if (y->numel == 0) return LN_OK;
  if (y->device == LN_CPU && ln_is_dense(y)) {
    memset(y->data, 0, (size_t)(y->numel * ln_itemsize(y)));
    return LN_OK;
  }
  ln_tensor *number;
  LN_TRY(ln_new(NULL, 0, LN_FLOAT64, LN_CPU, &number));
  memcpy(number->data, &zero, sizeof zero);
  int status = ln_copy_into(y, number);
  ln_tensor_release(number);
  return status;
}

/* in[0] handed on with its history, as the operators that may change nothing do. */
static int pass_on(ln_call *c) { return ln_call_alias(c, c->in[0]->shape, c->in[0]->stride, c->in[0]->ndim, 0); }

/* -- Operators -- */

int clone_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  LN_TRY(ln_new_strided(x->shape, ln_is_dense(x) ? x->stride : NULL, x->ndim, x->dtype, x->device, &c->out[0]));
  return ln_copy_into(c->out[0], x);
}

void clone_backward(ln_back *b) { ln_give(b, 0, b->g[0]); }

int contiguous_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  if (ln_tensor_is_contiguous(x)) return pass_on(c);
  LN_TRY(ln_new_like(x, x->dtype, &c->out[0]));
  return ln_copy_into(c->out[0], x);
}

void contiguous_backward(ln_back *b) { ln_give(b, 0, b->g[0]); }

int to_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  int dtype = ln_has(c->attrs, 0) ? (int)ln_int(c->attrs, 0) : x->dtype;
  int device = ln_has(c->attrs, 1) ? (int)ln_int(c->attrs, 1) : x->device;
  if (c->target) return ln_fail("to: there is no in-place form");
  LN_TRY(ln_device_check(device));
  if (dtype == x->dtype && device == x->device && !ln_int(c->attrs, 2)) return pass_on(c);
  LN_TRY(ln_new_strided(x->shape, ln_is_dense(x) ? x->stride : NULL, x->ndim, dtype, device, &c->out[0]));
  if (c->recording && !ln_is_float(dtype)) c->recording = false;
  return ln_copy_into(c->out[0], x);
}

void to_backward(ln_back *b) {
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, b->dtype[0]);
  ln_attrs_int(&attrs, 1, b->device);
  ln_give(b, 0, ln_do(b, LN_OP_to, &b->g[0], 1, &attrs));
}

/* The gradient of x is 0: all of it was overwritten. */
int copy_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *src = c->in[1];
  int64_t shape[16];
  int ndim;
  LN_TRY(ln_broadcast(c->name, x, src, shape, &ndim));
  if (ndim != x->ndim || !ln_same_dims(shape, x->shape, ndim))
    return ln_fail("copy_: a source of shape %s does not fit into %s", ln_shape_text(src->shape, src->ndim), ln_shape_text(x->shape, x->ndim));
  LN_TRY(ln_call_out(c, 0, x->shape, x->ndim, x->dtype));
  if (c->target && src != x && src->storage == x->storage) {
    ln_tensor *apart;
    LN_TRY(ln_new_like(src, src->dtype, &apart));
    int status = ln_copy_into(apart, src);
    if (status == LN_OK) status = ln_copy_into(x, apart);
    ln_tensor_release(apart);
    return status;
  }
  return ln_copy_into(c->out[0], src);
}

void copy_backward(ln_back *b) {
  if (b->needs[0]) ln_give(b, 0, ln_do_zeros(b, 0));
  if (!b->needs[1]) return;
  ln_tensor *dsrc = ln_do_sum_to(b, b->g[0], b->shape[1], b->ndim[1]);
  ln_give(b, 1, ln_do_to(b, dsrc, b->dtype[1]));
}

int sum_to_size_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  const int64_t *size;
  int n = ln_list(c->attrs, 0, &size), lead = x->ndim - n, dims = 0;
  int64_t summed[16];
  if (n > x->ndim)
    return ln_fail("sum_to_size: shape %s has fewer dimensions than size %s", ln_shape_text(x->shape, x->ndim), ln_shape_text(size, n));
  for (int i = 0; i < x->ndim; i++) {
    if (i >= lead && size[i - lead] == x->shape[i]) continue;
    if (i >= lead && size[i - lead] != 1)
      return ln_fail("sum_to_size: shape %s cannot be summed to %s", ln_shape_text(x->shape, x->ndim), ln_shape_text(size, n));
    summed[dims++] = i;
  }
  if (dims == 0) return pass_on(c);
  ln_attrs attrs = {0};
  ln_tensor *sum;
  ln_attrs_ints(&attrs, 0, summed, dims);
  ln_attrs_int(&attrs, 1, true);
  ln_attrs_int(&attrs, 2, x->dtype);
  int mode = ln_mode_set(ln_mode_get() & ~LN_MODE_GRAD);
  int status = ln_run(LN_OP_sum, &x, 1, &attrs, false, &sum);
  ln_mode_set(mode);
  if (status != LN_OK) return status;
  ln_set_geometry(sum, size, NULL, n);
  c->out[0] = sum;
  return LN_OK;
}

void sum_to_size_backward(ln_back *b) {
  int64_t shape[16];
  int lead = b->ndim[0] - b->g[0]->ndim;
  for (int i = 0; i < b->ndim[0]; i++) shape[i] = i < lead ? 1 : b->g[0]->shape[i - lead];
  ln_give(b, 0, ln_do_expand(b, ln_do_view(b, b->g[0], shape, b->ndim[0]), b->shape[0], b->ndim[0]));
}
