/* index_many.c - several index tensors at once, masks, nonzero: reduced to index_select and index_add on a flattened dimension. */
#include "index.h"

/* -- index, index_put -- */

/* Tensor `first` of the call and those after it index dims dim, dim + 1, ... Their broadcast shape, and one flat index for all. */
typedef struct many {
  int dim, n;        /* first dim, how many */
  int64_t shape[16]; /* of the broadcast indices */
  int ndim;
  int64_t flat_shape[16]; /* x with the indexed dims as one */
  int flat_ndim;
  ln_tensor *flat; /* int64 vector */
} many;

static int check_many(ln_call *c, const ln_tensor *x, int first, int64_t dim, many *m) {
  m->n = c->n_in - first;
  LN_TRY(ln_wrap_dim(c->name, dim, x->ndim, &m->dim));
  if (m->n == 0 || m->dim + m->n > x->ndim)
    return ln_fail("%s: %d indices from dim %d on do not go with a tensor of shape %s", c->name, m->n, m->dim, ln_shape_text(x->shape, x->ndim));
  ln_tensor so_far = *c->in[first];
  for (int i = 0; i < m->n; i++) {
    int64_t size = x->shape[m->dim + i];
    LN_TRY(ln_check_index(c->name, c->in[first + i], -size, size, m->dim + i));
    LN_TRY(ln_broadcast(c->name, &so_far, c->in[first + i], so_far.shape, &so_far.ndim));
  }
  m->ndim = so_far.ndim;
  memcpy(m->shape, so_far.shape, sizeof m->shape);
  m->flat_ndim = 0;
  for (int i = 0; i < x->ndim; i++) {
    if (i > m->dim && i < m->dim + m->n)
      m->flat_shape[m->flat_ndim - 1] *= x->shape[i];
    else
      m->flat_shape[m->flat_ndim++] = x->shape[i];
  }
  return LN_OK;
}

static ln_tensor *flat_index(ln_back *b, ln_tensor *const *indices, const int64_t *sizes, many *m) {
  ln_tensor *flat = NULL;
  for (int i = 0; i < m->n; i++) {
    ln_tensor *at = ln_do_expand(b, indices[i], m->shape, m->ndim);
    ln_tensor *const size_in[2] = {at, NULL};
    ln_attrs size = {.integer = 1u << 1};
    size.slot[1].i = sizes[i];
    at = at ? ln_do(b, LN_OP_remainder, size_in, 2, &size) : NULL; /* a negative index counts from the end */
    ln_tensor *const scaled_in[2] = {flat, NULL};
    flat = flat ? ln_do2(b, LN_OP_add, ln_do(b, LN_OP_mul, scaled_in, 2, &size), at) : at;
  }
  return ln_do_view(b, flat, (int64_t[]){-1}, 1);
}

/* x's shape with the indexed dims replaced by the indices' shape. */
static int result_shape(const ln_tensor *x, const many *m, int64_t *shape, int *n) {
  *n = 0;
  if (x->ndim - m->n + m->ndim > LN_MAX_DIMS) return ln_fail("index: the result would have more than %d dimensions", LN_MAX_DIMS);
  for (int i = 0; i < m->dim; i++) shape[(*n)++] = x->shape[i];
  for (int i = 0; i < m->ndim; i++) shape[(*n)++] = m->shape[i];
  for (int i = m->dim + m->n; i < x->ndim; i++) shape[(*n)++] = x->shape[i];
  return LN_OK;
}

int index_forward(ln_call *c) {
  many m;
  ln_tensor *x = c->in[0];
  int64_t shape[16];
  int n;
  if (c->target) return ln_fail("index: there is no in-place form");
  LN_TRY(check_many(c, x, 1, ln_int(c->attrs, 0), &m));
  LN_TRY(result_shape(x, &m, shape, &n));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *flat = ln_numel(m.shape, m.ndim) ? flat_index(b, c->in + 1, x->shape + m.dim, &m)
                                              : ln_do_view(b, ln_do_expand(b, c->in[1], m.shape, m.ndim), (int64_t[]){0}, 1);
  ln_tensor *y = ln_do_indexed(b, LN_OP_index_select, ln_do_view(b, x, m.flat_shape, m.flat_ndim), m.dim, flat, NULL);
  y = ln_do_view(b, y, shape, n);
  if (flat) {
    ln_tensor_retain(flat);
    c->extra[0] = flat;
  }
  return ln_compose_end(&compose, y, &c->out[0]);
}

