/* index.h - what the rules that move elements by an index share. */
#ifndef LUNETTE_INDEX_H
#define LUNETTE_INDEX_H

#include "rules.h"

/* Every element of an int64 index must lie in [low, size). */
int ln_check_index(const char *op, ln_tensor *index, int64_t low, int64_t size, int dim);
/* out[...] = x[..., index, ...] (gather), or the inverse (scatter, add). */
int ln_move_indexed(const char *op, ln_tensor *out, ln_tensor *in, ln_tensor *index, int dim, int indexed, bool add);
ln_tensor *ln_do_indexed(ln_back *b, int op, ln_tensor *x, int64_t dim, ln_tensor *index, ln_tensor *src);
/* A vector of indices as wide as a shape along the other dims (a view), for index_select and index_add. */
ln_tensor *ln_do_widen(ln_back *b, ln_tensor *index, const int64_t *shape, int ndim, int dim);

#endif
