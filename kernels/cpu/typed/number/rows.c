/* rows.c - work along one dimension of [outer, size, inner]: softmax, log_softmax, their gradients, cumsum; one compute type and instruction set.
 *
 * A row is brought into a buffer padded to LN_LANES, so that its result does not depend on `inner`, on its place or on the threads. */
#include "../../cpu.h"

#include <stdlib.h>

typedef struct strip {
  const ln_rows *rows;
  int64_t item, stride, padded; /* bytes of an element and between neighbours of a row; elements of a buffer */
} strip;

static strip strip_of(const ln_rows *r) {
  int64_t item = ln_cpu_size_of(r->dtype);
  return (strip){r, item, item * r->inner, (r->size + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1)};
}

static int64_t row_offset(const strip *s, int64_t i) {
  int64_t inner = s->rows->inner;
  return ((i / inner) * s->rows->size * inner + i % inner) * s->item;
}

#ifndef LN_INTEGER
#include "../../../formula.h"

static void read_row(const strip *s, const char *from, int64_t i, ln_t *row, ln_t padding) {
  LN_FN(load)(from + row_offset(s, i), s->stride, s->rows->dtype, s->rows->size, row);
  for (int64_t k = s->rows->size; k < s->padded; k++) row[k] = padding;
}

static void write_row(const strip *s, int64_t i, const ln_t *row) {
  LN_FN(store)(s->rows->out + row_offset(s, i), s->stride, s->rows->dtype, s->rows->size, row);
}

/* The largest number; NaN is passed over, as the sum that follows finds it. */
static ln_t row_max(const ln_t *x, int64_t n) {
  ln_t LN_ALIGN lane[LN_LANES];
  for (int j = 0; j < LN_LANES; j++) lane[j] = (ln_t)-INFINITY;
  for (int64_t i = 0; i < n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
  for (int half = LN_LANES / 2; half; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j] > lane[j + half] ? lane[j] : lane[j + half];
  return lane[0];
}

static ln_t row_sum(const ln_t *x, int64_t n) {
  ln_t LN_ALIGN lane[LN_LANES] = {0};
  for (int64_t i = 0; i < n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] += x[i + j];
  for (int half = LN_LANES / 2; half; half /= 2)
    for (int j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

static void softmax_row(const strip *s, int64_t i, ln_t *x, ln_t *e) {
  int64_t n = s->padded;
  read_row(s, s->rows->x, i, x, (ln_t)-INFINITY);
  ln_t top = row_max(x, n);
  LN_INDEPENDENT
  for (int64_t k = 0; k < n; k++) e[k] = exp(x[k] - top);
  for (int64_t k = s->rows->size; k < n; k++) e[k] = 0;
  ln_t sum = row_sum(e, n), shift = log(sum); /* not added to top, which may be far larger */
  for (int64_t k = 0; k < n; k++) e[k] = s->rows->is_log ? x[k] - top - shift : e[k] / sum;
  write_row(s, i, e);
}

static void softmax_dx_row(const strip *s, int64_t i, ln_t *y, ln_t *dy) {
  int64_t n = s->padded;
  read_row(s, s->rows->y, i, y, 0);
  read_row(s, s->rows->dy, i, dy, 0);
  if (s->rows->is_log) {
    ln_t sum = row_sum(dy, n);
    LN_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = dy[k] - exp(y[k]) * sum;
  } else {
    ln_t *product = dy + n; /* the third buffer */
    for (int64_t k = 0; k < n; k++) product[k] = dy[k] * y[k];
    ln_t sum = row_sum(product, n);
    for (int64_t k = 0; k < n; k++) y[k] = y[k] * (dy[k] - sum);
  }
  write_row(s, i, y);
}

typedef void (*row_fn)(const strip *s, int64_t i, ln_t *a, ln_t *b);

static const char *each_row(const ln_rows *rows, row_fn fn) {
  strip s = strip_of(rows);
  int64_t n = rows->outer * rows->inner;
  if (n == 0 || rows->size == 0) return NULL;
  int threads = ln_cpu_threads(n * rows->size, LN_GRAIN_DEAR);
  ln_t *room = aligned_alloc(64, (size_t)(threads * 3 * s.padded) * sizeof(ln_t));
  if (!room) return "out of memory for a row";
  LN_SHARE(threads, i, n, 1, {
    ln_t *a = room + omp_get_thread_num() * 3 * s.padded;
    fn(&s, i, a, a + s.padded);
  });
  free(room);
  return NULL;
}

const char *LN_FN(softmax)(const ln_rows *rows) { return each_row(rows, softmax_row); }

const char *LN_FN(softmax_dx)(const ln_rows *rows) { return each_row(rows, softmax_dx_row); }

typedef double acc_t;
#else
typedef int64_t acc_t;
#endif

const char *LN_FN(cumsum)(const ln_rows *rows) {
  strip s = strip_of(rows);
  bool reverse = rows->reverse;
  int64_t n = rows->outer * rows->inner;
  if (rows->size == 0) return NULL;
  int threads = ln_cpu_threads(n * rows->size, LN_GRAIN_CHEAP);
  LN_SHARE(threads, i, n, 1, {
    ln_t LN_ALIGN buffer[LN_BUFFER];
    acc_t sum = 0;
    for (int64_t done = 0; done < rows->size; done += LN_BUFFER) {
      int64_t m = rows->size - done < LN_BUFFER ? rows->size - done : LN_BUFFER;
      int64_t first = reverse ? rows->size - 1 - done : done;
      int64_t at = row_offset(&s, i) + first * s.stride, step = reverse ? -s.stride : s.stride;
      LN_FN(load)(rows->x + at, step, rows->dtype, m, buffer);
      for (int64_t k = 0; k < m; k++) buffer[k] = (ln_t)(sum += buffer[k]);
      LN_FN(store)(rows->out + at, step, rows->dtype, m, buffer);
    }
  });
  return NULL;
}