/* Flattened shape of input 0 and shape of the picked slices, as seen from a backward rule. */
static void flat_shapes(ln_back *b, int dim, int n, int64_t count, int64_t *flat, int *nf, int64_t *slices) {
  *nf = 0;
  for (int i = 0; i < b->ndim[0]; i++) {
    if (i > dim && i < dim + n)
      flat[*nf - 1] *= b->shape[0][i];
    else
      flat[(*nf)++] = b->shape[0][i];
  }
  memcpy(slices, flat, sizeof(int64_t) * (size_t)*nf);
  slices[dim] = count;
}

static int wrapped_dim(ln_back *b, int slot) {
  int dim = 0;
  b->status = ln_wrap_dim(b->name, ln_int(b->attrs, slot), b->ndim[0], &dim);
  return dim;
}

void index_backward(ln_back *b) {
  int64_t flat[16], slices[16];
  int nf, dim = wrapped_dim(b, 0);
  flat_shapes(b, dim, b->n_in - 1, b->extra[0]->numel, flat, &nf, slices);
  ln_tensor *zeros = ln_do_view(b, ln_do_zeros(b, 0), flat, nf);
  ln_tensor *dx = ln_do_indexed(b, LN_OP_index_add, zeros, dim, b->extra[0], ln_do_view(b, b->g[0], slices, nf));
  ln_give(b, 0, ln_do_view(b, dx, b->shape[0], b->ndim[0]));
}

/* x with slices replaced (scatter along the flattened dim) or increased. */
static ln_tensor *put(ln_back *b, ln_tensor *x, int dim, ln_tensor *flat, ln_tensor *src, bool add) {
  if (add) return ln_do_indexed(b, LN_OP_index_add, x, dim, flat, src);
  return x && src ? ln_do_indexed(b, LN_OP_scatter, x, dim, ln_do_widen(b, flat, src->shape, src->ndim, dim), src) : NULL;
}

int index_put_forward(ln_call *c) {
  many m;
  ln_tensor *x = c->in[0], *src = c->in[1];
  int64_t shape[16], slices[16];
  int n;
  LN_TRY(check_many(c, x, 2, ln_int(c->attrs, 0), &m));
  LN_TRY(result_shape(x, &m, shape, &n));
  LN_TRY(ln_call_out(c, 0, x->shape, x->ndim, x->dtype));
  memcpy(slices, m.flat_shape, sizeof slices);
  slices[m.dim] = ln_numel(m.shape, m.ndim);
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *y = x, *kept = NULL;
  if (slices[m.dim]) {
    ln_tensor *flat = flat_index(b, c->in + 2, x->shape + m.dim, &m);
    ln_tensor *wide = ln_do_expand(b, ln_do_to(b, src, x->dtype), shape, n);
    y = put(b, ln_do_view(b, x, m.flat_shape, m.flat_ndim), m.dim, flat, ln_do_view(b, wide, slices, m.flat_ndim), ln_int(c->attrs, 1));
    if (flat) {
      ln_tensor_retain(flat);
      c->extra[0] = flat;
    }
  }
  y = ln_do_view(b, y, x->shape, x->ndim);
  if (y && y != c->out[0]) b->status = ln_copy_into(c->out[0], y);
  int status = ln_compose_end(&compose, c->out[0], &kept);
  if (kept) ln_tensor_release(kept);
  return status;
}

void index_put_backward(ln_back *b) {
  int64_t flat[16], slices[16], shape[16];
  int nf, dim = wrapped_dim(b, 0), n = b->n_in - 2, ns = 0;
  if (!b->extra[0]) { /* nothing was indexed */
    if (b->needs[0]) ln_give(b, 0, b->g[0]);
    if (b->needs[1]) ln_give(b, 1, ln_do_zeros(b, 1));
    return;
  }
  flat_shapes(b, dim, n, b->extra[0]->numel, flat, &nf, slices);
  ln_tensor *g = ln_do_view(b, b->g[0], flat, nf);
  if (b->needs[1]) {
    ln_tensor *ds = ln_do_indexed(b, LN_OP_index_select, g, dim, b->extra[0], NULL);
    int64_t index_shape[16];
    int ni = 0;
    for (int i = 2; i < b->n_in; i++) { /* the broadcast shape of the indices */
      int more = b->ndim[i] - ni;
      if (more > 0) {
        memmove(index_shape + more, index_shape, sizeof(int64_t) * (size_t)ni);
        for (int k = 0; k < more; k++) index_shape[k] = 1;
        ni = b->ndim[i];
      }
      for (int k = 0; k < b->ndim[i]; k++)
        if (b->shape[i][k] != 1) index_shape[ni - b->ndim[i] + k] = b->shape[i][k];
    }
    for (int i = 0; i < dim; i++) shape[ns++] = b->shape[0][i];
    for (int i = 0; i < ni; i++) shape[ns++] = index_shape[i];
    for (int i = dim + n; i < b->ndim[0]; i++) shape[ns++] = b->shape[0][i];
    ln_give(b, 1, ln_do_to(b, ln_do_sum_to(b, ln_do_view(b, ds, shape, ns), b->shape[1], b->ndim[1]), b->dtype[1]));
  }
  if (!b->needs[0]) return;
  if (ln_int(b->attrs, 1)) {
    ln_give(b, 0, b->g[0]);
    return;
  }
  ln_tensor *const in[2] = {g, ln_do_widen(b, b->extra[0], slices, nf, dim)};
  ln_attrs attrs = {.integer = 2};
  ln_attrs_int(&attrs, 0, dim);
  ln_attrs_int(&attrs, 1, 0);
  if (g && in[1]) ln_give(b, 0, ln_do_view(b, ln_do(b, LN_OP_scatter_value, in, 2, &attrs), b->shape[0], b->ndim[0]));
}

