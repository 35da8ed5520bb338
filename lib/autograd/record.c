/* record.c - what ln_run does after a rule when gradients are wanted: the node, and the history of in-place operators and views. */
#include "../ops/rules.h"
#include "node.h"

static int count_dims(const ln_rule *c) {
  int n = 0;
  for (int i = 0; i < c->n_in; i++) n += c->in[i] ? c->in[i]->ndim : 0;
  return n;
}

static void note_inputs(ln_node *n, const ln_rule *c) {
  int64_t *dims = n->dims;
  for (int i = 0; i < c->n_in; i++) {
    const ln_tensor *t = c->in[i];
    n->ndim[i] = t ? t->ndim : -1;
    n->dtype[i] = t ? t->dtype : LN_FLOAT32;
    if (!t) continue;
    n->device = t->device;
    memcpy(dims, t->shape, sizeof(int64_t) * (size_t)t->ndim);
    memcpy(dims + t->ndim, t->stride, sizeof(int64_t) * (size_t)t->ndim);
    dims += 2 * t->ndim;
  }
}

static bool keeps(const ln_rule *r, int i) { return r->in[i] && ((r->keep_in >> (i < 63 ? i : 63)) & 1); }

static int save_kept(ln_node *n, const ln_rule *r, ln_tensor *const *saved) {
  int slot = 0;
  for (int i = 0; i < r->n_in; i++) {
    if (!keeps(r, i)) continue;
    if (saved && saved[i])
      LN_TRY(ln_node_save_copy(n, slot++, saved[i], r->in[i], i));
    else
      LN_TRY(ln_node_save(n, slot++, r->in[i], LN_SAVED_INPUT, i));
  }
  for (int i = 0; i < r->row->info.n_outputs; i++)
    if (((r->keep_out >> i) & 1) && r->out[i]) LN_TRY(ln_node_save(n, slot++, r->out[i], LN_SAVED_OUTPUT, i));
  for (int i = 0; i < LN_MAX_EXTRAS; i++)
    if (r->extra[i]) LN_TRY(ln_node_save(n, slot++, r->extra[i], LN_SAVED_EXTRA, i));
  return LN_OK;
}

static int count_kept(const ln_rule *r) {
  int n = 0;
  for (int i = 0; i < r->n_in; i++) n += keeps(r, i);
  for (int i = 0; i < r->row->info.n_outputs; i++) n += ((r->keep_out >> i) & 1) && r->out[i];
  for (int i = 0; i < LN_MAX_EXTRAS; i++) n += r->extra[i] != NULL;
  return n;
}

/* The node of a call, linked to where the gradients of its inputs go. A view among the inputs whose base was changed since gets its history anew first. */
static int make_node(const ln_rule *r, ln_tensor *const *saved, ln_node **out) {
  for (int i = 0; i < r->n_in; i++)
    if (r->in[i] && ln_wants_grad(r->in[i])) LN_TRY(ln_view_refresh(r->in[i]));
  ln_node *n = ln_node_new(r->op, r->n_in, r->row->info.n_outputs, count_kept(r), count_dims(r), r->attrs, r->row->n_slots);
  if (!n) return LN_NOMEM;
  note_inputs(n, r);
  int status = save_kept(n, r, saved);
  for (int i = 0; i < r->n_in && status == LN_OK; i++)
    if (r->in[i] && ln_wants_grad(r->in[i])) status = ln_node_link(n, i, r->in[i]);
  if (status != LN_OK) {
    ln_node_release(n);
    return status;
  }
  *out = n;
  return LN_OK;
}

/* -- Views -- */

/* The geometry of a view for as_strided and as_strided_scatter, whose first slots agree. */
static void view_attributes(ln_attrs *attrs, const ln_tensor *view, const ln_tensor *base) {
  SLOTS(as_strided);
  ln_attrs_begin(attrs);
  ln_attrs_ints(attrs, a_size, view->shape, view->ndim);
  ln_attrs_ints(attrs, a_stride, view->stride, view->ndim);
  ln_attrs_int(attrs, a_offset, (view->data - base->data) / ln_itemsize(base));
}

/* The node of a view as a function of its base as it is now. */
static int derive_from_base(ln_tensor *view) {
  ln_tensor *base = view->base;
  ln_attrs attrs;
  view_attributes(&attrs, view, base);
  ln_node *n = ln_node_new(LN_OP_as_strided, 1, 1, 0, base->ndim, &attrs, 3);
  if (!n) return LN_NOMEM;
  note_inputs(n, &(ln_rule){.n_in = 1, .in = &base});
  int status = ln_node_link(n, 0, base);
  if (status == LN_OK) ln_node_own_outputs(n, view, 0);
  ln_node_release(n);
  view->base_version = view->storage->version;
  return status;
}

int ln_view_refresh(ln_tensor *t) {
  if (!t->base || t->base_version == t->storage->version || !(t->base->flags & LN_REQUIRES_GRAD) || (t->base->node == NULL && t->node)) return LN_OK;
  return derive_from_base(t);
}

