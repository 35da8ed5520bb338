/* order.cu - rows in order, places in sorted rows, and running products, logarithms of sums and extremes. All rows are sorted at once: by key, then,
 * equal rows keeping that order, by row (sort.cu). */
#include "cuda.h"

#include "../search.h"

namespace cuda::order {

struct keys_of {
  const char *x;
  int dtype, item;
  bool descending;
  uint64_t *keys;
  int64_t *order;
  LN_DEVICE void operator()(int64_t i) const {
    keys[i] = ln_key(x + i * item, LN_FIXED(DTYPE_0, dtype), descending);
    order[i] = i;
  }
};

struct rows_of {
  const int64_t *from;
  int64_t size, inner;
  uint64_t *keys;
  int64_t *order;
  LN_DEVICE void operator()(int64_t i) const {
    const int64_t e = from[i];
    keys[i] = (uint64_t)(e / (size * inner) * inner + e % inner);
    order[i] = e;
  }
};

struct copy_order {
  const int64_t *from;
  int64_t *to;
  LN_DEVICE void operator()(int64_t i) const { to[i] = from[i]; }
};

/* Result i in the order of the sorted rows: element k of row `row`. */
struct write {
  ln_order w;
  const int64_t *order;
  int item;
  LN_DEVICE void operator()(int64_t i) const {
    const int64_t row = i / w.count, k = i - row * w.count, e = order[row * w.size + w.from + k];
    const int64_t to = (row / w.inner * w.count + k) * w.inner + row % w.inner;
    if (w.indices) w.indices[to] = e / w.inner % w.size;
    for (int b = 0; w.values && b < item; b++) w.values[to * item + b] = w.x[e * item + b];
  }
};

struct search {
  ln_search w;
  int item;
  LN_DEVICE void operator()(int64_t i) const { w.y[i] = ln_search_place(&w, i, LN_FIXED(DTYPE_0, w.dtype), item); }
};

/* -- Scans -- */

/* A product, the extreme and its place, or the largest element and the sum of exp(x - largest). */
template <class A> struct state {
  A value;
  double sum;
  int64_t at;
};

template <class A> struct combine {
  int kind;
  LN_DEVICE state<A> operator()(const state<A> &a, const state<A> &b) const {
    const int k = LN_FIXED(KIND, kind);
    if (k == LN_SCAN_PROD) return state<A>{a.value * b.value, 0, 0};
    if (k == LN_SCAN_LOGSUMEXP) {
      if (a.value != a.value || b.value != b.value) return a.value != a.value ? a : b;
      if (a.value == b.value) return state<A>{a.value, a.sum + b.sum, 0};
      if (a.value > b.value) return state<A>{a.value, a.sum + b.sum * exp((double)(b.value - a.value)), 0};
      return state<A>{b.value, b.sum + a.sum * exp((double)(a.value - b.value)), 0};
    }
    if (b.at < 0 || a.at < 0) return a.at < 0 ? b : a; /* nothing so far */
    return b.value != b.value || (a.value == a.value && (k == LN_SCAN_MAX ? b.value >= a.value : b.value <= a.value)) ? b : a;
  }
};

template <class T, class A> struct scan {
  ln_scan w;
  int item;
  LN_DEVICE state<A> start() const {
    const int k = LN_FIXED(KIND, w.kind);
    return state<A>{k == LN_SCAN_PROD ? (A)1 : k == LN_SCAN_LOGSUMEXP ? ln_of_float<A>(-INFINITY) : (A)0, 0, -1};
  }
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const combine<A> join{w.kind};
    const int64_t base = (row / w.inner * w.size) * w.inner + row % w.inner;
    state<A> so_far = start();
    for (int64_t first = 0; first < w.size; first += team.size()) {
      const int64_t place = first + team.rank(), at = base + (w.reverse ? w.size - 1 - place : place) * w.inner;
      const bool there = place < w.size;
      state<A> mine = start(), total;
      if (there) mine = state<A>{(A)ln_load<T>(w.x + at * item, LN_FIXED(DTYPE_0, w.dtype)), 1, place};
      state<A> before = team.before(mine, so_far, join, &total);
      mine = join(before, mine);
      if (there) {
        ln_store<T>(w.out + at * item, LN_FIXED(DTYPE_0, w.dtype),
                    LN_FIXED(KIND, w.kind) == LN_SCAN_LOGSUMEXP ? (T)(mine.value + (A)log(mine.sum)) : (T)mine.value);
        if (w.indices) w.indices[at] = mine.at;
      }
      so_far = total;
    }
  }
};

} // namespace cuda::order

#ifdef LN_HOST_CODE
#include "kernels.h"

const char *ln_gpu_sort(const ln_order *w, int device) {
  using namespace cuda::order;
  const int64_t rows = w->outer * w->inner, n = rows * w->size;
  const int item = ln_gpu_size_of(w->dtype);
  if (rows * w->count == 0) return NULL;
  ln_scratch scratch(device, ln_sort_bytes(n) + sizeof(int64_t) * (size_t)n);
  LN_GPU_TRY(scratch.failure);
  int64_t *kept = (int64_t *)scratch.memory; /* the order by key, out of the way of the second sort */
  ln_sort s;
  ln_sort_begin(&s, n, kept + n);
  LN_GPU_TRY(ln_each(device, n, keys_of{w->x, w->dtype, item, w->descending, s.keys, s.order}, ln_fixed::dtype(w->dtype)));
  LN_GPU_TRY(ln_sort_run(&s, ln_largest_key(w->dtype), device));
  if (rows > 1) {
    LN_GPU_TRY(ln_each(device, n, copy_order{s.order, kept}));
    ln_sort_begin(&s, n, kept + n);
    LN_GPU_TRY(ln_each(device, n, rows_of{kept, w->size, w->inner, s.keys, s.order}));
    LN_GPU_TRY(ln_sort_run(&s, (uint64_t)rows - 1, device));
  }
  return ln_each(device, rows * w->count, write{*w, s.order, item});
}

const char *ln_gpu_search(const ln_search *w, int device) {
  return ln_each(device, w->rows * w->m, cuda::order::search{*w, ln_gpu_size_of(w->dtype)}, ln_fixed::dtype(w->dtype));
}

const char *ln_gpu_scan(const ln_scan *w, int device) {
  const ln_fixed fixed = ln_fixed::dtype(w->dtype).with(LN_FIX_KIND, w->kind);
  const int item = ln_gpu_size_of(w->dtype);
#define SCAN(T, A) ln_teams(device, w->outer * w->inner, w->size, w->inner > 1, cuda::order::scan<T, A>{*w, item}, fixed)
  if (w->dtype >= LN_INT8) return SCAN(int64_t, int64_t);
  return w->dtype == LN_FLOAT64 ? SCAN(double, double) : SCAN(float, double);
}
#endif
