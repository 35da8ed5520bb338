/* scan.c - running products, extremes and logarithms of sums along a dim. */
#include "shape.h"

static void scan(ln_rule *r, ln_tensor *x, int dim, int kind, bool reverse, bool with_indices) {
  ln_tensor *y = r_new(r, x->shape, x->ndim, x->dtype), *indices = with_indices ? r_new(r, x->shape, x->ndim, LN_INT64) : NULL;
  if (!r_ok(r)) return;
  ln_rows rows = ln_rows_along(x, dim);
  ln_scan work = {.dtype = x->dtype, .kind = kind, .reverse = reverse, .outer = rows.outer, .size = rows.size, .inner = rows.inner};
  work.x = x->data;
  work.out = y->data;
  work.indices = indices ? (int64_t *)indices->data : NULL;
  if (x->numel > 0) KERNEL(r, scan, &work);
  r_result(r, 0, y);
  r_result(r, 1, indices);
}

void cumprod_forward(ln_rule *r) {
  ARGS(cumprod);
  int dim = r_dim(r, a_dim, input->ndim);
  ln_tensor *x = r_dense(r, input, r_dtype(r, a_dtype, ln_is_float(input->dtype) ? input->dtype : LN_INT64));
  if (x) scan(r, x, dim, LN_SCAN_PROD, false, false);
}

static void running_extreme(ln_rule *r, int kind) {
  ARGS(cummax);
  int dim = r_dim(r, a_dim, input->ndim);
  ln_tensor *x = r_dense(r, input, input->dtype);
  if (x) scan(r, x, dim, kind, false, true);
}

void cummax_forward(ln_rule *r) { running_extreme(r, LN_SCAN_MAX); }
void cummin_forward(ln_rule *r) { running_extreme(r, LN_SCAN_MIN); }

void logcumsumexp_forward(ln_rule *r) {
  ARGS(logcumsumexp);
  int dim = r_dim(r, a_dim, input->ndim);
  ln_tensor *x = r_dense(r, input, input->dtype);
  if (x) scan(r, x, dim, LN_SCAN_LOGSUMEXP, r_bool(r, a_reverse), false);
}

/* -- The gradient of cumprod: without division, so that zeros do no harm -- */

/* x moved by n places along dim, to its end or to its start; what comes in is `filling`. */
static ln_tensor *moved(ln_rule *r, ln_tensor *x, int dim, int64_t n, bool to_end, double filling) {
  SLOTS(cat);
  ln_attrs attrs;
  int64_t shape[16], size = x ? x->shape[dim] : 0;
  if (!x) return NULL;
  n = n < size ? n : size;
  memcpy(shape, x->shape, sizeof shape);
  shape[dim] = n;
  ln_tensor *in = r_number(r, LN_OP_add, r_zeros(r, shape, x->ndim, x->dtype), filling);
  ln_tensor *kept = r_narrow(r, x, dim, to_end ? 0 : n, size - n);
  ln_tensor *const parts[2] = {to_end ? in : kept, to_end ? kept : in};
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  return in && kept ? r_do(r, LN_OP_cat, parts, 2, &attrs) : NULL;
}

/* h[k] = g[k] + x[k + 1] h[k + 1] for all k at once: doubled in reach log2(n) times. dx[k] is h[k] times the product of what stands before k. */
void cumprod_dx_forward(ln_rule *r) {
  ARGS(cumprod_dx);
  ln_tensor *x = r_to(r, input, dy->dtype), *h = dy;
  int dim = r_dim(r, a_dim, input->ndim);
  if (!x || !r_ok(r)) return;
  if (x->ndim == 0 || x->numel == 0) {
    r_result(r, 0, dy);
    return;
  }
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, 0, dim);
  ln_tensor *before = moved(r, x, dim, 1, true, 1), *factor = moved(r, x, dim, 1, false, 0);
  before = before ? r_do(r, LN_OP_cumprod, &before, 1, &attrs) : NULL;
  for (int64_t reach = 1; reach < x->shape[dim] && r_ok(r); reach *= 2) {
    h = r_do2(r, LN_OP_add, h, r_do2(r, LN_OP_mul, factor, moved(r, h, dim, reach, false, 0)));
    factor = r_do2(r, LN_OP_mul, factor, moved(r, factor, dim, reach, false, 0));
  }
  r_result(r, 0, r_do2(r, LN_OP_mul, before, h));
}
