/* factor.c - determinants and the Cholesky decomposition. */
#include "linalg.h"

#include <math.h>

/* -- Determinants: of the triangular factor, whose sign changes with every exchange of rows -- */

static ln_tensor *diagonal_of(ln_rule *r, ln_tensor *matrices) {
  SLOTS(diagonal);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim1, -2);
  ln_attrs_int(&attrs, a_dim2, -1);
  return matrices ? r_do(r, LN_OP_diagonal, &matrices, 1, &attrs) : NULL;
}

static ln_tensor *product_of(ln_rule *r, ln_tensor *x) { /* along the last dim */
  SLOTS(prod);
  static const int64_t last = -1;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_dim, &last, 1);
  return x ? r_do(r, LN_OP_prod, &x, 1, &attrs) : NULL;
}

/* 1, ... n on the host. */
static ln_tensor *places(ln_rule *r, int64_t n) {
  SLOTS(arange);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_start, 1);
  ln_attrs_float(&attrs, a_end, (double)n + 1);
  ln_attrs_int(&attrs, a_dtype, LN_INT32);
  return r_do(r, LN_OP_arange, NULL, 0, &attrs);
}

/* -1 where an odd number of rows was exchanged, else 1. */
static ln_tensor *parity(ln_rule *r, ln_tensor *pivots, int dtype) {
  int last = pivots->ndim - 1;
  ln_tensor *moved = r_do2(r, LN_OP_ne, pivots, places(r, pivots->shape[last])), *count = moved ? r_sum(r, moved, 1u << last, false) : NULL;
  ln_tensor *odd = count ? r_whole(r, LN_OP_remainder, count, 2) : NULL, *twice = odd ? r_whole(r, LN_OP_mul, odd, -2) : NULL;
  return twice ? r_to(r, r_whole(r, LN_OP_add, twice, 1), dtype) : NULL;
}

/* The diagonal of the triangular factor, and the sign, on the host. */
static bool pivoted(ln_rule *r, ln_tensor *a, ln_tensor **diagonal, ln_tensor **sign) {
  ln_lapack work;
  ln_tensor *pivots, *lu = r_check_square(r, "A", a) ? r_lu(r, a, &pivots, &work) : NULL;
  if (!lu) return false;
  *diagonal = diagonal_of(r, r_by_rows(r, lu));
  *sign = parity(r, pivots, a->dtype);
  return *diagonal && *sign;
}

void linalg_det_forward(ln_rule *r) {
  ARGS(linalg_det);
  ln_tensor *diagonal, *sign;
  if (pivoted(r, A, &diagonal, &sign)) r_result(r, 0, r_from_host(r, r_do2(r, LN_OP_mul, product_of(r, diagonal), sign)));
}

/* The cofactors of matrices of which one is singular: U diag(products of the other singular values) V^T, times the signs of U and V. */
static ln_tensor *cofactors(ln_rule *r, ln_tensor *a) {
  SLOTS(linalg_svd);
  ln_tensor *out[LN_MAX_OUTPUTS], *eye = r_eye(r, a->shape[a->ndim - 1], LN_BOOL);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_full_matrices, false);
  if (!eye || !r_do_all(r, LN_OP_linalg_svd, &a, 1, &attrs, out)) return NULL;
  ln_tensor *values = r_spread(r, out[1], 1u << (a->ndim - 2), a->ndim), *others = product_of(r, r_where(r, eye, NULL, 1, values, 0));
  ln_tensor *sign = r_do2(r, LN_OP_mul, r_do1(r, LN_OP_linalg_det, out[0]), r_do1(r, LN_OP_linalg_det, out[2]));
  ln_tensor *scale = sign ? r_do2(r, LN_OP_mul, others, r_spread(r, sign, 1u << sign->ndim, sign->ndim + 1)) : NULL;
  return scale ? r_do2(r, LN_OP_matmul, r_do2(r, LN_OP_mul, out[0], r_spread(r, scale, 1u << (a->ndim - 2), a->ndim)), out[2]) : NULL;
}

void linalg_det_backward(ln_rule *r) {
  ARGS(linalg_det);
  ln_tensor *regular = r_do1(r, LN_OP_all, r->out[0]), *g = r->g[0];
  double all = 1;
  int64_t whole;
  if (!regular || !r_status(r, ln_tensor_item(regular, &all, &whole))) return;
  if (all != 0)
    ln_text_backward(r);
  else
    r_give(r, 0, r_do2(r, LN_OP_mul, cofactors(r, A), r_spread(r, g, 3u << g->ndim, g->ndim + 2)));
}

void linalg_slogdet_forward(ln_rule *r) {
  ARGS(linalg_slogdet);
  ln_tensor *diagonal, *sign;
  if (!pivoted(r, A, &diagonal, &sign)) return;
  ln_tensor *logs = r_do1(r, LN_OP_log, r_do1(r, LN_OP_abs, diagonal));
  r_result(r, 0, r_from_host(r, r_do2(r, LN_OP_mul, product_of(r, r_do1(r, LN_OP_sign, diagonal)), sign)));
  r_result(r, 1, r_from_host(r, logs ? r_sum(r, logs, 1u << (logs->ndim - 1), false) : NULL));
}

void logdet_forward(ln_rule *r) {
  ln_tensor *out[LN_MAX_OUTPUTS];
  if (!r_do_all(r, LN_OP_linalg_slogdet, &r->in[0], 1, NULL, out)) return;
  ln_tensor *negative = r_number(r, LN_OP_lt, out[0], 0);
  r_result(r, 0, negative ? r_where(r, negative, NULL, NAN, out[1], 0) : NULL);
}

/* -- cholesky: of the lower triangle, or of the upper one, which is the lower one of the matrix turned -- */

void linalg_cholesky_forward(ln_rule *r) {
  ARGS(linalg_cholesky);
  bool upper = r_bool(r, a_upper);
  if (!r_check_square(r, "A", A)) return;
  ln_tensor *a = r_columns(r, upper ? r_by_rows(r, A) : A);
  if (!a) return;
  ln_lapack work = r_lapack(a, LN_LAPACK_CHOLESKY);
  if (!r_run_lapack(r, &work) ||
      !r_succeeded(r, &work, a,
                   "the factorization could not be completed because the input is not positive-definite (the leading minor of "
                   "order %d is not positive-definite)",
                   work.reason))
    return;
  ln_tensor *lower = r_from_host(r, r_triangle(r, LN_OP_tril, r_by_rows(r, a), 0));
  r_result(r, 0, lower && upper ? r_by_rows(r, lower) : lower);
}
