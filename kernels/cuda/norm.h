/* norm.h - what the normalisations share. */
#ifndef LUNETTE_CUDA_NORM_H
#define LUNETTE_CUDA_NORM_H

#include "cuda.h"

enum { LN_NORM_COLUMNS = 32 }; /* neighbouring sums that a team takes together */

/* Element c of a weight or bias, which may be missing. */
template <class T> LN_DEVICE T ln_norm_factor(const void *values, int64_t c, T otherwise) { return values ? ((const T *)values)[c] : otherwise; }

struct ln_norm_sums {
  double dy, dy_x; /* of dy, and of dy times the normalised x */
};

struct ln_add_norm_sums {
  LN_DEVICE ln_norm_sums operator()(const ln_norm_sums &a, const ln_norm_sums &b) const { return ln_norm_sums{a.dy + b.dy, a.dy_x + b.dy_x}; }
};

#endif
