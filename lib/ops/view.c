/* view.c - the operators that look at the same elements in another geometry, and their gradients. */
#include "shape.h"
#include "strided.h"

/* Rules of views apply what they do to the geometry of the input, their gradients to that of a row-major stand-in. */
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

static void emit(ln_rule *r, const geometry *g) { r_alias(r, g->shape, g->stride, g->ndim, g->offset); }

/* -- view, reshape, flatten -- */

/* Fills in a -1 and checks the count of elements. */
static bool complete_shape(ln_rule *r, const ln_tensor *x, const int64_t *want, int n, int64_t *shape) {
  int open = -1;
  int64_t known = 1;
  for (int i = 0; i < n; i++) {
    shape[i] = want[i];
    if (!r_require(r, want[i] != -1 || open < 0, "only one size may be -1, got %s", ln_shape_text(want, n))) return false;
    if (!r_require(r, want[i] >= -1, "a size cannot be negative, got %s", ln_shape_text(want, n))) return false;
    if (want[i] == -1)
      open = i;
    else if (!r_require(r, !__builtin_mul_overflow(known, want[i], &known), "shape %s is too large", ln_shape_text(want, n)))
      return false;
  }
  if (!r_require(r, open < 0 || known != 0, "the size -1 is not determined in %s", ln_shape_text(want, n))) return false;
  if (open >= 0) shape[open] = x->numel / known;
  return r_require(r, open >= 0 ? x->numel % known == 0 : known == x->numel, "shape %s does not fit %lld elements of shape %s",
                   ln_shape_text(want, n), (long long)x->numel, ln_shape_text(x->shape, x->ndim));
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

static void view_as(ln_rule *r, const int64_t *want, int n, bool may_copy) {
  geometry g = {.ndim = n};
  ln_tensor *x = r->in[0];
  if (!r_ok(r) || !complete_shape(r, x, want, n, g.shape)) return;
  if (view_strides(x, g.shape, n, g.stride)) {
    emit(r, &g);
  } else if (r_require(r, may_copy, "shape %s does not go with the strides %s of a tensor of shape %s; use reshape, which copies",
                       ln_shape_text(g.shape, n), ln_shape_text(x->stride, x->ndim), ln_shape_text(x->shape, x->ndim))) {
    r_copy(r, r_out(r, 0, x->shape, x->ndim, x->dtype), x);
    if (r_ok(r)) ln_set_geometry(r->out[0], g.shape, NULL, n);
  }
}

static void view_as_list(ln_rule *r, int slot, bool may_copy) {
  const int64_t *want;
  int n = r_list(r, slot, &want);
  view_as(r, want, n, may_copy);
}

void view_forward(ln_rule *r) {
  SLOTS(view);
  view_as_list(r, a_size, false);
}

void reshape_forward(ln_rule *r) {
  SLOTS(reshape);
  view_as_list(r, a_shape, true);
}

void flatten_forward(ln_rule *r) {
  ARGS(flatten);
  int from = r_dim(r, a_start_dim, input->ndim), to = r_dim(r, a_end_dim, input->ndim), n = 0;
  int64_t shape[16] = {1};
  if (!r_require(r, from <= to, "start_dim %d comes after end_dim %d", from, to)) return;
  for (int i = 0; i < input->ndim; i++) {
    if (i > from && i <= to)
      shape[n - 1] *= input->shape[i];
    else
      shape[n++] = input->shape[i];
  }
  view_as(r, shape, input->ndim ? n : 1, true);
}

/* -- permute, transpose -- */

static bool permute_order(ln_rule *r, int ndim, int *order) {
  SLOTS(permute);
  const int64_t *dims;
  uint32_t seen = 0;
  int n = r_list(r, a_dims, &dims);
  if (!r_require(r, n == ndim, "%s names %d dims of %d", ln_shape_text(dims, n), n, ndim)) return false;
  for (int i = 0; i < n; i++) {
    if (!r_status(r, ln_wrap_dim(r->name, dims[i], ndim, &order[i]))) return false;
    if (!r_require(r, !((seen >> order[i]) & 1), "dim %d stands twice in %s", order[i], ln_shape_text(dims, n))) return false;
    seen |= 1u << order[i];
  }
  return true;
}

static void invert(const int *order, int n, int *inverse) {
  for (int i = 0; i < n; i++) inverse[order[i]] = i;
}

void permute_forward(ln_rule *r) {
  ARGS(permute);
  geometry g = {.ndim = input->ndim};
  int order[16];
  if (!permute_order(r, input->ndim, order)) return;
  for (int i = 0; i < input->ndim; i++) {
    g.shape[i] = input->shape[order[i]];
    g.stride[i] = input->stride[order[i]];
  }
  emit(r, &g);
}

void permute_backward(ln_rule *r) {
  int order[16], inverse[16], n = r->in[0]->ndim;
  if (!permute_order(r, n, order)) return;
  invert(order, n, inverse);
  r_give(r, 0, r_permute(r, r->g[0], inverse, n));
}

void transpose_forward(ln_rule *r) {
  ARGS(transpose);
  geometry g = geometry_of(input);
  int dim0 = r_dim(r, a_dim0, g.ndim), dim1 = r_dim(r, a_dim1, g.ndim);
  if (!r_ok(r)) return;
  if (g.ndim > 0) {
    g.shape[dim0] = input->shape[dim1];
    g.stride[dim0] = input->stride[dim1];
    g.shape[dim1] = input->shape[dim0];
    g.stride[dim1] = input->stride[dim0];
  }
  emit(r, &g);
}

/* -- expand, unsqueeze, squeeze -- */

void expand_forward(ln_rule *r) {
  ARGS(expand);
  const int64_t *want;
  int n = r_list(r, a_size, &want), lead = n - input->ndim;
  geometry g = {.ndim = n};
  if (!r_require(r, lead >= 0, "%s has fewer dimensions than the tensor's %s", ln_shape_text(want, n), ln_shape_text(input->shape, input->ndim)))
    return;
  for (int i = 0; i < n; i++) {
    int64_t own = i < lead ? 1 : input->shape[i - lead];
    g.shape[i] = want[i] == -1 && i >= lead ? own : want[i];
    if (!r_require(r, g.shape[i] >= 0 && (own == 1 || own == g.shape[i]), "shape %s cannot be expanded to %s",
                   ln_shape_text(input->shape, input->ndim), ln_shape_text(want, n)))
      return;
    g.stride[i] = i < lead || (own == 1 && g.shape[i] != 1) ? 0 : input->stride[i - lead];
  }
  emit(r, &g);
}

void unsqueeze_forward(ln_rule *r) {
  ARGS(unsqueeze);
  geometry g = geometry_of(input);
  if (!r_require(r, g.ndim < LN_MAX_DIMS, "a tensor has at most %d dimensions", LN_MAX_DIMS)) return;
  int dim = r_dim(r, a_dim, g.ndim + 1);
  insert_dim(&g, dim, 1, dim < g.ndim ? g.shape[dim] * g.stride[dim] : 1);
  emit(r, &g);
}

void squeeze_forward(ln_rule *r) {
  ARGS(squeeze);
  geometry g = geometry_of(input);
  const int64_t *dims;
  bool none = r_has(r, a_dim) && r_list(r, a_dim, &dims) == 0; /* an empty list names no dimension */
  uint32_t mask = none ? 0 : r_dims(r, a_dim, g.ndim);
  for (int i = g.ndim - 1; i >= 0; i--)
    if (((mask >> i) & 1) && g.shape[i] == 1) remove_dim(&g, i);
  emit(r, &g);
}

/* -- select, slice, narrow, diagonal: part of the elements -- */

static bool has_dims(ln_rule *r, const geometry *g, const char *done) { return r_require(r, g->ndim > 0, "a 0-dim tensor cannot be %s", done); }

static bool select_geometry(ln_rule *r, geometry *g) {
  SLOTS(select);
  if (!has_dims(r, g, "indexed")) return false;
  int dim = r_dim(r, a_dim, g->ndim);
  int64_t size = g->shape[dim], index = r_int(r, a_index);
  if (r_ok(r) && (index < -size || index >= size))
    return r_status(
      r, ln_fail("index %lld is out of bounds for dimension %d with size %lld (indexes start at 0)", (long long)index, dim, (long long)size));
  g->offset += (index < 0 ? index + size : index) * g->stride[dim];
  remove_dim(g, dim);
  return r_ok(r);
}

static int64_t clip(int64_t at, int64_t size) {
  if (at < 0) at += size;
  return at < 0 ? 0 : at > size ? size : at;
}

static bool slice_geometry(ln_rule *r, geometry *g) {
  SLOTS(slice);
  if (!has_dims(r, g, "sliced")) return false;
  int dim = r_dim(r, a_dim, g->ndim);
  int64_t size = g->shape[dim], step = r_int(r, a_step);
  if (!r_require(r, step >= 1, "the step must be positive, got %lld", (long long)step)) return false;
  int64_t start = r_has(r, a_start) ? clip(r_int(r, a_start), size) : 0, end = r_has(r, a_end) ? clip(r_int(r, a_end), size) : size;
  int64_t length = end > start ? end - start : 0;
  g->offset += start * g->stride[dim];
  g->shape[dim] = length / step + (length % step != 0);
  if (g->shape[dim] > 1) g->stride[dim] *= step; /* a step beyond the end may be of any size */
  return true;
}

static bool narrow_geometry(ln_rule *r, geometry *g) {
  SLOTS(narrow);
  if (!has_dims(r, g, "narrowed")) return false;
  int dim = r_dim(r, a_dim, g->ndim);
  int64_t size = g->shape[dim], start = r_int(r, a_start), length = r_int(r, a_length);
  if (!r_require(r, start >= -size && start <= size, "start %lld is out of range for dimension %d with size %lld", (long long)start, dim,
                 (long long)size))
    return false;
  if (start < 0) start += size;
  if (!r_require(r, length >= 0 && length <= size - start, "start %lld and length %lld exceed dimension %d with size %lld", (long long)start,
                 (long long)length, dim, (long long)size))
    return false;
  g->offset += start * g->stride[dim];
  g->shape[dim] = length;
  return true;
}

static bool diagonal_geometry(ln_rule *r, geometry *g) {
  SLOTS(diagonal);
  int d1 = r_dim(r, a_dim1, g->ndim), d2 = r_dim(r, a_dim2, g->ndim);
  int64_t offset = r_int(r, a_offset);
  if (!r_require(r, d1 != d2, "the two dims must differ, both are %d", d1)) return false;
  int64_t rows = g->shape[d1], cols = g->shape[d2], s1 = g->stride[d1], s2 = g->stride[d2], length = 0;
  if (offset >= 0 && offset < cols) length = rows < cols - offset ? rows : cols - offset;
  if (offset < 0 && offset > -rows) length = rows + offset < cols ? rows + offset : cols;
  if (length > 0) g->offset += offset >= 0 ? offset * s2 : -offset * s1;
  remove_dim(g, d1 > d2 ? d1 : d2);
  remove_dim(g, d1 > d2 ? d2 : d1);
  insert_dim(g, g->ndim, length, s1 + s2);
  return true;
}

typedef bool (*part_fn)(ln_rule *r, geometry *g);

static void part_forward(ln_rule *r, part_fn part) {
  geometry g = geometry_of(r->in[0]);
  if (part(r, &g)) emit(r, &g);
}

/* The gradient fills its part; the rest of x did not matter. */
static void part_backward(ln_rule *r, part_fn part) {
  const ln_tensor *x = r->in[0];
  geometry g = row_major(x->shape, x->ndim);
  if (!part(r, &g)) return;
  ln_tensor *const in[2] = {r_zeros(r, x->shape, x->ndim, x->dtype), r->g[0]};
  r_give(r, 0, ln_do_strided(r, LN_OP_as_strided_scatter, in, 2, &g));
}

void select_forward(ln_rule *r) { part_forward(r, select_geometry); }
void select_backward(ln_rule *r) { part_backward(r, select_geometry); }
void slice_forward(ln_rule *r) { part_forward(r, slice_geometry); }
void slice_backward(ln_rule *r) { part_backward(r, slice_geometry); }
void narrow_forward(ln_rule *r) { part_forward(r, narrow_geometry); }
void narrow_backward(ln_rule *r) { part_backward(r, narrow_geometry); }
void diagonal_forward(ln_rule *r) { part_forward(r, diagonal_geometry); }
void diagonal_backward(ln_rule *r) { part_backward(r, diagonal_geometry); }
