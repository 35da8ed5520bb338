/* rows.cu - work along one dimension of [outer, size, inner]: softmax, log_softmax, their gradients, cumsum. */
#include "cuda.h"

namespace cuda::rows {

/* A contiguous [outer, size, inner]: element k of a row is at base(row) + k * step, in bytes. */
struct layout {
  int64_t size, inner, step;
  int dtype;
  LN_DEVICE int type() const { return LN_FIXED(DTYPE_0, dtype); }
  LN_DEVICE int64_t base(int64_t row) const {
    int64_t outer = inner == 1 ? row : row / inner;
    return outer * size * step + (row - outer * inner) * ln_gpu_size_of(dtype);
  }
};

/* -- softmax -- */

/* The largest of some numbers, and the sum of exp(x - largest). */
template <class T> struct scaled_sum {
  T largest;
  double sum;
};

template <class T> struct add_scaled {
  typedef scaled_sum<T> sum;
  LN_DEVICE double part(const sum &a, T largest) const { return a.largest == largest ? a.sum : a.sum * (double)exp(a.largest - largest); }
  LN_DEVICE sum operator()(const sum &a, const sum &b) const {
    T largest = ln_larger()(a.largest, b.largest);
    return sum{largest, part(a, largest) + part(b, largest)};
  }
};

/* Elements of a row that a thread keeps in registers; of longer rows it reads them twice. */
enum { KEPT = 16, KEPT_DX = 8 };

template <class T> struct softmax {
  layout r;
  const char *x;
  char *out;
  bool log_;
  LN_DEVICE void put(char *to, T v, T top, T total, T shift) const {
    ln_store<T>(to, r.type(), LN_FIXED(KIND, log_) ? v - top - shift : exp(v - top) / total);
  }
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const int64_t base = r.base(row);
    const bool kept = r.size <= (int64_t)team.size() * KEPT;
    const add_scaled<T> combine;
    scaled_sum<T> s = {(T)-INFINITY, 0};
    T v[KEPT];
    if (kept) {
      LN_UNROLL for (int j = 0; j < KEPT; j++) {
        int64_t k = team.rank() + (int64_t)j * team.size();
        v[j] = k < r.size ? ln_load<T>(x + base + k * r.step, r.type()) : (T)-INFINITY;
        s.largest = ln_larger()(s.largest, v[j]);
      }
      LN_UNROLL for (int j = 0; j < KEPT; j++) if (team.rank() + (int64_t)j * team.size() < r.size) s.sum +=
        v[j] == s.largest ? 1 : (double)exp(v[j] - s.largest);
    } else {
      for (int64_t k = team.rank(); k < r.size; k += team.size()) s = combine(s, scaled_sum<T>{ln_load<T>(x + base + k * r.step, r.type()), 1});
    }
    s = team.all(s, combine);
    const T top = s.largest, total = top - top == 0 ? (T)s.sum : top - top, shift = log(total); /* infinite rows are NaN */
    if (kept) {
      LN_UNROLL for (int j = 0; j < KEPT; j++) {
        int64_t k = team.rank() + (int64_t)j * team.size();
        if (k < r.size) put(out + base + k * r.step, v[j], top, total, shift);
      }
    } else {
      for (int64_t k = team.rank(); k < r.size; k += team.size())
        put(out + base + k * r.step, ln_load<T>(x + base + k * r.step, r.type()), top, total, shift);
    }
  }
};

template <class T> struct softmax_dx {
  layout r;
  const char *y, *dy;
  char *out;
  bool log_;
  LN_DEVICE bool is_log() const { return LN_FIXED(KIND, log_); }
  LN_DEVICE void put(char *to, T g, T v, T total) const { ln_store<T>(to, r.type(), is_log() ? g - exp(v) * total : v * (g - total)); }
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const int64_t base = r.base(row);
    const bool kept = r.size <= (int64_t)team.size() * KEPT_DX;
    double sum = 0;
    T g[KEPT_DX], v[KEPT_DX];
    if (kept) {
      LN_UNROLL for (int j = 0; j < KEPT_DX; j++) {
        int64_t k = team.rank() + (int64_t)j * team.size();
        g[j] = k < r.size ? ln_load<T>(dy + base + k * r.step, r.type()) : 0;
        v[j] = k < r.size ? ln_load<T>(y + base + k * r.step, r.type()) : 0;
        sum += is_log() ? g[j] : g[j] * v[j];
      }
    } else {
      for (int64_t k = team.rank(); k < r.size; k += team.size()) {
        T one = ln_load<T>(dy + base + k * r.step, r.type());
        sum += is_log() ? one : one * ln_load<T>(y + base + k * r.step, r.type());
      }
    }
    const T total = (T)team.all(sum, ln_add());
    if (kept) {
      LN_UNROLL for (int j = 0; j < KEPT_DX; j++) {
        int64_t k = team.rank() + (int64_t)j * team.size();
        if (k < r.size) put(out + base + k * r.step, g[j], v[j], total);
      }
    } else {
      for (int64_t k = team.rank(); k < r.size; k += team.size()) {
        const int64_t at = base + k * r.step;
        put(out + at, ln_load<T>(dy + at, r.type()), ln_load<T>(y + at, r.type()), total);
      }
    }
  }
};

