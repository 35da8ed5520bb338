/* check.c - questions that many rules ask of their inputs; false, with the failure set, when the answer is no. */
#include "shape.h"

bool r_check_float(ln_rule *r, const char *what, const ln_tensor *t) {
  return r_require(r, ln_is_float(t->dtype), "%s must be of a floating dtype, got %s (convert it with :float())", what, ln_dtype_name(t->dtype));
}

bool r_check_ndim(ln_rule *r, const char *what, const ln_tensor *t, int ndim) {
  return r_require(r, t->ndim == ndim, "%s must have %d dimensions, got shape %s", what, ndim, ln_shape_text(t->shape, t->ndim));
}

bool r_check_same_dtype(ln_rule *r, const ln_tensor *a, const ln_tensor *b) {
  return r_require(r, a->dtype == b->dtype, "expected tensors of one dtype, got %s and %s (convert one with :to(\"%s\"))", ln_dtype_name(a->dtype),
                   ln_dtype_name(b->dtype), ln_dtype_name(a->dtype));
}

bool r_check_vector(ln_rule *r, const char *what, const ln_tensor *t, int64_t n, const char *unit) {
  return r_require(r, !t || (t->ndim == 1 && t->shape[0] == n), "%s must have one number for each of %lld %s, got shape %s", what, (long long)n, unit,
                   ln_shape_text(t->shape, t->ndim));
}

bool r_check_spatial(ln_rule *r, const ln_tensor *x, int spatial) {
  return r_require(r, x->ndim == spatial + 2 || x->ndim == spatial + 1, "input must have %d dimensions, or %d without a batch, got shape %s",
                   spatial + 2, spatial + 1, ln_shape_text(x->shape, x->ndim));
}
