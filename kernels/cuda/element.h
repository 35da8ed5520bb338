/* element.h - elements of [n, channels, three dims], for convolution and pooling. */
#ifndef LUNETTE_CUDA_ELEMENT_H
#define LUNETTE_CUDA_ELEMENT_H

#include "../spatial.h"
#include "cuda.h"

struct ln_element {
  int64_t n, channel, at[3];
};

/* Element i in row-major order. */
LN_DEVICE ln_element ln_element_of(int64_t i, int64_t channels, const int64_t *dims) {
  ln_element r;
  for (int d = 2; d >= 0; d--) {
    r.at[d] = i % dims[d];
    i /= dims[d];
  }
  r.channel = i % channels;
  r.n = i / channels;
  return r;
}

LN_DEVICE int64_t ln_element_offset(int64_t n, int64_t channel, const int64_t *at, const int64_t *stride) {
  return n * stride[0] + channel * stride[1] + at[0] * stride[2] + at[1] * stride[3] + at[2] * stride[4];
}

#endif
