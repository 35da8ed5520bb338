/* norm.c - batch normalisation over x [N, C, M] in any strides, for one float type and instruction set.
 *
 * Sums run per channel in the order of n and m, in pieces of LN_BUFFER elements whose sums are added in double, so that they do not depend on threads.
 * Where channels lie side by side (channels-last), LANES of them are summed at once. */
#include "../../cpu.h"

#include <math.h>
#include <stdlib.h>

#define LANES 16

enum what { MEAN, SPREAD, GRADIENT };

/* Sums of `width` channels from `first` on. */
typedef struct sums {
  double a[LANES], b[LANES];
} sums;

typedef struct view {
  const char *data;
  const int64_t *stride; /* of n, c, m in elements */
  int dtype, item;
} view;

static view view_of(const char *data, const int64_t *stride, int dtype) { return (view){data, stride, dtype, ln_cpu_size_of(dtype)}; }

/* `count` elements from (n, c, m) on along a stride, in compute type: in place where they lie so, else in the buffer. */
static const ln_t *line(const view *v, int64_t n, int64_t c, int64_t m, int64_t stride, int64_t count, ln_t *buffer) {
  const char *p = v->data + (n * v->stride[0] + c * v->stride[1] + m * v->stride[2]) * v->item;
  if (v->dtype == LN_T_DTYPE && stride == 1) return (const ln_t *)p;
  LN_FN(load)(p, stride * v->item, v->dtype, count, buffer);
  return buffer;
}

static inline __attribute__((always_inline)) void add_one(enum what what, ln_t x, ln_t dy, ln_t mean, ln_t rstd, ln_t *a, ln_t *b) {
  if (what == MEAN) *a += x;
  if (what == SPREAD) *a += (x - mean) * (x - mean);
  if (what == GRADIENT) {
    *a += dy;
    *b += dy * ((x - mean) * rstd);
  }
}

/* One channel whose elements of a plane follow each other. */
static inline __attribute__((always_inline)) void sum_planes(enum what what, const ln_norm *w, int64_t c, ln_t mean, ln_t rstd, double *a,
                                                             double *b) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN db[LN_BUFFER];
  view x = view_of(w->x, w->x_stride, w->dtype), dy = view_of(w->dy, w->dy_stride, w->dtype);
  for (int64_t n = 0; n < w->n; n++) {
    for (int64_t m = 0; m < w->m; m += LN_BUFFER) {
      int64_t count = w->m - m < LN_BUFFER ? w->m - m : LN_BUFFER;
      const ln_t *px = line(&x, n, c, m, w->x_stride[2], count, xb);
      const ln_t *pd = what == GRADIENT ? line(&dy, n, c, m, w->dy_stride[2], count, db) : px;
      ln_t la[LANES] = {0}, lb[LANES] = {0};
      int64_t i = 0;
      for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) add_one(what, px[i + j], pd[i + j], mean, rstd, &la[j], &lb[j]);
      for (int j = 0; i < count; i++, j++) add_one(what, px[i], pd[i], mean, rstd, &la[j], &lb[j]);
      for (int j = 0; j < LANES; j++) {
        *a += (double)la[j];
        *b += (double)lb[j];
      }
    }
  }
}

/* Up to LANES channels that lie side by side. */
static inline __attribute__((always_inline)) void sum_columns(enum what what, const ln_norm *w, int64_t c, int64_t width, const ln_t *mean,
                                                              const ln_t *rstd, sums *s) {
  ln_t LN_ALIGN xb[LANES] = {0}, LN_ALIGN db[LANES] = {0}, la[LANES] = {0}, lb[LANES] = {0};
  view x = view_of(w->x, w->x_stride, w->dtype), dy = view_of(w->dy, w->dy_stride, w->dtype);
  bool whole = width == LANES;
  int64_t pending = 0;
  for (int64_t n = 0; n < w->n; n++) {
    for (int64_t m = 0; m < w->m; m++) {
      const ln_t *px = line(&x, n, c, m, 1, width, xb), *pd = what == GRADIENT ? line(&dy, n, c, m, w->dy_stride[1], width, db) : px;
      if (whole)
        for (int j = 0; j < LANES; j++) add_one(what, px[j], pd[j], mean[j], rstd[j], &la[j], &lb[j]);
      else
        for (int j = 0; j < width; j++) add_one(what, px[j], pd[j], mean[j], rstd[j], &la[j], &lb[j]);
      bool last = n == w->n - 1 && m == w->m - 1;
      if (++pending < LN_BUFFER && !last) continue;
      pending = 0;
      for (int j = 0; j < LANES; j++) {
        s->a[j] += (double)la[j];
        s->b[j] += (double)lb[j];
        la[j] = lb[j] = 0;
      }
    }
  }
}

static bool side_by_side(const ln_norm *w) { return w->x_stride[1] == 1 && w->c > 1; }