static void become_view(ln_tensor *view, ln_tensor *of) {
  ln_tensor *base = of->base ? of->base : of;
  ln_tensor_retain(base);
  view->base = base;
  view->base_version = view->storage->version;
  if (!(ln_me()->mode & LN_MODE_GRAD)) view->flags |= LN_VIEW_WITHOUT_HISTORY;
}

/* -- In place -- */

int ln_check_inplace(const ln_rule *c) {
  const ln_tensor *t = c->target;
  bool grad_mode = ln_me()->mode & LN_MODE_GRAD;
  if (grad_mode && ln_wants_grad(t) && ((!t->node && !t->base) || (t->base && !t->base->node && (t->base->flags & LN_REQUIRES_GRAD))))
    return ln_fail("%s_: a leaf that requires a gradient%s cannot be changed in place (use lt.no_grad)", c->name,
                   t->base ? ", or a view of one," : "");
  if (c->recording && (t->flags & LN_VIEW_WITHOUT_HISTORY))
    return ln_fail("%s_: a view made inside lt.no_grad cannot be changed in place by an operation that is recorded", c->name);
  if (c->recording && !ln_is_float(t->dtype))
    return ln_fail("%s_: a tensor of dtype %s cannot take part in a gradient", c->name, ln_dtype_name(t->dtype));
  for (int i = 0; i < t->ndim && t->numel > 0; i++)
    if (t->stride[i] == 0 && t->shape[i] > 1)
      return ln_fail("%s_: several elements of the expanded tensor (shape %s) share memory; clone() it first", c->name,
                     ln_shape_text(t->shape, t->ndim));
  return LN_OK;
}

/* The base's new history: what it was, with the view's region replaced by what `n` made. */
static int rebase(ln_tensor *view, ln_node *n) {
  ln_tensor *base = view->base;
  ln_attrs attrs;
  view_attributes(&attrs, view, base);
  if (!ln_is_dense(base))
    return ln_fail("an in-place change of a view is recorded only when its base has no gaps (shape %s, stride %s)",
                   ln_shape_text(base->shape, base->ndim), ln_shape_text(base->stride, base->ndim));
  ln_node *s = ln_node_new(LN_OP_as_strided_scatter, 2, 1, 0, base->ndim + view->ndim, &attrs, 3);
  if (!s) return LN_NOMEM;
  ln_tensor *const inputs[2] = {base, view};
  note_inputs(s, &(ln_rule){.n_in = 2, .in = inputs});
  int status = ln_wants_grad(base) ? ln_node_link(s, 0, base) : LN_OK;
  ln_node_retain(n);
  s->edges[1] = (ln_edge){n, 0};
  if (status == LN_OK) {
    ln_node_own_outputs(s, base, 0);
    status = derive_from_base(view);
  }
  ln_node_release(s);
  return status;
}

int ln_record(ln_rule *r, ln_tensor *const *saved) {
  if (r->alias) {
    become_view(r->out[0], r->in[0]);
    if (!r->recording) return LN_OK;
  }
  ln_node *n;
  LN_TRY(make_node(r, saved, &n));
  int status = LN_OK;
  if (r->target && r->target->base)
    status = rebase(r->target, n);
  else
    for (int i = 0; i < n->n_out; i++)
      if (r->out[i] && ln_is_float(r->out[i]->dtype)) ln_node_own_outputs(n, r->out[i], i);
  ln_node_release(n);
  return status;
}

/* -- Leaves -- */

int ln_tensor_set_requires_grad(ln_tensor *t, bool on) {
  if (on && !ln_is_float(t->dtype))
    return ln_fail("requires_grad_: only tensors of floating dtype can require a gradient, this one is %s", ln_dtype_name(t->dtype));
  if (!on && t->node) return ln_fail("requires_grad_: only a leaf can stop requiring a gradient; use detach()");
  if (on)
    t->flags |= LN_REQUIRES_GRAD;
  else
    t->flags &= ~LN_REQUIRES_GRAD;
  return LN_OK;
}

bool ln_tensor_requires_grad(const ln_tensor *t) { return ln_wants_grad(t); }

bool ln_tensor_is_leaf(const ln_tensor *t) { return !t->node && !(t->base && ln_wants_grad(t->base) && t->base->node); }

int ln_tensor_retain_grad(ln_tensor *t) {
  if (!ln_wants_grad(t)) return ln_fail("retain_grad: the tensor does not require a gradient");
  LN_TRY(ln_view_refresh(t));
  return t->node ? ln_node_retain_grad(t) : LN_OK;
}

int ln_tensor_grad(ln_tensor *t, ln_tensor **out) {
  *out = t->grad;
  if (!t->grad) return LN_OK;
  ln_tensor_retain(t->grad);
  ln_hand_out(t->grad);
  return LN_OK;
}

