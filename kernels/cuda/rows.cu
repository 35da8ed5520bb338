/* rows.cu - work along one dimension of [outer, size, inner]: softmax, log_softmax, their gradients, cumsum. */
#include "kernels.h"

namespace {

/* Row i of a contiguous [outer, size, inner]. */
struct row_places {
  int64_t size, inner;
  int dtype, item;
  LN_BODY int64_t at(int64_t row, int64_t k) const { return ((row / inner * size + k) * inner + row % inner) * item; }
};

row_places places_of(const ln_rows *r) { return row_places{r->size, r->inner, r->dtype, ln_gpu_size_of(r->dtype)}; }

template <class T> struct softmax_body {
  row_places r;
  const char *x;
  char *out;
  bool log_;
  template <class Team> LN_BODY void operator()(int64_t row, const Team &team) const {
    T top = (T)-INFINITY;
    ln_meet_max larger;
    for (int64_t k = team.rank(); k < r.size; k += team.size()) top = larger(top, ln_load<T>(x + r.at(row, k), r.dtype));
    top = team.all(top, larger);
    double sum = 0;
    for (int64_t k = team.rank(); k < r.size; k += team.size()) sum += exp(ln_load<T>(x + r.at(row, k), r.dtype) - top);
    T total = (T)team.all(sum, ln_meet_sum()), shift = log(total);
    for (int64_t k = team.rank(); k < r.size; k += team.size()) {
      T v = ln_load<T>(x + r.at(row, k), r.dtype);
      ln_store<T>(out + r.at(row, k), r.dtype, log_ ? v - top - shift : exp(v - top) / total);
    }
  }
};

template <class T> struct softmax_dx_body {
  row_places r;
  const char *y, *dy;
  char *out;
  bool log_;
  template <class Team> LN_BODY void operator()(int64_t row, const Team &team) const {
    double sum = 0;
    for (int64_t k = team.rank(); k < r.size; k += team.size()) {
      T g = ln_load<T>(dy + r.at(row, k), r.dtype);
      sum += log_ ? g : g * ln_load<T>(y + r.at(row, k), r.dtype);
    }
    T total = (T)team.all(sum, ln_meet_sum());
    for (int64_t k = team.rank(); k < r.size; k += team.size()) {
      T g = ln_load<T>(dy + r.at(row, k), r.dtype), v = ln_load<T>(y + r.at(row, k), r.dtype);
      ln_store<T>(out + r.at(row, k), r.dtype, log_ ? g - exp(v) * total : v * (g - total));
    }
  }
};

/* -- cumsum: the sums of parts, the sums before each part, then each part on its own -- */

template <class T, class A> struct running_sum {
  row_places r;
  const char *x;
  char *out;
  int64_t parts;
  A *sums; /* [rows, parts] */
  bool reverse;
  LN_BODY int64_t at(int64_t row, int64_t k) const { return r.at(row, reverse ? r.size - 1 - k : k); }
  LN_BODY int64_t last(int64_t part) const { return (part + 1) * LN_PART < r.size ? (part + 1) * LN_PART : r.size; }
};

template <class T, class A> struct part_sums {
  running_sum<T, A> s;
  LN_BODY void operator()(int64_t i) const {
    int64_t row = i / s.parts, part = i % s.parts;
    A sum = 0;
    for (int64_t k = part * LN_PART; k < s.last(part); k++) sum += ln_load<T>(s.x + s.at(row, k), s.r.dtype);
    s.sums[i] = sum;
  }
};

template <class T, class A> struct sums_before {
  running_sum<T, A> s;
  LN_BODY void operator()(int64_t row) const {
    A sum = 0;
    for (int64_t i = row * s.parts; i < (row + 1) * s.parts; i++) {
      A part = s.sums[i];
      s.sums[i] = sum;
      sum += part;
    }
  }
};

template <class T, class A> struct part_cumsum {
  running_sum<T, A> s;
  LN_BODY void operator()(int64_t i) const {
    int64_t row = i / s.parts, part = i % s.parts;
    A sum = s.sums[i];
    for (int64_t k = part * LN_PART; k < s.last(part); k++) {
      int64_t at = s.at(row, k);
      sum += ln_load<T>(s.x + at, s.r.dtype);
      ln_store<T>(s.out + at, s.r.dtype, (T)sum);
    }
  }
};

template <class T, class A> const char *cumsum(const ln_rows *rows, int device) {
  int64_t n = rows->outer * rows->inner, parts = (rows->size + LN_PART - 1) / LN_PART;
  void *memory;
  if (n * parts == 0) return NULL;
  LN_GPU_TRY(ln_gpu_scratch(device, (size_t)(n * parts) * sizeof(A), &memory));
  running_sum<T, A> s = {places_of(rows), rows->x, rows->out, parts, (A *)memory, rows->reverse};
  LN_GPU_TRY((ln_each(device, n * parts, part_sums<T, A>{s})));
  LN_GPU_TRY((ln_each(device, n, sums_before<T, A>{s})));
  return ln_each(device, n * parts, part_cumsum<T, A>{s});
}

} // namespace

const char *ln_gpu_softmax(const ln_rows *rows, int device) {
#define SOFTMAX(T) \
  ln_teams(device, rows->outer * rows->inner, rows->size, rows->inner > 1, softmax_body<T>{places_of(rows), rows->x, rows->out, rows->is_log})
  LN_BY_FLOAT(rows->dtype, SOFTMAX);
}

const char *ln_gpu_softmax_dx(const ln_rows *rows, int device) {
#define SOFTMAX_DX(T)                                                      \
  ln_teams(device, rows->outer * rows->inner, rows->size, rows->inner > 1, \
           softmax_dx_body<T>{places_of(rows), rows->y, rows->dy, rows->out, rows->is_log})
  LN_BY_FLOAT(rows->dtype, SOFTMAX_DX);
}

const char *ln_gpu_cumsum(const ln_rows *rows, int device) {
  if (rows->dtype >= LN_INT8) return cumsum<int64_t, int64_t>(rows, device);
  if (rows->dtype == LN_FLOAT64) return cumsum<double, double>(rows, device);
  return cumsum<float, double>(rows, device);
}
