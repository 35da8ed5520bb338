/* dense.h - whole blocks of half-type elements into the compute type and back, for kernels that compute on memory as it lies. Float files only.
 *
 * The rules hand such kernels operands without gaps, so the elements can be converted one after another, whatever their logical order. */
#ifndef LUNETTE_CPU_DENSE_H
#define LUNETTE_CPU_DENSE_H

#include "cpu.h"

#include <stdlib.h>

#define DENSE_CHUNK 16384

/* n elements in the compute type; freed by the caller. NULL when out of memory. */
static inline ln_t *dense_load(const char *x, int dtype, int64_t n) {
  ln_t *wide = aligned_alloc(64, ((size_t)n * sizeof(ln_t) + 63) & ~(size_t)63);
  if (!wide || !x) return wide;
  int64_t item = ln_cpu_size_of(dtype);
  LN_SHARE(ln_cpu_threads(n, LN_GRAIN_LIGHT), i, n, DENSE_CHUNK, {
    LN_FN(load)(x + i * item, item, dtype, n - i < DENSE_CHUNK ? n - i : DENSE_CHUNK, wide + i);
  });
  return wide;
}

static inline void dense_store(char *y, int dtype, int64_t n, const ln_t *wide) {
  int64_t item = ln_cpu_size_of(dtype);
  LN_SHARE(ln_cpu_threads(n, LN_GRAIN_LIGHT), i, n, DENSE_CHUNK, {
    LN_FN(store)(y + i * item, item, dtype, n - i < DENSE_CHUNK ? n - i : DENSE_CHUNK, wide + i);
  });
}

#endif
