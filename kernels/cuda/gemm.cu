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
    if (g.bias) value += (A)ln_load<T>(g.bias + column * item, g.dtype);
    ln_store<T>(c, g.dtype, (T)value);
  }
};

/* For the library, which adds to what stands in C. */
template <class T> struct bias_body {
  ln_gemm g;
  int item;
  LN_BODY void operator()(int64_t i) const {
    int64_t row = i / g.n, column = i - row * g.n;
    char *c = g.c + (row / g.m * g.c_batch + row % g.m * g.c_row + column) * item;
    ln_store<T>(c, g.dtype, ln_load<T>(g.bias + column * item, g.dtype));
  }
};

/* The library's turn; false when it does not take the product. */
bool by_library(const ln_gemm *g, int device, const char **failure) {
  ln_gemm with = *g;
  if (!ln_cublas_takes(g)) return false;
  if (g->bias) {
    int64_t n = g->batch * g->m * g->n;
    int item = ln_gpu_size_of(g->dtype);
    with.beta = 1;
    *failure = g->dtype == LN_FLOAT64 ? ln_each(device, n, bias_body<double>{*g, item}) : ln_each(device, n, bias_body<float>{*g, item});
    if (*failure) return true;
  }
  *failure = ln_cublas_gemm(&with, device);
  return true;
}

} // namespace

const char *ln_gpu_gemm(const ln_gemm *g, int device) {
  const char *failure = NULL;
  int64_t n = g->batch * g->m * g->n;
  if (n == 0) return NULL;
  if (by_library(g, device, &failure)) return failure;
  int item = ln_gpu_size_of(g->dtype);
  if (g->dtype >= LN_INT8) return ln_each(device, n, gemm_body<int64_t, int64_t>{*g, item});
  if (g->dtype == LN_FLOAT64) return ln_each(device, n, gemm_body<double, double>{*g, item});
  return ln_each(device, n, gemm_body<float, double>{*g, item});
}
