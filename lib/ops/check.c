/* check.c - questions that many rules ask of their inputs. */
#include "../internal.h"

#include <stdio.h>

static const char *device_name(int device, char name[16]) {
  if (device == LN_CPU) return "cpu";
  snprintf(name, 16, "cuda:%d", device);
  return name;
}

int ln_check_device(const char *op, ln_tensor *const *in, int n) {
  const ln_tensor *first = NULL;
  for (int i = 0; i < n; i++) {
    if (!in[i]) continue;
    if (!first) first = in[i];
    if (in[i]->device != first->device) {
      char a[16], b[16];
      return ln_fail("%s: all tensors must be on one device, got %s and %s", op, device_name(first->device, a), device_name(in[i]->device, b));
    }
  }
  return LN_OK;
}

int ln_check_float(const char *op, const char *what, const ln_tensor *t) {
  if (ln_is_float(t->dtype)) return LN_OK;
  return ln_fail("%s: %s must be of a floating dtype, got %s (convert it with :float())", op, what, ln_dtype_name(t->dtype));
}

int ln_check_dim(const char *op, const char *what, const ln_tensor *t, int ndim) {
  if (t->ndim == ndim) return LN_OK;
  return ln_fail("%s: %s must have %d dimensions, got shape %s", op, what, ndim, ln_shape_text(t->shape, t->ndim));
}

int ln_check_same_dtype(const char *op, const ln_tensor *a, const ln_tensor *b) {
  if (a->dtype == b->dtype) return LN_OK;
  return ln_fail("%s: expected tensors of one dtype, got %s and %s", op, ln_dtype_name(a->dtype), ln_dtype_name(b->dtype));
}
