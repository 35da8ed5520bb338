/* strided.h - geometries over the elements of a tensor: what view.c and strided.c share. */
#ifndef LUNETTE_STRIDED_H
#define LUNETTE_STRIDED_H

#include "../rule.h"

typedef struct geometry {
  int64_t shape[16], stride[16], offset;
  int ndim;
} geometry;

/* as_strided or as_strided_scatter with a geometry; NULL where an input is. */
ln_tensor *ln_do_strided(ln_rule *r, int op, ln_tensor *const *in, int n, const geometry *g);

#endif
