/* reduce.c - sums, means, products, extremes and their places, over any dims. Statistics made of them are in reduce_stats.c. */
#include "rules.h"

/* The shape that is left when the masked dims are folded. */
static int kept_shape(const ln_tensor *x, uint32_t mask, bool keepdim, int64_t *shape) {
  int n = 0;
  for (int i = 0; i < x->ndim; i++) {
    if (!((mask >> i) & 1))
      shape[n++] = x->shape[i];
    else if (keepdim)
      shape[n++] = 1;
  }
  return n;
}

/* Output i of the call: x folded over the mask. */
static int fold_into(ln_call *c, int i, ln_tensor *x, int kind, uint32_t mask, bool keepdim, int dtype) {
  int64_t shape[16];
  ln_fold fold;
  int n = kept_shape(x, mask, keepdim, shape);
  if (c->target) return ln_fail("%s: a reduction has no in-place form", c->name);
  LN_TRY(ln_call_out(c, i, shape, n, dtype));
  ln_fold_init(&fold, kind, x, mask, c->out[i], keepdim);
  return ln_kernel_status(c->name, ln_kernels_of(x->device)->fold(&fold, x->device));
}

/* sum and prod: the dtype is the one asked for; integers and bool are counted in int64. */
static int accumulate(ln_call *c, int kind, uint32_t mask, bool keepdim, int wish) {
  ln_tensor *x = c->in[0], *same;
  int dtype = wish >= 0 ? wish : ln_is_float(x->dtype) ? x->dtype : LN_INT64;
  bool whole = !ln_is_float(dtype) && !ln_is_float(x->dtype) && dtype != LN_BOOL;
  bool widens = dtype == LN_FLOAT32 && ln_is_float(x->dtype) && x->dtype != LN_FLOAT64; /* sums are made in float32 or wider */
  if (dtype == x->dtype || whole || widens) return fold_into(c, 0, x, kind, mask, keepdim, dtype);
  LN_TRY(ln_dense(x, dtype, &same));
  int status = fold_into(c, 0, same, kind, mask, keepdim, dtype);
  ln_tensor_release(same);
  return status;
}

static int wish_of(const ln_attrs *a, int k) { return ln_has(a, k) ? (int)ln_int(a, k) : -1; }

static int scale(ln_tensor *t, double factor) {
  ln_tensor *const in[2] = {t, NULL};
  ln_attrs attrs = {0};
  attrs.slot[1].d = factor;
  return ln_run(LN_OP_mul, in, 2, &attrs, true, NULL);
}

static int64_t count_of(const int64_t *shape, int ndim, uint32_t mask) {
  int64_t n = 1;
  for (int i = 0; i < ndim; i++)
    if ((mask >> i) & 1) n *= shape[i];
  return n;
}

/* A result spread over the dims that were folded. */
static ln_tensor *spread(ln_back *b, ln_tensor *t, uint32_t mask, bool keepdim) {
  if (!keepdim) t = ln_do_unsqueeze_mask(b, t, mask, b->ndim[0]);
  return ln_do_expand(b, t, b->shape[0], b->ndim[0]);
}

static uint32_t mask_of(ln_back *b, int k) {
  uint32_t mask = 0;
  b->status = ln_dims_mask(b->name, b->attrs, k, b->ndim[0], &mask);
  return mask;
}

/* -- sum, mean, prod -- */

int sum_forward(ln_call *c) {
  uint32_t mask;
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, c->in[0]->ndim, &mask));
  return accumulate(c, LN_FOLD_SUM, mask, ln_int(c->attrs, 1), wish_of(c->attrs, 2));
}

void sum_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  ln_give(b, 0, ln_do_to(b, spread(b, b->g[0], mask, ln_int(b->attrs, 1)), b->dtype[0]));
}

