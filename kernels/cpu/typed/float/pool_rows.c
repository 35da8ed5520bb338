/* pool_rows.c - pooling where the planes of x and y are row-major: a row of outputs takes one tap of all its windows after another, so that a vector holds
 * neighbouring outputs. For one float type and instruction set. */
#include "pool.h"

#include <math.h>

#include "../../../formula.h"

/* Outputs [from, from + n) of one line of one plane. */
typedef struct part {
  int64_t line, from, n;
  const ln_t *x;
  int64_t y; /* elements before the first output */
} part;

/* The plane that parts or whole planes of both tensors belong to. */
static int64_t plane_of(const plan *q, const int64_t *stride, int64_t plane) { return plane / q->p->c * stride[0] + plane % q->p->c * stride[1]; }

static int64_t parts_of(const plan *q) { return q->lines * ((q->s.out[2] + LN_BUFFER - 1) / LN_BUFFER); }

/* Part i of a plane. */
static part part_at(const plan *q, int64_t plane, int64_t i) {
  part t = {.line = i % q->lines, .from = i / q->lines * LN_BUFFER, .x = (const ln_t *)q->p->x + plane_of(q, q->s.xs, plane)};
  t.n = q->s.out[2] - t.from < LN_BUFFER ? q->s.out[2] - t.from : LN_BUFFER;
  t.y = plane_of(q, q->s.ys, plane) + t.line * q->s.out[2] + t.from;
  return t;
}

/* The outputs of a part, counted from its first, whose window has tap v of the last dim inside the input: [first, last); the input of the first one. */
typedef struct reach {
  int first, last;
  int64_t at;
} reach;

static reach reach_of(const plan *q, const part *t, int64_t v) {
  const int64_t stride = q->s.stride[2], in = q->s.in[2];
  int64_t at = t->from * stride + v * q->s.dilation[2] - q->s.padding[2], first = at < 0 ? (-at + stride - 1) / stride : 0, last = t->n;
  if (at + (last - 1) * stride >= in) last = at >= in ? 0 : (in - 1 - at) / stride + 1;
  return (reach){(int)(first < last ? first : last), (int)last, at + first * stride};
}

/* run(offset, reach) for every tap of the line's windows: the offset of its row in the plane. */
#define EACH_TAP_OF_ROWS(q, t, w, offset, r, ...)                                       \
  for (int64_t ln_d = (w)->low[0]; ln_d < (w)->high[0]; ln_d += (q)->s.dilation[0])     \
    for (int64_t ln_h = (w)->low[1]; ln_h < (w)->high[1]; ln_h += (q)->s.dilation[1]) { \
      const int64_t offset = (ln_d * (q)->s.in[1] + ln_h) * (q)->s.in[2];               \
      for (int64_t ln_v = 0; ln_v < (q)->s.kernel[2]; ln_v++) {                         \
        const reach r = reach_of(q, t, ln_v);                                           \
        __VA_ARGS__                                                                     \
      }                                                                                 \
    }

/* The common strides as constants: what they take apart becomes a shuffle. */
#define BY_STRIDE(stride, CALL) \
  do {                          \
    if ((stride) == 1)          \
      CALL(1);                  \
    else if ((stride) == 2)     \
      CALL(2);                  \
    else                        \
      CALL(stride);             \
  } while (0)

/* -- Maximum -- */

LN_INLINE void take_larger(const ln_t *x, ln_truth position, int64_t stride, int n, ln_t *top, ln_truth *at) {
  LN_INDEPENDENT
  for (int i = 0; i < n; i++) {
    ln_t value = x[i * stride];
    ln_truth better = either(gt(value, top[i]), ne(value, value));
    top[i] = where(better, value, top[i]);
    at[i] = better ? position + (ln_truth)(i * (int)stride) : at[i];
  }
}

/* The first element of each window, whatever it holds. */
static void begin_positions(const plan *q, const part *t, const window *w, ln_truth *at) {
  const int64_t row = (w->low[0] * q->s.in[1] + w->low[1]) * q->s.in[2], step = q->s.dilation[2];
  const int64_t first = t->from * q->s.stride[2] - q->s.padding[2];
  const int stride = (int)q->s.stride[2], n = (int)t->n;
  for (int i = 0; i < n; i++) at[i] = (ln_truth)(row + first) + i * stride;
  for (int i = 0; i < n && at[i] < row; i++) at[i] += (ln_truth)((row - at[i] + step - 1) / step * step);
}

static void max_part(const plan *q, const part *t) {
  ln_t LN_ALIGN top[LN_BUFFER];
  ln_truth LN_ALIGN at[LN_BUFFER];
  window w = window_of_line(q, t->line);
  int64_t *indices = q->p->indices + t->y;
  for (int i = 0; i < t->n; i++) top[i] = -INFINITY;
  begin_positions(q, t, &w, at);
  EACH_TAP_OF_ROWS(q, t, &w, row, r, {
#define TAKE(stride) take_larger(t->x + row + r.at, (ln_truth)(row + r.at), stride, r.last - r.first, top + r.first, at + r.first)
    BY_STRIDE(q->s.stride[2], TAKE);
  })
  memcpy((ln_t *)q->p->y + t->y, top, (size_t)t->n * sizeof *top);
  for (int i = 0; i < t->n; i++) indices[i] = at[i];
}

