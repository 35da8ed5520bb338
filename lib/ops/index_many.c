/* index_many.c - several index tensors at once, masks, nonzero. */
#include "index.h"

/* -- index, index_put -- */

/* The tensors `first` and after of a call index dims dim, dim + 1, ... of x. */
typedef struct many {
  int first, dim, n;
  int64_t shape[16]; /* of the broadcast indices */
  int ndim;
  int64_t result[16]; /* x's shape with the indexed dims replaced by the indices' */
  int result_ndim;
} many;

static bool check_many(ln_rule *r, const ln_tensor *x, int first, int dim, many *m) {
  *m = (many){.first = first, .dim = dim, .n = r->n_in - first};
  if (!r_require(r, m->n > 0 && dim + m->n <= x->ndim, "%d indices from dim %d on do not go with a tensor of shape %s", m->n, dim,
                 ln_shape_text(x->shape, x->ndim)))
    return false;
  ln_tensor so_far = *r->in[first];
  for (int i = 0; i < m->n; i++) {
    ln_tensor *index = r->in[first + i];
    int64_t size = x->shape[dim + i];
    if (!r_check_index(r, index, -size, size, dim + i)) return false;
    if (!r_status(r, ln_broadcast(r->name, &so_far, index, so_far.shape, &so_far.ndim))) return false;
  }
  m->ndim = so_far.ndim;
  memcpy(m->shape, so_far.shape, sizeof m->shape);
  if (!r_require(r, x->ndim - m->n + m->ndim <= LN_MAX_DIMS, "the result would have more than %d dimensions", LN_MAX_DIMS)) return false;
  for (int i = 0; i < dim; i++) m->result[m->result_ndim++] = x->shape[i];
  for (int i = 0; i < m->ndim; i++) m->result[m->result_ndim++] = m->shape[i];
  for (int i = dim + m->n; i < x->ndim; i++) m->result[m->result_ndim++] = x->shape[i];
  return true;
}

/* How many units each element picked lies behind the first one, in the shape of the indices: the sum of index times stride. */
static ln_tensor *offsets(ln_rule *r, const many *m, const ln_tensor *x, int64_t unit) {
  ln_tensor *sum = NULL;
  for (int i = 0; i < m->n; i++) { /* a negative index counts from the end */
    ln_tensor *at = r_whole(r, LN_OP_remainder, r->in[m->first + i], x->shape[m->dim + i] ? x->shape[m->dim + i] : 1);
    int64_t stride = x->stride[m->dim + i] / unit;
    if (stride != 1) at = r_whole(r, LN_OP_mul, at, stride);
    sum = i == 0 ? at : r_do2(r, LN_OP_add, sum, at);
  }
  return r_expand(r, sum, m->shape, m->ndim);
}

/* x over the shape of the result, its indexed dims led by offsets; and the offsets as an index over that shape. */
static ln_addressed address(const many *m, const ln_tensor *x, const ln_tensor *at, ln_tensor *index) {
  int64_t x_stride[16], stride[16];
  ln_addressed a = {.stride = 1, .size = 1};
  for (int i = 0; i < m->result_ndim; i++) {
    int inside = i - m->dim, own = inside < 0 ? i : i - m->ndim + m->n;
    bool led = inside >= 0 && inside < m->ndim;
    x_stride[i] = led ? 0 : x->stride[own];
    stride[i] = led ? at->stride[inside] : 0;
  }
  for (int i = 0; i < m->n; i++) a.size += (x->shape[m->dim + i] - 1) * x->stride[m->dim + i];
  a.view = ln_look(x, m->result, x_stride, m->result_ndim);
  *index = ln_look(at, m->result, stride, m->result_ndim);
  return a;
}

/* Whole rows of memory are taken and added fastest. */
static bool by_rows(const many *m, const ln_tensor *x) { return m->dim == 0 && ln_tensor_is_contiguous(x) && x->numel > 0; }

static ln_take rows_of(const many *m, const ln_tensor *x, const ln_tensor *ids) {
  return (ln_take){.dtype = x->dtype,
                   .n = ids->numel,
                   .width = ln_numel(x->shape + m->n, x->ndim - m->n),
                   .rows = ln_numel(x->shape, m->n),
                   .ids = (const int64_t *)ids->data,
                   .skip = -1};
}

/* The offsets in rows, as memory. */
static ln_tensor *row_ids(ln_rule *r, const many *m, const ln_tensor *x) {
  return r_dense(r, offsets(r, m, x, ln_numel(x->shape + m->n, x->ndim - m->n)), LN_INT64);
}

