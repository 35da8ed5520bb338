/* type.h - the compute type of a file that is compiled once for each: LN_TYPE is f32, f64, i64 or u8, ln_t the C type, LN_T_DTYPE its
 * dtype. ln_truth is an integer as wide, for 0 and 1. LN_INTEGER is defined for i64 and u8, LN_BYTE for u8, which serves bool: its values are 0 and 1. */
#ifndef LUNETTE_TYPE_H
#define LUNETTE_TYPE_H

#include "../lib/lunette.h"

#define LN_IS_f32 1
#define LN_IS_f64 2
#define LN_IS_i64 3
#define LN_IS_u8 4
#define LN_IS_(type) LN_IS_##type
#define LN_IS(type) LN_IS_(type)
#if LN_IS(LN_TYPE) == LN_IS_f32
typedef float ln_t;
typedef int32_t ln_truth;
#define LN_T_DTYPE LN_FLOAT32
#elif LN_IS(LN_TYPE) == LN_IS_f64
typedef double ln_t;
typedef int64_t ln_truth;
#define LN_T_DTYPE LN_FLOAT64
#elif LN_IS(LN_TYPE) == LN_IS_u8
typedef uint8_t ln_t;
typedef uint8_t ln_truth;
#define LN_T_DTYPE LN_BOOL
#define LN_INTEGER 1
#define LN_BYTE 1
#else
typedef int64_t ln_t;
typedef int64_t ln_truth;
#define LN_T_DTYPE LN_INT64
#define LN_INTEGER 1
#endif

#endif