static inline __attribute__((always_inline)) void sum_kind(enum what what, const ln_norm *w, int64_t c, int64_t width, const ln_t *mean,
                                                           const ln_t *rstd, sums *s) {
  if (side_by_side(w)) {
    sum_columns(what, w, c, width, mean, rstd, s);
    return;
  }
  for (int64_t j = 0; j < width; j++) sum_planes(what, w, c + j, mean[j], rstd[j], &s->a[j], &s->b[j]);
}

static void sum_block(enum what what, const ln_norm *w, int64_t c, int64_t width, const ln_t *mean, const ln_t *rstd, sums *s) {
  memset(s, 0, sizeof *s);
  switch (what) {
  case MEAN: sum_kind(MEAN, w, c, width, mean, rstd, s); return;
  case SPREAD: sum_kind(SPREAD, w, c, width, mean, rstd, s); return;
  default: sum_kind(GRADIENT, w, c, width, mean, rstd, s);
  }
}

/* -- out = x * a + b, or out = dy * a + x * b + d, with numbers of the channel -- */

typedef struct mix {
  const ln_t *a, *b, *d; /* a: of dy, NULL forward; b: of x; d: alone */
  view x, dy;
  char *out;
  const int64_t *out_stride;
} mix;

/* `count` elements along channels (columns) or along a plane. */
static void mix_line(const mix *k, const ln_norm *w, int64_t n, int64_t c, int64_t m, int64_t count, bool columns) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN db[LN_BUFFER], LN_ALIGN ob[LN_BUFFER];
  int64_t sx = k->x.stride[columns ? 1 : 2], so = k->out_stride[columns ? 1 : 2];
  const ln_t *x = line(&k->x, n, c, m, sx, count, xb);
  const ln_t *dy = k->a ? line(&k->dy, n, c, m, k->dy.stride[columns ? 1 : 2], count, db) : NULL;
  int item = k->x.item;
  char *y = k->out + (n * k->out_stride[0] + c * k->out_stride[1] + m * k->out_stride[2]) * item;
  bool direct = w->dtype == LN_T_DTYPE && so == 1;
  ln_t *out = direct ? (ln_t *)y : ob;
  if (columns && dy)
    for (int64_t i = 0; i < count; i++) out[i] = dy[i] * k->a[c + i] + x[i] * k->b[c + i] + k->d[c + i];
  else if (columns)
    for (int64_t i = 0; i < count; i++) out[i] = x[i] * k->b[c + i] + k->d[c + i];
  else if (dy)
    for (int64_t i = 0; i < count; i++) out[i] = dy[i] * k->a[c] + x[i] * k->b[c] + k->d[c];
  else
    for (int64_t i = 0; i < count; i++) out[i] = x[i] * k->b[c] + k->d[c];
  if (!direct) LN_FN(store)(y, so * item, w->dtype, count, ob);
}

static bool is_packed(const ln_norm *w, const int64_t *stride) {
  return stride[1] == 1 && stride[2] == w->c && (w->n == 1 || stride[0] == w->m * w->c);
}

/* Few channels side by side in memory without gaps: several positions make one line, whose numbers repeat those of the channels. */
static bool mix_packed(const mix *k, const ln_norm *w) {
  int64_t pack = LN_BUFFER / w->c, rows = w->n * w->m;
  if (pack < 2 || !is_packed(w, k->x.stride) || !is_packed(w, k->out_stride) || (k->a && !is_packed(w, k->dy.stride))) return false;
  ln_t LN_ALIGN a[LN_BUFFER], LN_ALIGN b[LN_BUFFER], LN_ALIGN d[LN_BUFFER];
  for (int64_t i = 0; i < pack * w->c; i++) {
    a[i] = k->a ? k->a[i % w->c] : 0;
    b[i] = k->b[i % w->c];
    d[i] = k->d[i % w->c];
  }
  mix packed = *k;
  packed.a = k->a ? a : NULL, packed.b = b, packed.d = d;
  LN_SHARE(ln_cpu_threads(rows * w->c, LN_GRAIN_LIGHT), r, rows, pack, {
    int64_t count = rows - r < pack ? rows - r : pack;
    mix_line(&packed, w, 0, 0, r, count * w->c, true);
  });
  return true;
}

static void mix_all(const mix *k, const ln_norm *w) {
  if (mix_packed(k, w)) return;
  bool columns = side_by_side(w);
  int64_t lines = columns ? w->n * w->m : w->n * w->c, length = columns ? w->c : w->m;
  int threads = ln_cpu_threads(w->n * w->c * w->m, LN_GRAIN_LIGHT);
  LN_SHARE(threads, i, lines, 1, {
    int64_t n = i / (columns ? w->m : w->c), rest = i % (columns ? w->m : w->c);
    for (int64_t at = 0; at < length; at += LN_BUFFER) {
      int64_t count = length - at < LN_BUFFER ? length - at : LN_BUFFER;
      mix_line(k, w, n, columns ? at : rest, columns ? rest : at, count, columns);
    }
  });
}

