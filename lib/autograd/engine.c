/* engine.c - the backward pass: a state machine that runs until it is done or needs Lua, and goes on where it stopped. */
#include "engine.h"

#include <math.h>
#include <stdlib.h>

/* -- Gradients meeting -- */

static bool unshared(const ln_tensor *t) { return t->refs == 1 && t->storage->refs == 1 && !t->node; }

/* The operator, or its kernel at once where nothing is left to resolve: this runs for every parameter of every step. */
static int add_into(ln_tensor *sum, ln_tensor *g) {
  ln_tensor *const in[3] = {sum, sum, g};
  bool alike = ln_same_shape(sum, g) && sum->dtype == g->dtype && sum->device == g->device && sum->storage != g->storage && sum->numel > 0;
  if (!alike || !ln_is_float(sum->dtype) || !ln_is_dense(sum)) return ln_run(LN_OP_add, in + 1, 2, NULL, true, NULL);
  static const double attrs[3] = {1}; /* alpha */
  ln_pointwise work;
  work.row = ln_row(LN_OP_add)->pointwise;
  work.pass = 0;
  work.dtype = sum->dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32;
  work.attrs = attrs;
  ln_loop_init_any_order(&work.loop, in, 3);
  sum->storage->version++;
  return ln_kernel_status("add", ln_kernels_of(sum->device)->pointwise(&work, sum->device));
}

static int add(ln_tensor *a, ln_tensor *g, ln_tensor **out) {
  ln_tensor *const in[2] = {a, g};
  return ln_run(LN_OP_add, in, 2, NULL, false, out);
}

/* The sum of two gradients of a leaf of which one at least is row-sparse: so is the sum when both are. */
static int add_sparse(ln_tensor *a, ln_tensor *b, ln_tensor **out) {
  ln_tensor *dense;
  if (a->rows && b->rows) return ln_sparse_join(a, b, out);
  LN_TRY(ln_sparse_dense(a->rows ? a : b, &dense));
  int status = add(a->rows ? b : a, dense, out);
  ln_tensor_release(dense);
  return status;
}

int ln_engine_add(ln_engine *e, ln_node *n, int output, ln_tensor *g) {
  ln_tensor **slot = &n->grads[output];
  int status = LN_OK;
  if (!*slot) {
    *slot = g;
    return LN_OK;
  }
  bool sparse = (*slot)->rows || g->rows;
  if (!sparse && !e->create_graph && unshared(*slot) && ln_is_dense(*slot)) {
    status = add_into(*slot, g);
  } else {
    ln_tensor *sum;
    status = (sparse ? add_sparse : add)(*slot, g, &sum);
    if (status == LN_OK) {
      ln_tensor_release(*slot);
      *slot = sum;
    }
  }
  ln_tensor_release(g);
  return status;
}

/* The layout of a gradient is its leaf's. */
static bool follows(const ln_tensor *g, const ln_tensor *leaf) {
  if (!ln_is_dense(leaf)) return ln_tensor_is_contiguous(g);
  for (int i = 0; i < g->ndim; i++)
    if (g->shape[i] > 1 && g->stride[i] != leaf->stride[i]) return false;
  return true;
}

static int own_copy(const ln_tensor *leaf, ln_tensor *g, ln_tensor **out) {
  LN_TRY(ln_new_strided(leaf->shape, ln_is_dense(leaf) ? leaf->stride : NULL, leaf->ndim, leaf->dtype, leaf->device, out));
  int status = ln_copy_into(*out, g);
  if (status != LN_OK) ln_tensor_release(*out);
  return status;
}

/* Adding to what zero_grad has filled is taking over the memory of g. */
static bool take_over(ln_tensor *grad, ln_tensor *g) {
  ln_storage *old = grad->storage, *fresh = g->storage;
  bool zero = old->zero_at && old->zero_at == old->version && old->refs == 1 && old->bytes == fresh->bytes && old->device == fresh->device;
  if (!zero || !unshared(g) || g->dtype != grad->dtype || g->data != fresh->data || !ln_same_dims(g->stride, grad->stride, g->ndim)) return false;
  fresh->version = old->version + 1;
  fresh->zero_at = 0;
  grad->storage = fresh;
  grad->data = fresh->data;
  g->storage = old;
  g->data = old->data;
  return true;
}

