/* product.c - products that are made of other operators. */
#include "linalg.h"

static bool check_vector(ln_rule *r, const char *what, const ln_tensor *t) {
  return r_require(r, t->ndim == 1, "%s must be a vector, got shape %s", what, ln_shape_text(t->shape, t->ndim));
}

/* x with a dimension of size 1 at dim. */
static ln_tensor *with_one(ln_rule *r, ln_tensor *x, int dim) { return x ? r_spread(r, x, 1u << dim, x->ndim + 1) : NULL; }

/* -- outer, addr, addmv, addbmm -- */

static ln_tensor *outer(ln_rule *r, const char *first, ln_tensor *x, const char *second, ln_tensor *y) {
  bool vectors = check_vector(r, first, x) && check_vector(r, second, y);
  return vectors ? r_do2(r, LN_OP_mul, with_one(r, x, 1), y) : NULL;
}

void outer_forward(ln_rule *r) {
  ARGS(outer);
  r_result(r, 0, outer(r, "input", input, "vec2", vec2));
}

/* beta * input + alpha * product, which keeps its shape; with beta 0 input does not count at all, nor product with alpha 0. */
static void add_scaled(ln_rule *r, ln_tensor *input, double beta, ln_tensor *product, double alpha) {
  int64_t shape[16];
  int n = 0;
  if (!product || !r_status(r, ln_broadcast(r->name, product, input, shape, &n))) return;
  if (!r_require(r, n == product->ndim && ln_same_dims(shape, product->shape, n), "input of shape %s does not broadcast to %s",
                 ln_shape_text(input->shape, input->ndim), ln_shape_text(product->shape, product->ndim)))
    return;
  ln_tensor *scaled = alpha == 1 ? product : r_number(r, LN_OP_mul, product, alpha);
  if (beta != 0) scaled = r_do2(r, LN_OP_add, beta == 1 ? input : r_number(r, LN_OP_mul, input, beta), scaled);
  r_result(r, 0, scaled);
}

void addr_forward(ln_rule *r) {
  ARGS(addr);
  add_scaled(r, input, r_float(r, a_beta), outer(r, "vec1", vec1, "vec2", vec2), r_float(r, a_alpha));
}

void addmv_forward(ln_rule *r) {
  ARGS(addmv);
  if (r_check_ndim(r, "mat", mat, 2) && check_vector(r, "vec", vec))
    add_scaled(r, input, r_float(r, a_beta), r_do2(r, LN_OP_matmul, mat, vec), r_float(r, a_alpha));
}

/* The sum over a batch is one product: of the matrices side by side and those below each other. */
void addbmm_forward(ln_rule *r) {
  ARGS(addbmm);
  static const int rows_first[3] = {1, 0, 2};
  if (!r_check_ndim(r, "batch1", batch1, 3) || !r_check_ndim(r, "batch2", batch2, 3) ||
      !r_require(r, batch1->shape[0] == batch2->shape[0] && batch1->shape[2] == batch2->shape[1], "batches %s and %s cannot be multiplied",
                 ln_shape_text(batch1->shape, 3), ln_shape_text(batch2->shape, 3)))
    return;
  int64_t n = batch1->shape[0] * batch1->shape[2], left[2] = {batch1->shape[1], n}, right[2] = {n, batch2->shape[2]};
  ln_tensor *beside = r_reshape(r, r_permute(r, batch1, rows_first, 3), left, 2), *below = r_reshape(r, batch2, right, 2);
  add_scaled(r, input, r_float(r, a_beta), r_do2(r, LN_OP_matmul, beside, below), r_float(r, a_alpha));
}

/* -- kron -- */

/* x with dims of size 1 in front up to n, and one before or behind every dim. */
static ln_tensor *spaced(ln_rule *r, ln_tensor *x, int n, bool behind) {
  int64_t shape[32] = {0};
  for (int i = 0; i < n; i++) {
    int own = i - (n - x->ndim);
    shape[2 * i + behind] = 1;
    shape[2 * i + !behind] = own < 0 ? 1 : x->shape[own];
  }
  return r_reshape(r, x, shape, 2 * n);
}

