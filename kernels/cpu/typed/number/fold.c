/* fold.c - reductions, for one compute type and instruction set: sums, products and counts; extremes are in extreme.c.
 *
 * The order of a sum is fixed by the logical index alone: chunks of CHUNK elements, in each LN_LANES lanes that take every LN_LANES-th
 * element, the lanes combined in a tree, the chunks one after another. Every path below keeps it, so a result does not depend on the layout of x,
 * on where an element lies, or on the number of threads. Chunks are merged in double, which keeps long float sums accurate. */
#include "fold.h"

#include <stdlib.h>

#define PANEL 64        /* columns that are reduced side by side */
#define BATCH_CHUNKS 64 /* of columns, whose values wait for each other */

#ifdef LN_INTEGER
typedef int64_t acc_t;
#else
typedef double acc_t;
#endif

static bool is_product(const ln_fold *f) { return f->kind == LN_FOLD_PROD; }

static ln_t neutral(const ln_fold *f) { return is_product(f) ? 1 : 0; }

static acc_t merge(const ln_fold *f, acc_t a, acc_t x) { return is_product(f) ? a * x : a + x; }

static void put(const ln_fold *f, int64_t y, acc_t value) {
  if (f->y_dtype == LN_INT64) {
    *(int64_t *)(f->y + y) = (int64_t)value;
    return;
  }
  ln_t v = (ln_t)value;
  LN_FN(store)(f->y + y, 0, f->y_dtype, 1, &v);
}

/* -- Rows -- */

#define MEET_SUM(a, x) ((a) + (x))
#define MEET_PROD(a, x) ((a) * (x))

/* One chunk of contiguous values, a multiple of LN_LANES. */
#define CHUNK_OF(name, COMBINE)                                                  \
  static ln_t name(const ln_t *x, int64_t n, ln_t start) {                       \
    ln_t LN_ALIGN lane[LN_LANES];                                                \
    for (int j = 0; j < LN_LANES; j++) lane[j] = start;                          \
    for (int64_t i = 0; i < n; i += LN_LANES)                                    \
      for (int j = 0; j < LN_LANES; j++) lane[j] = COMBINE(lane[j], x[i + j]);   \
    for (int half = LN_LANES / 2; half; half /= 2)                               \
      for (int j = 0; j < half; j++) lane[j] = COMBINE(lane[j], lane[j + half]); \
    return lane[0];                                                              \
  }
CHUNK_OF(chunk_sum, MEET_SUM)
CHUNK_OF(chunk_prod, MEET_PROD)

/* The value of the chunk that begins at `from`. */
static acc_t fold_chunk(const ln_fold *f, const char *x, int64_t from) {
  ln_t LN_ALIGN buffer[CHUNK];
  int64_t n = chunk_size(f, from);
  const ln_t *values = chunk_at(f, x, from, n, neutral(f), buffer);
  return (is_product(f) ? chunk_prod : chunk_sum)(values, whole_lanes(n), neutral(f));
}

static void fold_row(const ln_fold *f, int64_t i) {
  int64_t x, y;
  outer_at(f, i, &x, &y);
  acc_t value = neutral(f);
  for (int64_t from = 0; from < f->inner_numel; from += CHUNK) value = merge(f, value, fold_chunk(f, f->x + x, from));
  put(f, y, value);
}

/* A single long row: threads share the chunks, which are then combined in order. */
static bool fold_long(const ln_fold *f, int threads) {
  int64_t chunks = (f->inner_numel + CHUNK - 1) / CHUNK;
  acc_t *values = malloc(sizeof *values * (size_t)chunks);
  if (!values) return false;
  LN_SHARE(threads, c, chunks, 1, { values[c] = fold_chunk(f, f->x, c * CHUNK); });
  acc_t value = neutral(f);
  for (int64_t c = 0; c < chunks; c++) value = merge(f, value, values[c]);
  free(values);
  put(f, 0, value);
  return true;
}

/* -- Columns -- */

typedef ln_t panel_row[PANEL];

/* n rows are combined with the lanes, row r with lane (first + r) % LN_LANES; the constant width leaves straight code. */
static inline __attribute__((always_inline)) void meet_rows(panel_row *restrict lane, int64_t first, const ln_t *restrict x, int64_t stride,
                                                            int64_t n, bool product, const int width) {
  for (int64_t r = 0; r < n; r++, x += stride) {
    ln_t *to = lane[(first + r) % LN_LANES];
    for (int c = 0; c < width; c++) to[c] = product ? to[c] * x[c] : to[c] + x[c];
  }
}

#define WIDTH(width)                                    \
  if (is_product(f))                                    \
    meet_rows(lane, first, x, stride, n, true, width);  \
  else                                                  \
    meet_rows(lane, first, x, stride, n, false, width); \
  return;

static void combine(const ln_fold *f, panel_row *lane, int64_t first, const ln_t *x, int64_t stride, int64_t n, int64_t width) {
  switch (width / LN_LANES) {
  case 1: WIDTH(LN_LANES)
  case 2: WIDTH(2 * LN_LANES)
  case 3: WIDTH(3 * LN_LANES)
  default: WIDTH(4 * LN_LANES)
  }
}