/* -- Masks -- */

static int check_mask(const ln_call *c) {
  if (c->in[1]->dtype == LN_BOOL) return LN_OK;
  return ln_fail("%s: the mask must be bool, got %s (a comparison such as x:gt(0) makes one)", c->name, ln_dtype_name(c->in[1]->dtype));
}

/* The result of a composition, in place where that is asked for. */
static int deliver(ln_call *c, ln_compose *compose, ln_tensor *y) {
  if (!c->target) return ln_compose_end(compose, y, &c->out[0]);
  ln_tensor *kept = NULL;
  int status = ln_compose_end(compose, y, &kept);
  if (status == LN_OK) status = ln_call_out(c, 0, kept->shape, kept->ndim, c->target->dtype);
  if (status == LN_OK) status = ln_copy_into(c->target, kept);
  if (kept) ln_tensor_release(kept);
  return status;
}

int masked_fill_forward(ln_call *c) {
  ln_tensor *const in[3] = {c->in[1], NULL, c->in[0]};
  ln_attrs attrs = {.integer = (c->attrs->integer & 1) << 1};
  attrs.slot[1] = c->attrs->slot[0];
  int64_t shape[16];
  int ndim;
  LN_TRY(check_mask(c));
  LN_TRY(ln_broadcast(c->name, c->in[0], c->in[1], shape, &ndim));
  c->keep_in = 2;
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *y = ln_do(b, LN_OP_where, in, 3, &attrs);
  return deliver(c, &compose, ln_do_to(b, y, c->in[0]->dtype));
}

void masked_fill_backward(ln_back *b) {
  ln_tensor *dx = ln_do_where(b, b->in[1], NULL, 0, b->g[0], 0);
  ln_give(b, 0, ln_do_sum_to(b, dx, b->shape[0], b->ndim[0]));
}

/* Flat places of the true elements of a mask, expanded to a shape. */
static ln_tensor *places(ln_back *b, ln_tensor *mask, const int64_t *shape, int ndim) {
  ln_tensor *flat = ln_do_view(b, ln_do_expand(b, mask, shape, ndim), (int64_t[]){-1}, 1);
  ln_tensor *rows = ln_do1(b, LN_OP_nonzero, flat);
  return rows ? ln_do_view(b, rows, (int64_t[]){rows->shape[0]}, 1) : NULL;
}

int masked_select_forward(ln_call *c) {
  int64_t shape[16];
  int n;
  if (c->target) return ln_fail("masked_select: there is no in-place form");
  LN_TRY(check_mask(c));
  LN_TRY(ln_broadcast(c->name, c->in[0], c->in[1], shape, &n));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *at = places(b, c->in[1], shape, n);
  ln_tensor *flat = ln_do_view(b, ln_do_expand(b, c->in[0], shape, n), (int64_t[]){ln_numel(shape, n)}, 1);
  ln_tensor *y = ln_do_indexed(b, LN_OP_index_select, flat, 0, at, NULL);
  if (at) {
    ln_tensor_retain(at);
    c->extra[0] = at;
  }
  return ln_compose_end(&compose, y, &c->out[0]);
}

void masked_select_backward(ln_back *b) {
  ln_tensor x = {.ndim = b->ndim[0]}, mask = {.ndim = b->ndim[1]}, *zeros;
  int64_t shape[16], count;
  int n;
  memcpy(x.shape, b->shape[0], sizeof x.shape);
  memcpy(mask.shape, b->shape[1], sizeof mask.shape);
  if ((b->status = ln_broadcast(b->name, &x, &mask, shape, &n)) != LN_OK) return;
  count = ln_numel(shape, n);
  if ((b->status = ln_new(&count, 1, b->dtype[0], b->device, &zeros)) != LN_OK || !ln_do_own(b, zeros)) return;
  b->status = ln_zero(zeros);
  ln_tensor *dx = ln_do_indexed(b, LN_OP_index_add, zeros, 0, b->extra[0], b->g[0]);
  ln_give(b, 0, ln_do_sum_to(b, ln_do_view(b, dx, shape, n), b->shape[0], b->ndim[0]));
}

