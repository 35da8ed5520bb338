/* lapack.c - factorisations and solutions by the LAPACK that is part of OpenBLAS. */
#include "cpu.h"
#include "library.h"

#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* -- The library. Fortran takes everything by address, and the lengths of texts behind all else; float and double differ in the first letter. -- */

#define DECLARE(name, ...)      \
  void s##name##_(__VA_ARGS__); \
  void d##name##_(__VA_ARGS__);
DECLARE(getrf, const int *m, const int *n, void *a, const int *lda, int32_t *pivots, int *info)
DECLARE(getrs, const char *turned, const int *n, const int *k, const void *a, const int *lda, const int32_t *pivots, void *b, const int *ldb,
        int *info, size_t)
DECLARE(trsm, const char *side, const char *triangle, const char *turned, const char *diagonal, const int *m, const int *n, const void *alpha,
        const void *a, const int *lda, void *b, const int *ldb, size_t, size_t, size_t, size_t)
DECLARE(potrf, const char *triangle, const int *n, void *a, const int *lda, int *info, size_t)
DECLARE(geqrf, const int *m, const int *n, void *a, const int *lda, void *tau, void *work, const int *lwork, int *info)
DECLARE(orgqr, const int *m, const int *n, const int *k, void *a, const int *lda, const void *tau, void *work, const int *lwork, int *info)
DECLARE(gesdd, const char *job, const int *m, const int *n, void *a, const int *lda, void *s, void *u, const int *ldu, void *v, const int *ldv,
        void *work, const int *lwork, int *iwork, int *info, size_t)
DECLARE(syevd, const char *job, const char *triangle, const int *n, void *a, const int *lda, void *w, void *work, const int *lwork, int *iwork,
        const int *liwork, int *info, size_t, size_t)
DECLARE(gelsy, const int *m, const int *n, const int *k, void *a, const int *lda, void *b, const int *ldb, int32_t *pivots, const void *rcond,
        int *rank, void *work, const int *lwork, int *info)

#define BOTH(F, name) F(s##name##_) F(d##name##_)
#define FUNCTIONS(F) \
  BOTH(F, getrf) BOTH(F, getrs) BOTH(F, trsm) BOTH(F, potrf) BOTH(F, geqrf) BOTH(F, orgqr) BOTH(F, gesdd) BOTH(F, syevd) BOTH(F, gelsy)
static struct { FUNCTIONS(LN_LIBRARY_POINTER) } api;
static const char *unusable;
static char failure_to_open[LN_LIBRARY_TEXT];

static void open_library(void) {
  static const char *const names[] = {FUNCTIONS(LN_LIBRARY_NAME) NULL};
  void **const functions[] = {FUNCTIONS(LN_LIBRARY_SLOT) NULL};
  unusable = ln_openblas_failure();
  if (!unusable && !ln_library_open(LN_OPENBLAS_PATH, "libopenblas0-openmp", names, functions, failure_to_open)) unusable = failure_to_open;
}

#define CALL(w, name, ...) ((w)->dtype == LN_FLOAT32 ? api.s##name##_ : api.d##name##_)(__VA_ARGS__)

/* -- One matrix of the batch -- */

/* What each matrix needs beside itself: numbers and whole numbers. A function that is given no memory says how much it wants. */
typedef struct scratch {
  int numbers, integers;
  char *work;
  int *iwork;
} scratch;

typedef int (*one_fn)(const ln_lapack *w, int64_t i, scratch *s);

static char *at(const ln_lapack *w, char *base, int64_t i, int64_t size) { return base ? base + i * size * ln_cpu_size_of(w->dtype) : NULL; }

static int64_t smaller(const ln_lapack *w) { return w->m < w->n ? w->m : w->n; }

static int leading(int64_t rows) { return rows > 1 ? (int)rows : 1; }

static bool all_finite(const ln_lapack *w, const char *a, int64_t n) {
  double sum = 0; /* 0 * x is 0, or NaN where x is not finite */
  for (int64_t i = 0; i < n; i++) sum += 0 * (w->dtype == LN_FLOAT32 ? ((const float *)a)[i] : ((const double *)a)[i]);
  return sum == 0;
}

/* The answer to a query, of a dtype. */
static int answer(const ln_lapack *w, const void *number) {
  return (int)ceil(w->dtype == LN_FLOAT32 ? *(const float *)number * (1 + 1e-6) : *(const double *)number);
}

