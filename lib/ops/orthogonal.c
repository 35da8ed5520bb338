/* orthogonal.c - QR, reflections, the exponential of a matrix. */
#include "linalg.h"

#include <math.h>

enum { QR_REDUCED, QR_COMPLETE, QR_R };

/* -- qr -- */

/* The columns of `from` that `to` has room for. */
static bool copy_columns(ln_rule *r, ln_tensor *to, ln_tensor *from) {
  static const int64_t first[16] = {0};
  int64_t length[16];
  if (!to || !from) return false;
  memcpy(length, to->shape, sizeof length);
  int d = to->ndim - 2;
  if (from->shape[d] < length[d]) length[d] = from->shape[d];
  ln_tensor target = ln_part(to, first, length), source = ln_part(from, first, length);
  return r_copy(r, &target, &source);
}

/* Q [m, columns] of reflectors. */
static ln_tensor *q_of(ln_rule *r, ln_tensor *reflectors, ln_tensor *tau, int64_t columns) {
  ln_tensor *q = r_new_columns(r, reflectors, reflectors->shape[reflectors->ndim - 1], columns, true);
  if (!copy_columns(r, q, reflectors)) return NULL;
  ln_lapack work = r_lapack(q, LN_LAPACK_Q);
  work.k = tau->shape[tau->ndim - 1];
  work.b = tau->data;
  return r_run_lapack(r, &work) ? q : NULL;
}

void linalg_qr_forward(ln_rule *r) {
  ARGS(linalg_qr);
  if (!r_check_matrices(r, "A", A)) return;
  int mode = (int)r_int(r, a_mode), last = A->ndim - 1;
  int64_t m = A->shape[last - 1], n = A->shape[last], k = m < n ? m : n, rows = mode == QR_COMPLETE ? m : k;
  ln_tensor *a = r_columns(r, A), *tau = a ? r_new_vectors(r, a, k, a->dtype) : NULL;
  if (!tau) return;
  ln_lapack work = r_lapack(a, LN_LAPACK_QR);
  work.b = tau->data;
  if (!r_run_lapack(r, &work)) return;
  r_result(r, 1, r_from_host(r, r_triangle(r, LN_OP_triu, r_narrow(r, r_by_rows(r, a), last - 1, 0, rows), 0)));
  if (mode == QR_R)
    r_result(r, 0, r_new(r, (int64_t[]){0}, 1, A->dtype));
  else
    r_result(r, 0, r_by_rows(r, r_from_host(r, q_of(r, a, tau, mode == QR_COMPLETE ? m : k))));
}

void linalg_qr_backward(ln_rule *r) {
  ARGS(linalg_qr);
  int64_t m = A->shape[A->ndim - 2], n = A->shape[A->ndim - 1];
  if (r_require(r, r_int(r, a_mode) != QR_COMPLETE || m <= n,
                "the complete decomposition of a matrix with more rows than columns (%lld by %lld) has no derivative", (long long)m, (long long)n))
    ln_text_backward(r);
}

/* -- householder_product -- */

/* H1 ... Hk = 1 - V T V^T with T^-1 = D^-1 + the products of different columns of V above the diagonal, D being tau: three products and a triangular
 * system instead of k steps, and tau may be 0. */
void linalg_householder_product_forward(ln_rule *r) {
  ARGS(linalg_householder_product);
  if (!r_check_matrices(r, "A", A) || !r_check_same_dtype(r, A, tau)) return;
  int last = A->ndim - 1;
  int64_t m = A->shape[last - 1], n = A->shape[last], k = tau->ndim ? tau->shape[tau->ndim - 1] : 0;
  if (!r_require(r, m >= n && n >= k && tau->ndim == last && ln_same_dims(A->shape, tau->shape, last - 1),
                 "A [..., m, n] must have at least as many rows as columns, and tau [..., k] at most as many numbers; got %s and %s",
                 ln_shape_text(A->shape, A->ndim), ln_shape_text(tau->shape, tau->ndim)))
    return;
  SLOTS(solve_triangular);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_upper, true);
  ln_attrs_int(&attrs, a_unitriangular, true);
  ln_tensor *eye = r_eye(r, m, A->dtype), *unit = r_narrow(r, eye, 1, 0, k);
  ln_tensor *v = r_do2(r, LN_OP_add, r_triangle(r, LN_OP_tril, r_narrow(r, A, last, 0, k), -1), unit);
  if (!v) return;
  ln_tensor *scale = r_spread(r, tau, 1u << last, A->ndim), *products = r_do2(r, LN_OP_matmul, r_by_rows(r, v), v);
  ln_tensor *const system[2] = {r_do2(r, LN_OP_mul, scale, r_triangle(r, LN_OP_triu, products, 1)),
                                r_do2(r, LN_OP_mul, scale, r_by_rows(r, r_narrow(r, v, last - 1, 0, n)))};
  ln_tensor *reflected = r_ok(r) ? r_do(r, LN_OP_solve_triangular, system, 2, &attrs) : NULL;
  r_result(r, 0, r_do2(r, LN_OP_sub, r_narrow(r, eye, 1, 0, n), r_do2(r, LN_OP_matmul, v, reflected)));
}