static ln_tensor *first_of(ln_back *b, ln_tensor *flat, int64_t n) {
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, 0);
  ln_attrs_int(&attrs, 1, 0);
  ln_attrs_int(&attrs, 2, n);
  return flat ? ln_do(b, LN_OP_narrow, &flat, 1, &attrs) : NULL;
}

int masked_scatter_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *src = c->in[2];
  LN_TRY(check_mask(c));
  LN_TRY(ln_check_same_dtype(c->name, x, src));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *at = places(b, c->in[1], x->shape, x->ndim);
  if (at && at->numel > src->numel)
    b->status = ln_fail("masked_scatter: the mask has %lld true elements, the source only %lld", (long long)at->numel, (long long)src->numel);
  ln_tensor *y = ln_do_view(b, x, (int64_t[]){x->numel}, 1);
  if (at && b->status == LN_OK) y = ln_do_indexed(b, LN_OP_scatter, y, 0, at, first_of(b, ln_do_view(b, src, (int64_t[]){src->numel}, 1), at->numel));
  if (at) {
    ln_tensor_retain(at);
    c->extra[0] = at;
  }
  return deliver(c, &compose, ln_do_view(b, y, x->shape, x->ndim));
}

void masked_scatter_backward(ln_back *b) {
  int64_t n = b->g[0]->numel, m = ln_numel(b->shape[2], b->ndim[2]);
  ln_tensor *g = ln_do_view(b, b->g[0], &n, 1), *at = b->extra[0];
  if (b->needs[0]) {
    ln_tensor *const in[2] = {g, at};
    ln_attrs attrs = {.integer = 2};
    ln_attrs_int(&attrs, 0, 0);
    ln_attrs_int(&attrs, 1, 0);
    if (g) ln_give(b, 0, ln_do_view(b, ln_do(b, LN_OP_scatter_value, in, 2, &attrs), b->shape[0], b->ndim[0]));
  }
  if (!b->needs[2]) return;
  ln_tensor *picked = ln_do_indexed(b, LN_OP_index_select, g, 0, at, NULL);
  ln_tensor *rest;
  int64_t left = m - at->numel;
  if (!picked || (b->status = ln_new(&left, 1, b->dtype[2], b->device, &rest)) != LN_OK || !ln_do_own(b, rest)) return;
  b->status = ln_zero(rest);
  ln_tensor *const parts[2] = {picked, rest};
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, 0);
  ln_give(b, 2, ln_do_view(b, ln_do(b, LN_OP_cat, parts, 2, &attrs), b->shape[2], b->ndim[2]));
}

/* -- nonzero -- */

/* Flat places taken apart into one column a dim. */
static ln_tensor *coordinates(ln_back *b, ln_tensor *flat, const ln_tensor *x) {
  ln_tensor *columns[16], *rest = flat;
  for (int d = x->ndim - 1; d >= 0; d--) {
    ln_tensor *const in[2] = {rest, NULL};
    ln_attrs size = {.integer = 1u << 1};
    size.slot[1].i = x->shape[d] ? x->shape[d] : 1;
    columns[d] = rest ? ln_do(b, LN_OP_remainder, in, 2, &size) : NULL;
    rest = columns[d] ? ln_do(b, LN_OP_floor_divide, in, 2, &size) : NULL;
    if (!rest) return NULL;
  }
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, 1);
  return ln_do(b, LN_OP_stack, columns, x->ndim, &attrs);
}

int nonzero_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *flat;
  ln_tensor *const operands[2] = {x, x};
  int64_t count = 0;
  ln_nonzero find = {.count = &count};
  if (c->target) return ln_fail("nonzero: there is no in-place form");
  ln_loop_init(&find.loop, operands, 2);
  const ln_kernels *k = ln_kernels_of(x->device);
  if (x->numel) LN_TRY(ln_kernel_status(c->name, k->nonzero(&find, x->device)));
  if (x->ndim == 0) return ln_new((int64_t[]){count, 0}, 2, LN_INT64, x->device, &c->out[0]);
  LN_TRY(ln_new(&count, 1, LN_INT64, x->device, &flat));
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_do_own(b, flat);
  find.out = (int64_t *)flat->data;
  if (count) b->status = ln_kernel_status(c->name, k->nonzero(&find, x->device));
  return ln_compose_end(&compose, b->status == LN_OK ? coordinates(b, flat, x) : NULL, &c->out[0]);
}
