/* plan.c - the order of a backward pass: what is reached, what waits for what, what runs next. No recursion. */
#include "engine.h"

#include <stdlib.h>

/* The node becomes this engine's; what an earlier one had noted in it is set aside. */
static int enter(ln_engine *e, ln_node *n) {
  if (n->engine) {
    if (!ln_grow(&e->spilled, &e->spilled_capacity, e->n_spilled + 1, sizeof *e->spilled)) return ln_fail_nomem(64);
    ln_spilled *s = &e->spilled[e->n_spilled];
    *s = (ln_spilled){n, n->engine, n->waiting, n->queued, n->wanted, malloc(sizeof(ln_tensor *) * n->n_out)};
    if (!s->grads) return ln_fail_nomem(64);
    memcpy(s->grads, n->grads, sizeof(ln_tensor *) * n->n_out);
    e->n_spilled++;
    ln_engine_numbered(n->engine)->covered++;
  }
  if (!ln_grow(&e->seen, &e->seen_capacity, e->n_seen + 1, sizeof *e->seen)) return ln_fail_nomem(64);
  e->seen[e->n_seen++] = n;
  n->engine = e->id;
  n->waiting = n->queued = 0;
  n->wanted = e->n_wishes == 0 || n->wish;
  memset(n->grads, 0, sizeof(ln_tensor *) * n->n_out);
  return LN_OK;
}

static int push(ln_engine *e, int *depth, ln_node *n) {
  LN_TRY(enter(e, n));
  if (!ln_grow(&e->stack, &e->stack_capacity, *depth + 1, sizeof *e->stack)) return ln_fail_nomem(64);
  e->stack[(*depth)++] = (ln_frame){n, 0};
  return LN_OK;
}

static int descend(ln_engine *e, ln_node *root) {
  int depth = 0;
  LN_TRY(push(e, &depth, root));
  while (depth > 0) {
    ln_frame *top = &e->stack[depth - 1];
    if (top->edge == top->node->n_in) {
      depth--;
      if (depth > 0 && top->node->wanted) e->stack[depth - 1].node->wanted = true;
      continue;
    }
    ln_node *next = top->node->edges[top->edge++].next;
    if (!next) continue;
    if (next->engine != e->id)
      LN_TRY(push(e, &depth, next));
    else if (next->wanted)
      top->node->wanted = true; /* complete already: the graph has no cycle */
    next->waiting++;
  }
  return LN_OK;
}

int ln_engine_plan(ln_engine *e) {
  for (int i = 0; i < e->n_roots; i++)
    if (e->roots[i].node->engine != e->id) LN_TRY(descend(e, e->roots[i].node));
  return LN_OK;
}

/* -- The heap of ready nodes -- */

int ln_engine_ready(ln_engine *e, ln_node *n) {
  if (n->queued) return LN_OK;
  if (!ln_grow(&e->ready, &e->ready_capacity, e->n_ready + 1, sizeof *e->ready)) return ln_fail_nomem(64);
  n->queued = 1;
  int at = e->n_ready++;
  for (; at > 0 && e->ready[(at - 1) / 2]->sequence < n->sequence; at = (at - 1) / 2) e->ready[at] = e->ready[(at - 1) / 2];
  e->ready[at] = n;
  return LN_OK;
}

ln_node *ln_engine_pop(ln_engine *e) {
  ln_node *top = e->ready[0], *last = e->ready[--e->n_ready];
  int at = 0;
  for (;;) {
    int child = 2 * at + 1;
    if (child >= e->n_ready) break;
    if (child + 1 < e->n_ready && e->ready[child + 1]->sequence > e->ready[child]->sequence) child++;
    if (e->ready[child]->sequence <= last->sequence) break;
    e->ready[at] = e->ready[child];
    at = child;
  }
  e->ready[at] = last;
  return top;
}
