/* spectral.c - singular values and eigenvalues, and what is made of them: pseudoinverse, rank, least squares. */
#include "linalg.h"

/* -- svd -- */

/* U, S and V^T, or S alone, as new tensors on the device of the inputs. */
static bool svd(ln_rule *r, ln_tensor *A, bool vectors, bool full, ln_tensor **out) {
  if (!r_check_matrices(r, "A", A)) return false;
  int64_t m = A->shape[A->ndim - 2], n = A->shape[A->ndim - 1], k = m < n ? m : n;
  ln_tensor *a = r_columns(r, A), *s = a ? r_new_vectors(r, a, k, a->dtype) : NULL;
  ln_tensor *u = s && vectors ? r_new_columns(r, a, m, full ? m : k, false) : NULL, *v = u ? r_new_columns(r, a, full ? n : k, n, false) : NULL;
  if (!r_ok(r)) return false;
  ln_lapack work = r_lapack(a, LN_LAPACK_SVD);
  work.b = s->data;
  work.u = u ? u->data : NULL;
  work.v = v ? v->data : NULL;
  work.vectors = vectors;
  work.full = full;
  if (k > 0 && (!r_run_lapack(r, &work) || !r_succeeded(r, &work, a,
                                                        work.reason == LN_LAPACK_INFINITE ? "the input matrix has elements that are not finite"
                                                                                          : "the algorithm failed to converge")))
    return false;
  out[1] = r_from_host(r, s);
  if (!vectors) return r_ok(r);
  out[0] = k > 0 || !full ? r_by_rows(r, r_from_host(r, u)) : r_identities(r, A, m);
  out[2] = k > 0 || !full ? r_by_rows(r, r_from_host(r, v)) : r_identities(r, A, n);
  return r_ok(r);
}

void linalg_svd_forward(ln_rule *r) {
  ARGS(linalg_svd);
  ln_tensor *out[3];
  if (!svd(r, A, true, r_bool(r, a_full_matrices), out)) return;
  for (int i = 0; i < 3; i++) r_result(r, i, out[i]);
}

/* The derivative needs the vectors, the values alone do not. */
void linalg_svdvals_forward(ln_rule *r) {
  ARGS(linalg_svdvals);
  SLOTS(linalg_svd);
  ln_tensor *out[LN_MAX_OUTPUTS];
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_full_matrices, false);
  if (r->recording ? r_do_all(r, LN_OP_linalg_svd, &r->in[0], 1, &attrs, out) : svd(r, A, false, false, out)) r_result(r, 0, out[1]);
}

/* -- eigh -- */

/* Values, and the vectors where they are wanted. */
static bool eigh(ln_rule *r, ln_tensor *A, bool upper, bool vectors, ln_tensor **out) {
  if (!r_check_square(r, "A", A)) return false;
  ln_tensor *a = r_columns(r, upper ? r_by_rows(r, A) : A), *values = a ? r_new_vectors(r, a, a->shape[a->ndim - 1], a->dtype) : NULL;
  if (!values) return false;
  ln_lapack work = r_lapack(a, LN_LAPACK_EIGH);
  work.b = values->data;
  work.vectors = vectors;
  if (!r_run_lapack(r, &work) || !r_succeeded(r, &work, a, "the algorithm failed to converge")) return false;
  out[0] = r_from_host(r, values);
  out[1] = vectors ? r_by_rows(r, r_from_host(r, a)) : NULL;
  return r_ok(r);
}

void linalg_eigh_forward(ln_rule *r) {
  ARGS(linalg_eigh);
  ln_tensor *out[2];
  if (!eigh(r, A, r_int(r, a_UPLO) == 1, true, out)) return;
  r_result(r, 0, out[0]);
  r_result(r, 1, out[1]);
}

void linalg_eigvalsh_forward(ln_rule *r) {
  ARGS(linalg_eigvalsh);
  ln_tensor *out[LN_MAX_OUTPUTS];
  bool good = r->recording ? r_do_all(r, LN_OP_linalg_eigh, &r->in[0], 1, r->attrs, out) : eigh(r, A, r_int(r, a_UPLO) == 1, false, out);
  if (good) r_result(r, 0, out[0]);
}

/* -- pinv, matrix_rank -- */

static ln_tensor *largest(ln_rule *r, ln_tensor *values) { /* along the last dim, which stays */
  SLOTS(amax);
  static const int64_t last = -1;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_dim, &last, 1);
  ln_attrs_int(&attrs, a_keepdim, true);
  return values ? r_do(r, LN_OP_amax, &values, 1, &attrs) : NULL;
}

/* Which magnitudes do not count as 0: those above atol and rtol times the largest; rtol is the precision times the larger size unless one of the two is
 * given. */
static ln_tensor *counting(ln_rule *r, const ln_tensor *a, ln_tensor *values) {
  SLOTS(linalg_pinv); /* matrix_rank has the same */
  int64_t m = a->shape[a->ndim - 2], n = a->shape[a->ndim - 1];
  double atol = r_has(r, a_atol) ? r_float(r, a_atol) : 0, precision = a->dtype == LN_FLOAT32 ? 0x1p-23 : 0x1p-52;
  double rtol = r_has(r, a_rtol) ? r_float(r, a_rtol) : atol > 0 ? 0 : precision * (double)(m > n ? m : n);
  ln_tensor *top = largest(r, values), *relative = top ? r_number(r, LN_OP_mul, top, rtol) : NULL;
  return r_do2(r, LN_OP_gt, values, relative ? r_number(r, LN_OP_maximum, relative, atol) : NULL);
}