int mean_forward(ln_call *c) {
  uint32_t mask;
  ln_tensor *x = c->in[0];
  int wish = wish_of(c->attrs, 2), dtype = wish >= 0 ? wish : x->dtype;
  if (!ln_is_float(dtype))
    return ln_fail("mean: the mean of %s elements is no %s; convert with :float() or give a floating dtype", ln_dtype_name(x->dtype),
                   ln_dtype_name(dtype));
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, x->ndim, &mask));
  bool half = dtype == LN_FLOAT16 || dtype == LN_BFLOAT16; /* the sum may be beyond it where the mean is not */
  LN_TRY(accumulate(c, LN_FOLD_SUM, mask, ln_int(c->attrs, 1), half ? LN_FLOAT32 : dtype));
  LN_TRY(scale(c->out[0], 1.0 / (double)count_of(x->shape, x->ndim, mask)));
  ln_tensor *wide = c->out[0];
  if (!half) return LN_OK;
  c->out[0] = NULL;
  int status = ln_dense(wide, dtype, &c->out[0]);
  ln_tensor_release(wide);
  return status;
}

void mean_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  ln_tensor *g = ln_do_scale(b, b->g[0], 1.0 / (double)count_of(b->shape[0], b->ndim[0], mask));
  ln_give(b, 0, ln_do_to(b, spread(b, g, mask, ln_int(b->attrs, 1)), b->dtype[0]));
}

int prod_forward(ln_call *c) {
  uint32_t mask;
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, c->in[0]->ndim, &mask));
  c->keep_in = c->keep_out = 1;
  return accumulate(c, LN_FOLD_PROD, mask, ln_int(c->attrs, 1), wish_of(c->attrs, 2));
}

static ln_tensor *identity(ln_back *b, int64_t n) {
  ln_tensor *eye, *there;
  int64_t shape[2] = {n, n};
  if ((b->status = ln_new(shape, 2, LN_BOOL, LN_CPU, &eye)) != LN_OK) return NULL;
  ln_do_own(b, eye);
  memset(eye->data, 0, (size_t)(n * n));
  for (int64_t i = 0; i < n; i++) eye->data[i * n + i] = 1;
  if (b->device == LN_CPU) return eye;
  if ((b->status = ln_new(shape, 2, LN_BOOL, b->device, &there)) != LN_OK) return NULL;
  ln_do_own(b, there);
  b->status = ln_copy_into(there, eye);
  return there;
}

static ln_tensor *do_prod(ln_back *b, ln_tensor *x, int64_t dim) {
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, &dim, 1);
  ln_attrs_int(&attrs, 1, false);
  return x ? ln_do(b, LN_OP_prod, &x, 1, &attrs) : NULL;
}

/* The product of all elements but one, for each, with the folded dims last and flat: right also where elements are 0. */
static ln_tensor *products_of_others(ln_back *b, ln_tensor *flat) {
  int n = flat->ndim;
  int64_t shape[16], size = flat->shape[n - 1];
  if (n == LN_MAX_DIMS) {
    b->status = ln_fail("prod: the gradient needs one dimension more than %d", LN_MAX_DIMS);
    return NULL;
  }
  memcpy(shape, flat->shape, sizeof(int64_t) * (size_t)n);
  shape[n - 1] = 1;
  shape[n] = size;
  ln_tensor *square = ln_do_view(b, flat, shape, n + 1);
  shape[n - 1] = size;
  square = ln_do_expand(b, square, shape, n + 1);
  ln_tensor *others = ln_do_where(b, identity(b, size), NULL, 1, square, 0);
  return do_prod(b, others, -1);
}