static int lu(const ln_lapack *w, int64_t i, scratch *s) {
  int m = (int)w->m, n = (int)w->n, lda = leading(m), info = 0;
  if (s->work) CALL(w, getrf, &m, &n, at(w, w->a, i, w->m * w->n), &lda, w->pivots + i * smaller(w), &info);
  return info;
}

static int lu_solve(const ln_lapack *w, int64_t i, scratch *s) {
  int n = (int)w->n, k = (int)w->k, lda = leading(n), info = 0;
  if (s->work) CALL(w, getrs, "N", &n, &k, at(w, w->a, i, w->n * w->n), &lda, w->pivots + i * w->n, at(w, w->b, i, w->n * w->k), &lda, &info, 1);
  return info;
}

static int triangular(const ln_lapack *w, int64_t i, scratch *s) {
  static const float one = 1;
  static const double one_double = 1;
  int n = (int)w->n, k = (int)w->k, lda = leading(n);
  const void *alpha = w->dtype == LN_FLOAT32 ? (const void *)&one : (const void *)&one_double;
  if (s->work)
    CALL(w, trsm, "L", w->upper ? "U" : "L", "N", w->unit ? "U" : "N", &n, &k, alpha, at(w, w->a, i, w->n * w->n), &lda, at(w, w->b, i, w->n * w->k),
         &lda, 1, 1, 1, 1);
  return 0;
}

static int cholesky(const ln_lapack *w, int64_t i, scratch *s) {
  int n = (int)w->n, lda = leading(n), info = 0;
  if (s->work) CALL(w, potrf, "L", &n, at(w, w->a, i, w->n * w->n), &lda, &info, 1);
  return info;
}

static int qr(const ln_lapack *w, int64_t i, scratch *s) {
  int m = (int)w->m, n = (int)w->n, lda = leading(m), length = s->work ? s->numbers : -1, info = 0;
  double number = 0;
  CALL(w, geqrf, &m, &n, at(w, w->a, i, w->m * w->n), &lda, at(w, w->b, i, smaller(w)), s->work ? s->work : (char *)&number, &length, &info);
  if (!s->work) s->numbers = answer(w, &number);
  return info;
}

static int q(const ln_lapack *w, int64_t i, scratch *s) {
  int m = (int)w->m, n = (int)w->n, k = (int)w->k, lda = leading(m), length = s->work ? s->numbers : -1, info = 0;
  double number = 0;
  CALL(w, orgqr, &m, &n, &k, at(w, w->a, i, w->m * w->n), &lda, at(w, w->b, i, w->k), s->work ? s->work : (char *)&number, &length, &info);
  if (!s->work) s->numbers = answer(w, &number);
  return info;
}

static int svd(const ln_lapack *w, int64_t i, scratch *s) {
  int64_t r = smaller(w), columns = w->full ? w->m : r, rows = w->full ? w->n : r;
  int m = (int)w->m, n = (int)w->n, lda = leading(m), ldv = leading(rows), length = s->work ? s->numbers : -1, info = 0;
  char *a = at(w, w->a, i, w->m * w->n);
  double number = 0;
  if (s->work && !all_finite(w, a, w->m * w->n)) return LN_LAPACK_INFINITE;
  s->integers = 8 * (int)r;
  CALL(w, gesdd,
       !w->vectors ? "N"
       : w->full   ? "A"
                   : "S",
       &m, &n, a, &lda, at(w, w->b, i, r), at(w, w->u, i, w->m * columns), &lda, at(w, w->v, i, rows * w->n), &ldv,
       s->work ? s->work : (char *)&number, &length, s->iwork, &info, 1);
  if (!s->work) s->numbers = answer(w, &number);
  return info;
}

static void fill_nan(const ln_lapack *w, char *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (w->dtype == LN_FLOAT32)
      ((float *)x)[i] = NAN;
    else
      ((double *)x)[i] = NAN;
  }
}

/* The upper triangle may hold anything. */
static bool lower_is_finite(const ln_lapack *w, const char *a, int64_t n) {
  for (int64_t j = 0; j < n; j++)
    if (!all_finite(w, a + j * (n + 1) * ln_cpu_size_of(w->dtype), n - j)) return false;
  return true;
}