/* Singular values, or of symmetric matrices those of which they are the magnitudes, with the vectors on both sides. */
static bool decomposed(ln_rule *r, ln_tensor *a, bool symmetric, ln_tensor **left, ln_tensor **values, ln_tensor **right) {
  ln_tensor *out[3];
  if (!(symmetric ? eigh(r, a, false, true, out) : svd(r, a, true, false, out))) return false;
  *left = symmetric ? out[1] : out[0];
  *values = symmetric ? out[0] : out[1];
  *right = symmetric ? out[1] : r_by_rows(r, out[2]);
  return r_ok(r);
}

void linalg_pinv_forward(ln_rule *r) {
  ARGS(linalg_pinv);
  ln_tensor *left, *values, *right;
  if (!r_check_matrices(r, "A", A)) return;
  if (A->numel == 0) {
    int64_t shape[16];
    memcpy(shape, A->shape, sizeof shape);
    shape[A->ndim - 1] = A->shape[A->ndim - 2];
    shape[A->ndim - 2] = A->shape[A->ndim - 1];
    r_result(r, 0, r_zeros(r, shape, A->ndim, A->dtype));
    return;
  }
  if (!decomposed(r, A, r_bool(r, a_hermitian), &left, &values, &right)) return;
  ln_tensor *counts = counting(r, A, r_do1(r, LN_OP_abs, values)), *safe = counts ? r_where(r, counts, values, 0, NULL, 1) : NULL;
  ln_tensor *inverse = safe ? r_where(r, counts, r_do1(r, LN_OP_reciprocal, safe), 0, NULL, 0) : NULL;
  if (!inverse) return;
  ln_tensor *scaled = r_do2(r, LN_OP_mul, right, r_spread(r, inverse, 1u << (A->ndim - 2), A->ndim));
  r_result(r, 0, r_do2(r, LN_OP_matmul, scaled, r_by_rows(r, left)));
}

void linalg_matrix_rank_forward(ln_rule *r) {
  ARGS(linalg_matrix_rank);
  ln_tensor *out[3] = {NULL, NULL, NULL};
  bool symmetric = r_bool(r, a_hermitian);
  if (!r_check_matrices(r, "A", A)) return;
  if (A->numel == 0) {
    r_result(r, 0, r_zeros(r, A->shape, A->ndim - 2, LN_INT64));
    return;
  }
  if (!(symmetric ? eigh(r, A, false, false, out) : svd(r, A, false, false, out))) return;
  ln_tensor *counts = counting(r, A, symmetric ? r_do1(r, LN_OP_abs, out[0]) : out[1]);
  if (counts) r_result(r, 0, r_sum(r, counts, 1u << (A->ndim - 2), false));
}

/* -- Least squares -- */

/* B with as many rows as A or X has, whichever are more, by columns: LAPACK solves in its place. */
static ln_tensor *with_room(ln_rule *r, ln_tensor *b, int64_t rows) {
  ln_tensor *room = r_new_columns(r, b, rows, b->shape[b->ndim - 1], true), *turned = r_by_rows(r, b);
  static const int64_t first[16] = {0};
  if (!room || !turned) return NULL;
  ln_tensor part = ln_part(room, first, turned->shape);
  return r_copy(r, &part, turned) ? room : NULL;
}

void lstsq_matrices_forward(ln_rule *r) {
  ARGS(lstsq_matrices);
  ln_tensor *a = A, *b = B;
  if (!r_check_matrices(r, "A", A) || !r_check_matrices(r, "B", B) || !r_check_same_dtype(r, A, B) ||
      !r_require(r, A->shape[A->ndim - 2] == B->shape[B->ndim - 2], "A %s and B %s must have as many rows", ln_shape_text(A->shape, A->ndim),
                 ln_shape_text(B->shape, B->ndim)) ||
      !r_same_batch(r, &a, &b))
    return;
  int last = a->ndim - 1;
  int64_t m = a->shape[last - 1], n = a->shape[last], k = b->shape[last];
  double precision = (a->dtype == LN_FLOAT32 ? 0x1p-23 : 0x1p-52) * (double)(m > n ? m : n);
  ln_tensor *matrices = r_columns(r, a), *x = with_room(r, b, m > n ? m : n);
  ln_tensor *ranks = x ? r_new_vectors(r, x, 1, LN_INT64) : NULL;
  if (!ranks || !matrices || !r_status(r, ln_zero(ranks))) return;
  ln_lapack work = r_lapack(matrices, LN_LAPACK_LSTSQ);
  work.k = k;
  work.b = x->data;
  work.ranks = (int64_t *)ranks->data;
  work.rcond = r_has(r, a_rcond) ? r_float(r, a_rcond) : precision;
  if (m > 0 && n > 0 && (!r_run_lapack(r, &work) || !r_succeeded(r, &work, matrices, "A or B has elements that are not finite"))) return;
  r_result(r, 0, r_from_host(r, r_narrow(r, r_by_rows(r, x), last - 1, 0, n)));
  r_result(r, 1, r_from_host(r, r_reshape(r, ranks, ranks->shape, ranks->ndim - 1)));
}
