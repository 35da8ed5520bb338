/* pool.c - maximum and mean over windows of 1 to 3 dimensions and their gradients, for one compute type and instruction set.
 *
 * Rows of outputs that lie one after another, with those of the input, are folded tap by tap (pool_rows.c). In other layouts a window is folded for a
 * block of channels at once: channels-last memory vectorises over them, else a few channels share the arithmetic of positions. Gradients are scattered image by image and channel block by channel block, so that threads never meet. */
#include "pool.h"

#include "../../dense.h"
#include "../../vector.h"

#include <math.h>

static window window_at(const plan *q, const window *line, int64_t ow) {
  window w = *line;
  window_dim(q, &w, 2, ow);
  return w;
}

static bool is_empty(const window *w) { return w->low[0] >= w->high[0] || w->low[1] >= w->high[1] || w->low[2] >= w->high[2]; }

#define EACH_TAP(q, w, d, h, v)                                              \
  for (int64_t d = (w)->low[0]; d < (w)->high[0]; d += (q)->s.dilation[0])   \
    for (int64_t h = (w)->low[1]; h < (w)->high[1]; h += (q)->s.dilation[1]) \
      for (int64_t v = (w)->low[2]; v < (w)->high[2]; v += (q)->s.dilation[2])

static double divisor_of(const plan *q, const window *w) {
  if (q->p->divisor) return (double)q->p->divisor;
  if (q->p->count_include_pad) return (double)w->padded;
  return (double)((w->high[0] - w->low[0]) * (w->high[1] - w->low[1]) * (w->high[2] - w->low[2]));
}

/* What one thread does at a time: a channel block of one image, of which forward takes one line. */
typedef struct task {
  int64_t x, y, channels, line;
} task;

static task task_of(const plan *q, int64_t i, int64_t lines) {
  int64_t line = i % lines, rest = i / lines, block = rest % q->blocks, image = rest / q->blocks, c = block * q->block;
  int64_t left = q->p->c - c;
  return (task){image * q->s.xs[0] + c * q->s.xs[1], image * q->s.ys[0] + c * q->s.ys[1], left < q->block ? left : q->block, line};
}

/* -- Maximum -- */

/* Up to VECTOR values. Reading beyond them is reading others of the same tensor, but for its last ones. */
static inline vector values_at(const plan *q, const ln_t *x, int64_t n) {
  if (x + VECTOR <= q->end) return *(const vector *)x;
  vector v = {0};
  for (int64_t i = 0; i < n; i++) v[i] = x[i];
  return v;
}

static inline vector values_apart(const ln_t *x, int64_t n, int64_t stride) {
  vector v = {0};
  for (int64_t i = 0; i < n; i++) v[i] = x[i * stride];
  return v;
}

/* The largest value of a window and its position, for up to VECTOR channels from x on; NaN wins. */
static inline __attribute__((always_inline)) void max_window(const plan *q, const window *w, const ln_t *x, int64_t n, bool neighbours, vector *best,
                                                             truths *where) {
  vector top = vector_of((ln_t)-INFINITY);
  truths at = (ln_truth)((w->low[0] * q->s.in[1] + w->low[1]) * q->s.in[2] + w->low[2]) - (truths){0};
  EACH_TAP(q, w, d, h, v) {
    const ln_t *tap = x + x_offset(q, d, h, v);
    vector value = neighbours ? values_at(q, tap, n) : values_apart(tap, n, q->s.xs[1]);
    truths better = (truths)(value > top) | (truths)(value != value);
    top = choose(better, value, top);
    at = (better & ((ln_truth)((d * q->s.in[1] + h) * q->s.in[2] + v) - (truths){0})) | (~better & at);
  }
  *best = top;
  *where = at;
}

/* n values and positions into y and indices. */
static inline void put_largest(const plan *q, int64_t at, int64_t n, const vector *best, const truths *where) {
  ln_t *y = (ln_t *)q->p->y + at;
  int64_t *indices = q->p->indices + at, stride = q->s.ys[1];
  ln_t LN_ALIGN value[VECTOR];
  ln_truth LN_ALIGN position[VECTOR];
  *(vector *)value = *best;
  *(truths *)position = *where;
  if (n == VECTOR && stride == 1) {
    for (int i = 0; i < VECTOR; i++) y[i] = value[i], indices[i] = position[i];
  } else {
    for (int64_t i = 0; i < n; i++) y[i * stride] = value[i], indices[i * stride] = position[i];
  }
}

