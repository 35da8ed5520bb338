/* fold.cu - reductions: a team per result; a long reduction with few results is cut into parts, whose results meet in order. */
#include "kernels.h"

namespace {

template <class T> struct sum_of { typedef double type; };
template <> struct sum_of<int64_t> { typedef int64_t type; };

template <class T> LN_BODY T lowest() { return (T)-INFINITY; }
template <> LN_BODY int64_t lowest<int64_t>() { return INT64_MIN; }
template <class T> LN_BODY T highest() { return (T)INFINITY; }
template <> LN_BODY int64_t highest<int64_t>() { return INT64_MAX; }

enum meeting { SUM, PROD, MAX, MIN };

LN_BODY meeting meeting_of(int kind) {
  switch (kind) {
  case LN_FOLD_PROD: return PROD;
  case LN_FOLD_MAX:
  case LN_FOLD_ANY: return MAX;
  case LN_FOLD_MIN:
  case LN_FOLD_ALL: return MIN;
  default: return SUM;
  }
}

template <class A> struct meet_values {
  meeting how;
  LN_BODY A operator()(A a, A b) const {
    switch (how) {
    case SUM: return a + b;
    case PROD: return a * b;
    case MAX: return a != a || a > b ? a : b;
    default: return a != a || a < b ? a : b;
    }
  }
};

/* What is folded: the job, and how an element enters. */
template <class T> struct folding {
  typedef typename sum_of<T>::type acc;
  ln_fold fold;

  LN_BODY acc start() const {
    switch (meeting_of(fold.kind)) {
    case SUM: return 0;
    case PROD: return 1;
    case MAX: return fold.kind == LN_FOLD_ANY ? (acc)0 : lowest<acc>();
    default: return fold.kind == LN_FOLD_ALL ? (acc)1 : highest<acc>();
    }
  }
  LN_BODY const char *outer(int64_t o) const { return fold.x + ln_offset(o, fold.outer_ndim, fold.outer_shape, fold.x_outer_stride); }
  LN_BODY T element(const char *x, int64_t i) const {
    return ln_load<T>(x + ln_offset(i, fold.inner_ndim, fold.inner_shape, fold.x_inner_stride), fold.dtype);
  }
  LN_BODY acc entering(const char *x, int64_t i) const {
    T v = element(x, i);
    switch (fold.kind) {
    case LN_FOLD_ALL:
    case LN_FOLD_ANY:
    case LN_FOLD_COUNT_NONZERO: return v != 0;
    default: return (acc)v;
    }
  }
  LN_BODY void put(int64_t o, acc v) const {
    char *y = fold.y + ln_offset(o, fold.outer_ndim, fold.outer_shape, fold.y_stride);
    ln_store<acc>(y, fold.y_dtype, v);
  }
};

/* Row: part `row % parts` of result `row / parts`; with one part the result is written at once. */
template <class T> struct fold_body {
  typedef typename sum_of<T>::type acc;
  folding<T> f;
  int64_t parts, length;
  acc *partial;
  template <class Team> LN_BODY void operator()(int64_t row, const Team &team) const {
    int64_t o = row / parts, from = (row - o * parts) * length, to = from + length;
    if (to > f.fold.inner_numel) to = f.fold.inner_numel;
    meet_values<acc> meet = {meeting_of(f.fold.kind)};
    const char *x = f.outer(o);
    acc v = f.start();
    for (int64_t i = from + team.rank(); i < to; i += team.size()) v = meet(v, f.entering(x, i));
    v = team.all(v, meet);
    if (team.rank()) return;
    if (parts == 1)
      f.put(o, v);
    else
      partial[row] = v;
  }
};

template <class T> struct join_body {
  typedef typename sum_of<T>::type acc;
  folding<T> f;
  int64_t parts;
  const acc *partial;
  LN_BODY void operator()(int64_t o) const {
    meet_values<acc> meet = {meeting_of(f.fold.kind)};
    acc v = f.start();
    for (int64_t k = 0; k < parts; k++) v = meet(v, partial[o * parts + k]);
    f.put(o, v);
  }
};

/* -- The place of an extreme: the first of equals; NaN wins -- */

template <class T> struct candidate {
  T value;
  int64_t place; /* -1: none yet */
};

template <class T> struct meet_candidates {
  bool largest;
  LN_BODY bool better(const candidate<T> &a, const candidate<T> &b) const {
    if (b.place < 0) return true;
    if (a.place < 0) return false;
    bool nan_a = a.value != a.value, nan_b = b.value != b.value;
    if (nan_a || nan_b) return nan_a && (!nan_b || a.place < b.place);
    if (a.value == b.value) return a.place < b.place;
    return largest ? a.value > b.value : a.value < b.value;
  }
  LN_BODY candidate<T> operator()(const candidate<T> &a, const candidate<T> &b) const { return better(a, b) ? a : b; }
};

template <class T> struct place_body {
  folding<T> f;
  template <class Team> LN_BODY void operator()(int64_t o, const Team &team) const {
    meet_candidates<T> meet = {f.fold.kind == LN_FOLD_ARGMAX};
    const char *x = f.outer(o);
    candidate<T> best = {0, -1};
    for (int64_t i = team.rank(); i < f.fold.inner_numel; i += team.size()) {
      candidate<T> one = {f.element(x, i), i};
      best = meet(best, one);
    }
    best = team.all(best, meet);
    if (team.rank() == 0) *(int64_t *)(f.fold.y + ln_offset(o, f.fold.outer_ndim, f.fold.outer_shape, f.fold.y_stride)) = best.place;
  }
};

/* Neighbouring results are neighbours in x. */
bool is_columns(const ln_fold *f) {
  return f->outer_ndim > 0 && f->x_outer_stride[f->outer_ndim - 1] == ln_gpu_size_of(f->dtype) &&
         (f->inner_ndim == 0 || f->x_inner_stride[f->inner_ndim - 1] != ln_gpu_size_of(f->dtype));
}

template <class T> const char *run(const ln_fold *fold, int device) {
  typedef typename sum_of<T>::type acc;
  folding<T> f = {*fold};
  int64_t n = fold->inner_numel, rows = fold->outer_numel;
  bool columns = is_columns(fold);
  if (fold->kind == LN_FOLD_ARGMAX || fold->kind == LN_FOLD_ARGMIN) return ln_teams(device, rows, n, columns, place_body<T>{f});
  int64_t length = n, parts = 1;
  if (rows < 256 && n >= 1 << 16) {
    parts = n / 8192 < 512 ? n / 8192 : 512;
    length = (n + parts - 1) / parts;
  }
  void *memory = NULL;
  if (parts > 1) LN_GPU_TRY(ln_gpu_scratch(device, (size_t)(rows * parts) * sizeof(acc), &memory));
  LN_GPU_TRY(ln_teams(device, rows * parts, length, columns, fold_body<T>{f, parts, length, (acc *)memory}));
  return parts > 1 ? ln_each(device, rows, join_body<T>{f, parts, (const acc *)memory}) : NULL;
}

} // namespace

const char *ln_gpu_fold(const ln_fold *fold, int device) {
#define FOLD(T) run<T>(fold, device)
  LN_BY_TYPE(fold->dtype, FOLD);
}
