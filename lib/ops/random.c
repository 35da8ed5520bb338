/* random.c - tensors filled with random numbers, and random orders; docs/random.md describes the stream they come from. */
#include "rules.h"

#include <float.h>
#include <math.h>

static int draw(ln_call *c, ln_random draw) {
  ln_tensor *x = c->in[0];
  LN_TRY(ln_call_out(c, 0, x->shape, x->ndim, x->dtype));
  ln_tensor *y = c->out[0];
  draw.dtype = draw.kind == LN_RANDOM_INTEGER ? LN_INT64 : y->dtype;
  ln_loop_init(&draw.loop, &y, 1);
  ln_random_draw(&draw);
  return ln_kernel_status(c->name, ln_kernels_of(y->device)->random(&draw, y->device));
}

/* -- Floating numbers -- */

/* Of a floating dtype: bits of the significand, exponent of the smallest normal number as frexp counts it, largest number. */
static const struct floating {
  int digits, least;
  double most;
} floating[] =
  {[LN_FLOAT32] = {24, -125, FLT_MAX}, [LN_FLOAT64] = {53, -1021, DBL_MAX}, [LN_FLOAT16] = {11, -13, 65504}, [LN_BFLOAT16] = {8, -125, 0x1.fep127}};

/* The largest number of a floating dtype that is below x. */
static double below(double x, const struct floating *f) {
  int exponent;
  frexp(nextafter(x, -INFINITY), &exponent);
  double step = ldexp(1, (exponent > f->least ? exponent : f->least) - f->digits);
  return (ceil(x / step) - 1) * step;
}

int uniform_forward(ln_call *c) {
  SLOTS(uniform);
  double from = ln_float(c->attrs, a_from), to = ln_float(c->attrs, a_to);
  LN_TRY(ln_check_float(c->name, "the tensor", c->in[0]));
  const struct floating *f = &floating[c->in[0]->dtype];
  if (!(from <= to)) return ln_fail("uniform: from %g must not be above to %g", from, to);
  if (!(from >= -f->most && to <= f->most && to - from <= f->most))
    return ln_fail("uniform: from %g, to %g and their difference must be finite in %s", from, to, ln_dtype_name(c->in[0]->dtype));
  return draw(c, (ln_random){.kind = LN_RANDOM_UNIFORM, .a = from, .b = to, .top = fmax(from, below(to, f)), .digits = f->digits});
}

int normal_forward(ln_call *c) {
  SLOTS(normal);
  double std = ln_float(c->attrs, a_std);
  LN_TRY(ln_check_float(c->name, "the tensor", c->in[0]));
  if (!(std >= 0)) return ln_fail("normal: the standard deviation %g must not be negative", std);
  return draw(c, (ln_random){.kind = LN_RANDOM_NORMAL, .a = ln_float(c->attrs, a_mean), .b = std});
}

int bernoulli_forward(ln_call *c) {
  SLOTS(bernoulli);
  double p = ln_float(c->attrs, a_p);
  if (!(p >= 0 && p <= 1)) return ln_fail("bernoulli: the probability %g must lie between 0 and 1", p);
  return draw(c, (ln_random){.kind = LN_RANDOM_BERNOULLI, .a = p});
}

/* -- Whole numbers -- */

/* What a dtype can hold, and the largest number up to which it holds all, where a draw without an end stops. */
static const struct whole {
  int64_t least, most, exact;
} whole[LN_DTYPES] = {[LN_FLOAT32] = {INT64_MIN, INT64_MAX, 1 << 24}, [LN_FLOAT64] = {INT64_MIN, INT64_MAX, (int64_t)1 << 53},
                      [LN_FLOAT16] = {-65504, 65504, 1 << 11},        [LN_BFLOAT16] = {INT64_MIN, INT64_MAX, 1 << 8},
                      [LN_INT8] = {INT8_MIN, INT8_MAX, INT8_MAX},     [LN_INT16] = {INT16_MIN, INT16_MAX, INT16_MAX},
                      [LN_INT32] = {INT32_MIN, INT32_MAX, INT32_MAX}, [LN_INT64] = {INT64_MIN, INT64_MAX, INT64_MAX},
                      [LN_UINT8] = {0, UINT8_MAX, UINT8_MAX},         [LN_BOOL] = {0, 1, 1}};

int random_forward(ln_call *c) {
  SLOTS(random);
  int dtype = c->in[0]->dtype;
  const struct whole *w = &whole[dtype];
  int64_t from = ln_int(c->attrs, a_from), last = w->exact;
  if (ln_has(c->attrs, a_to)) {
    int64_t to = ln_int(c->attrs, a_to);
    if (from >= to) return ln_fail("random: from %lld must be below to %lld", (long long)from, (long long)to);
    last = to - 1;
  }
  if (from < w->least || last > w->most || from > last)
    return ln_fail("random: the numbers from %lld to %lld go beyond what %s holds, %lld to %lld", (long long)from, (long long)last,
                   ln_dtype_name(dtype), (long long)w->least, (long long)w->most);
  return draw(c, (ln_random){.kind = LN_RANDOM_INTEGER, .from = from, .range = (uint64_t)last - (uint64_t)from + 1});
}

/* -- Orders -- */

/* Fisher and Yates: from the last position down, each is exchanged with one that is not behind it. Drawn on the host, so that every device gets
 * the same order. */
static int shuffle(const char *op, int64_t *p, int64_t n, uint64_t seed, uint64_t offset) {
  enum { CHUNK = 512 };
  int64_t bits[CHUNK];
  ln_random r = {.kind = LN_RANDOM_INTEGER, .dtype = LN_INT64, .seed = seed, .offset = offset};
  r.loop = (ln_loop){.n_operands = 1, .ndim = 1, .dtype = {LN_INT64}, .data = {(char *)bits}, .stride = {{sizeof *bits}}};
  for (int64_t done = 0; done < n; done += CHUNK) {
    int64_t m = r.loop.numel = r.loop.shape[0] = n - done < CHUNK ? n - done : CHUNK;
    LN_TRY(ln_kernel_status(op, ln_kernels_of(LN_CPU)->random(&r, LN_CPU)));
    r.offset += CHUNK / (uint64_t)ln_random_per_block(&r);
    for (int64_t k = 0; k < m; k++) {
      int64_t i = n - 1 - done - k, j = (int64_t)((unsigned __int128)(uint64_t)bits[k] * (uint64_t)(i + 1) >> 64), swap = p[i];
      p[i] = p[j];
      p[j] = swap;
    }
  }
  return LN_OK;
}

int randperm_forward(ln_call *c) {
  SLOTS(randperm);
  int64_t n = ln_int(c->attrs, a_n);
  int device = (int)ln_int(c->attrs, a_device);
  uint64_t seed, offset;
  if (n < 0) return ln_fail("randperm: n must not be negative, got %lld", (long long)n);
  LN_TRY(ln_device_check(device));
  ln_tensor *order, *there;
  LN_TRY(ln_new(&n, 1, LN_INT64, LN_CPU, &order));
  int64_t *p = (int64_t *)order->data;
  for (int64_t i = 0; i < n; i++) p[i] = i;
  ln_random_reserve(((uint64_t)n + 1) / 2, &seed, &offset);
  int status = shuffle(c->name, p, n, seed, offset);
  if (status == LN_OK && device != LN_CPU) {
    status = ln_new(&n, 1, LN_INT64, device, &there);
    if (status == LN_OK) status = ln_copy_into(there, order);
    ln_tensor_release(order);
    order = there;
  }
  c->out[0] = order;
  return status;
}
