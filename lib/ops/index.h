/* index.h - what the rules that move elements by an index share. */
#ifndef LUNETTE_INDEX_H
#define LUNETTE_INDEX_H

#include "shape.h"

/* Every element of an int64 index must lie in [low, size); NULL is not checked. */
bool r_check_index(ln_rule *r, ln_tensor *index, int64_t low, int64_t size, int dim);

/* One operand of a move, addressed through an index: its geometry over the loop, of stride 0 where the index leads, and what an index counts. */
typedef struct ln_addressed {
  ln_tensor view;
  int64_t stride, size; /* elements from one index to the next; how many there are */
} ln_addressed;
/* t along dim, over the shape of the index. */
ln_addressed ln_address(const ln_tensor *t, const ln_tensor *index, int dim);
bool r_gather(ln_rule *r, ln_tensor *out, ln_addressed from, ln_tensor *index);
bool r_scatter(ln_rule *r, ln_addressed to, ln_tensor *in, ln_tensor *index, bool add);

/* gather, scatter, index_select ... along dim. src: NULL where the operator has none. */
ln_tensor *r_indexed(ln_rule *r, int op, ln_tensor *x, int64_t dim, ln_tensor *index, ln_tensor *src);
/* A vector of indices as wide as a shape along the other dims (a look at it). */
ln_tensor ln_widen(const ln_tensor *index, const int64_t *shape, int ndim, int dim);
/* out[0]: a copy of in[0], or the target in place. */
ln_tensor *r_out_copy(ln_rule *r);

#endif