void prod_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  int n = b->ndim[0], kept = 0, order[16];
  int64_t dims[16], inverse[16], shape[16], permuted[16];
  for (int i = 0; i < n; i++)
    if (!((mask >> i) & 1)) order[kept++] = i;
  for (int i = 0, at = kept; i < n; i++)
    if ((mask >> i) & 1) order[at++] = i;
  for (int i = 0; i < n; i++) {
    dims[i] = order[i];
    inverse[order[i]] = i;
    permuted[i] = b->shape[0][order[i]];
    if (i < kept) shape[i] = permuted[i];
  }
  shape[kept] = count_of(b->shape[0], n, mask);
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, dims, n);
  ln_tensor *x = ln_do_to(b, b->in[0], b->g[0]->dtype);
  ln_tensor *flat = ln_do_view(b, n ? ln_do(b, LN_OP_permute, &x, 1, &attrs) : x, shape, kept + 1);
  if (!flat) return;
  ln_tensor *others = ln_do_view(b, products_of_others(b, flat), permuted, n);
  attrs = (ln_attrs){0};
  ln_attrs_ints(&attrs, 0, inverse, n);
  if (n && others) others = ln_do(b, LN_OP_permute, &others, 1, &attrs);
  ln_tensor *dx = ln_do2(b, LN_OP_mul, others, spread(b, b->g[0], mask, ln_int(b->attrs, 1)));
  ln_give(b, 0, ln_do_to(b, dx, b->dtype[0]));
}

/* -- Extremes -- */

static int extreme(ln_call *c, int kind) {
  uint32_t mask;
  ln_tensor *x = c->in[0];
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, x->ndim, &mask));
  if (count_of(x->shape, x->ndim, mask) == 0)
    return ln_fail("%s: there is no extreme of no elements (shape %s)", c->name, ln_shape_text(x->shape, x->ndim));
  c->keep_in = c->keep_out = 1;
  return fold_into(c, 0, x, kind, mask, ln_has(c->attrs, 1) && ln_int(c->attrs, 1), x->dtype);
}

/* Equals share the gradient. */
static void extreme_backward(ln_back *b) {
  uint32_t mask = mask_of(b, 0);
  bool keepdim = ln_has(b->attrs, 1) && ln_int(b->attrs, 1);
  ln_tensor *hits = ln_do2(b, LN_OP_eq, b->in[0], spread(b, b->out[0], mask, keepdim));
  hits = hits ? ln_do_to(b, hits, b->dtype[0]) : NULL;
  ln_tensor *share = ln_do2(b, LN_OP_div, b->g[0], ln_do_sum(b, hits, mask, keepdim));
  ln_give(b, 0, ln_do2(b, LN_OP_mul, hits, spread(b, share, mask, keepdim)));
}

int amax_forward(ln_call *c) { return extreme(c, LN_FOLD_MAX); }
void amax_backward(ln_back *b) { extreme_backward(b); }
int amin_forward(ln_call *c) { return extreme(c, LN_FOLD_MIN); }
void amin_backward(ln_back *b) { extreme_backward(b); }
int max_all_forward(ln_call *c) { return extreme(c, LN_FOLD_MAX); }
void max_all_backward(ln_back *b) { extreme_backward(b); }
int min_all_forward(ln_call *c) { return extreme(c, LN_FOLD_MIN); }
void min_all_backward(ln_back *b) { extreme_backward(b); }

/* The extreme along one dim (output 0) and its place (output `at`). */
static int extreme_place(ln_call *c, int kind, int place_kind) {
  ln_tensor *x = c->in[0];
  int dim;
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, &dim));
  if (x->ndim > 0 && x->shape[dim] == 0) return ln_fail("%s: dim %d has no elements (shape %s)", c->name, dim, ln_shape_text(x->shape, x->ndim));
  uint32_t mask = x->ndim ? 1u << dim : 0;
  bool keepdim = ln_int(c->attrs, 1);
  LN_TRY(fold_into(c, 0, x, kind, mask, keepdim, x->dtype));
  LN_TRY(fold_into(c, 1, x, place_kind, mask, keepdim, LN_INT64));
  c->keep_out = 2;
  return LN_OK;
}

static void extreme_place_backward(ln_back *b) {
  int dim;
  if ((b->status = ln_wrap_dim(b->name, ln_int(b->attrs, 0), b->ndim[0], &dim)) != LN_OK) return;
  if (!b->g[0]) return;
  ln_tensor *g = b->g[0], *index = b->out[1];
  if (b->ndim[0] == 0) {
    ln_give(b, 0, g);
    return;
  }
  if (!ln_int(b->attrs, 1)) {
    g = ln_do_unsqueeze_mask(b, g, 1u << dim, b->ndim[0]);
    index = ln_do_unsqueeze_mask(b, index, 1u << dim, b->ndim[0]);
  }
  ln_tensor *const in[3] = {ln_do_zeros(b, 0), index, g};
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, dim);
  if (in[0] && index && g) ln_give(b, 0, ln_do(b, LN_OP_scatter, in, 3, &attrs));
}

