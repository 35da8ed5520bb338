/* node.c - nodes: made, linked, saved into, freed without recursion. */
#include "node.h"

#include <stdlib.h>

static size_t attrs_bytes(const ln_attrs *attrs, int n_slots) {
  if (!attrs || n_slots == 0) return 0;
  if (attrs->pool_used) return offsetof(ln_attrs, pool) + sizeof(int64_t) * (size_t)attrs->pool_used;
  return offsetof(ln_attrs, slot) + sizeof(ln_slot) * (size_t)n_slots;
}

static size_t align8(size_t n) { return (n + 7) & ~(size_t)7; }

ln_node *ln_node_new(int op, int n_in, int n_out, int n_saved, int n_dims, const ln_attrs *attrs, int n_slots) {
  size_t edges = sizeof(ln_edge) * (size_t)n_in, saved = sizeof(ln_saved) * (size_t)n_saved, grads = sizeof(ln_tensor *) * (size_t)n_out;
  size_t hooks = sizeof(int64_t) * (size_t)n_out, meta = align8(2 * sizeof(int32_t) * (size_t)n_in);
  size_t dims = 2 * sizeof(int64_t) * (size_t)n_dims, at_bytes = attrs_bytes(attrs, n_slots);
  size_t bytes = sizeof(ln_node) + edges + saved + grads + hooks + meta + dims + at_bytes;
  void *block;
  if (ln_block_status(ln_block_alloc(LN_CPU, bytes, &block), bytes) != LN_OK) return NULL;
  char *p = block;
  memset(p, 0, bytes - dims - at_bytes);
  ln_thread *me = ln_me();
  ln_node *n = (ln_node *)p;
  n->refs = 1;
  n->op = op;
  n->sequence = ++me->next_sequence;
  n->bytes = (int32_t)bytes;
  n->n_in = n_in;
  n->n_out = (uint16_t)n_out;
  n->n_saved = n_saved;
  p += sizeof(ln_node);
  n->edges = (ln_edge *)p;
  n->saved = (ln_saved *)(p += edges);
  n->grads = (ln_tensor **)(p += saved);
  n->hooks = (int64_t *)(p += grads);
  n->ndim = (int32_t *)(p += hooks);
  n->dtype = n->ndim + n_in;
  n->dims = (int64_t *)(p += meta);
  if (at_bytes) n->attrs = memcpy(p + dims, attrs, at_bytes);
  if ((me->mode & LN_MODE_ANOMALY) && me->location[0]) n->location = strdup(me->location);
  me->memory.nodes++;
  return n;
}

const char *ln_node_name(const ln_node *n) {
  if (n->op == LN_NODE_ACCUMULATE) return "accumulate";
  return n->op == LN_NODE_FUNCTION ? n->name : ln_row(n->op)->info.name;
}

void ln_node_retain(ln_node *n) { n->refs++; }

int64_t ln_callback_number(void) { return ++ln_me()->last_callback; }

void ln_dead_push(int64_t callback) {
  ln_thread *me = ln_me();
  if (ln_grow(&me->dead, &me->dead_capacity, me->n_dead + 1, sizeof *me->dead)) me->dead[me->n_dead++] = callback;
}

int ln_dead_callbacks(int64_t *numbers, int capacity) {
  ln_thread *me = ln_me();
  int n = me->n_dead < capacity ? me->n_dead : capacity;
  me->n_dead -= n;
  if (n > 0) memcpy(numbers, me->dead + me->n_dead, sizeof *numbers * (size_t)n);
  return n;
}

/* Nodes waiting to be freed hang together by `engine`: freeing one may release the next, which is appended and not descended into. */
static _Thread_local ln_node *doomed __attribute__((tls_model("initial-exec")));
static _Thread_local bool freeing __attribute__((tls_model("initial-exec")));

static void free_one(ln_node *n) {
  for (int i = 0; i < n->n_in; i++)
    if (n->edges[i].next) ln_node_release(n->edges[i].next);
  ln_node_drop_saved(n);
  for (int i = 0; i < n->n_out; i++) {
    if (n->grads[i]) ln_tensor_release(n->grads[i]);
    if (n->hooks[i]) ln_dead_push(n->hooks[i]);
  }
  if (n->callback) ln_dead_push(n->callback);
  if (n->leaf) {
    n->leaf->accumulator = NULL;
    ln_tensor_release(n->leaf);
  }
  for (int i = 0; n->retained && i < n->n_out; i++)
    if (n->retained[i]) n->retained[i]->flags &= ~LN_RETAIN_GRAD;
  free(n->retained);
  free(n->name);
  free(n->location);
  ln_me()->memory.nodes--;
  ln_block_free(LN_CPU, n, (size_t)n->bytes);
}

void ln_node_release(ln_node *n) {
  if (--n->refs) return;
  n->engine = (uint64_t)(uintptr_t)doomed;
  doomed = n;
  if (freeing) return;
  freeing = true;
  while (doomed) {
    ln_node *next = doomed;
    doomed = (ln_node *)(uintptr_t)next->engine;
    free_one(next);
  }
  freeing = false;
}

/* -- Edges -- */

static ln_node *accumulator_of(ln_tensor *leaf) {
  if (leaf->accumulator) {
    ln_node_retain(leaf->accumulator);
    return leaf->accumulator;
  }
  ln_node *n = ln_node_new(LN_NODE_ACCUMULATE, 0, 1, 0, 0, NULL, 0);
  if (!n) return NULL;
  n->sequence = UINT64_MAX; /* a leaf accumulates as soon as its gradient is complete */
  n->leaf = leaf;
  ln_tensor_retain(leaf);
  leaf->accumulator = n;
  return n;
}

