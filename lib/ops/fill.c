/* fill.c - tensors filled with a value or a progression, and triangles. */
#include "rules.h"

/* The output in the shape of in[0]: the target in place, else a new tensor. */
static ln_tensor *out_like(ln_rule *r) { return r_out(r, 0, r->in[0]->shape, r->in[0]->ndim, r->in[0]->dtype); }

static void put_number(ln_rule *r, ln_tensor *y, int slot) {
  if (y) r_status(r, ln_fill_number(y, r_is_whole(r, slot), &r->attrs->slot[slot]));
}

void fill_forward(ln_rule *r) {
  ARGS(fill);
  if (!value)
    put_number(r, out_like(r), a_value);
  else if (r_require(r, value->ndim == 0, "value must be a number or a tensor without dimensions, got shape %s",
                     ln_shape_text(value->shape, value->ndim)))
    r_copy(r, out_like(r), value);
}

void full_forward(ln_rule *r) {
  SLOTS(full);
  const int64_t *size;
  int n = r_list(r, a_size, &size), device = (int)r_int(r, a_device);
  if (!r_status(r, ln_device_check(device))) return;
  r->device = device;
  put_number(r, r_out(r, 0, size, n, (int)r_int(r, a_dtype)), a_fill_value);
}

void arange_forward(ln_rule *r) {
  SLOTS(arange);
  double start = r_float(r, a_start), end = r_float(r, a_end), step = r_float(r, a_step), steps = (end - start) / step;
  int dtype = (int)r_int(r, a_dtype), device = (int)r_int(r, a_device);
  if (!r_require(r, step != 0 && steps >= 0 && steps <= 1e15, "from %g to %g by %g is no finite progression", start, end, step)) return;
  int64_t n = (int64_t)steps;
  if ((double)n < steps) n++;
  if (!r_status(r, ln_device_check(device))) return;
  r->device = device;
  ln_tensor *y = r_out(r, 0, &n, 1, dtype);
  if (!y || n == 0) return;
  ln_arange work = {.dtype = dtype, .n = n, .start = start, .step = step, .y = y->data};
  KERNEL(r, arange, &work);
}

/* -- Triangles -- */

/* A bool matrix that is true where the element stays: j - i <= diagonal, or >= for the upper triangle. */
static ln_tensor *triangle_mask(ln_rule *r, const ln_tensor *x, int64_t diagonal, bool upper) {
  int device = r->device;
  int64_t rows = x->shape[x->ndim - 2], cols = x->shape[x->ndim - 1], shape[2] = {rows, cols};
  r->device = LN_CPU;
  ln_tensor *mask = r_new(r, shape, 2, LN_BOOL);
  r->device = device;
  for (int64_t i = 0; mask && cols > 0 && i < rows; i++)
    for (int64_t j = 0; j < cols; j++) mask->data[i * cols + j] = upper ? j - i >= diagonal : j - i <= diagonal;
  if (device == LN_CPU) return mask;
  ln_tensor *there = r_new(r, shape, 2, LN_BOOL);
  return r_copy(r, there, mask) ? there : NULL;
}

static void triangle(ln_rule *r, bool upper) {
  ARGS(tril);
  if (!r_require(r, input->ndim >= 2, "a matrix is expected, got shape %s", ln_shape_text(input->shape, input->ndim))) return;
  ln_tensor *const in[3] = {triangle_mask(r, input, r_int(r, a_diagonal), upper), input, NULL};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  attrs.integer = attrs.present = 1u << 2; /* else false, which promotes nothing */
  attrs.slot[2].i = 0;
  r_result(r, 0, in[0] ? r_do(r, LN_OP_where, in, 3, &attrs) : NULL);
}

void tril_forward(ln_rule *r) { triangle(r, false); }
void triu_forward(ln_rule *r) { triangle(r, true); }
