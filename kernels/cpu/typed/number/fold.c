/* fold.c - reductions, for one compute type and instruction set.
 *
 * The order of a sum is fixed by the logical index alone: chunks of CHUNK elements, in each LN_LANES lanes that take every LN_LANES-th
 * element, the lanes combined in a tree, the chunks one after another. Every path below keeps it, so a result does not depend on the layout of x,
 * on where an element lies, or on the number of threads. Chunks are merged in double, which keeps long float sums accurate. */
#include "../../cpu.h"

#include <math.h>
#include <stdlib.h>

#define CHUNK 1024
#define PANEL 64 /* columns that are reduced side by side */

#ifdef LN_INTEGER
typedef int64_t acc_t;
#define LOWEST INT64_MIN
#define HIGHEST INT64_MAX
#pragma GCC diagnostic ignored "-Wtautological-compare"
#else
typedef double acc_t;
#define LOWEST ((ln_t)-INFINITY)
#define HIGHEST ((ln_t)INFINITY)
#endif

/* How values meet. */
enum meet { SUM, PROD, MAX, MIN };
static const enum meet meets[LN_FOLD_KINDS] = {
  [LN_FOLD_SUM] = SUM, [LN_FOLD_PROD] = PROD, [LN_FOLD_MAX] = MAX,           [LN_FOLD_MIN] = MIN,
  [LN_FOLD_ALL] = MIN, [LN_FOLD_ANY] = MAX,   [LN_FOLD_COUNT_NONZERO] = SUM,
};

/* Sums and products meet in acc_t between chunks; extremes stay as they are. */
static ln_t neutral(int kind) {
  if (kind == LN_FOLD_ALL) return 1;
  if (kind == LN_FOLD_ANY) return 0;
  return meets[kind] == SUM ? 0 : meets[kind] == PROD ? 1 : meets[kind] == MAX ? LOWEST : HIGHEST;
}

#define MEET_SUM(a, x) ((a) + (x))
#define MEET_PROD(a, x) ((a) * (x))
/* NaN wins, and stays: nothing is beyond it. */
#define MEET_MAX(a, x) ((((x) > (a)) | ((x) != (x))) ? (x) : (a))
#define MEET_MIN(a, x) ((((x) < (a)) | ((x) != (x))) ? (x) : (a))

static acc_t merge(enum meet how, acc_t a, acc_t x) {
  switch (how) {
  case SUM: return a + x;
  case PROD: return a * x;
  case MAX: return MEET_MAX(a, x);
  default: return MEET_MIN(a, x);
  }
}

/* -- One chunk of contiguous values, a multiple of LN_LANES -- */

#define CHUNK_OF(name, MEET)                                                  \
  static ln_t name(const ln_t *x, int64_t n, ln_t start) {                    \
    ln_t LN_ALIGN lane[LN_LANES];                                             \
    for (int j = 0; j < LN_LANES; j++) lane[j] = start;                       \
    for (int64_t i = 0; i < n; i += LN_LANES)                                 \
      for (int j = 0; j < LN_LANES; j++) lane[j] = MEET(lane[j], x[i + j]);   \
    for (int half = LN_LANES / 2; half; half /= 2)                            \
      for (int j = 0; j < half; j++) lane[j] = MEET(lane[j], lane[j + half]); \
    return lane[0];                                                           \
  }
CHUNK_OF(chunk_sum, MEET_SUM)
CHUNK_OF(chunk_prod, MEET_PROD)

/* Extremes choose, which compilers vectorise only when told how. */
typedef ln_t lanes __attribute__((vector_size(LN_LANES * sizeof(ln_t))));
#if LN_IS(LN_TYPE) == LN_IS_f32
typedef int32_t mask __attribute__((vector_size(LN_LANES * sizeof(ln_t))));
#else
typedef int64_t mask __attribute__((vector_size(LN_LANES * sizeof(ln_t))));
#endif
typedef lanes loose_lanes __attribute__((aligned(sizeof(ln_t)), may_alias));

#define CHUNK_OF_EXTREME(name, MEET, BEYOND)                                  \
  static ln_t name(const ln_t *x, int64_t n, ln_t start) {                    \
    ln_t LN_ALIGN lane[LN_LANES];                                             \
    for (int j = 0; j < LN_LANES; j++) lane[j] = start;                       \
    lanes best = *(loose_lanes *)lane;                                        \
    for (int64_t i = 0; i < n; i += LN_LANES) {                               \
      lanes v = *(const loose_lanes *)(x + i);                                \
      mask m = (mask)(v BEYOND best) | (mask)(v != v);                        \
      best = (lanes)(((mask)v & m) | ((mask)best & ~m));                      \
    }                                                                         \
    *(loose_lanes *)lane = best;                                              \
    for (int half = LN_LANES / 2; half; half /= 2)                            \
      for (int j = 0; j < half; j++) lane[j] = MEET(lane[j], lane[j + half]); \
    return lane[0];                                                           \
  }
CHUNK_OF_EXTREME(chunk_max, MEET_MAX, >)
CHUNK_OF_EXTREME(chunk_min, MEET_MIN, <)

