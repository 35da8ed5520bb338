/* fold.cu - reductions: a team a result where what is reduced lies together, a team for 32 neighbouring results where those do. Where there are few
 * results the reduction is cut into parts, whose results are combined in order. */
#include "vector.h"

namespace cuda::fold {

enum { COLUMNS = 32 };

/* -- What is reduced: how an element enters, how two results are combined -- */

template <class T> struct sum_of { typedef double type; };
template <> struct sum_of<int64_t> { typedef int64_t type; };

template <class T> LN_DEVICE T lowest() { return (T)-INFINITY; }
template <> LN_DEVICE int64_t lowest<int64_t>() { return INT64_MIN; }
template <class T> LN_DEVICE T highest() { return (T)INFINITY; }
template <> LN_DEVICE int64_t highest<int64_t>() { return INT64_MAX; }

template <class T> struct values {
  typedef T element;
  typedef typename sum_of<T>::type result;
  int kind, y_dtype;

  LN_DEVICE int how() const { return LN_FIXED(KIND, kind); }
  LN_DEVICE result start() const {
    switch (how()) {
    case LN_FOLD_PROD:
    case LN_FOLD_ALL: return 1;
    case LN_FOLD_MAX: return lowest<result>();
    case LN_FOLD_MIN: return highest<result>();
    default: return 0;
    }
  }
  LN_DEVICE result enter(T v, int64_t) const {
    switch (how()) {
    case LN_FOLD_ALL:
    case LN_FOLD_ANY:
    case LN_FOLD_COUNT_NONZERO: return v != 0;
    default: return (result)v;
    }
  }
  LN_DEVICE result operator()(result a, result b) const {
    switch (how()) {
    case LN_FOLD_PROD: return a * b;
    case LN_FOLD_MAX:
    case LN_FOLD_ANY: return a != a || a > b ? a : b;
    case LN_FOLD_MIN:
    case LN_FOLD_ALL: return a != a || a < b ? a : b;
    default: return a + b;
    }
  }
  LN_DEVICE void put(char *y, result v) const { ln_store<result>(y, LN_FIXED(DTYPE_1, y_dtype), v); }
};

template <class T> struct candidate {
  T value;
  int64_t position; /* -1: none yet */
};

/* The position of an extreme: the first of equals; NaN wins. */
template <class T> struct positions {
  typedef T element;
  typedef candidate<T> result;
  int kind, y_dtype;

  LN_DEVICE result start() const { return result{0, -1}; }
  LN_DEVICE result enter(T v, int64_t i) const { return result{v, i}; }
  LN_DEVICE bool better(const result &a, const result &b) const {
    if (b.position < 0) return true;
    if (a.position < 0) return false;
    bool nan_a = a.value != a.value, nan_b = b.value != b.value;
    if (nan_a || nan_b) return nan_a && (!nan_b || a.position < b.position);
    if (a.value == b.value) return a.position < b.position;
    return LN_FIXED(KIND, kind) == LN_FOLD_ARGMAX ? a.value > b.value : a.value < b.value;
  }
  LN_DEVICE result operator()(const result &a, const result &b) const { return better(a, b) ? a : b; }
  LN_DEVICE void put(char *y, const result &v) const { *(int64_t *)y = v.position; }
};

/* -- The reductions -- */

/* Part k of result o goes to partial[o * partial_result + k * partial_part]; with one part the result is written at once. */
template <class R> struct job {
  typedef typename R::result result;
  R reduce;
  ln_nest<2> outer; /* of x and y */
  ln_nest<1> inner; /* of x */
  const char *x;
  char *y;
  int dtype, vector;
  int64_t results, count;
  int64_t parts, length, partial_result, partial_part;
  result *partial;

  LN_DEVICE void finish(int64_t o, int64_t part, const result &v) const {
    if (parts == 1) {
      int64_t at[2];
      outer.offsets(o, at);
      reduce.put(y + at[1], v);
    } else {
      partial[o * partial_result + part * partial_part] = v;
    }
  }
  LN_DEVICE const char *begin(int64_t o) const {
    int64_t at[2];
    outer.offsets(o, at);
    return x + at[0];
  }
  LN_DEVICE int64_t inside(int64_t i) const {
    int64_t at[1];
    inner.offsets(i, at, LN_FIXED(INNER, inner.ndim));
    return at[0];
  }
  LN_DEVICE int64_t end(int64_t part) const { return (part + 1) * length < count ? (part + 1) * length : count; }
};

/* Row: a part of a result. */
template <class R> struct rows {
  job<R> f;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    typedef typename R::element T;
    const int type = LN_FIXED(DTYPE_0, f.dtype), lanes = LN_FIXED(VECTOR, f.vector);
    int64_t o = f.parts == 1 ? row : row / f.parts, part = row - o * f.parts, end = f.end(part);
    const char *x = f.begin(o);
    typename R::result v = f.reduce.start();
    for (int64_t i = part * f.length + team.rank() * lanes; i < end; i += team.size() * lanes) {
      T element[LN_LANES];
      const int count = end - i < lanes ? (int)(end - i) : lanes;
      ln_load_vector<T>(x + f.inside(i), type, lanes, count, element);
      LN_UNROLL for (int l = 0; l < lanes; l++) if (l < count) v = f.reduce(v, f.reduce.enter(element[l], i + l));
    }
    v = team.all(v, f.reduce);
    if (team.rank() == 0) f.finish(o, part, v);
  }
};

