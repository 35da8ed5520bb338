/* view.c - the operators that look at the same elements in another geometry, and their gradients. */
#include "rules.h"

/* What a view does to a geometry; the rules apply it to the input, the gradients to a row-major stand-in. */
typedef struct geometry {
  int64_t shape[16], stride[16], offset;
  int ndim;
} geometry;

static geometry geometry_of(const ln_tensor *t) {
  geometry g = {.ndim = t->ndim};
  memcpy(g.shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
  memcpy(g.stride, t->stride, sizeof(int64_t) * (size_t)t->ndim);
  return g;
}

static geometry row_major(const int64_t *shape, int ndim) {
  geometry g = {.ndim = ndim};
  int64_t n = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    g.shape[i] = shape[i];
    g.stride[i] = n;
    n *= shape[i] > 1 ? shape[i] : 1;
  }
  return g;
}

static void remove_dim(geometry *g, int dim) {
  g->ndim--;
  for (int i = dim; i < g->ndim; i++) {
    g->shape[i] = g->shape[i + 1];
    g->stride[i] = g->stride[i + 1];
  }
}

static void insert_dim(geometry *g, int dim, int64_t size, int64_t stride) {
  for (int i = g->ndim; i > dim; i--) {
    g->shape[i] = g->shape[i - 1];
    g->stride[i] = g->stride[i - 1];
  }
  g->shape[dim] = size;
  g->stride[dim] = stride;
  g->ndim++;
}

static int emit(ln_call *c, const geometry *g) { return ln_call_alias(c, g->shape, g->stride, g->ndim, g->offset); }

/* -- view, reshape, flatten -- */

/* Fills in a -1 and checks the count of elements. */
static int complete_shape(const char *op, const ln_tensor *x, const int64_t *want, int n, int64_t *shape) {
  int open = -1;
  int64_t known = 1;
  for (int i = 0; i < n; i++) {
    shape[i] = want[i];
    if (want[i] == -1 && open >= 0) return ln_fail("%s: only one size may be -1, got %s", op, ln_shape_text(want, n));
    if (want[i] < -1) return ln_fail("%s: a size cannot be negative, got %s", op, ln_shape_text(want, n));
    if (want[i] == -1)
      open = i;
    else if (__builtin_mul_overflow(known, want[i], &known))
      return ln_fail("%s: shape %s is too large", op, ln_shape_text(want, n));
  }
  if (open >= 0 && known == 0) return ln_fail("%s: the size -1 is not determined in %s", op, ln_shape_text(want, n));
  if (open >= 0) shape[open] = x->numel / known;
  if ((open >= 0 ? x->numel % known != 0 : known != x->numel))
    return ln_fail("%s: shape %s does not fit %lld elements of shape %s", op, ln_shape_text(want, n), (long long)x->numel,
                   ln_shape_text(x->shape, x->ndim));
  return LN_OK;
}

/* Strides of x seen in another shape without moving anything; false when there are none. Blocks of dims of x that hang together in memory
 * are matched with dims of the new shape, innermost first. */
static bool view_strides(const ln_tensor *x, const int64_t *shape, int n, int64_t *stride) {
  if (x->numel == 0 || x->ndim == 0) {
    geometry g = row_major(shape, n);
    memcpy(stride, g.stride, sizeof(int64_t) * (size_t)n);
    return true;
  }
  int at = n - 1;
  int64_t base = x->stride[x->ndim - 1], block = 1, taken = 1;
  for (int i = x->ndim - 1; i >= 0; i--) {
    block *= x->shape[i];
    bool last = i == 0;
    if (!last && (x->shape[i - 1] == 1 || x->stride[i - 1] == block * base)) continue;
    while (at >= 0 && (taken < block || shape[at] == 1)) {
      stride[at] = taken * base;
      taken *= shape[at--];
    }
    if (taken != block) return false;
    if (!last) {
      base = x->stride[i - 1];
      block = taken = 1;
    }
  }
  return at < 0;
}

