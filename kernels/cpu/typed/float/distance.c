/* distance.c - distances of every two rows and their gradients, for one float type and instruction set. Forward, a vector holds distances to neighbouring
 * rows; backward, neighbouring numbers of one row. Sums run in the order of their terms. */
#include "../../cpu.h"

#include <math.h>

#include "../../../formula.h"

enum { COLUMNS = 64 }; /* distances at a time */

/* -- Forward -- */

/* What each difference adds to the sums of a block of columns. */
#define ACCUMULATE(term)                      \
  for (int64_t k = 0; k < w->size; k++) {     \
    const ln_t a = x1[k], *b = x2 + k * w->m; \
    LN_INDEPENDENT                            \
    for (int j = 0; j < n; j++) {             \
      const ln_t d = a - b[j];                \
      sum[j] = term;                          \
    }                                         \
  }

LN_INLINE void accumulate(const ln_distance *w, const ln_t *x1, const ln_t *x2, int n, ln_t *sum) {
  const ln_t p = (ln_t)w->p;
  if (w->p == 1)
    ACCUMULATE(sum[j] + abs(d))
  else if (w->p == 2)
    ACCUMULATE(sum[j] + d * d)
  else if (w->p == 0)
    ACCUMULATE(sum[j] + (ln_t)ne(d, 0))
  else if (w->p == (double)INFINITY)
    ACCUMULATE(maximum(sum[j], abs(d)))
  else
    ACCUMULATE(sum[j] + pow(abs(d), p))
}

static void block(const ln_distance *w, const ln_t *x1, const ln_t *x2, int n, ln_t *y) {
  ln_t LN_ALIGN sum[COLUMNS] = {0};
  const ln_t root = (ln_t)(1 / w->p);
  if (n == COLUMNS)
    accumulate(w, x1, x2, COLUMNS, sum);
  else
    accumulate(w, x1, x2, n, sum);
  if (w->p == 2)
    for (int j = 0; j < n; j++) sum[j] = sqrt(sum[j]);
  else if (w->p != 0 && w->p != 1 && w->p != (double)INFINITY) {
    LN_INDEPENDENT
    for (int j = 0; j < n; j++) sum[j] = pow(sum[j], root);
  }
  memcpy(y, sum, (size_t)n * sizeof *y);
}

const char *LN_FN(distance)(const ln_distance *w) {
  LN_SHARE(ln_cpu_threads(w->batch * w->n * w->m * (w->size + 1), LN_GRAIN_LIGHT), row, w->batch * w->n, 1, {
    const ln_t *x1 = (const ln_t *)w->x1 + row * w->size, *x2 = (const ln_t *)w->x2 + row / w->n * w->size * w->m;
    for (int64_t j = 0; j < w->m; j += COLUMNS) block(w, x1, x2 + j, (int)(w->m - j < COLUMNS ? w->m - j : COLUMNS), (ln_t *)w->y + row * w->m + j);
  });
  return NULL;
}

/* -- Backward: d |x|^p is sign(x) |x|^(p - 1) over y^(p - 1); where a distance is 0 so is its gradient -- */

/* What a distance y with the gradient g gives to each difference's derivative. */
static ln_t share_of(const ln_distance *w, ln_t y, ln_t g) {
  if (w->p == 0) return 0;
  if (w->p == 1 || w->p == (double)INFINITY) return g;
  if (y == 0) return 0;
  return w->p == 2 ? g / y : g * pow(y, (ln_t)(1 - w->p));
}

#define SPREAD(derivative)                  \
  do {                                      \
    LN_INDEPENDENT                          \
    for (int64_t k = 0; k < w->size; k++) { \
      const ln_t d = x1[k] - x2[k];         \
      dx[k] += (derivative)*share;          \
    }                                       \
  } while (0)

static void spread(const ln_distance *w, const ln_t *restrict x1, const ln_t *restrict x2, ln_t y, ln_t share, ln_t *restrict dx) {
  const ln_t less = (ln_t)(w->p - 1);
  if (w->p == 1)
    SPREAD(sign(d));
  else if (w->p == 2)
    SPREAD(d);
  else if (w->p == (double)INFINITY)
    SPREAD(where(eq(abs(d), y), sign(d), 0));
  else
    SPREAD(where(eq(d, 0), 0, sign(d) * pow(where(eq(d, 0), 1, abs(d)), less)));
}

const char *LN_FN(distance_dx)(const ln_distance *w) {
  LN_SHARE(ln_cpu_threads(w->batch * w->n * (w->m + 1) * w->size, LN_GRAIN_LIGHT), row, w->batch * w->n, 1, {
    const int64_t image = row / w->n;
    const ln_t *x1 = (const ln_t *)w->x1 + row * w->size, *x2 = (const ln_t *)w->x2 + image * w->m * w->size;
    const int64_t at = image * w->n * w->m + row % w->n * w->y_row;
    ln_t *dx = (ln_t *)w->dx + row * w->size;
    memset(dx, 0, (size_t)w->size * sizeof *dx);
    for (int64_t j = 0; j < w->m; j++) {
      const ln_t y = ((const ln_t *)w->y)[at + j * w->y_column];
      const ln_t share = share_of(w, y, ((const ln_t *)w->dy)[at + j * w->y_column]);
      if (share != 0) spread(w, x1, x2 + j * w->size, y, share, dx);
    }
  });
  return NULL;
}
