/* op.c - the one way to run an operator: ln_run. */
#include "../graph.h"
#include "thread.h"

#include <stdio.h>

/* -- Checks of all inputs -- */

static bool any_wants_grad(ln_tensor *const *in, int n) {
  for (int i = 0; i < n; i++)
    if (in[i] && ln_wants_grad(in[i])) return true;
  return false;
}

static const char *device_name(int device, char name[16]) {
  if (device == LN_CPU) return "cpu";
  snprintf(name, 16, "cuda:%d", device);
  return name;
}

/* The device of the inputs; false when they are on several. */
static bool one_device(ln_tensor *const *in, int n, int *device) {
  const ln_tensor *first = NULL;
  *device = LN_CPU;
  for (int i = 0; i < n; i++) {
    if (!in[i]) continue;
    if (!first) *device = (first = in[i])->device;
    if (in[i]->device != *device) return false;
  }
  return true;
}

static int fail_devices(const char *name, ln_tensor *const *in, int n) {
  int device, other = LN_CPU;
  char a[16], b[16];
  one_device(in, n, &device);
  for (int i = 0; i < n; i++) {
    if (!in[i]) continue;
    other = in[i]->device;
    device = device == other ? device : other;
    if (i > 0 && in[0] && in[0]->device != other) break;
  }
  return ln_fail("%s: all tensors must be on one device, got %s and %s", name, device_name(in[0] ? in[0]->device : device, a), device_name(other, b));
}

/* An elementwise operator takes a 0-dim tensor of the host beside tensors of a device, as if it were a number: it is brought there first, with its
 * history. */
static int run_across(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, bool inplace, ln_tensor **outputs) {
  const ln_op_row *row = ln_row(op);
  ln_tensor *there[3], *moved[3] = {NULL};
  int device = LN_CPU, status = LN_OK;
  if (row->info.kind == LN_STRUCTURED || n > 3) return fail_devices(row->info.public_name, inputs, n);
  for (int i = 0; i < n; i++)
    if (inputs[i] && inputs[i]->device != LN_CPU) device = inputs[i]->device;
  for (int i = 0; i < n; i++) {
    there[i] = inputs[i];
    if (inputs[i] && inputs[i]->device != device && (inputs[i]->ndim > 0 || inputs[i]->device != LN_CPU || (inplace && i == 0)))
      return fail_devices(row->info.public_name, inputs, n);
  }
  for (int i = 0; i < n && status == LN_OK; i++) {
    if (!inputs[i] || inputs[i]->device == device) continue;
    ln_attrs to;
    ln_attrs_begin(&to);
    ln_attrs_int(&to, 1, device);
    status = ln_run(LN_OP_to, &inputs[i], 1, &to, false, &moved[i]);
    there[i] = moved[i];
  }
  if (status == LN_OK) status = ln_run(op, there, n, attrs, inplace, outputs);
  for (int i = 0; i < n; i++)
    if (moved[i]) ln_tensor_release(moved[i]);
  return status;
}

static int check(const ln_rule *r) {
  if ((r->row->info.flags & LN_FLAG_FLOATING) && r->in[0] && !ln_is_float(r->in[0]->dtype))
    return ln_fail("%s: %.*s must be of a floating dtype, got %s (convert it with :float())", r->name, r->row->params[0].length,
                   r->row->params[0].name, ln_dtype_name(r->in[0]->dtype));
  for (int i = 0; i < r->n_in; i++) {
    if (r->in[i] && !r->in[i]->storage) return ln_fail("%s: input %d was not kept for backward", r->name, i);
    if (r->in[i] && (r->in[i]->flags & LN_UNINITIALIZED))
      return ln_fail(
        "%s: attempted to use an uninitialized parameter or buffer; call the lazy module once, with any input of the right size, so that "
        "it gets its shape",
        r->name);
  }
  return LN_OK;
}

/* -- In place -- */

/* An input that shares memory with the output but is laid out otherwise would be read after it was written. */
static bool overlaps(const ln_tensor *y, const ln_tensor *t) {
  return y->data != t->data || !ln_same_shape(y, t) || !ln_same_dims(y->stride, t->stride, y->ndim);
}

/* Copies of what would be gone when the target is overwritten: inputs that lie across it, and what backward will look at. */
static int save_overwritten(ln_rule *r, ln_tensor **copies) {
  for (int i = 0; i < r->n_in; i++) {
    ln_tensor *t = r->in[i];
    if (!t || t->storage != r->target->storage || t->numel == 0) continue;
    bool kept = r->recording && ((r->keep_in >> (i < 63 ? i : 63)) & 1);
    if (!kept && (i == 0 || !overlaps(r->target, t))) continue;
    LN_TRY(ln_new_strided(t->shape, ln_is_dense(t) ? t->stride : NULL, t->ndim, t->dtype, t->device, &copies[i]));
    LN_TRY(ln_copy_into(copies[i], t));
  }
  return LN_OK;
}

