/* cublas.cu - matrix products by cuBLAS, opened at the first product. Its few functions are declared here, as its documentation gives them, so
 * that neither header nor library is needed to build. Sums are in float32 (float64 for float64), without TF32. */
#include "library.h"

namespace {

typedef struct cublasContext *handle_t;
enum { OP_N = 0, OP_T = 1, R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_64F = 70, ALGO_DEFAULT = -1 };

struct library {
  int (*create)(handle_t *);
  int (*set_stream)(handle_t, cudaStream_t);
  int (*gemm)(handle_t, int, int, int, int, int, const void *, const void *, int, int, long long, const void *, int, int, long long, const void *,
              void *, int, int, long long, int, int, int);
  bool usable;
};

library open_library() {
  static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so", NULL};
  library l = {};
  void *so = ln_library_open(names);
  l.usable = so != NULL;
  if (!so) return l;
  ln_library_symbol(so, "cublasCreate_v2", &l.create, &l.usable);
  ln_library_symbol(so, "cublasSetStream_v2", &l.set_stream, &l.usable);
  ln_library_symbol(so, "cublasGemmStridedBatchedEx", &l.gemm, &l.usable);
  return l;
}

const library &the_library() {
  static const library l = open_library();
  return l;
}

const char *handle_of(int device, handle_t *out) {
  static thread_local handle_t handles[LN_MAX_GPUS];
  return ln_library_handle(device, handles, the_library().create, the_library().set_stream, out);
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
  return operand(g->a_row, g->a_col, g->m, g->k, &o->op_a, &o->lda) && operand(g->b_row, g->b_col, g->k, g->n, &o->op_b, &o->ldb);
}

} // namespace

bool ln_cublas_takes(const ln_gemm *g) {
  operands o;
  const int64_t most = INT32_MAX;
  return g->dtype <= LN_BFLOAT16 && g->k > 0 && g->m <= most && g->n <= most && g->k <= most && g->batch <= most && g->c_row <= most &&
         g->c_row >= g->n && operands_of(g, &o) && the_library().usable;
}

const char *ln_cublas_gemm(const ln_gemm *g, int device) {
  static const int types[4] = {R_32F, R_64F, R_16F, R_16BF};
  operands o;
  handle_t handle;
  operands_of(g, &o);
  LN_GPU_TRY(handle_of(device, &handle));
  float alpha = (float)g->alpha, beta = (float)g->beta;
  bool wide = g->dtype == LN_FLOAT64;
  int type = types[g->dtype], compute = wide ? COMPUTE_64F : COMPUTE_32F;
  const void *pa = wide ? (const void *)&g->alpha : &alpha, *pb = wide ? (const void *)&g->beta : &beta;
  /* C^T = B^T A^T, column-major */
  int status = the_library().gemm(handle, o.op_b, o.op_a, (int)g->n, (int)g->m, (int)g->k, pa, g->b, type, o.ldb, g->b_batch, g->a, type, o.lda,
                                  g->a_batch, pb, g->c, type, (int)g->c_row, g->c_batch, (int)g->batch, compute, ALGO_DEFAULT);
  return status ? "cuBLAS refused the product" : NULL;
}
