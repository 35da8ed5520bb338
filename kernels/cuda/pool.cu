/* pool.cu - maximum and mean over windows of 1 to 3 dimensions. Gradients are gathered: an input element looks at the windows that hold it,
 * so no two threads write to one place. */
#include "kernels.h"

namespace {

/* The geometry with three spatial dims, the missing ones in front and of size 1. */
struct plan {
  ln_pool p;
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3], xs[5], ys[5];
  int item;
};

plan plan_of(const ln_pool *p) {
  plan q;
  int lead = 3 - p->spatial;
  q.p = *p;
  for (int k = 0; k < 2; k++) q.xs[k] = p->x_stride[k], q.ys[k] = p->y_stride[k];
  for (int d = 0; d < 3; d++) {
    bool real = d >= lead;
    int from = real ? d - lead : 0;
    q.in[d] = real ? p->in[from] : 1;
    q.out[d] = real ? p->out[from] : 1;
    q.kernel[d] = real ? p->kernel[from] : 1;
    q.stride[d] = real ? p->stride[from] : 1;
    q.padding[d] = real ? p->padding[from] : 0;
    q.dilation[d] = real && p->dilation[from] ? p->dilation[from] : 1;
    q.xs[2 + d] = real ? p->x_stride[2 + from] : 0;
    q.ys[2 + d] = real ? p->y_stride[2 + from] : 0;
  }
  q.item = ln_gpu_size_of(p->dtype);
  return q;
}

/* Place i of [n, c, dims], the last dim fastest. */
struct place {
  int64_t n, c, at[3];
};

LN_BODY place place_of(int64_t i, int64_t channels, const int64_t *dims) {
  place r;
  for (int d = 2; d >= 0; d--) {
    r.at[d] = i % dims[d];
    i /= dims[d];
  }
  r.c = i % channels;
  r.n = i / channels;
  return r;
}

LN_BODY int64_t offset_of(int64_t n, int64_t c, const int64_t *at, const int64_t *stride) {
  return n * stride[0] + c * stride[1] + at[0] * stride[2] + at[1] * stride[3] + at[2] * stride[4];
}

/* The taps of one output place inside the input: low, low + dilation, ... below high; padded: elements with the padding's. */
struct window {
  int64_t low[3], high[3], padded;
};

LN_BODY window window_of(const plan &q, const int64_t *out) {
  window w;
  w.padded = 1;
  for (int d = 0; d < 3; d++) {
    int64_t low = out[d] * q.stride[d] - q.padding[d], step = q.dilation[d];
    int64_t high = low + (q.kernel[d] - 1) * step + 1, limit = q.in[d] + q.padding[d];
    w.padded *= (high < limit ? high : limit) - low;
    w.high[d] = high < q.in[d] ? high : q.in[d];
    w.low[d] = low < 0 ? low + (-low + step - 1) / step * step : low;
  }
  return w;
}

LN_BODY double divisor_of(const plan &q, const window &w) {
  if (q.p.divisor) return (double)q.p.divisor;
  if (q.p.count_include_pad) return (double)w.padded;
  return (double)((w.high[0] - w.low[0]) * (w.high[1] - w.low[1]) * (w.high[2] - w.low[2]));
}

#define EACH_TAP(q, w, at)                                            \
  for (at[0] = w.low[0]; at[0] < w.high[0]; at[0] += q.dilation[0])   \
    for (at[1] = w.low[1]; at[1] < w.high[1]; at[1] += q.dilation[1]) \
      for (at[2] = w.low[2]; at[2] < w.high[2]; at[2] += q.dilation[2])

template <class T> struct max_body {
  plan q;
  LN_BODY void operator()(int64_t i) const {
    place y = place_of(i, q.p.c, q.out);
    window w = window_of(q, y.at);
    int64_t at[3], best = (w.low[0] * q.in[1] + w.low[1]) * q.in[2] + w.low[2];
    T top = (T)-INFINITY;
    EACH_TAP(q, w, at) {
      T v = ln_load<T>(q.p.x + offset_of(y.n, y.c, at, q.xs) * q.item, q.p.dtype);
      if (v > top || v != v) {
        top = v;
        best = (at[0] * q.in[1] + at[1]) * q.in[2] + at[2];
      }
    }
    int64_t to = offset_of(y.n, y.c, y.at, q.ys);
    ln_store<T>(q.p.y + to * q.item, q.p.dtype, top);
    q.p.indices[to] = best;
  }
};

