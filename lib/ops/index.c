/* index.c - gather, scatter, index_select, index_add: along one dim, by an int64 index. Several dims at once are in index_many.c. */
#include "index.h"

/* -- Shared -- */

int ln_check_index(const char *op, ln_tensor *index, int64_t low, int64_t size, int dim) {
  ln_tensor *const operands[2] = {index, index};
  int64_t place, value = 0;
  ln_find find = {.low = low, .high = size, .position = &place};
  if (index->dtype != LN_INT64)
    return ln_fail("%s: the index must be int64, got %s (make it with lt.LongTensor or :long())", op, ln_dtype_name(index->dtype));
  if (index->numel == 0) return LN_OK;
  ln_loop_init(&find.loop, operands, 2);
  LN_TRY(ln_kernel_status(op, ln_kernels_of(index->device)->find_outside(&find, index->device)));
  if (place < 0) return LN_OK;
  ln_tensor *flat, *one;
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, (int64_t[]){-1}, 1);
  LN_TRY(ln_run(LN_OP_reshape, &index, 1, &attrs, false, &flat));
  one = ln_alias(flat);
  if (one) {
    double number = 0;
    ln_set_geometry(one, NULL, NULL, 0);
    one->data += place * (int64_t)sizeof(int64_t) * (flat->stride[0] ? flat->stride[0] : 0);
    if (ln_tensor_item(one, &number, &value) != LN_OK) value = 0;
    ln_tensor_release(one);
  }
  ln_tensor_release(flat);
  return ln_fail("%s: index %lld is out of bounds for dimension %d with size %lld (indexes start at 0)", op, (long long)value, dim, (long long)size);
}

int ln_move_indexed(const char *op, ln_tensor *out, ln_tensor *in, ln_tensor *index, int dim, int indexed, bool add) {
  ln_indexed job = {.dtype = out->dtype, .indexed = indexed};
  ln_tensor *addressed = indexed ? in : out, view = *addressed;
  if (index->numel == 0) return LN_OK;
  job.stride = addressed->ndim ? addressed->stride[dim] * ln_itemsize(addressed) : 0;
  job.size = addressed->ndim ? addressed->shape[dim] : 1;
  for (int i = 0; i < index->ndim; i++) view.shape[i] = index->shape[i];
  if (view.ndim) view.stride[dim] = 0;
  view.numel = index->numel;
  ln_tensor *const operands[3] = {indexed ? out : &view, indexed ? &view : in, index};
  ln_loop_init(&job.loop, operands, 3);
  const ln_kernels *k = ln_kernels_of(out->device);
  return ln_kernel_status(op, (add ? k->scatter_add : k->indexed)(&job, out->device));
}

ln_tensor *ln_do_indexed(ln_back *b, int op, ln_tensor *x, int64_t dim, ln_tensor *index, ln_tensor *src) {
  ln_tensor *const in[3] = {x, index, src};
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, dim);
  bool three = op != LN_OP_gather && op != LN_OP_index_select;
  return x && index && (src || !three) ? ln_do(b, op, in, three ? 3 : 2, &attrs) : NULL;
}

ln_tensor *ln_do_widen(ln_back *b, ln_tensor *index, const int64_t *shape, int ndim, int dim) {
  int64_t narrow[16], wide[16];
  for (int i = 0; i < ndim; i++) {
    narrow[i] = i == dim ? index->numel : 1;
    wide[i] = i == dim ? index->numel : shape[i];
  }
  return ln_do_expand(b, ln_do_view(b, index, narrow, ndim), wide, ndim);
}

/* -- Checks -- */

/* The index may be smaller than x, except along dim, where it says which. */
static int check_gather(ln_call *c, const ln_tensor *x, ln_tensor *index, const ln_tensor *src, int *dim) {
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, dim));
  if ((index->ndim ? index->ndim : 1) != (x->ndim ? x->ndim : 1))
    return ln_fail("%s: index %s and tensor %s must have the same number of dimensions", c->name, ln_shape_text(index->shape, index->ndim),
                   ln_shape_text(x->shape, x->ndim));
  for (int i = 0; i < index->ndim; i++) {
    if (i != *dim && x->ndim && index->shape[i] > x->shape[i])
      return ln_fail("%s: index %s is larger than the tensor %s in dimension %d", c->name, ln_shape_text(index->shape, index->ndim),
                     ln_shape_text(x->shape, x->ndim), i);
    if (src && (src->ndim != index->ndim || index->shape[i] > src->shape[i]))
      return ln_fail("%s: index %s is larger than the source %s", c->name, ln_shape_text(index->shape, index->ndim),
                     ln_shape_text(src->shape, src->ndim));
  }
  return ln_check_index(c->name, index, 0, x->ndim ? x->shape[*dim] : 1, *dim);
}

