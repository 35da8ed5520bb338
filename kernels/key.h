/* key.h - elements as unsigned numbers of the same order, for C and CUDA C++: NaN counts as the largest, -0 as 0. */
#ifndef LUNETTE_KEY_H
#define LUNETTE_KEY_H

#include "inline.h"

#include "kernels.h"

/* Of the bits of a floating number: `sign` is its sign's, `infinite` the bits of infinity. */
LN_INLINE uint64_t ln_key_of_bits(uint64_t bits, uint64_t sign, uint64_t infinite) {
  const uint64_t all = sign | (sign - 1), size = bits & (sign - 1);
  if (size > infinite) return all;
  if (size == 0) return sign;
  return bits & sign ? ~bits & all : bits | sign;
}

LN_INLINE uint64_t ln_key(const char *p, int dtype, bool descending) {
  uint64_t key, all = 0xffffffffu;
  switch (dtype) {
  case LN_FLOAT32: key = ln_key_of_bits(*(const uint32_t *)p, 0x80000000u, 0x7f800000u); break;
  case LN_FLOAT16: key = ln_key_of_bits(*(const uint16_t *)p, 0x8000u, 0x7c00u), all = 0xffff; break;
  case LN_BFLOAT16: key = ln_key_of_bits(*(const uint16_t *)p, 0x8000u, 0x7f80u), all = 0xffff; break;
  case LN_FLOAT64: key = ln_key_of_bits(*(const uint64_t *)p, (uint64_t)1 << 63, (uint64_t)0x7ff << 52), all = ~(uint64_t)0; break;
  case LN_INT64: key = *(const uint64_t *)p ^ (uint64_t)1 << 63, all = ~(uint64_t)0; break;
  case LN_INT32: key = *(const uint32_t *)p ^ 0x80000000u; break;
  case LN_INT16: key = *(const uint16_t *)p ^ 0x8000u, all = 0xffff; break;
  case LN_INT8: key = *(const uint8_t *)p ^ 0x80u, all = 0xff; break;
  default: key = *(const uint8_t *)p, all = 0xff;
  }
  return descending ? all - key : key;
}

/* The largest key of a dtype. */
LN_INLINE uint64_t ln_largest_key(int dtype) {
  switch (dtype) {
  case LN_FLOAT64:
  case LN_INT64: return ~(uint64_t)0;
  case LN_FLOAT32:
  case LN_INT32: return 0xffffffffu;
  case LN_FLOAT16:
  case LN_BFLOAT16:
  case LN_INT16: return 0xffff;
  default: return 0xff;
  }
}

#endif
