/* windows.cu - the largest elements of windows that tables give: adaptive and fractional pooling. */
#include "element.h"

namespace cuda::windows {

template <class T> struct largest {
  ln_windows w;
  LN_DEVICE void operator()(int64_t i) const {
    ln_element y = ln_element_of(i, w.c, w.out);
    int64_t low[3], high[3], at[3];
    int dtype = LN_FIXED(DTYPE_0, w.dtype), item = ln_gpu_size_of(dtype);
    for (int d = 0; d < 3; d++) {
      int64_t entry = (w.planes ? (y.n * w.c + y.channel) * w.out[d] : 0) + y.at[d];
      low[d] = w.low[d][entry];
      high[d] = w.high[d][entry];
    }
    int64_t best = (low[0] * w.in[1] + low[1]) * w.in[2] + low[2], to = ln_element_offset(y.n, y.channel, y.at, w.y_stride);
    T top = ln_load<T>(w.x + ln_element_offset(y.n, y.channel, low, w.x_stride) * item, dtype);
    for (at[0] = low[0]; at[0] < high[0]; at[0]++)
      for (at[1] = low[1]; at[1] < high[1]; at[1]++)
        for (at[2] = low[2]; at[2] < high[2]; at[2]++) {
          T value = ln_load<T>(w.x + ln_element_offset(y.n, y.channel, at, w.x_stride) * item, dtype);
          if (!(value > top || value != value)) continue;
          top = value;
          best = (at[0] * w.in[1] + at[1]) * w.in[2] + at[2];
        }
    ln_store<T>(w.y + to * item, dtype, top);
    w.indices[to] = best;
  }
};

} // namespace cuda::windows

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::windows;

const char *ln_gpu_window_max(const ln_windows *w, int device) {
#define LARGEST(T) ln_each(device, w->n * w->c * w->out[0] * w->out[1] * w->out[2], largest<T>{*w}, ln_fixed::dtype(w->dtype))
  LN_BY_FLOAT(w->dtype, LARGEST);
}
#endif
