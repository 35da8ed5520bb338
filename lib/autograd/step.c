/* step.c - one node's backward: its rule in C, or its parts handed to Lua. */
#include "engine.h"

#include <stdlib.h>

#define SMALL 8 /* inputs that need no memory of their own */

/* Room for a rule: small cases on the stack. */
typedef struct room {
  ln_tensor *in[SMALL], *out[LN_MAX_OUTPUTS], *extra[LN_MAX_EXTRAS], *dx[SMALL];
  int64_t shape[SMALL][16], stride[SMALL][16];
  bool needs[SMALL];
  void *large;
} room;

static int make_room(ln_back *b, room *r, int n) {
  memset(r->out, 0, sizeof r->out);
  memset(r->extra, 0, sizeof r->extra);
  memset(r->in, 0, sizeof r->in);
  r->large = NULL;
  b->in = r->in;
  b->out = r->out;
  b->extra = r->extra;
  b->shape = (const int64_t(*)[16])r->shape;
  b->stride = (const int64_t(*)[16])r->stride;
  b->needs = r->needs;
  if (n <= SMALL) return LN_OK;
  size_t each = 32 * sizeof(int64_t) + sizeof(ln_tensor *) + sizeof(bool);
  char *p = r->large = calloc((size_t)n, each);
  if (!p) return ln_fail_nomem((int64_t)(each * (size_t)n));
  b->shape = (const int64_t(*)[16])p;
  b->stride = (const int64_t(*)[16])(p += 16 * sizeof(int64_t) * (size_t)n);
  b->in = (ln_tensor **)(p += 16 * sizeof(int64_t) * (size_t)n);
  b->needs = (bool *)(p + sizeof(ln_tensor *) * (size_t)n);
  return LN_OK;
}

static int fill(ln_engine *e, ln_back *b) {
  ln_node *n = e->node;
  const int64_t *dims = n->dims;
  for (int i = 0; i < n->n_in; i++) {
    int ndim = n->ndim[i] < 0 ? 0 : n->ndim[i];
    memcpy((int64_t *)b->shape[i], dims, sizeof(int64_t) * (size_t)ndim);
    memcpy((int64_t *)b->stride[i], dims + ndim, sizeof(int64_t) * (size_t)ndim);
    dims += 2 * ndim;
    b->needs[i] = ln_engine_needs(e, i);
  }
  for (int i = 0; i < n->n_saved; i++) {
    const ln_saved *s = &n->saved[i];
    ln_tensor **slot = s->kind == LN_SAVED_INPUT ? &b->in[s->place] : s->kind == LN_SAVED_OUTPUT ? &b->out[s->place] : &b->extra[s->place];
    LN_TRY(ln_node_unpack(n, i, slot));
  }
  return LN_OK;
}

static void release_all(ln_tensor **t, int n) {
  for (int i = 0; i < n; i++)
    if (t[i]) ln_tensor_release(t[i]);
}

int ln_engine_backward(ln_engine *e) {
  ln_node *n = e->node;
  room r;
  ln_back b;
  b.node = n;
  b.name = ln_node_name(n);
  static const ln_attrs none;
  b.attrs = n->attrs ? n->attrs : &none;
  b.n_in = n->n_in;
  b.n_out = n->n_out;
  b.g = n->grads;
  b.ndim = n->ndim;
  b.dtype = n->dtype;
  b.dx = e->dx;
  b.device = n->device;
  b.n_temps = 0;
  b.status = make_room(&b, &r, n->n_in);
  if (b.status == LN_OK) b.status = fill(e, &b);
  const ln_op_row *row = ln_row(n->op);
  if (b.status == LN_OK) (e->create_graph && row->backward_any ? row->backward_any : row->backward)(&b);
  release_all(b.temps, b.n_temps);
  release_all(b.in, r.large || n->n_in <= SMALL ? n->n_in : 0);
  release_all(r.out, LN_MAX_OUTPUTS);
  release_all(r.extra, LN_MAX_EXTRAS);
  free(r.large);
  return b.status;
}

/* -- What Lua asks while the engine waits -- */

