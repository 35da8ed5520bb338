/* conv.cu - convolutions of 1 to 3 dimensions: cuDNN, and plain functors for what the library does not take. */
#include "element.h"

namespace cuda::conv {

struct plan {
  ln_conv c;
  ln_spatial s;
  int64_t ws[5];        /* of w: o, c of the group, then the dims; in elements */
  int64_t cg, og, taps; /* channels of a group, in and out; taps of the kernel */
  LN_DEVICE int type() const { return LN_FIXED(DTYPE_0, c.dtype); }
  LN_DEVICE int item() const { return ln_gpu_size_of(type()); }
};

#ifdef LN_HOST_CODE
static plan plan_of(const ln_conv *c) {
  plan p;
  p.c = *c;
  LN_SPATIAL_OF(&p.s, c);
  ln_spatial_strides(c->spatial, c->w_stride, p.ws);
  p.cg = c->c / c->groups;
  p.og = c->o / c->groups;
  p.taps = p.s.kernel[0] * p.s.kernel[1] * p.s.kernel[2];
  return p;
}
#endif

LN_DEVICE void tap_of(const plan &p, int64_t t, int64_t tap[3]) {
  for (int d = 2; d >= 0; d--) {
    tap[d] = t % p.s.kernel[d];
    t /= p.s.kernel[d];
  }
}

/* Byte offset of the input element that output position `out` meets at a tap, without channel; -1 in the padding. */
LN_DEVICE int64_t input_of(const plan &p, const int64_t *out, const int64_t *tap) {
  int64_t offset = 0;
  for (int d = 0; d < 3; d++) {
    int64_t at = out[d] * p.s.stride[d] - p.s.padding[d] + tap[d] * p.s.dilation[d];
    if (at < 0 || at >= p.s.in[d]) return -1;
    offset += at * p.s.xs[2 + d];
  }
  return offset * p.item();
}

LN_DEVICE int64_t weight_of(const plan &p, int64_t o, int64_t c, const int64_t *tap) { return ln_element_offset(o, c, tap, p.ws) * p.item(); }

LN_DEVICE int64_t output_of(const plan &p, int64_t n, int64_t o, const int64_t *at) { return ln_element_offset(n, o, at, p.s.ys) * p.item(); }

template <class T> struct forward {
  plan p;
  LN_DEVICE void operator()(int64_t i) const {
    const int dtype = p.type();
    ln_element y = ln_element_of(i, p.c.o, p.s.out);
    int64_t group = y.channel / p.og, tap[3];
    double sum = p.c.bias ? ln_load<T>(p.c.bias + y.channel * p.item(), dtype) : 0;
    for (int64_t t = 0; t < p.taps; t++) {
      tap_of(p, t, tap);
      int64_t at = input_of(p, y.at, tap);
      if (at < 0) continue;
      for (int64_t c = 0; c < p.cg; c++) {
        const char *x = p.c.x + at + (y.n * p.s.xs[0] + (group * p.cg + c) * p.s.xs[1]) * p.item();
        sum += (double)ln_load<T>(x, dtype) * (double)ln_load<T>(p.c.w + weight_of(p, y.channel, c, tap), dtype);
      }
    }
    ln_store<T>(p.c.y + output_of(p, y.n, y.channel, y.at), dtype, (T)sum);
  }
};

/* Gathers from the output positions whose window holds input position i. */
template <class T> struct dx {
  plan p;
  LN_DEVICE bool output_position(const ln_element &x, const int64_t *tap, int64_t *out) const {
    for (int d = 0; d < 3; d++) {
      int64_t v = x.at[d] + p.s.padding[d] - tap[d] * p.s.dilation[d];
      if (v < 0 || v % p.s.stride[d]) return false;
      out[d] = v / p.s.stride[d];
      if (out[d] >= p.s.out[d]) return false;
    }
    return true;
  }
  LN_DEVICE void operator()(int64_t i) const {
    const int dtype = p.type();
    ln_element x = ln_element_of(i, p.c.c, p.s.in);
    int64_t group = x.channel / p.cg, tap[3], out[3];
    double sum = 0;
    for (int64_t t = 0; t < p.taps; t++) {
      tap_of(p, t, tap);
      if (!output_position(x, tap, out)) continue;
      for (int64_t k = 0; k < p.og; k++) {
        int64_t o = group * p.og + k;
        sum +=
          (double)ln_load<T>(p.c.dy + output_of(p, x.n, o, out), dtype) * (double)ln_load<T>(p.c.w + weight_of(p, o, x.channel % p.cg, tap), dtype);
      }
    }
    ln_store<T>(p.c.y + ln_element_offset(x.n, x.channel, x.at, p.s.xs) * p.item(), dtype, (T)sum);
  }
};

/* Row: one weight; its team sums over images and output positions. */
template <class T> struct dw {
  plan p;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const int dtype = p.type();
    ln_element w = ln_element_of(row, p.cg, p.s.kernel); /* n: the output channel */
    int64_t plane = p.s.out[0] * p.s.out[1] * p.s.out[2], channel = w.n / p.og * p.cg + w.channel;
    double sum = 0;
    for (int64_t i = team.rank(); i < p.c.n * plane; i += team.size()) {
      ln_element y = ln_element_of(i, 1, p.s.out);
      int64_t at = input_of(p, y.at, w.at);
      if (at < 0) continue;
      sum += (double)ln_load<T>(p.c.x + at + (y.n * p.s.xs[0] + channel * p.s.xs[1]) * p.item(), dtype) *
             (double)ln_load<T>(p.c.dy + output_of(p, y.n, w.n, y.at), dtype);
    }
    sum = team.all(sum, ln_add());
    if (team.rank() == 0) ln_store<T>(p.c.y + weight_of(p, w.n, w.channel, w.at), dtype, (T)sum);
  }
};

