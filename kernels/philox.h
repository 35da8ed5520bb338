/* philox.h - the counter-based generator Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) and the
 * distributions drawn from it; docs/random.md says which words of the stream a number takes. C and CUDA C++ read the same text: sums, products,
 * quotients and square roots of IEEE, bit operations, no libm, compiled without fused multiply-add. So a seed gives the same bits on every
 * device and instruction set. */
#ifndef LUNETTE_PHILOX_H
#define LUNETTE_PHILOX_H

#include "inline.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* 128 bits of the stream. */
typedef struct ln_block128 {
  uint32_t v[4];
} ln_block128;

/* Block `counter` of the stream of a seed, or further bits that belong to it alone: attempts from 1 on. */
LN_INLINE ln_block128 ln_philox_again(uint64_t seed, uint64_t counter, uint32_t attempt) {
  uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = attempt, c3 = 0, k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint32_t high0 = (uint32_t)((uint64_t)0xD2511F53u * c0 >> 32), low0 = 0xD2511F53u * c0;
    uint32_t high2 = (uint32_t)((uint64_t)0xCD9E8D57u * c2 >> 32), low2 = 0xCD9E8D57u * c2;
    c0 = high2 ^ c1 ^ k0;
    c1 = low2;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  ln_block128 b = {{c0, c1, c2, c3}};
  return b;
}

LN_INLINE ln_block128 ln_philox(uint64_t seed, uint64_t counter) { return ln_philox_again(seed, counter, 0); }

LN_INLINE float ln_draw_as_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

LN_INLINE uint32_t ln_draw_as_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