static ln_t chunk(enum meet how, const ln_t *x, int64_t n, ln_t start) {
  switch (how) {
  case SUM: return chunk_sum(x, n, start);
  case PROD: return chunk_prod(x, n, start);
  case MAX: return chunk_max(x, n, start);
  default: return chunk_min(x, n, start);
  }
}

/* What is not folded itself, but whether it is other than zero. */
static bool is_truth(int kind) { return kind >= LN_FOLD_ALL; }

static void to_truth(ln_t *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = x[i] != 0;
}

/* -- Reading the inner nest in logical order -- */

/* `n` elements from logical place `from` of the inner nest at x into out. */
static void read(const ln_fold *f, const char *x, int64_t from, int64_t n, ln_t *out) {
  if (f->inner_ndim == 0) {
    LN_FN(load)(x, 0, f->dtype, n, out);
    return;
  }
  int last = f->inner_ndim - 1;
  int64_t at[16];
  for (int64_t d = last, rest = from; d >= 0; d--) {
    at[d] = rest % f->inner_shape[d];
    rest /= f->inner_shape[d];
  }
  while (n > 0) {
    int64_t run = f->inner_shape[last] - at[last];
    if (run > n) run = n;
    const char *p = x;
    for (int d = 0; d <= last; d++) p += at[d] * f->x_inner_stride[d];
    LN_FN(load)(p, f->x_inner_stride[last], f->dtype, run, out);
    out += run;
    n -= run;
    at[last] = 0;
    for (int d = last - 1; d >= 0; d--) {
      if (++at[d] < f->inner_shape[d]) break;
      at[d] = 0;
    }
  }
}

static bool is_flat(const ln_fold *f) {
  return f->dtype == LN_T_DTYPE && (f->inner_ndim == 0 || (f->inner_ndim == 1 && f->x_inner_stride[0] == (int64_t)sizeof(ln_t)));
}

/* The value of the chunk that begins at `from`. */
static ln_t fold_chunk(const ln_fold *f, const char *x, int64_t from) {
  int64_t n = f->inner_numel - from < CHUNK ? f->inner_numel - from : CHUNK;
  enum meet how = meets[f->kind];
  ln_t start = neutral(f->kind), LN_ALIGN buffer[CHUNK];
  if (is_flat(f) && !is_truth(f->kind) && n % LN_LANES == 0) return chunk(how, (const ln_t *)x + from, n, start);
  read(f, x, from, n, buffer);
  if (is_truth(f->kind)) to_truth(buffer, n);
  int64_t padded = (n + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1);
  for (int64_t i = n; i < padded; i++) buffer[i] = start;
  return chunk(how, buffer, padded, start);
}

static void put(const ln_fold *f, int64_t outer_y, acc_t value) {
  char *y = f->y + outer_y;
  if (f->y_dtype == LN_INT64) {
    *(int64_t *)y = (int64_t)value;
    return;
  }
  ln_t v = (ln_t)value;
  LN_FN(store)(y, 0, f->y_dtype, 1, &v);
}

/* Byte offsets of outer element i in x and y. */
static void place(const ln_fold *f, int64_t i, int64_t *x, int64_t *y) {
  *x = *y = 0;
  for (int d = f->outer_ndim - 1; d >= 0; d--) {
    int64_t at = i % f->outer_shape[d];
    i /= f->outer_shape[d];
    *x += at * f->x_outer_stride[d];
    *y += at * f->y_stride[d];
  }
}

static void fold_one(const ln_fold *f, int64_t i) {
  int64_t x, y;
  place(f, i, &x, &y);
  acc_t value = (acc_t)neutral(f->kind);
  for (int64_t from = 0; from < f->inner_numel; from += CHUNK) value = merge(meets[f->kind], value, (acc_t)fold_chunk(f, f->x + x, from));
  put(f, y, value);
}

/* One long reduction: threads share the chunks, which then meet in order. */
static bool fold_long(const ln_fold *f, int64_t i, int threads) {
  int64_t x, y, chunks = (f->inner_numel + CHUNK - 1) / CHUNK;
  acc_t *values = malloc(sizeof *values * (size_t)chunks);
  if (!values) return false;
  place(f, i, &x, &y);
  LN_SHARE(threads, c, chunks, 1, { values[c] = (acc_t)fold_chunk(f, f->x + x, c * CHUNK); });
  acc_t value = (acc_t)neutral(f->kind);
  for (int64_t c = 0; c < chunks; c++) value = merge(meets[f->kind], value, values[c]);
  free(values);
  put(f, y, value);
  return true;
}

/* -- Columns: neighbouring outputs are neighbours in x -- */

static bool is_columns(const ln_fold *f) {
  int last = f->outer_ndim - 1;
  return f->outer_ndim > 0 && f->inner_ndim == 1 && f->x_outer_stride[last] == ln_cpu_size_of(f->dtype) && f->outer_shape[last] >= 4 &&
         f->x_inner_stride[0] != ln_cpu_size_of(f->dtype);
}