void index_forward(ln_rule *r) {
  ARGS(index);
  many m;
  ln_tensor led;
  if (!check_many(r, input, i_indices, r_dim(r, a_dim, input->ndim), &m)) return;
  r->keep_in = ~(uint64_t)1;
  ln_tensor *y = r_out(r, 0, m.result, m.result_ndim, input->dtype);
  if (!y || y->numel == 0) return;
  if (by_rows(&m, input)) {
    ln_tensor *ids = row_ids(r, &m, input);
    if (!ids) return;
    ln_take take = rows_of(&m, input, ids);
    take.in = input->data;
    take.out = y->data;
    KERNEL(r, take, &take);
  } else {
    ln_tensor *at = offsets(r, &m, input, 1);
    if (at) r_gather(r, y, address(&m, input, at, &led), &led);
  }
}

static ln_tensor *do_many(ln_rule *r, int op, ln_tensor *x, ln_tensor *src, int first, bool accumulate) {
  SLOTS(index_put); /* index has dim in the same slot */
  ln_tensor *in[LN_MAX_DIMS + 2] = {x, src};
  ln_attrs attrs;
  int own = op == LN_OP_index ? 1 : 2;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, r_int(r, a_dim));
  if (own == 2) ln_attrs_int(&attrs, a_accumulate, accumulate);
  for (int i = first; i < r->n_in; i++) in[own + i - first] = r->in[i];
  return x && (src || own == 1) ? r_do(r, op, in, own + r->n_in - first, &attrs) : NULL;
}

void index_backward(ln_rule *r) {
  ARGS(index);
  r_give(r, 0, do_many(r, LN_OP_index_put, r_zeros(r, input->shape, input->ndim, input->dtype), r->g[0], i_indices, true));
}

void index_put_forward(ln_rule *r) {
  ARGS(index_put);
  many m;
  ln_tensor led;
  if (!check_many(r, input, i_indices, r_dim(r, a_dim, input->ndim), &m)) return;
  r->keep_in = ~(uint64_t)3;
  bool accumulate = r_bool(r, a_accumulate);
  ln_tensor *y = r_out_copy(r), *wide = r_expand(r, r_to(r, src, input->dtype), m.result, m.result_ndim);
  if (!r_ok(r) || wide->numel == 0) return;
  if (accumulate && by_rows(&m, y)) {
    ln_tensor *ids = row_ids(r, &m, y), *rows = r_dense(r, wide, y->dtype);
    if (!r_ok(r)) return;
    ln_take take = rows_of(&m, y, ids);
    take.in = rows->data;
    take.out = y->data;
    KERNEL(r, take_add, &take);
  } else {
    ln_tensor *at = offsets(r, &m, y, 1);
    if (at) r_scatter(r, address(&m, y, at, &led), wide, &led, accumulate);
  }
}

void index_put_backward(ln_rule *r) {
  ARGS(index_put);
  ln_tensor *g = r->g[0], *zero = r->needs[0] ? r_zeros(r, NULL, 0, g->dtype) : NULL;
  r_give(r, 0, r_bool(r, a_accumulate) ? g : do_many(r, LN_OP_index_put, r->needs[0] ? g : NULL, zero, i_indices, false));
  if (r->needs[1]) r_give(r, 1, do_many(r, LN_OP_index, g, NULL, i_indices, false));
}

/* -- put -- */

static ln_tensor *put_elements(ln_rule *r, ln_tensor *const *in, bool accumulate) {
  SLOTS(index_put);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, 0);
  ln_attrs_int(&attrs, a_accumulate, accumulate);
  return in[0] && in[1] && in[2] ? r_do(r, LN_OP_index_put, in, 3, &attrs) : NULL;
}

void put_forward(ln_rule *r) {
  ARGS(put);
  if (!r_require(r, index->numel == source->numel, "index and source must have as many elements, got shapes %s and %s",
                 ln_shape_text(index->shape, index->ndim), ln_shape_text(source->shape, source->ndim)) ||
      !r_check_same_dtype(r, input, source))
    return;
  ln_tensor *const in[3] = {r_reshape(r, input, &input->numel, 1), r_reshape(r, source, &source->numel, 1), r_reshape(r, index, &index->numel, 1)};
  r_result(r, 0, r_reshape(r, put_elements(r, in, r_bool(r, a_accumulate)), input->shape, input->ndim));
}

/* -- Masks -- */