/* -- The two passes -- */

static void mix_running(const ln_running *r, int64_t c, int64_t width, const ln_t *value, double momentum) {
  ln_t LN_ALIGN mixed[LANES] = {0};
  if (!r->data) return;
  char *p = r->data + c * r->stride;
  LN_FN(load)(p, r->stride, r->dtype, width, mixed);
  for (int j = 0; j < LANES; j++) mixed[j] = mixed[j] * (ln_t)(1 - momentum) + value[j] * (ln_t)momentum;
  LN_FN(store)(p, r->stride, r->dtype, width, mixed);
}

static void statistics(const ln_norm *w, int64_t c, int64_t width) {
  ln_t *mean = (ln_t *)w->mean + c, *rstd = (ln_t *)w->rstd + c, still[LANES] = {0};
  double count = (double)(w->n * w->m);
  sums s;
  sum_block(MEAN, w, c, width, still, still, &s);
  for (int64_t j = 0; j < width; j++) mean[j] = (ln_t)(s.a[j] / count);
  ln_t padded[LANES] = {0};
  memcpy(padded, mean, sizeof(ln_t) * (size_t)width);
  sum_block(SPREAD, w, c, width, padded, still, &s);
  ln_t variance[LANES] = {0};
  for (int64_t j = 0; j < width; j++) {
    variance[j] = (ln_t)(s.a[j] / count) * (ln_t)(count / (count - 1));
    rstd[j] = (ln_t)(1 / sqrt(s.a[j] / count + w->eps));
  }
  mix_running(&w->running_mean, c, width, padded, w->momentum);
  mix_running(&w->running_var, c, width, variance, w->momentum);
}

static ln_t at(const void *values, int64_t c, ln_t otherwise) { return values ? ((const ln_t *)values)[c] : otherwise; }

const char *LN_FN(batch_norm)(const ln_norm *w) {
  ln_t *scale = malloc(sizeof(ln_t) * 2 * (size_t)w->c);
  if (!scale) return "out of memory for the scales";
  ln_t *shift = scale + w->c;
  int threads = ln_cpu_threads(w->n * w->c * w->m, LN_GRAIN_LIGHT);
  LN_SHARE(w->training ? threads : 1, c, w->c, LANES, {
    int64_t width = w->c - c < LANES ? w->c - c : LANES;
    if (w->training) statistics(w, c, width);
    for (int64_t j = c; j < c + width; j++) {
      scale[j] = at(w->weight, j, 1) * ((const ln_t *)w->rstd)[j];
      shift[j] = at(w->bias, j, 0) - ((const ln_t *)w->mean)[j] * scale[j];
    }
  });
  mix k = {NULL, scale, shift, view_of(w->x, w->x_stride, w->dtype), view_of(NULL, w->x_stride, w->dtype), w->y, w->y_stride};
  mix_all(&k, w);
  free(scale);
  return NULL;
}

static void gradient_block(const ln_norm *w, int64_t c, int64_t width, ln_t *a, ln_t *b, ln_t *d) {
  ln_t mean[LANES] = {0}, rstd[LANES] = {0};
  double count = (double)(w->n * w->m);
  sums s;
  memcpy(mean, (const ln_t *)w->mean + c, sizeof(ln_t) * (size_t)width);
  memcpy(rstd, (const ln_t *)w->rstd + c, sizeof(ln_t) * (size_t)width);
  sum_block(GRADIENT, w, c, width, mean, rstd, &s);
  for (int64_t j = 0; j < width; j++) {
    double k = (double)at(w->weight, c + j, 1) * (double)rstd[j], slope = w->training ? k * (s.b[j] / count) * (double)rstd[j] : 0;
    a[c + j] = (ln_t)k;
    b[c + j] = (ln_t)-slope;
    d[c + j] = (ln_t)(w->training ? slope * (double)mean[j] - k * (s.a[j] / count) : 0);
    if (w->dweight) ((ln_t *)w->dweight)[c + j] = (ln_t)s.b[j];
    if (w->dbias) ((ln_t *)w->dbias)[c + j] = (ln_t)s.a[j];
  }
}

const char *LN_FN(batch_norm_dx)(const ln_norm *w) {
  ln_t *a = malloc(sizeof(ln_t) * 3 * (size_t)w->c);
  if (!a) return "out of memory for the scales";
  ln_t *b = a + w->c, *d = b + w->c;
  int threads = ln_cpu_threads(w->n * w->c * w->m, LN_GRAIN_LIGHT);
  LN_SHARE(threads, c, w->c, LANES, { gradient_block(w, c, w->c - c < LANES ? w->c - c : LANES, a, b, d); });
  if (w->dx) {
    mix k = {a, b, d, view_of(w->x, w->x_stride, w->dtype), view_of(w->dy, w->dy_stride, w->dtype), w->dx, w->dx_stride};
    mix_all(&k, w);
  }
  free(a);
  return NULL;
}