LN_INLINE double ln_draw_as_double(uint64_t bits) {
  double f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

LN_INLINE uint64_t ln_draw_as_wide_bits(double f) {
  uint64_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

/* -- Uniform numbers -- */

/* [0, 1) in steps of 2^-digits: all that a type with so many significant bits, 24 at most, can hold exactly. */
LN_INLINE float ln_draw_unit_f32(uint32_t w, int digits) { return (float)(int32_t)(w >> (32 - digits)) * (1.0f / (float)(1 << digits)); }

/* [0, 1) in steps of 2^-53. */
LN_INLINE double ln_draw_unit_f64(uint32_t low, uint32_t high) {
  return ((double)(int32_t)(high >> 6) * 0x1p27 + (double)(int32_t)(low >> 5)) * 0x1p-53;
}

/* A unit number brought to [from, from + width]; `top` is the largest number that the dtype holds below the open end. */
LN_INLINE float ln_draw_between_f32(float unit, float from, float width, float top) {
  float v = from + unit * width;
  return v > top ? top : v;
}

LN_INLINE double ln_draw_between_f64(double unit, double from, double width, double top) {
  double v = from + unit * width;
  return v > top ? top : v;
}

/* -- Events: a word is below p * 2^32 -- */

typedef struct ln_draw_event {
  uint32_t last; /* the largest word that counts */
  uint32_t any;  /* 0 when none does */
} ln_draw_event;

LN_INLINE ln_draw_event ln_draw_event_of(double p) {
  uint64_t count = (uint64_t)(p * 4294967296.0 + 0.5);
  ln_draw_event e = {(uint32_t)(count - 1), count != 0};
  return e;
}

LN_INLINE int ln_draw_happens(ln_draw_event e, uint32_t w) { return (w <= e.last) & (int)e.any; }

/* -- Whole numbers in [0, range): the high half of a product, so that no probability is off by more than its 2^-32nd part -- */

/* range up to 2^32. */
LN_INLINE uint64_t ln_draw_below(uint32_t low, uint32_t high, uint64_t range) { return (high * range + (low * range >> 32)) >> 32; }

/* Any range, from 128 bits: word by word, `sum` being the product with the words so far, over 2^32 for each. */
LN_INLINE uint64_t ln_draw_below_wide(ln_block128 b, uint64_t range) {
  uint64_t sum = 0;
  for (int i = 0; i < 4; i++) {
    uint64_t low = b.v[i] * (range & 0xffffffffu), high = b.v[i] * (range >> 32);
    sum = high + (low >> 32) + (sum >> 32) + (((low & 0xffffffffu) + (sum & 0xffffffffu)) >> 32);
  }
  return sum;
}

/* -- Normal numbers, two at a time (Box and Muller): a radius from one half of the bits, an angle from the other. -- */

/* sqrt(-2 ln u), u = (w / 2 + 1/2) / 2^31. ln u is e ln 2 + ln(1 + f) with 1 + f in [2/3, 4/3); where e is 0, f comes from 1 - u,
 * which has more digits. */
LN_INLINE float ln_draw_radius_f32(uint32_t w) {
  int32_t k = (int32_t)(w >> 1);
  uint32_t bits = ln_draw_as_bits((float)k + 0.5f);
  int32_t e = (int32_t)(bits - 0x3f2aaaabu) >> 23;
  float f = ln_draw_as_float(bits - ((uint32_t)e << 23)) - 1.0f, rest = ((float)(0x7fffffff - k) + 0.5f) * 0x1p-31f;
  f = e == 31 ? -rest : f;
  float p = 0.1382023f;
  p = p * f - 0.1512218f;
  p = p * f + 0.1404231f;
  p = p * f - 0.16472326f;
  p = p * f + 0.20007919f;
  p = p * f - 0.25004238f;
  p = p * f + 0.33333266f;
  float log = f * f * (f * p - 0.5f) + f + (float)(e - 31) * 0.6931472f;
  return sqrtf(-2.0f * log);
}

/* Cosine and sine of the angle of (w + 1/2) / 2^32 turns: a quarter turn and the signed rest of at most an eighth. */
LN_INLINE void ln_draw_angle_f32(uint32_t w, float *cosine, float *sine) {
  uint32_t quarter = (w + 0x20000000u) >> 30;
  float x = ((float)(int32_t)(w - (quarter << 30)) + 0.5f) * 1.4629181e-9f, z = x * x;
  float s = x + x * z * (-0.16666655f + z * (0.008332178f + z * -0.000195173f));
  float c = 1.0f - 0.5f * z + z * z * (0.041666646f + z * (-0.0013887368f + z * 2.443845e-5f));
  uint32_t a = ln_draw_as_bits(quarter & 1 ? s : c), b = ln_draw_as_bits(quarter & 1 ? c : s);
  *cosine = ln_draw_as_float(a ^ (((quarter + 1) & 2) << 30));
  *sine = ln_draw_as_float(b ^ ((quarter & 2) << 30));
}

LN_INLINE void ln_draw_normals_f32(uint32_t w0, uint32_t w1, float *out0, float *out1) {
  float radius = ln_draw_radius_f32(w0), cosine, sine;
  ln_draw_angle_f32(w1, &cosine, &sine);
  *out0 = radius * cosine;
  *out1 = radius * sine;
}

/* The same from 53 bits; ln(1 + f) is the series of 2 artanh(f / (2 + f)). */
LN_INLINE double ln_draw_radius_f64(uint32_t low, uint32_t high) {
  int32_t kh = (int32_t)(high >> 6), kl = (int32_t)(low >> 5);
  uint64_t bits = ln_draw_as_wide_bits((double)kh * 0x1p27 + ((double)kl + 0.5));
  int32_t e = (int32_t)((uint32_t)(bits >> 32) - 0x3fe55556u) >> 20;
  double f = ln_draw_as_double(bits - ((uint64_t)(uint32_t)e << 52)) - 1.0;
  double rest = ((double)(0x3ffffff - kh) * 0x1p27 + ((double)(0x7ffffff - kl) + 0.5)) * 0x1p-53;
  f = e == 53 ? -rest : f;
  double s = f / (2.0 + f), z = s * s, sum = 1.0 / 21;
  sum = ((((sum * z + 1.0 / 19) * z + 1.0 / 17) * z + 1.0 / 15) * z + 1.0 / 13) * z + 1.0 / 11;
  sum = ((((sum * z + 1.0 / 9) * z + 1.0 / 7) * z + 1.0 / 5) * z + 1.0 / 3) * z;
  double log = 2.0 * s * sum + 2.0 * s + (double)(e - 53) * 0.6931471805599453;
  return sqrt(-2.0 * log);
}

LN_INLINE void ln_draw_angle_f64(uint32_t low, uint32_t high, double *cosine, double *sine) {
  uint32_t quarter = (high + 0x20000000u) >> 30;
  double rest = (double)(int32_t)(high - (quarter << 30)) * 0x1p27 + ((double)(int32_t)(low >> 5) + 0.5);
  double x = rest * (6.283185307179586 * 0x1p-59), z = x * x;
  double s = -1.0 / 1307674368000.0;
  s = ((((s * z + 1.0 / 6227020800.0) * z - 1.0 / 39916800) * z + 1.0 / 362880) * z - 1.0 / 5040) * z + 1.0 / 120;
  s = x + x * z * (s * z - 1.0 / 6);
  double c = 1.0 / 20922789888000.0;
  c = ((((c * z - 1.0 / 87178291200.0) * z + 1.0 / 479001600) * z - 1.0 / 3628800) * z + 1.0 / 40320) * z - 1.0 / 720;
  c = 1.0 - 0.5 * z + z * z * (c * z + 1.0 / 24);
  uint64_t a = ln_draw_as_wide_bits(quarter & 1 ? s : c), b = ln_draw_as_wide_bits(quarter & 1 ? c : s);
  *cosine = ln_draw_as_double(a ^ ((uint64_t)((quarter + 1) & 2) << 62));
  *sine = ln_draw_as_double(b ^ ((uint64_t)(quarter & 2) << 62));
}

LN_INLINE void ln_draw_normals_f64(ln_block128 b, double *out0, double *out1) {
  double radius = ln_draw_radius_f64(b.v[0], b.v[1]), cosine, sine;
  ln_draw_angle_f64(b.v[2], b.v[3], &cosine, &sine);
  *out0 = radius * cosine;
  *out1 = radius * sine;
}

#endif
