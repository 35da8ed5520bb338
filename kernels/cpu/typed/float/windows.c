/* windows.c - the largest elements of windows that tables give: adaptive and fractional pooling. */
#include "../../dense.h"

#include <math.h>

typedef struct place {
  int64_t plane, at[3]; /* the image and channel; the window in each dim */
} place;

/* The last NaN, else the first of the largest, and its index into the plane. */
static ln_t largest(const ln_windows *w, const ln_t *x, const int64_t *low, const int64_t *high, int64_t *index) {
  int64_t best = (low[0] * w->in[1] + low[1]) * w->in[2] + low[2];
  ln_t top = x[low[0] * w->x_stride[2] + low[1] * w->x_stride[3] + low[2] * w->x_stride[4]];
  for (int64_t d = low[0]; d < high[0]; d++)
    for (int64_t h = low[1]; h < high[1]; h++)
      for (int64_t v = low[2]; v < high[2]; v++) {
        ln_t value = x[d * w->x_stride[2] + h * w->x_stride[3] + v * w->x_stride[4]];
        if (!(value > top || value != value)) continue;
        top = value;
        best = (d * w->in[1] + h) * w->in[2] + v;
      }
  *index = best;
  return top;
}

static void one(const ln_windows *w, const place *p) {
  int64_t low[3], high[3], n = p->plane / w->c, c = p->plane % w->c, to = n * w->y_stride[0] + c * w->y_stride[1];
  const ln_t *x = (const ln_t *)w->x + n * w->x_stride[0] + c * w->x_stride[1];
  for (int d = 0; d < 3; d++) {
    int64_t entry = (w->planes ? p->plane * w->out[d] : 0) + p->at[d];
    low[d] = w->low[d][entry];
    high[d] = w->high[d][entry];
    to += p->at[d] * w->y_stride[2 + d];
  }
  ((ln_t *)w->y)[to] = largest(w, x, low, high, &w->indices[to]);
}

static void forward(const ln_windows *w) {
  int64_t lines = w->out[0] * w->out[1], work = w->n * w->c * w->in[0] * w->in[1] * w->in[2];
  LN_SHARE(ln_cpu_threads(work, LN_GRAIN_LIGHT), i, w->n * w->c * lines, 1, {
    place p = {i / lines, {i % lines / w->out[1], i % w->out[1], 0}};
    for (; p.at[2] < w->out[2]; p.at[2]++) one(w, &p);
  });
}

const char *LN_FN(window_max)(const ln_windows *w) {
  if (w->dtype == LN_T_DTYPE) {
    forward(w);
    return NULL;
  }
  int64_t planes = w->n * w->c, nx = planes * w->in[0] * w->in[1] * w->in[2], ny = planes * w->out[0] * w->out[1] * w->out[2];
  ln_t *x = dense_load(w->x, w->dtype, nx), *y = dense_load(NULL, w->dtype, ny);
  ln_windows wide = *w;
  wide.x = (const char *)x;
  wide.y = (char *)y;
  if (x && y) forward(&wide);
  if (x && y) dense_store(w->y, w->dtype, ny, y);
  bool failed = !x || !y;
  free(x);
  free(y);
  return failed ? "out of memory for the float copies" : NULL;
}