/* -- Running -- */

/* Which inputs and outputs the text of the gradient will look at. */
static int plan_backward(ln_rule *r) {
  if (r->row->info.kind == LN_STRUCTURED && !r->row->gradient_text) return LN_OK;
  const ln_program *p = ln_gradient_program(r->row);
  if (!p) return LN_ERROR;
  for (int i = 0; i < r->n_in; i++)
    if (r->in[i] && ln_wants_grad(r->in[i])) ln_program_keeps(p, i, &r->keep_in, &r->keep_out);
  return LN_OK;
}

/* The rule itself: what it is made of is recorded only where the row says so, and fails under this operator's name. */
static int run_rule(ln_rule *r, ln_thread *me) {
  const char *caller = me->running;
  int mode = me->mode;
  me->running = r->name;
  if (r->row->info.grad != LN_GRAD_RECORDED) me->mode = mode & ~LN_MODE_GRAD;
  r->row->forward(r);
  me->mode = mode;
  me->running = caller;
  return r->status;
}

static int run_and_record(ln_rule *r, ln_thread *me) {
  LN_TRY(run_rule(r, me));
  return (r->recording || r->alias) && r->row->info.grad != LN_GRAD_RECORDED ? ln_record(r, NULL) : LN_OK;
}

static int run_in_place(ln_rule *r, ln_thread *me) {
  ln_tensor *few[16], *const *inputs = r->in;
  size_t bytes = 2 * sizeof *few * (size_t)r->n_in;
  LN_TRY(ln_check_inplace(r));
  void *block = few;
  if (r->n_in > 8) LN_TRY(ln_block_status(ln_block_alloc(LN_CPU, bytes, &block), bytes));
  ln_tensor **copies = block, **seen = copies + r->n_in;
  memset(copies, 0, bytes);
  int status = save_overwritten(r, copies);
  for (int i = 0; i < r->n_in; i++) seen[i] = i > 0 && copies[i] ? copies[i] : inputs[i];
  if (status == LN_OK) {
    r->in = seen;
    status = run_rule(r, me);
    r->in = inputs;
  }
  if (status == LN_OK) r->target->storage->version++;
  if (status == LN_OK && r->recording && r->row->info.grad != LN_GRAD_RECORDED) status = ln_record(r, copies);
  for (int i = 0; i < r->n_in; i++)
    if (copies[i]) ln_tensor_release(copies[i]);
  if (copies != few) ln_block_free(LN_CPU, copies, bytes);
  return status;
}

static int run_checked(ln_rule *r, ln_thread *me) {
  bool inplace = r->target != NULL;
  if (inplace && !(r->row->info.flags & LN_FLAG_INPLACE)) return ln_fail("%s_: there is no in-place form of %s", r->name, r->name);
  LN_TRY(check(r));
  if (r->recording) LN_TRY(plan_backward(r));
  return inplace ? run_in_place(r, me) : run_and_record(r, me);
}

int ln_run(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, bool inplace, ln_tensor **outputs) {
  static const ln_attrs none;
  if (ln_interrupt_from(LN_WANTED)) return ln_fail_interrupted();
  ln_thread *me = ln_me();
  ln_tensor *out[LN_MAX_OUTPUTS], *extra[LN_MAX_EXTRAS] = {NULL};
  ln_rule r;
  r.row = ln_row(op);
  if (!one_device(inputs, n, &r.device) && !(r.row->info.flags & LN_FLAG_MIXED_DEVICES)) return run_across(op, inputs, n, attrs, inplace, outputs);
  int n_out = r.row->info.n_outputs;
  for (int i = 0; i < n_out; i++) out[i] = NULL;
  r.name = me->running ? me->running : r.row->info.public_name;
  r.op = op;
  r.n_in = n;
  r.in = inputs;
  r.attrs = attrs ? attrs : &none;
  r.out = out;
  r.extra = extra;
  r.target = inplace ? inputs[0] : NULL;
  r.recording = (me->mode & LN_MODE_GRAD) && r.row->info.grad && any_wants_grad(inputs, n);
  r.alias = false;
  r.keep_in = r.keep_out = 0;
  r_begin(&r);
  int status = run_checked(&r, me);
  r_end(&r);
  for (int i = 0; i < LN_MAX_EXTRAS; i++)
    if (extra[i]) ln_tensor_release(extra[i]);
  for (int i = 0; i < n_out; i++) {
    if (status == LN_OK && !inplace)
      outputs[i] = out[i];
    else if (out[i])
      ln_tensor_release(out[i]);
  }
  return status;
}

void ln_attrs_ints(ln_attrs *a, int slot, const int64_t *list, int n) {
  a->slot[slot].i = (int64_t)a->pool_used * 256 + n;
  if (n > 0) memcpy(a->pool + a->pool_used, list, sizeof(int64_t) * (size_t)n);
  a->pool_used += n;
  a->present |= 1u << slot;
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
