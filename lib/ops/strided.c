/* strided.c - as_strided, any geometry over the elements of a tensor, and its inverse. */
#include "index.h"
#include "strided.h"

/* -- Geometries -- */

geometry ln_geometry_of(const ln_tensor *t) {
  geometry g = {.ndim = t->ndim};
  memcpy(g.shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
  memcpy(g.stride, t->stride, sizeof(int64_t) * (size_t)t->ndim);
  return g;
}

geometry ln_row_major(const int64_t *shape, int ndim) {
  geometry g = {.ndim = ndim};
  int64_t n = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    g.shape[i] = shape[i];
    g.stride[i] = n;
    n *= shape[i] > 1 ? shape[i] : 1;
  }
  return g;
}

void ln_remove_dim(geometry *g, int dim) {
  g->ndim--;
  for (int i = dim; i < g->ndim; i++) {
    g->shape[i] = g->shape[i + 1];
    g->stride[i] = g->stride[i + 1];
  }
}

void ln_insert_dim(geometry *g, int dim, int64_t size, int64_t stride) {
  for (int i = g->ndim; i > dim; i--) {
    g->shape[i] = g->shape[i - 1];
    g->stride[i] = g->stride[i - 1];
  }
  g->shape[dim] = size;
  g->stride[dim] = stride;
  g->ndim++;
}

/* -- as_strided -- */

static bool read_geometry(ln_rule *r, geometry *g) {
  SLOTS(as_strided); /* as_strided_scatter has the same slots */
  const int64_t *size, *stride;
  int n = r_list(r, a_size, &size), n_strides = r_list(r, a_stride, &stride);
  *g = (geometry){.ndim = n, .offset = r_int(r, a_offset)};
  if (!r_require(r, n == n_strides, "size %s and stride %s differ in length", ln_shape_text(size, n), ln_shape_text(stride, n_strides))) return false;
  for (int i = 0; i < n; i++) {
    if (!r_require(r, size[i] >= 0 && stride[i] >= 0, "size %s and stride %s must not be negative", ln_shape_text(size, n), ln_shape_text(stride, n)))
      return false;
    g->shape[i] = size[i];
    g->stride[i] = stride[i];
  }
  return true;
}

static bool is_empty(const geometry *g) {
  for (int i = 0; i < g->ndim; i++)
    if (g->shape[i] == 0) return true;
  return false;
}

/* The last element that a geometry with elements reaches; INT64_MAX when that overflows. */
static int64_t reach(const geometry *g) {
  int64_t at = g->offset;
  for (int i = 0; i < g->ndim; i++) {
    int64_t extent;
    if (__builtin_mul_overflow(g->shape[i] - 1, g->stride[i], &extent) || __builtin_add_overflow(at, extent, &at)) return INT64_MAX;
  }
  return at;
}

/* How many elements from the first of the storage on the geometry needs. */
static int64_t span(const geometry *g) { return is_empty(g) ? 0 : reach(g) + 1; }

static bool check_bounds(ln_rule *r, const ln_tensor *x, const geometry *g) {
  int64_t first = (x->data - x->storage->data) / ln_itemsize(x), have = x->storage->bytes / ln_itemsize(x);
  bool inside = is_empty(g) || (g->offset >= -first && reach(g) < have - first);
  return r_require(r, inside, "size %s, stride %s from element %lld leave the storage of %lld elements", ln_shape_text(g->shape, g->ndim),
                   ln_shape_text(g->stride, g->ndim), (long long)(first + g->offset), (long long)have);
}

void as_strided_forward(ln_rule *r) {
  geometry g;
  if (read_geometry(r, &g) && check_bounds(r, r->in[0], &g)) r_alias(r, g.shape, g.stride, g.ndim, g.offset);
}

ln_tensor *ln_do_strided(ln_rule *r, int op, ln_tensor *const *in, int n, const geometry *g) {
  SLOTS(as_strided); /* as_strided_scatter has the same slots */
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_size, g->shape, g->ndim);
  ln_attrs_ints(&attrs, a_stride, g->stride, g->ndim);
  ln_attrs_int(&attrs, a_offset, g->offset);
  for (int i = 0; i < n; i++)
    if (!in[i]) return NULL;
  return r_do(r, op, in, n, &attrs);
}

