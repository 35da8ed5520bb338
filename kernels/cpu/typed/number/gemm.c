/* gemm.c - the matrix product, for one compute type and instruction set: a library's, and a loop for the rest: integers, half types in f32, and
 * float products so small that a library's set-up costs more than the work.
 *
 * Tiles of ROWS x 16 or x 8 accumulate in registers; each element sums over k in order, whatever the tile, so results depend neither on the
 * number of threads nor on the place in the matrix. Operands of the compute type are read where they lie. */
#include "../../cpu.h"

#include <stdlib.h>

#define ROWS 4
#define COLUMNS 16
#define DEPTH 256 /* of a packed panel */

typedef ln_t wide __attribute__((vector_size(16 * sizeof(ln_t)), aligned(sizeof(ln_t)), may_alias));
typedef ln_t half __attribute__((vector_size(8 * sizeof(ln_t)), aligned(sizeof(ln_t)), may_alias));

typedef struct panel {
  const char *data;
  int64_t row, col; /* strides in elements */
  int dtype, item;
} panel;

/* Memory of the compute type with its strides: the operand itself or a packed copy. */
typedef struct lines {
  const ln_t *x;
  int64_t row, col;
} lines;

/* n elements of a line into compute type. */
static void line(const panel *p, int64_t i, int64_t j, int64_t stride, int64_t n, ln_t *restrict out) {
  const char *from = p->data + (i * p->row + j * p->col) * p->item;
  if (p->dtype != LN_T_DTYPE) {
    LN_FN(load)(from, stride * p->item, p->dtype, n, out);
    return;
  }
  const ln_t *x = (const ln_t *)from;
  for (int64_t k = 0; k < n; k++) out[k] = x[k * stride];
}

static lines pack_a(const panel *a, int64_t i, int64_t rows, int64_t k, int64_t depth, ln_t (*out)[DEPTH]) {
  if (a->dtype == LN_T_DTYPE) return (lines){(const ln_t *)a->data + i * a->row + k * a->col, a->row, a->col};
  for (int64_t r = 0; r < rows; r++) line(a, i + r, k, a->col, depth, out[r]);
  return (lines){out[0], DEPTH, 1};
}

static lines pack_b(const panel *b, int64_t k, int64_t depth, int64_t j, int64_t columns, ln_t (*out)[COLUMNS]) {
  bool whole = columns == COLUMNS || columns == COLUMNS / 2;
  if (b->dtype == LN_T_DTYPE && b->col == 1 && whole) return (lines){(const ln_t *)b->data + k * b->row + j, b->row, 1};
  if (!whole) memset(out, 0, sizeof(ln_t) * COLUMNS * (size_t)depth);
  if (b->dtype == LN_T_DTYPE && b->col != 1) {
    for (int64_t c = 0; c < columns; c++) { /* neighbours in memory follow each other along k */
      const ln_t *x = (const ln_t *)b->data + k * b->row + (j + c) * b->col;
      for (int64_t d = 0; d < depth; d++) out[d][c] = x[d * b->row];
    }
  } else {
    for (int64_t d = 0; d < depth; d++) line(b, k + d, j, b->col, columns, out[d]);
  }
  return (lines){out[0], COLUMNS, 1};
}

/* sum[r] += rows of a times columns of b. */
#define TILE(name, vector)                                                                                 \
  static void name##_rows(const lines *a, const lines *b, int64_t depth, ln_t(*sum)[COLUMNS]) {            \
    const ln_t *x = a->x;                                                                                  \
    vector s0 = *(vector *)sum[0], s1 = *(vector *)sum[1], s2 = *(vector *)sum[2], s3 = *(vector *)sum[3]; \
    for (int64_t k = 0; k < depth; k++, x += a->col) {                                                     \
      vector v = *(const vector *)(b->x + k * b->row);                                                     \
      s0 += x[0] * v;                                                                                      \
      s1 += x[a->row] * v;                                                                                 \
      s2 += x[2 * a->row] * v;                                                                             \
      s3 += x[3 * a->row] * v;                                                                             \
    }                                                                                                      \
    *(vector *)sum[0] = s0, *(vector *)sum[1] = s1, *(vector *)sum[2] = s2, *(vector *)sum[3] = s3;        \
  }                                                                                                        \
  static void name##_row(const lines *a, int64_t r, const lines *b, int64_t depth, ln_t *sum) {            \
    const ln_t *x = a->x + r * a->row;                                                                     \
    vector s = *(vector *)sum;                                                                             \
    for (int64_t k = 0; k < depth; k++) s += x[k * a->col] * *(const vector *)(b->x + k * b->row);         \
    *(vector *)sum = s;                                                                                    \
  }                                                                                                        \
  static void name(const lines *a, int64_t rows, const lines *b, int64_t depth, ln_t(*sum)[COLUMNS]) {     \
    if (rows == ROWS)                                                                                      \
      name##_rows(a, b, depth, sum);                                                                       \
    else                                                                                                   \
      for (int64_t r = 0; r < rows; r++) name##_row(a, r, b, depth, sum[r]);                               \
  }