static int own_sparse(ln_tensor *g, ln_tensor **out) {
  ln_tensor *values;
  LN_TRY(ln_run(LN_OP_clone, &g, 1, NULL, false, &values));
  int status = ln_sparse_make(values, g->rows, g->n_rows, g->flags & LN_COALESCED, out);
  ln_tensor_release(values);
  return status;
}

static int accumulate_sparse(ln_tensor *leaf, ln_tensor *g) {
  ln_tensor *grad;
  LN_TRY(leaf->grad ? add_sparse(leaf->grad, g, &grad) : own_sparse(g, &grad));
  if (leaf->grad) ln_tensor_release(leaf->grad);
  leaf->grad = grad;
  return LN_OK;
}

int ln_engine_accumulate(ln_engine *e, ln_tensor *leaf, ln_tensor *g) {
  if (!ln_gradient_fits(leaf, g))
    return ln_fail("backward: a gradient of shape %s reached a leaf of shape %s", ln_shape_text(g->shape, g->ndim),
                   ln_shape_text(leaf->shape, leaf->ndim));
  if (g->rows || (leaf->grad && leaf->grad->rows)) return accumulate_sparse(leaf, g);
  if (leaf->grad && !e->create_graph && !leaf->grad->node) return take_over(leaf->grad, g) ? LN_OK : add_into(leaf->grad, g);
  ln_tensor *grad;
  if (leaf->grad) {
    LN_TRY(add(leaf->grad, g, &grad));
  } else if (e->create_graph || (unshared(g) && follows(g, leaf) && g->dtype == leaf->dtype)) {
    ln_tensor_retain(g);
    grad = g;
  } else {
    LN_TRY(own_copy(leaf, g, &grad));
  }
  if (leaf->grad) ln_tensor_release(leaf->grad);
  leaf->grad = grad;
  return LN_OK;
}

/* -- One node -- */

static bool any_gradient(const ln_node *n) {
  for (int i = 0; i < n->n_out; i++)
    if (n->grads[i]) return true;
  return false;
}

static int64_t hook_of(const ln_node *n, int output) { return n->leaf ? n->leaf->hook : n->hooks[output]; }

/* Stops at the next hook; false when there is none left. */
static bool stop_at_hook(ln_engine *e) {
  for (; e->output < e->node->n_out; e->output++) {
    if (!hook_of(e->node, e->output) || !e->node->grads[e->output]) continue;
    e->stop = LN_STOP_HOOKS;
    return true;
  }
  return false;
}

/* What was asked for is kept: wishes, retained gradients, leaves. */
static int keep(ln_engine *e) {
  ln_node *n = e->node;
  for (int i = 0; i < e->n_wishes; i++) {
    ln_wish *w = &e->wishes[i];
    if (w->node != n || !n->grads[w->output] || w->result) continue;
    ln_tensor_retain(n->grads[w->output]);
    w->result = n->grads[w->output];
  }
  for (int i = 0; n->retained && i < n->n_out; i++)
    if (n->retained[i] && n->grads[i]) LN_TRY(ln_engine_accumulate(e, n->retained[i], n->grads[i]));
  return n->leaf && n->grads[0] && e->accumulate ? ln_engine_accumulate(e, n->leaf, n->grads[0]) : LN_OK;
}

/* Room for the gradients of the node's inputs, all NULL. */
static int prepare_dx(ln_engine *e) {
  int had = e->dx_capacity;
  if (!ln_grow(&e->dx, &e->dx_capacity, e->node->n_in + 1, sizeof *e->dx)) return ln_fail_nomem(64);
  if (had < e->dx_capacity) memset(e->dx + had, 0, sizeof *e->dx * (size_t)(e->dx_capacity - had));
  return LN_OK;
}

static int check_nan(ln_engine *e) {
  const ln_node *n = e->node;
  for (int i = 0; i < n->n_in; i++) {
    ln_tensor *bad, *count;
    if (!e->dx[i] || !ln_is_float(e->dx[i]->dtype)) continue;
    LN_TRY(ln_run(LN_OP_isnan, &e->dx[i], 1, NULL, false, &bad));
    int status = ln_run(LN_OP_any, &bad, 1, NULL, false, &count);
    ln_tensor_release(bad);
    if (status != LN_OK) return status;
    double number = 0;
    int64_t whole = 0;
    status = ln_tensor_item(count, &number, &whole);
    ln_tensor_release(count);
    if (status != LN_OK) return status;
    if (whole)
      return ln_fail("backward of %s: the gradient of input %d is nan; the operator was called at %s", ln_node_name(n), i,
                     n->location ? n->location : "an unknown line");
  }
  return LN_OK;
}

