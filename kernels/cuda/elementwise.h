/* elementwise.h - a function of elements over operands of any layout and dtype, a vector of up to 16 bytes of each at a time: all loads first, then
 * the computation, then the stores. Used by the elementwise rows (pointwise.cu) and conversions (move.cu). */
#ifndef LUNETTE_CUDA_ELEMENTWISE_H
#define LUNETTE_CUDA_ELEMENTWISE_H

#include "vector.h"

LN_DEVICE int ln_fixed_dtype(int k, int dtype) {
  switch (k) {
  case 0: return LN_FIXED(DTYPE_0, dtype);
  case 1: return LN_FIXED(DTYPE_1, dtype);
  case 2: return LN_FIXED(DTYPE_2, dtype);
  case 3: return LN_FIXED(DTYPE_3, dtype);
  case 4: return LN_FIXED(DTYPE_4, dtype);
  default: return LN_FIXED(DTYPE_5, dtype);
  }
}

/* F::value(inputs, attributes) in T, for F::inputs inputs; index i is a vector of the output. */
template <class T, class F> struct ln_elementwise {
  enum { inputs = F::inputs };
  ln_nest<inputs + 1> nest; /* its last dim counts vectors */
  char *data[inputs + 1];
  int dtype[inputs + 1];
  int vector;              /* elements of a vector */
  uint32_t splat, numbers; /* operands with one element for a whole vector; operands that are a number */
  int64_t numel;
  T number[inputs];
  double at[3];

  LN_DEVICE int lanes() const { return LN_FIXED(VECTOR, vector); }
  LN_DEVICE bool is_number(int k) const { return (uint32_t)LN_FIXED(NUMBERS, numbers) >> k & 1; }
  LN_DEVICE bool is_splat(int k) const { return (uint32_t)LN_FIXED(SPLAT, splat) >> k & 1; }

  LN_DEVICE void load(const int64_t *offset, bool full, int count, ln_raw_vector *raw) const {
    LN_UNROLL for (int k = 1; k <= inputs; k++) {
      const int item = ln_gpu_size_of(ln_fixed_dtype(k, dtype[k]));
      if (is_splat(k))
        ln_copy_packet(raw[k].byte, data[k] + offset[k], item);
      else if (!is_number(k))
        ln_load_raw(data[k] + offset[k], item, lanes(), full, count, raw + k);
    }
  }
  LN_DEVICE T element(const ln_raw_vector *raw, int k, int l) const {
    const int type = ln_fixed_dtype(k, dtype[k]);
    return is_number(k) ? number[k - 1] : ln_load<T>(raw[k].byte + (is_splat(k) ? 0 : l) * ln_gpu_size_of(type), type);
  }
  LN_DEVICE void operator()(int64_t i) const {
    const int type = ln_fixed_dtype(0, dtype[0]), item = ln_gpu_size_of(type);
    const int64_t left = numel - i * lanes();
    const bool full = lanes() == 1 || left >= lanes();
    int64_t offset[inputs + 1];
    ln_raw_vector raw[inputs + 1];
    nest.offsets(i, offset);
    if (full)
      load(offset, true, lanes(), raw);
    else
      load(offset, false, (int)left, raw);
    LN_UNROLL for (int l = 0; l < lanes(); l++) {
      T in[inputs];
      LN_UNROLL for (int k = 0; k < inputs; k++) in[k] = element(raw, k + 1, l);
      ln_store<T>(raw[0].byte + l * item, type, F::value(in, at));
    }
    ln_store_raw(data[0] + offset[0], item, lanes(), full, (int)left, raw);
  }
};

#ifdef LN_HOST_CODE
/* How many elements of all operands can be moved at once. `splat` gets a bit for each operand with one element for a whole vector. */
static inline int ln_vector_of(const ln_loop *loop, uint32_t *splat) {
  const int inner = loop->ndim - 1;
  int lanes = 16;
  *splat = 0;
  for (int k = 0; k < loop->n_operands; k++) {
    const int item = ln_gpu_size_of(loop->dtype[k]);
    if (loop->scalars >> k & 1) continue;
    if (k > 0 && loop->stride[k][inner] == 0) {
      *splat |= 1u << k;
      continue;
    }
    int fit = loop->stride[k][inner] == item ? ln_vector_fit(loop->data[k], item, inner, loop->stride[k]) : 1;
    if (fit < lanes) lanes = fit;
  }
  while (inner > 0 && loop->shape[inner] % lanes) lanes /= 2;
  return lanes;
}

/* Launches Functor, an ln_elementwise<T, F>, over the loop. number[k]: of operand k + 1 where it is a scalar. */
template <class Functor, class T>
const char *ln_elementwise_run(const ln_loop *loop, const T *number, const double *at, int device, const std::type_info *const *family = NULL) {
  const int n = Functor::inputs + 1, inner = loop->ndim - 1;
  Functor f;
  ln_fixed fixed;
  memset(&f, 0, sizeof f);
  f.nest = ln_nest_of<n>(loop);
  f.vector = ln_vector_of(loop, &f.splat);
  f.numbers = loop->scalars;
  f.numel = loop->numel;
  f.nest.shape[inner] = (loop->shape[inner] + f.vector - 1) / f.vector;
  bool alike = loop->ndim == 1 && !f.splat && !f.numbers;
  for (int k = 0; k < n; k++) {
    f.data[k] = loop->data[k];
    f.dtype[k] = loop->dtype[k];
    f.nest.stride[k][inner] *= f.vector;
    if (k > 0) f.number[k - 1] = number[k - 1];
    alike = alike && loop->dtype[k] == loop->dtype[0];
  }
  for (int k = 0; k < 3; k++) f.at[k] = at[k];
  ln_nest_finish(&f.nest);
  ln_fix_nest(&fixed, f.nest);
  fixed.with(LN_FIX_VECTOR, f.vector).with(LN_FIX_SPLAT, (int)f.splat).with(LN_FIX_NUMBERS, (int)f.numbers);
  for (int k = 0; k < (alike ? LN_LOOP_OPERANDS : n); k++) fixed.with(LN_FIX_DTYPE_0 + k, loop->dtype[alike ? 0 : k]);
  return ln_each(device, loop->numel / loop->shape[inner] * f.nest.shape[inner], f, fixed, alike ? family : NULL);
}
#endif

#endif
