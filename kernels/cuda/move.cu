/* move.cu - conversion between dtypes and layouts, and elements that move by an index.
 *
 * Where several sources go to one destination they are sorted by it first, in their own order: sums are added up in that order and of plain
 * writes the last one stays, on every run. An index outside its range, which the check before reports later (check.cu), is taken as 0. */
#include "elementwise.h"

namespace cuda::move {

template <class T> struct same {
  enum { inputs = 1 };
  static LN_DEVICE T value(const T *in, const double *) { return in[0]; }
};

template <class T> struct convert : ln_elementwise<T, same<T>> {};

LN_DEVICE void move_bytes(char *y, const char *x, int item) {
  switch (item) {
  case 1: *y = *x; return;
  case 2: *(uint16_t *)y = *(const uint16_t *)x; return;
  case 4: *(uint32_t *)y = *(const uint32_t *)x; return;
  default: *(uint64_t *)y = *(const uint64_t *)x;
  }
}

LN_DEVICE int64_t clamped(int64_t index, int64_t size) { return index < 0 || index >= size ? 0 : index; }

/* -- By an index -- */

/* Operands 0 out, 1 in, 2 index. */
struct indexing {
  ln_nest<3> nest;
  char *y;
  const char *x, *index;
  int64_t stride, size;
  int item;
  LN_DEVICE int64_t along(int64_t at) const { return clamped(*(const int64_t *)(index + at), size) * stride; }
};

struct gather {
  indexing job;
  LN_DEVICE void operator()(int64_t i) const {
    int64_t at[3];
    job.nest.offsets(i, at);
    move_bytes(job.y + at[0], job.x + at[1] + job.along(at[2]), LN_FIXED(KIND, job.item));
  }
};

/* Where element i goes, counted from the first byte of the destination. */
struct scatter_keys {
  indexing job;
  uint64_t *keys;
  int64_t *order;
  LN_DEVICE void operator()(int64_t i) const {
    int64_t at[3];
    job.nest.offsets(i, at);
    keys[i] = (uint64_t)(at[0] + job.along(at[2]));
    order[i] = i;
  }
};

/* The first of a run of equal keys does the work of the run. */
struct scatter {
  indexing job;
  const uint64_t *keys;
  const int64_t *order;
  int64_t n;
  LN_DEVICE void operator()(int64_t k) const {
    if (k + 1 < n && keys[k + 1] == keys[k]) return;
    int64_t at[3];
    job.nest.offsets(order[k], at);
    move_bytes(job.y + keys[k], job.x + at[1], LN_FIXED(KIND, job.item));
  }
};

/* Rounded after each addition, as on the CPU. */
template <class T> struct scatter_add {
  indexing job;
  const uint64_t *keys;
  const int64_t *order;
  int64_t n;
  int dtype;
  LN_DEVICE void operator()(int64_t k) const {
    if (k > 0 && keys[k - 1] == keys[k]) return;
    const int type = LN_FIXED(DTYPE_0, dtype);
    char *y = job.y + keys[k];
    T sum = ln_load<T>(y, type);
    for (int64_t i = k; i < n && keys[i] == keys[k]; i++) {
      int64_t at[3];
      job.nest.offsets(order[i], at);
      sum = ln_rounded<T>(sum + ln_load<T>(job.x + at[1], type), type);
    }
    ln_store<T>(y, type, sum);
  }
};

/* -- Rows by index -- */

struct take {
  ln_take t;
  int item;
  LN_DEVICE void operator()(int64_t i) const {
    int64_t row = i / t.width, column = i - row * t.width;
    move_bytes(t.out + i * item, t.in + (clamped(t.ids[row], t.rows) * t.width + column) * item, LN_FIXED(KIND, item));
  }
};

struct take_keys {
  ln_take t;
  uint64_t *keys;
  int64_t *order;
  LN_DEVICE void operator()(int64_t i) const {
    keys[i] = (uint64_t)clamped(t.ids[i], t.rows);
    order[i] = i;
  }
};

/* Column `i % width` of the run that begins at sorted position i / width. */
template <class T> struct take_add {
  ln_take t;
  const uint64_t *keys;
  const int64_t *order;
  int item;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, t.dtype);
    int64_t k = i / t.width, column = i - k * t.width;
    if ((k > 0 && keys[k - 1] == keys[k]) || (int64_t)keys[k] == t.skip) return;
    char *y = t.out + ((int64_t)keys[k] * t.width + column) * item;
    T sum = ln_load<T>(y, type);
    for (int64_t j = k; j < t.n && keys[j] == keys[k]; j++) {
      const int64_t i = order[j], row = t.from ? clamped(t.from[i], t.sources) : i;
      const T x = ln_load<T>(t.in + (row * t.width + column) * item, type);
      sum += t.scale ? ((const T *)t.scale)[i] * x : x;
    }
    ln_store<T>(y, type, sum);
  }
};

