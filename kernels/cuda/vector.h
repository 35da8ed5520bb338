/* vector.h - neighbouring elements read or written in one access of up to 16 bytes. */
#ifndef LUNETTE_CUDA_VECTOR_H
#define LUNETTE_CUDA_VECTOR_H

#include "cuda.h"

#ifdef LN_HOST_CODE
enum { LN_LANES = 16 }; /* the most elements of a vector */
#else
enum { LN_LANES = LN_FIX_VECTOR > 0 ? LN_FIX_VECTOR : 1 };
#endif

/* Bytes that are read or written at once. */
template <int BYTES> struct alignas(BYTES) ln_packet { unsigned char byte[BYTES]; };
template <> struct alignas(16) ln_packet<16> { uint32_t word[4]; };
template <> struct alignas(8) ln_packet<8> { uint32_t word[2]; };
template <> struct alignas(4) ln_packet<4> { uint32_t word; };

LN_DEVICE void ln_copy_packet(void *to, const void *from, int bytes) {
  switch (bytes) {
  case 1: *(ln_packet<1> *)to = *(const ln_packet<1> *)from; return;
  case 2: *(uint16_t *)to = *(const uint16_t *)from; return;
  case 4: *(ln_packet<4> *)to = *(const ln_packet<4> *)from; return;
  case 8: *(ln_packet<8> *)to = *(const ln_packet<8> *)from; return;
  default: *(ln_packet<16> *)to = *(const ln_packet<16> *)from;
  }
}

/* The bytes of a vector of up to 16. */
struct alignas(16) ln_raw_vector {
  char byte[16];
};

/* `lanes` neighbouring elements of `item` bytes at p, aligned to their size together; unless it is `full` only `count` are there, and
 * the last ones repeat the first. */
LN_DEVICE void ln_load_raw(const char *p, int item, int lanes, bool full, int count, ln_raw_vector *v) {
  if (full) {
    ln_copy_packet(v->byte, p, lanes * item);
  } else {
    LN_UNROLL for (int l = 0; l < lanes; l++) ln_copy_packet(v->byte + l * item, p + (l < count ? l : 0) * item, item);
  }
}

LN_DEVICE void ln_store_raw(char *p, int item, int lanes, bool full, int count, const ln_raw_vector *v) {
  if (full) {
    ln_copy_packet(p, v->byte, lanes * item);
  } else {
    LN_UNROLL for (int l = 0; l < lanes; l++) if (l < count) ln_copy_packet(p + l * item, v->byte + l * item, item);
  }
}

template <class T> LN_DEVICE void ln_load_vector(const char *p, int dtype, int lanes, int count, T *v) {
  ln_raw_vector raw;
  ln_load_raw(p, ln_gpu_size_of(dtype), lanes, count == lanes, count, &raw);
  LN_UNROLL for (int l = 0; l < lanes; l++) v[l] = ln_load<T>(raw.byte + l * ln_gpu_size_of(dtype), dtype);
}

#ifdef LN_HOST_CODE
/* The most elements, a power of two up to 16 bytes of them, that lie together from p on, for rows at the given strides in bytes. */
static inline int ln_vector_fit(const char *p, int item, int ndim, const int64_t *stride) {
  int lanes = 16 / item;
  for (; lanes > 1; lanes /= 2) {
    bool fits = (uintptr_t)p % (uintptr_t)(lanes * item) == 0;
    for (int d = 0; d < ndim; d++) fits = fits && stride[d] % (lanes * item) == 0;
    if (fits) break;
  }
  return lanes;
}
#endif

#endif
