/* softmax.c - softmax and its logarithm along a dim. */
#include "rules.h"

static ln_rows rows_along(const ln_tensor *x, int dim) {
  ln_rows rows = {.dtype = x->dtype, .outer = 1, .size = 1, .inner = 1};
  if (x->ndim == 0) return rows;
  rows.outer = ln_numel(x->shape, dim);
  rows.size = x->shape[dim];
  rows.inner = ln_numel(x->shape + dim + 1, x->ndim - dim - 1);
  return rows;
}

static int forward(ln_call *c, bool is_log) {
  ln_tensor *x = c->in[0], *dense;
  int dim, dtype = ln_has(c->attrs, 1) ? (int)ln_int(c->attrs, 1) : x->dtype;
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, &dim));
  if (!ln_is_float(dtype))
    return ln_fail("%s: a tensor of floating dtype is expected, got %s (convert it with :float())", c->name, ln_dtype_name(dtype));
  LN_TRY(ln_dense(x, dtype, &dense));
  int status = ln_call_out(c, 0, x->shape, x->ndim, dtype);
  if (status == LN_OK) {
    ln_rows rows = rows_along(x, dim);
    rows.dtype = dtype;
    rows.is_log = is_log;
    rows.x = dense->data;
    rows.out = c->out[0]->data;
    if (c->target && !ln_tensor_is_contiguous(c->target))
      status = ln_fail("%s_: only a contiguous tensor can be changed in place", c->name);
    else
      status = ln_kernel_status(c->name, ln_kernels_of(x->device)->softmax(&rows, x->device));
  }
  c->keep_out = 1;
  ln_tensor_release(dense);
  return status;
}

static int dim_of(ln_back *b) {
  int dim = 0;
  b->status = ln_wrap_dim(b->name, ln_int(b->attrs, 0), b->ndim[0], &dim);
  return dim;
}

static void backward(ln_back *b, bool is_log) {
  ln_tensor *y = b->out[0], *dy, *dense, *dx;
  int dim = dim_of(b);
  if ((b->status = ln_dense(b->g[0], y->dtype, &dy)) != LN_OK || !ln_do_own(b, dy)) return;
  if ((b->status = ln_dense(y, y->dtype, &dense)) != LN_OK || !ln_do_own(b, dense)) return;
  if ((b->status = ln_new_like(y, y->dtype, &dx)) != LN_OK || !ln_do_own(b, dx)) return;
  ln_rows rows = rows_along(y, dim);
  rows.is_log = is_log;
  rows.y = dense->data;
  rows.dy = dy->data;
  rows.out = dx->data;
  b->status = ln_kernel_status(b->name, ln_kernels_of(y->device)->softmax_dx(&rows, y->device));
  ln_give(b, 0, ln_do_to(b, dx, b->dtype[0]));
}

int softmax_forward(ln_call *c) { return forward(c, false); }

void softmax_backward(ln_back *b) { backward(b, false); }

void softmax_backward_any(ln_back *b) {
  uint32_t mask = b->ndim[0] ? 1u << dim_of(b) : 0;
  ln_tensor *sum = ln_do_sum(b, ln_do2(b, LN_OP_mul, b->g[0], b->out[0]), mask, true);
  ln_give(b, 0, ln_do_to(b, ln_do2(b, LN_OP_mul, b->out[0], ln_do2(b, LN_OP_sub, b->g[0], sum)), b->dtype[0]));
}

int log_softmax_forward(ln_call *c) { return forward(c, true); }

void log_softmax_backward(ln_back *b) { backward(b, true); }

void log_softmax_backward_any(ln_back *b) {
  uint32_t mask = b->ndim[0] ? 1u << dim_of(b) : 0;
  ln_tensor *share = ln_do2(b, LN_OP_mul, ln_do1(b, LN_OP_exp, b->out[0]), ln_do_sum(b, b->g[0], mask, true));
  ln_give(b, 0, ln_do_to(b, ln_do2(b, LN_OP_sub, b->g[0], share), b->dtype[0]));
}