int ln_engine_stop(ln_engine *e, int *lua, int *op, int *n_in, int *n_out) {
  const ln_node *n = e->node;
  *lua = 0;
  if (!e->stop) return 0;
  bool hooks = e->stop == LN_STOP_HOOKS;
  *lua = hooks ? (n->leaf ? n->leaf->hook : n->hooks[e->place]) : n->lua;
  *op = n->op;
  *n_in = hooks ? 1 : n->n_in;
  *n_out = hooks ? 1 : n->n_out;
  return e->stop;
}

static void hand(ln_tensor *t, ln_tensor **out) {
  *out = t;
  if (!t) return;
  ln_tensor_retain(t);
  ln_hand_out(t);
}

int ln_engine_gradient(ln_engine *e, int i, ln_tensor **out) {
  if (!e->stop) return ln_fail("the engine does not wait");
  int at = e->stop == LN_STOP_HOOKS ? e->place : i;
  if (at < 0 || at >= e->node->n_out) return ln_fail("there is no gradient %d", i);
  hand(e->node->grads[at], out);
  return LN_OK;
}

/* For a formula: i < n_in an input, n_in the output. For a Function: the i-th saved value. */
int ln_engine_saved(ln_engine *e, int i, ln_tensor **out) {
  ln_node *n = e->node;
  *out = NULL;
  if (!e->stop) return ln_fail("the engine does not wait");
  for (int k = 0; k < n->n_saved; k++) {
    const ln_saved *s = &n->saved[k];
    int at = e->stop == LN_STOP_FUNCTION ? k : s->kind == LN_SAVED_OUTPUT ? n->n_in : s->place;
    if (at != i) continue;
    LN_TRY(ln_node_unpack(n, k, out));
    ln_hand_out(*out);
    return LN_OK;
  }
  return LN_OK;
}

bool ln_engine_needs(ln_engine *e, int i) {
  const ln_node *next = i >= 0 && i < e->node->n_in ? e->node->edges[i].next : NULL;
  return next && next->wanted;
}

const ln_attrs *ln_engine_attrs(ln_engine *e) { return e->node->attrs; }

int ln_engine_input(ln_engine *e, int i, int64_t *shape, int *dtype) {
  const ln_node *n = e->node;
  const int64_t *dims = n->dims;
  if (i < 0 || i >= n->n_in || n->ndim[i] < 0) return -1;
  for (int k = 0; k < i; k++) dims += n->ndim[k] < 0 ? 0 : 2 * n->ndim[k];
  memcpy(shape, dims, sizeof(int64_t) * (size_t)n->ndim[i]);
  *dtype = n->dtype[i];
  return n->ndim[i];
}

static bool fits(ln_engine *e, int i, const ln_tensor *grad) {
  int64_t shape[16];
  int dtype, ndim = ln_engine_input(e, i, shape, &dtype);
  return grad->ndim == ndim && ln_same_dims(grad->shape, shape, grad->ndim);
}

int ln_engine_answer(ln_engine *e, int i, ln_tensor *grad) {
  if (!e->stop) return ln_fail("the engine does not wait");
  ln_node *n = e->node;
  bool hooks = e->stop == LN_STOP_HOOKS;
  if (i < 0 || i >= (hooks ? 1 : n->n_in)) return ln_fail("backward of %s: there is no input %d", ln_node_name(n), i);
  ln_tensor **slot = hooks ? &n->grads[e->place] : &e->dx[i];
  if (!hooks && grad && !fits(e, i, grad))
    return ln_fail("backward of %s: the gradient of input %d has shape %s, which is not the input's", ln_node_name(n), i,
                   ln_shape_text(grad->shape, grad->ndim));
  if (hooks && grad && *slot && (!ln_same_shape(grad, *slot) || grad->dtype != (*slot)->dtype))
    return ln_fail("a hook must keep shape and dtype: it got %s %s and returned %s %s", ln_dtype_name((*slot)->dtype),
                   ln_shape_text((*slot)->shape, (*slot)->ndim), ln_dtype_name(grad->dtype), ln_shape_text(grad->shape, grad->ndim));
  if (grad) ln_tensor_retain(grad);
  if (*slot) ln_tensor_release(*slot);
  *slot = grad;
  return LN_OK;
}

int ln_engine_result(ln_engine *e, int i, ln_tensor **out) {
  if (i < 0 || i >= e->n_wishes) return ln_fail("there is no result %d", i);
  hand(e->wishes[i].result, out);
  return LN_OK;
}