/* Row i of the table at ids times row i of the other, or the one at from. */
template <class T> struct take_dot {
  ln_take t;
  int item;
  template <class Team> LN_DEVICE void operator()(int64_t i, const Team &team) const {
    const int type = LN_FIXED(DTYPE_0, t.dtype);
    const char *a = t.in + clamped(t.ids[i], t.rows) * t.width * item, *b = t.with + (t.from ? clamped(t.from[i], t.sources) : i) * t.width * item;
    T sum = 0;
    for (int64_t k = team.rank(); k < t.width; k += team.size()) sum += ln_load<T>(a + k * item, type) * ln_load<T>(b + k * item, type);
    sum = team.all(sum, ln_add());
    if (team.rank() == 0) ln_store<T>(t.out + i * item, type, sum);
  }
};

/* Column i % width of bag i / width. */
template <class T> struct bag {
  ln_bag w;
  int item;
  LN_DEVICE int64_t id(int64_t i) const { return clamped(w.ids[i], w.rows); }
  LN_DEVICE void note(int64_t b, int64_t first, int64_t end, int64_t count) const {
    for (int64_t i = first; w.bag_of && i < end; i++) w.bag_of[i] = b;
    for (int64_t i = first; w.share && i < end; i++) ((T *)w.share)[i] = count ? 1 / (T)count : 0;
  }
  LN_DEVICE void operator()(int64_t at) const {
    const int type = LN_FIXED(DTYPE_0, w.dtype);
    const int64_t b = at / w.width, column = at - b * w.width;
    const int64_t first = w.offsets ? w.offsets[b] : b * w.bag_size, end = w.offsets ? w.offsets[b + 1] : first + w.bag_size;
    int64_t count = 0, best = -1;
    T y = 0;
    for (int64_t i = first; i < end; i++) {
      if (w.ids[i] == w.skip) continue;
      const int64_t from = id(i) * w.width + column;
      const T x = ln_load<T>(w.in + from * item, type);
      if (w.mode != LN_BAG_MAX) {
        y += w.scale ? ((const T *)w.scale)[i] * x : x;
      } else if (count == 0 || x > y) {
        y = x;
        best = from;
      }
      count++;
    }
    if (w.best) w.best[at] = best;
    if (column == 0) note(b, first, end, count);
    ln_store<T>(w.out + at * item, type, w.mode == LN_BAG_MEAN && count ? y / (T)count : y);
  }
};

/* -- Looking for elements -- */

/* An operand by its logical order. */
struct operand {
  ln_nest<1> nest;
  const char *data;
  int dtype;
  int64_t numel;
  LN_DEVICE bool nonzero(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, dtype);
    const char *p = data + nest.offset(i);
    return type <= LN_BFLOAT16 ? ln_load<double>(p, type) != 0 : ln_load<int64_t>(p, type) != 0;
  }
  LN_DEVICE int64_t end(int64_t part) const { return (part + 1) * LN_PART < numel ? (part + 1) * LN_PART : numel; }
};

