/* cuda.h - what the CUDA kernels share: elements of any dtype, positions in a nest of loops, and the two ways to run a kernel functor.
 *
 * A kernel functor is a struct whose operator() computes what belongs to one index (`ln_each`), or to one row together with a team of threads
 * (`ln_teams`). The functors of x.cu live in the namespace cuda::x. The file is read by two compilers: the host's, which makes the functor and asks for
 * its launch, and NVRTC, which compiles it for the GPU at run time (program.cpp), found by the name of its type. What stands under LN_HOST_CODE is
 * for the first alone. In the stand-in (standin.cpp) the host's compiler does both, and the specs run every functor without a GPU. */
#ifndef LUNETTE_CUDA_H
#define LUNETTE_CUDA_H

#ifdef __CUDACC_RTC__
#define LN_DEVICE __device__ __forceinline__
#define LN_UNROLL _Pragma("unroll")
#define LN_UNROLL_SOME _Pragma("unroll 4")
#else
#define LN_HOST_CODE
#define LN_DEVICE inline
#define LN_UNROLL
#define LN_UNROLL_SOME
#endif

extern "C" {
#include "../kernels.h"
}
#include "../half.h"

#include <math.h>
#include <stddef.h>

enum {
  LN_EACH_THREADS = 256, /* of a block of ln_each */
  LN_TEAM_THREADS = 256, /* the largest team */
  LN_PART = 512          /* elements that one thread or team works through in order */
};

/* -- What a program is specialised on --
 * A run-time value that a launch declares in its ln_fixed is a constant in the program compiled for it: LN_FIXED(NAME, value) is that constant
 * there, and the value everywhere else, so a functor is right, only slower, without it.
 *
 *     DTYPE_0 ...    of operand k; DTYPE_0 where there is one dtype
 *     NDIM, INNER    dims of the nest, and of the inner one of a reduction
 *     WIDE           positions need 64 bits
 *     VECTOR         elements of one memory access
 *     SPLAT          operands with one element for a whole vector, a bit each
 *     NUMBERS        operands that are a number, a bit each
 *     KIND           which of several computations */
#define LN_FIXED_NAMES(X) \
  X(DTYPE_0) X(DTYPE_1) X(DTYPE_2) X(DTYPE_3) X(DTYPE_4) X(DTYPE_5) X(NDIM) X(INNER) X(WIDE) X(VECTOR) X(SPLAT) X(NUMBERS) X(KIND)

#ifdef LN_HOST_CODE
enum ln_fixed_name {
#define LN_FIXED_ENUM(name) LN_FIX_##name,
  LN_FIXED_NAMES(LN_FIXED_ENUM)
#undef LN_FIXED_ENUM
    LN_FIX_COUNT
};
#define LN_FIXED(name, value) (value)
#else
/* program.cpp defines LN_FIX_<NAME>, as -1 where the launch left it open */
#define LN_FIXED(name, value) (LN_FIX_##name >= 0 ? LN_FIX_##name : (int)(value))
#endif

/* -- Combining two partial results -- */

struct ln_add {
  template <class V> LN_DEVICE V operator()(V a, V b) const { return a + b; }
};
/* NaN wins. */
struct ln_larger {
  template <class V> LN_DEVICE V operator()(V a, V b) const { return a != a || a > b ? a : b; }
};

/* -- Teams -- */

/* One thread: rows that are short, or so many and so close that threads of neighbouring rows read together. */
struct ln_alone {
  LN_DEVICE int rank() const { return 0; }
  LN_DEVICE int size() const { return 1; }
  LN_DEVICE void wait() const {}
  template <class V, class Combine> LN_DEVICE V all(V v, const Combine &, int = 1) const { return v; }
  template <class V, class Combine> LN_DEVICE V before(V v, V start, const Combine &combine, V *total) const {
    *total = combine(start, v);
    return start;
  }
};

#ifdef __CUDACC_RTC__
/* A block, a power of two of threads. */
struct ln_block_team {
  LN_DEVICE int rank() const { return (int)threadIdx.x; }
  LN_DEVICE int size() const { return (int)blockDim.x; }
  LN_DEVICE void wait() const { __syncthreads(); }
  /* The values of all threads, combined in a tree in the order of ranks; every thread gets the result. With `lanes` > 1 only threads whose ranks
   * are equal modulo `lanes`, a power of two, are combined. */
  template <class V, class Combine> LN_DEVICE V all(V v, const Combine &combine, int lanes = 1) const {
    __shared__ V room[LN_TEAM_THREADS];
    int rank = (int)threadIdx.x;
    __syncthreads();
    room[rank] = v;
    __syncthreads();
    for (int half = (int)blockDim.x / 2; half >= lanes; half /= 2) {
      if (rank < half) room[rank] = combine(room[rank], room[rank + half]);
      __syncthreads();
    }
    return room[rank % lanes];
  }
  /* `start` combined with the values of the threads of lower rank, in order; *total: with all of them. */
  template <class V, class Combine> LN_DEVICE V before(V v, V start, const Combine &combine, V *total) const {
    __shared__ V room[LN_TEAM_THREADS];
    int rank = (int)threadIdx.x;
    __syncthreads();
    room[rank] = v;
    __syncthreads();
    for (int step = 1; step < (int)blockDim.x; step *= 2) {
      V sum = rank >= step ? combine(room[rank - step], room[rank]) : room[rank];
      __syncthreads();
      room[rank] = sum;
      __syncthreads();
    }
    *total = combine(start, room[blockDim.x - 1]);
    return rank > 0 ? combine(start, room[rank - 1]) : start;
  }
};