/* For the library: its result with the bias added. */
template <class T> struct bias {
  ln_nest<2> nest; /* y and the values */
  char *y;
  const char *values;
  int dtype;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, dtype);
    int64_t at[2];
    nest.offsets(i, at);
    ln_store<T>(y + at[0], type, ln_load<T>(y + at[0], type) + ln_load<T>(values + at[1], type));
  }
};

} // namespace cuda::conv

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::conv;

const char *ln_gpu_conv(const ln_conv *c, int device) {
  const char *failure = NULL;
  if (ln_cudnn_conv(c, 0, device, &failure)) return failure;
  plan p = plan_of(c);
#define FORWARD(T) ln_each(device, c->n * c->o * p.s.out[0] * p.s.out[1] * p.s.out[2], forward<T>{p}, ln_fixed::dtype(c->dtype))
  LN_BY_FLOAT(c->dtype, FORWARD);
}

const char *ln_gpu_conv_dx(const ln_conv *c, int device) {
  const char *failure = NULL;
  if (ln_cudnn_conv(c, 1, device, &failure)) return failure;
  plan p = plan_of(c);
#define DX(T) ln_each(device, c->n * c->c * p.s.in[0] * p.s.in[1] * p.s.in[2], dx<T>{p}, ln_fixed::dtype(c->dtype))
  LN_BY_FLOAT(c->dtype, DX);
}

const char *ln_gpu_conv_dw(const ln_conv *c, int device) {
  const char *failure = NULL;
  if (ln_cudnn_conv(c, 2, device, &failure)) return failure;
  plan p = plan_of(c);
#define DW(T) ln_teams(device, c->o *p.cg *p.taps, c->n *p.s.out[0] * p.s.out[1] * p.s.out[2], false, dw<T>{p}, ln_fixed::dtype(c->dtype))
  LN_BY_FLOAT(c->dtype, DW);
}

const char *ln_gpu_conv_bias(const ln_conv *c, int device) {
  const int item = ln_gpu_size_of(c->dtype), ndim = c->spatial + 2;
  int64_t shape[5] = {c->n, c->o}, y[5], values[5] = {0, item, 0, 0, 0}, n = c->n * c->o;
  const int64_t *const strides[2] = {y, values};
  ln_fixed fixed = ln_fixed::dtype(c->dtype);
  for (int d = 0; d < ndim; d++) y[d] = c->y_stride[d] * item;
  for (int d = 0; d < c->spatial; d++) n *= shape[2 + d] = c->out[d];
  ln_nest<2> nest = ln_nest_of<2>(ndim, shape, strides);
  ln_fix_nest(&fixed, nest);
#define BIAS(T) ln_each(device, n, bias<T>{nest, c->y, c->bias, c->dtype}, fixed)
  LN_BY_FLOAT(c->dtype, BIAS);
}
#endif
