/* graph.h - what the rest of lib/ asks of autograd (autograd/): recording, views, modes, nodes. */
#ifndef LUNETTE_GRAPH_H
#define LUNETTE_GRAPH_H

#include "rule.h"

/* Grad mode bits of lunette.h, per thread. */
enum { LN_MODE_GRAD = 1, LN_MODE_ANOMALY = 2 };

/* -- Row-sparse gradients (autograd/sparse.c) -- */
bool ln_gradient_fits(const ln_tensor *t, const ln_tensor *g); /* may g, dense or row-sparse, be the gradient of t? */
int ln_sparse_make(ln_tensor *values, ln_tensor *rows, int64_t n_rows, bool coalesced, ln_tensor **out); /* shares the elements of both */
int ln_sparse_compact(ln_tensor *sparse, ln_tensor **out);                                               /* each row once, in order */
int ln_sparse_dense(ln_tensor *sparse, ln_tensor **out);
int ln_sparse_join(ln_tensor *a, ln_tensor *b, ln_tensor **out);

/* Gradient recording: called by ln_run after the rule. saved[i], where it is not NULL, holds what input i was before it was overwritten. */
int ln_record(ln_rule *r, ln_tensor *const *saved);
int ln_check_inplace(const ln_rule *r); /* before the rule: may the target be changed in place? */
bool ln_wants_grad(const ln_tensor *t);
int ln_view_refresh(ln_tensor *t);                                      /* a view whose base was changed in place gets its node anew */
int ln_node_gradient_source(ln_tensor *t, ln_node **node, int *output); /* the node (or accumulator) that takes t's gradient, retained; NULL */
void ln_dead_push(int64_t callback);                                    /* it is no longer needed */
void ln_node_forget(ln_tensor *t);                                      /* t, whose gradient was to be retained, goes */
void ln_node_retain(ln_node *n);
void ln_node_release(ln_node *n);  /* iterative: a chain of any length is freed without recursion */
void ln_engine_drop(ln_engine *e); /* an engine that does nothing, with its arrays */

#endif