TILE(tile_wide, wide)
TILE(tile_half, half)

static void finish(const ln_gemm *g, char *c, int64_t i, int64_t rows, int64_t j, int64_t columns, ln_t (*sum)[COLUMNS]) {
  int item = ln_cpu_size_of(g->dtype);
  bool direct = g->dtype == LN_T_DTYPE, plain = g->alpha == 1;
  ln_t bias[COLUMNS] = {0};
  if (g->bias) LN_FN(load)(g->bias + j * item, item, g->dtype, columns, bias);
  for (int64_t r = 0; r < rows; r++) {
    ln_t buffer[COLUMNS], *old = buffer;
    char *y = c + ((i + r) * g->c_row + j) * item;
    if (direct)
      old = (ln_t *)y;
    else if (g->beta != 0)
      LN_FN(load)(y, item, g->dtype, columns, old);
    if (g->beta == 0 && plain) {
      for (int64_t k = 0; k < columns; k++) old[k] = sum[r][k] + bias[k];
    } else {
      for (int64_t k = 0; k < columns; k++) {
        ln_t value = (plain ? sum[r][k] : (ln_t)(g->alpha * (double)sum[r][k])) + bias[k];
        old[k] = g->beta == 0 ? value : value + (g->beta == 1 ? old[k] : (ln_t)(g->beta * (double)old[k]));
      }
    }
    if (!direct) LN_FN(store)(y, item, g->dtype, columns, old);
  }
}

/* Up to COLUMNS columns of one product, all rows. */
static void strip(const ln_gemm *g, const panel *a, const panel *b, char *c, int64_t j) {
  ln_t LN_ALIGN pb[DEPTH][COLUMNS], LN_ALIGN pa[ROWS][DEPTH];
  int64_t columns = g->n - j < COLUMNS ? g->n - j : COLUMNS;
  lines lb = {NULL, 0, 0};
  for (int64_t i = 0; i < g->m; i += ROWS) {
    int64_t rows = g->m - i < ROWS ? g->m - i : ROWS;
    ln_t LN_ALIGN sum[ROWS][COLUMNS] = {{0}};
    for (int64_t k = 0; k < g->k; k += DEPTH) {
      int64_t depth = g->k - k < DEPTH ? g->k - k : DEPTH;
      if (i == 0 || g->k > DEPTH) lb = pack_b(b, k, depth, j, columns, pb);
      lines la = pack_a(a, i, rows, k, depth, pa);
      (columns > COLUMNS / 2 ? tile_wide : tile_half)(&la, rows, &lb, depth, sum);
    }
    finish(g, c, i, rows, j, columns, sum);
  }
}

const char *LN_FN(gemm)(const ln_gemm *g) {
  const char *failure = NULL;
  if (g->m == 0 || g->n == 0 || g->batch == 0 || ln_blas_gemm(g, &failure)) return failure;
  int item = ln_cpu_size_of(g->dtype);
  int64_t strips = (g->n + COLUMNS - 1) / COLUMNS, work = g->batch * g->m * g->n * g->k;
  int threads = ln_cpu_threads(work, LN_GRAIN_LIGHT * 8);
  LN_SHARE(threads, s, g->batch * strips, 1, {
    int64_t batch = s / strips;
    panel a = {g->a + batch * g->a_batch * item, g->a_row, g->a_col, g->dtype, item};
    panel b = {g->b + batch * g->b_batch * item, g->b_row, g->b_col, g->dtype, item};
    strip(g, &a, &b, g->c + batch * g->c_batch * item, (s % strips) * COLUMNS);
  });
  return NULL;
}
