/* convert_typed.c - elements of any dtype into the compute type and back, for one compute type and instruction set. */
#include "../../half.h"
#include "../cpu.h"

#define LOAD(type, value)                                       \
  {                                                             \
    if (stride == (int64_t)sizeof(type)) {                      \
      const type *v = (const type *)x;                          \
      for (int64_t i = 0; i < n; i++) y[i] = (ln_t)value(v[i]); \
    } else {                                                    \
      for (int64_t i = 0; i < n; i++, x += stride) {            \
        type v;                                                 \
        memcpy(&v, x, sizeof v);                                \
        y[i] = (ln_t)value(v);                                  \
      }                                                         \
    }                                                           \
    return;                                                     \
  }
#define STORE(type, value)                                      \
  {                                                             \
    if (stride == (int64_t)sizeof(type)) {                      \
      type *v = (type *)y;                                      \
      for (int64_t i = 0; i < n; i++) v[i] = (type)value(x[i]); \
    } else {                                                    \
      for (int64_t i = 0; i < n; i++, y += stride) {            \
        type v = (type)value(x[i]);                             \
        memcpy(y, &v, sizeof v);                                \
      }                                                         \
    }                                                           \
    return;                                                     \
  }
#define SAME(v) (v)
#define TRUTH(v) ((v) != 0)
#ifdef LN_INTEGER
#define FROM_FLOAT(v) ln_whole((double)(v))
#define WHOLE(v) (v)
#else
#define FROM_FLOAT(v) (v)
#define WHOLE(v) ln_whole((double)(v))
#endif
#define FROM_HALF(v) FROM_FLOAT(ln_from_half(v))
#define FROM_BFLOAT(v) FROM_FLOAT(ln_from_bfloat(v))
#define TO_HALF(v) ln_to_half((float)(v))
#define TO_BFLOAT(v) ln_to_bfloat((float)(v))

/* Truncation towards zero; NaN and what int64 cannot hold become INT64_MIN, as x86 converts. */
static inline int64_t ln_whole(double v) { return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN; }

void LN_FN(load)(const char *x, int64_t stride, int dtype, int64_t n, void *out) {
  ln_t *restrict y = out;
  switch (dtype) {
  case LN_FLOAT32: LOAD(float, FROM_FLOAT)
  case LN_FLOAT64: LOAD(double, FROM_FLOAT)
  case LN_FLOAT16: LOAD(uint16_t, FROM_HALF)
  case LN_BFLOAT16: LOAD(uint16_t, FROM_BFLOAT)
  case LN_INT8: LOAD(int8_t, SAME)
  case LN_INT16: LOAD(int16_t, SAME)
  case LN_INT32: LOAD(int32_t, SAME)
  case LN_INT64: LOAD(int64_t, SAME)
  case LN_UINT8: LOAD(uint8_t, SAME)
  default: LOAD(uint8_t, TRUTH)
  }
}

void LN_FN(store)(char *y, int64_t stride, int dtype, int64_t n, const void *in) {
  const ln_t *restrict x = in;
  switch (dtype) {
  case LN_FLOAT32: STORE(float, SAME)
  case LN_FLOAT64: STORE(double, SAME)
  case LN_FLOAT16: STORE(uint16_t, TO_HALF)
  case LN_BFLOAT16: STORE(uint16_t, TO_BFLOAT)
  case LN_INT8: STORE(int8_t, WHOLE)
  case LN_INT16: STORE(int16_t, WHOLE)
  case LN_INT32: STORE(int32_t, WHOLE)
  case LN_INT64: STORE(int64_t, WHOLE)
  case LN_UINT8: STORE(uint8_t, WHOLE)
  default: STORE(uint8_t, TRUTH)
  }
}
