/* rule.c - the context of a rule: failures, temporaries, attributes, outputs. The operators that a rule calls are in rule_ops.c. */
#include "../graph.h"

#include <stdio.h>
#include <stdlib.h>

/* -- Failures -- */

bool r_fail(ln_rule *r, const char *format, ...) {
  char text[768];
  va_list args;
  if (!r_ok(r)) return false;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  r->status = ln_fail("%s: %s", r->name, text);
  return false;
}

bool r_status(ln_rule *r, int status) {
  if (r_ok(r)) r->status = status;
  return r_ok(r);
}

bool r_kernel(ln_rule *r, const char *failure) { return r_status(r, ln_kernel_status(r->name, failure)); }

/* -- Temporaries -- */

void r_begin(ln_rule *r) {
  r->status = LN_OK;
  r->temps = r->few;
  r->n_temps = 0;
  r->temp_capacity = LN_FEW_TEMPS;
}

void r_end(ln_rule *r) {
  for (int i = r->n_temps - 1; i >= 0; i--) ln_tensor_release(r->temps[i]);
  if (r->temps != r->few) free(r->temps);
}

static bool more_room(ln_rule *r) {
  bool few = r->temps == r->few;
  ln_tensor **more = realloc(few ? NULL : r->temps, sizeof *more * 2 * (size_t)r->temp_capacity);
  if (!more) return r_status(r, ln_fail_nomem((int64_t)sizeof *more * 2 * r->temp_capacity));
  if (few) memcpy(more, r->few, sizeof r->few);
  r->temps = more;
  r->temp_capacity *= 2;
  return true;
}

ln_tensor *r_own(ln_rule *r, ln_tensor *t) {
  if (!t) return NULL;
  if (r->n_temps == r->temp_capacity && !more_room(r)) {
    ln_tensor_release(t);
    return NULL;
  }
  return r->temps[r->n_temps++] = t;
}

void r_drop(ln_rule *r, ln_tensor *t) {
  for (int i = r->n_temps - 1; t && i >= 0; i--) {
    if (r->temps[i] != t) continue;
    r->n_temps--;
    memmove(r->temps + i, r->temps + i + 1, sizeof *r->temps * (size_t)(r->n_temps - i));
    ln_tensor_release(t);
    return;
  }
}

ln_tensor *r_keep(ln_rule *r, int i, ln_tensor *t) {
  if (!t || !r_ok(r)) return NULL;
  ln_tensor_retain(t);
  return r->extra[i] = t;
}

/* -- Attributes -- */

int r_list(ln_rule *r, int slot, const int64_t **list) {
  static const int64_t nothing;
  *list = &nothing;
  if (!r_ok(r)) return 0;
  if (!r_has(r, slot)) {
    *list = &r->row->defaults[slot].i;
    return 1;
  }
  int n = (int)(r->attrs->slot[slot].i & 255);
  int64_t *numbers = (int64_t *)r->attrs->pool + (r->attrs->slot[slot].i >> 8);
  if (n > LN_MAX_DIMS) {
    r_fail(r, "a list of at most %d numbers is expected, one a dimension, got %d", LN_MAX_DIMS, n);
    return 0;
  }
  *list = numbers;
  return n;
}

static const char *slot_name(const ln_rule *r, int slot, int *length) {
  for (int i = 0; i < r->row->n_params; i++)
    if (r->row->params[i].slot == slot) return *length = r->row->params[i].length, r->row->params[i].name;
  return *length = 0, "";
}

bool r_sizes(ln_rule *r, int slot, int want, int64_t *out) {
  const int64_t *list;
  int n = r_list(r, slot, &list), length = 0;
  const char *name = slot_name(r, slot, &length);
  if (!r_require(r, n == 1 || n == want, "%.*s takes 1 or %d numbers, got %s", length, name, want, ln_shape_text(list, n))) return false;
  for (int i = 0; i < want; i++) out[i] = list[n == 1 ? 0 : i];
  return true;
}