static bool check_mask(ln_rule *r, const ln_tensor *mask) {
  return r_require(r, mask->dtype == LN_BOOL, "the mask must be bool, got %s (a comparison such as x:gt(0) makes one)", ln_dtype_name(mask->dtype));
}

void masked_fill_forward(ln_rule *r) {
  ARGS(masked_fill);
  ln_tensor *const in[3] = {mask, value, input};
  int64_t shape[16];
  int ndim;
  ln_attrs attrs;
  if (!check_mask(r, mask)) return;
  if (!r_require(r, !value || value->ndim == 0, "value must be a number or a tensor without dimensions, got shape %s",
                 ln_shape_text(value->shape, value->ndim)))
    return;
  if (!r_status(r, ln_broadcast(r->name, input, mask, shape, &ndim))) return;
  ln_attrs_begin(&attrs);
  attrs.slot[1] = r->attrs->slot[a_value];
  attrs.integer = (r->attrs->integer & 1) << 1;
  r_result(r, 0, r_to(r, r_do(r, LN_OP_where, in, 3, &attrs), input->dtype));
}

/* Flat indices of the true elements of a mask, expanded to a shape. */
static ln_tensor *true_indices(ln_rule *r, ln_tensor *mask, const int64_t *shape, int ndim) {
  static const int64_t all = -1;
  int64_t n = ln_numel(shape, ndim);
  ln_tensor *rows = r_do1(r, LN_OP_nonzero, r_reshape(r, r_expand(r, mask, shape, ndim), n ? &all : &n, 1));
  return rows ? r_reshape(r, rows, (int64_t[]){rows->shape[0]}, 1) : NULL;
}

void masked_select_forward(ln_rule *r) {
  ARGS(masked_select);
  int64_t shape[16], n;
  int ndim = 0;
  if (!check_mask(r, mask) || !r_status(r, ln_broadcast(r->name, input, mask, shape, &ndim))) return;
  n = ln_numel(shape, ndim);
  ln_tensor *at = true_indices(r, mask, shape, ndim), *flat = r_reshape(r, r_expand(r, input, shape, ndim), &n, 1);
  r_result(r, 0, r_indexed(r, LN_OP_index_select, flat, 0, at, NULL));
}

void masked_scatter_forward(ln_rule *r) {
  ARGS(masked_scatter);
  int64_t n = input->numel, m = source->numel;
  if (!check_mask(r, mask) || !r_check_same_dtype(r, input, source)) return;
  ln_tensor *at = true_indices(r, mask, input->shape, input->ndim);
  if (!at || !r_require(r, at->numel <= m, "the mask has %lld true elements, the source only %lld", (long long)at->numel, (long long)m)) return;
  ln_tensor *first = r_narrow(r, r_reshape(r, source, &m, 1), 0, 0, at->numel);
  ln_tensor *y = r_indexed(r, LN_OP_scatter, r_reshape(r, input, &n, 1), 0, at, first);
  r_result(r, 0, r_reshape(r, y, input->shape, input->ndim));
}

/* -- nonzero -- */

/* Flat indices taken apart into one column a dim. */
static ln_tensor *coordinates(ln_rule *r, ln_tensor *flat, const ln_tensor *x) {
  SLOTS(stack);
  ln_tensor *columns[16], *rest = flat;
  ln_attrs attrs;
  for (int d = x->ndim - 1; d >= 0; d--) {
    int64_t size = x->shape[d] ? x->shape[d] : 1;
    columns[d] = r_whole(r, LN_OP_remainder, rest, size);
    rest = r_whole(r, LN_OP_floor_divide, rest, size);
  }
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, 1);
  return rest ? r_do(r, LN_OP_stack, columns, x->ndim, &attrs) : NULL;
}

void nonzero_forward(ln_rule *r) {
  ARGS(nonzero);
  ln_tensor *const operands[2] = {input, input};
  int64_t count = 0;
  ln_nonzero find = {.count = &count};
  ln_loop_init(&find.loop, operands, 2);
  if (input->numel && (!KERNEL(r, nonzero, &find) || !r_status(r, ln_waited(r->name, r->device, NULL)))) return;
  if (input->ndim == 0) {
    r_out(r, 0, (int64_t[]){count, 0}, 2, LN_INT64);
    return;
  }
  ln_tensor *flat = r_new(r, &count, 1, LN_INT64);
  if (!flat) return;
  find.out = (int64_t *)flat->data;
  if (count) KERNEL(r, nonzero, &find);
  r_result(r, 0, coordinates(r, flat, input));
}
