/* typed.h - the kernels that are compiled once per compute type: LN_TYPE is f32, f64 or i64 in their files. */
#ifndef LUNETTE_CUDA_TYPED_H
#define LUNETTE_CUDA_TYPED_H

#include "cuda.h"

const char *ln_gpu_pointwise_f32(const ln_pointwise *p, int device);
const char *ln_gpu_pointwise_f64(const ln_pointwise *p, int device);
const char *ln_gpu_pointwise_i64(const ln_pointwise *p, int device);

#ifdef LN_TYPE
#define LN_PASTE_(name, type) name##_##type
#define LN_PASTE(name, type) LN_PASTE_(name, type)
#define LN_FN(name) LN_PASTE(name, LN_TYPE)
#include "../type.h"
#endif

#endif
