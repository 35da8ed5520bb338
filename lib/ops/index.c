/* index.c - gather, scatter, index_select, index_add: along one dim, by an int64 index. Several dims at once are in index_many.c. */
#include "index.h"

/* -- Shared -- */

bool r_check_index(ln_rule *r, ln_tensor *index, int64_t low, int64_t size, int dim) {
  if (index &&
      !r_require(r, index->dtype == LN_INT64, "the index must be int64, got %s (make it with lt.LongTensor or :long())", ln_dtype_name(index->dtype)))
    return false;
  return r_check(r, index, (ln_violation){.kind = LN_CHECK_INDEX, .dim = dim, .size = size}, low, size);
}

/* An int32 index widened; any other as it is, for the checks to speak about. */
static ln_tensor *wide_index(ln_rule *r, ln_tensor *index) { return index->dtype == LN_INT32 ? r_to(r, index, LN_INT64) : index; }

ln_addressed ln_address(const ln_tensor *t, const ln_tensor *index, int dim) {
  ln_addressed a = {.view = *t, .stride = t->ndim ? t->stride[dim] : 0, .size = t->ndim ? t->shape[dim] : 1};
  for (int i = 0; i < index->ndim; i++) a.view.shape[i] = index->shape[i];
  if (t->ndim) a.view.stride[dim] = 0;
  a.view.numel = index->numel;
  return a;
}

bool r_gather(ln_rule *r, ln_tensor *out, ln_addressed from, ln_tensor *index) {
  if (!out || !r_ok(r)) return false;
  ln_indexed work = {.dtype = out->dtype, .indexed = 1, .stride = from.stride * ln_itemsize(out), .size = from.size};
  ln_tensor *const operands[3] = {out, &from.view, index};
  if (index->numel == 0) return true;
  ln_loop_init(&work.loop, operands, 3);
  return KERNEL(r, indexed, &work);
}

bool r_scatter(ln_rule *r, ln_addressed to, ln_tensor *in, ln_tensor *index, bool add) {
  if (!in || !r_ok(r)) return false;
  ln_indexed work = {.dtype = to.view.dtype, .stride = to.stride * ln_itemsize(&to.view), .size = to.size};
  ln_tensor *const operands[3] = {&to.view, in, index};
  if (index->numel == 0) return true;
  ln_loop_init(&work.loop, operands, 3);
  return add ? KERNEL(r, scatter_add, &work) : KERNEL(r, indexed, &work);
}

ln_tensor *r_indexed(ln_rule *r, int op, ln_tensor *x, int64_t dim, ln_tensor *index, ln_tensor *src) {
  SLOTS(gather); /* the others have dim in the same slot */
  ln_tensor *const in[3] = {x, index, src};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  bool three = op != LN_OP_gather && op != LN_OP_index_select;
  return x && index && (src || !three) ? r_do(r, op, in, three ? 3 : 2, &attrs) : NULL;
}

ln_tensor ln_widen(const ln_tensor *index, const int64_t *shape, int ndim, int dim) {
  int64_t stride[16] = {0}, wide[16];
  for (int i = 0; i < ndim; i++) wide[i] = i == dim ? index->numel : shape[i];
  if (ndim) stride[dim] = index->ndim ? index->stride[0] : 0;
  return ln_look(index, wide, stride, ndim);
}

ln_tensor *r_out_copy(ln_rule *r) {
  ln_tensor *x = r->in[0], *y = r_out(r, 0, x->shape, x->ndim, x->dtype);
  return y == x || r_copy(r, y, x) ? y : NULL;
}

/* -- Checks -- */

/* The index may be smaller than x, except along dim, where it says which. */
static bool check_gather(ln_rule *r, const ln_tensor *x, ln_tensor *index, const ln_tensor *src, int dim) {
  bool good =
    r_require(r, (index->ndim ? index->ndim : 1) == (x->ndim ? x->ndim : 1), "index %s and tensor %s must have the same number of dimensions",
              ln_shape_text(index->shape, index->ndim), ln_shape_text(x->shape, x->ndim));
  for (int i = 0; good && i < index->ndim; i++)
    good = r_require(r, i == dim || !x->ndim || index->shape[i] <= x->shape[i], "index %s is larger than the tensor %s in dimension %d",
                     ln_shape_text(index->shape, index->ndim), ln_shape_text(x->shape, x->ndim), i) &&
           r_require(r, !src || (src->ndim == index->ndim && index->shape[i] <= src->shape[i]), "index %s is larger than the source %s",
                     ln_shape_text(index->shape, index->ndim), ln_shape_text(src->shape, src->ndim));
  return good && r_check_index(r, index, 0, x->ndim ? x->shape[dim] : 1, dim);
}

/* -- gather, scatter -- */

void gather_forward(ln_rule *r) {
  ARGS(gather);
  int dim = r_dim(r, a_dim, input->ndim);
  if (!(index = wide_index(r, index))) return;
  if (check_gather(r, input, index, NULL, dim))
    r_gather(r, r_out(r, 0, index->shape, index->ndim, input->dtype), ln_address(input, index, dim), index);
}

static void scatter(ln_rule *r, bool add) {
  ARGS(scatter);
  int dim = r_dim(r, a_dim, input->ndim);
  if (!(index = wide_index(r, index))) return;
  if (!check_gather(r, input, index, src, dim) || !r_check_same_dtype(r, input, src)) return;
  ln_tensor *y = r_out_copy(r), part = *src; /* what the index covers of it */
  memcpy(part.shape, index->shape, sizeof part.shape);
  part.numel = index->numel;
  if (y) r_scatter(r, ln_address(y, index, dim), &part, index, add);
}

