/* fold.h - what reductions share: the two nests of loops, and what counts as a column. */
#ifndef LUNETTE_CPU_FOLD_H
#define LUNETTE_CPU_FOLD_H

#include "../../cpu.h"

#include <math.h>

#define CHUNK 1024 /* elements that are combined before they are combined with others */

/* What is not folded itself, but whether it is other than zero. */
static inline bool is_truth(int kind) { return kind >= LN_FOLD_ALL; }

static inline void to_truth(ln_t *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = x[i] != 0;
}

/* `n` elements from logical position `from` of the inner nest at x into out. */
static inline void read_inner(const ln_fold *f, const char *x, int64_t from, int64_t n, ln_t *out) {
  int last = f->inner_ndim - 1;
  int64_t at[16], total = n;
  ln_t *to = out;
  for (int64_t d = last, rest = from; d >= 0; d--) {
    at[d] = rest % f->inner_shape[d];
    rest /= f->inner_shape[d];
  }
  while (n > 0) {
    int64_t run = last < 0 ? n : f->inner_shape[last] - at[last];
    if (run > n) run = n;
    const char *p = x;
    for (int d = 0; d <= last; d++) p += at[d] * f->x_inner_stride[d];
    LN_FN(load)(p, last < 0 ? 0 : f->x_inner_stride[last], f->dtype, run, to);
    to += run;
    n -= run;
    if (last >= 0) at[last] = 0;
    for (int d = last - 1; d >= 0; d--) {
      if (++at[d] < f->inner_shape[d]) break;
      at[d] = 0;
    }
  }
  if (is_truth(f->kind)) to_truth(out, total);
}

/* `n` elements of the inner nest from `from` on, padded to whole lanes: where they lie, or in the buffer. */
static inline const ln_t *chunk_at(const ln_fold *f, const char *x, int64_t from, int64_t n, ln_t padding, ln_t *buffer) {
  bool flat = f->dtype == LN_T_DTYPE && f->inner_ndim == 1 && f->x_inner_stride[0] == (int64_t)sizeof(ln_t);
  if (flat && !is_truth(f->kind) && n % LN_LANES == 0) return (const ln_t *)x + from;
  read_inner(f, x, from, n, buffer);
  for (int64_t i = n; i % LN_LANES; i++) buffer[i] = padding;
  return buffer;
}

static inline int64_t chunk_size(const ln_fold *f, int64_t from) { return f->inner_numel - from < CHUNK ? f->inner_numel - from : CHUNK; }

static inline int64_t whole_lanes(int64_t n) { return (n + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1); }

/* Byte offsets of outer element i in x and y. */
static inline void outer_at(const ln_fold *f, int64_t i, int64_t *x, int64_t *y) {
  *x = *y = 0;
  for (int d = f->outer_ndim - 1; d >= 0; d--) {
    int64_t at = i % f->outer_shape[d];
    i /= f->outer_shape[d];
    *x += at * f->x_outer_stride[d];
    *y += at * f->y_stride[d];
  }
}

/* Columns: neighbouring outputs are neighbours in x. */
static inline bool is_columns(const ln_fold *f) {
  int last = f->outer_ndim - 1;
  return f->outer_ndim > 0 && f->inner_ndim == 1 && f->x_outer_stride[last] == ln_cpu_size_of(f->dtype) && f->outer_shape[last] >= 4 &&
         f->x_inner_stride[0] != ln_cpu_size_of(f->dtype);
}

/* The extremes and their positions (extreme.c); sums and products are in fold.c. */
void LN_FN(fold_extreme)(const ln_fold *f, int threads);

#endif