/* out[0] begins as a copy of in[0], or is it, in place. */
static int begin_copy(ln_call *c) {
  ln_tensor *x = c->in[0];
  LN_TRY(ln_call_out(c, 0, x->shape, x->ndim, x->dtype));
  return c->out[0] == x ? LN_OK : ln_copy_into(c->out[0], x);
}

/* The part of src that the index covers; geometry only. */
static ln_tensor covered(const ln_tensor *src, const ln_tensor *index) {
  ln_tensor v = *src;
  for (int i = 0; i < index->ndim; i++) v.shape[i] = index->shape[i];
  v.numel = index->numel;
  return v;
}

/* -- gather, scatter -- */

int gather_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *index = c->in[1];
  int dim;
  if (c->target) return ln_fail("gather: there is no in-place form");
  LN_TRY(check_gather(c, x, index, NULL, &dim));
  LN_TRY(ln_call_out(c, 0, index->shape, index->ndim, x->dtype));
  c->keep_in = 2;
  return ln_move_indexed(c->name, c->out[0], x, index, dim, 1, false);
}

void gather_backward(ln_back *b) { ln_give(b, 0, ln_do_indexed(b, LN_OP_scatter_add, ln_do_zeros(b, 0), ln_int(b->attrs, 0), b->in[1], b->g[0])); }

static int scatter(ln_call *c, bool add) {
  ln_tensor *x = c->in[0], *index = c->in[1], *src = c->in[2];
  int dim;
  LN_TRY(check_gather(c, x, index, src, &dim));
  LN_TRY(ln_check_same_dtype(c->name, x, src));
  LN_TRY(begin_copy(c));
  ln_tensor part = covered(src, index);
  c->keep_in = 2;
  return ln_move_indexed(c->name, c->out[0], &part, index, dim, 0, add);
}

/* The gradient of x with nothing where the index points. */
static ln_tensor *without_indexed(ln_back *b) {
  ln_tensor *const in[2] = {b->g[0], b->in[1]};
  ln_attrs attrs = {.integer = 2};
  ln_attrs_int(&attrs, 0, ln_int(b->attrs, 0));
  ln_attrs_int(&attrs, 1, 0);
  return ln_do(b, LN_OP_scatter_value, in, 2, &attrs);
}

/* The gradient of src: what arrives where it went, 0 where the index did not reach. */
static ln_tensor *source_gradient(ln_back *b) {
  ln_tensor *picked = ln_do_indexed(b, LN_OP_gather, b->g[0], ln_int(b->attrs, 0), b->in[1], NULL);
  if (!picked || ln_same_dims(picked->shape, b->shape[2], picked->ndim)) return picked;
  ln_tensor *const in[2] = {ln_do_zeros(b, 2), picked};
  int64_t stride[16], n = 1;
  for (int i = b->ndim[2] - 1; i >= 0; i--) {
    stride[i] = n;
    n *= b->shape[2][i];
  }
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, picked->shape, picked->ndim);
  ln_attrs_ints(&attrs, 1, stride, picked->ndim);
  ln_attrs_int(&attrs, 2, 0);
  return in[0] ? ln_do(b, LN_OP_as_strided_scatter, in, 2, &attrs) : NULL;
}

int scatter_forward(ln_call *c) { return scatter(c, false); }

void scatter_backward(ln_back *b) {
  if (b->needs[0]) ln_give(b, 0, without_indexed(b));
  if (b->needs[2]) ln_give(b, 2, source_gradient(b));
}

int scatter_add_forward(ln_call *c) { return scatter(c, true); }

void scatter_add_backward(ln_back *b) {
  if (b->needs[0]) ln_give(b, 0, b->g[0]);
  if (b->needs[2]) ln_give(b, 2, source_gradient(b));
}