static int view_as(ln_call *c, const int64_t *want, int n, bool may_copy) {
  geometry g = {.ndim = n};
  ln_tensor *x = c->in[0];
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(complete_shape(c->name, x, want, n, g.shape));
  if (view_strides(x, g.shape, n, g.stride)) return emit(c, &g);
  if (!may_copy)
    return ln_fail("view: shape %s does not go with the strides %s of a tensor of shape %s; use reshape, which copies", ln_shape_text(g.shape, n),
                   ln_shape_text(x->stride, x->ndim), ln_shape_text(x->shape, x->ndim));
  LN_TRY(ln_new_like(x, x->dtype, &c->out[0]));
  LN_TRY(ln_copy_into(c->out[0], x));
  ln_set_geometry(c->out[0], g.shape, NULL, n);
  return LN_OK;
}

static void view_back(ln_back *b) { ln_give(b, 0, ln_do_view(b, b->g[0], b->shape[0], b->ndim[0])); }

int view_forward(ln_call *c) {
  const int64_t *want;
  int n = ln_list(c->attrs, 0, &want);
  return view_as(c, want, n, false);
}

void view_backward(ln_back *b) { view_back(b); }

int reshape_forward(ln_call *c) {
  const int64_t *want;
  int n = ln_list(c->attrs, 0, &want);
  return view_as(c, want, n, true);
}

void reshape_backward(ln_back *b) { view_back(b); }

int flatten_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  int from, to, n = 0;
  int64_t shape[16];
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, &from));
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 1), x->ndim, &to));
  if (from > to) return ln_fail("flatten: start_dim %d comes after end_dim %d", from, to);
  if (x->ndim == 0) return view_as(c, (int64_t[]){1}, 1, true);
  for (int i = 0; i < x->ndim; i++) {
    if (i > from && i <= to)
      shape[n - 1] *= x->shape[i];
    else
      shape[n++] = x->shape[i];
  }
  return view_as(c, shape, n, true);
}

void flatten_backward(ln_back *b) { view_back(b); }

/* -- permute, transpose -- */

static int permute_order(const char *op, const ln_attrs *attrs, int ndim, int *order) {
  const int64_t *dims;
  uint32_t seen = 0;
  int n = ln_list(attrs, 0, &dims);
  if (n != ndim) return ln_fail("%s: %s names %d dims of %d", op, ln_shape_text(dims, n), n, ndim);
  for (int i = 0; i < n; i++) {
    LN_TRY(ln_wrap_dim(op, dims[i], ndim, &order[i]));
    if ((seen >> order[i]) & 1) return ln_fail("%s: dim %d stands twice in %s", op, order[i], ln_shape_text(dims, n));
    seen |= 1u << order[i];
  }
  return LN_OK;
}

int permute_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  geometry g = {.ndim = x->ndim};
  int order[16];
  LN_TRY(permute_order(c->name, c->attrs, x->ndim, order));
  for (int i = 0; i < x->ndim; i++) {
    g.shape[i] = x->shape[order[i]];
    g.stride[i] = x->stride[order[i]];
  }
  return emit(c, &g);
}

static ln_tensor *do_permute(ln_back *b, ln_tensor *x, const int *order, int n) {
  ln_attrs attrs = {0};
  int64_t dims[16];
  for (int i = 0; i < n; i++) dims[i] = order[i];
  ln_attrs_ints(&attrs, 0, dims, n);
  return x ? ln_do(b, LN_OP_permute, &x, 1, &attrs) : NULL;
}

static void invert(const int *order, int n, int *inverse) {
  for (int i = 0; i < n; i++) inverse[order[i]] = i;
}

void permute_backward(ln_back *b) {
  int order[16], inverse[16];
  b->status = permute_order("permute", b->attrs, b->ndim[0], order);
  invert(order, b->ndim[0], inverse);
  ln_give(b, 0, do_permute(b, b->g[0], inverse, b->ndim[0]));
}