static int eigh(const ln_lapack *w, int64_t i, scratch *s) {
  int n = (int)w->n, lda = leading(n), length = s->work ? s->numbers : -1, whole = s->work ? s->integers : -1, info = 0;
  char *a = at(w, w->a, i, w->n * w->n), *values = at(w, w->b, i, w->n);
  double number = 0;
  if (s->work && !lower_is_finite(w, a, w->n)) {
    fill_nan(w, a, w->n * w->n);
    fill_nan(w, values, w->n);
    return 0;
  }
  CALL(w, syevd, w->vectors ? "V" : "N", "L", &n, a, &lda, values, s->work ? s->work : (char *)&number, &length, s->work ? s->iwork : &s->integers,
       &whole, &info, 1, 1);
  if (!s->work) s->numbers = answer(w, &number);
  return info;
}

static int lstsq(const ln_lapack *w, int64_t i, scratch *s) {
  int64_t rows = w->m > w->n ? w->m : w->n;
  int m = (int)w->m, n = (int)w->n, k = (int)w->k, lda = leading(m), ldb = leading(rows), length = s->work ? s->numbers : -1, rank = 0, info = 0;
  char *a = at(w, w->a, i, w->m * w->n), *b = at(w, w->b, i, rows * w->k);
  float rcond = (float)w->rcond;
  double number = 0;
  if (s->work && !(all_finite(w, a, w->m * w->n) && all_finite(w, b, rows * w->k))) return LN_LAPACK_INFINITE;
  if (s->work) memset(s->iwork, 0, sizeof(int) * (size_t)n); /* every column may be a pivot */
  s->integers = n;
  CALL(w, gelsy, &m, &n, &k, a, &lda, b, &ldb, s->iwork, w->dtype == LN_FLOAT32 ? (void *)&rcond : (void *)&w->rcond, &rank,
       s->work ? s->work : (char *)&number, &length, &info);
  if (!s->work) s->numbers = answer(w, &number);
  if (s->work) w->ranks[i] = rank;
  return info;
}

/* -- The batch -- */

static const one_fn functions[] = {[LN_LAPACK_LU] = lu,
                                   [LN_LAPACK_LU_SOLVE] = lu_solve,
                                   [LN_LAPACK_TRIANGULAR] = triangular,
                                   [LN_LAPACK_CHOLESKY] = cholesky,
                                   [LN_LAPACK_QR] = qr,
                                   [LN_LAPACK_Q] = q,
                                   [LN_LAPACK_SVD] = svd,
                                   [LN_LAPACK_EIGH] = eigh,
                                   [LN_LAPACK_LSTSQ] = lstsq};

/* Matrix i with memory of its own. */
static int with_scratch(const ln_lapack *w, int64_t i, scratch s) {
  size_t bytes = ((size_t)s.numbers * (size_t)ln_cpu_size_of(w->dtype) + 63) & ~(size_t)63;
  s.work = malloc(bytes + sizeof(int) * (size_t)s.integers + 64);
  if (!s.work) return LN_LAPACK_NO_MEMORY;
  s.iwork = (int *)(s.work + bytes);
  int info = functions[w->kind](w, i, &s);
  free(s.work);
  return info;
}

/* Several matrices are shared out, each on one thread; a large one by itself is shared out by OpenBLAS. */
const char *ln_cpu_lapack(ln_lapack *w) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  enum { GRAIN = 1 << 15, LARGE = 1024 };
  pthread_once(&once, open_library);
  if (unusable) return unusable;
  w->failed = -1;
  w->reason = 0;
  if (w->batch == 0) return NULL;
  scratch wanted = {0};
  functions[w->kind](w, 0, &wanted);
  int *reasons = calloc((size_t)w->batch, sizeof *reasons);
  if (!reasons) return LN_OUT_OF_MEMORY;
  int64_t work = (w->m > 1 ? w->m : 1) * w->n * (w->n + w->k);
  int most = omp_get_max_threads(), threads = w->batch > 1 ? ln_cpu_threads(work * w->batch, GRAIN) : 1;
  bool large = w->batch == 1 && w->n >= LARGE && ln_cpu_threads(work, GRAIN) > 1;
  if (threads == 1 && !large && most > 1) omp_set_num_threads(1); /* else OpenBLAS takes all for the smallest matrix */
  LN_SHARE(threads, i, w->batch, 1, { reasons[i] = with_scratch(w, i, wanted); });
  if (omp_get_max_threads() != most) omp_set_num_threads(most);
  for (int64_t i = w->batch - 1; i >= 0; i--) {
    if (reasons[i] == 0) continue;
    w->failed = i;
    w->reason = reasons[i];
  }
  free(reasons);
  return w->failed >= 0 && w->reason == LN_LAPACK_NO_MEMORY ? LN_OUT_OF_MEMORY : NULL;
}
