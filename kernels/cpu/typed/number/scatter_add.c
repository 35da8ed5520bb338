/* scatter_add.c - adding by an index, in the order of the index: deterministic. For one compute type and instruction set.
 *
 * Threads share the destinations, each passing over the whole index, so that every element still adds in its order. */
#include "../../../half.h"
#include "../../threads.h"

/* n elements of x added to n of y, strides in bytes. Sums are made in the compute type and stored each time. */
#define ADD_LINE(type, from, to)                                                                                                  \
  {                                                                                                                               \
    if (sy == (int64_t)sizeof(type) && sx == (int64_t)sizeof(type)) {                                                             \
      type *restrict v = (type *)y;                                                                                               \
      const type *restrict u = (const type *)x;                                                                                   \
      for (int64_t i = 0; i < n; i++) v[i] = (type)to((ln_t)(from(v[i]) + from(u[i])));                                           \
    } else {                                                                                                                      \
      for (int64_t i = 0; i < n; i++, y += sy, x += sx) *(type *)y = (type)to((ln_t)(from(*(type *)y) + from(*(const type *)x))); \
    }                                                                                                                             \
    return;                                                                                                                       \
  }
#define SAME(v) (v)
#define TRUTH(v) ((v) != 0)

static inline __attribute__((always_inline)) void add_line(char *y, int64_t sy, const char *x, int64_t sx, int dtype, int64_t n) {
  switch (dtype) {
#if LN_IS(LN_TYPE) == LN_IS_f32
  case LN_FLOAT16: ADD_LINE(uint16_t, ln_from_half, ln_to_half)
  case LN_BFLOAT16: ADD_LINE(uint16_t, ln_from_bfloat, ln_to_bfloat)
#endif
#ifdef LN_INTEGER
  case LN_INT8: ADD_LINE(int8_t, SAME, SAME)
  case LN_INT16: ADD_LINE(int16_t, SAME, SAME)
  case LN_INT32: ADD_LINE(int32_t, SAME, SAME)
  case LN_UINT8: ADD_LINE(uint8_t, SAME, SAME)
  case LN_BOOL: ADD_LINE(uint8_t, TRUTH, TRUTH)
#endif
  default: ADD_LINE(ln_t, SAME, SAME)
  }
}

typedef struct work {
  const ln_indexed *job;
  int64_t low, high; /* the indexes that this thread serves */
} work;

/* Runs along which the index stays: whole lines are added. */
static void add_lines(const work *w, int64_t rows, int64_t n, char *const *p) {
  const ln_loop *l = &w->job->loop;
  int last = l->ndim - 1;
  int64_t step[3];
  for (int k = 0; k < 3; k++) step[k] = ln_row_stride(l, k);
  for (int64_t r = 0; r < rows; r++) {
    int64_t at = *(const int64_t *)(p[2] + r * step[2]);
    if (at < w->low || at >= w->high) continue;
    add_line(p[0] + r * step[0] + at * w->job->stride, l->stride[0][last], p[1] + r * step[1], l->stride[1][last], w->job->dtype, n);
  }
}

static void add_elements(const work *w, int64_t n, char *y, const char *x, const char *index) {
  const ln_loop *l = &w->job->loop;
  int last = l->ndim - 1;
  for (int64_t k = 0; k < n; k++, y += l->stride[0][last], x += l->stride[1][last], index += l->stride[2][last]) {
    int64_t at = *(const int64_t *)index;
    if (at >= w->low && at < w->high) add_line(y + at * w->job->stride, 0, x, 0, w->job->dtype, 1);
  }
}

static void add_run(void *context, int64_t rows, int64_t n, char *const *p) {
  const work *w = context;
  const ln_loop *l = &w->job->loop;
  if (l->stride[2][l->ndim - 1] == 0) {
    add_lines(w, rows, n, p);
    return;
  }
  for (int64_t r = 0; r < rows; r++)
    add_elements(w, n, p[0] + r * ln_row_stride(l, 0), p[1] + r * ln_row_stride(l, 1), p[2] + r * ln_row_stride(l, 2));
}

const char *LN_FN(scatter_add)(const ln_indexed *job) {
  int threads = ln_cpu_threads(job->loop.numel, LN_GRAIN_LIGHT);
  if (threads > job->size) threads = job->size > 1 ? (int)job->size : 1;
  LN_SHARE(threads, t, threads, 1, {
    work w = {job, job->size * t / threads, job->size * (t + 1) / threads};
    ln_cpu_walk_rows(&job->loop, INT64_MAX, add_run, &w);
  });
  return NULL;
}

#ifndef LN_INTEGER
/* n elements of y become y + s * x. */
static void add_scaled(char *y, const char *x, ln_t s, int dtype, int64_t n) {
  ln_t LN_ALIGN sum[LN_BUFFER], row[LN_BUFFER];
  const int64_t item = ln_cpu_size_of(dtype);
  if (dtype == LN_T_DTYPE) {
    ln_t *restrict v = (ln_t *)y;
    const ln_t *restrict u = (const ln_t *)x;
    for (int64_t i = 0; i < n; i++) v[i] += s * u[i];
    return;
  }
  for (int64_t done = 0; done < n; done += LN_BUFFER, y += LN_BUFFER * item, x += LN_BUFFER * item) {
    const int64_t m = n - done < LN_BUFFER ? n - done : LN_BUFFER;
    LN_FN(load)(y, item, dtype, m, sum);
    LN_FN(load)(x, item, dtype, m, row);
    for (int64_t i = 0; i < m; i++) sum[i] += s * row[i];
    LN_FN(store)(y, item, dtype, m, sum);
  }
}
#endif

/* Row from[i] of the source added to row id of the destination. */
static inline void add_row(const ln_take *t, int64_t id, int64_t i) {
  const int64_t item = ln_cpu_size_of(t->dtype), bytes = t->width * item;
  char *y = t->out + id * bytes;
  const char *x = t->in + (t->from ? t->from[i] : i) * bytes;
#ifndef LN_INTEGER
  if (t->scale) {
    add_scaled(y, x, ((const ln_t *)t->scale)[i], t->dtype, t->width);
    return;
  }
#endif
  add_line(y, item, x, item, t->dtype, t->width);
}

const char *LN_FN(take_add)(const ln_take *t) {
  int threads = ln_cpu_threads(t->n * t->width, LN_GRAIN_LIGHT);
  if (threads > t->rows) threads = t->rows > 1 ? (int)t->rows : 1;
  LN_SHARE(threads, k, threads, 1, {
    int64_t low = t->rows * k / threads, high = t->rows * (k + 1) / threads;
    for (int64_t i = 0; i < t->n; i++) {
      int64_t id = t->ids[i];
      if (id >= low && id < high && id != t->skip) add_row(t, id, i);
    }
  });
  return NULL;
}
