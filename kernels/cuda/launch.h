/* launch.h - the host's side of kernel functors: how one is launched, the memory that a launch needs beside its operands, nests of loops. */
#ifndef LUNETTE_CUDA_LAUNCH_H
#define LUNETTE_CUDA_LAUNCH_H

#include <stdint.h>
#include <string.h>
#include <typeinfo>

enum {
  LN_HOST = -1,    /* the host's device number */
  LN_MAX_GPUS = 64 /* more than the core counts */
};

#define LN_GPU_TRY(call)                     \
  do {                                       \
    const char *ln_gpu_answer = (call);      \
    if (ln_gpu_answer) return ln_gpu_answer; \
  } while (0)

/* -- The device (device.cpp; standin.cpp in the stand-in) -- */

/* Makes the device current for this thread; NULL or what failed. */
const char *ln_gpu_enter(int device);
const char *ln_gpu_copy(void *dst, int dst_device, const void *src, int src_device, size_t bytes);

/* Memory for the kernels that are about to run, from the cache of this thread and device. It may go when they are launched: what takes it next is
 * launched behind them. */
class ln_scratch {
public:
  ln_scratch(int device, size_t bytes);
  ~ln_scratch();
  ln_scratch(const ln_scratch &) = delete;
  ln_scratch &operator=(const ln_scratch &) = delete;
  const char *failure; /* NULL, or why there is no memory */
  void *memory;

private:
  int device_;
  size_t bytes_;
};

/* -- Launching -- */

/* The values a program is specialised on, by ln_fixed_name; 0: left open, else the value + 1. */
struct ln_fixed {
  uint8_t value[16];
  ln_fixed() { memset(value, 0, sizeof value); }
  ln_fixed &with(int name, int constant) {
    value[name] = (uint8_t)(constant + 1);
    return *this;
  }
  static_assert(LN_FIX_COUNT <= 16, "room for every name");
  static ln_fixed dtype(int d) { return ln_fixed().with(LN_FIX_DTYPE_0, d); }
};

enum ln_shape { LN_EACH, LN_ALONE, LN_TEAM };

/* A functor to launch. `family`, ended by NULL: functors that are compiled in one program with it, since they will be wanted soon. */
struct ln_launch {
  ln_shape shape;
  const std::type_info *type;
  const std::type_info *const *family;
  const ln_fixed *fixed;
  unsigned threads;
  int64_t n; /* indices or rows */
  const void *functor;
};

#ifdef LN_STANDIN
void ln_standin_begin(int device, const ln_launch &launch); /* device memory can be reached only between these two */
void ln_standin_end(void);
/* A team of as many threads as the stand-in runs; calls run(argument) for each. */
void ln_standin_team(void (*run)(void *), void *argument);
int ln_standin_rank(void);
int ln_standin_size(void);
void ln_standin_wait(void);

/* As ln_block_team, on threads of the stand-in. */
struct ln_standin_block {
  int rank() const { return ln_standin_rank(); }
  int size() const { return ln_standin_size(); }
  void wait() const { ln_standin_wait(); }
  template <class V, class Combine> V all(V v, const Combine &combine, int lanes = 1) const {
    static V room[LN_TEAM_THREADS];
    wait();
    room[rank()] = v;
    wait();
    for (int half = size() / 2; half >= lanes; half /= 2) {
      if (rank() < half) room[rank()] = combine(room[rank()], room[rank() + half]);
      wait();
    }
    return room[rank() % lanes];
  }
  template <class V, class Combine> V before(V v, V start, const Combine &combine, V *total) const {
    static V room[LN_TEAM_THREADS];
    wait();
    room[rank()] = v;
    wait();
    V sum = start;
    for (int k = 0; k < rank(); k++) sum = combine(sum, room[k]);
    *total = start;
    for (int k = 0; k < size(); k++) *total = combine(*total, room[k]);
    return sum;
  }
};

template <class Functor> struct ln_standin_row {
  const Functor *functor;
  int64_t row;
  static void run(void *argument) {
    const ln_standin_row *r = (const ln_standin_row *)argument;
    (*r->functor)(r->row, ln_standin_block());
  }
};
#else
const char *ln_gpu_launch(int device, const ln_launch &launch);
#endif

/* What every GPU takes of arguments, less the number of indices. */
enum { LN_MOST_ARGUMENTS = 4096 - 8 };

