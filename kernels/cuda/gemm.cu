/* gemm.cu - matrix products: cuBLAS, and a plain functor for integers, which no library takes, and for what cublas.cpp says it does not take. */
#include "cuda.h"

namespace cuda::gemm {

template <class T, class A> struct product {
  ln_gemm g;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, g.dtype), item = ln_gpu_size_of(type);
    int64_t batch = i / (g.m * g.n), rest = i - batch * g.m * g.n, row = rest / g.n, column = rest - row * g.n;
    const char *a = g.a + (batch * g.a_batch + row * g.a_row) * item, *b = g.b + (batch * g.b_batch + column * g.b_col) * item;
    A sum = 0;
    for (int64_t k = 0; k < g.k; k++) sum += (A)ln_load<T>(a + k * g.a_col * item, type) * (A)ln_load<T>(b + k * g.b_row * item, type);
    char *c = g.c + (batch * g.c_batch + row * g.c_row + column) * item;
    A value = (A)g.alpha * sum;
    if (g.beta != 0) value += (A)g.beta * (A)ln_load<T>(c, type);
    if (g.bias) value += (A)ln_load<T>(g.bias + column * item, type);
    ln_store<T>(c, type, (T)value);
  }
};

/* A row of C that is the bias, or that it is added to. */
template <class T> struct bias {
  ln_gemm g;
  bool add;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, g.dtype), item = ln_gpu_size_of(type);
    int64_t row = i / g.n, column = i - row * g.n, batch = row / g.m;
    char *c = g.c + (batch * g.c_batch + (row - batch * g.m) * g.c_row + column) * item;
    T v = ln_load<T>(g.bias + column * item, type);
    ln_store<T>(c, type, LN_FIXED(KIND, add) ? v + ln_load<T>(c, type) : v);
  }
};

} // namespace cuda::gemm

#ifdef LN_HOST_CODE
#include "kernels.h"

const char *ln_gpu_add_bias(const ln_gemm *g, bool add, int device) {
#define BIAS(T) ln_each(device, g->batch * g->m * g->n, cuda::gemm::bias<T>{*g, add}, ln_fixed::dtype(g->dtype).with(LN_FIX_KIND, add))
  LN_BY_FLOAT(g->dtype, BIAS);
}

const char *ln_gpu_gemm(const ln_gemm *g, int device) {
  using cuda::gemm::product;
  const char *failure = NULL;
  int64_t n = g->batch * g->m * g->n;
  if (n == 0) return NULL;
  if (ln_cublas_gemm(g, device, &failure)) return failure;
  const ln_fixed fixed = ln_fixed::dtype(g->dtype);
  if (g->dtype >= LN_INT8) return ln_each(device, n, product<int64_t, int64_t>{*g}, fixed);
  if (g->dtype == LN_FLOAT64) return ln_each(device, n, product<double, double>{*g}, fixed);
  return ln_each(device, n, product<float, double>{*g}, fixed);
}
#endif
