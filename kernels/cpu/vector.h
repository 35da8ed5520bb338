/* vector.h - vectors as wide as the instruction set's, where a compiler does not find them by itself: choices between values. */
#ifndef LUNETTE_CPU_VECTOR_H
#define LUNETTE_CPU_VECTOR_H

#include "cpu.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define VECTOR_CALL(name, suffix) _mm512_##name##_##suffix
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define VECTOR_CALL(name, suffix) _mm256_##name##_##suffix
#else
#define VECTOR_BYTES 16
#define VECTOR_CALL(name, suffix) _mm_##name##_##suffix
#endif
#define VECTOR ((int)(VECTOR_BYTES / sizeof(ln_t))) /* elements */

typedef ln_t vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(ln_t)), may_alias));
typedef ln_truth truths __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(ln_t)), may_alias)); /* all bits or none */

static inline vector vector_of(ln_t v) { return v - (vector){0}; }

static inline vector choose(truths where, vector a, vector b) { return (vector)(((truths)a & where) | ((truths)b & ~where)); }

/* a where it is beyond b, else b: b where one is NaN. */
#if defined(__SSE2__) && LN_IS(LN_TYPE) == LN_IS_f32
#include <immintrin.h>
static inline vector larger(vector a, vector b) { return (vector)VECTOR_CALL(max, ps)(a, b); }
static inline vector smaller(vector a, vector b) { return (vector)VECTOR_CALL(min, ps)(a, b); }
#elif defined(__SSE2__) && LN_IS(LN_TYPE) == LN_IS_f64
#include <immintrin.h>
static inline vector larger(vector a, vector b) { return (vector)VECTOR_CALL(max, pd)(a, b); }
static inline vector smaller(vector a, vector b) { return (vector)VECTOR_CALL(min, pd)(a, b); }
#else
static inline vector larger(vector a, vector b) { return choose((truths)(a > b), a, b); }
static inline vector smaller(vector a, vector b) { return choose((truths)(a < b), a, b); }
#endif

#endif