/* Gradients go to the next nodes; who has them all is ready. */
static int deliver(ln_engine *e) {
  ln_node *n = e->node;
  int status = LN_OK;
  if (ln_me()->mode & LN_MODE_ANOMALY) status = check_nan(e);
  for (int i = 0; i < n->n_in; i++) {
    ln_node *next = n->edges[i].next;
    ln_tensor *g = e->dx[i];
    e->dx[i] = NULL;
    if (g && (!next || !next->wanted || status != LN_OK)) {
      ln_tensor_release(g);
      g = NULL;
    }
    if (!next || status != LN_OK) continue;
    if (g) status = ln_engine_add(e, next, n->edges[i].output, g);
    if (--next->waiting == 0 && status == LN_OK) status = ln_engine_ready(e, next);
  }
  for (int i = 0; i < n->n_out; i++) {
    if (n->grads[i]) ln_tensor_release(n->grads[i]);
    n->grads[i] = NULL;
  }
  if (!e->retain_graph && n->op != LN_NODE_ACCUMULATE) {
    ln_node_drop_saved(n);
    n->released = true;
  }
  return status;
}

static bool useful(const ln_engine *e, const ln_node *n) {
  if (!n->wanted || !any_gradient(n)) return false;
  for (int i = 0; i < n->n_in; i++)
    if (n->edges[i].next && (n->edges[i].next->wanted || e->n_wishes == 0)) return true;
  return false;
}

/* Runs the node's rule, or says that Lua has to. */
static int run_rule(ln_engine *e) {
  ln_node *n = e->node;
  LN_TRY(prepare_dx(e));
  if (n->op == LN_NODE_ACCUMULATE || !useful(e, n)) return LN_OK;
  if (n->released)
    return ln_fail("backward of %s: its saved values were freed by an earlier backward; say retain_graph = true there to pass a second time",
                   ln_node_name(n));
  if (n->op == LN_NODE_FUNCTION) {
    e->stop = LN_STOP_FUNCTION;
    return LN_NEEDS_LUA;
  }
  return ln_engine_backward(e);
}

static int step(ln_engine *e) {
  switch (e->stage) {
  case LN_STAGE_NEXT:
    e->node = ln_engine_pop(e);
    e->stage = LN_STAGE_HOOKS;
    e->output = 0;
    return LN_OK;
  case LN_STAGE_HOOKS:
    if (e->node->wanted && stop_at_hook(e)) return LN_NEEDS_LUA;
    e->stage = LN_STAGE_KEEP;
    return LN_OK;
  case LN_STAGE_KEEP: e->stage = LN_STAGE_BACKWARD; return e->node->wanted ? keep(e) : LN_OK;
  case LN_STAGE_BACKWARD: e->stage = LN_STAGE_DELIVER; return run_rule(e);
  default: e->stage = LN_STAGE_NEXT; return deliver(e);
  }
}

int ln_engine_run(ln_engine *e) {
  if (e->covered)
    return ln_fail(
      "backward: another pass over the same graph was begun in a hook or a custom Function and has not ended; a coroutine that yields in a "
      "pass must be resumed to its end first");
  int former = ln_mode_set((ln_mode_get() & ~LN_MODE_GRAD) | (e->create_graph ? LN_MODE_GRAD : 0));
  int status = LN_OK;
  if (e->stop == LN_STOP_HOOKS) e->output++;
  e->stop = 0;
  while (status == LN_OK && (e->n_ready > 0 || e->stage != LN_STAGE_NEXT)) status = step(e);
  ln_mode_set(former);
  return status;
}

/* -- Beginning and end -- */

