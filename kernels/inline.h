/* inline.h - how a function is marked that C, C++ and CUDA C++ all compile, and memory that is soon read: headers of both devices are written with it. */
#ifndef LUNETTE_INLINE_H
#define LUNETTE_INLINE_H

#ifdef __CUDACC__
#define LN_INLINE static __host__ __device__ inline
#define LN_PREFETCH(address)
#else
#define LN_INLINE static inline
#define LN_PREFETCH(address) __builtin_prefetch(address)
#endif

#endif
