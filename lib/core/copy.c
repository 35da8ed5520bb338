/* copy.c - values moved between layouts, dtypes and devices. */
#include "../tensor.h"

static int copy_here(ln_tensor *y, ln_tensor *x) {
  ln_loop loop;
  ln_tensor *const operands[2] = {y, x};
  ln_loop_init_any_order(&loop, operands, 2);
  if (loop.numel == 0) return LN_OK;
  return ln_kernel_status("copy", ln_kernels_of(y->device)->convert(&loop, y->device));
}

/* Across devices bytes move as they are: x is made row-major of y's dtype where it lives, and laid out where it arrives. */
static int copy_across(ln_tensor *y, ln_tensor *x) {
  ln_tensor *packed = NULL, *arrived = NULL;
  int status = ln_dense(x, y->dtype, &packed);
  if (status == LN_OK) status = ln_new(x->shape, x->ndim, y->dtype, y->device, &arrived);
  const int waited = x->device == LN_CPU ? y->device : x->device; /* for the device that x comes from, or goes to from the host */
  const ln_kernels *k = ln_kernels_of(waited);
  if (status == LN_OK)
    status = ln_waited("copy", waited, k->copy(arrived->data, y->device, packed->data, x->device, (size_t)(x->numel * ln_itemsize(y))));
  if (status == LN_OK) status = copy_here(y, arrived);
  if (packed) ln_tensor_release(packed);
  if (arrived) ln_tensor_release(arrived);
  return status;
}

int ln_copy_into(ln_tensor *y, ln_tensor *x) { return y->device == x->device ? copy_here(y, x) : copy_across(y, x); }

int ln_dense(ln_tensor *t, int dtype, ln_tensor **out) {
  if (t->dtype == dtype && ln_tensor_is_contiguous(t)) {
    ln_tensor_retain(t);
    *out = t;
    return LN_OK;
  }
  LN_TRY(ln_new_like(t, dtype, out));
  int status = copy_here(*out, t);
  if (status != LN_OK) ln_tensor_release(*out);
  return status;
}

int ln_fill_number(ln_tensor *y, bool whole, const void *value) {
  ln_loop loop;
  ln_tensor *const operands[2] = {y, NULL};
  if (y->numel == 0) return LN_OK;
  ln_loop_init(&loop, operands, 2);
  ln_loop_scalar(&loop, 1, whole ? LN_INT64 : LN_FLOAT64, value);
  return ln_kernel_status("fill", ln_kernels_of(y->device)->convert(&loop, y->device));
}

int ln_zero(ln_tensor *y) {
  static const double zero = 0;
  if (y->numel == 0) return LN_OK;
  if (y->device != LN_CPU || !ln_is_dense(y)) return ln_fill_number(y, false, &zero);
  memset(y->data, 0, (size_t)(y->numel * ln_itemsize(y)));
  return LN_OK;
}