static int check_root(ln_tensor *root, ln_tensor *g) {
  if (!ln_wants_grad(root))
    return ln_fail("backward: the tensor (shape %s) does not require a gradient and has no history", ln_shape_text(root->shape, root->ndim));
  if (!g && root->numel != 1)
    return ln_fail("backward: a gradient must be given for an output of shape %s; only for a single number is it 1",
                   ln_shape_text(root->shape, root->ndim));
  if (g && !ln_same_shape(root, g))
    return ln_fail("backward: the gradient has shape %s, the output %s", ln_shape_text(g->shape, g->ndim), ln_shape_text(root->shape, root->ndim));
  if (g && g->dtype != root->dtype)
    return ln_fail("backward: the gradient is %s, the output %s", ln_dtype_name(g->dtype), ln_dtype_name(root->dtype));
  if (g && g->device != root->device) return ln_fail("backward: the gradient is on another device than the output");
  return LN_OK;
}

static int ones_like(ln_tensor *t, ln_tensor **out) {
  static const double one = 1;
  LN_TRY(ln_new_like(t, t->dtype, out));
  int status = ln_fill_number(*out, false, &one);
  if (status != LN_OK) ln_tensor_release(*out);
  return status;
}

static int add_wishes(ln_engine *e, ln_tensor *const *inputs, int n) {
  if (!ln_grow(&e->wishes, &e->wish_capacity, n, sizeof *e->wishes)) return ln_fail_nomem(n * (int64_t)sizeof *e->wishes);
  for (int i = 0; i < n; i++) {
    ln_wish *w = &e->wishes[e->n_wishes++];
    *w = (ln_wish){NULL, 0, NULL};
    LN_TRY(ln_node_gradient_source(inputs[i], &w->node, &w->output));
    if (!w->node) return ln_fail("backward: input %d (shape %s) does not require a gradient", i, ln_shape_text(inputs[i]->shape, inputs[i]->ndim));
  }
  return LN_OK;
}

static int add_roots(ln_engine *e, ln_tensor *const *roots, ln_tensor *const *grads, int n) {
  if (!ln_grow(&e->roots, &e->root_capacity, n, sizeof *e->roots)) return ln_fail_nomem(n * (int64_t)sizeof *e->roots);
  for (int i = 0; i < n; i++) {
    ln_root *r = &e->roots[i];
    LN_TRY(check_root(roots[i], grads ? grads[i] : NULL));
    LN_TRY(ln_node_gradient_source(roots[i], &r->node, &r->output));
    e->n_roots++;
  }
  return LN_OK;
}

static int begin(ln_engine *e, ln_tensor *const *roots, ln_tensor *const *grads, int n, ln_tensor *const *inputs, int n_inputs) {
  LN_TRY(add_wishes(e, inputs, n_inputs));
  LN_TRY(add_roots(e, roots, grads, n));
  for (int i = 0; i < e->n_wishes; i++) e->wishes[i].node->wish = true;
  int status = ln_engine_plan(e);
  for (int i = 0; i < e->n_wishes; i++) e->wishes[i].node->wish = false;
  for (int i = 0; i < n && status == LN_OK; i++) {
    ln_tensor *g = grads ? grads[i] : NULL;
    if (g)
      ln_tensor_retain(g);
    else
      status = ones_like(roots[i], &g);
    if (status == LN_OK) status = ln_engine_add(e, e->roots[i].node, e->roots[i].output, g);
  }
  for (int i = 0; i < n && status == LN_OK; i++)
    if (e->roots[i].node->waiting == 0) status = ln_engine_ready(e, e->roots[i].node);
  return status;
}

/* A thread keeps one engine with its arrays for the next pass. */
static ln_engine *engine_take(void) {
  ln_thread *me = ln_me();
  ln_engine *e = me->spare_engine;
  me->spare_engine = NULL;
  return e ? e : calloc(1, sizeof *e);
}

int ln_engine_start(ln_tensor *const *roots, ln_tensor *const *grads, int n, bool retain_graph, bool create_graph, ln_tensor *const *inputs,
                    int n_inputs, bool accumulate, ln_engine **out) {
  ln_thread *me = ln_me();
  ln_engine *e = engine_take();
  if (!e) return ln_fail_nomem(sizeof *e);
  e->id = ++me->engine_count;
  e->next = me->engines;
  me->engines = e;
  e->retain_graph = retain_graph || create_graph;
  e->create_graph = create_graph;
  e->accumulate = accumulate;
  int former = ln_mode_set((ln_mode_get() & ~LN_MODE_GRAD) | (create_graph ? LN_MODE_GRAD : 0));
  int status = begin(e, roots, grads, n, inputs, n_inputs);
  ln_mode_set(former);
  if (status != LN_OK) {
    ln_engine_free(e);
    return status;
  }
  *out = e;
  return LN_OK;
}