#define COLUMN_STEP(MEET) \
  for (int64_t c = 0; c < padded; c++) lane[c] = MEET(lane[c], row[c]);

static void meet_rows(enum meet how, ln_t *restrict lane, const ln_t *restrict row, int64_t padded) {
  switch (how) {
  case SUM: COLUMN_STEP(MEET_SUM) return;
  case PROD: COLUMN_STEP(MEET_PROD) return;
  case MAX: COLUMN_STEP(MEET_MAX) return;
  default: COLUMN_STEP(MEET_MIN) return;
  }
}

/* Up to PANEL columns from outer element i on: each column's lanes are those that fold_chunk would use. */
static void fold_panel(const ln_fold *f, int64_t i, int64_t columns) {
  enum meet how = meets[f->kind];
  int64_t x, y, padded = (columns + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1), size = ln_cpu_size_of(f->dtype);
  ln_t LN_ALIGN lane[LN_LANES][PANEL], LN_ALIGN row[PANEL];
  acc_t value[PANEL];
  place(f, i, &x, &y);
  bool direct = f->dtype == LN_T_DTYPE && !is_truth(f->kind) && columns == padded;
  for (int64_t c = 0; c < columns; c++) value[c] = (acc_t)neutral(f->kind);
  for (int64_t c = columns; c < padded; c++) row[c] = 0;
  for (int64_t from = 0; from < f->inner_numel; from += CHUNK) {
    int64_t n = f->inner_numel - from < CHUNK ? f->inner_numel - from : CHUNK;
    int lanes = n < LN_LANES ? (int)n : LN_LANES; /* the others would hold the neutral element, which changes nothing */
    for (int j = 0; j < lanes; j++)
      for (int64_t c = 0; c < padded; c++) lane[j][c] = neutral(f->kind);
    for (int64_t r = 0; r < n; r++) {
      const char *p = f->x + x + (from + r) * f->x_inner_stride[0];
      if (!direct) {
        LN_FN(load)(p, size, f->dtype, columns, row);
        if (is_truth(f->kind)) to_truth(row, columns);
      }
      meet_rows(how, lane[r % LN_LANES], direct ? (const ln_t *)p : row, padded);
    }
    for (int half = LN_LANES / 2; half; half /= 2)
      for (int j = 0; j < half && j + half < lanes; j++) meet_rows(how, lane[j], lane[j + half], padded);
    for (int64_t c = 0; c < columns; c++) value[c] = merge(how, value[c], (acc_t)lane[0][c]);
  }
  for (int64_t c = 0; c < columns; c++) put(f, y + c * f->y_stride[f->outer_ndim - 1], value[c]);
}

static void fold_columns(const ln_fold *f, int threads) {
  int64_t width = f->outer_shape[f->outer_ndim - 1], panels = (width + PANEL - 1) / PANEL, lines = f->outer_numel / width;
  LN_SHARE(threads, k, lines * panels, 1, {
    int64_t c = (k % panels) * PANEL;
    fold_panel(f, (k / panels) * width + c, width - c < PANEL ? width - c : PANEL);
  });
}

/* -- The place of an extreme -- */

/* The first place of v, which is there; NaN equals NaN. */
static int64_t find(const ln_t *x, ln_t v) {
  int64_t k = 0;
  while (!((x[k] == v) | ((v != v) & (x[k] != x[k])))) k++;
  return k;
}

static void fold_place(const ln_fold *f, int64_t i) {
  enum meet how = f->kind == LN_FOLD_ARGMAX ? MAX : MIN;
  ln_t start = how == MAX ? LOWEST : HIGHEST, value = start, LN_ALIGN buffer[CHUNK];
  int64_t x, y, best = 0;
  place(f, i, &x, &y);
  for (int64_t from = 0; from < f->inner_numel; from += CHUNK) {
    int64_t n = f->inner_numel - from < CHUNK ? f->inner_numel - from : CHUNK, padded = (n + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1);
    read(f, f->x + x, from, n, buffer);
    for (int64_t k = n; k < padded; k++) buffer[k] = start;
    ln_t v = chunk(how, buffer, padded, start);
    bool better = how == MAX ? v > value : v < value;
    if (from == 0 || (value == value && (better || v != v))) {
      value = v;
      best = from + find(buffer, v);
    }
  }
  *(int64_t *)(f->y + y) = best;
}

const char *LN_FN(fold)(const ln_fold *f) {
  if (f->outer_numel == 0) return NULL;
  int threads = ln_cpu_threads(f->outer_numel * f->inner_numel, LN_GRAIN_CHEAP);
  bool arg = f->kind == LN_FOLD_ARGMAX || f->kind == LN_FOLD_ARGMIN;
  if (!arg && f->outer_numel == 1 && threads > 1 && fold_long(f, 0, threads)) return NULL;
  if (!arg && is_columns(f)) {
    fold_columns(f, threads);
    return NULL;
  }
  LN_SHARE(threads, i, f->outer_numel, 1, {
    if (arg)
      fold_place(f, i);
    else
      fold_one(f, i);
  });
  return NULL;
}