static inline __attribute__((always_inline)) void max_line(const plan *q, const task *t, bool neighbours) {
  window line = window_of_line(q, t->line);
  for (int64_t ow = 0; ow < q->s.out[2]; ow++) {
    window w = window_at(q, &line, ow);
    int64_t at = t->y + y_offset(q, t->line, ow);
    for (int64_t c = 0; c < t->channels; c += VECTOR) {
      int64_t n = t->channels - c < VECTOR ? t->channels - c : VECTOR;
      vector best;
      truths where;
      max_window(q, &w, (const ln_t *)q->p->x + t->x + c * q->s.xs[1], n, neighbours, &best, &where);
      put_largest(q, at + c * q->s.ys[1], n, &best, &where);
    }
  }
}

static const char *max_forward(const ln_pool *p) {
  plan q = plan_of(p);
  if (q.plane > POSITIONS) return "the plane is too large";
  if (in_rows(&q)) {
    LN_FN(max_rows)(&q);
    return NULL;
  }
  int64_t tasks = p->n * q.blocks * q.lines;
  LN_SHARE(threads_for(&q), i, tasks, 1, {
    task t = task_of(&q, i, q.lines);
    if (q.s.xs[1] == 1 && q.s.ys[1] == 1)
      max_line(&q, &t, true);
    else
      max_line(&q, &t, false);
  });
  return NULL;
}

/* Offset of a flat position in the plane. */
static int64_t position_offset(const plan *q, int64_t position) {
  int64_t v = position % q->s.in[2], rest = position / q->s.in[2];
  return x_offset(q, rest / q->s.in[1], rest % q->s.in[1], v);
}

/* false when an index lies outside the plane */
static bool max_scatter(const plan *q, const task *t) {
  const ln_t *dy = (const ln_t *)q->p->x + t->y;
  const int64_t *indices = q->p->indices + t->y;
  ln_t *dx = (ln_t *)q->p->y + t->x;
  bool flat = q->s.xs[3] == q->s.in[2] * q->s.xs[4] && (q->s.in[0] == 1 || q->s.xs[2] == q->s.in[1] * q->s.xs[3]), good = true;
  for (int64_t line = 0; line < q->lines; line++)
    for (int64_t ow = 0; ow < q->s.out[2]; ow++) {
      int64_t at = y_offset(q, line, ow);
      for (int64_t i = 0; i < t->channels; i++) {
        int64_t position = indices[at + i * q->s.ys[1]];
        if ((uint64_t)position >= (uint64_t)q->plane) {
          good = false;
          continue;
        }
        dx[(flat ? position * q->s.xs[4] : position_offset(q, position)) + i * q->s.xs[1]] += dy[at + i * q->s.ys[1]];
      }
    }
  return good;
}

static void clear(const plan *q, ln_t *dx) {
  int64_t n = q->p->n * q->p->c * q->plane;
  LN_SHARE(ln_cpu_threads(n, LN_GRAIN_LIGHT), i, n, DENSE_CHUNK,
           { memset(dx + i, 0, (size_t)(n - i < DENSE_CHUNK ? n - i : DENSE_CHUNK) * sizeof *dx); });
}

#define OUTSIDE "an index lies outside the input plane"

static const char *max_backward(const ln_pool *p) {
  plan q = plan_of(p);
  if (in_rows(&q)) return LN_FN(max_rows_dx)(&q) ? NULL : OUTSIDE;
  int64_t tasks = p->n * q.blocks;
  int bad = 0;
  clear(&q, (ln_t *)p->y);
  LN_SHARE(threads_for(&q), i, tasks, 1, {
    task t = task_of(&q, i, 1);
    if (!max_scatter(&q, &t)) __atomic_store_n(&bad, 1, __ATOMIC_RELAXED);
  });
  return bad ? OUTSIDE : NULL;
}

/* -- Mean -- */

static inline __attribute__((always_inline)) void add_tap(ln_t *restrict sum, const ln_t *restrict x, int64_t n, int64_t to, int64_t from) {
  for (int64_t i = 0; i < n; i++) sum[i * to] += x[i * from];
}

