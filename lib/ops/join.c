/* join.c - several tensors as one: cat and stack. */
#include "rules.h"

static bool is_legacy_empty(const ln_tensor *t) { return t->ndim == 1 && t->shape[0] == 0; }

/* Shape and dtype of the whole; vectors without elements fit anywhere, as they always did in PyTorch. */
static int joined(ln_call *c, int64_t dim, int *wrapped, int64_t *shape, int *ndim, int *dtype) {
  const ln_tensor *first = NULL;
  if (c->n_in == 0) return ln_fail("%s: at least one tensor is needed", c->name);
  *dtype = c->in[0]->dtype;
  for (int i = 0; i < c->n_in; i++) {
    const ln_tensor *t = c->in[i];
    *dtype = ln_promote_types(*dtype, t->dtype);
    if (t->ndim == 0) return ln_fail("%s: tensor %d has no dimension to be joined along; use stack", c->name, i);
    if (!first && !is_legacy_empty(t)) first = t;
  }
  if (!first) first = c->in[0];
  LN_TRY(ln_wrap_dim(c->name, dim, first->ndim, wrapped));
  *ndim = first->ndim;
  memcpy(shape, first->shape, sizeof(int64_t) * (size_t)*ndim);
  shape[*wrapped] = 0;
  for (int i = 0; i < c->n_in; i++) {
    const ln_tensor *t = c->in[i];
    if (is_legacy_empty(t)) continue;
    bool fits = t->ndim == *ndim;
    for (int k = 0; fits && k < *ndim; k++) fits = k == *wrapped || t->shape[k] == shape[k];
    if (!fits)
      return ln_fail("%s: tensor %d of shape %s does not fit to %s along dim %d", c->name, i, ln_shape_text(t->shape, t->ndim),
                     ln_shape_text(first->shape, first->ndim), *wrapped);
    shape[*wrapped] += t->shape[*wrapped];
  }
  return LN_OK;
}

int cat_forward(ln_call *c) {
  int64_t shape[16], at = 0;
  int dim = 0, ndim = 0, dtype = 0;
  if (c->target) return ln_fail("cat: there is no in-place form");
  LN_TRY(joined(c, ln_int(c->attrs, 0), &dim, shape, &ndim, &dtype));
  LN_TRY(ln_call_out(c, 0, shape, ndim, dtype));
  for (int i = 0; i < c->n_in; i++) {
    ln_tensor *t = c->in[i], part = *c->out[0];
    if (is_legacy_empty(t)) continue;
    part.shape[dim] = t->shape[dim];
    part.numel = t->numel;
    part.data += at * part.stride[dim] * ln_itemsize(&part);
    at += t->shape[dim];
    LN_TRY(ln_copy_into(&part, t));
  }
  return LN_OK;
}

void cat_backward(ln_back *b) {
  int dim = 0;
  int64_t at = 0;
  b->status = ln_wrap_dim(b->name, ln_int(b->attrs, 0), b->g[0]->ndim, &dim);
  for (int i = 0; i < b->n_in && b->status == LN_OK; i++) {
    if (b->ndim[i] == 1 && b->shape[i][0] == 0 && b->g[0]->ndim != 1) {
      if (b->needs[i]) ln_give(b, i, ln_do_zeros(b, i));
      continue;
    }
    ln_attrs attrs = {0};
    ln_attrs_int(&attrs, 0, dim);
    ln_attrs_int(&attrs, 1, at);
    ln_attrs_int(&attrs, 2, b->shape[i][dim]);
    at += b->shape[i][dim];
    if (!b->needs[i]) continue;
    ln_give(b, i, ln_do_to(b, ln_do(b, LN_OP_narrow, &b->g[0], 1, &attrs), b->dtype[i]));
    while (b->n_temps > 0) ln_tensor_release(b->temps[--b->n_temps]); /* a list may be longer than the room for temporaries */
  }
}

int stack_forward(ln_call *c) {
  if (c->n_in == 0) return ln_fail("stack: at least one tensor is needed");
  if (c->target) return ln_fail("stack: there is no in-place form");
  const ln_tensor *first = c->in[0];
  int dim, dtype = first->dtype;
  if (first->ndim == LN_MAX_DIMS) return ln_fail("stack: a tensor has at most %d dimensions", LN_MAX_DIMS);
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), first->ndim + 1, &dim));
  int64_t shape[16];
  for (int i = 0; i < c->n_in; i++) {
    if (!ln_same_shape(first, c->in[i]))
      return ln_fail("stack: tensor %d has shape %s, the first %s", i, ln_shape_text(c->in[i]->shape, c->in[i]->ndim),
                     ln_shape_text(first->shape, first->ndim));
    dtype = ln_promote_types(dtype, c->in[i]->dtype);
  }
  for (int i = 0; i <= first->ndim; i++) shape[i] = i == dim ? c->n_in : first->shape[i > dim ? i - 1 : i];
  LN_TRY(ln_call_out(c, 0, shape, first->ndim + 1, dtype));
  for (int i = 0; i < c->n_in; i++) {
    ln_tensor part = *c->out[0];
    part.data += i * part.stride[dim] * ln_itemsize(&part);
    part.ndim--;
    for (int k = 0; k < part.ndim; k++) {
      part.shape[k] = first->shape[k];
      if (k >= dim) part.stride[k] = part.stride[k + 1];
    }
    part.numel = first->numel;
    LN_TRY(ln_copy_into(&part, c->in[i]));
  }
  return LN_OK;
}

void stack_backward(ln_back *b) {
  int dim = 0;
  b->status = ln_wrap_dim(b->name, ln_int(b->attrs, 0), b->g[0]->ndim, &dim);
  for (int i = 0; i < b->n_in && b->status == LN_OK; i++) {
    if (!b->needs[i]) continue;
    ln_attrs attrs = {0};
    ln_attrs_int(&attrs, 0, dim);
    ln_attrs_int(&attrs, 1, i);
    ln_give(b, i, ln_do_to(b, ln_do(b, LN_OP_select, &b->g[0], 1, &attrs), b->dtype[i]));
    while (b->n_temps > 0) ln_tensor_release(b->temps[--b->n_temps]);
  }
}
