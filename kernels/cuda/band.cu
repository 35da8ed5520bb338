/* band.cu - a band matrix along the middle of [outer, in, inner]: interpolation, means over windows, and their gradients. */
#include "cuda.h"

namespace cuda::band {

template <class T> struct row_of {
  ln_band b;
  LN_DEVICE void operator()(int64_t i) const {
    int64_t inner = i % b.inner, o = i / b.inner % b.out, outer = i / b.inner / b.out;
    const T *x = (const T *)b.x + (outer * b.in + b.start[o]) * b.inner + inner, *weight = (const T *)b.weight + o * b.taps;
    T sum = 0;
    for (int64_t k = 0; k < b.count[o]; k++) sum += weight[k] * x[k * b.inner];
    ((T *)b.y)[i] = sum;
  }
};

} // namespace cuda::band

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::band;

const char *ln_gpu_band(const ln_band *b, int device) {
#define BAND(T) ln_each(device, b->outer * b->out * b->inner, row_of<T>{*b})
  LN_BY_FLOAT(b->dtype, BAND);
}
#endif