/* Row: a part of COLUMNS neighbouring results; threads beside each other read neighbours. */
template <class R> struct columns {
  job<R> f;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    typedef typename R::element T;
    const int type = LN_FIXED(DTYPE_0, f.dtype), width = team.size() < COLUMNS ? team.size() : COLUMNS;
    const int step = team.size() / width, own = team.rank() / width;
    int64_t tile = f.parts == 1 ? row : row / f.parts, part = row - tile * f.parts, end = f.end(part);
    for (int c = team.rank() % width; c < COLUMNS; c += width) {
      int64_t o = tile * COLUMNS + c;
      typename R::result v = f.reduce.start();
      if (o < f.results) {
        const char *x = f.begin(o);
        LN_UNROLL_SOME for (int64_t i = part * f.length + own; i < end; i += step) v =
          f.reduce(v, f.reduce.enter(ln_load<T>(x + f.inside(i), type), i));
      }
      v = team.all(v, f.reduce, width);
      if (own == 0 && o < f.results) f.finish(o, part, v);
    }
  }
};

template <class R> struct join {
  job<R> f;
  LN_DEVICE void operator()(int64_t o) const {
    typename R::result v = f.reduce.start();
    int64_t at[2];
    for (int64_t k = 0; k < f.parts; k++) v = f.reduce(v, f.partial[o * f.partial_result + k * f.partial_part]);
    f.outer.offsets(o, at);
    f.reduce.put(f.y + at[1], v);
  }
};

} // namespace cuda::fold

#ifdef LN_HOST_CODE
#include "kernels.h"

namespace cuda::fold {
namespace {

/* Neighbouring results are neighbours in x. */
bool is_columns(const ln_fold *f) {
  int item = ln_gpu_size_of(f->dtype);
  return f->outer_ndim > 0 && f->x_outer_stride[f->outer_ndim - 1] == item && (f->inner_ndim == 0 || f->x_inner_stride[f->inner_ndim - 1] != item);
}

/* Cut into parts of at least `least` elements until there are about `teams` teams. */
template <class R> void cut(job<R> *f, int64_t now, int64_t teams, int64_t least) {
  int64_t parts = teams / now < f->count / least ? teams / now : f->count / least;
  if (parts < 1) parts = 1;
  f->length = ((f->count + parts - 1) / parts + LN_LANES - 1) / LN_LANES * LN_LANES;
  f->parts = f->count ? (f->count + f->length - 1) / f->length : 1;
}

template <class R> const char *run(const ln_fold *w, int device) {
  typedef typename R::result result;
  const int64_t *const outer[2] = {w->x_outer_stride, w->y_stride}, *const inner[1] = {w->x_inner_stride};
  job<R> f = {};
  ln_fixed fixed;
  bool by_columns = is_columns(w);
  int item = ln_gpu_size_of(w->dtype);
  f.reduce = R{w->kind, w->y_dtype};
  f.outer = ln_nest_of<2>(w->outer_ndim, w->outer_shape, outer);
  f.inner = ln_nest_of<1>(w->inner_ndim, w->inner_shape, inner);
  f.x = w->x;
  f.y = w->y;
  f.dtype = w->dtype;
  f.results = w->outer_numel;
  f.count = w->inner_numel;
  bool together = w->inner_ndim == 1 && w->x_inner_stride[0] == item;
  f.vector = together ? ln_vector_fit(w->x, item, w->outer_ndim, w->x_outer_stride) : 1;
  if (w->outer_ndim <= 3) fixed.with(LN_FIX_NDIM, w->outer_ndim);
  if (w->inner_ndim <= 3) fixed.with(LN_FIX_INNER, w->inner_ndim);
  fixed.with(LN_FIX_WIDE, f.outer.wide || f.inner.wide).with(LN_FIX_VECTOR, f.vector).with(LN_FIX_KIND, w->kind);
  fixed.with(LN_FIX_DTYPE_0, w->dtype).with(LN_FIX_DTYPE_1, w->y_dtype);
  if (f.results == 0) return NULL;
  int64_t tiles = (f.results + COLUMNS - 1) / COLUMNS;
  cut(&f, by_columns ? tiles : f.results, 1024, by_columns ? 256 : 8192);
  f.partial_result = by_columns ? 1 : f.parts;
  f.partial_part = by_columns ? f.results : 1;
  ln_scratch scratch(device, f.parts > 1 ? sizeof(result) * (size_t)(f.results * f.parts) : 0);
  LN_GPU_TRY(scratch.failure);
  f.partial = (result *)scratch.memory;
  if (by_columns)
    LN_GPU_TRY(ln_teams(device, tiles * f.parts, f.length * COLUMNS, false, columns<R>{f}, fixed));
  else
    LN_GPU_TRY(ln_teams(device, f.results * f.parts, f.length / f.vector, false, rows<R>{f}, fixed));
  return f.parts > 1 ? ln_each(device, f.results, join<R>{f}, fixed) : NULL;
}

} // namespace
} // namespace cuda::fold

const char *ln_gpu_fold(const ln_fold *w, int device) {
  bool position = w->kind == LN_FOLD_ARGMAX || w->kind == LN_FOLD_ARGMIN;
#define FOLD(T) (position ? cuda::fold::run<cuda::fold::positions<T>>(w, device) : cuda::fold::run<cuda::fold::values<T>>(w, device))
  LN_BY_TYPE(w->dtype, FOLD);
}
#endif
