/* band.c - a band matrix along the middle of [outer, in, inner]: interpolation, means over windows, and their gradients. */
#include "../../cpu.h"

typedef struct band_row {
  int64_t start, count;
  const ln_t *weight;
} band_row;

static band_row row_of(const ln_band *b, int64_t o) { return (band_row){b->start[o], b->count[o], (const ln_t *)b->weight + o * b->taps}; }

/* Neighbours in memory share a weight. */
static void wide_row(const band_row *row, const ln_t *restrict x, ln_t *restrict y, int64_t inner) {
  memset(y, 0, (size_t)inner * sizeof *y);
  x += row->start * inner;
  for (int64_t k = 0; k < row->count; k++, x += inner) {
    ln_t w = row->weight[k];
    if (k == 0) {
      for (int64_t i = 0; i < inner; i++) y[i] = w * x[i];
    } else {
      for (int64_t i = 0; i < inner; i++) y[i] += w * x[i];
    }
  }
}

static void line(const ln_band *b, const ln_t *x, ln_t *y) {
  for (int64_t o = 0; o < b->out; o++) {
    const ln_t *from = x + b->start[o], *weight = (const ln_t *)b->weight + o * b->taps;
    ln_t sum = 0;
    for (int64_t k = 0; k < b->count[o]; k++) sum += weight[k] * from[k];
    y[o] = sum;
  }
}

const char *LN_FN(band)(const ln_band *b) {
  const ln_t *x = (const ln_t *)b->x;
  ln_t *y = (ln_t *)b->y;
  int64_t work = b->outer * b->out * b->inner * b->taps;
  if (b->inner == 1) {
    LN_SHARE(ln_cpu_threads(work, LN_GRAIN_LIGHT), i, b->outer, 1, { line(b, x + i * b->in, y + i * b->out); });
  } else {
    LN_SHARE(ln_cpu_threads(work, LN_GRAIN_LIGHT), i, b->outer * b->out, 1, {
      band_row row = row_of(b, i % b->out);
      wide_row(&row, x + i / b->out * b->in * b->inner, y + i * b->inner, b->inner);
    });
  }
  return NULL;
}
