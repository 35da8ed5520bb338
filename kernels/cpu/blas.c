/* blas.c - matrix products by a library: OpenBLAS, or oneDNN in the range where it is ahead. */
#include "cpu.h"
#include "library.h"

#include <cblas.h>
#include <math.h>
#include <pthread.h>

/* Multiply-adds of one product. Below TINY a library's set-up costs more than the work; from MIDDLE on oneDNN is ahead of OpenBLAS 0.3.21. */
#define TINY (24 * 24 * 24)
#define MIDDLE (80.0 * 80 * 80)

/* -- OpenBLAS -- */

#define FUNCTIONS(F) F(cblas_sgemm) F(cblas_dgemm) F(openblas_set_num_threads)
static struct { FUNCTIONS(LN_LIBRARY_POINTER) } api;
static bool opened;
static char failure_to_open[LN_LIBRARY_TEXT];

static void open_library(void) {
  static const char *const names[] = {FUNCTIONS(LN_LIBRARY_NAME) NULL};
  void **const functions[] = {FUNCTIONS(LN_LIBRARY_SLOT) NULL};
  opened = ln_library_open(LN_OPENBLAS_PATH, "libopenblas0-openmp", names, functions, failure_to_open);
  if (!opened) return;
  int threads = omp_get_max_threads(); /* an OpenBLAS that is built with OpenMP changes the count of all of OpenMP */
  api.openblas_set_num_threads(1);
  omp_set_num_threads(threads);
}

const char *ln_openblas_failure(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_library);
  return opened ? NULL : failure_to_open;
}

/* -- Products -- */

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

static void call_openblas(const ln_gemm *g) {
  int64_t lda, ldb;
  CBLAS_TRANSPOSE ta = transposed(g->a_row, g->a_col, g->m, g->k, &lda) ? CblasTrans : CblasNoTrans;
  CBLAS_TRANSPOSE tb = transposed(g->b_row, g->b_col, g->k, g->n, &ldb) ? CblasTrans : CblasNoTrans;
  int m = (int)g->m, n = (int)g->n, k = (int)g->k;
  if (g->dtype == LN_FLOAT32)
    api.cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, (float)g->alpha, (const float *)g->a, (int)lda, (const float *)g->b, (int)ldb, (float)g->beta,
                    (float *)g->c, (int)g->c_row);
  else
    api.cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, g->alpha, (const double *)g->a, (int)lda, (const double *)g->b, (int)ldb, g->beta, (double *)g->c,
                    (int)g->c_row);
}

/* One product on this thread: an OpenBLAS that is built with OpenMP takes all of its threads unless it is called in a parallel region. */
static void blas(const ln_gemm *g) {
  int threads = omp_get_max_threads();
  bool alone = threads > 1 && !omp_in_parallel();
  if (alone) omp_set_num_threads(1);
  call_openblas(g);
  if (alone) omp_set_num_threads(threads);
}

/* Product i of the batch, of it the rows or columns from `low` to `high`. */
static ln_gemm part_of(const ln_gemm *g, int64_t i, bool rows, int64_t low, int64_t high) {
  int64_t item = ln_cpu_size_of(g->dtype);
  ln_gemm p = *g;
  p.a += (i * g->a_batch + (rows ? low * g->a_row : 0)) * item;
  p.b += (i * g->b_batch + (rows ? 0 : low * g->b_col)) * item;
  p.c += (i * g->c_batch + (rows ? low * g->c_row : low)) * item;
  *(rows ? &p.m : &p.n) = high - low;
  return p;
}

/* OpenBLAS computes on one thread and the work is shared out here, in parts of whole multiples of UNIT: its own way of sharing would let the number
 * of threads change the last bits. */
static void share_blas(const ln_gemm *g, double work) {
  enum { UNIT = 32, GRAIN = 1 << 18 };
  int threads = ln_cpu_threads((int64_t)fmin(work * (double)g->batch, 1e15), GRAIN);
  bool rows = g->m > g->n;
  int64_t extent = rows ? g->m : g->n, parts = (threads + g->batch - 1) / g->batch;
  int64_t chunk = ((extent + parts - 1) / parts + UNIT - 1) / UNIT * UNIT;
  parts = (extent + chunk - 1) / chunk;
  LN_SHARE(threads, t, g->batch * parts, 1, {
    int64_t low = t % parts * chunk, high = low + chunk < extent ? low + chunk : extent;
    ln_gemm part = part_of(g, t / parts, rows, low, high);
    blas(&part);
  });
}

/* Products that take long are done in slices of rows, between which an interrupt is heeded. Their bounds do not depend on the threads; fewer rows would not
 * pay for what a library prepares of B each time. */
#define SLICE ((double)((int64_t)1 << 32)) /* multiply-adds */
#define SLICE_ROWS 512

static bool in_slices(const ln_gemm *g, double work, bool (*multiply)(const ln_gemm *g)) {
  int64_t slices = (int64_t)(work * (double)g->batch / SLICE) + 1, step = (g->m / slices / SLICE_ROWS + 1) * SLICE_ROWS;
  for (int64_t low = 0; low < g->m && !ln_cut_short(); low += step) {
    ln_gemm part = part_of(g, 0, true, low, low + step < g->m ? low + step : g->m);
    if (!multiply(&part)) return false;
  }
  return true;
}

static bool multiply_openblas(const ln_gemm *g) {
  share_blas(g, (double)g->m * (double)g->n * (double)g->k);
  return true;
}

static bool fits_blas(const ln_gemm *g) {
  const int64_t most = INT32_MAX;
  return g->m <= most && g->n <= most && g->k <= most && g->a_row <= most && g->a_col <= most && g->b_row <= most && g->b_col <= most &&
         g->c_row <= most;
}

/* For a library, which adds to what stands in C. */
static void fill_with_bias(const ln_gemm *g) {
  size_t item = (size_t)ln_cpu_size_of(g->dtype), bytes = (size_t)g->n * item;
  LN_SHARE(ln_cpu_threads(g->batch * g->m * g->n, LN_GRAIN_LIGHT * 4), i, g->batch * g->m, 1,
           { memcpy(g->c + (size_t)((i / g->m) * g->c_batch + (i % g->m) * g->c_row) * item, g->bias, bytes); });
}

bool ln_blas_gemm(const ln_gemm *g, const char **failure) {
  double work = (double)g->m * (double)g->n * (double)g->k;
  if ((g->dtype != LN_FLOAT32 && g->dtype != LN_FLOAT64) || work < TINY || !fits_blas(g)) return false;
  ln_gemm with = *g;
  if (g->bias) {
    fill_with_bias(g);
    with.beta = 1;
  }
  if (g->dtype == LN_FLOAT32 && work >= MIDDLE && in_slices(&with, work, ln_onednn_sgemm)) return true;
  *failure = ln_openblas_failure();
  if (!*failure) in_slices(&with, work, multiply_openblas);
  return true;
}
