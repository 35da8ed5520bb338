/* gemm_plain.c - the matrix product without a library, for one compute type and instruction set: integers, half types in f32, and float
 * products so small that a library's set-up costs more than the work.
 *
 * Tiles of ROWS x COLUMNS accumulate in registers over packed panels; each element sums over k in order, whatever the tile, so results do not
 * depend on the number of threads. */
#include "cpu.h"

#include <stdlib.h>

#define ROWS 4
#define COLUMNS 16
#define DEPTH 256 /* of a packed panel */

typedef struct panel {
  const char *data;
  int64_t row, col; /* strides in elements */
  int dtype, item;
} panel;

/* n elements of a line into compute type. */
static void line(const panel *p, int64_t i, int64_t j, int64_t stride, int64_t n, ln_t *out) {
  LN_FN(load)(p->data + (i * p->row + j * p->col) * p->item, stride * p->item, p->dtype, n, out);
}

static void tile(const ln_t (*a)[ROWS], const ln_t (*b)[COLUMNS], int64_t depth, ln_t c[ROWS][COLUMNS]) {
  for (int64_t k = 0; k < depth; k++)
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < COLUMNS; j++) c[i][j] += a[k][i] * b[k][j];
}

static void pack_a(const panel *a, int64_t i, int64_t rows, int64_t k, int64_t depth, ln_t (*out)[ROWS]) {
  ln_t buffer[DEPTH];
  memset(out, 0, sizeof(ln_t) * ROWS * (size_t)depth);
  for (int64_t r = 0; r < rows; r++) {
    line(a, i + r, k, a->col, depth, buffer);
    for (int64_t d = 0; d < depth; d++) out[d][r] = buffer[d];
  }
}

static void pack_b(const panel *b, int64_t k, int64_t depth, int64_t j, int64_t columns, ln_t (*out)[COLUMNS]) {
  if (columns < COLUMNS) memset(out, 0, sizeof(ln_t) * COLUMNS * (size_t)depth);
  for (int64_t d = 0; d < depth; d++) line(b, k + d, j, b->col, columns, out[d]);
}

static void finish(const ln_gemm *g, char *c, int64_t i, int64_t rows, int64_t j, int64_t columns, ln_t sum[ROWS][COLUMNS]) {
  int item = ln_cpu_size_of(g->dtype);
  for (int64_t r = 0; r < rows; r++) {
    ln_t old[COLUMNS];
    char *y = c + ((i + r) * g->c_row + j) * item;
    if (g->beta != 0) LN_FN(load)(y, item, g->dtype, columns, old);
    for (int64_t k = 0; k < columns; k++) {
      ln_t value = g->alpha == 1 ? sum[r][k] : (ln_t)(g->alpha * (double)sum[r][k]);
      sum[r][k] = g->beta == 0 ? value : value + (g->beta == 1 ? old[k] : (ln_t)(g->beta * (double)old[k]));
    }
    LN_FN(store)(y, item, g->dtype, columns, sum[r]);
  }
}

/* COLUMNS columns of one product, all rows. */
static void strip(const ln_gemm *g, const panel *a, const panel *b, char *c, int64_t j) {
  ln_t LN_ALIGN pb[DEPTH][COLUMNS], LN_ALIGN pa[DEPTH][ROWS];
  int64_t columns = g->n - j < COLUMNS ? g->n - j : COLUMNS;
  for (int64_t i = 0; i < g->m; i += ROWS) {
    int64_t rows = g->m - i < ROWS ? g->m - i : ROWS;
    ln_t LN_ALIGN sum[ROWS][COLUMNS] = {{0}};
    for (int64_t k = 0; k < g->k; k += DEPTH) {
      int64_t depth = g->k - k < DEPTH ? g->k - k : DEPTH;
      if (i == 0 || g->k > DEPTH) pack_b(b, k, depth, j, columns, pb);
      pack_a(a, i, rows, k, depth, pa);
      tile((const ln_t(*)[ROWS])pa, (const ln_t(*)[COLUMNS])pb, depth, sum);
    }
    finish(g, c, i, rows, j, columns, sum);
  }
}

const char *LN_FN(gemm)(const ln_gemm *g) {
  int item = ln_cpu_size_of(g->dtype);
  int64_t strips = (g->n + COLUMNS - 1) / COLUMNS, work = g->batch * g->m * g->n * g->k;
  int threads = ln_cpu_threads(work, LN_GRAIN_CHEAP * 8);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t s = 0; s < g->batch * strips; s++) {
    int64_t batch = s / strips;
    panel a = {g->a + batch * g->a_batch * item, g->a_row, g->a_col, g->dtype, item};
    panel b = {g->b + batch * g->b_batch * item, g->b_row, g->b_col, g->dtype, item};
    strip(g, &a, &b, g->c + batch * g->c_batch * item, (s % strips) * COLUMNS);
  }
  return NULL;
}