int transpose_forward(ln_call *c) {
  geometry g = geometry_of(c->in[0]);
  int d0, d1;
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), g.ndim, &d0));
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 1), g.ndim, &d1));
  if (g.ndim == 0) return emit(c, &g);
  int64_t size = g.shape[d0], stride = g.stride[d0];
  g.shape[d0] = g.shape[d1];
  g.stride[d0] = g.stride[d1];
  g.shape[d1] = size;
  g.stride[d1] = stride;
  return emit(c, &g);
}

void transpose_backward(ln_back *b) { ln_give(b, 0, ln_do_transpose(b, b->g[0], (int)ln_int(b->attrs, 0), (int)ln_int(b->attrs, 1))); }

/* -- expand, unsqueeze, squeeze -- */

int expand_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  const int64_t *want;
  int n = ln_list(c->attrs, 0, &want), lead = n - x->ndim;
  geometry g = {.ndim = n};
  if (lead < 0) return ln_fail("expand: %s has fewer dimensions than the tensor's %s", ln_shape_text(want, n), ln_shape_text(x->shape, x->ndim));
  for (int i = 0; i < n; i++) {
    int64_t own = i < lead ? 1 : x->shape[i - lead];
    g.shape[i] = want[i] == -1 && i >= lead ? own : want[i];
    if (g.shape[i] < 0 || (own != 1 && own != g.shape[i]))
      return ln_fail("expand: shape %s cannot be expanded to %s", ln_shape_text(x->shape, x->ndim), ln_shape_text(want, n));
    g.stride[i] = i < lead || (own == 1 && g.shape[i] != 1) ? 0 : x->stride[i - lead];
  }
  return emit(c, &g);
}

void expand_backward(ln_back *b) { ln_give(b, 0, ln_do_sum_to(b, b->g[0], b->shape[0], b->ndim[0])); }

int unsqueeze_forward(ln_call *c) {
  geometry g = geometry_of(c->in[0]);
  int dim;
  if (g.ndim == LN_MAX_DIMS) return ln_fail("unsqueeze: a tensor has at most %d dimensions", LN_MAX_DIMS);
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), g.ndim + 1, &dim));
  insert_dim(&g, dim, 1, dim < g.ndim ? g.shape[dim] * g.stride[dim] : 1);
  return emit(c, &g);
}

void unsqueeze_backward(ln_back *b) { view_back(b); }

int squeeze_forward(ln_call *c) {
  geometry g = geometry_of(c->in[0]);
  uint32_t mask;
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, g.ndim, &mask));
  for (int i = g.ndim - 1; i >= 0; i--)
    if (((mask >> i) & 1) && g.shape[i] == 1) remove_dim(&g, i);
  return emit(c, &g);
}

void squeeze_backward(ln_back *b) { view_back(b); }

/* -- select, slice, narrow, diagonal: part of the elements -- */

static int select_geometry(const ln_attrs *attrs, geometry *g) {
  int dim;
  if (g->ndim == 0) return ln_fail("select: a 0-dim tensor cannot be indexed");
  LN_TRY(ln_wrap_dim("select", ln_int(attrs, 0), g->ndim, &dim));
  int64_t size = g->shape[dim], index = ln_int(attrs, 1);
  if (index < -size || index >= size)
    return ln_fail("index %lld is out of bounds for dimension %d with size %lld (indexes start at 0)", (long long)index, dim, (long long)size);
  g->offset += (index < 0 ? index + size : index) * g->stride[dim];
  remove_dim(g, dim);
  return LN_OK;
}

static int64_t clip(int64_t at, int64_t size) {
  if (at < 0) at += size;
  return at < 0 ? 0 : at > size ? size : at;
}