template <class T> struct mean_body {
  plan q;
  LN_BODY void operator()(int64_t i) const {
    place y = place_of(i, q.p.c, q.out);
    window w = window_of(q, y.at);
    int64_t at[3];
    T sum = 0;
    bool empty = true;
    EACH_TAP(q, w, at) {
      sum += ln_load<T>(q.p.x + offset_of(y.n, y.c, at, q.xs) * q.item, q.p.dtype);
      empty = false;
    }
    ln_store<T>(q.p.y + offset_of(y.n, y.c, y.at, q.ys) * q.item, q.p.dtype, empty ? 0 : sum / (T)divisor_of(q, w));
  }
};

/* The output places whose window may hold input place x, per dim: first to last. */
LN_BODY void windows_over(const plan &q, const int64_t *x, int64_t *first, int64_t *last) {
  for (int d = 0; d < 3; d++) {
    int64_t reach = (q.kernel[d] - 1) * q.dilation[d], low = x[d] + q.padding[d] - reach;
    first[d] = low <= 0 ? 0 : (low + q.stride[d] - 1) / q.stride[d];
    last[d] = (x[d] + q.padding[d]) / q.stride[d];
    if (last[d] >= q.out[d]) last[d] = q.out[d] - 1;
  }
}

#define EACH_WINDOW(first, last, o)                \
  for (o[0] = first[0]; o[0] <= last[0]; o[0]++)   \
    for (o[1] = first[1]; o[1] <= last[1]; o[1]++) \
      for (o[2] = first[2]; o[2] <= last[2]; o[2]++)

/* In the gradients p.x is dy, with y's strides, and p.y is dx, with x's. */
template <class T> struct max_dx_body {
  plan q;
  LN_BODY void operator()(int64_t i) const {
    place x = place_of(i, q.p.c, q.in);
    int64_t first[3], last[3], o[3], here = (x.at[0] * q.in[1] + x.at[1]) * q.in[2] + x.at[2];
    T sum = 0;
    windows_over(q, x.at, first, last);
    EACH_WINDOW(first, last, o) {
      int64_t at = offset_of(x.n, x.c, o, q.ys);
      if (q.p.indices[at] == here) sum += ln_load<T>(q.p.x + at * q.item, q.p.dtype);
    }
    ln_store<T>(q.p.y + offset_of(x.n, x.c, x.at, q.xs) * q.item, q.p.dtype, sum);
  }
};

template <class T> struct mean_dx_body {
  plan q;
  LN_BODY void operator()(int64_t i) const {
    place x = place_of(i, q.p.c, q.in);
    int64_t first[3], last[3], o[3];
    T sum = 0;
    windows_over(q, x.at, first, last);
    EACH_WINDOW(first, last, o) {
      T g = ln_load<T>(q.p.x + offset_of(x.n, x.c, o, q.ys) * q.item, q.p.dtype);
      sum += g / (T)divisor_of(q, window_of(q, o));
    }
    ln_store<T>(q.p.y + offset_of(x.n, x.c, x.at, q.xs) * q.item, q.p.dtype, sum);
  }
};

int64_t numel(const ln_pool *p, const int64_t *dims) { return p->n * p->c * dims[0] * dims[1] * dims[2]; }

} // namespace

const char *ln_gpu_max_pool(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MAX(T) ln_each(device, numel(p, q.out), max_body<T>{q})
  LN_BY_FLOAT(p->dtype, MAX);
}

const char *ln_gpu_max_pool_dx(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MAX_DX(T) ln_each(device, numel(p, q.in), max_dx_body<T>{q})
  LN_BY_FLOAT(p->dtype, MAX_DX);
}

const char *ln_gpu_avg_pool(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MEAN(T) ln_each(device, numel(p, q.out), mean_body<T>{q})
  LN_BY_FLOAT(p->dtype, MEAN);
}

const char *ln_gpu_avg_pool_dx(const ln_pool *p, int device) {
  plan q = plan_of(p);
#define MEAN_DX(T) ln_each(device, numel(p, q.in), mean_dx_body<T>{q})
  LN_BY_FLOAT(p->dtype, MEAN_DX);
}