int scatter_value_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *index = c->in[1], *number;
  int dim;
  bool whole = (c->attrs->integer >> 1) & 1;
  LN_TRY(check_gather(c, x, index, NULL, &dim));
  LN_TRY(begin_copy(c));
  LN_TRY(ln_new(NULL, 0, x->dtype, x->device, &number));
  ln_tensor *host;
  int status = ln_new(NULL, 0, whole ? LN_INT64 : LN_FLOAT64, LN_CPU, &host);
  if (status == LN_OK) {
    memcpy(host->data, &c->attrs->slot[1], 8);
    status = ln_copy_into(number, host);
    ln_tensor_release(host);
  }
  if (status == LN_OK) {
    ln_tensor wide = *number; /* the number, as often as the index asks */
    memset(wide.stride, 0, sizeof wide.stride);
    wide.ndim = index->ndim;
    memcpy(wide.shape, index->shape, sizeof wide.shape);
    wide.numel = index->numel;
    status = ln_move_indexed(c->name, c->out[0], &wide, index, dim, 0, false);
  }
  ln_tensor_release(number);
  c->keep_in = 2;
  return status;
}

void scatter_value_backward(ln_back *b) { ln_give(b, 0, without_indexed(b)); }

/* -- index_select, index_add -- */

static int check_select(ln_call *c, const ln_tensor *x, ln_tensor *index, int *dim) {
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, dim));
  if (index->ndim > 1) return ln_fail("%s: the index must be a vector, got shape %s", c->name, ln_shape_text(index->shape, index->ndim));
  return ln_check_index(c->name, index, 0, x->ndim ? x->shape[*dim] : 1, *dim);
}

static int take_rows(ln_call *c, const ln_tensor *x, ln_tensor *index) {
  ln_tensor *ids;
  LN_TRY(ln_dense(index, LN_INT64, &ids));
  ln_take take = {.dtype = x->dtype,
                  .n = ids->numel,
                  .width = x->shape[0] ? x->numel / x->shape[0] : 0,
                  .rows = x->shape[0],
                  .in = x->data,
                  .out = c->out[0]->data,
                  .ids = (const int64_t *)ids->data,
                  .skip = -1};
  int status = ln_kernel_status(c->name, ln_kernels_of(x->device)->take(&take, x->device));
  ln_tensor_release(ids);
  return status;
}

int index_select_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *index = c->in[1];
  int dim;
  int64_t shape[16];
  if (c->target) return ln_fail("index_select: there is no in-place form");
  LN_TRY(check_select(c, x, index, &dim));
  memcpy(shape, x->shape, sizeof(int64_t) * (size_t)x->ndim);
  if (x->ndim) shape[dim] = index->numel;
  LN_TRY(ln_call_out(c, 0, shape, x->ndim, x->dtype));
  c->keep_in = 2;
  if (x->ndim && dim == 0 && ln_tensor_is_contiguous(x)) return take_rows(c, x, index);
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *wide = ln_do_widen(b, index, shape, x->ndim, dim), *kept = NULL;
  if (wide) b->status = ln_move_indexed(c->name, c->out[0], x, wide, dim, 1, false);
  int status = ln_compose_end(&compose, c->out[0], &kept);
  if (kept) ln_tensor_release(kept);
  return status;
}

void index_select_backward(ln_back *b) {
  ln_give(b, 0, ln_do_indexed(b, LN_OP_index_add, ln_do_zeros(b, 0), ln_int(b->attrs, 0), b->in[1], b->g[0]));
}

int index_add_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *index = c->in[1], *src = c->in[2], *kept = NULL;
  int dim;
  LN_TRY(check_select(c, x, index, &dim));
  LN_TRY(ln_check_same_dtype(c->name, x, src));
  for (int i = 0; i < x->ndim; i++)
    if (src->ndim != x->ndim || src->shape[i] != (i == dim ? index->numel : x->shape[i]))
      return ln_fail("index_add: %lld slices of %s are needed, the source has shape %s", (long long)index->numel, ln_shape_text(x->shape, x->ndim),
                     ln_shape_text(src->shape, src->ndim));
  LN_TRY(begin_copy(c));
  c->keep_in = 2;
  ln_compose compose;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *wide = ln_do_widen(b, index, src->shape, src->ndim, dim);
  if (wide) b->status = ln_move_indexed(c->name, c->out[0], src, wide, dim, 0, true);
  int status = ln_compose_end(&compose, c->out[0], &kept);
  if (kept) ln_tensor_release(kept);
  return status;
}

void index_add_backward(ln_back *b) {
  if (b->needs[0]) ln_give(b, 0, b->g[0]);
  if (b->needs[2]) ln_give(b, 2, ln_do_indexed(b, LN_OP_index_select, b->g[0], ln_int(b->attrs, 0), b->in[1], NULL));
}