void kron_forward(ln_rule *r) {
  ARGS(kron);
  int n = input->ndim > other->ndim ? input->ndim : other->ndim;
  if (!r_require(r, n <= LN_MAX_DIMS / 2, "at most %d dimensions, got shapes %s and %s", LN_MAX_DIMS / 2, ln_shape_text(input->shape, input->ndim),
                 ln_shape_text(other->shape, other->ndim)))
    return;
  ln_tensor *product = r_do2(r, LN_OP_mul, spaced(r, input, n, true), spaced(r, other, n, false));
  int64_t shape[16];
  if (!product) return;
  for (int i = 0; i < n; i++) shape[i] = product->shape[2 * i] * product->shape[2 * i + 1];
  r_result(r, 0, r_reshape(r, product, shape, n));
}

/* -- cross -- */

static void cross(ln_rule *r, ln_tensor *a, ln_tensor *b, int dim) {
  SLOTS(cat);
  ln_tensor *x[3], *y[3], *parts[3];
  ln_attrs attrs;
  for (int i = 0; i < 3; i++) {
    x[i] = r_narrow(r, a, dim, i, 1);
    y[i] = r_narrow(r, b, dim, i, 1);
  }
  for (int i = 0; i < 3; i++) {
    int next = (i + 1) % 3, last = (i + 2) % 3;
    parts[i] = r_do2(r, LN_OP_sub, r_do2(r, LN_OP_mul, x[next], y[last]), r_do2(r, LN_OP_mul, x[last], y[next]));
  }
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  if (r_ok(r)) r_result(r, 0, r_do(r, LN_OP_cat, parts, 3, &attrs));
}

/* The dim from the end, which broadcasting leaves in its place. */
static bool check_cross(ln_rule *r, const ln_tensor *a, const ln_tensor *b, int dim) {
  return r_require(r, a->ndim == b->ndim, "input and other must have the same number of dimensions, got shapes %s and %s",
                   ln_shape_text(a->shape, a->ndim), ln_shape_text(b->shape, b->ndim)) &&
         r_require(r, a->ndim > 0 && a->shape[dim] == 3 && b->shape[dim] == 3, "vectors of 3 numbers are expected along dim %d, got shapes %s and %s",
                   dim, ln_shape_text(a->shape, a->ndim), ln_shape_text(b->shape, b->ndim));
}

void linalg_cross_forward(ln_rule *r) {
  ARGS(linalg_cross);
  int dim = r_dim(r, a_dim, input->ndim);
  if (r_ok(r) && check_cross(r, input, other, dim)) cross(r, input, other, dim);
}

void cross_forward(ln_rule *r) {
  ARGS(cross);
  int dim = 0;
  if (r_has(r, a_dim))
    dim = r_dim(r, a_dim, input->ndim);
  else
    while (dim < input->ndim && input->shape[dim] != 3) dim++;
  if (!r_require(r, dim < input->ndim, "no dimension of shape %s has 3 elements", ln_shape_text(input->shape, input->ndim))) return;
  if (check_cross(r, input, other, dim)) cross(r, input, other, dim);
}

/* -- matrix_power -- */

void matrix_power_forward(ln_rule *r) {
  ARGS(matrix_power);
  int64_t n = r_int(r, a_n);
  int last = input->ndim - 1;
  if (!r_require(r, input->ndim >= 2 && input->shape[last] == input->shape[last - 1], "input must be batches of square matrices, got shape %s",
                 ln_shape_text(input->shape, input->ndim)) ||
      !r_require(r, input->dtype != LN_BOOL, "bool has no product of matrices"))
    return;
  if (n == 0) {
    ln_tensor *eye = r_expand(r, r_eye(r, input->shape[last], input->dtype), input->shape, input->ndim);
    r_result(r, 0, eye ? r_do1(r, LN_OP_clone, eye) : NULL);
    return;
  }
  ln_tensor *square = n < 0 ? r_do1(r, LN_OP_linalg_inv, input) : input, *y = NULL;
  for (uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n; left && r_ok(r); left >>= 1) {
    if (left & 1) y = y ? r_do2(r, LN_OP_matmul, y, square) : square;
    if (left > 1) square = r_do2(r, LN_OP_matmul, square, square);
  }
  r_result(r, 0, y == input && y ? r_do1(r, LN_OP_clone, y) : y);
}
