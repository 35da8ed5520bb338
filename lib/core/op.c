/* op.c - the one way to run an operator: ln_run. */
#include "../ops/rules.h"
#include "thread.h"

/* -- Running -- */

static bool any_wants_grad(ln_tensor *const *in, int n) {
  for (int i = 0; i < n; i++)
    if (in[i] && ln_wants_grad(in[i])) return true;
  return false;
}

static void drop(ln_call *c) {
  for (int i = 0; i < LN_MAX_OUTPUTS; i++)
    if (c->out[i]) ln_tensor_release(c->out[i]);
}

/* An elementwise operator takes a 0-dim tensor of the host beside tensors of a device, as if it were a number: it is brought there first, with its
 * history. The error that stands is for every other mixture. */
static int run_across(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, bool inplace, ln_tensor **outputs) {
  ln_tensor *there[3], *moved[3] = {NULL};
  int device = LN_CPU, status = LN_OK;
  for (int i = 0; i < n; i++)
    if (inputs[i] && inputs[i]->device != LN_CPU) device = inputs[i]->device;
  for (int i = 0; i < n; i++) {
    there[i] = inputs[i];
    if (inputs[i] && inputs[i]->device != device && (inputs[i]->ndim > 0 || inputs[i]->device != LN_CPU || (inplace && i == 0))) return LN_ERROR;
  }
  for (int i = 0; i < n && status == LN_OK; i++) {
    if (!inputs[i] || inputs[i]->device == device) continue;
    ln_attrs to = {0};
    ln_attrs_int(&to, 1, device);
    status = ln_run(LN_OP_to, &inputs[i], 1, &to, false, &moved[i]);
    there[i] = moved[i];
  }
  if (status == LN_OK) status = ln_run(op, there, n, attrs, inplace, outputs);
  for (int i = 0; i < n; i++)
    if (moved[i]) ln_tensor_release(moved[i]);
  return status;
}

int ln_run(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, bool inplace, ln_tensor **outputs) {
  static const ln_attrs none;
  const ln_op_row *row = ln_row(op);
  if (!attrs) attrs = &none;
  ln_call c = {.op = op, .name = row->info.public_name, .n_in = n, .in = inputs, .attrs = attrs, .target = inplace ? inputs[0] : NULL};
  c.recording = (ln_me()->mode & LN_MODE_GRAD) && row->info.grad && any_wants_grad(inputs, n);
  if (inplace && !(row->info.flags & LN_FLAG_INPLACE)) return ln_fail("%s_: there is no in-place form of %s", c.name, c.name);
  if (inplace) LN_TRY(ln_check_inplace(&c));
  if (!(row->info.flags & LN_FLAG_MIXED_DEVICES) && ln_check_device(c.name, inputs, n) != LN_OK)
    return row->info.kind == LN_STRUCTURED || n > 3 ? LN_ERROR : run_across(op, inputs, n, attrs, inplace, outputs);
  int status = row->forward(&c);
  if (status == LN_OK && inplace) c.target->storage->version++;
  if (status == LN_OK && (c.recording || c.alias) && row->info.grad != LN_GRAD_COMPOSITE) status = ln_record(&c);
  for (int i = 0; i < LN_MAX_EXTRAS; i++)
    if (c.extra[i]) ln_tensor_release(c.extra[i]);
  if (status != LN_OK || inplace) {
    drop(&c);
    return status;
  }
  for (int i = 0; i < row->info.n_outputs; i++) outputs[i] = c.out[i];
  return LN_OK;
}

static int check_op(int op, ln_tensor *const *inputs, int n) {
  if (op < 0 || op >= LN_OP_COUNT) return ln_fail("there is no operator number %d", op);
  if (n < 0 || (n > 0 && !inputs)) return ln_fail("%s: %d inputs", ln_row(op)->info.public_name, n);
  return LN_OK;
}

