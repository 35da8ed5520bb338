/* part.c - views of some of the elements, copies with these replaced, diagonals. */
#include "index.h"
#include "strided.h"

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
  ln_remove_dim(g, dim);
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
  ln_remove_dim(g, d1 > d2 ? d1 : d2);
  ln_remove_dim(g, d1 > d2 ? d2 : d1);
  ln_insert_dim(g, g->ndim, length, s1 + s2);
  return true;
}

typedef bool (*part_fn)(ln_rule *r, geometry *g);

static void part_forward(ln_rule *r, part_fn part) {
  geometry g = ln_geometry_of(r->in[0]);
  if (part(r, &g)) r_alias(r, g.shape, g.stride, g.ndim, g.offset);
}

/* The gradient fills its part; the rest of x did not matter. */
static void part_backward(ln_rule *r, part_fn part) {
  const ln_tensor *x = r->in[0];
  geometry g = ln_row_major(x->shape, x->ndim);
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

/* -- A copy with a part replaced -- */

static void part_scatter(ln_rule *r, part_fn part) {
  ln_tensor *src = r->in[1], *y = r_out_copy(r);
  if (!y) return;
  geometry g = ln_geometry_of(y);
  if (!part(r, &g)) return;
  ln_tensor there = ln_look(y, g.shape, g.stride, g.ndim);
  if (there.numel > 0) there.data += g.offset * ln_itemsize(y);
  if (r_require(r, ln_same_shape(&there, src), "src has shape %s, what it replaces %s", ln_shape_text(src->shape, src->ndim),
                ln_shape_text(g.shape, g.ndim)))
    r_copy(r, &there, src);
}

void select_scatter_forward(ln_rule *r) { part_scatter(r, select_geometry); }
void slice_scatter_forward(ln_rule *r) { part_scatter(r, slice_geometry); }
void diagonal_scatter_forward(ln_rule *r) { part_scatter(r, diagonal_geometry); }

void diag_embed_forward(ln_rule *r) {
  ARGS(diag_embed);
  int n = input->ndim, d1, d2, from = 0;
  int64_t offset = r_int(r, a_offset), shape[17];
  if (!r_require(r, n > 0 && n < LN_MAX_DIMS, "a tensor of 1 to %d dimensions is expected, got %d", LN_MAX_DIMS - 1, n)) return;
  d1 = r_dim(r, a_dim1, n + 1);
  d2 = r_dim(r, a_dim2, n + 1);
  if (!r_require(r, d1 != d2, "the two dims must differ, both are %d", d1)) return;
  for (int i = 0; i <= n; i++) shape[i] = i == d1 || i == d2 ? input->shape[n - 1] + (offset < 0 ? -offset : offset) : input->shape[from++];
  ln_tensor *y = r_out(r, 0, shape, n + 1, input->dtype);
  if (!y || !r_status(r, ln_zero(y))) return;
  geometry g = ln_geometry_of(y);
  if (!diagonal_geometry(r, &g)) return;
  ln_tensor diagonal = ln_look(y, g.shape, g.stride, g.ndim);
  if (diagonal.numel > 0) diagonal.data += g.offset * ln_itemsize(y);
  r_copy(r, &diagonal, input);
}

/* diag_embed or diagonal. */
static ln_tensor *along_diagonal(ln_rule *r, int op, ln_tensor *x, int64_t offset) {
  SLOTS(diagonal);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_offset, offset);
  return r_do(r, op, &x, 1, &attrs);
}

void diag_forward(ln_rule *r) {
  ARGS(diag);
  if (r_require(r, input->ndim == 1 || input->ndim == 2, "a vector or a matrix is expected, got shape %s", ln_shape_text(input->shape, input->ndim)))
    r_result(r, 0, along_diagonal(r, input->ndim == 1 ? LN_OP_diag_embed : LN_OP_diagonal, input, r_int(r, a_diagonal)));
}

void trace_forward(ln_rule *r) {
  ARGS(trace);
  if (r_require(r, input->ndim == 2, "a matrix is expected, got shape %s", ln_shape_text(input->shape, input->ndim)))
    r_result(r, 0, r_do1(r, LN_OP_sum, along_diagonal(r, LN_OP_diagonal, input, 0)));
}
