/* step.c - one node's backward: its rule, or what its callback is told and answers. */
#include "engine.h"

#include <stdlib.h>

#define SMALL 8 /* inputs that need no memory of their own */

/* What a rule needs beside the node: small cases on the stack. Inputs that were not kept are headers with geometry alone. */
typedef struct small_arrays {
  ln_tensor *in[SMALL], *out[LN_MAX_OUTPUTS], *extra[LN_MAX_EXTRAS];
  bool needs[SMALL];
  ln_tensor heads[SMALL];
} small_arrays;

typedef struct large_arrays {
  ln_tensor **in, *heads;
  bool *needs;
} large_arrays;

static void free_large(large_arrays *l) {
  free(l->in);
  free(l->heads);
  free(l->needs);
}

static int make_arrays(ln_rule *r, small_arrays *small, large_arrays *l) {
  memset(small->out, 0, sizeof small->out);
  memset(small->extra, 0, sizeof small->extra);
  size_t n = (size_t)r->n_in;
  *l = (large_arrays){small->in, small->heads, small->needs};
  if (n <= SMALL) {
    memset(small->in, 0, sizeof small->in);
    return LN_OK;
  }
  *l = (large_arrays){calloc(n, sizeof *l->in), malloc(n * sizeof *l->heads), malloc(n)};
  if (l->in && l->heads && l->needs) return LN_OK;
  free_large(l);
  return ln_fail_nomem((int64_t)(n * sizeof *l->heads));
}

static ln_tensor *geometry_of(const ln_node *n, int i, const int64_t *dims, ln_tensor *head) {
  head->refs = 1;
  head->storage = NULL;
  head->data = NULL;
  head->node = head->accumulator = NULL;
  head->base = head->grad = head->rows = NULL;
  head->flags = 0;
  head->dtype = n->dtype[i];
  head->device = n->device;
  head->ndim = n->ndim[i];
  memcpy(head->shape, dims, sizeof(int64_t) * (size_t)head->ndim);
  memcpy(head->stride, dims + head->ndim, sizeof(int64_t) * (size_t)head->ndim);
  head->numel = ln_numel(head->shape, head->ndim);
  return head;
}

static int unpack(ln_engine *e, ln_rule *r, large_arrays *l) {
  ln_node *n = e->node;
  const int64_t *dims = n->dims;
  for (int i = 0; i < n->n_saved; i++) {
    const ln_saved *s = &n->saved[i];
    ln_tensor **slot = s->kind == LN_SAVED_INPUT ? &l->in[s->index] : s->kind == LN_SAVED_OUTPUT ? &r->out[s->index] : &r->extra[s->index];
    LN_TRY(ln_node_unpack(n, i, slot));
  }
  for (int i = 0; i < n->n_in; i++) {
    l->needs[i] = ln_engine_needs(e, i);
    if (n->ndim[i] < 0) continue;
    if (!l->in[i]) l->in[i] = geometry_of(n, i, dims, &l->heads[i]);
    dims += 2 * n->ndim[i];
  }
  return LN_OK;
}

static void release_all(ln_tensor **t, int n) {
  for (int i = 0; i < n; i++)
    if (t[i] && t[i]->storage) ln_tensor_release(t[i]);
}

/* -- Gradients of parts -- */

/* Where the gradient of the input is collected, if it is there for this alone, so that a part of it can be added in place; made when there is none. */
static ln_tensor *collecting(const ln_node *n, ln_tensor **slot, int dtype) {
  const ln_tensor *t = *slot;
  if (!t) {
    ln_tensor *zeros;
    if (ln_new(n->dims, n->ndim[0], n->dtype[0], n->device, &zeros) != LN_OK) return NULL;
    if (ln_zero(zeros) == LN_OK) return *slot = zeros;
    ln_tensor_release(zeros);
    return NULL;
  }
  bool own = !t->rows && t->refs == 1 && t->storage->refs == 1 && !t->node && t->dtype == dtype && ln_is_dense(t);
  return own ? *slot : NULL;
}

/* The gradient of select, slice ... goes straight into its part of what has arrived for the input: otherwise each row of a tensor that is used row
 * by row would be a gradient as large as the tensor. False: to be done as usual. */
static bool add_part(ln_engine *e, int *status) {
  const ln_node *n = e->node;
  const ln_edge *edge = &n->edges[0];
  ln_tensor *g = n->grads[0], *part;
  if (e->create_graph || !(ln_row(n->op)->info.flags & LN_FLAG_PART) || g->dtype != n->dtype[0] || (ln_me()->mode & LN_MODE_ANOMALY)) return false;
  ln_tensor *whole = collecting(n, &edge->next->grads[edge->output], g->dtype);
  if (!whole) return false;
  *status = ln_run(n->op, &whole, 1, n->attrs, false, &part);
  if (*status != LN_OK) return true;
  ln_tensor *const in[2] = {part, g};
  *status = ln_run(LN_OP_add, in, 2, NULL, true, NULL);
  ln_tensor_release(part);
  return true;
}

/* -- Gradients that are constant as a sum of operators, but count as functions of the inputs -- */

