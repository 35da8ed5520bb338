/* record.c - what ln_run does after a rule when gradients are wanted: the node, and the history of in-place operators and views. */
#include "node.h"

static int count_dims(const ln_call *c) {
  int n = 0;
  for (int i = 0; i < c->n_in; i++) n += c->in[i] ? c->in[i]->ndim : 0;
  return n;
}

static void note_inputs(ln_node *n, const ln_call *c) {
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

static int save_kept(ln_node *n, const ln_call *c, int n_outputs) {
  int slot = 0;
  for (int i = 0; i < c->n_in; i++) {
    if (!((c->keep_in >> (i < 31 ? i : 31)) & 1) || !c->in[i]) continue;
    /* in place, the input that was overwritten no longer holds what backward needs: an older version says so */
    uint32_t version = c->in[i]->storage->version - (c->target && c->in[i]->storage == c->target->storage);
    LN_TRY(ln_node_save(n, slot++, c->in[i], LN_SAVED_INPUT, i, version));
  }
  for (int i = 0; i < n_outputs; i++)
    if ((c->keep_out >> i) & 1) LN_TRY(ln_node_save(n, slot++, c->out[i], LN_SAVED_OUTPUT, i, c->out[i]->storage->version));
  for (int i = 0; i < LN_MAX_EXTRAS; i++)
    if (c->extra[i]) LN_TRY(ln_node_save(n, slot++, c->extra[i], LN_SAVED_EXTRA, i, c->extra[i]->storage->version));
  return LN_OK;
}

static int count_kept(const ln_call *c) {
  int n = __builtin_popcount(c->keep_out);
  for (int i = 0; i < c->n_in; i++) n += ((c->keep_in >> (i < 31 ? i : 31)) & 1) && c->in[i];
  for (int i = 0; i < LN_MAX_EXTRAS; i++) n += c->extra[i] != NULL;
  return n;
}

static int make_node(ln_call *c, ln_node **out) {
  const ln_op_row *row = ln_row(c->op);
  ln_node *n = ln_node_new(c->op, c->n_in, row->info.n_outputs, count_kept(c), count_dims(c), c->attrs, row->n_slots);
  if (!n) return LN_NOMEM;
  note_inputs(n, c);
  int status = save_kept(n, c, row->info.n_outputs);
  for (int i = 0; i < c->n_in && status == LN_OK; i++)
    if (c->in[i] && ln_wants_grad(c->in[i])) status = ln_node_link(n, i, c->in[i]);
  if (status != LN_OK) {
    ln_node_release(n);
    return status;
  }
  *out = n;
  return LN_OK;
}

/* -- Views -- */

/* The node of a view as a function of its base as it is now. */
static int derive_from_base(ln_tensor *view) {
  ln_tensor *base = view->base;
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, view->shape, view->ndim);
  ln_attrs_ints(&attrs, 1, view->stride, view->ndim);
  ln_attrs_int(&attrs, 2, (view->data - base->data) / ln_itemsize(base));
  ln_node *n = ln_node_new(LN_OP_as_strided, 1, 1, 0, base->ndim, &attrs, 3);
  if (!n) return LN_NOMEM;
  note_inputs(n, &(ln_call){.n_in = 1, .in = &base});
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

int ln_check_inplace(ln_call *c) {
  const ln_tensor *t = c->target;
  bool grad_mode = ln_me()->mode & LN_MODE_GRAD;
  if (grad_mode && ln_wants_grad(t) && ((!t->node && !t->base) || (t->base && !t->base->node && (t->base->flags & LN_REQUIRES_GRAD))))
    return ln_fail("%s_: a leaf that requires a gradient%s cannot be changed in place (use lt.no_grad)", c->name,
                   t->base ? ", or a view of one," : "");
  if (c->recording && (t->flags & LN_VIEW_WITHOUT_HISTORY))
    return ln_fail("%s_: a view made inside lt.no_grad cannot be changed in place by an operation that is recorded", c->name);
  if (c->recording && !ln_is_float(t->dtype))
    return ln_fail("%s_: a tensor of dtype %s cannot take part in a gradient", c->name, ln_dtype_name(t->dtype));
  for (int i = 0; i < t->ndim; i++)
    if (t->stride[i] == 0 && t->shape[i] > 1)
      return ln_fail("%s_: several elements of the expanded tensor (shape %s) share one place in memory; clone() it first", c->name,
                     ln_shape_text(t->shape, t->ndim));
  return LN_OK;
}

/* The base's new history: what it was, with the view's region replaced by what `n` made. */
static int rebase(ln_tensor *view, ln_node *n) {
  ln_tensor *base = view->base;
  ln_attrs attrs = {0};
  ln_attrs_ints(&attrs, 0, view->shape, view->ndim);
  ln_attrs_ints(&attrs, 1, view->stride, view->ndim);
  ln_attrs_int(&attrs, 2, (view->data - base->data) / ln_itemsize(base));
  if (!ln_is_dense(base))
    return ln_fail("an in-place change of a view is recorded only when its base has no gaps (shape %s, stride %s)",
                   ln_shape_text(base->shape, base->ndim), ln_shape_text(base->stride, base->ndim));
  ln_node *s = ln_node_new(LN_OP_as_strided_scatter, 2, 1, 0, base->ndim + view->ndim, &attrs, 3);
  if (!s) return LN_NOMEM;
  ln_tensor *const inputs[2] = {base, view};
  note_inputs(s, &(ln_call){.n_in = 2, .in = inputs});
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

int ln_record(ln_call *c) {
  if (c->alias) {
    become_view(c->out[0], c->in[0]);
    if (!c->recording) return LN_OK;
  }
  ln_node *n;
  LN_TRY(make_node(c, &n));
  int status = LN_OK;
  if (c->target && c->target->base)
    status = rebase(c->target, n);
  else
    for (int i = 0; i < n->n_out; i++)
      if (c->out[i] && ln_is_float(c->out[i]->dtype)) ln_node_own_outputs(n, c->out[i], i);
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
  if (grad && (!ln_same_shape(t, grad) || grad->device != t->device))
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

int ln_zero_grad(ln_tensor *const *params, int n, bool set_to_none) {
  for (int i = 0; i < n; i++) {
    ln_tensor *g = params[i]->grad;
    if (!g) continue;
    if (set_to_none || g->node) {
      if (!set_to_none) {
        ln_tensor *zeros;
        LN_TRY(ln_new_like(g, g->dtype, &zeros));
        params[i]->grad = zeros;
        LN_TRY(ln_zero(zeros));
      } else {
        params[i]->grad = NULL;
      }
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

void ln_anomaly_place(const char *place) {
  ln_thread *me = ln_me();
  size_t n = place ? strlen(place) : 0;
  if (n >= sizeof me->place) n = sizeof me->place - 1;
  memcpy(me->place, place ? place : "", n);
  me->place[n] = 0;
}

/* -- Lua parts -- */

int ln_hook_attach(ln_tensor *t, int lua) {
  if (!ln_wants_grad(t)) return ln_fail("register_hook: the tensor does not require a gradient");
  LN_TRY(ln_view_refresh(t));
  int32_t *hook = t->node ? &t->node->hooks[t->output] : &t->hook;
  if (*hook) ln_dead_push(*hook);
  *hook = lua;
  return LN_OK;
}

int ln_hook_id(const ln_tensor *t) { return t->node ? t->node->hooks[t->output] : t->hook; }

int ln_function_record(int lua, const char *name, ln_tensor *const *inputs, int n_in, ln_tensor *const *outputs, int n_out, ln_tensor *const *saved,
                       int n_saved) {
  if (n_in > UINT16_MAX || n_out > UINT16_MAX || n_saved > UINT16_MAX) return ln_fail("%s: too many values", name);
  ln_call shapes = {.n_in = n_in, .in = inputs};
  ln_node *n = ln_node_new(LN_NODE_FUNCTION, n_in, n_out, n_saved, count_dims(&shapes), NULL, 0);
  if (!n) return LN_NOMEM;
  note_inputs(n, &shapes);
  n->lua = lua;
  n->name = strdup(name);
  int status = LN_OK;
  for (int i = 0; i < n_in && status == LN_OK; i++)
    if (inputs[i] && ln_wants_grad(inputs[i])) status = ln_node_link(n, i, inputs[i]);
  for (int i = 0; i < n_saved && status == LN_OK; i++) {
    int place = -1;
    for (int k = 0; k < n_out && place < 0; k++) place = saved[i] == outputs[k] ? k : -1;
    int kind = place >= 0 ? LN_SAVED_OUTPUT : LN_SAVED_INPUT;
    status = ln_node_save(n, i, saved[i], kind, place >= 0 ? place : i, saved[i]->storage->version);
  }
  for (int i = 0; i < n_out && status == LN_OK; i++)
    if (outputs[i] && ln_is_float(outputs[i]->dtype)) ln_node_own_outputs(n, outputs[i], i);
  if (status != LN_OK) n->lua = 0; /* Lua frees the closure itself */
  ln_node_release(n);
  return status;
}