/* Do two indices name one element? Not when each stride exceeds what the smaller ones can reach. */
static bool meets_itself(const geometry *g) {
  int order[16], n = 0;
  int64_t covered = 0;
  for (int i = 0; i < g->ndim; i++) {
    if (g->shape[i] <= 1) continue;
    int at = n++;
    for (; at > 0 && g->stride[order[at - 1]] > g->stride[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  for (int k = 0; k < n; k++) {
    if (g->stride[order[k]] <= covered) return true;
    covered += (g->shape[order[k]] - 1) * g->stride[order[k]];
  }
  return false;
}

/* Elements that several indices share collect the gradients of all of them. */
static ln_tensor *collect(ln_rule *r, ln_tensor *flat, ln_tensor *dy, const geometry *g) {
  SLOTS(arange);
  int64_t n = dy->numel;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_start, 0);
  ln_attrs_float(&attrs, a_end, (double)flat->numel);
  ln_attrs_int(&attrs, a_dtype, LN_INT64);
  ln_attrs_int(&attrs, a_device, r->device);
  ln_tensor *positions = r_do(r, LN_OP_arange, NULL, 0, &attrs);
  ln_tensor *index = r_reshape(r, ln_do_strided(r, LN_OP_as_strided, &positions, 1, g), &n, 1);
  return r_indexed(r, LN_OP_scatter_add, flat, 0, index, r_reshape(r, dy, &n, 1));
}

void as_strided_backward(ln_rule *r) {
  geometry view, x = {.ndim = r->in[0]->ndim};
  memcpy(x.shape, r->in[0]->shape, sizeof(int64_t) * (size_t)x.ndim);
  memcpy(x.stride, r->in[0]->stride, sizeof(int64_t) * (size_t)x.ndim);
  if (!read_geometry(r, &view) || !r_require(r, view.offset >= 0, "a view that begins before its base has no gradient")) return;
  int64_t length = span(&x) > span(&view) ? span(&x) : span(&view);
  ln_tensor *flat = r_zeros(r, &length, 1, r->g[0]->dtype);
  ln_tensor *const in[2] = {flat, r->g[0]};
  if (!flat) return;
  flat = meets_itself(&view) ? collect(r, flat, r->g[0], &view) : ln_do_strided(r, LN_OP_as_strided_scatter, in, 2, &view);
  r_give(r, 0, ln_do_strided(r, LN_OP_as_strided, &flat, 1, &x));
}

void as_strided_scatter_forward(ln_rule *r) {
  ARGS(as_strided_scatter);
  geometry g;
  if (!read_geometry(r, &g)) return;
  if (!r_require(r, ln_is_dense(input), "a tensor with gaps (shape %s, stride %s) is not supported", ln_shape_text(input->shape, input->ndim),
                 ln_shape_text(input->stride, input->ndim)))
    return;
  ln_tensor *y = r_out_like(r, 0, input, input->dtype);
  if (!y || !check_bounds(r, y, &g) || !r_copy(r, y, input)) return;
  ln_tensor part = ln_look(y, g.shape, g.stride, g.ndim);
  if (part.numel > 0) part.data += g.offset * ln_itemsize(y);
  if (r_require(r, ln_same_shape(&part, src), "src has shape %s, the view %s", ln_shape_text(src->shape, src->ndim),
                ln_shape_text(part.shape, part.ndim)))
    r_copy(r, &part, src);
}

void as_strided_scatter_backward(ln_rule *r) {
  ARGS(as_strided_scatter);
  geometry g;
  int order[16], inverse[16], n = input->ndim;
  if (!read_geometry(r, &g)) return;
  ln_memory_order(input, order);
  for (int i = 0; i < n; i++) inverse[order[i]] = i;
  ln_tensor *laid = r_do1(r, LN_OP_contiguous, r_permute(r, r->g[0], order, n)); /* as input lies in memory */
  if (r->needs[1]) r_give(r, 1, ln_do_strided(r, LN_OP_as_strided, &laid, 1, &g));
  if (!r->needs[0] || !laid) return;
  ln_tensor *const in[2] = {laid, r_zeros(r, g.shape, g.ndim, laid->dtype)};
  r_give(r, 0, r_permute(r, ln_do_strided(r, LN_OP_as_strided_scatter, in, 2, &g), inverse, n));
}