struct count_nonzero {
  operand x;
  int64_t *counts;
  template <class Team> LN_DEVICE void operator()(int64_t part, const Team &team) const {
    int64_t count = 0;
    for (int64_t i = part * LN_PART + team.rank(); i < x.end(part); i += team.size()) count += x.nonzero(i);
    count = team.all(count, ln_add());
    if (team.rank() == 0) counts[part] = count;
  }
};

struct list_nonzero {
  operand x;
  const int64_t *before;
  int64_t *out;
  template <class Team> LN_DEVICE void operator()(int64_t part, const Team &team) const {
    int64_t found = before[part], end = x.end(part);
    for (int64_t first = part * LN_PART; first < end; first += team.size()) {
      int64_t i = first + team.rank(), total;
      bool here = i < end && x.nonzero(i);
      int64_t to = team.before((int64_t)here, found, ln_add(), &total);
      if (here) out[to] = i;
      found = total;
    }
  }
};

} // namespace cuda::move

#ifdef LN_HOST_CODE
#include "kernels.h"

namespace cuda::move {
namespace {

/* Same dtype: the bits, as whole numbers of their size. */
int bits_dtype(int dtype) {
  switch (ln_gpu_size_of(dtype)) {
  case 1: return LN_UINT8;
  case 2: return LN_INT16;
  case 4: return LN_INT32;
  default: return LN_INT64;
  }
}

template <class T> const char *convert_run(const ln_loop *loop, int device) {
  const double at[3] = {0, 0, 0};
  T number = 0;
  if (loop->scalars & 2) number = loop->dtype[1] == LN_INT64 ? (T) * (const int64_t *)loop->data[1] : (T) * (const double *)loop->data[1];
  return ln_elementwise_run<convert<T>>(loop, &number, at, device);
}

indexing indexing_of(const ln_indexed *job, ln_fixed *fixed) {
  indexing x = {ln_nest_of<3>(&job->loop),         job->loop.data[0], job->loop.data[1], job->loop.data[2], job->stride, job->size,
                ln_gpu_size_of(job->loop.dtype[0])};
  ln_fix_nest(fixed, x.nest);
  fixed->with(LN_FIX_KIND, x.item).with(LN_FIX_DTYPE_0, job->loop.dtype[0]);
  return x;
}

/* Bytes from the first element of the destination to the last. */
uint64_t reach(const ln_indexed *job) {
  int64_t bytes = job->stride * (job->size - 1);
  for (int d = 0; d < job->loop.ndim; d++) bytes += (job->loop.shape[d] - 1) * job->loop.stride[0][d];
  return (uint64_t)bytes;
}

const char *scatter_run(const ln_indexed *job, bool add, int device) {
  int64_t n = job->loop.numel;
  int dtype = job->loop.dtype[0];
  ln_fixed fixed;
  indexing x = indexing_of(job, &fixed);
  ln_scratch scratch(device, ln_sort_bytes(n));
  ln_sort s;
  LN_GPU_TRY(scratch.failure);
  ln_sort_begin(&s, n, scratch.memory);
  LN_GPU_TRY(ln_each(device, n, scatter_keys{x, s.keys, s.order}, fixed));
  LN_GPU_TRY(ln_sort_run(&s, reach(job), device));
  if (!add) return ln_each(device, n, scatter{x, s.keys, s.order, n}, fixed);
#define SCATTER_ADD(T) ln_each(device, n, scatter_add<T>{x, s.keys, s.order, n, dtype}, fixed)
  LN_BY_TYPE(job->dtype, SCATTER_ADD);
}

operand operand_of(const ln_loop *loop, ln_fixed *fixed) {
  operand x = {ln_nest_of<1>(loop, 1), loop->data[1], loop->dtype[1], loop->numel};
  ln_fix_nest(fixed, x.nest);
  fixed->with(LN_FIX_DTYPE_0, x.dtype);
  return x;
}

int64_t parts_of(int64_t n) { return (n + LN_PART - 1) / LN_PART; }

} // namespace
} // namespace cuda::move

