/* fill.c - tensors filled with a value or a progression, and triangles. */
#include "rules.h"

/* The output in the shape of in[0]: the target in place, else a new tensor. */
static int out_like(ln_call *c) { return ln_call_out(c, 0, c->in[0]->shape, c->in[0]->ndim, c->in[0]->dtype); }

static int put_scalar(ln_tensor *y, const ln_attrs *a, int k) {
  bool whole = (a->integer >> k) & 1;
  ln_tensor *number;
  LN_TRY(ln_new(NULL, 0, whole ? LN_INT64 : LN_FLOAT64, LN_CPU, &number));
  memcpy(number->data, &a->slot[k], 8);
  int status = ln_copy_into(y, number);
  ln_tensor_release(number);
  return status;
}

int fill_forward(ln_call *c) {
  LN_TRY(out_like(c));
  return put_scalar(c->out[0], c->attrs, 0);
}

void fill_backward(ln_back *b) { ln_give(b, 0, ln_do_zeros(b, 0)); }

int full_forward(ln_call *c) {
  const int64_t *size;
  int n = ln_list(c->attrs, 0, &size), device = (int)ln_int(c->attrs, 3);
  LN_TRY(ln_device_check(device));
  LN_TRY(ln_new(size, n, (int)ln_int(c->attrs, 2), device, &c->out[0]));
  return put_scalar(c->out[0], c->attrs, 1);
}

int arange_forward(ln_call *c) {
  double start = ln_float(c->attrs, 0), end = ln_float(c->attrs, 1), step = ln_float(c->attrs, 2), steps = (end - start) / step;
  int dtype = (int)ln_int(c->attrs, 3), device = (int)ln_int(c->attrs, 4);
  if (!(step != 0) || !(steps >= 0) || steps > 1e15) return ln_fail("arange: from %g to %g by %g is no finite progression", start, end, step);
  int64_t n = (int64_t)steps;
  if ((double)n < steps) n++;
  LN_TRY(ln_device_check(device));
  LN_TRY(ln_new(&n, 1, dtype, device, &c->out[0]));
  if (n == 0) return LN_OK;
  ln_arange fill = {dtype, n, start, step, c->out[0]->data};
  return ln_kernel_status(c->name, ln_kernels_of(device)->arange(&fill, device));
}

/* -- Triangles -- */

/* A bool matrix that is true where the element stays: j - i <= diagonal, or >= for the upper triangle. */
static int triangle_mask(const ln_tensor *x, int64_t diagonal, bool upper, ln_tensor **out) {
  int64_t rows = x->shape[x->ndim - 2], cols = x->shape[x->ndim - 1];
  ln_tensor *mask, *there;
  LN_TRY(ln_new((int64_t[]){rows, cols}, 2, LN_BOOL, LN_CPU, &mask));
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) mask->data[i * cols + j] = upper ? j - i >= diagonal : j - i <= diagonal;
  *out = mask;
  if (x->device == LN_CPU) return LN_OK;
  int status = ln_new(mask->shape, 2, LN_BOOL, x->device, &there);
  if (status == LN_OK) status = ln_copy_into(there, mask);
  ln_tensor_release(mask);
  *out = there;
  return status;
}

static int triangle(ln_call *c, bool upper) {
  ln_tensor *x = c->in[0], *mask;
  if (x->ndim < 2) return ln_fail("%s: a matrix is expected, got shape %s", c->name, ln_shape_text(x->shape, x->ndim));
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(triangle_mask(x, ln_int(c->attrs, 0), upper, &mask));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_do_own(b, mask);
  ln_tensor *const in[3] = {mask, x, NULL};
  ln_attrs attrs = {.integer = 1u << 2, .present = 1u << 2}; /* false, which promotes nothing */
  return ln_compose_end(&compose, ln_do(b, LN_OP_where, in, 3, &attrs), &c->out[0]);
}

static void triangle_backward(ln_back *b, int op) {
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, ln_int(b->attrs, 0));
  ln_give(b, 0, ln_do(b, op, &b->g[0], 1, &attrs));
}

int tril_forward(ln_call *c) { return triangle(c, false); }
void tril_backward(ln_back *b) { triangle_backward(b, LN_OP_tril); }
int triu_forward(ln_call *c) { return triangle(c, true); }
void triu_backward(ln_back *b) { triangle_backward(b, LN_OP_triu); }
