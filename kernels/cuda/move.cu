/* move.cu - conversion between dtypes and layouts, and elements that move by an index.
 *
 * Where several sources meet in one place they are sorted by it first, in their own order: sums are added up in that order and of plain
 * writes the last one stays, on every run. */
#include "kernels.h"

namespace {

template <class T> struct convert_body {
  ln_loop loop;
  LN_BODY void operator()(int64_t i) const { ln_store<T>(ln_place(loop, 0, i), loop.dtype[0], ln_load<T>(ln_place(loop, 1, i), loop.dtype[1])); }
};

/* The number of a scalar operand, which lies in host memory. */
template <class T> struct fill_body {
  ln_loop loop;
  T value;
  LN_BODY void operator()(int64_t i) const { ln_store<T>(ln_place(loop, 0, i), loop.dtype[0], value); }
};

LN_BODY void move_bytes(char *y, const char *x, int item) {
  switch (item) {
  case 1: *y = *x; return;
  case 2: *(uint16_t *)y = *(const uint16_t *)x; return;
  case 4: *(uint32_t *)y = *(const uint32_t *)x; return;
  default: *(uint64_t *)y = *(const uint64_t *)x;
  }
}

struct copy_body {
  ln_loop loop;
  int item;
  LN_BODY void operator()(int64_t i) const { move_bytes(ln_place(loop, 0, i), ln_place(loop, 1, i), item); }
};

/* -- By an index -- */

struct gather_body {
  ln_indexed job;
  int item;
  LN_BODY void operator()(int64_t i) const {
    int64_t at = *(const int64_t *)ln_place(job.loop, 2, i) * job.stride;
    move_bytes(ln_place(job.loop, 0, i), ln_place(job.loop, 1, i) + at, item);
  }
};

/* Where element i goes, counted from the first byte of the destination. */
struct scatter_keys {
  ln_indexed job;
  uint64_t *keys;
  int64_t *order;
  LN_BODY void operator()(int64_t i) const {
    int64_t at = *(const int64_t *)ln_place(job.loop, 2, i) * job.stride;
    keys[i] = (uint64_t)(ln_place(job.loop, 0, i) + at - job.loop.data[0]);
    order[i] = i;
  }
};

/* The first of a run of equal keys does the work of the run. */
template <class T> struct scatter_body {
  ln_indexed job;
  const uint64_t *keys;
  const int64_t *order;
  int64_t n;
  int item;
  bool add;
  LN_BODY void operator()(int64_t k) const {
    if (k > 0 && keys[k - 1] == keys[k]) return;
    char *y = job.loop.data[0] + keys[k];
    int64_t i = k;
    if (add) {
      T sum = ln_load<T>(y, job.loop.dtype[0]);
      for (; i < n && keys[i] == keys[k]; i++) sum += ln_load<T>(ln_place(job.loop, 1, order[i]), job.loop.dtype[1]);
      ln_store<T>(y, job.loop.dtype[0], sum);
    } else {
      while (i + 1 < n && keys[i + 1] == keys[k]) i++;
      move_bytes(y, ln_place(job.loop, 1, order[i]), item);
    }
  }
};

/* Room for n keys and their order, unsorted and sorted. */
struct sorted {
  uint64_t *keys, *keys_out;
  int64_t *order, *order_out;
  void *room;
  size_t room_bytes;
};

const char *sort_room(int device, int64_t n, int bits, sorted *s) {
  void *memory = NULL;
  LN_GPU_TRY(ln_gpu_sort(device, n, NULL, NULL, NULL, NULL, bits, NULL, &s->room_bytes));
  LN_GPU_TRY(ln_gpu_scratch(device, (size_t)n * 32 + s->room_bytes, &memory));
  s->keys = (uint64_t *)memory;
  s->keys_out = s->keys + n;
  s->order = (int64_t *)(s->keys_out + n);
  s->order_out = s->order + n;
  s->room = s->order_out + n;
  return NULL;
}

const char *sort_run(int device, int64_t n, int bits, sorted *s) {
  return ln_gpu_sort(device, n, s->keys, s->keys_out, s->order, s->order_out, bits, s->room, &s->room_bytes);
}

int bits_of(uint64_t below) {
  int bits = 1;
  while (bits < 64 && below >> bits) bits++;
  return bits;
}

/* Bytes from the first to behind the last element of the destination. */
uint64_t reach(const ln_indexed *job) {
  int64_t bytes = job->stride * (job->size - 1);
  for (int d = 0; d < job->loop.ndim; d++) bytes += (job->loop.shape[d] - 1) * job->loop.stride[0][d];
  return (uint64_t)bytes + 1;
}

const char *scatter(const ln_indexed *job, bool add, int device) {
  int64_t n = job->loop.numel;
  int bits = bits_of(reach(job));
  sorted s;
  LN_GPU_TRY(sort_room(device, n, bits, &s));
  LN_GPU_TRY(ln_each(device, n, scatter_keys{*job, s.keys, s.order}));
  LN_GPU_TRY(sort_run(device, n, bits, &s));
  int item = ln_gpu_size_of(job->loop.dtype[0]);
#define SCATTER(T) ln_each(device, n, scatter_body<T>{*job, s.keys_out, s.order_out, n, item, add})
  LN_BY_TYPE(job->dtype, SCATTER);
}

/* -- Rows by index -- */

struct take_body {
  ln_take t;
  int item;
  LN_BODY void operator()(int64_t i) const {
    int64_t row = i / t.width, column = i - row * t.width;
    move_bytes(t.out + i * item, t.in + (t.ids[row] * t.width + column) * item, item);
  }
};

struct take_keys {
  ln_take t;
  uint64_t *keys;
  int64_t *order;
  LN_BODY void operator()(int64_t i) const {
    keys[i] = (uint64_t)t.ids[i];
    order[i] = i;
  }
};

/* Column `i % width` of the run that begins at sorted place i / width. */
template <class T> struct take_add_body {
  ln_take t;
  const uint64_t *keys;
  const int64_t *order;
  int item;
  LN_BODY void operator()(int64_t i) const {
    int64_t k = i / t.width, column = i - k * t.width;
    if ((k > 0 && keys[k - 1] == keys[k]) || (int64_t)keys[k] == t.skip) return;
    char *y = t.out + ((int64_t)keys[k] * t.width + column) * item;
    T sum = ln_load<T>(y, t.dtype);
    for (int64_t j = k; j < t.n && keys[j] == keys[k]; j++) sum += ln_load<T>(t.in + (order[j] * t.width + column) * item, t.dtype);
    ln_store<T>(y, t.dtype, sum);
  }
};

/* -- Looking for elements -- */

struct meet_min {
  LN_BODY int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

struct outside_body {
  ln_loop loop;
  int64_t low, high, *out;
  template <class Team> LN_BODY void operator()(int64_t part, const Team &team) const {
    int64_t first = loop.numel;
    for (int64_t i = part * LN_PART + team.rank(); i < loop.numel && i < (part + 1) * LN_PART; i += team.size()) {
      int64_t v = *(const int64_t *)ln_place(loop, 1, i);
      if ((v < low || v >= high) && i < first) first = i;
    }
    first = team.all(first, meet_min());
    if (team.rank() == 0) out[part] = first;
  }
};

struct min_body {
  const int64_t *parts;
  int64_t n, *out;
  template <class Team> LN_BODY void operator()(int64_t, const Team &team) const {
    int64_t first = INT64_MAX;
    for (int64_t i = team.rank(); i < n; i += team.size())
      if (parts[i] < first) first = parts[i];
    first = team.all(first, meet_min());
    if (team.rank() == 0) *out = first;
  }
};

LN_BODY bool is_nonzero(const ln_loop &loop, int64_t i) {
  const char *p = ln_place(loop, 1, i);
  return loop.dtype[1] <= LN_BFLOAT16 ? ln_load<double>(p, loop.dtype[1]) != 0 : ln_load<int64_t>(p, loop.dtype[1]) != 0;
}

struct count_body {
  ln_loop loop;
  int64_t *counts;
  template <class Team> LN_BODY void operator()(int64_t part, const Team &team) const {
    int64_t count = 0;
    for (int64_t i = part * LN_PART + team.rank(); i < loop.numel && i < (part + 1) * LN_PART; i += team.size()) count += is_nonzero(loop, i);
    count = team.all(count, ln_meet_sum());
    if (team.rank() == 0) counts[part] = count;
  }
};

/* counts[0 .. n) become the sums before each, counts[n] the sum of all. */
struct sums_before {
  int64_t *counts, n;
  LN_BODY void operator()(int64_t) const {
    int64_t sum = 0;
    for (int64_t i = 0; i <= n; i++) {
      int64_t count = i < n ? counts[i] : 0;
      counts[i] = sum;
      sum += count;
    }
  }
};

struct place_body {
  ln_loop loop;
  const int64_t *before;
  int64_t *out;
  LN_BODY void operator()(int64_t part) const {
    int64_t *to = out + before[part];
    for (int64_t i = part * LN_PART; i < loop.numel && i < (part + 1) * LN_PART; i++)
      if (is_nonzero(loop, i)) *to++ = i;
  }
};

int64_t parts_of(int64_t n) { return (n + LN_PART - 1) / LN_PART; }

} // namespace

const char *ln_gpu_convert(const ln_loop *loop, int device) {
  int to = loop->dtype[0], from = loop->dtype[1];
  if (loop->scalars & 2) {
    if (from == LN_INT64) return ln_each(device, loop->numel, fill_body<int64_t>{*loop, *(const int64_t *)loop->data[1]});
    return ln_each(device, loop->numel, fill_body<double>{*loop, *(const double *)loop->data[1]});
  }
  if (to == from) return ln_each(device, loop->numel, copy_body{*loop, ln_gpu_size_of(to)});
  if (to >= LN_INT8 && from >= LN_INT8) return ln_each(device, loop->numel, convert_body<int64_t>{*loop});
  bool wide = to == LN_FLOAT64 || from == LN_FLOAT64 || to >= LN_INT8;
  return wide ? ln_each(device, loop->numel, convert_body<double>{*loop}) : ln_each(device, loop->numel, convert_body<float>{*loop});
}

const char *ln_gpu_indexed(const ln_indexed *job, int device) {
  if (job->indexed == 0) return scatter(job, false, device);
  return ln_each(device, job->loop.numel, gather_body{*job, ln_gpu_size_of(job->loop.dtype[0])});
}

const char *ln_gpu_scatter_add(const ln_indexed *job, int device) { return scatter(job, true, device); }

const char *ln_gpu_take(const ln_take *t, int device) { return ln_each(device, t->n * t->width, take_body{*t, ln_gpu_size_of(t->dtype)}); }

const char *ln_gpu_take_add(const ln_take *t, int device) {
  int bits = bits_of((uint64_t)t->rows);
  sorted s;
  if (t->n == 0) return NULL;
  LN_GPU_TRY(sort_room(device, t->n, bits, &s));
  LN_GPU_TRY(ln_each(device, t->n, take_keys{*t, s.keys, s.order}));
  LN_GPU_TRY(sort_run(device, t->n, bits, &s));
#define TAKE_ADD(T) ln_each(device, t->n * t->width, take_add_body<T>{*t, s.keys_out, s.order_out, ln_gpu_size_of(t->dtype)})
  LN_BY_TYPE(t->dtype, TAKE_ADD);
}

const char *ln_gpu_find_outside(const ln_find *f, int device) {
  const ln_loop *loop = &f->loop;
  int64_t parts = parts_of(loop->numel);
  void *memory;
  LN_GPU_TRY(ln_gpu_scratch(device, (size_t)(parts + 1) * sizeof(int64_t), &memory));
  int64_t *first = (int64_t *)memory;
  LN_GPU_TRY(ln_teams(device, parts, LN_PART, false, outside_body{*loop, f->low, f->high, first + 1}));
  LN_GPU_TRY(ln_teams(device, 1, parts, false, min_body{first + 1, parts, first}));
  LN_GPU_TRY(ln_gpu_copy(f->position, LN_HOST, first, device, sizeof *f->position));
  if (*f->position >= loop->numel) *f->position = -1;
  return NULL;
}

const char *ln_gpu_nonzero(const ln_nonzero *job, int device) {
  const ln_loop *loop = &job->loop;
  int64_t parts = parts_of(loop->numel);
  void *memory;
  LN_GPU_TRY(ln_gpu_scratch(device, (size_t)(parts + 1) * sizeof(int64_t), &memory));
  int64_t *counts = (int64_t *)memory;
  LN_GPU_TRY(ln_teams(device, parts, LN_PART, false, count_body{*loop, counts}));
  LN_GPU_TRY(ln_each(device, 1, sums_before{counts, parts}));
  if (job->out) return ln_each(device, parts, place_body{*loop, counts, job->out});
  return ln_gpu_copy(job->count, LN_HOST, counts + parts, device, sizeof *job->count);
}
