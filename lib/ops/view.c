/* view.c - the operators that look at all elements in another geometry. */
#include "shape.h"
#include "strided.h"

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
    geometry g = ln_row_major(shape, n);
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

/* -- permute, movedim, transpose -- */

/* The dims of a list, each once. */
static bool read_places(ln_rule *r, int slot, int ndim, int *places, int *n) {
  const int64_t *dims;
  uint32_t seen = 0;
  *n = r_list(r, slot, &dims);
  for (int i = 0; i < *n; i++) {
    if (!r_status(r, ln_wrap_dim(r->name, dims[i], ndim, &places[i]))) return false;
    if (!r_require(r, !((seen >> places[i]) & 1), "dim %d stands twice in %s", places[i], ln_shape_text(dims, *n))) return false;
    seen |= 1u << places[i];
  }
  return true;
}

static bool permute_order(ln_rule *r, int ndim, int *order) {
  SLOTS(permute);
  const int64_t *dims;
  int places[32], n = r_list(r, a_dims, &dims);
  if (!r_require(r, n == ndim, "%s names %d dims of %d", ln_shape_text(dims, n), n, ndim)) return false;
  if (!read_places(r, a_dims, ndim, places, &n)) return false;
  memcpy(order, places, sizeof *order * (size_t)n);
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
  geometry g = ln_geometry_of(input);
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

void movedim_forward(ln_rule *r) {
  ARGS(movedim);
  geometry g = {.ndim = input->ndim};
  int source[32], destination[32], order[16], n, m;
  if (!read_places(r, a_source, g.ndim, source, &n) || !read_places(r, a_destination, g.ndim, destination, &m)) return;
  if (!r_require(r, n == m, "source names %d dims, destination %d", n, m)) return;
  uint32_t moved = 0;
  for (int i = 0; i < g.ndim; i++) order[i] = -1;
  for (int i = 0; i < n && g.ndim > 0; i++) {
    order[destination[i]] = source[i];
    moved |= 1u << source[i];
  }
  for (int i = 0, next = 0; i < g.ndim; i++) {
    if (order[i] < 0) {
      while ((moved >> next) & 1) next++;
      order[i] = next++;
    }
    g.shape[i] = input->shape[order[i]];
    g.stride[i] = input->stride[order[i]];
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
  geometry g = ln_geometry_of(input);
  if (!r_require(r, g.ndim < LN_MAX_DIMS, "a tensor has at most %d dimensions", LN_MAX_DIMS)) return;
  int dim = r_dim(r, a_dim, g.ndim + 1);
  ln_insert_dim(&g, dim, 1, dim < g.ndim ? g.shape[dim] * g.stride[dim] : 1);
  emit(r, &g);
}

void squeeze_forward(ln_rule *r) {
  ARGS(squeeze);
  geometry g = ln_geometry_of(input);
  const int64_t *dims;
  bool none = r_has(r, a_dim) && r_list(r, a_dim, &dims) == 0; /* an empty list names no dimension */
  uint32_t mask = none ? 0 : r_dims(r, a_dim, g.ndim);
  for (int i = g.ndim - 1; i >= 0; i--)
    if (((mask >> i) & 1) && g.shape[i] == 1) ln_remove_dim(&g, i);
  emit(r, &g);
}

/* -- unfold -- */

/* Windows along a dim are elements that lie as they do, looked at once more. */
void unfold_dim_forward(ln_rule *r) {
  ARGS(unfold_dim);
  geometry g = ln_geometry_of(input);
  int dim = r_dim(r, a_dimension, g.ndim);
  int64_t size = r_int(r, a_size), step = r_int(r, a_step), have = g.ndim ? g.shape[dim] : 1, stride = g.ndim ? g.stride[dim] : 1;
  if (!r_require(r, step > 0, "the step must be positive, got %lld", (long long)step) ||
      !r_require(r, size >= 0 && size <= have, "windows of %lld do not go into dimension %d with size %lld", (long long)size, dim, (long long)have) ||
      !r_require(r, g.ndim < LN_MAX_DIMS, "a tensor has at most %d dimensions", LN_MAX_DIMS))
    return;
  if (g.ndim) {
    g.shape[dim] = (have - size) / step + 1;
    if (g.shape[dim] > 1) g.stride[dim] *= step;
  }
  ln_insert_dim(&g, g.ndim, size, stride);
  r_result(r, 0, ln_do_strided(r, LN_OP_as_strided, &r->in[0], 1, &g));
}
