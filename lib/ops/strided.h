/* strided.h - geometries over the elements of a tensor: what view.c and strided.c share. */
#ifndef LUNETTE_STRIDED_H
#define LUNETTE_STRIDED_H

#include "../rule.h"

typedef struct geometry {
  int64_t shape[16], stride[16], offset;
  int ndim;
} geometry;

/* Rules of views apply what they do to the geometry of the input, their gradients to that of a row-major stand-in. */
geometry ln_geometry_of(const ln_tensor *t);
geometry ln_row_major(const int64_t *shape, int ndim);
void ln_remove_dim(geometry *g, int dim);
void ln_insert_dim(geometry *g, int dim, int64_t size, int64_t stride);

/* as_strided or as_strided_scatter with a geometry; NULL where an input is. */
ln_tensor *ln_do_strided(ln_rule *r, int op, ln_tensor *const *in, int n, const geometry *g);

#endif