static int slice_geometry(const ln_attrs *attrs, geometry *g) {
  int dim;
  if (g->ndim == 0) return ln_fail("slice: a 0-dim tensor cannot be sliced");
  LN_TRY(ln_wrap_dim("slice", ln_int(attrs, 0), g->ndim, &dim));
  int64_t size = g->shape[dim], step = ln_int(attrs, 3);
  if (step < 1) return ln_fail("slice: the step must be positive, got %lld", (long long)step);
  int64_t start = ln_has(attrs, 1) ? clip(ln_int(attrs, 1), size) : 0, end = ln_has(attrs, 2) ? clip(ln_int(attrs, 2), size) : size;
  if (end < start) end = start;
  g->offset += start * g->stride[dim];
  g->shape[dim] = (end - start + step - 1) / step;
  g->stride[dim] *= step;
  return LN_OK;
}

static int narrow_geometry(const ln_attrs *attrs, geometry *g) {
  int dim;
  if (g->ndim == 0) return ln_fail("narrow: a 0-dim tensor cannot be narrowed");
  LN_TRY(ln_wrap_dim("narrow", ln_int(attrs, 0), g->ndim, &dim));
  int64_t size = g->shape[dim], start = ln_int(attrs, 1), length = ln_int(attrs, 2);
  if (start < -size || start > size)
    return ln_fail("narrow: start %lld is out of range for dimension %d with size %lld", (long long)start, dim, (long long)size);
  if (start < 0) start += size;
  if (length < 0 || length > size - start)
    return ln_fail("narrow: start %lld and length %lld exceed dimension %d with size %lld", (long long)start, (long long)length, dim,
                   (long long)size);
  g->offset += start * g->stride[dim];
  g->shape[dim] = length;
  return LN_OK;
}

static int diagonal_geometry(const ln_attrs *attrs, geometry *g) {
  int d1, d2;
  int64_t offset = ln_int(attrs, 0);
  LN_TRY(ln_wrap_dim("diagonal", ln_int(attrs, 1), g->ndim, &d1));
  LN_TRY(ln_wrap_dim("diagonal", ln_int(attrs, 2), g->ndim, &d2));
  if (d1 == d2) return ln_fail("diagonal: the two dims must differ, both are %d", d1);
  int64_t rows = g->shape[d1], cols = g->shape[d2], s1 = g->stride[d1], s2 = g->stride[d2];
  int64_t length = offset >= 0 ? (rows < cols - offset ? rows : cols - offset) : (rows + offset < cols ? rows + offset : cols);
  if (length < 0) length = 0;
  if (length > 0) g->offset += offset >= 0 ? offset * s2 : -offset * s1;
  remove_dim(g, d1 > d2 ? d1 : d2);
  remove_dim(g, d1 > d2 ? d2 : d1);
  insert_dim(g, g->ndim, length, s1 + s2);
  return LN_OK;
}

typedef int (*part_fn)(const ln_attrs *attrs, geometry *g);

static int part_forward(ln_call *c, part_fn part) {
  geometry g = geometry_of(c->in[0]);
  LN_TRY(part(c->attrs, &g));
  return emit(c, &g);
}

static ln_tensor *do_strided(ln_back *b, int op, ln_tensor *const *in, int n, const geometry *g) {
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, g->shape, g->ndim);
  ln_attrs_ints(&attrs, 1, g->stride, g->ndim);
  ln_attrs_int(&attrs, 2, g->offset);
  for (int i = 0; i < n; i++)
    if (!in[i]) return NULL;
  return ln_do(b, op, in, n, &attrs);
}

/* The gradient fills its part; the rest of x did not matter. */
static void part_backward(ln_back *b, part_fn part) {
  geometry g = row_major(b->shape[0], b->ndim[0]);
  b->status = part(b->attrs, &g);
  ln_tensor *const in[2] = {ln_do_zeros(b, 0), b->g[0]};
  ln_give(b, 0, do_strided(b, LN_OP_as_strided_scatter, in, 2, &g));
}

