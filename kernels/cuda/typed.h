/* typed.h - the kernels that are compiled once per compute type: LN_TYPE is f32, f64 or i64 in their files. */
#ifndef LUNETTE_CUDA_TYPED_H
#define LUNETTE_CUDA_TYPED_H

#include "cuda.h"

const char *ln_gpu_pointwise_f32(int row, int pass, const ln_loop *loop, const double *attrs, int device);
const char *ln_gpu_pointwise_f64(int row, int pass, const ln_loop *loop, const double *attrs, int device);
const char *ln_gpu_pointwise_i64(int row, int pass, const ln_loop *loop, const double *attrs, int device);

#ifdef LN_TYPE
#define LN_PASTE_(name, type) name##_##type
#define LN_PASTE(name, type) LN_PASTE_(name, type)
#define LN_FN(name) LN_PASTE(name, LN_TYPE)
#define LN_IS_f32 1
#define LN_IS_f64 2
#define LN_IS_i64 3
#define LN_IS_(type) LN_IS_##type
#define LN_IS(type) LN_IS_(type)
#if LN_IS(LN_TYPE) == LN_IS_f32
typedef float ln_t;
#define LN_T_DTYPE LN_FLOAT32
#elif LN_IS(LN_TYPE) == LN_IS_f64
typedef double ln_t;
#define LN_T_DTYPE LN_FLOAT64
#else
typedef int64_t ln_t;
#define LN_T_DTYPE LN_INT64
#define LN_INTEGER 1
#endif
#endif

#endif
