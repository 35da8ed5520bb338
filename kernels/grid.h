/* grid.h - where a coordinate of a grid lies among the elements of one dim, and how much each of them counts: what sampling by a grid is made of.
 * C and CUDA C++. In C `ln_t` is the compute type, in C++ it is a parameter. */
#ifndef LUNETTE_GRID_H
#define LUNETTE_GRID_H

#include "inline.h"
#include "kernels.h"

#ifdef __cplusplus
#define GRID_FUNCTION(type) template <class ln_t> LN_DEVICE type
#define GRID_OF(function) function<ln_t>
#else
#include <math.h>
#define GRID_FUNCTION(type) static inline type
#define GRID_OF(function) function
#endif

/* x between 0 and size - 1; `slope` becomes 0 where it was held back, at the ends too. */
GRID_FUNCTION(ln_t) ln_grid_clip(ln_t x, int64_t size, ln_t *slope) {
  ln_t last = (ln_t)(size - 1);
  if (x > 0 && x < last) return x;
  *slope = 0;
  return x >= last ? last : (ln_t)0;
}

/* x mirrored until it lies between low / 2 and high / 2. */
GRID_FUNCTION(ln_t) ln_grid_reflect(ln_t x, int64_t low, int64_t high, ln_t *slope) {
  ln_t least = (ln_t)low / 2, span = (ln_t)(high - low) / 2;
  if (low == high) {
    *slope = 0;
    return 0;
  }
  x -= least;
  if (x < 0) {
    x = -x;
    *slope = -*slope;
  }
  ln_t extra = (ln_t)fmod(x, span), flips = (ln_t)floor(x / span);
  if (fmod(flips, (ln_t)2) == 0) return extra + least;
  *slope = -*slope;
  return span - extra + least;
}

GRID_FUNCTION(ln_t) ln_grid_pad(const ln_grid *g, ln_t x, int64_t size, ln_t *slope) {
  if (g->padding == LN_GRID_ZEROS) return x;
  if (g->padding == LN_GRID_REFLECTION)
    x = g->align ? GRID_OF(ln_grid_reflect)(x, 0, 2 * (size - 1), slope) : GRID_OF(ln_grid_reflect)(x, -1, 2 * size - 1, slope);
  return GRID_OF(ln_grid_clip)(x, size, slope);
}

/* The element at x, -1 where the input has none. */
GRID_FUNCTION(int64_t) ln_grid_element(ln_t x, int64_t size) { return x >= 0 && x <= (ln_t)(size - 1) ? (int64_t)x : -1; }

/* Derivative `order` of c0 + c1 t + c2 t^2 + c3 t^3. */
GRID_FUNCTION(ln_t) ln_grid_polynomial(ln_t t, int order, ln_t c0, ln_t c1, ln_t c2, ln_t c3) {
  switch (order) {
  case 0: return c0 + t * (c1 + t * (c2 + t * c3));
  case 1: return c1 + t * (2 * c2 + t * 3 * c3);
  case 2: return 2 * c2 + t * 6 * c3;
  case 3: return 6 * c3;
  default: return 0;
  }
}

/* Keys' cubic kernel with -0.75: the weights of the elements -1 ... 2 around a position t behind element 0. */
GRID_FUNCTION(void) ln_grid_cubic(ln_t t, int order, ln_t *weight) {
  const ln_t a = (ln_t)-0.75;
  weight[0] = GRID_OF(ln_grid_polynomial)(t, order, 0, a, -2 * a, a);
  weight[1] = GRID_OF(ln_grid_polynomial)(t, order, 1, 0, -(a + 3), a + 2);
  weight[2] = GRID_OF(ln_grid_polynomial)(t, order, 0, -a, 2 * a + 3, -(a + 2));
  weight[3] = GRID_OF(ln_grid_polynomial)(t, order, 0, 0, a, -a);
}

/* The elements of a dim that coordinate u of the grid meets, -1 to 1 being the whole dim, and derivative `order` of their weights by u. At most 4; an
 * element of -1 is outside. Their number. */
GRID_FUNCTION(int) ln_grid_taps(const ln_grid *g, ln_t u, int64_t size, int order, int64_t *at, ln_t *weight) {
  ln_t slope = g->align ? (ln_t)(size - 1) / 2 : (ln_t)size / 2, still = 1, factor = 1;
  ln_t x = g->align ? (u + 1) * slope : (u + 1) * slope - (ln_t)0.5;
  if (g->mode != LN_GRID_BICUBIC) x = GRID_OF(ln_grid_pad)(g, x, size, &slope);
  if (!(x > -1e9 && x < 1e9)) x = -100; /* NaN, and what lies far outside */
  if (g->mode == LN_GRID_NEAREST) {
    at[0] = GRID_OF(ln_grid_element)((ln_t)rint(x), size);
    weight[0] = order ? (ln_t)0 : (ln_t)1;
    return 1;
  }
  ln_t base = (ln_t)floor(x), t = x - base;
  for (int i = 0; i < order; i++) factor *= slope;
  if (g->mode == LN_GRID_BILINEAR) {
    at[0] = GRID_OF(ln_grid_element)(base, size);
    at[1] = GRID_OF(ln_grid_element)(base + 1, size);
    weight[0] = factor * (order == 0 ? 1 - t : (ln_t)(order == 1 ? -1 : 0));
    weight[1] = factor * (order == 0 ? t : (ln_t)(order == 1));
    return 2;
  }
  GRID_OF(ln_grid_cubic)(t, order, weight);
  for (int k = 0; k < 4; k++) {
    at[k] = GRID_OF(ln_grid_element)(GRID_OF(ln_grid_pad)(g, base + (ln_t)(k - 1), size, &still), size);
    weight[k] *= factor;
  }
  return 4;
}

/* The elements that a point of the grid meets, as offsets into the plane, and their weights; those outside are left out. Dims that the input does not
 * have are of size 1 and met once. At most LN_GRID_TAPS; their number. */
enum { LN_GRID_TAPS = 16 };
GRID_FUNCTION(int) ln_grid_point(const ln_grid *g, const ln_t *u, int64_t *offset, ln_t *weight) {
  int64_t at[3][4];
  ln_t part[3][4];
  int count[3], n = 0;
  for (int d = 0; d < 3; d++) {
    int axis = 2 - d; /* the grid names the last dim first */
    count[d] = 1;
    at[d][0] = 0;
    part[d][0] = 1;
    if (axis < g->spatial) count[d] = GRID_OF(ln_grid_taps)(g, u[axis], g->in[d], g->order[axis], at[d], part[d]);
  }
  for (int i = 0; i < count[0]; i++)
    for (int j = 0; j < count[1]; j++)
      for (int k = 0; k < count[2]; k++) {
        if (at[0][i] < 0 || at[1][j] < 0 || at[2][k] < 0) continue;
        offset[n] = (at[0][i] * g->in[1] + at[1][j]) * g->in[2] + at[2][k];
        weight[n++] = part[0][i] * part[1][j] * part[2][k];
      }
  return n;
}

#endif
