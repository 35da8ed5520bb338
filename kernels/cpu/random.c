/* random.c - random numbers and arithmetic progressions into a tensor: element i of the logical order is a function of its number alone. */
#include "threads.h"

#include "../philox.h"

static double draw(const ln_random *w, uint64_t i, bool wide) {
  uint64_t n = w->offset + i;
  switch (w->kind) {
  case LN_RANDOM_UNIFORM: return w->a + (w->b - w->a) * ln_draw_unit(ln_draw_bits(w->seed, n), wide);
  default: return ln_draw_unit(ln_draw_bits(w->seed, n), 1) < w->a;
  }
}

/* A float32 result that rounding has brought up to the open end is put just below it. */
static double below_end(const ln_random *w, double v, bool wide) {
  if (w->kind == LN_RANDOM_UNIFORM && !wide && (float)v >= (float)w->b && w->a < w->b) return w->a;
  return v;
}

/* n normal numbers from number i of the reservation on, two at a time. */
static void draw_normals(const ln_random *w, uint64_t i, int64_t n, double *out) {
  uint64_t first = w->offset + i;
  int64_t k = 0;
  if (first & 1) out[k++] = w->a + w->b * ln_draw_normal(w->seed, first);
  for (; k + 1 < n; k += 2) {
    ln_draw_normals(w->seed, (first + (uint64_t)k) >> 1, out + k);
    out[k] = w->a + w->b * out[k];
    out[k + 1] = w->a + w->b * out[k + 1];
  }
  if (k < n) out[k] = w->a + w->b * ln_draw_normal(w->seed, first + (uint64_t)k);
}

static void fill_range(const ln_random *w, int64_t low, int64_t high) {
  const ln_loop *l = &w->loop;
  int last = l->ndim - 1, type = l->dtype[0];
  bool wide = type == LN_FLOAT64, whole = w->kind == LN_RANDOM_INTEGER;
  int64_t buffer[LN_BUFFER], at[16], i = low;
  while (i < high) {
    char *y = l->data[0];
    for (int64_t d = last, rest = i; d >= 0; d--) {
      at[d] = rest % l->shape[d];
      rest /= l->shape[d];
      y += at[d] * l->stride[0][d];
    }
    int64_t n = l->shape[last] - at[last];
    if (n > high - i) n = high - i;
    if (n > LN_BUFFER) n = LN_BUFFER;
    if (w->kind == LN_RANDOM_NORMAL) draw_normals(w, (uint64_t)i, n, (double *)buffer);
    for (int64_t k = 0; k < n && w->kind != LN_RANDOM_NORMAL; k++) {
      if (whole)
        buffer[k] = w->low + (int64_t)ln_draw_below(ln_draw_bits(w->seed, w->offset + (uint64_t)(i + k)), (uint64_t)w->high - (uint64_t)w->low);
      else
        ((double *)buffer)[k] = below_end(w, draw(w, (uint64_t)(i + k), wide), wide);
    }
    ln_cpu_typed_now[whole ? 2 : 1]->store(y, l->stride[0][last], type, n, buffer);
    i += n;
  }
}

const char *ln_cpu_random(const ln_random *w) {
  int64_t n = w->loop.numel;
  if (n == 0) return NULL;
  int threads = ln_cpu_threads(n, LN_GRAIN_DEAR);
  int64_t chunk = (n + threads - 1) / threads;
  LN_SHARE(threads, t, threads, 1, {
    int64_t low = t * chunk, high = low + chunk < n ? low + chunk : n;
    if (low < high) fill_range(w, low, high);
  });
  return NULL;
}

const char *ln_cpu_arange(const ln_arange *a) {
  int item = ln_cpu_size_of(a->dtype);
  double buffer[LN_BUFFER];
  for (int64_t i = 0; i < a->n; i += LN_BUFFER) {
    int64_t m = a->n - i < LN_BUFFER ? a->n - i : LN_BUFFER;
    for (int64_t k = 0; k < m; k++) buffer[k] = a->start + (double)(i + k) * a->step;
    ln_cpu_typed_now[1]->store(a->y + i * item, item, a->dtype, m, buffer);
  }
  return NULL;
}
