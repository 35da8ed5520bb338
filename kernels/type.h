/* type.h - the compute type of a file that is compiled once for each: LN_TYPE is f32, f64 or i64, ln_t the C type, LN_T_DTYPE its dtype, and
 * LN_INTEGER is defined for i64. */
#ifndef LUNETTE_TYPE_H
#define LUNETTE_TYPE_H

#include "../lib/lunette.h"

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