ln_engine *ln_engine_numbered(uint64_t id) {
  ln_engine *e = ln_me()->engines;
  while (e && e->id != id) e = e->next;
  return e;
}

/* Where a later engine keeps what this one noted in a node; NULL when none does. */
static ln_spilled *kept_by_later(const ln_engine *e, const ln_node *n) {
  for (ln_engine *later = ln_me()->engines; later != e; later = later->next)
    for (int i = 0; i < later->n_spilled; i++)
      if (later->spilled[i].node == n && later->spilled[i].engine == e->id) return &later->spilled[i];
  return NULL;
}

static void give_back(const ln_spilled *s) {
  ln_node *n = s->node;
  n->engine = s->engine;
  n->waiting = s->waiting;
  n->queued = s->queued;
  n->wanted = s->wanted;
  memcpy(n->grads, s->grads, sizeof *s->grads * n->n_out);
  if (s->engine) ln_engine_numbered(s->engine)->covered--;
}

/* The engine's notes in a node go, and those of an earlier one, if there was any, take their place: in the node, or where a later engine keeps them. */
static void leave(const ln_engine *e, ln_node *n, const ln_spilled *earlier) {
  ln_spilled *kept = n->engine == e->id ? NULL : kept_by_later(e, n);
  if (!kept && n->engine != e->id) return; /* left before */
  ln_tensor **grads = kept ? kept->grads : n->grads;
  for (int i = 0; i < n->n_out; i++) {
    if (grads[i]) ln_tensor_release(grads[i]);
    grads[i] = NULL;
  }
  if (kept && earlier) {
    memcpy(grads, earlier->grads, sizeof *grads * n->n_out);
    *kept = *earlier;
    kept->grads = grads;
  } else if (kept) {
    kept->engine = 0;
  } else if (earlier) {
    give_back(earlier);
  } else {
    n->engine = 0;
  }
}

/* Lets go of everything but the arrays. */
static void engine_clear(ln_engine *e) {
  for (int i = 0; i < e->n_spilled; i++) {
    leave(e, e->spilled[i].node, &e->spilled[i]);
    free(e->spilled[i].grads);
  }
  for (int i = 0; i < e->n_seen; i++) leave(e, e->seen[i], NULL);
  for (int i = 0; i < e->dx_capacity; i++) {
    if (e->dx[i]) ln_tensor_release(e->dx[i]);
    e->dx[i] = NULL;
  }
  for (int i = 0; i < e->n_wishes; i++) {
    if (e->wishes[i].result) ln_tensor_release(e->wishes[i].result);
    if (e->wishes[i].node) ln_node_release(e->wishes[i].node);
  }
  for (int i = 0; i < e->n_roots; i++) ln_node_release(e->roots[i].node);
  e->n_seen = e->n_spilled = e->n_wishes = e->n_roots = e->n_ready = 0;
  e->node = NULL;
  e->stage = LN_STAGE_NEXT;
  e->stop = e->output = e->covered = 0;
}

void ln_engine_drop(ln_engine *e) {
  if (!e) return;
  free(e->roots);
  free(e->ready);
  free(e->seen);
  free(e->stack);
  free(e->spilled);
  free(e->wishes);
  free(e->dx);
  free(e);
}

void ln_engine_free(ln_engine *e) {
  ln_thread *me = ln_me();
  if (!e) return;
  engine_clear(e);
  ln_engine **link = &me->engines;
  while (*link != e) link = &(*link)->next;
  *link = e->next;
  bool large = e->seen_capacity > 4096 || e->dx_capacity > 4096; /* the arrays of a large graph would be held, and looked through, for ever */
  if (me->spare_engine || large)
    ln_engine_drop(e);
  else
    me->spare_engine = e;
}

int ln_backward(ln_tensor *root, ln_tensor *grad, ln_engine **waiting) {
  ln_engine *e;
  *waiting = NULL;
  LN_TRY(ln_engine_start(&root, grad ? &grad : NULL, 1, false, false, NULL, 0, true, &e));
  int status = ln_engine_run(e);
  if (status == LN_NEEDS_LUA)
    *waiting = e;
  else
    ln_engine_free(e);
  return status;
}
