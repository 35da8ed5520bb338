/* pool.cu - maximum and mean over windows of 1 to 3 dimensions. Gradients are gathered: an input element looks at the windows that hold it,
 * so no two threads write to one place. */
#include "element.h"

namespace cuda::pool {

struct plan {
  ln_pool p;
  ln_spatial s;
  LN_DEVICE int type() const { return LN_FIXED(DTYPE_0, p.dtype); }
  LN_DEVICE int size() const { return ln_gpu_size_of(type()); }
};

#ifdef LN_HOST_CODE
static plan plan_of(const ln_pool *p) {
  plan q;
  q.p = *p;
  LN_SPATIAL_OF(&q.s, p);
  return q;
}
#endif

/* The taps of one output position inside the input: low, low + dilation, ... below high; padded: elements with the padding's. */
struct window {
  int64_t low[3], high[3], padded;
};

LN_DEVICE window window_of(const plan &q, const int64_t *out) {
  window w;
  w.padded = 1;
  for (int d = 0; d < 3; d++) {
    int64_t low = out[d] * q.s.stride[d] - q.s.padding[d], step = q.s.dilation[d];
    int64_t high = low + (q.s.kernel[d] - 1) * step + 1, limit = q.s.in[d] + q.s.padding[d];
    w.padded *= (high < limit ? high : limit) - low;
    w.high[d] = high < q.s.in[d] ? high : q.s.in[d];
    w.low[d] = low < 0 ? low + (-low + step - 1) / step * step : low;
  }
  return w;
}

LN_DEVICE double divisor_of(const plan &q, const window &w) {
  if (q.p.divisor) return (double)q.p.divisor;
  if (q.p.count_include_pad) return (double)w.padded;
  return (double)((w.high[0] - w.low[0]) * (w.high[1] - w.low[1]) * (w.high[2] - w.low[2]));
}

#define EACH_TAP(q, w, at)                                              \
  for (at[0] = w.low[0]; at[0] < w.high[0]; at[0] += q.s.dilation[0])   \
    for (at[1] = w.low[1]; at[1] < w.high[1]; at[1] += q.s.dilation[1]) \
      for (at[2] = w.low[2]; at[2] < w.high[2]; at[2] += q.s.dilation[2])

template <class T> struct max_window {
  plan q;
  LN_DEVICE void operator()(int64_t i) const {
    ln_element y = ln_element_of(i, q.p.c, q.s.out);
    window w = window_of(q, y.at);
    int64_t at[3], best = (w.low[0] * q.s.in[1] + w.low[1]) * q.s.in[2] + w.low[2];
    T top = (T)-INFINITY;
    EACH_TAP(q, w, at) {
      T v = ln_load<T>(q.p.x + ln_element_offset(y.n, y.channel, at, q.s.xs) * q.size(), q.type());
      if (v > top || v != v) {
        top = v;
        best = (at[0] * q.s.in[1] + at[1]) * q.s.in[2] + at[2];
      }
    }
    int64_t to = ln_element_offset(y.n, y.channel, y.at, q.s.ys);
    ln_store<T>(q.p.y + to * q.size(), q.type(), top);
    q.p.indices[to] = best;
  }
};

template <class T> struct mean_window {
  plan q;
  LN_DEVICE void operator()(int64_t i) const {
    ln_element y = ln_element_of(i, q.p.c, q.s.out);
    window w = window_of(q, y.at);
    int64_t at[3];
    T sum = 0;
    bool empty = true;
    EACH_TAP(q, w, at) {
      sum += ln_load<T>(q.p.x + ln_element_offset(y.n, y.channel, at, q.s.xs) * q.size(), q.type());
      empty = false;
    }
    ln_store<T>(q.p.y + ln_element_offset(y.n, y.channel, y.at, q.s.ys) * q.size(), q.type(), empty ? 0 : sum / (T)divisor_of(q, w));
  }
};

/* The output positions whose window may hold input position x, per dim: first to last. */
LN_DEVICE void windows_over(const plan &q, const int64_t *x, int64_t *first, int64_t *last) {
  for (int d = 0; d < 3; d++) {
    int64_t reach = (q.s.kernel[d] - 1) * q.s.dilation[d], low = x[d] + q.s.padding[d] - reach;
    first[d] = low <= 0 ? 0 : (low + q.s.stride[d] - 1) / q.s.stride[d];
    last[d] = (x[d] + q.s.padding[d]) / q.s.stride[d];
    if (last[d] >= q.s.out[d]) last[d] = q.s.out[d] - 1;
  }
}

#define EACH_WINDOW(first, last, o)                \
  for (o[0] = first[0]; o[0] <= last[0]; o[0]++)   \
    for (o[1] = first[1]; o[1] <= last[1]; o[1]++) \
      for (o[2] = first[2]; o[2] <= last[2]; o[2]++)

/* In the gradients p.x is dy, with y's strides, and p.y is dx, with x's. */
template <class T> struct max_dx {
  plan q;
  LN_DEVICE void operator()(int64_t i) const {
    ln_element x = ln_element_of(i, q.p.c, q.s.in);
    int64_t first[3], last[3], o[3], here = (x.at[0] * q.s.in[1] + x.at[1]) * q.s.in[2] + x.at[2];
    T sum = 0;
    windows_over(q, x.at, first, last);
    EACH_WINDOW(first, last, o) {
      int64_t at = ln_element_offset(x.n, x.channel, o, q.s.ys);
      if (q.p.indices[at] == here) sum += ln_load<T>(q.p.x + at * q.size(), q.type());
    }
    ln_store<T>(q.p.y + ln_element_offset(x.n, x.channel, x.at, q.s.xs) * q.size(), q.type(), sum);
  }
};

template <class T> struct mean_dx {
  plan q;
  LN_DEVICE void operator()(int64_t i) const {
    ln_element x = ln_element_of(i, q.p.c, q.s.in);
    int64_t first[3], last[3], o[3];
    T sum = 0;
    windows_over(q, x.at, first, last);
    EACH_WINDOW(first, last, o) {
      T g = ln_load<T>(q.p.x + ln_element_offset(x.n, x.channel, o, q.s.ys) * q.size(), q.type());
      sum += g / (T)divisor_of(q, window_of(q, o));
    }
    ln_store<T>(q.p.y + ln_element_offset(x.n, x.channel, x.at, q.s.xs) * q.size(), q.type(), sum);
  }
};

} // namespace cuda::pool

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::pool;

static int64_t numel(const ln_pool *p, const int64_t *dims) { return p->n * p->c * dims[0] * dims[1] * dims[2]; }

const char *ln_gpu_max_pool(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MAX(T) ln_each(device, numel(p, q.s.out), max_window<T>{q}, ln_fixed::dtype(p->dtype))
  LN_BY_FLOAT(p->dtype, MAX);
}

const char *ln_gpu_max_pool_dx(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MAX_DX(T) ln_each(device, numel(p, q.s.in), max_dx<T>{q}, ln_fixed::dtype(p->dtype))
  LN_BY_FLOAT(p->dtype, MAX_DX);
}

const char *ln_gpu_avg_pool(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MEAN(T) ln_each(device, numel(p, q.s.out), mean_window<T>{q}, ln_fixed::dtype(p->dtype))
  LN_BY_FLOAT(p->dtype, MEAN);
}

const char *ln_gpu_avg_pool_dx(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MEAN_DX(T) ln_each(device, numel(p, q.s.in), mean_dx<T>{q}, ln_fixed::dtype(p->dtype))
  LN_BY_FLOAT(p->dtype, MEAN_DX);
}
#endif
