/* half.h - float16 and bfloat16 as bits, rounding to nearest even. Branch-free, so that loops over them vectorise. A NaN stays one, quiet and with
 * what fits of its payload: the bits are those that x86's own conversions give. */
#ifndef LUNETTE_HALF_H
#define LUNETTE_HALF_H

#include "inline.h"

#include <stdint.h>
#include <string.h>

LN_INLINE float ln_bits_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

LN_INLINE uint32_t ln_float_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

LN_INLINE float ln_from_bfloat(uint16_t h) { return ln_bits_float((uint32_t)h << 16); }

LN_INLINE uint16_t ln_to_bfloat(float f) {
  uint32_t bits = ln_float_bits(f);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (uint16_t)(f != f ? (bits >> 16) | 0x40 : rounded);
}

/* Subnormals come out of the multiplication by 2^112, which is exact. */
LN_INLINE float ln_from_half(uint16_t h) {
  uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
  float value = ln_bits_float(magnitude) * 0x1p112f;
  uint32_t bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : ln_float_bits(value);
  bits = magnitude > 0x0f800000u ? bits | 0x400000u : bits;
  return ln_bits_float(bits | (uint32_t)(h & 0x8000) << 16);
}

LN_INLINE uint16_t ln_to_half(float f) {
  uint32_t bits = ln_float_bits(f), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  /* normal: drop 13 bits, ties to even; subnormal: adding 0.5 lets the float unit round at the right bit */
  uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  uint32_t small = ln_float_bits(ln_bits_float(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t result = magnitude < 0x38800000u ? small : normal;
  result = magnitude >= 0x477ff000u ? 0x7c00 : result;
  result = magnitude > 0x7f800000u ? 0x7e00 | ((magnitude >> 13) & 0x1ff) : result;
  return (uint16_t)(sign | result);
}

#endif