/* functor(i) for every i below n. */
template <class Functor>
const char *ln_each(int device, int64_t n, const Functor &functor, const ln_fixed &fixed = ln_fixed(), const std::type_info *const *family = NULL) {
  static_assert(sizeof functor <= LN_MOST_ARGUMENTS, "a functor's members are the arguments of a kernel");
  if (n <= 0) return NULL;
  LN_GPU_TRY(ln_gpu_enter(device));
  ln_launch launch = {LN_EACH, &typeid(Functor), family, &fixed, LN_EACH_THREADS, n, &functor};
#ifdef LN_STANDIN
  ln_standin_begin(device, launch);
  for (int64_t i = 0; i < n; i++) functor(i);
  ln_standin_end();
  return NULL;
#else
  return ln_gpu_launch(device, launch);
#endif
}

/* functor(row, team) for every row. `items`: how long a row is; `adjacent`: neighbouring rows are neighbours in memory, so that a thread a row
 * reads as fast as a team. */
template <class Functor>
const char *ln_teams(int device, int64_t rows, int64_t items, bool adjacent, const Functor &functor, const ln_fixed &fixed = ln_fixed()) {
  static_assert(sizeof functor <= LN_MOST_ARGUMENTS, "a functor's members are the arguments of a kernel");
  if (rows <= 0) return NULL;
  LN_GPU_TRY(ln_gpu_enter(device));
  bool alone = items <= 32 || (adjacent && rows >= 16384);
  unsigned threads = alone ? LN_EACH_THREADS : 32;
  while (!alone && threads < LN_TEAM_THREADS && threads * 4 < items) threads *= 2;
  ln_launch launch = {alone ? LN_ALONE : LN_TEAM, &typeid(Functor), NULL, &fixed, threads, rows, &functor};
#ifdef LN_STANDIN
  ln_standin_begin(device, launch);
  for (int64_t i = 0; i < rows; i++) {
    ln_standin_row<Functor> row = {&functor, i};
    if (alone)
      functor(i, ln_alone());
    else
      ln_standin_team(ln_standin_row<Functor>::run, &row);
  }
  ln_standin_end();
  return NULL;
#else
  return ln_gpu_launch(device, launch);
#endif
}

/* -- Choosing the compute type of a dtype: CALL is a macro of one type -- */

#define LN_BY_FLOAT(dtype, CALL) return (dtype) == LN_FLOAT64 ? CALL(double) : CALL(float)
#define LN_BY_TYPE(dtype, CALL) return (dtype) == LN_FLOAT64 ? CALL(double) : (dtype) >= LN_INT8 ? CALL(int64_t) : CALL(float)

/* -- Nests -- */

/* Fills what follows from the shape and the strides. */
template <int N> void ln_nest_finish(ln_nest<N> *nest) {
  int64_t numel = 1, reach[N] = {0};
  for (int d = 0; d < nest->ndim; d++) {
    numel *= nest->shape[d];
    for (int k = 0; k < N; k++) reach[k] += (nest->shape[d] - 1) * nest->stride[k][d];
  }
  nest->wide = numel > INT32_MAX;
  for (int k = 0; k < N; k++) nest->wide = nest->wide || reach[k] > INT32_MAX;
  for (int d = 0; d < nest->ndim && !nest->wide && numel > 0; d++) {
    uint64_t n = (uint64_t)nest->shape[d];
    int shift = 0;
    while ((uint64_t)1 << shift < n) shift++;
    nest->magic[d] = (uint32_t)((((uint64_t)1 << 32) * (((uint64_t)1 << shift) - n)) / n + 1);
    nest->shift[d] = (uint8_t)shift;
  }
}

template <int N> ln_nest<N> ln_nest_of(int ndim, const int64_t *shape, const int64_t *const (&stride)[N]) {
  ln_nest<N> nest;
  memset(&nest, 0, sizeof nest);
  nest.ndim = ndim;
  for (int d = 0; d < ndim; d++) {
    nest.shape[d] = shape[d];
    for (int k = 0; k < N; k++) nest.stride[k][d] = stride[k][d];
  }
  ln_nest_finish(&nest);
  return nest;
}

/* Of the first N operands of a loop. */
template <int N> ln_nest<N> ln_nest_of(const ln_loop *loop, int first = 0) {
  const int64_t *stride[N];
  for (int k = 0; k < N; k++) stride[k] = loop->stride[first + k];
  return ln_nest_of<N>(loop->ndim, loop->shape, stride);
}

/* Declares what a program over the nest may count on: the number of dims up to 4, above that it is read. */
template <int N> void ln_fix_nest(ln_fixed *fixed, const ln_nest<N> &nest) {
  if (nest.ndim <= 4) fixed->with(LN_FIX_NDIM, nest.ndim);
  if (nest.ndim > 1) fixed->with(LN_FIX_WIDE, nest.wide);
}

#endif