/* -- cumsum: the sums of parts, the sums before each part, then each part on its own -- */

template <class T, class A> struct running_sum {
  layout r;
  const char *x;
  char *out;
  int64_t parts;
  A *sums; /* [rows, parts] */
  bool reverse;
  LN_DEVICE int64_t at(int64_t base, int64_t k) const { return base + (reverse ? r.size - 1 - k : k) * r.step; }
  LN_DEVICE int64_t end(int64_t part) const { return (part + 1) * LN_PART < r.size ? (part + 1) * LN_PART : r.size; }
};

template <class T, class A> struct part_sums {
  running_sum<T, A> s;
  LN_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / s.parts, part = i - row * s.parts, base = s.r.base(row);
    A sum = 0;
    for (int64_t k = part * LN_PART; k < s.end(part); k++) sum += ln_load<T>(s.x + s.at(base, k), s.r.type());
    s.sums[i] = sum;
  }
};

template <class T, class A> struct sums_before {
  running_sum<T, A> s;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    A sum = 0;
    for (int64_t first = 0; first < s.parts; first += team.size()) {
      int64_t i = first + team.rank();
      A total, before = team.before(i < s.parts ? s.sums[row * s.parts + i] : 0, sum, ln_add(), &total);
      if (i < s.parts) s.sums[row * s.parts + i] = before;
      sum = total;
    }
  }
};

template <class T, class A> struct part_cumsum {
  running_sum<T, A> s;
  LN_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / s.parts, part = i - row * s.parts, base = s.r.base(row);
    A sum = s.sums[i];
    for (int64_t k = part * LN_PART; k < s.end(part); k++) {
      int64_t at = s.at(base, k);
      sum += ln_load<T>(s.x + at, s.r.type());
      ln_store<T>(s.out + at, s.r.type(), (T)sum);
    }
  }
};

} // namespace cuda::rows

#ifdef LN_HOST_CODE
#include "kernels.h"

namespace cuda::rows {
namespace {

layout layout_of(const ln_rows *w) { return layout{w->size, w->inner, w->inner * ln_gpu_size_of(w->dtype), w->dtype}; }

ln_fixed fixed_of(const ln_rows *w) { return ln_fixed::dtype(w->dtype).with(LN_FIX_KIND, w->is_log); }

template <class T, class A> const char *cumsum(const ln_rows *w, int device) {
  int64_t n = w->outer * w->inner, parts = (w->size + LN_PART - 1) / LN_PART;
  if (n * parts == 0) return NULL;
  ln_scratch scratch(device, (size_t)(n * parts) * sizeof(A));
  LN_GPU_TRY(scratch.failure);
  running_sum<T, A> s = {layout_of(w), w->x, w->out, parts, (A *)scratch.memory, w->reverse};
  const ln_fixed fixed = ln_fixed::dtype(w->dtype);
  LN_GPU_TRY((ln_each(device, n * parts, part_sums<T, A>{s}, fixed)));
  LN_GPU_TRY((ln_teams(device, n, parts, false, sums_before<T, A>{s}, fixed)));
  return ln_each(device, n * parts, part_cumsum<T, A>{s}, fixed);
}

} // namespace
} // namespace cuda::rows

const char *ln_gpu_softmax(const ln_rows *w, int device) {
#define SOFTMAX(T)                                                                                                                        \
  ln_teams(device, w->outer * w->inner, w->size, w->inner > 1, cuda::rows::softmax<T>{cuda::rows::layout_of(w), w->x, w->out, w->is_log}, \
           cuda::rows::fixed_of(w))
  LN_BY_FLOAT(w->dtype, SOFTMAX);
}

const char *ln_gpu_softmax_dx(const ln_rows *w, int device) {
#define SOFTMAX_DX(T)                                                                                                                               \
  ln_teams(device, w->outer * w->inner, w->size, w->inner > 1, cuda::rows::softmax_dx<T>{cuda::rows::layout_of(w), w->y, w->dy, w->out, w->is_log}, \
           cuda::rows::fixed_of(w))
  LN_BY_FLOAT(w->dtype, SOFTMAX_DX);
}

const char *ln_gpu_cumsum(const ln_rows *w, int device) {
  if (w->dtype >= LN_INT8) return cuda::rows::cumsum<int64_t, int64_t>(w, device);
  if (w->dtype == LN_FLOAT64) return cuda::rows::cumsum<double, double>(w, device);
  return cuda::rows::cumsum<float, double>(w, device);
}
#endif