static void mean_line(const plan *q, const task *t) {
  ln_t LN_ALIGN sum[BLOCK];
  const ln_t *x = (const ln_t *)q->p->x + t->x;
  window shared = window_of_line(q, t->line);
  for (int64_t ow = 0; ow < q->s.out[2]; ow++) {
    window w = window_at(q, &shared, ow);
    ln_t *y = (ln_t *)q->p->y + t->y + y_offset(q, t->line, ow);
    memset(sum, 0, (size_t)t->channels * sizeof *sum);
    EACH_TAP(q, &w, d, h, v) {
      const ln_t *tap = x + x_offset(q, d, h, v);
      if (q->s.xs[1] == 1)
        add_tap(sum, tap, t->channels, 1, 1);
      else
        add_tap(sum, tap, t->channels, 1, q->s.xs[1]);
    }
    ln_t divisor = is_empty(&w) ? 1 : (ln_t)divisor_of(q, &w);
    for (int64_t i = 0; i < t->channels; i++) y[i * q->s.ys[1]] = sum[i] / divisor;
  }
}

static const char *mean_forward(const ln_pool *p) {
  plan q = plan_of(p);
  if (in_rows(&q)) {
    LN_FN(mean_rows)(&q);
    return NULL;
  }
  int64_t tasks = p->n * q.blocks * q.lines;
  LN_SHARE(threads_for(&q), i, tasks, 1, {
    task t = task_of(&q, i, q.lines);
    mean_line(&q, &t);
  });
  return NULL;
}

static void mean_scatter(const plan *q, const task *t) {
  ln_t LN_ALIGN share[BLOCK];
  const ln_t *dy = (const ln_t *)q->p->x + t->y;
  ln_t *dx = (ln_t *)q->p->y + t->x;
  for (int64_t line = 0; line < q->lines; line++) {
    window shared = window_of_line(q, line);
    for (int64_t ow = 0; ow < q->s.out[2]; ow++) {
      window w = window_at(q, &shared, ow);
      if (is_empty(&w)) continue;
      const ln_t *g = dy + y_offset(q, line, ow);
      ln_t divisor = (ln_t)divisor_of(q, &w);
      for (int64_t i = 0; i < t->channels; i++) share[i] = g[i * q->s.ys[1]] / divisor;
      EACH_TAP(q, &w, d, h, v) {
        ln_t *tap = dx + x_offset(q, d, h, v);
        if (q->s.xs[1] == 1)
          add_tap(tap, share, t->channels, 1, 1);
        else
          add_tap(tap, share, t->channels, q->s.xs[1], 1);
      }
    }
  }
}

static const char *mean_backward(const ln_pool *p) {
  plan q = plan_of(p);
  if (in_rows(&q)) {
    LN_FN(mean_rows_dx)(&q);
    return NULL;
  }
  int64_t tasks = p->n * q.blocks;
  clear(&q, (ln_t *)p->y);
  LN_SHARE(threads_for(&q), i, tasks, 1, {
    task t = task_of(&q, i, 1);
    mean_scatter(&q, &t);
  });
  return NULL;
}

/* -- Half types: widened, computed, narrowed -- */

typedef const char *(*pool_fn)(const ln_pool *p);

static const char *run(const ln_pool *p, pool_fn fn, bool backward) {
  if (p->dtype == LN_T_DTYPE) return fn(p);
  int64_t nx = p->n * p->c, ny = nx;
  for (int d = 0; d < p->spatial; d++) nx *= p->in[d], ny *= p->out[d];
  int64_t read = backward ? ny : nx, written = backward ? nx : ny;
  ln_t *x = dense_load(p->x, p->dtype, read), *y = dense_load(NULL, p->dtype, written);
  const char *failure = x && y ? NULL : "out of memory for the float copies";
  ln_pool wide = *p;
  wide.dtype = LN_T_DTYPE;
  wide.x = (const char *)x;
  wide.y = (char *)y;
  if (!failure) failure = fn(&wide);
  if (!failure) dense_store(p->y, p->dtype, written, y);
  free(x);
  free(y);
  return failure;
}

const char *LN_FN(max_pool)(const ln_pool *p) { return run(p, max_forward, false); }

const char *LN_FN(max_pool_dx)(const ln_pool *p) { return run(p, max_backward, true); }

const char *LN_FN(avg_pool)(const ln_pool *p) { return run(p, mean_forward, false); }

const char *LN_FN(avg_pool_dx)(const ln_pool *p) { return run(p, mean_backward, true); }
