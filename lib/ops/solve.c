/* solve.c - systems of linear equations. */
#include "linalg.h"

/* -- solve_triangular -- */

static bool check_product(ln_rule *r, const ln_tensor *a, const ln_tensor *b, int64_t size) {
  int64_t n = a->shape[a->ndim - 1];
  return r_require(r, n == size, "A %s and B %s cannot be multiplied", ln_shape_text(a->shape, a->ndim), ln_shape_text(b->shape, b->ndim));
}

/* X of A X = B, by columns. */
static ln_tensor *triangular(ln_rule *r, ln_tensor *a, ln_tensor *b, bool upper, bool unit) {
  ln_tensor *matrices = r_columns(r, a), *x = r_columns(r, b);
  if (!matrices || !x) return NULL;
  ln_lapack work = r_lapack(matrices, LN_LAPACK_TRIANGULAR);
  work.k = x->shape[x->ndim - 2];
  work.b = x->data;
  work.upper = upper;
  work.unit = unit;
  return r_run_lapack(r, &work) ? x : NULL;
}

void solve_triangular_forward(ln_rule *r) {
  ARGS(solve_triangular);
  bool left = r_bool(r, a_left), upper = r_bool(r, a_upper);
  ln_tensor *a = A, *b = B;
  if (!r_check_square(r, "A", A) || !r_check_matrices(r, "B", B) || !r_check_same_dtype(r, A, B) ||
      !check_product(r, A, B, B->shape[B->ndim - (left ? 2 : 1)]) || !r_same_batch(r, &a, &b))
    return;
  if (left) {
    r_result(r, 0, r_by_rows(r, r_from_host(r, triangular(r, a, b, upper, r_bool(r, a_unitriangular)))));
  } else { /* A^T X^T = B^T: a triangle that is turned is the other one */
    a = r_by_rows(r, a);
    b = r_by_rows(r, b);
    r_result(r, 0, r_from_host(r, triangular(r, a, b, !upper, r_bool(r, a_unitriangular))));
  }
}

/* -- solve -- */

/* X of A X = B, by columns, where X comes with B in it. */
static ln_tensor *solution(ln_rule *r, ln_tensor *a, ln_tensor *x, bool inverse) {
  ln_lapack work;
  ln_tensor *pivots, *lu = r_lu(r, a, &pivots, &work);
  if (!lu || !x) return NULL;
  bool good =
    inverse ? r_succeeded(r, &work, lu, "the diagonal element %d is zero, the inversion could not be completed because the input matrix is singular",
                          work.reason)
            : r_succeeded(r, &work, lu, "the system has no single solution because the input matrix is singular");
  if (!good) return NULL;
  work.kind = LN_LAPACK_LU_SOLVE;
  work.k = x->shape[x->ndim - 2];
  work.b = x->data;
  return r_run_lapack(r, &work) ? x : NULL;
}

void solve_matrices_forward(ln_rule *r) {
  ARGS(solve_matrices);
  ln_tensor *a = A, *b = B;
  if (!r_check_square(r, "A", A) || !r_check_matrices(r, "B", B) || !r_check_same_dtype(r, A, B) || !check_product(r, A, B, B->shape[B->ndim - 2]) ||
      !r_same_batch(r, &a, &b))
    return;
  r_result(r, 0, r_by_rows(r, r_from_host(r, solution(r, a, r_columns(r, b), false))));
}

void linalg_inv_forward(ln_rule *r) {
  ARGS(linalg_inv);
  if (!r_check_square(r, "A", A)) return;
  ln_tensor *eye = r_columns(r, r_identities(r, A, A->shape[A->ndim - 1]));
  r_result(r, 0, r_by_rows(r, r_from_host(r, solution(r, A, eye, true))));
}

/* B is a vector, or a batch of them that goes with the matrices of A. */
static bool is_vector(const ln_tensor *a, const ln_tensor *b) {
  return b->ndim == 1 || (b->ndim == a->ndim - 1 && ln_same_dims(a->shape, b->shape, b->ndim));
}

static ln_tensor *last_dim(ln_rule *r, int op, ln_tensor *x) { /* of size 1, made or taken away */
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  if (op == LN_OP_squeeze)
    ln_attrs_ints(&attrs, 0, (int64_t[]){-1}, 1);
  else
    ln_attrs_int(&attrs, 0, -1);
  return x ? r_do(r, op, &x, 1, &attrs) : NULL;
}

void linalg_solve_forward(ln_rule *r) {
  ARGS(linalg_solve);
  bool left = r_bool(r, a_left);
  if (!r_check_square(r, "A", A) || !r_require(r, B->ndim > 0, "B must have at least 1 dimension")) return;
  bool vector = is_vector(A, B);
  if (!r_require(r, left || !vector, "with left = false B must be a matrix, got shape %s", ln_shape_text(B->shape, B->ndim))) return;
  if (left) {
    ln_tensor *x = r_do2(r, LN_OP_solve_matrices, A, vector ? last_dim(r, LN_OP_unsqueeze, B) : B);
    r_result(r, 0, vector ? last_dim(r, LN_OP_squeeze, x) : x);
  } else {
    r_result(r, 0, r_by_rows(r, r_do2(r, LN_OP_solve_matrices, r_by_rows(r, A), r_by_rows(r, B))));
  }
}
