/* grid.c - sampling by a grid of coordinates. `order` asks for a derivative by each coordinate instead of the values, so the gradient by the grid is made of
 * the operator itself, and has derivatives of any order. */
#include "shape.h"

static bool read_options(ln_rule *r, ln_grid *g, int spatial) {
  SLOTS(grid_sample); /* grid_sample_dx has the same slots */
  int64_t order[3] = {0};
  *g = (ln_grid){.spatial = spatial, .mode = (int)r_int(r, a_mode), .padding = (int)r_int(r, a_padding_mode), .align = r_bool(r, a_align_corners)};
  if (!r_require(r, spatial == 2 || g->mode != LN_GRID_BICUBIC, "mode bicubic is for images, of two dimensions") ||
      !r_sizes(r, a_order, spatial, order))
    return false;
  for (int d = 0; d < spatial; d++) {
    if (!r_require(r, order[d] >= 0 && order[d] <= 100, "order %s must not be negative", ln_shape_text(order, spatial))) return false;
    g->order[d] = (int)order[d];
  }
  return true;
}

/* input [N, C, dims], grid [N, other dims, dims]. */
static bool check_grid(ln_rule *r, const ln_tensor *x, const ln_tensor *grid, int spatial) {
  return r_check_float(r, "input", x) && r_check_same_dtype(r, x, grid) &&
         r_require(r, spatial == 2 || spatial == 3, "input must have 4 or 5 dimensions, got shape %s", ln_shape_text(x->shape, x->ndim)) &&
         r_require(r, grid->ndim == spatial + 2 && grid->shape[0] == x->shape[0] && grid->shape[spatial + 1] == spatial,
                   "grid must have %d dimensions, first the batch %lld of input and last %d coordinates, got %s for input %s", spatial + 2,
                   (long long)x->shape[0], spatial, ln_shape_text(grid->shape, grid->ndim), ln_shape_text(x->shape, x->ndim));
}

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

/* Sizes, and the strides of [N, C, dims] images: row-major or channels-last ones. */
static void set_geometry(ln_grid *g, const ln_tensor *x, const ln_tensor *grid) {
  int spatial = g->spatial;
  g->n = x->shape[0];
  g->c = x->shape[1];
  for (int d = 0; d < 3; d++) g->in[d] = d < 3 - spatial ? 1 : x->shape[2 + d - (3 - spatial)];
  g->points = ln_numel(grid->shape + 1, spatial);
  g->x_stride[0] = x->stride[0];
  g->x_stride[1] = x->stride[1];
  g->x_stride[2] = ln_is_channels_last(x, spatial) ? x->shape[1] : 1;
}

/* Are the images such that one stride leads through a plane? */
static bool is_plain(const ln_tensor *x, int spatial) {
  if (ln_tensor_is_contiguous(x)) return true;
  int64_t stride = x->shape[1];
  if (x->stride[1] != 1 || x->ndim != spatial + 2) return false;
  for (int d = x->ndim - 1; d >= 2; d--) {
    if (x->stride[d] != stride) return false;
    stride *= x->shape[d];
  }
  return x->stride[0] == stride;
}

/* `written` in the compute dtype; t itself where it has that. */
static ln_tensor *wide_like(ln_rule *r, ln_tensor *t, int dtype) { return t && t->dtype != dtype ? r_new_like(r, t, dtype) : t; }

void grid_sample_forward(ln_rule *r) {
  ARGS(grid_sample);
  ln_grid g;
  int spatial = input->ndim - 2;
  if (!check_grid(r, input, grid, spatial) || !read_options(r, &g, spatial)) return;
  int64_t shape[5] = {input->shape[0], input->shape[1]};
  memcpy(shape + 2, grid->shape + 1, sizeof(int64_t) * (size_t)spatial);
  int64_t plane = ln_numel(input->shape + 2, spatial);
  r->keep_in = 3;
  ln_tensor *y = r_out(r, 0, shape, spatial + 2, input->dtype);
  if (!r_ok(r) || y->numel == 0 || !r_require(r, plane > 0, "input of shape %s has no elements", ln_shape_text(input->shape, input->ndim))) return;
  g.dtype = compute_dtype(input->dtype);
  ln_tensor *x = input->dtype == g.dtype && is_plain(input, spatial) ? input : r_dense(r, input, g.dtype);
  ln_tensor *where = r_dense(r, grid, g.dtype), *wide = wide_like(r, y, g.dtype);
  if (!r_ok(r)) return;
  set_geometry(&g, x, grid);
  g.x = x->data;
  g.grid = where->data;
  g.y = wide->data;
  if (KERNEL(r, grid_sample, &g) && wide != y) r_copy(r, y, wide);
}

