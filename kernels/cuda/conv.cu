/* conv.cu - convolutions of 1 to 3 dimensions: cuDNN, and plain bodies for what the library does not take. */
#include "kernels.h"

namespace {

/* The geometry with three spatial dims, the missing ones in front and of size 1. */
struct plan {
  ln_conv c;
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
  int64_t xs[5], ws[5], ys[5]; /* elements of n, c, then the dims */
  int64_t cg, og, taps;        /* channels of a group, in and out; taps of the kernel */
  int item;
};

plan plan_of(const ln_conv *c) {
  plan p;
  int lead = 3 - c->spatial;
  p.c = *c;
  for (int k = 0; k < 2; k++) p.xs[k] = c->x_stride[k], p.ws[k] = c->w_stride[k], p.ys[k] = c->y_stride[k];
  for (int d = 0; d < 3; d++) {
    bool real = d >= lead;
    int from = real ? d - lead : 0;
    p.in[d] = real ? c->in[from] : 1;
    p.out[d] = real ? c->out[from] : 1;
    p.kernel[d] = real ? c->kernel[from] : 1;
    p.stride[d] = real ? c->stride[from] : 1;
    p.padding[d] = real ? c->padding[from] : 0;
    p.dilation[d] = real ? c->dilation[from] : 1;
    p.xs[2 + d] = real ? c->x_stride[2 + from] : 0;
    p.ws[2 + d] = real ? c->w_stride[2 + from] : 0;
    p.ys[2 + d] = real ? c->y_stride[2 + from] : 0;
  }
  p.cg = c->c / c->groups;
  p.og = c->o / c->groups;
  p.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  p.item = ln_gpu_size_of(c->dtype);
  return p;
}

/* Place i of [n, channels, dims], the last dim fastest. */
struct place {
  int64_t n, channel, at[3];
};

LN_BODY place place_of(int64_t i, int64_t channels, const int64_t *dims) {
  place r;
  for (int d = 2; d >= 0; d--) {
    r.at[d] = i % dims[d];
    i /= dims[d];
  }
  r.channel = i % channels;
  r.n = i / channels;
  return r;
}

LN_BODY void tap_of(const plan &p, int64_t t, int64_t tap[3]) {
  for (int d = 2; d >= 0; d--) {
    tap[d] = t % p.kernel[d];
    t /= p.kernel[d];
  }
}

/* Byte offset of the input element that output place `out` meets at a tap, without channel; -1 in the padding. */
LN_BODY int64_t input_of(const plan &p, const int64_t *out, const int64_t *tap) {
  int64_t offset = 0;
  for (int d = 0; d < 3; d++) {
    int64_t at = out[d] * p.stride[d] - p.padding[d] + tap[d] * p.dilation[d];
    if (at < 0 || at >= p.in[d]) return -1;
    offset += at * p.xs[2 + d];
  }
  return offset * p.item;
}

LN_BODY int64_t weight_of(const plan &p, int64_t o, int64_t c, const int64_t *tap) {
  return (o * p.ws[0] + c * p.ws[1] + tap[0] * p.ws[2] + tap[1] * p.ws[3] + tap[2] * p.ws[4]) * p.item;
}

LN_BODY int64_t output_of(const plan &p, int64_t n, int64_t o, const int64_t *at) {
  return (n * p.ys[0] + o * p.ys[1] + at[0] * p.ys[2] + at[1] * p.ys[3] + at[2] * p.ys[4]) * p.item;
}

template <class T> struct forward_body {
  plan p;
  LN_BODY void operator()(int64_t i) const {
    int dtype = p.c.dtype;
    place y = place_of(i, p.c.o, p.out);
    int64_t group = y.channel / p.og, tap[3];
    double sum = p.c.bias ? ln_load<T>(p.c.bias + y.channel * p.item, dtype) : 0;
    for (int64_t t = 0; t < p.taps; t++) {
      tap_of(p, t, tap);
      int64_t at = input_of(p, y.at, tap);
      if (at < 0) continue;
      for (int64_t c = 0; c < p.cg; c++) {
        const char *x = p.c.x + at + (y.n * p.xs[0] + (group * p.cg + c) * p.xs[1]) * p.item;
        sum += (double)ln_load<T>(x, dtype) * (double)ln_load<T>(p.c.w + weight_of(p, y.channel, c, tap), dtype);
      }
    }
    ln_store<T>(p.c.y + output_of(p, y.n, y.channel, y.at), dtype, (T)sum);
  }
};

/* Gathers from the output places whose window holds input place i. */
template <class T> struct dx_body {
  plan p;
  LN_BODY bool output_place(const place &x, const int64_t *tap, int64_t *out) const {
    for (int d = 0; d < 3; d++) {
      int64_t v = x.at[d] + p.padding[d] - tap[d] * p.dilation[d];
      if (v < 0 || v % p.stride[d]) return false;
      out[d] = v / p.stride[d];
      if (out[d] >= p.out[d]) return false;
    }
    return true;
  }
  LN_BODY void operator()(int64_t i) const {
    int dtype = p.c.dtype;
    place x = place_of(i, p.c.c, p.in);
    int64_t group = x.channel / p.cg, tap[3], out[3];
    double sum = 0;
    for (int64_t t = 0; t < p.taps; t++) {
      tap_of(p, t, tap);
      if (!output_place(x, tap, out)) continue;
      for (int64_t k = 0; k < p.og; k++) {
        int64_t o = group * p.og + k;
        sum +=
          (double)ln_load<T>(p.c.dy + output_of(p, x.n, o, out), dtype) * (double)ln_load<T>(p.c.w + weight_of(p, o, x.channel % p.cg, tap), dtype);
      }
    }
    int64_t at = x.n * p.xs[0] + x.channel * p.xs[1] + x.at[0] * p.xs[2] + x.at[1] * p.xs[3] + x.at[2] * p.xs[4];
    ln_store<T>(p.c.y + at * p.item, dtype, (T)sum);
  }
};

/* Row: one weight; its team sums over images and output places. */
template <class T> struct dw_body {
  plan p;
  template <class Team> LN_BODY void operator()(int64_t row, const Team &team) const {
    int dtype = p.c.dtype;
    place w = place_of(row, p.cg, p.kernel); /* n: the output channel */
    int64_t plane = p.out[0] * p.out[1] * p.out[2], channel = w.n / p.og * p.cg + w.channel;
    double sum = 0;
    for (int64_t i = team.rank(); i < p.c.n * plane; i += team.size()) {
      place y = place_of(i, 1, p.out);
      int64_t at = input_of(p, y.at, w.at);
      if (at < 0) continue;
      sum += (double)ln_load<T>(p.c.x + at + (y.n * p.xs[0] + channel * p.xs[1]) * p.item, dtype) *
             (double)ln_load<T>(p.c.dy + output_of(p, y.n, w.n, y.at), dtype);
    }
    sum = team.all(sum, ln_meet_sum());
    if (team.rank() == 0) ln_store<T>(p.c.y + weight_of(p, w.n, w.channel, w.at), dtype, (T)sum);
  }
};

} // namespace

const char *ln_gpu_conv(const ln_conv *c, int device) {
  const char *failure = NULL;
  if (ln_cudnn_conv(c, 0, device, &failure)) return failure;
  plan p = plan_of(c);
#define FORWARD(T) ln_each(device, c->n * c->o * p.out[0] * p.out[1] * p.out[2], forward_body<T>{p})
  LN_BY_FLOAT(c->dtype, FORWARD);
}

const char *ln_gpu_conv_dx(const ln_conv *c, int device) {
  const char *failure = NULL;
  if (ln_cudnn_conv(c, 1, device, &failure)) return failure;
  plan p = plan_of(c);
#define DX(T) ln_each(device, c->n * c->c * p.in[0] * p.in[1] * p.in[2], dx_body<T>{p})
  LN_BY_FLOAT(c->dtype, DX);
}

const char *ln_gpu_conv_dw(const ln_conv *c, int device) {
  const char *failure = NULL;
  if (ln_cudnn_conv(c, 2, device, &failure)) return failure;
  plan p = plan_of(c);
#define DW(T) ln_teams(device, c->o *p.cg *p.taps, c->n *p.out[0] * p.out[1] * p.out[2], false, dw_body<T>{p})
  LN_BY_FLOAT(c->dtype, DW);
}