int max_dim_forward(ln_call *c) { return extreme_place(c, LN_FOLD_MAX, LN_FOLD_ARGMAX); }
void max_dim_backward(ln_back *b) { extreme_place_backward(b); }
int min_dim_forward(ln_call *c) { return extreme_place(c, LN_FOLD_MIN, LN_FOLD_ARGMIN); }
void min_dim_backward(ln_back *b) { extreme_place_backward(b); }

static int place_of(ln_call *c, int kind) {
  ln_tensor *x = c->in[0];
  uint32_t mask = (1u << x->ndim) - 1;
  if (ln_has(c->attrs, 0)) {
    int dim;
    LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, &dim));
    mask = x->ndim ? 1u << dim : 0;
  }
  if (count_of(x->shape, x->ndim, mask) == 0)
    return ln_fail("%s: there is no place among no elements (shape %s)", c->name, ln_shape_text(x->shape, x->ndim));
  return fold_into(c, 0, x, kind, mask, ln_int(c->attrs, 1), LN_INT64);
}

int argmax_forward(ln_call *c) { return place_of(c, LN_FOLD_ARGMAX); }
int argmin_forward(ln_call *c) { return place_of(c, LN_FOLD_ARGMIN); }

/* -- Truth -- */

static int truth(ln_call *c, int kind, int dtype, bool keepdim) {
  uint32_t mask;
  LN_TRY(ln_dims_mask(c->name, c->attrs, 0, c->in[0]->ndim, &mask));
  return fold_into(c, 0, c->in[0], kind, mask, keepdim, dtype);
}

/* bool, but for uint8, which once served as bool. */
static int truth_dtype(const ln_call *c) { return c->in[0]->dtype == LN_UINT8 ? LN_UINT8 : LN_BOOL; }

int all_forward(ln_call *c) { return truth(c, LN_FOLD_ALL, truth_dtype(c), ln_int(c->attrs, 1)); }
int any_forward(ln_call *c) { return truth(c, LN_FOLD_ANY, truth_dtype(c), ln_int(c->attrs, 1)); }
int count_nonzero_forward(ln_call *c) { return truth(c, LN_FOLD_COUNT_NONZERO, LN_INT64, false); }

/* -- cumsum -- */

int cumsum_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *dense;
  int dim, wish = wish_of(c->attrs, 1), dtype = wish >= 0 ? wish : ln_is_float(x->dtype) ? x->dtype : LN_INT64;
  LN_TRY(ln_wrap_dim(c->name, ln_int(c->attrs, 0), x->ndim, &dim));
  LN_TRY(ln_dense(x, dtype, &dense));
  int status = ln_new_like(x, dtype, &c->out[0]);
  if (status == LN_OK) {
    ln_rows rows = {.dtype = dtype,
                    .reverse = ln_int(c->attrs, 2),
                    .outer = ln_numel(x->shape, dim),
                    .size = x->ndim ? x->shape[dim] : 1,
                    .inner = 1,
                    .x = dense->data,
                    .out = c->out[0]->data};
    if (x->ndim) rows.inner = ln_numel(x->shape + dim + 1, x->ndim - dim - 1);
    status = ln_kernel_status(c->name, ln_kernels_of(x->device)->cumsum(&rows, x->device));
  }
  ln_tensor_release(dense);
  return status;
}

void cumsum_backward(ln_back *b) {
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, ln_int(b->attrs, 0));
  ln_attrs_int(&attrs, 2, !ln_int(b->attrs, 2));
  ln_give(b, 0, ln_do_to(b, ln_do(b, LN_OP_cumsum, &b->g[0], 1, &attrs), b->dtype[0]));
}
