/* extreme.c - the largest and smallest elements and their positions, for one compute type and instruction set; all and any, which are extremes of
 * truths.
 *
 * NaN wins. The value of an extreme does not depend on the order in which elements are compared: a zero comes out as +0, NaN as the one NaN. A position
 * is that of the first of equals. */
#include "../../vector.h"
#include "fold.h"

#ifdef LN_INTEGER
#define LOWEST INT64_MIN
#define HIGHEST INT64_MAX
#define NO_NUMBER 0
#pragma GCC diagnostic ignored "-Wtautological-compare" /* x != x asks for NaN */
#else
#define LOWEST ((ln_t)-INFINITY)
#define HIGHEST ((ln_t)INFINITY)
#define NO_NUMBER ((ln_t)NAN)
#endif

#define PARTS 4 /* vectors that are worked on side by side */
#define PANEL (PARTS * VECTOR)

static bool is_largest(const ln_fold *f) { return f->kind == LN_FOLD_MAX || f->kind == LN_FOLD_ANY || f->kind == LN_FOLD_ARGMAX; }

static bool is_position(const ln_fold *f) { return f->kind == LN_FOLD_ARGMAX || f->kind == LN_FOLD_ARGMIN; }

/* What nothing gives: no truth is beyond that of all, or of any, of none. */
static ln_t start_of(const ln_fold *f) {
  if (is_truth(f->kind)) return f->kind == LN_FOLD_ALL;
  return is_largest(f) ? LOWEST : HIGHEST;
}

static bool is_beyond(const ln_fold *f, ln_t a, ln_t b) { return is_largest(f) ? a > b : a < b; }

static ln_t combine(const ln_fold *f, ln_t a, ln_t b) { return a != a || b != b ? NO_NUMBER : is_beyond(f, b, a) ? b : a; }

static void put(const ln_fold *f, int64_t y, ln_t value) {
  ln_t v = value == 0 ? 0 : value;
  LN_FN(store)(f->y + y, 0, f->y_dtype, 1, &v);
}

/* -- Rows -- */

#define STEP(CHOICE, k, at)                 \
  {                                         \
    vector v = *(const vector *)(x + (at)); \
    best##k = CHOICE(v, best##k);           \
    nan##k |= (truths)(v != v);             \
  }
/* The extreme of n values, a multiple of LN_LANES. */
#define EXTREME_OF(name, CHOICE)                                                        \
  static ln_t name(const ln_fold *f, const ln_t *x, int64_t n) {                        \
    vector best0 = vector_of(start_of(f)), best1 = best0, best2 = best0, best3 = best0; \
    truths nan0 = {0}, nan1 = {0}, nan2 = {0}, nan3 = {0};                              \
    int64_t i = 0;                                                                      \
    for (; i + PARTS * VECTOR <= n; i += PARTS * VECTOR) {                              \
      STEP(CHOICE, 0, i)                                                                \
      STEP(CHOICE, 1, i + VECTOR)                                                       \
      STEP(CHOICE, 2, i + 2 * VECTOR)                                                   \
      STEP(CHOICE, 3, i + 3 * VECTOR)                                                   \
    }                                                                                   \
    for (; i < n; i += VECTOR) STEP(CHOICE, 0, i)                                       \
    best0 = CHOICE(CHOICE(best0, best1), CHOICE(best2, best3));                         \
    nan0 |= nan1 | nan2 | nan3;                                                         \
    ln_t value = start_of(f);                                                           \
    for (int j = 0; j < VECTOR; j++) {                                                  \
      if (nan0[j]) return NO_NUMBER;                                                    \
      value = is_beyond(f, best0[j], value) ? best0[j] : value;                         \
    }                                                                                   \
    return value;                                                                       \
  }
EXTREME_OF(largest_of, larger)
EXTREME_OF(smallest_of, smaller)

static ln_t extreme_of(const ln_fold *f, const ln_t *x, int64_t n) { return is_largest(f) ? largest_of(f, x, n) : smallest_of(f, x, n); }

/* The extreme of elements [from, to) of the inner nest at x. */
static ln_t extreme_between(const ln_fold *f, const char *x, int64_t from, int64_t to) {
  ln_t LN_ALIGN buffer[CHUNK], value = start_of(f);
  for (; from < to; from += CHUNK) {
    int64_t n = to - from < CHUNK ? to - from : CHUNK;
    const ln_t *values = chunk_at(f, x, from, n, start_of(f), buffer);
    value = combine(f, value, extreme_of(f, values, whole_lanes(n)));
  }
  return value;
}

#define SHARES 256 /* as many as there may be threads */

/* A single long row: each thread takes a part. */
static void extreme_long(const ln_fold *f, int threads) {
  ln_t values[SHARES], value = start_of(f);
  int64_t share = ((f->inner_numel + threads - 1) / threads + CHUNK - 1) / CHUNK * CHUNK;
  LN_SHARE(threads, t, threads, 1, {
    int64_t to = (t + 1) * share < f->inner_numel ? (t + 1) * share : f->inner_numel;
    values[t] = extreme_between(f, f->x, t * share, to);
  });
  for (int t = 0; t < threads; t++) value = combine(f, value, values[t]);
  put(f, 0, value);
}

/* The first position of v, which is there; NaN equals NaN. */
static int64_t find(const ln_t *x, ln_t v) {
  int64_t k = 0;
  while (!((x[k] == v) | ((v != v) & (x[k] != x[k])))) k++;
  return k;
}

