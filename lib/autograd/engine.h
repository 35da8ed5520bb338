/* engine.h - the state of one backward pass. Included by autograd/ only. */
#ifndef LUNETTE_ENGINE_H
#define LUNETTE_ENGINE_H

#include "node.h"

/* A node that an earlier engine, which waits, was walking over when this one met it: given back as it was. */
typedef struct ln_spilled {
  ln_node *node;
  uint64_t engine; /* 0: that one was freed first */
  int32_t waiting, queued;
  bool wanted;
  ln_tensor **grads;
} ln_spilled;

/* Where the pass begins. */
typedef struct ln_root {
  ln_node *node;
  int output;
} ln_root;

/* A node on the way down, and its next edge; while the pass is planned. */
typedef struct ln_frame {
  ln_node *node;
  int edge;
} ln_frame;

/* A gradient that was asked for by name. */
typedef struct ln_wish {
  ln_node *node;
  int output;
  ln_tensor *result;
} ln_wish;

enum ln_stage { LN_STAGE_NEXT, LN_STAGE_HOOKS, LN_STAGE_KEEP, LN_STAGE_BACKWARD, LN_STAGE_DELIVER };

struct ln_engine {
  uint64_t id;
  ln_engine *next; /* of the thread's engines that have not ended, the latest first */
  int covered;     /* how many of its nodes a later engine walks over */
  bool retain_graph, create_graph, accumulate;
  ln_root *roots;
  int n_roots, root_capacity;
  ln_node **ready; /* a heap: the highest sequence number on top */
  int n_ready, ready_capacity;
  ln_node **seen;
  int n_seen, seen_capacity;
  ln_frame *stack;
  int stack_capacity;
  ln_spilled *spilled;
  int n_spilled, spilled_capacity;
  ln_wish *wishes;
  int n_wishes, wish_capacity;
  /* the node at work, and where it stands */
  ln_node *node;
  int stage;
  int output; /* whose hooks are called */
  int stop;   /* ln_stop, 0 when none */
  bool answered;
  ln_tensor **dx;
  int dx_capacity;
};

ln_engine *ln_engine_numbered(uint64_t id); /* that has not ended */
/* Marks what the roots reach, counts the edges into each node, and which nodes lie on a way to a wish. */
int ln_engine_plan(ln_engine *e);
int ln_engine_ready(ln_engine *e, ln_node *n);
ln_node *ln_engine_pop(ln_engine *e);
/* Adds a gradient to those waiting at an output; takes the reference. */
int ln_engine_add(ln_engine *e, ln_node *n, int output, ln_tensor *g);
int ln_engine_accumulate(ln_engine *e, ln_tensor *leaf, ln_tensor *g);
int ln_engine_backward(ln_engine *e); /* the rule of e->node into e->dx */

#endif