using namespace cuda::move;

const char *ln_gpu_convert(const ln_loop *loop, int device) {
  int to = loop->dtype[0], from = loop->dtype[1];
  if (loop->scalars & 2) return from == LN_INT64 ? convert_run<int64_t>(loop, device) : convert_run<double>(loop, device);
  if (to == from) {
    ln_loop bits = *loop;
    bits.dtype[0] = bits.dtype[1] = bits_dtype(to);
    return convert_run<int64_t>(&bits, device);
  }
  if (to >= LN_INT8 && from >= LN_INT8) return convert_run<int64_t>(loop, device);
  bool wide = to == LN_FLOAT64 || from == LN_FLOAT64 || to >= LN_INT8 || from >= LN_INT8;
  return wide ? convert_run<double>(loop, device) : convert_run<float>(loop, device);
}

const char *ln_gpu_indexed(const ln_indexed *job, int device) {
  ln_fixed fixed;
  if (job->indexed == 0) return scatter_run(job, false, device);
  indexing x = indexing_of(job, &fixed);
  return ln_each(device, job->loop.numel, gather{x}, fixed);
}

const char *ln_gpu_scatter_add(const ln_indexed *job, int device) { return scatter_run(job, true, device); }

const char *ln_gpu_take(const ln_take *t, int device) {
  int item = ln_gpu_size_of(t->dtype);
  return ln_each(device, t->n * t->width, take{*t, item}, ln_fixed().with(LN_FIX_KIND, item));
}

const char *ln_gpu_take_add(const ln_take *t, int device) {
  if (t->n == 0) return NULL;
  ln_scratch scratch(device, ln_sort_bytes(t->n));
  ln_sort s;
  LN_GPU_TRY(scratch.failure);
  ln_sort_begin(&s, t->n, scratch.memory);
  LN_GPU_TRY(ln_each(device, t->n, take_keys{*t, s.keys, s.order}));
  LN_GPU_TRY(ln_sort_run(&s, (uint64_t)t->rows - 1, device));
#define TAKE_ADD(T) ln_each(device, t->n * t->width, take_add<T>{*t, s.keys, s.order, ln_gpu_size_of(t->dtype)}, ln_fixed::dtype(t->dtype))
  LN_BY_TYPE(t->dtype, TAKE_ADD);
}

const char *ln_gpu_take_dot(const ln_take *t, int device) {
#define TAKE_DOT(T) ln_teams(device, t->n, t->width, false, take_dot<T>{*t, ln_gpu_size_of(t->dtype)}, ln_fixed::dtype(t->dtype))
  LN_BY_FLOAT(t->dtype, TAKE_DOT);
}

const char *ln_gpu_bag(const ln_bag *w, int device) {
#define BAG(T) ln_each(device, w->bags * w->width, bag<T>{*w, ln_gpu_size_of(w->dtype)}, ln_fixed::dtype(w->dtype))
  LN_BY_FLOAT(w->dtype, BAG);
}

const char *ln_gpu_nonzero(const ln_nonzero *job, int device) {
  int64_t parts = parts_of(job->loop.numel);
  ln_fixed fixed;
  operand x = operand_of(&job->loop, &fixed);
  ln_scratch scratch(device, (size_t)(parts + 1) * sizeof(int64_t));
  LN_GPU_TRY(scratch.failure);
  int64_t *counts = (int64_t *)scratch.memory;
  LN_GPU_TRY(ln_teams(device, parts, LN_PART, false, count_nonzero{x, counts}, fixed));
  LN_GPU_TRY(ln_gpu_sums_before(device, counts, parts));
  if (job->out) return ln_teams(device, parts, LN_PART, false, list_nonzero{x, counts, job->out}, fixed);
  return ln_gpu_copy(job->count, LN_HOST, counts + parts, device, sizeof *job->count);
}
#endif