static int64_t position_of(const ln_fold *f, const char *x) {
  ln_t LN_ALIGN buffer[CHUNK], value = start_of(f);
  int64_t best = 0;
  for (int64_t from = 0; from < f->inner_numel && value == value; from += CHUNK) {
    int64_t n = chunk_size(f, from);
    const ln_t *values = chunk_at(f, x, from, n, start_of(f), buffer);
    ln_t v = extreme_of(f, values, whole_lanes(n));
    if (from > 0 && !is_beyond(f, v, value) && v == v) continue;
    value = v;
    best = from + find(values, v);
  }
  return best;
}

static void fold_row(const ln_fold *f, int64_t i) {
  int64_t x, y;
  outer_at(f, i, &x, &y);
  if (is_position(f))
    *(int64_t *)(f->y + y) = position_of(f, f->x + x);
  else
    put(f, y, extreme_between(f, f->x + x, 0, f->inner_numel));
}

/* -- Columns -- */

/* What a panel of columns has found so far: values, and positions or whether there was a NaN. */
typedef struct found {
  vector best[PARTS];
  truths at[PARTS];
} found;

static inline __attribute__((always_inline)) void meet_values(found *w, const ln_t *x, bool largest) {
  for (int k = 0; k < PARTS; k++) {
    vector v = *(const vector *)(x + k * VECTOR);
    w->best[k] = largest ? larger(v, w->best[k]) : smaller(v, w->best[k]);
    w->at[k] |= (truths)(v != v);
  }
}

static inline __attribute__((always_inline)) void meet_positions(found *w, const ln_t *x, bool largest, ln_truth row) {
  for (int k = 0; k < PARTS; k++) {
    vector v = *(const vector *)(x + k * VECTOR), best = w->best[k];
    truths better = (largest ? (truths)(v > best) : (truths)(v < best)) | ((truths)(v != v) & (truths)(best == best));
    w->best[k] = choose(better, v, best);
    w->at[k] = (better & (row - (truths){0})) | (~better & w->at[k]);
  }
}

/* Rows from `from` on, `columns` wide, into compute type: where they lie, or in the buffer, whose rows are `width` apart. */
static const ln_t *rows_at(const ln_fold *f, const char *x, int64_t from, int64_t rows, int64_t columns, int64_t width, ln_t *buffer,
                           int64_t *stride) {
  const char *p = x + from * f->x_inner_stride[0];
  *stride = f->x_inner_stride[0] / (int64_t)sizeof(ln_t);
  if (f->dtype == LN_T_DTYPE && columns == width && !is_truth(f->kind)) return (const ln_t *)p;
  *stride = width;
  for (int64_t r = 0; r < rows; r++, p += f->x_inner_stride[0]) {
    LN_FN(load)(p, ln_cpu_size_of(f->dtype), f->dtype, columns, buffer + r * width);
    if (is_truth(f->kind)) to_truth(buffer + r * width, columns);
  }
  return buffer;
}

#define ROWS 16 /* converted at a time */

static inline __attribute__((always_inline)) void pass_rows(const ln_fold *f, const char *x, int64_t columns, found *w, bool largest, bool position) {
  ln_t LN_ALIGN buffer[ROWS * PANEL] = {0};
  int64_t stride;
  for (int64_t from = 0; from < f->inner_numel; from += ROWS) {
    int64_t rows = f->inner_numel - from < ROWS ? f->inner_numel - from : ROWS;
    const ln_t *p = rows_at(f, x, from, rows, columns, PANEL, buffer, &stride);
    for (int64_t r = 0; r < rows; r++, p += stride) {
      if (position)
        meet_positions(w, p, largest, (ln_truth)(from + r));
      else
        meet_values(w, p, largest);
    }
  }
}

static void fold_panel(const ln_fold *f, int64_t i, int64_t columns) {
  int64_t x, y, step = f->y_stride[f->outer_ndim - 1];
  found w;
  outer_at(f, i, &x, &y);
  for (int k = 0; k < PARTS; k++) w.best[k] = vector_of(start_of(f)), w.at[k] = (truths){0};
  if (is_largest(f)) {
    if (is_position(f))
      pass_rows(f, f->x + x, columns, &w, true, true);
    else
      pass_rows(f, f->x + x, columns, &w, true, false);
  } else if (is_position(f)) {
    pass_rows(f, f->x + x, columns, &w, false, true);
  } else {
    pass_rows(f, f->x + x, columns, &w, false, false);
  }
  for (int64_t c = 0; c < columns; c++, y += step) {
    ln_truth at = w.at[c / VECTOR][c % VECTOR];
    if (is_position(f))
      *(int64_t *)(f->y + y) = at;
    else
      put(f, y, at ? NO_NUMBER : w.best[c / VECTOR][c % VECTOR]);
  }
}

static void fold_columns(const ln_fold *f, int threads) {
  int64_t width = f->outer_shape[f->outer_ndim - 1], panels = (width + PANEL - 1) / PANEL, lines = f->outer_numel / width;
  LN_SHARE(threads, k, lines * panels, 1, {
    int64_t c = k % panels * PANEL;
    fold_panel(f, k / panels * width + c, width - c < PANEL ? width - c : PANEL);
  });
}

/* A position in a column is counted in ln_truth. */
static bool counts_in_vectors(const ln_fold *f) { return !is_position(f) || sizeof(ln_truth) == 8 || f->inner_numel <= INT32_MAX; }

void LN_FN(fold_extreme)(const ln_fold *f, int threads) {
  if (!is_position(f) && f->outer_numel == 1 && threads > 1) {
    extreme_long(f, threads);
    return;
  }
  if (is_columns(f) && counts_in_vectors(f)) {
    fold_columns(f, threads);
    return;
  }
  LN_SHARE(threads, i, f->outer_numel, 1, { fold_row(f, i); });
}