void grid_sample_dx_forward(ln_rule *r) {
  ARGS(grid_sample_dx);
  ln_grid g;
  const int64_t *size;
  int n = r_list(r, a_size, &size), spatial = dy->ndim - 2;
  if (!r_require(r, n == dy->ndim && n >= 2 && ln_same_dims(size, dy->shape, 2), "size %s does not go with dy %s", ln_shape_text(size, n),
                 ln_shape_text(dy->shape, dy->ndim)) ||
      !check_grid(r, dy, grid, spatial) || !read_options(r, &g, spatial) ||
      !r_require(r, ln_same_dims(dy->shape + 2, grid->shape + 1, spatial), "dy %s is not the result of grid %s", ln_shape_text(dy->shape, dy->ndim),
                 ln_shape_text(grid->shape, grid->ndim)))
    return;
  r->keep_in = 3;
  g.dtype = compute_dtype(dy->dtype);
  ln_tensor *dx = r_out(r, 0, size, n, dy->dtype), *wide = wide_like(r, dx, g.dtype);
  if (!r_ok(r) || dx->numel == 0 || !r_status(r, ln_zero(wide))) return;
  if (dy->numel > 0) {
    ln_tensor *from = r_dense(r, dy, g.dtype), *where = r_dense(r, grid, g.dtype);
    if (!r_ok(r)) return;
    set_geometry(&g, wide, grid);
    g.x = from->data;
    g.grid = where->data;
    g.y = wide->data;
    if (!KERNEL(r, grid_sample_dx, &g)) return;
  }
  if (wide != dx) r_copy(r, dx, wide);
}

/* -- Gradients -- */

/* grid_sample or its adjoint with the options of r, and one order more for an axis (-1: none). */
static ln_tensor *again(ln_rule *r, int op, ln_tensor *x, ln_tensor *grid, int axis, const ln_tensor *sized) {
  SLOTS(grid_sample_dx); /* size is the last one, which grid_sample does not have */
  int spatial = grid->shape[grid->ndim - 1] == 3 ? 3 : 2;
  int64_t order[3] = {0};
  ln_attrs attrs;
  if (!r_sizes(r, a_order, spatial, order)) return NULL;
  if (axis >= 0) order[axis]++;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_mode, r_int(r, a_mode));
  ln_attrs_int(&attrs, a_padding_mode, r_int(r, a_padding_mode));
  ln_attrs_int(&attrs, a_align_corners, r_int(r, a_align_corners));
  ln_attrs_ints(&attrs, a_order, order, spatial);
  if (sized) ln_attrs_ints(&attrs, a_size, sized->shape, sized->ndim);
  ln_tensor *const in[2] = {x, grid};
  return x ? r_do(r, op, in, 2, &attrs) : NULL;
}

/* The gradient by the grid: by each coordinate the sum over channels of dy times the derivative of what is sampled. */
static ln_tensor *by_grid(ln_rule *r, ln_tensor *x, ln_tensor *grid, ln_tensor *dy) {
  int spatial = grid->ndim - 2;
  ln_tensor *parts[3];
  for (int axis = 0; axis < spatial; axis++) {
    ln_tensor *slope = again(r, LN_OP_grid_sample, x, grid, axis, NULL), *product = r_do2(r, LN_OP_mul, slope, dy);
    parts[axis] = r_sum(r, product, 2, false);
    r_drop(r, slope);
    r_drop(r, product);
    if (!parts[axis]) return NULL;
  }
  SLOTS(stack);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, -1);
  return r_do(r, LN_OP_stack, parts, spatial, &attrs);
}

void grid_sample_backward(ln_rule *r) {
  ARGS(grid_sample);
  if (r->needs[0]) r_give(r, 0, again(r, LN_OP_grid_sample_dx, r->g[0], grid, -1, input));
  if (r->needs[1]) r_give(r, 1, by_grid(r, input, grid, r->g[0]));
}

void grid_sample_dx_backward(ln_rule *r) {
  ARGS(grid_sample_dx);
  if (r->needs[0]) r_give(r, 0, again(r, LN_OP_grid_sample, r->g[0], grid, -1, NULL));
  if (r->needs[1]) r_give(r, 1, by_grid(r, r->g[0], grid, dy));
}
