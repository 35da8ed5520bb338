/* recurrent.h - one layer of a recurrent network as its rules see it: recurrent.c calls kernels, recurrent_graph.c makes the gradient of operators. */
#ifndef LUNETTE_RECURRENT_H
#define LUNETTE_RECURRENT_H

#include "shape.h"

enum { I_INPUT, I_H0 }; /* positions of the first inputs; the others depend on whether there is a c0 */

typedef struct ln_layer {
  int mode; /* ln_recurrent_mode */
  bool reverse;
  ln_tensor *x, *h0, *c0, *sizes, *w_ih, *w_hh, *b_ih, *b_hh, *w_hr;
  int i_sizes;      /* position of batch_sizes; those of c0 before it and of the weights after it follow */
  int out;          /* the dtype of the results */
  int dtype;        /* in which is computed */
  bool batch_major; /* rows lie sequence by sequence */
  int64_t steps, batch, input, hidden, size, rows;
  int64_t *start, *count; /* [steps] */
  int64_t apart;
} ln_layer;

/* The shape of what has `columns` for each row, as the input has; the number of dims. */
int ln_layer_shape(const ln_layer *l, int64_t columns, int64_t *shape);
/* The gradients of r->needs, made of operators: any order. */
void ln_layer_graph(ln_rule *r, const ln_layer *l);

#endif