int select_forward(ln_call *c) { return part_forward(c, select_geometry); }
void select_backward(ln_back *b) { part_backward(b, select_geometry); }
int slice_forward(ln_call *c) { return part_forward(c, slice_geometry); }
void slice_backward(ln_back *b) { part_backward(b, slice_geometry); }
int narrow_forward(ln_call *c) { return part_forward(c, narrow_geometry); }
void narrow_backward(ln_back *b) { part_backward(b, narrow_geometry); }
int diagonal_forward(ln_call *c) { return part_forward(c, diagonal_geometry); }
void diagonal_backward(ln_back *b) { part_backward(b, diagonal_geometry); }

/* -- as_strided and its inverse -- */

static int strided_geometry(const char *op, const ln_attrs *attrs, geometry *g) {
  const int64_t *size, *stride;
  int n = ln_list(attrs, 0, &size);
  if (ln_list(attrs, 1, &stride) != n)
    return ln_fail("%s: size %s and stride %s differ in length", op, ln_shape_text(size, n), ln_shape_text(stride, ln_list(attrs, 1, &stride)));
  g->ndim = n;
  g->offset = ln_has(attrs, 2) ? ln_int(attrs, 2) : 0;
  for (int i = 0; i < n; i++) {
    if (size[i] < 0 || stride[i] < 0)
      return ln_fail("%s: size %s and stride %s must not be negative", op, ln_shape_text(size, n), ln_shape_text(stride, n));
    g->shape[i] = size[i];
    g->stride[i] = stride[i];
  }
  return LN_OK;
}

/* The last element it reaches, -1 when it has none; INT64_MAX when that overflows. */
static int64_t reach(const geometry *g) {
  int64_t at = g->offset;
  for (int i = 0; i < g->ndim; i++) {
    int64_t extent;
    if (g->shape[i] == 0) return -1;
    if (__builtin_mul_overflow(g->shape[i] - 1, g->stride[i], &extent) || __builtin_add_overflow(at, extent, &at)) return INT64_MAX;
  }
  return at;
}

static int check_bounds(const char *op, const ln_tensor *x, const geometry *g) {
  int64_t first = (x->data - x->storage->data) / ln_itemsize(x), have = x->storage->bytes / ln_itemsize(x), last = reach(g);
  if (last >= 0 && (g->offset < -first || last >= have - first))
    return ln_fail("%s: size %s, stride %s from element %lld leave the storage of %lld elements", op, ln_shape_text(g->shape, g->ndim),
                   ln_shape_text(g->stride, g->ndim), (long long)(first + g->offset), (long long)have);
  return LN_OK;
}

int as_strided_forward(ln_call *c) {
  geometry g;
  LN_TRY(strided_geometry(c->name, c->attrs, &g));
  LN_TRY(check_bounds(c->name, c->in[0], &g));
  return emit(c, &g);
}

/* Do two indices meet in one element? Not when each stride exceeds what the smaller ones can reach. */
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
static ln_tensor *collect(ln_back *b, ln_tensor *flat, const geometry *g) {
  ln_attrs attrs = {0};
  int64_t all = -1;
  ln_attrs_float(&attrs, 0, 0);
  ln_attrs_float(&attrs, 1, (double)flat->numel);
  ln_attrs_float(&attrs, 2, 1);
  ln_attrs_int(&attrs, 3, LN_INT64);
  ln_attrs_int(&attrs, 4, b->device);
  ln_tensor *places = ln_do(b, LN_OP_arange, NULL, 0, &attrs);
  ln_tensor *index = ln_do_view(b, do_strided(b, LN_OP_as_strided, &places, 1, g), &all, 1);
  ln_tensor *const in[3] = {flat, index, ln_do_view(b, b->g[0], &all, 1)};
  attrs = (ln_attrs){0};
  ln_attrs_int(&attrs, 0, 0);
  return index && in[2] ? ln_do(b, LN_OP_scatter_add, in, 3, &attrs) : NULL;
}

