/* grid.cu - sampling by a grid of coordinates, and the gradient by what is sampled. There the pairs of a point and an element are sorted by element, so
 * that each sums what comes to it in one order, on every run. */
#include "cuda.h"

#include "../grid.h"

namespace cuda::grid {

template <class T> LN_DEVICE const T *coordinates(const ln_grid &g, int64_t point) { return (const T *)g.grid + point * g.spatial; }

template <class T> struct sample {
  ln_grid g;
  LN_DEVICE void operator()(int64_t i) const {
    int64_t offset[LN_GRID_TAPS], point = i % g.points, channel = i / g.points % g.c, image = i / g.points / g.c;
    T weight[LN_GRID_TAPS], sum = 0;
    int n = ln_grid_point(&g, coordinates<T>(g, image * g.points + point), offset, weight);
    const T *x = (const T *)g.x + image * g.x_stride[0] + channel * g.x_stride[1];
    for (int k = 0; k < n; k++) sum += weight[k] * x[offset[k] * g.x_stride[2]];
    ((T *)g.y)[i] = sum;
  }
};

/* The taps of all points: the element that each adds to, counted over all images, and by how much. Those that are left out come last. */
template <class T> struct taps {
  ln_grid g;
  int each; /* taps of a point */
  uint64_t *keys;
  int64_t *order;
  T *weights;
  LN_DEVICE int64_t plane() const { return g.in[0] * g.in[1] * g.in[2]; }
  LN_DEVICE void operator()(int64_t point) const {
    int64_t offset[LN_GRID_TAPS];
    T weight[LN_GRID_TAPS];
    int n = ln_grid_point(&g, coordinates<T>(g, point), offset, weight);
    for (int k = 0; k < each; k++) {
      int64_t to = point * each + k;
      keys[to] = (uint64_t)(k < n ? point / g.points * plane() + offset[k] : g.n * plane());
      order[to] = to;
      weights[to] = k < n ? weight[k] : (T)0;
    }
  }
};

/* The first of a run of equal keys does the work of the run, for one channel. */
template <class T> struct spread {
  taps<T> t;
  int64_t n;
  LN_DEVICE void operator()(int64_t i) const {
    const ln_grid &g = t.g;
    int64_t k = i / g.c, channel = i % g.c, plane = t.plane(), element = (int64_t)t.keys[k];
    if (element == g.n * plane || (k > 0 && t.keys[k - 1] == t.keys[k])) return;
    const T *dy = (const T *)g.x;
    T sum = 0;
    for (int64_t j = k; j < n && t.keys[j] == t.keys[k]; j++) {
      int64_t tap = t.order[j], point = tap / t.each;
      sum += t.weights[tap] * dy[(point / g.points * g.c + channel) * g.points + point % g.points];
    }
    ((T *)g.y)[element / plane * g.x_stride[0] + channel * g.x_stride[1] + element % plane * g.x_stride[2]] = sum;
  }
};

} // namespace cuda::grid

#ifdef LN_HOST_CODE
#include "kernels.h"

namespace cuda::grid {
namespace {

int taps_of_point(const ln_grid *g) {
  int n = 1, each = g->mode == LN_GRID_NEAREST ? 1 : g->mode == LN_GRID_BILINEAR ? 2 : 4;
  for (int d = 0; d < g->spatial; d++) n *= each;
  return n;
}

template <class T> const char *spread_run(const ln_grid *g, int device) {
  int each = taps_of_point(g);
  int64_t points = g->n * g->points, n = points * each;
  size_t sorting = (ln_sort_bytes(n) + 15) & ~(size_t)15;
  ln_scratch scratch(device, sorting + (size_t)n * sizeof(T));
  ln_sort s;
  LN_GPU_TRY(scratch.failure);
  ln_sort_begin(&s, n, scratch.memory);
  T *weights = (T *)((char *)scratch.memory + sorting);
  LN_GPU_TRY(ln_each(device, points, taps<T>{*g, each, s.keys, s.order, weights}));
  LN_GPU_TRY(ln_sort_run(&s, (uint64_t)(g->n * g->in[0] * g->in[1] * g->in[2]), device));
  return ln_each(device, n * g->c, spread<T>{{*g, each, s.keys, s.order, weights}, n});
}

} // namespace
} // namespace cuda::grid

using namespace cuda::grid;

const char *ln_gpu_grid_sample(const ln_grid *g, int device) {
#define SAMPLE(T) ln_each(device, g->n * g->c * g->points, sample<T>{*g})
  LN_BY_FLOAT(g->dtype, SAMPLE);
}

const char *ln_gpu_grid_sample_dx(const ln_grid *g, int device) {
#define SPREAD(T) spread_run<T>(g, device)
  LN_BY_FLOAT(g->dtype, SPREAD);
}
#endif