/* -- matrix_exp -- */

/* The sum over i of x^i / i! from `first` on, as far as there are powers: powers[i] is x^i, powers[0] the identity. */
static ln_tensor *part_of_series(ln_rule *r, ln_tensor *const *powers, int n, int first, int degree) {
  ln_tensor *sum = NULL;
  for (int i = 0; i < n && first + i <= degree; i++) {
    ln_tensor *term = r_number(r, LN_OP_mul, powers[i], 1 / tgamma(first + i + 1));
    sum = sum ? r_do2(r, LN_OP_add, sum, term) : term;
  }
  return sum;
}

/* The series to a degree that is the square of `block`, in blocks of so many powers (Paterson and Stockmeyer, 1973): 2 (block - 1) products. */
static ln_tensor *series(ln_rule *r, ln_tensor *x, int block) {
  ln_tensor *powers[8] = {r_eye(r, x->shape[x->ndim - 1], x->dtype), x};
  int degree = block * block;
  for (int i = 2; i <= block; i++) powers[i] = r_do2(r, LN_OP_matmul, powers[i - 1], x);
  ln_tensor *sum = r_number(r, LN_OP_mul, powers[0], 1 / tgamma(degree + 1));
  for (int first = degree - block; first >= 0; first -= block) {
    ln_tensor *part = part_of_series(r, powers, block, first, first + block - 1);
    bool highest = first == degree - block; /* a multiple of the identity times the power */
    ln_tensor *above = highest ? r_number(r, LN_OP_mul, powers[block], 1 / tgamma(degree + 1)) : r_do2(r, LN_OP_matmul, sum, powers[block]);
    sum = r_do2(r, LN_OP_add, part, above);
  }
  return sum;
}

/* The largest sum of magnitudes in a column of any of the matrices. */
static double norm_of(ln_rule *r, ln_tensor *x) {
  double number = 0;
  int64_t whole;
  ln_tensor *sums = r_sum(r, r_do1(r, LN_OP_abs, x), 1u << (x->ndim - 2), false), *top = sums ? r_do1(r, LN_OP_max_all, sums) : NULL;
  return top && r_status(r, ln_tensor_item(top, &number, &whole)) ? number : 0;
}

/* exp(A) = exp(A / 2^s)^(2^s), s large enough for the series to be exact to the last digit. */
void matrix_exp_forward(ln_rule *r) {
  ARGS(matrix_exp);
  enum { FEW = 2, SOME = 3, MANY = 4, MOST_SQUARINGS = 1100 };
  if (!r_check_square(r, "A", A)) return;
  if (A->numel == 0 || A->shape[A->ndim - 1] == 1) {
    r_result(r, 0, r_do1(r, LN_OP_exp, A));
    return;
  }
  double eps = A->dtype == LN_FLOAT32 ? 0x1p-24 : 0x1p-53, norm = norm_of(r, A), reach = 0;
  int block = FEW, squarings = 0;
  for (;; block++) { /* the first term that is left out is below eps for a norm of `reach` */
    int next = block * block + 1;
    reach = pow(eps * tgamma(next + 1), 1.0 / next);
    if (norm <= reach || block == (A->dtype == LN_FLOAT32 ? SOME : MANY)) break;
  }
  while (isfinite(norm) && norm > reach && squarings < MOST_SQUARINGS) {
    norm /= 2;
    squarings++;
  }
  ln_tensor *x = squarings ? r_number(r, LN_OP_mul, A, ldexp(1, -squarings)) : A;
  x = x ? series(r, x, block) : NULL;
  for (int i = 0; i < squarings; i++) x = r_do2(r, LN_OP_matmul, x, x);
  r_result(r, 0, x);
}
