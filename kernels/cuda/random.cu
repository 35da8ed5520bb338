/* random.cu - random numbers, dropout and arithmetic progressions. A body makes the elements that share a block of the stream; the numbers are
 * those of the CPU, bit by bit (../philox.h). */
#include "kernels.h"

#include "../philox.h"

namespace {

/* What the elements of a draw have in common. */
struct draw {
  ln_random r;
  int per; /* elements of a block */
  ln_draw_event event;
  LN_BODY ln_block128 block(int64_t i) const { return ln_philox(r.seed, r.offset + (uint64_t)i); }
  template <class T> LN_BODY void store(int64_t block, int k, T v) const {
    int64_t i = block * per + k;
    if (i < r.loop.numel) ln_store<T>(ln_place(r.loop, 0, i), r.loop.dtype[0], v);
  }
  template <class T> LN_BODY void scale(int64_t block, int k, T factor) const {
    int64_t i = block * per + k;
    if (i < r.loop.numel) ln_store<T>(ln_place(r.loop, 0, i), r.loop.dtype[0], ln_load<T>(ln_place(r.loop, 1, i), r.loop.dtype[1]) * factor);
  }
};

struct integer_body : draw {
  explicit integer_body(const draw &d) : draw(d) {}
  LN_BODY void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < per; k++) {
      uint64_t v = per == 1       ? ln_draw_below_wide(b, r.range)
                   : r.range == 0 ? (uint64_t)b.v[2 * k + 1] << 32 | b.v[2 * k]
                                  : ln_draw_below(b.v[2 * k], b.v[2 * k + 1], r.range);
      store<int64_t>(i, k, (int64_t)((uint64_t)r.from + v));
    }
  }
};

struct uniform_body : draw {
  explicit uniform_body(const draw &d) : draw(d) {}
  LN_BODY void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < per; k++) {
      if (per == 2)
        store<double>(i, k, ln_draw_between_f64(ln_draw_unit_f64(b.v[2 * k], b.v[2 * k + 1]), r.a, r.b - r.a, r.top));
      else
        store<float>(i, k, ln_draw_between_f32(ln_draw_unit_f32(b.v[k], r.digits), (float)r.a, (float)(r.b - r.a), (float)r.top));
    }
  }
};

struct normal_body : draw {
  explicit normal_body(const draw &d) : draw(d) {}
  LN_BODY void operator()(int64_t i) const {
    ln_block128 b = block(i);
    if (per == 2) {
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

struct bernoulli_body : draw {
  explicit bernoulli_body(const draw &d) : draw(d) {}
  LN_BODY void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < 4; k++) store<int64_t>(i, k, ln_draw_happens(event, b.v[k]));
  }
};

template <class T> struct dropout_body : draw {
  explicit dropout_body(const draw &d) : draw(d) {}
  LN_BODY void operator()(int64_t i) const {
    ln_block128 b = block(i);
    for (int k = 0; k < 4; k++) scale<T>(i, k, ln_draw_happens(event, b.v[k]) ? (T)r.b : 0);
  }
};

struct arange_body {
  char *y;
  int dtype, item;
  double start, step;
  LN_BODY void operator()(int64_t i) const { ln_store<double>(y + i * item, dtype, start + (double)i * step); }
};

} // namespace

const char *ln_gpu_random(const ln_random *r, int device) {
  draw d = {*r, ln_random_per_block(r), {0, 0}};
  if (r->kind == LN_RANDOM_BERNOULLI || r->kind == LN_RANDOM_DROPOUT) d.event = ln_draw_event_of(r->a);
  int64_t blocks = (r->loop.numel + d.per - 1) / d.per;
  switch (r->kind) {
  case LN_RANDOM_UNIFORM: return ln_each(device, blocks, uniform_body(d));
  case LN_RANDOM_NORMAL: return ln_each(device, blocks, normal_body(d));
  case LN_RANDOM_INTEGER: return ln_each(device, blocks, integer_body(d));
  case LN_RANDOM_BERNOULLI: return ln_each(device, blocks, bernoulli_body(d));
  default: return r->dtype == LN_FLOAT64 ? ln_each(device, blocks, dropout_body<double>(d)) : ln_each(device, blocks, dropout_body<float>(d));
  }
}

const char *ln_gpu_arange(const ln_arange *a, int device) {
  return ln_each(device, a->n, arange_body{a->y, a->dtype, ln_gpu_size_of(a->dtype), a->start, a->step});
}