int r_dim(ln_rule *r, int slot, int ndim) {
  int dim = 0;
  if (r_ok(r)) r_status(r, ln_wrap_dim(r->name, r_int(r, slot), ndim, &dim));
  return dim;
}

uint32_t r_dims(ln_rule *r, int slot, int ndim) {
  const int64_t *list;
  uint32_t mask = 0;
  int n = r_has(r, slot) ? r_list(r, slot, &list) : 0;
  for (int i = 0; i < n; i++) {
    int dim;
    if (!r_status(r, ln_wrap_dim(r->name, list[i], ndim, &dim))) return 0;
    if (!r_require(r, !((mask >> dim) & 1), "dim %d stands twice in %s", dim, ln_shape_text(list, n))) return 0;
    mask |= 1u << dim;
  }
  if (ndim == 0) return 0;
  return n ? mask : (1u << ndim) - 1;
}

/* -- Outputs -- */

static bool fits_target(ln_rule *r, const int64_t *shape, int ndim, int dtype) {
  const ln_tensor *t = r->target;
  if (t->ndim != ndim || !ln_same_dims(t->shape, shape, ndim))
    return r_status(r, ln_fail("%s_: the result has shape %s and does not fit in place into %s", r->name, ln_shape_text(shape, ndim),
                               ln_shape_text(t->shape, t->ndim)));
  if (t->dtype != dtype && !(ln_is_float(t->dtype) && ln_is_float(dtype)) && !(t->dtype <= LN_UINT8 && !ln_is_float(dtype)))
    return r_status(r,
                    ln_fail("%s_: the result is %s and cannot be written in place into %s", r->name, ln_dtype_name(dtype), ln_dtype_name(t->dtype)));
  return true;
}

static ln_tensor *take_target(ln_rule *r) {
  ln_tensor_retain(r->target);
  return r->out[0] = r->target;
}

ln_tensor *r_out_strided(ln_rule *r, int i, const int64_t *shape, const int64_t *stride, int ndim, int dtype) {
  if (!r_ok(r)) return NULL;
  if (i == 0 && r->target) return fits_target(r, shape, ndim, dtype) ? take_target(r) : NULL;
  return r_status(r, ln_new_strided(shape, stride, ndim, dtype, r->device, &r->out[i])) ? r->out[i] : NULL;
}

ln_tensor *r_out(ln_rule *r, int i, const int64_t *shape, int ndim, int dtype) { return r_out_strided(r, i, shape, NULL, ndim, dtype); }

ln_tensor *r_out_like(ln_rule *r, int i, const ln_tensor *t, int dtype) {
  return t ? r_out_strided(r, i, t->shape, ln_is_dense(t) ? t->stride : NULL, t->ndim, dtype) : NULL;
}

void r_result(ln_rule *r, int i, ln_tensor *t) {
  if (!t || !r_ok(r)) return;
  if (i == 0 && r->target) {
    if (fits_target(r, t->shape, t->ndim, t->dtype) && take_target(r) && t != r->target) r_copy(r, r->target, t);
    return;
  }
  if (t->base && r->row->info.grad != LN_GRAD_RECORDED) { /* a view of a temporary is nobody's view */
    r->out[i] = ln_alias(t);
    r_status(r, r->out[i] ? LN_OK : LN_NOMEM);
    return;
  }
  ln_tensor_retain(t);
  r->out[i] = t;
}

void r_alias(ln_rule *r, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset) {
  if (!r_ok(r)) return;
  int64_t n = 1;
  bool empty = false;
  for (int i = 0; i < ndim; i++) empty = empty || shape[i] == 0;
  for (int i = 0; i < ndim && !empty; i++)
    if (!r_require(r, !__builtin_mul_overflow(n, shape[i], &n), "a tensor of shape %s has more elements than can be counted",
                   ln_shape_text(shape, ndim)))
      return;
  ln_tensor *y = r->out[0] = ln_alias(r->in[0]);
  if (!r_status(r, y ? LN_OK : LN_NOMEM)) return;
  ln_set_geometry(y, shape, stride, ndim);
  if (y->numel > 0) y->data += offset * ln_itemsize(y); /* an empty view may begin outside */
  r->alias = true;
}