bool ln_wants_grad(const ln_tensor *t) {
  if (t->flags & LN_REQUIRES_GRAD) return true;
  return t->base && (t->base->flags & LN_REQUIRES_GRAD) && !(t->flags & LN_VIEW_WITHOUT_HISTORY);
}

int ln_node_gradient_source(ln_tensor *t, ln_node **node, int *output) {
  *node = NULL;
  if (!ln_wants_grad(t)) return LN_OK;
  LN_TRY(ln_view_refresh(t));
  if (t->node) {
    ln_node_retain(t->node);
    *node = t->node;
    *output = t->output;
    return LN_OK;
  }
  *output = 0;
  *node = accumulator_of(t);
  return *node ? LN_OK : LN_NOMEM;
}

int ln_node_link(ln_node *n, int i, ln_tensor *t) {
  int output = 0;
  LN_TRY(ln_node_gradient_source(t, &n->edges[i].next, &output));
  n->edges[i].output = output;
  return LN_OK;
}

int ln_node_retain_grad(ln_tensor *t) {
  ln_node *n = t->node;
  if (!n->retained) n->retained = calloc(n->n_out, sizeof *n->retained);
  if (!n->retained) return ln_fail_nomem(8);
  n->retained[t->output] = t;
  t->flags |= LN_RETAIN_GRAD;
  return LN_OK;
}

void ln_node_forget(ln_tensor *t) {
  if (t->node && t->node->retained && t->node->retained[t->output] == t) t->node->retained[t->output] = NULL;
}

void ln_node_own_outputs(ln_node *n, ln_tensor *t, int output) {
  ln_node_retain(n);
  if (t->flags & LN_RETAIN_GRAD) {
    ln_node_forget(t);
    t->flags &= ~LN_RETAIN_GRAD;
  }
  if (t->node) ln_node_release(t->node);
  t->node = n;
  t->output = output;
  t->flags |= LN_REQUIRES_GRAD;
}

/* -- Saved values -- */

/* A leaf that wants a gradient never changes its history, so it is kept itself; anything else might be given a new node by an in-place
 * operator and close a cycle, so an alias with today's node is kept. */
int ln_node_save(ln_node *n, int slot, ln_tensor *t, int kind, int index) {
  ln_saved *s = &n->saved[slot];
  bool itself = kind == LN_SAVED_EXTRA || (kind == LN_SAVED_INPUT && !t->node && (t->flags & LN_REQUIRES_GRAD));
  if (itself) {
    ln_tensor_retain(t);
    s->t = t;
  } else {
    s->t = ln_alias(t);
    if (!s->t) return LN_NOMEM;
    if (kind == LN_SAVED_INPUT && t->node) ln_node_own_outputs(t->node, s->t, t->output);
  }
  s->storage = t->storage;
  s->version = t->storage->version;
  s->kind = (int16_t)kind;
  s->index = index;
  return LN_OK;
}

int ln_node_save_copy(ln_node *n, int slot, ln_tensor *copy, ln_tensor *t, int index) {
  ln_node *source;
  int output = 0;
  LN_TRY(ln_node_save(n, slot, copy, LN_SAVED_INPUT, index));
  LN_TRY(ln_node_gradient_source(t, &source, &output));
  if (!source) return LN_OK;
  ln_node_own_outputs(source, n->saved[slot].t, output);
  ln_node_release(source);
  return LN_OK;
}

/* Is an input that is kept itself still what it was? `x.data = other` changes storage and shape without a version. */
static bool replaced(const ln_node *n, const ln_saved *s) {
  const int64_t *dims = n->dims;
  if (s->t->storage != s->storage) return true;
  if (s->kind != LN_SAVED_INPUT || n->op == LN_NODE_FUNCTION) return false;
  for (int i = 0; i < s->index; i++) dims += n->ndim[i] < 0 ? 0 : 2 * n->ndim[i];
  int ndim = n->ndim[s->index];
  return s->t->ndim != ndim || !ln_same_dims(s->t->shape, dims, ndim) || !ln_same_dims(s->t->stride, dims + ndim, ndim);
}

int ln_node_unpack(ln_node *n, int slot, ln_tensor **out) {
  ln_saved *s = &n->saved[slot];
  if (replaced(n, s))
    return ln_fail("backward of %s: an input that it needs was given other data since (it has shape %s now)", ln_node_name(n),
                   ln_shape_text(s->t->shape, s->t->ndim));
  if (s->t->storage->version != s->version) {
    const char *what = s->kind == LN_SAVED_INPUT ? "an input" : "a result";
    return ln_fail("backward of %s: %s of shape %s that it needs was changed in place since (version %u, expected %u)%s%s", ln_node_name(n), what,
                   ln_shape_text(s->t->shape, s->t->ndim), s->t->storage->version, s->version, n->location ? "; the operator was called at " : "",
                   n->location ? n->location : "");
  }
  if (s->kind == LN_SAVED_OUTPUT && (ln_me()->mode & LN_MODE_GRAD) && ln_is_float(s->t->dtype)) {
    ln_tensor *t = ln_alias(s->t);
    if (!t) return LN_NOMEM;
    ln_node_own_outputs(n, t, s->index);
    *out = t;
    return LN_OK;
  }
  ln_tensor_retain(s->t);
  *out = s->t;
  return LN_OK;
}

void ln_node_drop_saved(ln_node *n) {
  for (int i = 0; i < n->n_saved; i++) {
    if (n->saved[i].t) ln_tensor_release(n->saved[i].t);
    n->saved[i].t = NULL;
  }
}