void LN_FN(max_rows)(const plan *q) {
  const int64_t parts = parts_of(q);
  LN_SHARE(threads_for(q), i, q->p->n * q->p->c * parts, 1, {
    part t = part_at(q, i / parts, i % parts);
    max_part(q, &t);
  });
}

bool LN_FN(max_rows_dx)(const plan *q) {
  const int64_t outs = q->lines * q->s.out[2];
  int bad = 0;
  LN_SHARE(threads_for(q), i, q->p->n * q->p->c, 1, {
    const ln_t *dy = (const ln_t *)q->p->x + plane_of(q, q->s.ys, i);
    const int64_t *indices = q->p->indices + plane_of(q, q->s.ys, i);
    ln_t *dx = (ln_t *)q->p->y + plane_of(q, q->s.xs, i);
    memset(dx, 0, (size_t)q->plane * sizeof *dx);
    for (int64_t k = 0; k < outs; k++) {
      if ((uint64_t)indices[k] < (uint64_t)q->plane)
        dx[indices[k]] += dy[k];
      else
        __atomic_store_n(&bad, 1, __ATOMIC_RELAXED);
    }
  });
  return !bad;
}

/* -- Mean -- */

/* What the sums of a part are divided by; the windows that meet neither end count alike. */
static void divisors(const plan *q, const part *t, const window *w, ln_t *divisor) {
  const bool padded = q->p->count_include_pad;
  const int64_t rows = padded ? w->padded : (w->high[0] - w->low[0]) * (w->high[1] - w->low[1]), kernel = q->s.kernel[2], stride = q->s.stride[2];
  const int64_t least = padded ? INT64_MIN : 0, most = q->s.in[2] + (padded ? q->s.padding[2] : 0), first = t->from * stride - q->s.padding[2];
  const ln_t whole = (ln_t)(q->p->divisor ? q->p->divisor : rows > 0 ? rows * kernel : 1);
  for (int i = 0; i < t->n; i++) divisor[i] = whole;
  if (q->p->divisor || rows <= 0) return;
  for (int i = 0; i < t->n; i++) {
    const int64_t low = first + i * stride, high = low + kernel;
    if (low >= least && high <= most) {
      const int64_t inside = (most - high) / stride; /* as many that follow are whole too */
      i += (int)(inside < t->n - i - 1 ? inside : t->n - i - 1);
      continue;
    }
    const int64_t count = rows * ((high < most ? high : most) - (low > least ? low : least));
    divisor[i] = (ln_t)(count > 0 ? count : 1);
  }
}

LN_INLINE void add_values(const ln_t *x, int64_t stride, int n, ln_t *sum) {
  LN_INDEPENDENT
  for (int i = 0; i < n; i++) sum[i] += x[i * stride];
}

static void mean_part(const plan *q, const part *t) {
  ln_t LN_ALIGN sum[LN_BUFFER];
  ln_t LN_ALIGN divisor[LN_BUFFER];
  ln_t *y = (ln_t *)q->p->y + t->y;
  window w = window_of_line(q, t->line);
  memset(sum, 0, (size_t)t->n * sizeof *sum);
  divisors(q, t, &w, divisor);
  EACH_TAP_OF_ROWS(q, t, &w, row, r, {
#define ADD(stride) add_values(t->x + row + r.at, stride, r.last - r.first, sum + r.first)
    BY_STRIDE(q->s.stride[2], ADD);
  })
  for (int i = 0; i < t->n; i++) y[i] = sum[i] / divisor[i];
}

void LN_FN(mean_rows)(const plan *q) {
  const int64_t parts = parts_of(q);
  LN_SHARE(threads_for(q), i, q->p->n * q->p->c * parts, 1, {
    part t = part_at(q, i / parts, i % parts);
    mean_part(q, &t);
  });
}

LN_INLINE void spread_values(const ln_t *share, int64_t stride, int n, ln_t *dx) {
  LN_INDEPENDENT
  for (int i = 0; i < n; i++) dx[i * stride] += share[i];
}

static void spread_part(const plan *q, const part *t, ln_t *dx) {
  ln_t LN_ALIGN share[LN_BUFFER];
  ln_t LN_ALIGN divisor[LN_BUFFER];
  const ln_t *dy = (const ln_t *)q->p->x + t->y;
  window w = window_of_line(q, t->line);
  divisors(q, t, &w, divisor);
  for (int i = 0; i < t->n; i++) share[i] = dy[i] / divisor[i];
  EACH_TAP_OF_ROWS(q, t, &w, row, r, {
#define SPREAD(stride) spread_values(share + r.first, stride, r.last - r.first, dx + row + r.at)
    BY_STRIDE(q->s.stride[2], SPREAD);
  })
}

void LN_FN(mean_rows_dx)(const plan *q) {
  const int64_t parts = parts_of(q);
  LN_SHARE(threads_for(q), i, q->p->n * q->p->c, 1, {
    ln_t *dx = (ln_t *)q->p->y + plane_of(q, q->s.xs, i);
    memset(dx, 0, (size_t)q->plane * sizeof *dx);
    for (int64_t k = 0; k < parts; k++) {
      part t = part_at(q, i, k);
      spread_part(q, &t, dx);
    }
  });
}