int ln_tensor_set_grad(ln_tensor *t, ln_tensor *grad) {
  if (grad && (!ln_gradient_fits(t, grad) || grad->device != t->device))
    return ln_fail("grad: the gradient of a tensor of shape %s cannot have shape %s or another device", ln_shape_text(t->shape, t->ndim),
                   ln_shape_text(grad->shape, grad->ndim));
  if (grad && grad->dtype != t->dtype)
    return ln_fail("grad: the gradient of a %s tensor cannot be %s", ln_dtype_name(t->dtype), ln_dtype_name(grad->dtype));
  if (grad == t) return ln_fail("grad: a tensor cannot be its own gradient");
  if (grad) ln_tensor_retain(grad);
  if (t->grad) ln_tensor_release(t->grad);
  t->grad = grad;
  return LN_OK;
}

/* Zeros as a row-sparse gradient: no rows. */
static int without_rows(const ln_tensor *g, ln_tensor **out) {
  const int64_t shape[2] = {0, g->shape[1]};
  ln_tensor *values, *rows = NULL;
  LN_TRY(ln_new(shape, 2, g->dtype, g->device, &values));
  int status = ln_new(shape, 1, LN_INT64, g->device, &rows);
  if (status == LN_OK) status = ln_sparse_make(values, rows, g->n_rows, true, out);
  ln_tensor_release(values);
  if (rows) ln_tensor_release(rows);
  return status;
}

/* New zeros in the place of a gradient that is not to be overwritten. */
static int zeros_for(const ln_tensor *g, ln_tensor **out) {
  if (g->rows) return without_rows(g, out);
  LN_TRY(ln_new_like(g, g->dtype, out));
  int status = ln_zero(*out);
  if (status != LN_OK) ln_tensor_release(*out);
  return status;
}

int ln_zero_grad(ln_tensor *const *params, int n, bool set_to_none) {
  for (int i = 0; i < n; i++) {
    ln_tensor *g = params[i]->grad;
    if (!g) continue;
    if (set_to_none || g->node || g->rows) {
      ln_tensor *zeros = NULL;
      if (!set_to_none) LN_TRY(zeros_for(g, &zeros));
      params[i]->grad = zeros;
      ln_tensor_release(g);
      continue;
    }
    LN_TRY(ln_zero(g));
    g->storage->version++;
    if (ln_is_dense(g)) g->storage->zero_at = g->storage->version;
  }
  return LN_OK;
}

const char *ln_tensor_grad_fn(ln_tensor *t) {
  if (!ln_wants_grad(t) || ln_view_refresh(t) != LN_OK || !t->node) return NULL;
  return ln_node_name(t->node);
}

int ln_mode_set(int mode) {
  ln_thread *me = ln_me();
  int former = me->mode;
  me->mode = mode;
  return former;
}

int ln_mode_get(void) { return ln_me()->mode; }

void ln_anomaly_locate(const char *location) {
  ln_thread *me = ln_me();
  size_t n = location ? strlen(location) : 0;
  if (n >= sizeof me->location) n = sizeof me->location - 1;
  memcpy(me->location, location ? location : "", n);
  me->location[n] = 0;
}

/* -- Callbacks -- */

int ln_hook_attach(ln_tensor *t, int64_t callback) {
  if (!ln_wants_grad(t)) return ln_fail("register_hook: the tensor does not require a gradient");
  LN_TRY(ln_view_refresh(t));
  int64_t *hook = t->node ? &t->node->hooks[t->output] : &t->hook;
  if (!*hook) *hook = callback;
  return LN_OK;
}

int64_t ln_hook_callback(const ln_tensor *t) { return t->node ? t->node->hooks[t->output] : t->hook; }

int ln_function_record(int64_t callback, const char *name, ln_tensor *const *inputs, int n_in, ln_tensor *const *outputs, int n_out,
                       ln_tensor *const *saved, int n_saved) {
  if (n_in > UINT16_MAX || n_out > UINT16_MAX || n_saved > UINT16_MAX) return ln_fail("%s: too many values", name);
  ln_rule shapes = {.n_in = n_in, .in = inputs};
  ln_node *n = ln_node_new(LN_NODE_FUNCTION, n_in, n_out, n_saved, count_dims(&shapes), NULL, 0);
  if (!n) return LN_NOMEM;
  note_inputs(n, &shapes);
  n->callback = callback;
  n->name = strdup(name);
  int status = LN_OK;
  for (int i = 0; i < n_in && status == LN_OK; i++)
    if (inputs[i] && ln_wants_grad(inputs[i])) status = ln_node_link(n, i, inputs[i]);
  for (int i = 0; i < n_saved && status == LN_OK; i++) {
    int output = -1;
    for (int k = 0; k < n_out && output < 0; k++) output = saved[i] == outputs[k] ? k : -1;
    int kind = output >= 0 ? LN_SAVED_OUTPUT : LN_SAVED_INPUT;
    status = ln_node_save(n, i, saved[i], kind, output >= 0 ? output : i);
  }
  for (int i = 0; i < n_out && status == LN_OK; i++)
    if (outputs[i] && ln_is_float(outputs[i]->dtype)) ln_node_own_outputs(n, outputs[i], i);
  if (status != LN_OK) n->callback = 0; /* Lua frees it itself */
  ln_node_release(n);
  return status;
}