void scatter_forward(ln_rule *r) { scatter(r, false); }
void scatter_add_forward(ln_rule *r) { scatter(r, true); }

void scatter_value_forward(ln_rule *r) {
  ARGS(scatter_value);
  static const int64_t nowhere[16] = {0};
  int dim = r_dim(r, a_dim, input->ndim);
  if (!(index = wide_index(r, index))) return;
  if (!check_gather(r, input, index, NULL, dim)) return;
  ln_tensor *y = r_out_copy(r), *number = r_new(r, NULL, 0, input->dtype);
  if (!r_ok(r) || !r_status(r, ln_fill_number(number, r_is_whole(r, a_value), &r->attrs->slot[a_value]))) return;
  ln_tensor wide = ln_look(number, index->shape, nowhere, index->ndim); /* the number, as often as the index asks */
  r_scatter(r, ln_address(y, index, dim), &wide, index, false);
}

/* -- index_select, index_add -- */

static bool check_select(ln_rule *r, const ln_tensor *x, ln_tensor *index, int dim) {
  return r_require(r, index->ndim <= 1, "the index must be a vector, got shape %s", ln_shape_text(index->shape, index->ndim)) &&
         r_check_index(r, index, 0, x->ndim ? x->shape[dim] : 1, dim);
}

static void take_rows(ln_rule *r, const ln_tensor *x, ln_tensor *index, ln_tensor *y) {
  ln_tensor *ids = r_dense(r, index, LN_INT64);
  if (!ids) return;
  ln_take take = {.dtype = x->dtype,
                  .n = ids->numel,
                  .width = x->shape[0] ? x->numel / x->shape[0] : 0,
                  .rows = x->shape[0],
                  .in = x->data,
                  .out = y->data,
                  .ids = (const int64_t *)ids->data,
                  .skip = -1};
  KERNEL(r, take, &take);
}

void index_select_forward(ln_rule *r) {
  ARGS(index_select);
  int dim = r_dim(r, a_dim, input->ndim);
  if (!(index = wide_index(r, index))) return;
  int64_t shape[16];
  if (!check_select(r, input, index, dim)) return;
  memcpy(shape, input->shape, sizeof(int64_t) * (size_t)input->ndim);
  if (input->ndim) shape[dim] = index->numel;
  ln_tensor *y = r_out(r, 0, shape, input->ndim, input->dtype), wide = ln_widen(index, shape, input->ndim, dim);
  if (y && input->ndim && dim == 0 && ln_tensor_is_contiguous(input))
    take_rows(r, input, index, y);
  else
    r_gather(r, y, ln_address(input, &wide, dim), &wide);
}

/* input with the slices of source, which must fit, added or written at index. */
static void put_slices(ln_rule *r, bool add) {
  ARGS(index_add); /* index_copy has the same arguments */
  int dim = r_dim(r, a_dim, input->ndim);
  if (!(index = wide_index(r, index))) return;
  if (!check_select(r, input, index, dim) || !r_check_same_dtype(r, input, source)) return;
  for (int i = 0; i < (input->ndim ? input->ndim : 1); i++)
    if (!r_require(r, source->ndim == input->ndim && (!input->ndim || source->shape[i] == (i == dim ? index->numel : input->shape[i])),
                   "%lld slices of %s are needed, the source has shape %s", (long long)index->numel, ln_shape_text(input->shape, input->ndim),
                   ln_shape_text(source->shape, source->ndim)))
      return;
  double alpha = add ? r_float(r, a_alpha) : 1;
  ln_tensor *part = source;
  if (alpha != 1) part = ln_is_float(source->dtype) ? r_number(r, LN_OP_mul, source, alpha) : r_whole(r, LN_OP_mul, source, (int64_t)alpha);
  ln_tensor *y = r_out_copy(r), wide = ln_widen(index, source->shape, source->ndim, dim);
  if (y && part) r_scatter(r, ln_address(y, &wide, dim), part, &wide, add);
}

void index_add_forward(ln_rule *r) { put_slices(r, true); }
void index_copy_forward(ln_rule *r) { put_slices(r, false); }

void index_fill_forward(ln_rule *r) {
  ARGS(index_fill);
  static const int64_t nowhere[16] = {0};
  int dim = r_dim(r, a_dim, input->ndim);
  int64_t shape[16];
  if (!check_select(r, input, index, dim) || !r_require(r, !value || value->ndim == 0, "the value must be a number or a 0-dim tensor, got shape %s",
                                                        ln_shape_text(value->shape, value->ndim)))
    return;
  ln_tensor *y = r_out_copy(r), *number = r_new(r, NULL, 0, input->dtype);
  if (!number || (value ? !r_copy(r, number, value) : !r_status(r, ln_fill_number(number, r_is_whole(r, a_value), &r->attrs->slot[a_value])))) return;
  memcpy(shape, input->shape, sizeof shape);
  if (input->ndim) shape[dim] = index->numel;
  ln_tensor wide = ln_widen(index, shape, input->ndim, dim), filling = ln_look(number, shape, nowhere, input->ndim);
  if (y) r_scatter(r, ln_address(y, &wide, dim), &filling, &wide, false);
}
