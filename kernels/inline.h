/* inline.h - how a function is marked that C, C++ and CUDA C++ all compile: headers of both devices are written with it. */
#ifndef LUNETTE_INLINE_H
#define LUNETTE_INLINE_H

#ifdef __CUDACC__
#define LN_INLINE static __host__ __device__ inline
#else
#define LN_INLINE static inline
#endif

#endif
