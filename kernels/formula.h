/* formula.h - the closed list of functions that formulas in ops.def may call, in C and in CUDA C++. Over tensors they are the operators of
 * the same names (lib/core/program.c). Each computes in ln_t, the compute type; with LN_INTEGER those that make sense for whole numbers only.
 *
 * Include it last: it gives short names (exp, floor, pow ...) their typed meaning. */
#ifndef LUNETTE_FORMULA_H
#define LUNETTE_FORMULA_H

#include "inline.h"
#include "special.h"

#include <math.h>
#include <stdint.h>

#ifndef __CUDACC__
#pragma GCC diagnostic ignored "-Wtautological-compare" /* x != x asks for NaN; for whole numbers it is false, as meant */
#endif

#ifdef LN_HAVE_LIBMVEC
/* glibc declares its vector variants only under -ffast-math, which would lose NaN and infinities; the functions themselves keep them. */
#define LN_SIMD __attribute__((simd("notinbranch"), const))
#define LN_VECTOR(name)                \
  LN_SIMD extern float name##f(float); \
  LN_SIMD extern double name(double);
#define LN_VECTOR2(name)                      \
  LN_SIMD extern float name##f(float, float); \
  LN_SIMD extern double name(double, double);
LN_VECTOR(exp)
LN_VECTOR(expm1)
LN_VECTOR(log)
LN_VECTOR(log1p)
LN_VECTOR(log2)
LN_VECTOR(log10)
LN_VECTOR(sin)
LN_VECTOR(cos)
LN_VECTOR(tan)
LN_VECTOR(atan)
LN_VECTOR(tanh)
LN_VECTOR(erf)
LN_VECTOR(acos)
LN_VECTOR(asin)
LN_VECTOR(sinh)
LN_VECTOR(cosh)
LN_VECTOR(acosh)
LN_VECTOR(asinh)
LN_VECTOR(atanh)
LN_VECTOR(exp2)
LN_VECTOR(erfc)
LN_VECTOR2(pow)
LN_VECTOR2(atan2)
LN_VECTOR2(hypot)
#endif

/* With multiply-adds our own erf of float is faster than glibc's vectors; where those are missing it lets loops become vectors at all. */
#if !defined(__cplusplus) && LN_IS(LN_TYPE) == LN_IS_f32 && (defined(__FMA__) || !defined(LN_HAVE_LIBMVEC))
#define LN_OWN_ERF
#endif

#define K(n) ((ln_t)(n))
/* Conditions are as wide as the values, so that loops over both vectorise. */
#define gt(a, b) ((ln_truth)((a) > (b)))
#define ge(a, b) ((ln_truth)((a) >= (b)))
#define lt(a, b) ((ln_truth)((a) < (b)))
#define le(a, b) ((ln_truth)((a) <= (b)))
#define eq(a, b) ((ln_truth)((a) == (b)))
#define ne(a, b) ((ln_truth)((a) != (b)))
#define both(p, q) ((ln_truth)((p) & (q)))
#define either(p, q) ((ln_truth)((p) | (q)))
#ifndef LN_BYTE
/* A function, so that both values are computed and the loop stays free of branches. */
LN_INLINE ln_t where(ln_truth p, ln_t a, ln_t b) { return p ? a : b; }
LN_INLINE ln_t maximum(ln_t a, ln_t b) { return ((a > b) | (a != a)) ? a : b; }
LN_INLINE ln_t minimum(ln_t a, ln_t b) { return ((a < b) | (a != a)) ? a : b; }
LN_INLINE ln_t sign(ln_t x) { return (ln_t)(x > 0) - (ln_t)(x < 0); }
#endif

#ifdef LN_BYTE

#undef isinf
#undef isfinite
#define isinf(x) ((x) != (x))
#define isfinite(x) ((x) == (x))
#define is_negative(x) ((x) != (x))

#elif defined(LN_INTEGER)