void r_pass(ln_rule *r) { r_alias(r, r->in[0]->shape, r->in[0]->stride, r->in[0]->ndim, 0); }

void r_give(ln_rule *r, int i, ln_tensor *dx) {
  if (!dx || !r->needs[i]) return;
  dx = r_fit(r, dx, r->in[i]);
  if (!dx) return;
  ln_tensor_retain(dx);
  r->dx[i] = dx;
}

/* -- New tensors and layouts -- */

ln_tensor *r_new_strided(ln_rule *r, const int64_t *shape, const int64_t *stride, int ndim, int dtype) {
  ln_tensor *t;
  return r_ok(r) && r_status(r, ln_new_strided(shape, stride, ndim, dtype, r->device, &t)) ? r_own(r, t) : NULL;
}

ln_tensor *r_new(ln_rule *r, const int64_t *shape, int ndim, int dtype) { return r_new_strided(r, shape, NULL, ndim, dtype); }

ln_tensor *r_new_like(ln_rule *r, const ln_tensor *t, int dtype) {
  return t ? r_new_strided(r, t->shape, ln_is_dense(t) ? t->stride : NULL, t->ndim, dtype) : NULL;
}

ln_tensor *r_zeros(ln_rule *r, const int64_t *shape, int ndim, int dtype) {
  ln_tensor *t = r_new(r, shape, ndim, dtype);
  return t && r_status(r, ln_zero(t)) ? t : NULL;
}

ln_tensor *r_dense(ln_rule *r, ln_tensor *t, int dtype) {
  ln_tensor *dense;
  return t && r_ok(r) && r_status(r, ln_dense(t, dtype, &dense)) ? r_own(r, dense) : NULL;
}

ln_tensor *r_gapless(ln_rule *r, ln_tensor *t) { return t && ln_is_dense(t) ? t : t ? r_dense(r, t, t->dtype) : NULL; }

ln_tensor *r_look(ln_rule *r, const ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset) {
  if (!t || !r_ok(r)) return NULL;
  ln_tensor *view = ln_alias(t);
  if (!r_status(r, view ? LN_OK : LN_NOMEM)) return NULL;
  ln_set_geometry(view, shape, stride, ndim);
  view->data += offset * ln_itemsize(view);
  return r_own(r, view);
}

bool r_copy(ln_rule *r, ln_tensor *y, ln_tensor *x) { return y && x && r_ok(r) && r_status(r, ln_copy_into(y, x)); }

/* -- Checks -- */

bool r_check(ln_rule *r, ln_tensor *t, ln_violation what, int64_t low, int64_t high) {
  ln_violation found = {0};
  ln_check check = {.what = what, .low = low, .high = high, .found = &found};
  if (!t || !r_ok(r) || t->numel == 0) return r_ok(r);
  check.what.name = r->name;
  ln_tensor first = *t;
  if (what.kind != LN_CHECK_DIVISOR && high <= low) { /* the first element is wrong already; what a device would read there instead is missing */
    double number;
    ln_set_geometry(&first, NULL, NULL, 0);
    found = check.what;
    return r_status(r, ln_tensor_item(&first, &number, &found.value)) && r_status(r, ln_fail_violation(&found, LN_CPU));
  }
  ln_tensor *const operands[2] = {t, t};
  ln_loop_init(&check.loop, operands, 2);
  return KERNEL(r, check, &check) && r_status(r, found.kind ? ln_fail_violation(&found, LN_CPU) : LN_OK);
}
