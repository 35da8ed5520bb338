/* gemm.cu - matrix products: cuBLAS, and a plain body for integers and for what the library does not take. */
#include "kernels.h"

namespace {

template <class T, class A> struct gemm_body {
  ln_gemm g;
  int item;
  LN_BODY void operator()(int64_t i) const {
    int64_t batch = i / (g.m * g.n), rest = i - batch * g.m * g.n, row = rest / g.n, column = rest - row * g.n;
    const char *a = g.a + (batch * g.a_batch + row * g.a_row) * item, *b = g.b + (batch * g.b_batch + column * g.b_col) * item;
    A sum = 0;
    for (int64_t k = 0; k < g.k; k++) sum += (A)ln_load<T>(a + k * g.a_col * item, g.dtype) * (A)ln_load<T>(b + k * g.b_row * item, g.dtype);
    char *c = g.c + (batch * g.c_batch + row * g.c_row + column) * item;
    A value = (A)g.alpha * sum;
    if (g.beta != 0) value += (A)g.beta * (A)ln_load<T>(c, g.dtype);
    ln_store<T>(c, g.dtype, (T)value);
  }
};

} // namespace

const char *ln_gpu_gemm(const ln_gemm *g, int device) {
  const char *failure = NULL;
  int64_t n = g->batch * g->m * g->n;
  if (n == 0) return NULL;
  if (ln_cublas_gemm(g, device, &failure)) return failure;
  int item = ln_gpu_size_of(g->dtype);
  if (g->dtype >= LN_INT8) return ln_each(device, n, gemm_body<int64_t, int64_t>{*g, item});
  if (g->dtype == LN_FLOAT64) return ln_each(device, n, gemm_body<double, double>{*g, item});
  return ln_each(device, n, gemm_body<float, double>{*g, item});
}