void as_strided_backward(ln_back *b) {
  geometry view, x = {.ndim = b->ndim[0]};
  memcpy(x.shape, b->shape[0], sizeof(int64_t) * (size_t)x.ndim);
  memcpy(x.stride, b->stride[0], sizeof(int64_t) * (size_t)x.ndim);
  b->status = strided_geometry("as_strided", b->attrs, &view);
  if (b->status != LN_OK) return;
  int64_t span = (reach(&x) > reach(&view) ? reach(&x) : reach(&view)) + 1;
  if (view.offset < 0) {
    b->status = ln_fail("as_strided: a view that begins before its base has no gradient");
    return;
  }
  ln_tensor *flat;
  b->status = ln_new(&span, 1, b->g[0]->dtype, b->device, &flat);
  if (b->status != LN_OK) return;
  ln_do_own(b, flat);
  b->status = ln_zero(flat);
  ln_tensor *const in[2] = {flat, b->g[0]};
  flat = meets_itself(&view) ? collect(b, flat, &view) : do_strided(b, LN_OP_as_strided_scatter, in, 2, &view);
  ln_give(b, 0, do_strided(b, LN_OP_as_strided, &flat, 1, &x));
}

int as_strided_scatter_forward(ln_call *c) {
  geometry g;
  ln_tensor *x = c->in[0], *part;
  LN_TRY(strided_geometry(c->name, c->attrs, &g));
  if (!ln_is_dense(x))
    return ln_fail("as_strided_scatter: a tensor with gaps (shape %s, stride %s) is not supported", ln_shape_text(x->shape, x->ndim),
                   ln_shape_text(x->stride, x->ndim));
  LN_TRY(ln_new_strided(x->shape, x->stride, x->ndim, x->dtype, x->device, &c->out[0]));
  LN_TRY(check_bounds(c->name, c->out[0], &g));
  LN_TRY(ln_copy_into(c->out[0], x));
  part = ln_alias(c->out[0]);
  if (!part) return LN_NOMEM;
  ln_set_geometry(part, g.shape, g.stride, g.ndim);
  part->data += g.offset * ln_itemsize(part);
  int status = ln_same_shape(part, c->in[1]) ? ln_copy_into(part, c->in[1])
                                             : ln_fail("as_strided_scatter: src has shape %s, the view %s",
                                                       ln_shape_text(c->in[1]->shape, c->in[1]->ndim), ln_shape_text(part->shape, part->ndim));
  ln_tensor_release(part);
  return status;
}

/* Dims from the largest stride to the smallest: in that order a dense tensor is row-major. */
static void memory_order(const int64_t *shape, const int64_t *stride, int n, int *order) {
  for (int i = 0; i < n; i++) {
    int at = i;
    for (; at > 0 && shape[i] > 1 && stride[order[at - 1]] < stride[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
}

void as_strided_scatter_backward(ln_back *b) {
  geometry g;
  int order[16], inverse[16], n = b->ndim[0];
  b->status = strided_geometry("as_strided_scatter", b->attrs, &g);
  memory_order(b->shape[0], b->stride[0], n, order);
  invert(order, n, inverse);
  ln_tensor *laid = ln_do1(b, LN_OP_contiguous, do_permute(b, b->g[0], order, n)); /* as x lies in memory */
  if (b->needs[1]) ln_give(b, 1, ln_do_to(b, do_strided(b, LN_OP_as_strided, &laid, 1, &g), b->dtype[1]));
  if (!b->needs[0] || !laid) return;
  ln_tensor *zeros;
  b->status = ln_new(g.shape, g.ndim, laid->dtype, b->device, &zeros);
  if (b->status != LN_OK) return;
  ln_do_own(b, zeros);
  b->status = ln_zero(zeros);
  ln_tensor *const in[2] = {laid, zeros};
  ln_give(b, 0, do_permute(b, do_strided(b, LN_OP_as_strided_scatter, in, 2, &g), inverse, n));
}
