/* philox.h - the counter-based generator Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) and the
 * distributions drawn from it. C and CUDA C++ read the same text, compiled without fused multiply-add and without libm but for the square root, so that a seed gives the
 * same bits on every device: number i of a reservation that begins at `offset` is a function of (seed, offset + i) alone. */
#ifndef LUNETTE_PHILOX_H
#define LUNETTE_PHILOX_H

#include "inline.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct ln_philox {
  uint32_t v[4];
} ln_philox;

LN_INLINE ln_philox ln_philox_block(uint64_t seed, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32), c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  ln_philox r;
  r.v[0] = c0;
  r.v[1] = c1;
  r.v[2] = c2;
  r.v[3] = c3;
  return r;
}

/* 64 random bits of number i: two numbers share a block. */
LN_INLINE uint64_t ln_draw_bits(uint64_t seed, uint64_t i) {
  ln_philox b = ln_philox_block(seed, i >> 1, 0);
  return i & 1 ? ((uint64_t)b.v[3] << 32 | b.v[2]) : ((uint64_t)b.v[1] << 32 | b.v[0]);
}

/* [0, 1) from 24 bits, which float32 holds exactly, or from 53. */
LN_INLINE double ln_draw_unit(uint64_t bits, int wide) { return wide ? (double)(bits >> 11) * 0x1p-53 : (double)(bits >> 40) * 0x1p-24; }

/* The natural logarithm of x in (0, 1], by argument reduction and the series of 2 artanh; about 1 ulp. */
LN_INLINE double ln_draw_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int exponent = (int)(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull;
  memcpy(&x, &bits, sizeof x);
  if (x > 1.4142135623730951) {
    x = x * 0.5;
    exponent = exponent + 1;
  }
  double s = (x - 1.0) / (x + 1.0), z = s * s, sum = 1.0 / 21;
  sum = ((((sum * z + 1.0 / 19) * z + 1.0 / 17) * z + 1.0 / 15) * z + 1.0 / 13) * z + 1.0 / 11;
  sum = ((((sum * z + 1.0 / 9) * z + 1.0 / 7) * z + 1.0 / 5) * z + 1.0 / 3) * z + 1.0;
  return 2.0 * s * sum + (double)exponent * 0.6931471805599453;
}

/* The cosine of 2 pi u, u in [0, 1): reduced to an eighth of a turn, then a series. */
LN_INLINE double ln_draw_cos_turn(double u) {
  double v = u < 0.5 ? u : 1.0 - u; /* [0, 1/2] */
  int negative = v > 0.25;
  if (negative) v = 0.5 - v; /* [0, 1/4] */
  int swap = v > 0.125;
  double t = (swap ? 0.25 - v : v) * 6.283185307179586, z = t * t, c;
  if (swap)
    c = t * (1.0 + z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800 + z * (1.0 / 6227020800.0)))))));
  else
    c =
      1.0 + z * (-1.0 / 2 +
                 z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * (1.0 / 479001600.0 + z * (-1.0 / 87178291200.0)))))));
  return negative ? -c : c;
}

/* Two standard normal numbers (Box and Muller) of a block of their own. The square root is IEEE's, alike everywhere. */
LN_INLINE void ln_draw_normals(uint64_t seed, uint64_t pair, double *out) {
  ln_philox b = ln_philox_block(seed, pair, 1);
  double u = ((double)(((uint64_t)b.v[1] << 32 | b.v[0]) >> 11) + 1.0) * 0x1p-53; /* (0, 1] */
  double turn = (double)(((uint64_t)b.v[3] << 32 | b.v[2]) >> 11) * 0x1p-53;
  double square = -2.0 * ln_draw_log(u), radius = sqrt(square > 0 ? square : 0.0);
  out[0] = radius * ln_draw_cos_turn(turn);
  out[1] = radius * ln_draw_cos_turn(turn < 0.25 ? turn + 0.75 : turn - 0.25); /* the sine */
}

LN_INLINE double ln_draw_normal(uint64_t seed, uint64_t i) {
  double two[2];
  ln_draw_normals(seed, i >> 1, two);
  return two[i & 1];
}

/* A whole number in [0, range): the high half of a product, biased by less than range / 2^64. */
LN_INLINE uint64_t ln_draw_below(uint64_t bits, uint64_t range) {
  uint64_t a = bits >> 32, b = bits & 0xffffffffu, c = range >> 32, d = range & 0xffffffffu;
  uint64_t low = b * d, mid1 = a * d + (low >> 32), mid2 = b * c + (mid1 & 0xffffffffu);
  return a * c + (mid1 >> 32) + (mid2 >> 32);
}

#endif
