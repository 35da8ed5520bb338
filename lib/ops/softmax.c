/* softmax.c - softmax and its logarithm along a dim. */
#include "shape.h"

static void forward(ln_rule *r, bool is_log) {
  ARGS(softmax);
  int dtype = r_dtype(r, a_dtype, input->dtype), dim = r_dim(r, a_dim, input->ndim);
  if (!r_require(r, ln_is_float(dtype), "a tensor of floating dtype is expected, got %s (convert it with :float())", ln_dtype_name(dtype))) return;
  ln_tensor *x = r_dense(r, input, dtype), *y = r_out(r, 0, input->shape, input->ndim, dtype);
  if (!r_ok(r)) return;
  ln_rows rows = ln_rows_along(input, dim);
  rows.dtype = dtype;
  rows.is_log = is_log;
  rows.x = x->data;
  rows.out = y->data;
  KERNEL(r, softmax, &rows);
}

static void backward(ln_rule *r, bool is_log) {
  ARGS(softmax);
  int dim = r_dim(r, a_dim, input->ndim), dtype = r->out[0]->dtype;
  ln_tensor *y = r_dense(r, r->out[0], dtype), *dy = r_dense(r, r->g[0], dtype), *dx = r_new(r, y->shape, y->ndim, dtype);
  if (!r_ok(r)) return;
  ln_rows rows = ln_rows_along(y, dim);
  rows.is_log = is_log;
  rows.y = y->data;
  rows.dy = dy->data;
  rows.out = dx->data;
  KERNEL(r, softmax_dx, &rows);
  r_give(r, 0, dx);
}

void softmax_forward(ln_rule *r) { forward(r, false); }
void softmax_backward(ln_rule *r) { backward(r, false); }
void log_softmax_forward(ln_rule *r) { forward(r, true); }
void log_softmax_backward(ln_rule *r) { backward(r, true); }
