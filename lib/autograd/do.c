/* do.c - operators as backward rules write them: failures stick, results are released with the rule. */
#include "node.h"

ln_tensor *ln_do_own(ln_back *b, ln_tensor *t) {
  if (!t) return NULL;
  if (b->n_temps == (int)(sizeof b->temps / sizeof *b->temps)) {
    b->status = ln_fail("%s: too many intermediate tensors", b->name);
    ln_tensor_release(t);
    return NULL;
  }
  b->temps[b->n_temps++] = t;
  return t;
}

ln_tensor *ln_do(ln_back *b, int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs) {
  ln_tensor *out[LN_MAX_OUTPUTS] = {NULL};
  if (b->status != LN_OK) return NULL;
  b->status = ln_run(op, inputs, n, attrs, false, out);
  if (b->status != LN_OK) return NULL;
  for (int i = 1; i < ln_row(op)->info.n_outputs; i++) ln_tensor_release(out[i]);
  return ln_do_own(b, out[0]);
}

ln_tensor *ln_do1(ln_back *b, int op, ln_tensor *x) { return x ? ln_do(b, op, &x, 1, NULL) : NULL; }

ln_tensor *ln_do2(ln_back *b, int op, ln_tensor *x, ln_tensor *y) {
  ln_tensor *const in[2] = {x, y};
  return x && y ? ln_do(b, op, in, 2, NULL) : NULL;
}

static ln_tensor *with_number(ln_back *b, int op, ln_tensor *x, double number) {
  ln_tensor *const in[2] = {x, NULL};
  ln_attrs attrs = {0};
  ln_attrs_float(&attrs, 1, number);
  attrs.present = 0; /* a number, not true or false */
  return x ? ln_do(b, op, in, 2, &attrs) : NULL;
}

ln_tensor *ln_do_scale(ln_back *b, ln_tensor *x, double factor) { return with_number(b, LN_OP_mul, x, factor); }

ln_tensor *ln_do_shift(ln_back *b, ln_tensor *x, double term) { return with_number(b, LN_OP_add, x, term); }

ln_tensor *ln_do_sum(ln_back *b, ln_tensor *x, uint32_t mask, bool keepdim) {
  ln_attrs attrs = {0};
  int64_t dims[16];
  int n = 0;
  if (!x) return NULL;
  for (int i = 0; i < x->ndim; i++)
    if ((mask >> i) & 1) dims[n++] = i;
  if (n == 0) return x;
  ln_attrs_ints(&attrs, 0, dims, n);
  ln_attrs_int(&attrs, 1, keepdim);
  return ln_do(b, LN_OP_sum, &x, 1, &attrs);
}

ln_tensor *ln_do_compare(ln_back *b, int op, ln_tensor *x, double number) { return with_number(b, op, x, number); }

ln_tensor *ln_do_pow(ln_back *b, ln_tensor *x, double exponent) { return with_number(b, LN_OP_pow, x, exponent); }

ln_tensor *ln_do_where(ln_back *b, ln_tensor *condition, ln_tensor *yes, double yes_number, ln_tensor *no, double no_number) {
  ln_tensor *const in[3] = {condition, yes, no};
  ln_attrs attrs = {0};
  attrs.slot[1].d = yes_number;
  attrs.slot[2].d = no_number;
  return condition && b->status == LN_OK ? ln_do(b, LN_OP_where, in, 3, &attrs) : NULL;
}

ln_back *ln_compose_begin(ln_compose *c, const char *name) {
  c->b.status = LN_OK;
  c->b.n_temps = 0;
  c->b.node = NULL;
  c->b.name = name;
  c->mode = ln_mode_set(ln_mode_get() & ~LN_MODE_GRAD);
  return &c->b;
}

ln_back *ln_composite_begin(ln_compose *c, const char *name) {
  ln_compose_begin(c, name);
  ln_mode_set(c->mode);
  return &c->b;
}

int ln_compose_end(ln_compose *c, ln_tensor *result, ln_tensor **out) {
  ln_mode_set(c->mode);
  if (c->b.status == LN_OK && !result) c->b.status = ln_fail("%s: no result", c->b.name);
  if (c->b.status == LN_OK) {
    ln_tensor_retain(result);
    *out = result;
  }
  for (int i = 0; i < c->b.n_temps; i++) ln_tensor_release(c->b.temps[i]);
  return c->b.status;
}

static ln_tensor *with_shape(ln_back *b, int op, ln_tensor *x, const int64_t *shape, int ndim) {
  ln_attrs attrs = {0};
  if (!x) return NULL;
  if (x->ndim == ndim && ln_same_dims(x->shape, shape, ndim)) return x;
  ln_attrs_ints(&attrs, 0, shape, ndim);
  return ln_do(b, op, &x, 1, &attrs);
}

ln_tensor *ln_do_view(ln_back *b, ln_tensor *x, const int64_t *shape, int ndim) { return with_shape(b, LN_OP_reshape, x, shape, ndim); }

ln_tensor *ln_do_expand(ln_back *b, ln_tensor *x, const int64_t *shape, int ndim) { return with_shape(b, LN_OP_expand, x, shape, ndim); }

ln_tensor *ln_do_sum_to(ln_back *b, ln_tensor *x, const int64_t *shape, int ndim) { return with_shape(b, LN_OP_sum_to_size, x, shape, ndim); }

ln_tensor *ln_do_transpose(ln_back *b, ln_tensor *x, int d0, int d1) {
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, d0);
  ln_attrs_int(&attrs, 1, d1);
  return x ? ln_do(b, LN_OP_transpose, &x, 1, &attrs) : NULL;
}

ln_tensor *ln_do_unsqueeze_mask(ln_back *b, ln_tensor *x, uint32_t mask, int ndim) {
  int64_t shape[16];
  if (!x) return NULL;
  for (int i = 0, at = 0; i < ndim; i++) shape[i] = (mask >> i) & 1 ? 1 : x->shape[at++];
  return ln_do_view(b, x, shape, ndim);
}

ln_tensor *ln_do_zeros(ln_back *b, int input) {
  ln_tensor *t;
  if (b->status != LN_OK) return NULL;
  b->status = ln_new(b->shape[input], b->ndim[input], b->dtype[input], b->device, &t);
  if (b->status != LN_OK) return NULL;
  b->status = ln_zero(t);
  return ln_do_own(b, t);
}

ln_tensor *ln_do_to(ln_back *b, ln_tensor *x, int dtype) {
  ln_attrs attrs = {0};
  if (!x || x->dtype == dtype) return x;
  ln_attrs_int(&attrs, 0, dtype);
  return ln_do(b, LN_OP_to, &x, 1, &attrs);
}

void ln_give(ln_back *b, int input, ln_tensor *dx) {
  if (!dx) return;
  ln_tensor_retain(dx);
  b->dx[input] = dx;
}
