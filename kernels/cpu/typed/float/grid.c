/* grid.c - sampling by a grid of coordinates, and the gradient by what is sampled. Points are taken in chunks: where each looks and what counts how much is
 * found once, and serves all channels. */
#include "../../cpu.h"

#include "../../../grid.h"

enum { CHUNK = 64 };

typedef struct chunk {
  int64_t first, n;                     /* points */
  int count[CHUNK];                     /* taps of each */
  int64_t offset[CHUNK * LN_GRID_TAPS]; /* elements of x, of channel 0 */
  ln_t weight[CHUNK * LN_GRID_TAPS];
} chunk;

static void look(const ln_grid *g, int64_t image, int64_t first, chunk *c) {
  const ln_t *u = (const ln_t *)g->grid + (image * g->points + first) * g->spatial;
  c->first = first;
  c->n = g->points - first < CHUNK ? g->points - first : CHUNK;
  for (int64_t i = 0; i < c->n; i++) {
    int64_t *offset = c->offset + i * LN_GRID_TAPS;
    c->count[i] = ln_grid_point(g, u + i * g->spatial, offset, c->weight + i * LN_GRID_TAPS);
    for (int k = 0; k < c->count[i]; k++) offset[k] = image * g->x_stride[0] + offset[k] * g->x_stride[2];
  }
}

static inline __attribute__((always_inline)) ln_t weighed(const int64_t *offset, const ln_t *weight, int n, const ln_t *x) {
  ln_t sum = 0;
  for (int k = 0; k < n; k++) sum += weight[k] * x[offset[k]];
  return sum;
}

/* The points of a chunk in one channel: its plane and where their values go. Nearly all points of bilinear images have four taps. */
static void sample(const chunk *c, const ln_t *restrict x, ln_t *restrict y) {
  for (int64_t i = 0; i < c->n; i++) {
    const int64_t *offset = c->offset + i * LN_GRID_TAPS;
    const ln_t *weight = c->weight + i * LN_GRID_TAPS;
    y[i] = c->count[i] == 4 ? weighed(offset, weight, 4, x) : weighed(offset, weight, c->count[i], x);
  }
}

/* Elements from the first of the points to those of a chunk. */
static int64_t points_at(const ln_grid *g, const chunk *c, int64_t image, int64_t channel) { return (image * g->c + channel) * g->points + c->first; }

const char *LN_FN(grid_sample)(const ln_grid *g) {
  int64_t chunks = (g->points + CHUNK - 1) / CHUNK;
  LN_SHARE(ln_cpu_threads(g->n * g->c * g->points * 4, LN_GRAIN_LIGHT), i, g->n * chunks, 1, {
    chunk c;
    look(g, i / chunks, i % chunks * CHUNK, &c);
    for (int64_t channel = 0; channel < g->c; channel++)
      sample(&c, (const ln_t *)g->x + channel * g->x_stride[1], (ln_t *)g->y + points_at(g, &c, i / chunks, channel));
  });
  return NULL;
}

static void spread(const chunk *c, ln_t *restrict dx, const ln_t *restrict dy) {
  for (int64_t i = 0; i < c->n; i++) {
    const int64_t *offset = c->offset + i * LN_GRID_TAPS;
    const ln_t *weight = c->weight + i * LN_GRID_TAPS;
    if (c->count[i] == 4)
      for (int k = 0; k < 4; k++) dx[offset[k]] += weight[k] * dy[i];
    else
      for (int k = 0; k < c->count[i]; k++) dx[offset[k]] += weight[k] * dy[i];
  }
}

/* Threads share the images, and the channels where there are more threads than images, so that each element is summed in one order. */
const char *LN_FN(grid_sample_dx)(const ln_grid *g) {
  int threads = ln_cpu_threads(g->n * g->c * g->points * 4, LN_GRAIN_LIGHT);
  int64_t parts = g->n >= threads ? 1 : g->c < threads ? g->c : threads, each = (g->c + parts - 1) / parts;
  LN_SHARE(threads, i, g->n * parts, 1, {
    int64_t image = i / parts, from = i % parts * each, to = from + each < g->c ? from + each : g->c;
    chunk c;
    for (int64_t first = 0; first < g->points; first += CHUNK) {
      look(g, image, first, &c);
      for (int64_t channel = from; channel < to; channel++)
        spread(&c, (ln_t *)g->y + channel * g->x_stride[1], (const ln_t *)g->x + points_at(g, &c, image, channel));
    }
  });
  return NULL;
}
