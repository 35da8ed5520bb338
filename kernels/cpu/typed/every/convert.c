/* convert.c - elements of any dtype into the compute type and back, for one compute type and instruction set. */
#include "../../../half.h"
#include "../../cpu.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

#define LOAD(type, value)                                                   \
  {                                                                         \
    for (; rows > 0; rows--, x += row_stride, y += n) {                     \
      if (stride == (int64_t)sizeof(type)) {                                \
        for (int64_t i = 0; i < n; i++) y[i] = (ln_t)value(((type *)x)[i]); \
      } else {                                                              \
        for (int64_t i = 0; i < n; i++) {                                   \
          type v;                                                           \
          memcpy(&v, x + i * stride, sizeof v);                             \
          y[i] = (ln_t)value(v);                                            \
        }                                                                   \
      }                                                                     \
    }                                                                       \
    return;                                                                 \
  }
#define STORE(type, value)                                                  \
  {                                                                         \
    for (; rows > 0; rows--, y += row_stride, x += n) {                     \
      if (stride == (int64_t)sizeof(type)) {                                \
        for (int64_t i = 0; i < n; i++) ((type *)y)[i] = (type)value(x[i]); \
      } else {                                                              \
        for (int64_t i = 0; i < n; i++) {                                   \
          type v = (type)value(x[i]);                                       \
          memcpy(y + i * stride, &v, sizeof v);                             \
        }                                                                   \
      }                                                                     \
    }                                                                       \
    return;                                                                 \
  }
#define TRUTH(v) ((v) != 0)
#ifdef LN_BYTE
#define SAME(v) TRUTH(v)
#else
#define SAME(v) (v)
#endif
#ifdef LN_BYTE
#define FROM_FLOAT(v) TRUTH(v)
#define WHOLE(v) (v)
#elif defined(LN_INTEGER)
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
#ifndef LN_BYTE
static inline int64_t ln_whole(double v) { return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (int64_t)v : INT64_MIN; }
#endif

/* -- float16 by the processor's own conversions, which agree with half.h bit by bit -- */

#if defined(__F16C__) && LN_IS(LN_TYPE) == LN_IS_f32
static void load_halves(const uint16_t *x, int64_t n, float *y) {
  int64_t i = 0;
#ifdef __AVX512F__
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + i))));
#endif
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
  for (; i < n; i++) y[i] = ln_from_half(x[i]);
}

static void store_halves(const float *x, int64_t n, uint16_t *y) {
  int64_t i = 0;
#ifdef __AVX512F__
  for (; i + 16 <= n; i += 16) _mm256_storeu_si256((__m256i *)(y + i), _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < n; i++) y[i] = ln_to_half(x[i]);
}

#define LOAD_HALVES                                                                           \
  if (stride == 2) {                                                                          \
    for (; rows > 0; rows--, x += row_stride, y += n) load_halves((const uint16_t *)x, n, y); \
    return;                                                                                   \
  }
#define STORE_HALVES                                                                     \
  if (stride == 2) {                                                                     \
    for (; rows > 0; rows--, y += row_stride, x += n) store_halves(x, n, (uint16_t *)y); \
    return;                                                                              \
  }
#else
#define LOAD_HALVES
#define STORE_HALVES
#endif

void LN_FN(load_rows)(const char *x, int64_t row_stride, int64_t stride, int dtype, int64_t rows, int64_t n, void *out) {
  ln_t *restrict y = out;
  switch (dtype) {
  case LN_FLOAT32: LOAD(float, FROM_FLOAT)
  case LN_FLOAT64: LOAD(double, FROM_FLOAT)
  case LN_FLOAT16:
    LOAD_HALVES LOAD(uint16_t, FROM_HALF) case LN_BFLOAT16 : LOAD(uint16_t, FROM_BFLOAT) case LN_INT8 : LOAD(int8_t, SAME) case LN_INT16
        : LOAD(int16_t, SAME) case LN_INT32 : LOAD(int32_t, SAME) case LN_INT64 : LOAD(int64_t, SAME) case LN_UINT8 : LOAD(uint8_t, SAME) default
        : LOAD(uint8_t, TRUTH)
  }
}

void LN_FN(store_rows)(char *y, int64_t row_stride, int64_t stride, int dtype, int64_t rows, int64_t n, const void *in) {
  const ln_t *restrict x = in;
  switch (dtype) {
  case LN_FLOAT32: STORE(float, SAME)
  case LN_FLOAT64: STORE(double, SAME)
  case LN_FLOAT16:
    STORE_HALVES STORE(uint16_t, TO_HALF) case LN_BFLOAT16 : STORE(uint16_t, TO_BFLOAT) case LN_INT8 : STORE(int8_t, WHOLE) case LN_INT16
        : STORE(int16_t, WHOLE) case LN_INT32 : STORE(int32_t, WHOLE) case LN_INT64 : STORE(int64_t, WHOLE) case LN_UINT8
        : STORE(uint8_t, WHOLE) default : STORE(uint8_t, TRUTH)
  }
}

void LN_FN(load)(const char *x, int64_t stride, int dtype, int64_t n, void *out) { LN_FN(load_rows)(x, 0, stride, dtype, 1, n, out); }

void LN_FN(store)(char *y, int64_t stride, int dtype, int64_t n, const void *in) { LN_FN(store_rows)(y, 0, stride, dtype, 1, n, in); }
