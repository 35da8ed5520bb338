/* cublas.cpp - matrix products by cuBLAS, opened at the first product. Its few functions are declared here, as its documentation gives them, so
 * that neither header nor library is needed to build. Sums are in float32 (float64 for float64), those of parts of a product too; TF32 is used where
 * lt.cuda.allow_tf32 was set. */
#include "driver.h"

#include <mutex>

namespace {

typedef struct cublasContext *handle_t;
enum {
  OP_N = 0,
  OP_T = 1,
  R_32F = 0,
  R_64F = 1,
  R_16F = 2,
  R_16BF = 14,
  COMPUTE_32F = 68,
  COMPUTE_64F = 70,
  COMPUTE_32F_TF32 = 77,
  ALGO_DEFAULT = -1,
  FULL_PRECISION_REDUCTION = 16 /* CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION */
};

struct library {
  int (*create)(handle_t *);
  int (*destroy)(handle_t);
  int (*set_stream)(handle_t, ln_stream);
  int (*set_math)(handle_t, int);
  int (*version)(handle_t, int *);
  const char *(*error_text)(int);
  int (*gemm)(handle_t, int, int, int, int, int, const void *, const void *, int, int, long long, const void *, int, int, long long, const void *,
              void *, int, int, long long, int, int, int);
  bool usable;
};

library open_library() {
  const int all[3] = {13, 12, 0}, *versions = all + (ln_gpu_driver_version() < 13000);
  library l = {};
  int found = 0;
  void *so = ln_library_open("cublas", versions, &found);
  l.usable = so != NULL;
  if (!so) {
    ln_library_missing("cuBLAS",
                       "not found (libcublas.so.%d): products run on a plain kernel, many times slower; install libcublas-13-0 from NVIDIA's "
                       "repository or pip install nvidia-cublas, and name its folder in LD_LIBRARY_PATH",
                       versions[0]);
    return l;
  }
  ln_library_symbol(so, "cublasCreate_v2", &l.create, &l.usable);
  ln_library_symbol(so, "cublasDestroy_v2", &l.destroy, &l.usable);
  ln_library_symbol(so, "cublasSetStream_v2", &l.set_stream, &l.usable);
  ln_library_symbol(so, "cublasSetMathMode", &l.set_math, &l.usable);
  ln_library_symbol(so, "cublasGetVersion_v2", &l.version, &l.usable);
  ln_library_symbol(so, "cublasGetStatusString", &l.error_text, &l.usable);
  ln_library_symbol(so, "cublasGemmStridedBatchedEx", &l.gemm, &l.usable);
  if (l.usable)
    ln_library_state("cuBLAS", "%d", found);
  else
    ln_library_missing("cuBLAS", "libcublas.so.%d cannot be used: functions are missing; products run on a plain kernel, many times slower", found);
  return l;
}

const library &the_library() {
  static const library l = open_library();
  return l;
}

const char *failure_of(int status) { return status ? ln_gpu_text("cuBLAS: %s", the_library().error_text(status)) : NULL; }

void drop_handle(void *handle) { the_library().destroy((handle_t)handle); }

/* This thread's on the device, on its stream there. */
const char *handle_of(int device, handle_t *out) {
  static thread_local handle_t handles[LN_MAX_GPUS];
  const library &l = the_library();
  LN_GPU_TRY(ln_gpu_enter(device));
  if (!handles[device]) {
    handle_t fresh = NULL;
    LN_GPU_TRY(failure_of(l.create(&fresh)));
    int status = l.set_stream(fresh, ln_gpu_stream(device));
    if (!status) status = l.set_math(fresh, FULL_PRECISION_REDUCTION);
    if (status) {
      l.destroy(fresh);
      return failure_of(status);
    }
    handles[device] = fresh;
    ln_gpu_at_thread_end(drop_handle, fresh);
  }
  *out = handles[device];
  return NULL;
}

/* A row-major operand as cuBLAS, which is column-major, sees it; false when a stride is no leading dimension. */
bool operand(int64_t row, int64_t col, int64_t rows, int64_t cols, int *op, int *ld) {
  int64_t lead, least;
  if (col == 1 || cols == 1) {
    *op = OP_N;
    lead = row;
    least = cols;
  } else if (row == 1 || rows == 1) {
    *op = OP_T;
    lead = col;
    least = rows;
  } else {
    return false;
  }
  if (*op == OP_N && rows == 1 && lead < least) lead = least;
  if (*op == OP_T && cols == 1 && lead < least) lead = least;
  *ld = (int)lead;
  return lead >= least && lead > 0 && lead <= INT32_MAX;
}

/* What a product becomes for cuBLAS. */
struct operands {
  int op_a, op_b, lda, ldb;
};

bool operands_of(const ln_gemm *g, operands *o) {
  const int64_t most = INT32_MAX;
  return g->m <= most && g->n <= most && g->k <= most && g->batch <= most && g->c_row <= most && g->c_row >= g->n &&
         operand(g->a_row, g->a_col, g->m, g->k, &o->op_a, &o->lda) && operand(g->b_row, g->b_col, g->k, g->n, &o->op_b, &o->ldb);
}

const char *run(const ln_gemm *g, const operands &o, int device) {
  static const int types[4] = {R_32F, R_64F, R_16F, R_16BF};
  handle_t handle = NULL;
  LN_GPU_TRY(handle_of(device, &handle));
  const float alpha = (float)g->alpha, beta = (float)g->beta;
  const bool wide = g->dtype == LN_FLOAT64;
  const int type = types[g->dtype];
  const int compute = wide ? COMPUTE_64F : g->dtype == LN_FLOAT32 && ln_gpu_allow_tf32(-1) ? COMPUTE_32F_TF32 : COMPUTE_32F;
  const void *pa = wide ? (const void *)&g->alpha : &alpha, *pb = wide ? (const void *)&g->beta : &beta;
  /* C^T = B^T A^T, column-major */
  return failure_of(the_library().gemm(handle, o.op_b, o.op_a, (int)g->n, (int)g->m, (int)g->k, pa, g->b, type, o.ldb, g->b_batch, g->a, type, o.lda,
                                       g->a_batch, pb, g->c, type, (int)g->c_row, g->c_batch, (int)g->batch, compute, ALGO_DEFAULT));
}

} // namespace

/* The bias is what stands in C beforehand, or is added afterwards where something else stands there. */
bool ln_cublas_gemm(const ln_gemm *g, int device, const char **failure) {
  operands o;
  ln_gemm with = *g;
  if (g->dtype > LN_BFLOAT16 || g->k == 0 || !the_library().usable) return false;
  if (!operands_of(g, &o)) {
    ln_library_refused("cuBLAS", "a product of [%lld, %lld] and [%lld, %lld] whose rows or columns do not lie one after the other", (long long)g->m,
                       (long long)g->k, (long long)g->k, (long long)g->n);
    return false;
  }
  *failure = NULL;
  if (g->bias && g->beta == 0) {
    *failure = ln_gpu_add_bias(g, false, device);
    with.beta = 1;
  }
  if (!*failure) *failure = run(&with, o, device);
  if (!*failure && g->bias && g->beta != 0) *failure = ln_gpu_add_bias(g, true, device);
  return true;
}