/* The entry points of a program, one a functor. */
#define LN_ENTRY_EACH(entry, ...)                                                                       \
  extern "C" __global__ void __launch_bounds__(LN_EACH_THREADS) entry(int64_t n, __VA_ARGS__ functor) { \
    int64_t i = (int64_t)blockIdx.x * LN_EACH_THREADS + threadIdx.x;                                    \
    if (i < n) functor(i);                                                                              \
  }
#define LN_ENTRY_ALONE(entry, ...)                                                                      \
  extern "C" __global__ void __launch_bounds__(LN_EACH_THREADS) entry(int64_t n, __VA_ARGS__ functor) { \
    int64_t i = (int64_t)blockIdx.x * LN_EACH_THREADS + threadIdx.x;                                    \
    if (i < n) functor(i, ln_alone());                                                                  \
  }
#define LN_ENTRY_TEAM(entry, ...)                                                                       \
  extern "C" __global__ void __launch_bounds__(LN_TEAM_THREADS) entry(int64_t n, __VA_ARGS__ functor) { \
    for (int64_t row = blockIdx.x; row < n; row += gridDim.x) functor(row, ln_block_team());            \
  }
#endif

/* -- Elements -- */

/* Truncation towards zero; NaN and what int64 cannot hold become INT64_MIN, as on the CPU. */
LN_DEVICE int64_t ln_whole(double v) { return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN; }
LN_DEVICE int64_t ln_whole(float v) { return ln_whole((double)v); }
LN_DEVICE int64_t ln_whole(int64_t v) { return v; }

template <class T> LN_DEVICE T ln_of_float(double v) { return (T)v; }
template <class T> LN_DEVICE T ln_of_float(float v) { return (T)v; }
template <> LN_DEVICE int64_t ln_of_float<int64_t>(double v) { return ln_whole(v); }
template <> LN_DEVICE int64_t ln_of_float<int64_t>(float v) { return ln_whole(v); }

/* The element at p as a T, one of float, double, int64_t. */
template <class T> LN_DEVICE T ln_load(const char *p, int dtype) {
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

template <class T> LN_DEVICE void ln_store(char *p, int dtype, T v) {
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

/* v as it would be read back after being stored in a type of floats. */
template <class T> LN_DEVICE T ln_rounded(T v, int dtype) {
  switch (dtype) {
  case LN_FLOAT16: return ln_of_float<T>(ln_from_half(ln_to_half((float)v)));
  case LN_BFLOAT16: return ln_of_float<T>(ln_from_bfloat(ln_to_bfloat((float)v)));
  default: return v;
  }
}

LN_DEVICE constexpr int ln_gpu_size_of(int dtype) {
  return dtype == LN_FLOAT64 || dtype == LN_INT64                           ? 8
         : dtype == LN_FLOAT32 || dtype == LN_INT32                         ? 4
         : dtype == LN_FLOAT16 || dtype == LN_BFLOAT16 || dtype == LN_INT16 ? 2
                                                                            : 1;
}

/* -- Positions -- */

/* A nest of dims over N operands whose strides count bytes. Where positions fit into 31 bits, a division is a multiplication: for i and n below
 * 2^31, i / n = (high half of i * magic + i) >> shift (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994). */
template <int N> struct ln_nest {
  int ndim;
  bool wide;
  uint32_t magic[16];
  uint8_t shift[16];
  int64_t shape[16], stride[N][16];

  LN_DEVICE uint32_t divide(uint32_t i, int d) const { return ((uint32_t)((uint64_t)i * magic[d] >> 32) + i) >> shift[d]; }

  /* The byte offsets of logical element i. */
  LN_DEVICE void offsets(int64_t i, int64_t *at, int dims) const {
    if (dims <= 1) {
      LN_UNROLL for (int k = 0; k < N; k++) at[k] = dims ? i * stride[k][0] : 0;
    } else if (LN_FIXED(WIDE, wide)) {
      LN_UNROLL for (int k = 0; k < N; k++) at[k] = 0;
      LN_UNROLL for (int d = dims - 1; d >= 0; d--) {
        int64_t q = d ? i / shape[d] : 0, r = i - q * shape[d];
        LN_UNROLL for (int k = 0; k < N; k++) at[k] += r * stride[k][d];
        i = q;
      }
    } else {
      uint32_t rest = (uint32_t)i, sum[N];
      LN_UNROLL for (int k = 0; k < N; k++) sum[k] = 0;
      LN_UNROLL for (int d = dims - 1; d >= 0; d--) {
        uint32_t q = d ? divide(rest, d) : 0, r = rest - q * (uint32_t)shape[d];
        LN_UNROLL for (int k = 0; k < N; k++) sum[k] += r * (uint32_t)stride[k][d];
        rest = q;
      }
      LN_UNROLL for (int k = 0; k < N; k++) at[k] = (int32_t)sum[k];
    }
  }
  LN_DEVICE void offsets(int64_t i, int64_t *at) const { offsets(i, at, LN_FIXED(NDIM, ndim)); }
  LN_DEVICE int64_t offset(int64_t i) const {
    int64_t at[N];
    offsets(i, at);
    return at[0];
  }
};

#ifdef LN_HOST_CODE
#include "launch.h"
#endif

#endif