/* dx, constant as far as operators can see, becomes a function of input i whose gradient is 0: `copy` of dx over the input. */
static int link_to_input(ln_node *n, int i, ln_tensor **dx) {
  const int64_t *dims = n->dims;
  for (int k = 0; k < i; k++) dims += n->ndim[k] < 0 ? 0 : 2 * n->ndim[k];
  ln_tensor *made = ln_alias(*dx);
  ln_node *link = made ? ln_node_new(LN_OP_copy, 2, 1, 0, 2 * n->ndim[i], NULL, 0) : NULL;
  if (link) {
    for (int k = 0; k < 2; k++) {
      link->ndim[k] = n->ndim[i];
      link->dtype[k] = n->dtype[i];
      memcpy(link->dims + 2 * k * n->ndim[i], dims, 2 * sizeof *dims * (size_t)n->ndim[i]);
    }
    link->device = n->device;
    link->edges[0] = n->edges[i];
    ln_node_retain(link->edges[0].next);
    ln_node_own_outputs(link, made, 0);
    ln_node_release(link);
    ln_tensor_release(*dx);
    *dx = made;
    return LN_OK;
  }
  if (made) ln_tensor_release(made);
  return LN_NOMEM;
}

static int link_all(ln_engine *e) {
  ln_node *n = e->node;
  for (int i = 0; i < n->n_in; i++)
    if (e->dx[i] && n->edges[i].next && !ln_wants_grad(e->dx[i])) LN_TRY(link_to_input(n, i, &e->dx[i]));
  return LN_OK;
}

int ln_engine_backward(ln_engine *e) {
  static const ln_attrs none;
  int part_status = LN_OK;
  if (add_part(e, &part_status)) return part_status;
  ln_node *n = e->node;
  small_arrays small;
  large_arrays l;
  ln_rule r;
  r.row = ln_row(n->op);
  r.name = r.row->info.public_name;
  r.op = n->op;
  r.device = n->device;
  r.n_in = n->n_in;
  r.attrs = n->attrs ? n->attrs : &none;
  r.out = small.out;
  r.extra = small.extra;
  r.target = NULL;
  r.recording = r.alias = false;
  r.g = n->grads;
  r.dx = e->dx;
  r_begin(&r);
  LN_TRY(make_arrays(&r, &small, &l));
  r.in = l.in;
  r.needs = l.needs;
  r.status = unpack(e, &r, &l);
  bool text = !r.row->backward || (e->create_graph && (r.row->gradient_text || r.row->info.kind != LN_STRUCTURED));
  if (r.status == LN_OK) (text ? ln_text_backward : r.row->backward)(&r);
  r_end(&r);
  release_all(l.in, n->n_in);
  release_all(small.out, LN_MAX_OUTPUTS);
  release_all(small.extra, LN_MAX_EXTRAS);
  if (l.in != small.in) free_large(&l);
  return r.status == LN_OK && e->create_graph && (r.row->info.flags & LN_FLAG_LINKED) ? link_all(e) : r.status;
}

/* -- What Lua asks while the engine waits -- */

int ln_engine_stop(ln_engine *e, int64_t *callback, int *n_in, int *n_out) {
  const ln_node *n = e->node;
  *callback = 0;
  if (!e->stop) return 0;
  bool hooks = e->stop == LN_STOP_HOOKS;
  *callback = hooks ? (n->leaf ? n->leaf->hook : n->hooks[e->output]) : n->callback;
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
  int at = e->stop == LN_STOP_HOOKS ? e->output : i;
  if (at < 0 || at >= e->node->n_out) return ln_fail("there is no gradient %d", i);
  hand(e->node->grads[at], out);
  return LN_OK;
}

/* The i-th saved value of a Function. */
int ln_engine_saved(ln_engine *e, int i, ln_tensor **out) {
  ln_node *n = e->node;
  *out = NULL;
  if (!e->stop) return ln_fail("the engine does not wait");
  if (i < 0 || i >= n->n_saved) return LN_OK;
  LN_TRY(ln_node_unpack(n, i, out));
  ln_hand_out(*out);
  return LN_OK;
}

bool ln_engine_needs(ln_engine *e, int i) {
  const ln_node *next = i >= 0 && i < e->node->n_in ? e->node->edges[i].next : NULL;
  return next && next->wanted;
}

static int input_shape(const ln_engine *e, int i, int64_t *shape) {
  const ln_node *n = e->node;
  const int64_t *dims = n->dims;
  if (i < 0 || i >= n->n_in || n->ndim[i] < 0) return -1;
  for (int k = 0; k < i; k++) dims += n->ndim[k] < 0 ? 0 : 2 * n->ndim[k];
  memcpy(shape, dims, sizeof(int64_t) * (size_t)n->ndim[i]);
  return n->ndim[i];
}

static bool fits(ln_engine *e, int i, const ln_tensor *grad) {
  int64_t shape[16];
  int ndim = input_shape(e, i, shape);
  return grad->ndim == ndim && ln_same_dims(grad->shape, shape, grad->ndim);
}

/* Shape and dtype of gradients, of which either may be row-sparse. */
static bool alike(const ln_tensor *a, const ln_tensor *b) {
  ln_tensor whole = *b;
  if (b->rows) whole.shape[0] = b->n_rows;
  return ln_gradient_fits(&whole, a) && a->dtype == b->dtype;
}

int ln_engine_answer(ln_engine *e, int i, ln_tensor *grad) {
  if (!e->stop) return ln_fail("the engine does not wait");
  ln_node *n = e->node;
  bool hooks = e->stop == LN_STOP_HOOKS;
  if (i < 0 || i >= (hooks ? 1 : n->n_in)) return ln_fail("backward of %s: there is no input %d", ln_node_name(n), i);
  ln_tensor **slot = hooks ? &n->grads[e->output] : &e->dx[i];
  if (!hooks && grad && !fits(e, i, grad))
    return ln_fail("backward of %s: the gradient of input %d has shape %s, which is not the input's", ln_node_name(n), i,
                   ln_shape_text(grad->shape, grad->ndim));
  if (hooks && grad && *slot && !alike(grad, *slot))
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