LN_INLINE ln_t ln_attr(double v) { return v >= 9223372036854775807.0 ? INT64_MAX : v <= -9223372036854775807.0 ? INT64_MIN : (ln_t)v; }
LN_INLINE ln_t ln_abs(ln_t x) { return x < 0 ? -x : x; }
/* The caller has refused a zero divisor; -1 is taken apart because INT64_MIN / -1 traps. */
LN_INLINE ln_t floordiv(ln_t a, ln_t b) {
  if (b == -1 || b == 0) return b ? -a : 0;
  ln_t q = a / b;
  return q - ((a % b != 0) & ((a < 0) != (b < 0)));
}
LN_INLINE ln_t modulo(ln_t a, ln_t b) {
  if (b == -1 || b == 0) return 0;
  ln_t r = a % b;
  return r + (((r != 0) & ((r < 0) != (b < 0))) ? b : 0);
}
LN_INLINE ln_t ln_pow(ln_t a, ln_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
  ln_t y = 1;
  for (; b; b >>= 1, a *= a)
    if (b & 1) y *= a;
  return y;
}
/* As C divides, towards zero. */
LN_INLINE ln_t div_trunc(ln_t a, ln_t b) { return b == -1 || b == 0 ? b * a : a / b; }
LN_INLINE ln_t ln_fmod(ln_t a, ln_t b) { return b == -1 || b == 0 ? 0 : a % b; }
LN_INLINE ln_t bit_and(ln_t a, ln_t b) { return a & b; }
LN_INLINE ln_t bit_or(ln_t a, ln_t b) { return a | b; }
LN_INLINE ln_t bit_xor(ln_t a, ln_t b) { return a ^ b; }
/* A number of places that no number has moves all bits out. */
LN_INLINE ln_t shift_left(ln_t a, ln_t b) { return b < 0 || b > 63 ? 0 : (ln_t)((uint64_t)a << b); }
LN_INLINE ln_t shift_right(ln_t a, ln_t b) { return a >> (b < 0 || b > 63 ? 63 : b); }
LN_INLINE ln_t gcd(ln_t a, ln_t b) {
  while (b) {
    ln_t rest = b == -1 ? 0 : a % b;
    a = b;
    b = rest;
  }
  return ln_abs(a);
}
LN_INLINE ln_t lcm(ln_t a, ln_t b) { return a == 0 || b == 0 ? 0 : ln_abs(div_trunc(a, gcd(a, b)) * b); }
#define abs(x) ln_abs(x)
#define fmod(a, b) ln_fmod(a, b)
#define pow(a, b) ln_pow(a, b)
#define is_negative(x) ((x) < 0)
#define floor(x) (x)
#define ceil(x) (x)
#define round(x) (x)
#define trunc(x) (x)
#undef isinf
#undef isfinite
#define isinf(x) ((x) != (x))
#define isfinite(x) ((x) == (x))

#else

