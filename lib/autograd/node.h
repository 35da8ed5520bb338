/* node.h - a node of the graph: one operator call to be differentiated. Included by autograd/ only.
 *
 * A node is one block: the struct, then edges, saved tensors, gradients waiting, hooks, metadata of the inputs and the attributes.
 * It owns its next nodes and what it saved; an output is saved without its node, so that no cycle exists. Leaves enter the graph through an
 * accumulator, which they do not own. */
#ifndef LUNETTE_NODE_H
#define LUNETTE_NODE_H

#include "../core/thread.h"

typedef struct ln_edge {
  ln_node *next; /* NULL: no gradient is wanted */
  int32_t output;
} ln_edge;

enum ln_saved_kind { LN_SAVED_NOTHING, LN_SAVED_INPUT, LN_SAVED_OUTPUT, LN_SAVED_EXTRA };

typedef struct ln_saved {
  ln_tensor *t;
  uint32_t version;
  int16_t kind;
  int32_t index;       /* among the inputs, outputs or extras */
  ln_storage *storage; /* that it had; compared only: `x.data = other` gives a saved leaf another one */
} ln_saved;

struct ln_node {
  uint32_t refs;
  int32_t op; /* ln_op_id */
  uint64_t sequence;
  uint64_t engine;  /* the engine that walks over it now */
  int64_t callback; /* of a custom Function, or 0 */
  int32_t waiting;  /* edges into it that have not delivered yet */
  int32_t queued;
  int32_t bytes;  /* of the block */
  int32_t device; /* of the inputs */
  int32_t n_in, n_saved;
  uint16_t n_out;
  bool released; /* saved values are gone: backward passed */
  bool wish;     /* its gradient is asked for by name; while an engine is planned */
  bool wanted;   /* lies on a way to an input of this engine */
  ln_edge *edges;
  ln_saved *saved;
  ln_tensor **grads; /* arrived gradients of the outputs */
  int64_t *hooks;    /* callbacks, an entry per output; 0 none */
  int32_t *ndim, *dtype;
  int64_t *dims;        /* of each input in turn: its shape, then its strides */
  ln_attrs *attrs;      /* as many bytes of one as the operator uses; NULL for none */
  ln_tensor *leaf;      /* of an accumulator */
  ln_tensor **retained; /* an entry per output: the tensor that keeps its gradient, not owned; malloc, NULL when none does */
  char *name;           /* of a custom Function, malloc */
  char *location;       /* anomaly mode: where it was made, malloc */
};

ln_node *ln_node_new(int op, int n_in, int n_out, int n_saved, int n_dims, const ln_attrs *attrs, int n_slots);
const char *ln_node_name(const ln_node *n);        /* "mul", "accumulate", a custom Function's name */
int ln_node_link(ln_node *n, int i, ln_tensor *t); /* edge i goes to where t's gradient goes */
int ln_node_retain_grad(ln_tensor *t);             /* t, made by a node, keeps its gradient */
int ln_node_save(ln_node *n, int slot, ln_tensor *t, int kind, int index);
/* Saves `copy`, made before input t was overwritten, with t's history. */
int ln_node_save_copy(ln_node *n, int slot, ln_tensor *copy, ln_tensor *t, int index);
/* The saved tensor, checked against its version; outputs re-attached. Retained. */
int ln_node_unpack(ln_node *n, int slot, ln_tensor **out);
void ln_node_drop_saved(ln_node *n);
void ln_node_own_outputs(ln_node *n, ln_tensor *t, int output); /* t was made by n */

#endif
