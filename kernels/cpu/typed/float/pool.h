/* pool.h - what the kernels of pooling share: their plan, and the windows. */
#ifndef LUNETTE_CPU_POOL_H
#define LUNETTE_CPU_POOL_H

#include "../../../spatial.h"
#include "../../cpu.h"

#define BLOCK 256       /* channels at a time when they are neighbours */
#define BLOCK_STRIDED 8 /* else: few, whose lines stay in the first cache together */

/* A position in a plane is counted in ln_truth, as wide as ln_t, so that choosing a value and its position is one vector step. */
#define POSITIONS (sizeof(ln_truth) == 4 ? INT32_MAX : INT64_MAX)

typedef struct plan {
  const ln_pool *p;
  ln_spatial s;
  int64_t plane, block, blocks, lines;
  const ln_t *end; /* behind the last element that is read */
} plan;

static inline plan plan_of(const ln_pool *p) {
  plan q = {.p = p};
  LN_SPATIAL_OF(&q.s, p);
  q.plane = q.s.in[0] * q.s.in[1] * q.s.in[2];
  q.block = q.s.xs[1] == 1 && q.s.ys[1] == 1 ? BLOCK : BLOCK_STRIDED;
  q.blocks = (p->c + q.block - 1) / q.block;
  q.lines = q.s.out[0] * q.s.out[1];
  int64_t last = (p->n - 1) * q.s.xs[0] + (p->c - 1) * q.s.xs[1];
  for (int d = 0; d < 3; d++) last += (q.s.in[d] - 1) * q.s.xs[2 + d];
  q.end = (const ln_t *)p->x + last + 1;
  return q;
}

/* The taps of one output that lie inside the input: low, low + dilation, ... below high in each dim. */
typedef struct window {
  int64_t low[3], high[3], padded; /* padded: elements with the padding's, for the mean */
} window;

static inline void window_dim(const plan *q, window *w, int d, int64_t o) {
  int64_t low = o * q->s.stride[d] - q->s.padding[d], step = q->s.dilation[d];
  int64_t high = low + (q->s.kernel[d] - 1) * step + 1, limit = q->s.in[d] + q->s.padding[d];
  w->padded *= (high < limit ? high : limit) - low;
  w->high[d] = high < q->s.in[d] ? high : q->s.in[d];
  w->low[d] = low < 0 ? low + (-low + step - 1) / step * step : low;
}

/* The windows of a line of outputs share all but the last dim. */
static inline window window_of_line(const plan *q, int64_t line) {
  window w = {.padded = 1};
  window_dim(q, &w, 0, line / q->s.out[1]);
  window_dim(q, &w, 1, line % q->s.out[1]);
  return w;
}

static inline int64_t x_offset(const plan *q, int64_t d, int64_t h, int64_t v) { return d * q->s.xs[2] + h * q->s.xs[3] + v * q->s.xs[4]; }

static inline int64_t y_offset(const plan *q, int64_t line, int64_t ow) {
  return line / q->s.out[1] * q->s.ys[2] + line % q->s.out[1] * q->s.ys[3] + ow * q->s.ys[4];
}

static inline int threads_for(const plan *q) {
  int64_t taps = q->s.kernel[0] * q->s.kernel[1] * q->s.kernel[2];
  return ln_cpu_threads(q->p->n * q->p->c * q->lines * q->s.out[2] * taps, LN_GRAIN_LIGHT);
}

/* Are the planes of x and y row-major memory without gaps, and their rows not too short? They are the work of pool_rows.c then. */
static inline bool in_rows(const plan *q) {
  const int64_t *in = q->s.in, *out = q->s.out, *xs = q->s.xs, *ys = q->s.ys;
  const int64_t want_x[3] = {in[1] * in[2], in[2], 1}, want_y[3] = {out[1] * out[2], out[2], 1};
  for (int d = 0; d < 3; d++)
    if ((in[d] > 1 && xs[2 + d] != want_x[d]) || (out[d] > 1 && ys[2 + d] != want_y[d])) return false;
  return out[2] >= 4;
}

void LN_FN(max_rows)(const plan *q);
bool LN_FN(max_rows_dx)(const plan *q); /* false when an index lies outside the plane */
void LN_FN(mean_rows)(const plan *q);
void LN_FN(mean_rows_dx)(const plan *q);

#endif
