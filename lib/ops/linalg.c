/* linalg.c - linear algebra on the host: what its rules share (linalg.h). */
#include "linalg.h"

#include <stdarg.h>
#include <stdio.h>

/* -- Checks -- */

bool r_check_matrices(ln_rule *r, const char *what, const ln_tensor *t) {
  return r_require(r, t->ndim >= 2, "%s must have at least 2 dimensions, got shape %s", what, ln_shape_text(t->shape, t->ndim)) &&
         r_require(r, t->dtype <= LN_FLOAT64, "%s must be float32 or float64, got %s (convert it with :float())", what, ln_dtype_name(t->dtype)) &&
         r_require(r, t->shape[t->ndim - 2] <= INT32_MAX && t->shape[t->ndim - 1] <= INT32_MAX, "matrices of %s are too large",
                   ln_shape_text(t->shape, t->ndim));
}

bool r_check_square(ln_rule *r, const char *what, const ln_tensor *t) {
  return r_check_matrices(r, what, t) &&
         r_require(r, t->shape[t->ndim - 2] == t->shape[t->ndim - 1], "%s must be batches of square matrices, but they are %lld by %lld matrices",
                   what, (long long)t->shape[t->ndim - 2], (long long)t->shape[t->ndim - 1]);
}

/* -- Memory by columns -- */

static ln_tensor *on_host(ln_rule *r, const int64_t *shape, int ndim, int dtype) {
  ln_tensor *t;
  return r_ok(r) && r_status(r, ln_new(shape, ndim, dtype, LN_CPU, &t)) ? r_own(r, t) : NULL;
}

ln_tensor *r_new_columns(ln_rule *r, const ln_tensor *like, int64_t rows, int64_t columns, bool zero) {
  int64_t shape[16];
  memcpy(shape, like->shape, sizeof shape);
  shape[like->ndim - 2] = columns;
  shape[like->ndim - 1] = rows;
  ln_tensor *t = on_host(r, shape, like->ndim, like->dtype);
  return t && (!zero || r_status(r, ln_zero(t))) ? t : NULL;
}

ln_tensor *r_columns(ln_rule *r, ln_tensor *x) {
  if (!x || !r_ok(r)) return NULL;
  int n = x->ndim;
  ln_tensor *t = r_new_columns(r, x, x->shape[n - 2], x->shape[n - 1], false), *turned = r_transpose(r, x, n - 2, n - 1);
  return r_copy(r, t, turned) ? t : NULL;
}

ln_tensor *r_new_vectors(ln_rule *r, const ln_tensor *like, int64_t n, int dtype) {
  int64_t shape[16];
  memcpy(shape, like->shape, sizeof shape);
  shape[like->ndim - 2] = n;
  return on_host(r, shape, like->ndim - 1, dtype);
}

ln_tensor *r_by_rows(ln_rule *r, ln_tensor *columns) { return columns ? r_transpose(r, columns, columns->ndim - 2, columns->ndim - 1) : NULL; }

ln_tensor *r_from_host(ln_rule *r, ln_tensor *t) {
  if (!t || r->device == LN_CPU) return t;
  ln_tensor *there = r_new(r, t->shape, t->ndim, t->dtype);
  return r_copy(r, there, t) ? there : NULL;
}

/* -- LAPACK -- */

ln_lapack r_lapack(const ln_tensor *a, int kind) {
  return (ln_lapack){
    .kind = kind, .dtype = a->dtype, .batch = ln_numel(a->shape, a->ndim - 2), .m = a->shape[a->ndim - 1], .n = a->shape[a->ndim - 2], .a = a->data};
}

bool r_run_lapack(ln_rule *r, ln_lapack *work) { return r_ok(r) && r_kernel(r, ln_cpu_lapack(work)); }

bool r_succeeded(ln_rule *r, const ln_lapack *work, const ln_tensor *a, const char *format, ...) {
  char text[256], element[64] = "";
  va_list arguments;
  if (!r_ok(r) || work->failed < 0) return r_ok(r);
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (a->ndim > 2) snprintf(element, sizeof element, "(Batch element %lld): ", (long long)work->failed);
  return r_fail(r, "%s%s", element, text);
}

ln_tensor *r_lu(ln_rule *r, ln_tensor *a, ln_tensor **pivots, ln_lapack *work) {
  ln_tensor *lu = r_columns(r, a);
  if (!lu) return NULL;
  int64_t m = lu->shape[lu->ndim - 1], n = lu->shape[lu->ndim - 2];
  *pivots = r_new_vectors(r, lu, m < n ? m : n, LN_INT32);
  if (!*pivots) return NULL;
  *work = r_lapack(lu, LN_LAPACK_LU);
  work->pivots = (int32_t *)(*pivots)->data;
  return r_run_lapack(r, work) ? lu : NULL;
}

/* -- Operators -- */

ln_tensor *r_eye(ln_rule *r, int64_t n, int dtype) {
  static const double one = 1;
  ln_tensor *eye = r_zeros(r, (int64_t[]){n, n}, 2, dtype);
  if (!eye) return NULL;
  ln_tensor diagonal = ln_look(eye, &n, (int64_t[]){n + 1}, 1);
  return r_status(r, ln_fill_number(&diagonal, false, &one)) ? eye : NULL;
}

ln_tensor *r_identities(ln_rule *r, const ln_tensor *x, int64_t n) {
  int64_t shape[16];
  memcpy(shape, x->shape, sizeof shape);
  shape[x->ndim - 2] = shape[x->ndim - 1] = n;
  ln_tensor *eye = r_expand(r, r_eye(r, n, x->dtype), shape, x->ndim);
  return eye ? r_do1(r, LN_OP_clone, eye) : NULL;
}

ln_tensor *r_triangle(ln_rule *r, int op, ln_tensor *x, int64_t diagonal) {
  SLOTS(tril);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_diagonal, diagonal);
  return x ? r_do(r, op, &x, 1, &attrs) : NULL;
}

/* t with another batch in front of its matrices. */
static ln_tensor *with_batch(ln_rule *r, ln_tensor *t, const int64_t *batch, int n) {
  int64_t shape[18];
  memcpy(shape, batch, sizeof *batch * (size_t)n);
  shape[n] = t->shape[t->ndim - 2];
  shape[n + 1] = t->shape[t->ndim - 1];
  return r_expand(r, t, shape, n + 2);
}

bool r_same_batch(ln_rule *r, ln_tensor **a, ln_tensor **b) {
  ln_tensor x = ln_look(*a, (*a)->shape, (*a)->stride, (*a)->ndim - 2), y = ln_look(*b, (*b)->shape, (*b)->stride, (*b)->ndim - 2);
  int64_t shape[16];
  int n = 0;
  if (!r_status(r, ln_broadcast(r->name, &x, &y, shape, &n))) return false;
  *a = with_batch(r, *a, shape, n);
  *b = with_batch(r, *b, shape, n);
  return *a && *b;
}
