/* distance.cu - distances of every two rows, a thread a distance; their gradients, a thread an element of the first row. */
#include "cuda.h"

namespace cuda::distance {

template <class T> LN_DEVICE T size_of(T d) { return d < 0 ? -d : d; }
template <class T> LN_DEVICE T sign_of(T d) { return (T)((d > 0) - (d < 0)); }

/* i counts [batch, n, m]. */
template <class T> struct forward {
  ln_distance w;
  LN_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / w.m, j = i - row * w.m;
    const T *x1 = (const T *)w.x1 + row * w.size, *x2 = (const T *)w.x2 + row / w.n * w.size * w.m + j, p = (T)w.p;
    const ln_larger larger;
    T sum = 0;
    for (int64_t k = 0; k < w.size; k++) {
      const T d = size_of(x1[k] - x2[k * w.m]);
      if (p == 1)
        sum += d;
      else if (p == 2)
        sum += d * d;
      else if (p == 0)
        sum += (T)(d != 0);
      else if (p == (T)INFINITY)
        sum = larger(sum, d);
      else
        sum += pow(d, p);
    }
    ((T *)w.y)[i] = p == 2 ? sqrt(sum) : p == 0 || p == 1 || p == (T)INFINITY ? sum : pow(sum, 1 / p);
  }
};

/* i counts [batch, n, size]. */
template <class T> struct gradient {
  ln_distance w;
  LN_DEVICE T derivative(T d, T y, T g) const {
    const T p = (T)w.p;
    if (p == 0) return 0;
    if (p == 1) return sign_of(d) * g;
    if (p == (T)INFINITY) return size_of(d) == y ? sign_of(d) * g : (T)0;
    if (y == 0) return 0;
    if (p == 2) return d * (g / y);
    return d == 0 ? (T)0 : sign_of(d) * pow(size_of(d), p - 1) * (g * pow(y, 1 - p));
  }
  LN_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / w.size, k = i - row * w.size, image = row / w.n, at = image * w.n * w.m + (row - image * w.n) * w.y_row;
    const T x1 = ((const T *)w.x1)[i], *x2 = (const T *)w.x2 + image * w.m * w.size + k;
    T sum = 0;
    for (int64_t j = 0; j < w.m; j++)
      sum += derivative(x1 - x2[j * w.size], ((const T *)w.y)[at + j * w.y_column], ((const T *)w.dy)[at + j * w.y_column]);
    ((T *)w.dx)[i] = sum;
  }
};

} // namespace cuda::distance

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::distance;

const char *ln_gpu_distance(const ln_distance *w, int device) {
#define DISTANCE(T) ln_each(device, w->batch * w->n * w->m, forward<T>{*w})
  LN_BY_FLOAT(w->dtype, DISTANCE);
}

const char *ln_gpu_distance_dx(const ln_distance *w, int device) {
#define DISTANCE_DX(T) ln_each(device, w->batch * w->n * w->size, gradient<T>{*w})
  LN_BY_FLOAT(w->dtype, DISTANCE_DX);
}
#endif
