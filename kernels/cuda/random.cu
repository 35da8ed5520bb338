/* random.cu - random numbers, dropout and arithmetic progressions. A functor makes the elements that share a block of the stream; the numbers are
 * those of the CPU, bit by bit (../philox.h). */
#include "cuda.h"

#include "../counts.h"

namespace cuda::random {

/* What the elements of a draw have in common. */
struct draw {
  ln_random r;
  int per; /* elements of a block */
  ln_draw_event event;
  ln_nest<2> nest; /* what is written; dropout: what is scaled */
  LN_DEVICE int size() const { return LN_FIXED(KIND, per); }
  LN_DEVICE ln_block128 block(int64_t i) const { return ln_philox(r.seed, r.offset + (uint64_t)i); }
  template <class T> LN_DEVICE void store(int64_t block, int k, T v) const {
    int64_t i = block * size() + k, at[2];
    if (i >= r.loop.numel) return;
    nest.offsets(i, at);
    ln_store<T>(r.loop.data[0] + at[0], LN_FIXED(DTYPE_0, r.loop.dtype[0]), v);
  }
  template <class T> LN_DEVICE void scale(int64_t block, int k, T factor) const {
    int64_t i = block * size() + k, at[2];
    if (i >= r.loop.numel) return;
    nest.offsets(i, at);
    T v = ln_load<T>(r.loop.data[1] + at[1], LN_FIXED(DTYPE_1, r.loop.dtype[1]));
    ln_store<T>(r.loop.data[0] + at[0], LN_FIXED(DTYPE_0, r.loop.dtype[0]), v * factor);
  }
};

struct integers : draw {
  LN_DEVICE void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < size(); k++) {
      uint64_t v = size() == 1    ? ln_draw_below_wide(b, r.range)
                   : r.range == 0 ? (uint64_t)b.v[2 * k + 1] << 32 | b.v[2 * k]
                                  : ln_draw_below(b.v[2 * k], b.v[2 * k + 1], r.range);
      store<int64_t>(i, k, (int64_t)((uint64_t)r.from + v));
    }
  }
};

struct uniforms : draw {
  LN_DEVICE void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < size(); k++) {
      if (size() == 2)
        store<double>(i, k, ln_draw_between_f64(ln_draw_unit_f64(b.v[2 * k], b.v[2 * k + 1]), r.a, r.b - r.a, r.top));
      else
        store<float>(i, k, ln_draw_between_f32(ln_draw_unit_f32(b.v[k], r.digits), (float)r.a, (float)(r.b - r.a), (float)r.top));
    }
  }
};

struct normals : draw {
  LN_DEVICE void operator()(int64_t i) const {
    ln_block128 b = block(i);
    if (size() == 2) {
      double z[2];
      ln_draw_normals_f64(b, &z[0], &z[1]);
      for (int k = 0; k < 2; k++) store<double>(i, k, r.a + r.b * z[k]);
    } else {
      float z[4];
      ln_draw_normals_f32(b.v[0], b.v[1], &z[0], &z[1]);
      ln_draw_normals_f32(b.v[2], b.v[3], &z[2], &z[3]);
      for (int k = 0; k < 4; k++) store<float>(i, k, (float)r.a + (float)r.b * z[k]);
    }
  }
};

struct events : draw {
  LN_DEVICE void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < 4; k++) store<int64_t>(i, k, ln_draw_happens(event, b.v[k]));
  }
};

template <class T> struct dropout : draw {
  LN_DEVICE void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < 4; k++) scale<T>(i, k, ln_draw_happens(event, b.v[k]) ? (T)r.b : 0);
  }
};

struct counts {
  ln_counts w;
  LN_DEVICE void operator()(int64_t i) const { w.y[i] = ln_draw_count(&w, i); }
};

struct progression {
  char *y;
  int dtype;
  double start, step;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, dtype);
    ln_store<double>(y + i * ln_gpu_size_of(type), type, start + (double)i * step);
  }
};

} // namespace cuda::random

#ifdef LN_HOST_CODE
#include "kernels.h"

const char *ln_gpu_random(const ln_random *r, int device) {
  using namespace cuda::random;
  const bool two = r->kind == LN_RANDOM_DROPOUT;
  const int64_t *const strides[2] = {r->loop.stride[0], r->loop.stride[two]};
  const draw d = {*r, ln_random_per_block(r), two || r->kind == LN_RANDOM_BERNOULLI ? ln_draw_event_of(r->a) : ln_draw_event{0, 0},
                  ln_nest_of<2>(r->loop.ndim, r->loop.shape, strides)};
  const int64_t blocks = (r->loop.numel + d.per - 1) / d.per;
  ln_fixed fixed = ln_fixed::dtype(r->loop.dtype[0]).with(LN_FIX_DTYPE_1, r->loop.dtype[two]).with(LN_FIX_KIND, d.per);
  ln_fix_nest(&fixed, d.nest);
  switch (r->kind) {
  case LN_RANDOM_UNIFORM: return ln_each(device, blocks, uniforms{d}, fixed);
  case LN_RANDOM_NORMAL: return ln_each(device, blocks, normals{d}, fixed);
  case LN_RANDOM_INTEGER: return ln_each(device, blocks, integers{d}, fixed);
  case LN_RANDOM_BERNOULLI: return ln_each(device, blocks, events{d}, fixed);
  default: return r->dtype == LN_FLOAT64 ? ln_each(device, blocks, dropout<double>{d}, fixed) : ln_each(device, blocks, dropout<float>{d}, fixed);
  }
}

const char *ln_gpu_counts(const ln_counts *w, int device) { return ln_each(device, w->n, cuda::random::counts{*w}); }

const char *ln_gpu_arange(const ln_arange *a, int device) {
  return ln_each(device, a->n, cuda::random::progression{a->y, a->dtype, a->start, a->step}, ln_fixed::dtype(a->dtype));
}
#endif