/* How many rows from `from` on can be read as whole lanes where they lie: what follows a narrow row are others, but for the last ones. */
static int64_t whole_rows(const ln_fold *f, const char *x, int64_t from, int64_t n, int64_t width) {
  if (f->dtype != LN_T_DTYPE || is_truth(f->kind)) return 0;
  const char *end = f->x + sizeof(ln_t) + (f->inner_numel - 1) * f->x_inner_stride[0];
  for (int d = 0; d < f->outer_ndim; d++) end += (f->outer_shape[d] - 1) * f->x_outer_stride[d];
  for (const char *p = x + from * f->x_inner_stride[0] + width * (int64_t)sizeof(ln_t); n > 0; n--)
    if (p + (n - 1) * f->x_inner_stride[0] <= end) break;
  return n;
}

/* The values of one chunk of up to PANEL columns: each column's lanes are those that fold_chunk would use. */
static void fold_panel(const ln_fold *f, const char *x, int64_t from, int64_t columns, acc_t *values) {
  panel_row LN_ALIGN lane[LN_LANES], LN_ALIGN row = {0};
  int64_t n = chunk_size(f, from), width = whole_lanes(columns), whole = whole_rows(f, x, from, n, width), stride = f->x_inner_stride[0];
  int64_t lanes = n < LN_LANES ? n : LN_LANES; /* the others would hold the neutral element, which changes nothing */
  for (int64_t j = 0; j < lanes; j++)
    for (int64_t c = 0; c < width; c++) lane[j][c] = neutral(f);
  combine(f, lane, 0, (const ln_t *)(x + from * stride), stride / (int64_t)sizeof(ln_t), whole, width);
  for (int64_t r = whole; r < n; r++) {
    LN_FN(load)(x + (from + r) * stride, ln_cpu_size_of(f->dtype), f->dtype, columns, row);
    if (is_truth(f->kind)) to_truth(row, columns);
    combine(f, lane, r, row, PANEL, 1, width);
  }
  for (int64_t half = LN_LANES / 2; half; half /= 2)
    if (half < lanes) combine(f, lane, 0, lane[half], PANEL, lanes - half < half ? lanes - half : half, width);
  for (int64_t c = 0; c < columns; c++) values[c] = (acc_t)lane[0][c];
}

typedef struct panel {
  const char *x;
  int64_t y, columns;
} panel;

static panel panel_at(const ln_fold *f, int64_t k) {
  int64_t width = f->outer_shape[f->outer_ndim - 1], panels = (width + PANEL - 1) / PANEL, c = k % panels * PANEL, x, y;
  outer_at(f, k / panels * width + c, &x, &y);
  return (panel){f->x + x, y, width - c < PANEL ? width - c : PANEL};
}

/* All chunks of a panel, a batch of them at a time on several threads; their values are combined in order. */
static void fold_columns_of(const ln_fold *f, int64_t k, int threads) {
  panel p = panel_at(f, k);
  int64_t chunks = (f->inner_numel + CHUNK - 1) / CHUNK;
  acc_t sum[PANEL], values[BATCH_CHUNKS][PANEL];
  for (int64_t c = 0; c < p.columns; c++) sum[c] = neutral(f);
  for (int64_t first = 0; first < chunks; first += BATCH_CHUNKS) {
    int64_t batch = chunks - first < BATCH_CHUNKS ? chunks - first : BATCH_CHUNKS;
    LN_SHARE(threads, j, batch, 1, { fold_panel(f, p.x, (first + j) * CHUNK, p.columns, values[j]); });
    for (int64_t j = 0; j < batch; j++)
      for (int64_t c = 0; c < p.columns; c++) sum[c] = merge(f, sum[c], values[j][c]);
  }
  for (int64_t c = 0; c < p.columns; c++) put(f, p.y + c * f->y_stride[f->outer_ndim - 1], sum[c]);
}

static void fold_columns(const ln_fold *f, int threads) {
  int64_t width = f->outer_shape[f->outer_ndim - 1], panels = (width + PANEL - 1) / PANEL * (f->outer_numel / width);
  if (panels < threads) {
    for (int64_t k = 0; k < panels; k++) fold_columns_of(f, k, threads);
    return;
  }
  LN_SHARE(threads, k, panels, 1, { fold_columns_of(f, k, 1); });
}

const char *LN_FN(fold)(const ln_fold *f) {
  if (f->outer_numel == 0) return NULL;
  int threads = ln_cpu_threads(f->outer_numel * f->inner_numel, LN_GRAIN_LIGHT);
  if (f->kind != LN_FOLD_SUM && f->kind != LN_FOLD_PROD && f->kind != LN_FOLD_COUNT_NONZERO) {
    LN_FN(fold_extreme)(f, threads);
    return NULL;
  }
  if (f->outer_numel == 1 && threads > 1 && fold_long(f, threads)) return NULL;
  if (is_columns(f)) {
    fold_columns(f, threads);
    return NULL;
  }
  LN_SHARE(threads, i, f->outer_numel, 1, { fold_row(f, i); });
  return NULL;
}
