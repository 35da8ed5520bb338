/* fill.c - tensors filled with a value, a progression or random numbers, and triangles. */
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

/* -- Random numbers -- */

static int draw(ln_call *c, ln_random draw) {
  LN_TRY(out_like(c));
  ln_tensor *y = c->out[0];
  ln_random_reserve((uint64_t)y->numel, &draw.seed, &draw.offset);
  ln_loop_init(&draw.loop, &y, 1);
  return ln_kernel_status(c->name, ln_kernels_of(y->device)->random(&draw, y->device));
}

int uniform_forward(ln_call *c) {
  double from = ln_float(c->attrs, 0), to = ln_float(c->attrs, 1);
  LN_TRY(ln_check_float(c->name, "the tensor", c->in[0]));
  if (!(from <= to)) return ln_fail("uniform: from %g must not be above to %g", from, to);
  return draw(c, (ln_random){.kind = LN_RANDOM_UNIFORM, .a = from, .b = to});
}

int normal_forward(ln_call *c) {
  double std = ln_float(c->attrs, 1);
  LN_TRY(ln_check_float(c->name, "the tensor", c->in[0]));
  if (!(std >= 0)) return ln_fail("normal: the standard deviation %g must not be negative", std);
  return draw(c, (ln_random){.kind = LN_RANDOM_NORMAL, .a = ln_float(c->attrs, 0), .b = std});
}

/* The largest whole number up to which a dtype holds all. */
static int64_t dtype_end(int dtype) {
  static const int64_t end[LN_DTYPES] = {1 << 24, (int64_t)1 << 53, 1 << 11, 1 << 8, 127, 32767, INT32_MAX, INT64_MAX, 255, 1};
  return end[dtype];
}

int random_forward(ln_call *c) {
  int64_t from = ln_int(c->attrs, 0), top = dtype_end(c->in[0]->dtype);
  int64_t to = ln_has(c->attrs, 1) ? ln_int(c->attrs, 1) : top < INT64_MAX ? top + 1 : top;
  if (from >= to) return ln_fail("random: from %lld must be below to %lld", (long long)from, (long long)to);
  if (to - 1 > top && !ln_is_float(c->in[0]->dtype))
    return ln_fail("random: %lld is beyond what %s holds", (long long)(to - 1), ln_dtype_name(c->in[0]->dtype));
  return draw(c, (ln_random){.kind = LN_RANDOM_INTEGER, .low = from, .high = to});
}

int bernoulli_forward(ln_call *c) {
  double p = ln_float(c->attrs, 0);
  if (!(p >= 0 && p <= 1)) return ln_fail("bernoulli: the probability %g must lie between 0 and 1", p);
  return draw(c, (ln_random){.kind = LN_RANDOM_BERNOULLI, .a = p});
}

/* Fisher and Yates; the draws are number i of the reservation, so the order is the same on every device. */
int randperm_forward(ln_call *c) {
  int64_t n = ln_int(c->attrs, 0);
  int device = (int)ln_int(c->attrs, 1);
  uint64_t seed, offset;
  if (n < 0) return ln_fail("randperm: n must not be negative, got %lld", (long long)n);
  LN_TRY(ln_device_check(device));
  ln_tensor *order, *below;
  LN_TRY(ln_new(&n, 1, LN_INT64, LN_CPU, &order));
  ln_random_reserve((uint64_t)n, &seed, &offset);
  int64_t *p = (int64_t *)order->data;
  for (int64_t i = 0; i < n; i++) p[i] = i;
  int status = LN_OK;
  for (int64_t i = n - 1; i > 0 && status == LN_OK; i--) {
    int64_t j = 0;
    ln_random one = {.kind = LN_RANDOM_INTEGER, .seed = seed, .offset = offset + (uint64_t)i, .low = 0, .high = i + 1};
    one.loop = (ln_loop){.n_operands = 1, .ndim = 1, .numel = 1, .shape = {1}, .dtype = {LN_INT64}, .data = {(char *)&j}};
    status = ln_kernel_status(c->name, ln_kernels_of(LN_CPU)->random(&one, LN_CPU));
    int64_t swap = p[i];
    p[i] = p[j];
    p[j] = swap;
  }
  if (status == LN_OK && device != LN_CPU) {
    status = ln_new(&n, 1, LN_INT64, device, &below);
    if (status == LN_OK) status = ln_copy_into(below, order);
    ln_tensor_release(order);
    order = below;
  }
  c->out[0] = order;
  return status;
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