LN_INLINE ln_t ln_attr(double v) { return (ln_t)v; }
#ifdef __cplusplus
#define LN_M(name) name /* C++ overloads by argument type */
#elif LN_IS(LN_TYPE) == LN_IS_f32
#define LN_M(name) name##f
#else
#define LN_M(name) name
#endif
#undef isinf
#undef isfinite
#define isinf(x) (LN_M(fabs)(x) == (ln_t)INFINITY)
#define isfinite(x) (LN_M(fabs)(x) < (ln_t)INFINITY)
LN_INLINE ln_t sigmoid(ln_t x) { return 1 / (1 + LN_M(exp)(-x)); }
LN_INLINE ln_t softplus(ln_t x) { return maximum(x, 0) + LN_M(log1p)(LN_M(exp)(-LN_M(fabs)(x))); }
#ifdef LN_OWN_ERF
/* p * t + c, fused where the instruction set can. */
#ifdef __FMA__
#define LN_HORNER(p, t, c) __builtin_fmaf(p, t, c)
#else
#define LN_HORNER(p, t, c) ((p) * (t) + (c))
#endif
/* |x| times a quotient of polynomials in x^2, fitted to erf(x) / x up to 3.9, where erf is 1 in float; within 4e-7 of it. */
LN_INLINE float ln_erf(float x) {
  float size = LN_M(fabs)(x), a = size > 3.9f ? 3.9f : size, t = a * a;
  float p = LN_HORNER(2.0148088e-8f, t, -1.9631841e-6f);
  p = LN_HORNER(p, t, 1.4059627e-4f);
  p = LN_HORNER(p, t, 3.6321860e-3f);
  p = LN_HORNER(p, t, 5.0344631e-2f);
  p = LN_HORNER(p, t, 1.9817999e-1f);
  p = LN_HORNER(p, t, 1.1283791f);
  float q = LN_HORNER(9.4055536e-4f, t, 1.4207674e-2f);
  q = LN_HORNER(q, t, 1.1427996e-1f);
  q = LN_HORNER(q, t, 5.0896418e-1f);
  q = LN_HORNER(q, t, 1.0f);
  float y = a * p / q;
  return LN_M(copysign)(y > 1 ? 1 : y, x);
}
#endif
LN_INLINE ln_t modulo(ln_t a, ln_t b) {
  ln_t r = LN_M(fmod)(a, b);
  return ((r != 0) & ((r < 0) != (b < 0))) ? r + b : r;
}
/* As Python divides: a - modulo(a, b) is a whole multiple of b, rounded to the nearest whole number. */
LN_INLINE ln_t floordiv(ln_t a, ln_t b) {
  ln_t r = LN_M(fmod)(a, b), q = (a - r) / b;
  if (b == 0) return a / b;
  q -= (ln_t)((r != 0) & ((r < 0) != (b < 0)));
  ln_t whole = LN_M(floor)(q);
  return q == 0 ? LN_M(copysign)((ln_t)0, a / b) : whole + (ln_t)(q - whole > (ln_t)0.5);
}
LN_INLINE ln_t div_trunc(ln_t a, ln_t b) { return LN_M(trunc)(a / b); }
LN_INLINE ln_truth is_negative(ln_t x) { return LN_M(copysign)((ln_t)1, x) < 0; }
LN_INLINE ln_t sinc(ln_t x) { return x == 0 ? 1 : LN_M(sin)((ln_t)LN_PI * x) / ((ln_t)LN_PI * x); }
LN_INLINE ln_t digamma(ln_t x) { return (ln_t)ln_digamma((double)x); }
LN_INLINE ln_t polygamma(ln_t n, ln_t x) { return (ln_t)ln_polygamma((double)n, (double)x); }
LN_INLINE ln_t i0(ln_t x) { return (ln_t)ln_i0((double)x); }
LN_INLINE ln_t i1(ln_t x) { return (ln_t)ln_i1((double)x); }
#if LN_IS(LN_TYPE) == LN_IS_f32
LN_INLINE ln_t inverse_erf(ln_t x) { return ln_erfinv_f32(x); }
LN_INLINE ln_t towards(ln_t a, ln_t b, ln_t digits, ln_t least) { return ln_towards_f32(a, b, (int)digits, (int)least); }
#else
LN_INLINE ln_t inverse_erf(ln_t x) { return ln_erfinv(x); }
LN_INLINE ln_t towards(ln_t a, ln_t b, ln_t digits, ln_t least) {
  (void)digits, (void)least;
  return nextafter(a, b);
}
#endif
#ifndef __cplusplus
#define acos(x) LN_M(acos)(x)
#define asin(x) LN_M(asin)(x)
#define sinh(x) LN_M(sinh)(x)
#define cosh(x) LN_M(cosh)(x)
#define acosh(x) LN_M(acosh)(x)
#define asinh(x) LN_M(asinh)(x)
#define atanh(x) LN_M(atanh)(x)
#define exp2(x) LN_M(exp2)(x)
#define erfc(x) LN_M(erfc)(x)
#define lgamma(x) LN_M(lgamma)(x)
#define hypot(a, b) LN_M(hypot)(a, b)
#define fmod(a, b) LN_M(fmod)(a, b)
#define copysign(a, b) LN_M(copysign)(a, b)
#define exp(x) LN_M(exp)(x)
#define expm1(x) LN_M(expm1)(x)
#define log(x) LN_M(log)(x)
#define log1p(x) LN_M(log1p)(x)
#define log2(x) LN_M(log2)(x)
#define log10(x) LN_M(log10)(x)
#define sin(x) LN_M(sin)(x)
#define cos(x) LN_M(cos)(x)
#define tan(x) LN_M(tan)(x)
#define atan(x) LN_M(atan)(x)
#define tanh(x) LN_M(tanh)(x)
#ifdef LN_OWN_ERF
#define erf(x) ln_erf(x)
#else
#define erf(x) LN_M(erf)(x)
#endif
#define pow(a, b) LN_M(pow)(a, b)
#define atan2(a, b) LN_M(atan2)(a, b)
#define sqrt(x) LN_M(sqrt)(x)
#define floor(x) LN_M(floor)(x)
#define ceil(x) LN_M(ceil)(x)
#define trunc(x) LN_M(trunc)(x)
#endif
#define round(x) LN_M(rint)(x)
#define abs(x) LN_M(fabs)(x)

#endif
#endif
