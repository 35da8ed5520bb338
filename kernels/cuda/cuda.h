/* cuda.h - what the CUDA kernels share: elements of any dtype, places in a nest of loops, and the two ways to run a body over indices.
 *
 * A kernel is a body: a struct whose operator() computes what belongs to one index (`each`), or to one row together with a team of threads
 * (`teams`). Nothing but this header and the files that call a library knows how a body is launched, so the same bodies compile with a C++
 * compiler for the host, where kernels/cuda/host.cpp stands in for a device: the specs run there without a GPU. */
#ifndef LUNETTE_CUDA_H
#define LUNETTE_CUDA_H

extern "C" {
#include "../kernels.h"
}
#include "../half.h"

#include <math.h>
#include <stddef.h>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define LN_BODY __device__ __forceinline__
#else
#define LN_BODY inline
#endif

/* -- The device (memory.cu; host.cpp on the host) -- */

/* Makes the device current for this thread; NULL or what failed. */
const char *ln_gpu_enter(int device);
/* Memory for the kernel that is about to run, of this thread and device, valid until the next request. */
const char *ln_gpu_scratch(int device, size_t bytes, void **out);
const char *ln_gpu_copy(void *dst, int dst_device, const void *src, int src_device, size_t bytes);
/* Sorts n pairs by key, equal keys in their order, into keys_out and values_out; keys below 2^bits. */
const char *ln_gpu_sort(int device, int64_t n, const uint64_t *keys, uint64_t *keys_out, const int64_t *values, int64_t *values_out, int bits,
                        void *room, size_t *room_bytes);
#ifdef __CUDACC__
cudaStream_t ln_gpu_stream(int device); /* this thread's on the device */
const char *ln_gpu_failure(cudaError_t error);
#else
void ln_gpu_open(void); /* device memory can be reached only between these two */
void ln_gpu_close(void);
#endif

#define LN_GPU_TRY(call)                     \
  do {                                       \
    const char *ln_gpu_answer = (call);      \
    if (ln_gpu_answer) return ln_gpu_answer; \
  } while (0)

/* -- each: body(i) for every i below n -- */

#ifdef __CUDACC__
enum { LN_EACH_THREADS = 256, LN_EACH_ITEMS = 4 };

template <class Body> __global__ void ln_each_kernel(int64_t n, Body body) {
  int64_t first = (int64_t)blockIdx.x * (LN_EACH_THREADS * LN_EACH_ITEMS) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < LN_EACH_ITEMS; k++) {
    int64_t i = first + k * LN_EACH_THREADS;
    if (i < n) body(i);
  }
}

template <class Body> const char *ln_each(int device, int64_t n, const Body &body) {
  if (n <= 0) return NULL;
  int64_t blocks = (n + LN_EACH_THREADS * LN_EACH_ITEMS - 1) / (LN_EACH_THREADS * LN_EACH_ITEMS);
  if (blocks > INT32_MAX) return "more elements than one launch takes";
  LN_GPU_TRY(ln_gpu_enter(device));
  ln_each_kernel<<<(unsigned)blocks, LN_EACH_THREADS, 0, ln_gpu_stream(device)>>>(n, body);
  return ln_gpu_failure(cudaGetLastError());
}
#else
template <class Body> const char *ln_each(int device, int64_t n, const Body &body) {
  LN_GPU_TRY(ln_gpu_enter(device));
  ln_gpu_open();
  for (int64_t i = 0; i < n; i++) body(i);
  ln_gpu_close();
  return NULL;
}
#endif

/* -- teams: body(row, team); the team's threads share the row's items -- */

/* One thread: rows that are short, or so many and so close that threads of neighbouring rows read together. */
struct ln_alone {
  LN_BODY int rank() const { return 0; }
  LN_BODY int size() const { return 1; }
  template <class V, class Meet> LN_BODY V all(V v, const Meet &) const { return v; }
};

#ifdef __CUDACC__
enum { LN_TEAM_THREADS = 256 };

/* A block, a power of two of threads. */
struct ln_block_team {
  LN_BODY int rank() const { return (int)threadIdx.x; }
  LN_BODY int size() const { return (int)blockDim.x; }
  /* The values of all threads met in a tree, in the order of ranks; every thread gets the result. */
  template <class V, class Meet> LN_BODY V all(V v, const Meet &meet) const {
    __shared__ V room[LN_TEAM_THREADS];
    __syncthreads();
    room[threadIdx.x] = v;
    __syncthreads();
    for (int half = (int)blockDim.x / 2; half; half /= 2) {
      if ((int)threadIdx.x < half) room[threadIdx.x] = meet(room[threadIdx.x], room[threadIdx.x + half]);
      __syncthreads();
    }
    return room[0];
  }
};

template <class Body> __global__ void ln_alone_kernel(int64_t rows, Body body) {
  int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (row < rows) body(row, ln_alone());
}

template <class Body> __global__ void ln_team_kernel(Body body) { body((int64_t)blockIdx.x, ln_block_team()); }

