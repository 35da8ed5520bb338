/* random.cu - random numbers and arithmetic progressions: element i of the logical order is a function of its number alone, the CPU's. */
#include "kernels.h"

#include "../philox.h"

namespace {

struct integer_body {
  ln_loop loop;
  uint64_t seed, offset;
  int64_t from;
  uint64_t range;
  LN_BODY void operator()(int64_t i) const {
    int64_t v = from + (int64_t)ln_draw_below(ln_draw_bits(seed, offset + (uint64_t)i), range);
    ln_store<int64_t>(ln_place(loop, 0, i), loop.dtype[0], v);
  }
};

struct float_body {
  ln_loop loop;
  int kind;
  uint64_t seed, offset;
  double a, b;
  LN_BODY double draw(uint64_t n, bool wide) const {
    if (kind == LN_RANDOM_NORMAL) return a + b * ln_draw_normal(seed, n);
    if (kind == LN_RANDOM_BERNOULLI) return ln_draw_unit(ln_draw_bits(seed, n), 1) < a;
    double v = a + (b - a) * ln_draw_unit(ln_draw_bits(seed, n), wide);
    return !wide && (float)v >= (float)b && a < b ? a : v; /* rounding has brought it up to the open end */
  }
  LN_BODY void operator()(int64_t i) const {
    ln_store<double>(ln_place(loop, 0, i), loop.dtype[0], draw(offset + (uint64_t)i, loop.dtype[0] == LN_FLOAT64));
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
  if (r->kind != LN_RANDOM_INTEGER) return ln_each(device, r->loop.numel, float_body{r->loop, r->kind, r->seed, r->offset, r->a, r->b});
  return ln_each(device, r->loop.numel, integer_body{r->loop, r->seed, r->offset, r->low, (uint64_t)r->high - (uint64_t)r->low});
}

const char *ln_gpu_arange(const ln_arange *a, int device) {
  return ln_each(device, a->n, arange_body{a->y, a->dtype, ln_gpu_size_of(a->dtype), a->start, a->step});
}
