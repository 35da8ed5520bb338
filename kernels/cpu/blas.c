/* blas.c - matrix products by a library: OpenBLAS, or oneDNN in the range where it is ahead. */
#include "cpu.h"

#include <cblas.h>

/* Multiply-adds of one product. Below TINY a library's set-up costs more than the work; from MIDDLE on oneDNN is ahead of OpenBLAS 0.3.21. */
#define TINY (24 * 24 * 24)
#define MIDDLE (80.0 * 80 * 80)

/* Is the operand stored transposed, as BLAS says it? Rows contiguous: no; columns contiguous: yes. */
static bool transposed(int64_t row, int64_t col, int64_t rows, int64_t cols, int64_t *leading) {
  bool t = !(col == 1 || cols == 1);
  *leading = t ? col : row;
  int64_t least = t ? rows : cols;
  if (rows == 1 && !t) *leading = least;
  if (cols == 1 && t) *leading = least;
  if (*leading < least) *leading = least > 1 ? least : 1;
  return t;
}

static void blas(const ln_gemm *g, int64_t i) {
  int64_t lda, ldb;
  CBLAS_TRANSPOSE ta = transposed(g->a_row, g->a_col, g->m, g->k, &lda) ? CblasTrans : CblasNoTrans;
  CBLAS_TRANSPOSE tb = transposed(g->b_row, g->b_col, g->k, g->n, &ldb) ? CblasTrans : CblasNoTrans;
  int m = (int)g->m, n = (int)g->n, k = (int)g->k;
  if (g->dtype == LN_FLOAT32)
    cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, (float)g->alpha, (const float *)g->a + i * g->a_batch, (int)lda, (const float *)g->b + i * g->b_batch,
                (int)ldb, (float)g->beta, (float *)g->c + i * g->c_batch, (int)g->c_row);
  else
    cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, g->alpha, (const double *)g->a + i * g->a_batch, (int)lda, (const double *)g->b + i * g->b_batch,
                (int)ldb, g->beta, (double *)g->c + i * g->c_batch, (int)g->c_row);
}

static bool fits_blas(const ln_gemm *g) {
  const int64_t most = INT32_MAX;
  return g->m <= most && g->n <= most && g->k <= most && g->a_row <= most && g->a_col <= most && g->b_row <= most && g->b_col <= most &&
         g->c_row <= most;
}

/* For a library, which adds to what stands in C. */
static void fill_with_bias(const ln_gemm *g) {
  size_t item = (size_t)ln_cpu_size_of(g->dtype), bytes = (size_t)g->n * item;
  LN_SHARE(ln_cpu_threads(g->batch * g->m * g->n, LN_GRAIN_CHEAP * 4), i, g->batch * g->m, 1,
           { memcpy(g->c + (size_t)((i / g->m) * g->c_batch + (i % g->m) * g->c_row) * item, g->bias, bytes); });
}

bool ln_blas_gemm(const ln_gemm *g) {
  double work = (double)g->m * (double)g->n * (double)g->k;
  if ((g->dtype != LN_FLOAT32 && g->dtype != LN_FLOAT64) || work < TINY || !fits_blas(g)) return false;
  ln_gemm with = *g;
  if (g->bias) {
    fill_with_bias(g);
    with.beta = 1;
  }
  if (g->dtype == LN_FLOAT32 && work >= MIDDLE && ln_onednn_sgemm(&with)) return true;
  for (int64_t i = 0; i < g->batch; i++) blas(&with, i);
  return true;
}
