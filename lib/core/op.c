/* op.c - the operator table as the program sees it, and the one way to run an operator: ln_run. */
#include "../ops/rules.h"
#include "thread.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* In the table a derivative is its text; NONE means no gradient. */
#define ROW_UNARY(name, class_, cost_, attrs, doc, f, dx, low, high)                           \
  {.info = {#name, #attrs, doc, #f, {#dx, NULL, NULL}, #class_, low, high, LN_UNARY, 1, 3, 0}, \
   .forward = ln_pointwise_forward,                                                            \
   .backward = ln_pointwise_backward,                                                          \
   .cost = COST_##cost_,                                                                       \
   .result = LN_CLASS_##class_},
#define ROW_BINARY(name, class_, cost_, attrs, doc, f, da, db, low, high)                      \
  {.info = {#name, #attrs, doc, #f, {#da, #db, NULL}, #class_, low, high, LN_BINARY, 1, 3, 0}, \
   .forward = ln_pointwise_forward,                                                            \
   .backward = ln_pointwise_backward,                                                          \
   .cost = COST_##cost_,                                                                       \
   .result = LN_CLASS_##class_},
#define ROW_TERNARY(name, class_, cost_, attrs, doc, f, da, db, dc, low, high)                 \
  {.info = {#name, #attrs, doc, #f, {#da, #db, #dc}, #class_, low, high, LN_TERNARY, 1, 3, 0}, \
   .forward = ln_pointwise_forward,                                                            \
   .backward = ln_pointwise_backward,                                                          \
   .cost = COST_##cost_,                                                                       \
   .result = LN_CLASS_##class_},
#define GRAD_NOGRAD(name) 0
#define GRAD_COMPOSED(name) 1
#define GRAD_FUSED(name) 2
#define GRAD_COMPOSITE(name) 4
#define BACKWARD_NOGRAD(name) .backward = NULL
#define BACKWARD_COMPOSITE(name) .backward = NULL
#define BACKWARD_COMPOSED(name) .backward = name##_backward, .backward_any = name##_backward
#define BACKWARD_FUSED(name) .backward = name##_backward, .backward_any = name##_backward_any
#define ROW_OP(name, signature, outputs, grad, doc)                                                                     \
  {.info = {#name, signature, doc, NULL, {NULL, NULL, NULL}, NULL, 0, 0, LN_STRUCTURED, outputs, GRAD_##grad(name), 0}, \
   .forward = name##_forward,                                                                                           \
   BACKWARD_##grad(name)},
#define ROW_VIEW(name, signature, doc)                                                            \
  {.info = {#name, signature, doc, NULL, {NULL, NULL, NULL}, NULL, 0, 0, LN_STRUCTURED, 1, 1, 1}, \
   .forward = name##_forward,                                                                     \
   .backward = name##_backward,                                                                   \
   .backward_any = name##_backward},
enum { COST_CHEAP, COST_DEAR };
enum { COMPOSITE = GRAD_COMPOSITE(row) }; /* records itself: its operators do */

static ln_op_row rows[LN_OP_COUNT + 1] = {
#define UNARY ROW_UNARY
#define BINARY ROW_BINARY
#define TERNARY ROW_TERNARY
#define OP ROW_OP
#define VIEW ROW_VIEW
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef VIEW
};

/* -- What is derived from the rows once -- */

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

/* Does the formula mention the one-letter name? */
static bool mentions(const char *text, char name) {
  for (const char *p = text; *p; p++)
    if (*p == name && !is_word(p[1]) && (p == text || !is_word(p[-1]))) return true;
  return false;
}

static uint32_t kept_by(const char *text, int kind) {
  const char *names = kind == LN_UNARY ? "x" : "abc";
  uint32_t keep = mentions(text, 'y') ? 8 : 0;
  for (int i = 0; names[i]; i++) keep |= mentions(text, names[i]) ? 1u << i : 0;
  return keep;
}

static int count_typed(const char *signature) {
  int n = 0;
  for (const char *p = signature; *p; p++) n += *p == ':';
  return n;
}

/* Numbers of "A2(min, -INFINITY, max, INFINITY)": every second word. */
static void parse_defaults(ln_op_row *r) {
  const char *p = strchr(r->info.signature, '(');
  for (int i = 0; p && i < 3; i++) {
    p = strchr(p + 1, ',');
    if (!p) return;
    p += strspn(p, ", ");
    bool infinite = strstr(p, "INFINITY") == p + (*p == '-');
    r->defaults[i] = infinite ? (*p == '-' ? -INFINITY : INFINITY) : strtod(p, NULL);
    p = strchr(p, ',');
  }
}

static void rows_init(void) {
  int pointwise = 0;
  for (int op = 0; op < LN_OP_COUNT; op++) {
    ln_op_row *r = &rows[op];
    r->pointwise = -1;
    if (r->info.kind == LN_STRUCTURED) {
      r->n_slots = count_typed(r->info.signature);
      continue;
    }
    r->pointwise = pointwise++;
    parse_defaults(r);
    r->n_slots = LN_ATTR_SLOTS; /* the last three hold scalar operands */
    for (int i = 0; i < 3 && r->info.derivative[i]; i++) {
      if (strcmp(r->info.derivative[i], "NONE") == 0)
        r->info.derivative[i] = NULL;
      else
        r->passes[i] = strcmp(r->info.derivative[i], "g") == 0, r->keep[i] = kept_by(r->info.derivative[i], r->info.kind);
    }
    const char *const *d = r->info.derivative;
    if (!d[0] && !d[1] && !d[2]) r->info.grad = 0;
  }
}

const ln_op_row *ln_row(int op) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, rows_init);
  return &rows[op];
}

int ln_op_count(void) { return LN_OP_COUNT; }

const ln_op_info *ln_op_at(int op) { return op >= 0 && op < LN_OP_COUNT ? &ln_row(op)->info : NULL; }

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
  ln_call c = {.op = op, .name = row->info.name, .n_in = n, .in = inputs, .attrs = attrs, .target = inplace ? inputs[0] : NULL};
  c.recording = (ln_me()->mode & LN_MODE_GRAD) && row->info.grad && any_wants_grad(inputs, n);
  if (inplace) LN_TRY(ln_check_inplace(&c));
  if (op != LN_OP_to && op != LN_OP_copy && ln_check_device(c.name, inputs, n) != LN_OK)
    return row->info.kind == LN_STRUCTURED || n > 3 ? LN_ERROR : run_across(op, inputs, n, attrs, inplace, outputs);
  int status = row->forward(&c);
  if (status == LN_OK && inplace) c.target->storage->version++;
  if (status == LN_OK && (c.recording || c.alias) && row->info.grad != COMPOSITE) status = ln_record(&c);
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
  if (n < 0 || (n > 0 && !inputs)) return ln_fail("%s: %d inputs", ln_row(op)->info.name, n);
  return LN_OK;
}

int ln_apply(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, ln_tensor **outputs) {
  LN_TRY(check_op(op, inputs, n));
  LN_TRY(ln_run(op, inputs, n, attrs, false, outputs));
  for (int i = 0; i < rows[op].info.n_outputs; i++) ln_hand_out(outputs[i]);
  return LN_OK;
}

int ln_apply_inplace(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs) {
  LN_TRY(check_op(op, inputs, n));
  if (n == 0 || !inputs[0]) return ln_fail("%s: nothing to change in place", rows[op].info.name);
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