int ln_apply(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, ln_tensor **outputs) {
  LN_TRY(check_op(op, inputs, n));
  LN_TRY(ln_run(op, inputs, n, attrs, false, outputs));
  for (int i = 0; i < ln_row(op)->info.n_outputs; i++) ln_hand_out(outputs[i]);
  return LN_OK;
}

int ln_apply_inplace(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs) {
  LN_TRY(check_op(op, inputs, n));
  if (n == 0 || !inputs[0]) return ln_fail("%s: nothing to change in place", ln_row(op)->info.public_name);
  return ln_run(op, inputs, n, attrs, true, NULL);
}

/* -- Outputs of a call -- */

int ln_call_out(ln_call *c, int i, const int64_t *shape, int ndim, int dtype) {
  if (i == 0 && c->target) {
    ln_tensor *t = c->target;
    if (t->ndim != ndim || !ln_same_dims(t->shape, shape, ndim))
      return ln_fail("%s_: the result has shape %s and does not fit in place into %s", c->name, ln_shape_text(shape, ndim),
                     ln_shape_text(t->shape, t->ndim));
    if (t->dtype != dtype && !(ln_is_float(t->dtype) && ln_is_float(dtype)) && !(t->dtype <= LN_UINT8 && !ln_is_float(dtype)))
      return ln_fail("%s_: the result is %s and cannot be written in place into %s", c->name, ln_dtype_name(dtype), ln_dtype_name(t->dtype));
    ln_tensor_retain(t);
    c->out[0] = t;
    return LN_OK;
  }
  return ln_new(shape, ndim, dtype, c->n_in > 0 && c->in[0] ? c->in[0]->device : c->n_in > 1 && c->in[1] ? c->in[1]->device : LN_CPU, &c->out[i]);
}

int ln_call_alias(ln_call *c, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset) {
  if (c->target) return ln_fail("%s: a view has no in-place form", c->name);
  ln_tensor *y = ln_alias(c->in[0]);
  if (!y) return LN_NOMEM;
  ln_set_geometry(y, shape, stride, ndim);
  y->data += offset * ln_itemsize(y);
  c->out[0] = y;
  c->alias = true;
  return LN_OK;
}

/* -- Attributes -- */

int ln_list_n(const char *op, const char *what, const ln_attrs *a, int k, int want, int64_t *out) {
  const int64_t *list;
  int n = ln_list(a, k, &list);
  if (n != 1 && n != want) return ln_fail("%s: %s takes 1 or %d numbers, got %s", op, what, want, ln_shape_text(list, n));
  for (int i = 0; i < want; i++) out[i] = list[n == 1 ? 0 : i];
  return LN_OK;
}

int ln_dims_mask(const char *op, const ln_attrs *a, int k, int ndim, uint32_t *mask) {
  const int64_t *list = NULL;
  int n = ln_has(a, k) ? ln_list(a, k, &list) : 0;
  *mask = n ? 0 : (1u << ndim) - 1;
  for (int i = 0; i < n; i++) {
    int dim;
    LN_TRY(ln_wrap_dim(op, list[i], ndim, &dim));
    if ((*mask >> dim) & 1) return ln_fail("%s: dim %d stands twice in %s", op, dim, ln_shape_text(list, n));
    *mask |= 1u << dim;
  }
  if (ndim == 0) *mask = 0;
  return LN_OK;
}

void ln_attrs_ints(ln_attrs *a, int k, const int64_t *list, int n) {
  a->slot[k].i = (int64_t)a->pool_used * 256 + n;
  memcpy(a->pool + a->pool_used, list, sizeof(int64_t) * (size_t)n);
  a->pool_used += n;
  a->present |= 1u << k;
}

void ln_attrs_int(ln_attrs *a, int k, int64_t value) {
  a->slot[k].i = value;
  a->present |= 1u << k;
}

void ln_attrs_float(ln_attrs *a, int k, double value) {
  a->slot[k].d = value;
  a->present |= 1u << k;
}