/* `items`: how long a row is; `adjacent`: neighbouring rows are neighbours in memory. */
template <class Body> const char *ln_teams(int device, int64_t rows, int64_t items, bool adjacent, const Body &body) {
  if (rows <= 0) return NULL;
  if (rows > INT32_MAX) return "more rows than one launch takes";
  LN_GPU_TRY(ln_gpu_enter(device));
  if (items <= 32 || (adjacent && rows >= 16384)) {
    ln_alone_kernel<<<(unsigned)((rows + 127) / 128), 128, 0, ln_gpu_stream(device)>>>(rows, body);
  } else {
    unsigned threads = 32;
    while (threads < LN_TEAM_THREADS && threads * 4 < items) threads *= 2;
    ln_team_kernel<<<(unsigned)rows, threads, 0, ln_gpu_stream(device)>>>(body);
  }
  return ln_gpu_failure(cudaGetLastError());
}
#else
template <class Body> const char *ln_teams(int device, int64_t rows, int64_t, bool, const Body &body) {
  LN_GPU_TRY(ln_gpu_enter(device));
  ln_gpu_open();
  for (int64_t i = 0; i < rows; i++) body(i, ln_alone());
  ln_gpu_close();
  return NULL;
}
#endif

struct ln_meet_sum {
  template <class V> LN_BODY V operator()(V a, V b) const { return a + b; }
};
/* NaN wins. */
struct ln_meet_max {
  template <class V> LN_BODY V operator()(V a, V b) const { return a != a || a > b ? a : b; }
};

/* -- Elements -- */

/* Truncation towards zero; NaN and what int64 cannot hold become INT64_MIN, as on the CPU. */
LN_BODY int64_t ln_whole(double v) { return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN; }
LN_BODY int64_t ln_whole(int64_t v) { return v; }

template <class T> LN_BODY T ln_of_float(double v) { return (T)v; }
template <> LN_BODY int64_t ln_of_float<int64_t>(double v) { return ln_whole(v); }

/* The element at p as a T, one of float, double, int64_t. */
template <class T> LN_BODY T ln_load(const char *p, int dtype) {
  switch (dtype) {
  case LN_FLOAT32: return ln_of_float<T>(*(const float *)p);
  case LN_FLOAT64: return ln_of_float<T>(*(const double *)p);
  case LN_FLOAT16: return ln_of_float<T>(ln_from_half(*(const uint16_t *)p));
  case LN_BFLOAT16: return ln_of_float<T>(ln_from_bfloat(*(const uint16_t *)p));
  case LN_INT8: return (T) * (const int8_t *)p;
  case LN_INT16: return (T) * (const int16_t *)p;
  case LN_INT32: return (T) * (const int32_t *)p;
  case LN_INT64: return (T) * (const int64_t *)p;
  case LN_UINT8: return (T) * (const uint8_t *)p;
  default: return (T)(*(const uint8_t *)p != 0);
  }
}

template <class T> LN_BODY void ln_store(char *p, int dtype, T v) {
  switch (dtype) {
  case LN_FLOAT32: *(float *)p = (float)v; return;
  case LN_FLOAT64: *(double *)p = (double)v; return;
  case LN_FLOAT16: *(uint16_t *)p = ln_to_half((float)v); return;
  case LN_BFLOAT16: *(uint16_t *)p = ln_to_bfloat((float)v); return;
  case LN_INT8: *(int8_t *)p = (int8_t)ln_whole(v); return;
  case LN_INT16: *(int16_t *)p = (int16_t)ln_whole(v); return;
  case LN_INT32: *(int32_t *)p = (int32_t)ln_whole(v); return;
  case LN_INT64: *(int64_t *)p = ln_whole(v); return;
  case LN_UINT8: *(uint8_t *)p = (uint8_t)ln_whole(v); return;
  default: *(uint8_t *)p = v != 0;
  }
}
LN_BODY int64_t ln_whole(float v) { return ln_whole((double)v); }

template <class T> struct ln_dtype_of;
template <> struct ln_dtype_of<float> {
  enum { dtype = LN_FLOAT32 };
};
template <> struct ln_dtype_of<double> {
  enum { dtype = LN_FLOAT64 };
};
template <> struct ln_dtype_of<int64_t> {
  enum { dtype = LN_INT64 };
};

static inline int ln_gpu_size_of(int dtype) {
  static const uint8_t size[LN_DTYPES] = {4, 8, 2, 2, 1, 2, 4, 8, 1, 1};
  return size[dtype];
}

/* Chooses the compute type of a dtype: CALL is a macro of one type. */
#define LN_BY_FLOAT(dtype, CALL) return (dtype) == LN_FLOAT64 ? CALL(double) : CALL(float)
#define LN_BY_TYPE(dtype, CALL) return (dtype) == LN_FLOAT64 ? CALL(double) : (dtype) >= LN_INT8 ? CALL(int64_t) : CALL(float)

/* -- Places -- */

/* The byte offset of logical place i in a nest of dims. */
LN_BODY int64_t ln_offset(int64_t i, int ndim, const int64_t *shape, const int64_t *stride) {
  int64_t at = 0;
  for (int d = ndim - 1; d > 0; d--) {
    int64_t n = shape[d], q = i <= INT32_MAX && n <= INT32_MAX ? (int64_t)((uint32_t)i / (uint32_t)n) : i / n;
    at += (i - q * n) * stride[d];
    i = q;
  }
  return ndim > 0 ? at + i * stride[0] : 0;
}

LN_BODY char *ln_place(const ln_loop &loop, int operand, int64_t i) {
  return loop.data[operand] + ln_offset(i, loop.ndim, loop.shape, loop.stride[operand]);
}

#endif
