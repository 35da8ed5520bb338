/* random.c - tensors filled with random numbers, and random orders; docs/random.md describes the stream they come from. */
#include "rules.h"

#include <float.h>
#include <math.h>

static void draw(ln_rule *r, ln_random work) {
  ln_tensor *x = r->in[0], *y = r_out(r, 0, x->shape, x->ndim, x->dtype);
  if (!y) return;
  work.dtype = work.kind == LN_RANDOM_INTEGER ? LN_INT64 : y->dtype;
  ln_loop_init(&work.loop, &y, 1);
  ln_random_draw(&work);
  KERNEL(r, random, &work);
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

void uniform_forward(ln_rule *r) {
  ARGS(uniform);
  double from = r_float(r, a_from), to = r_float(r, a_to);
  const struct floating *f = &floating[input->dtype];
  if (r_require(r, from <= to, "from %g must not be above to %g", from, to) &&
      r_require(r, from >= -f->most && to <= f->most && to - from <= f->most, "from %g, to %g and their difference must be finite in %s", from, to,
                ln_dtype_name(input->dtype)))
    draw(r, (ln_random){.kind = LN_RANDOM_UNIFORM, .a = from, .b = to, .top = fmax(from, below(to, f)), .digits = f->digits});
}

void normal_forward(ln_rule *r) {
  SLOTS(normal);
  double std = r_float(r, a_std);
  if (r_require(r, std >= 0, "the standard deviation %g must not be negative", std))
    draw(r, (ln_random){.kind = LN_RANDOM_NORMAL, .a = r_float(r, a_mean), .b = std});
}

void bernoulli_forward(ln_rule *r) {
  SLOTS(bernoulli);
  double p = r_float(r, a_p);
  if (r_require(r, p >= 0 && p <= 1, "the probability %g must lie between 0 and 1", p)) draw(r, (ln_random){.kind = LN_RANDOM_BERNOULLI, .a = p});
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

void random_forward(ln_rule *r) {
  ARGS(random);
  const struct whole *w = &whole[input->dtype];
  int64_t from = r_int(r, a_from), to = r_has(r, a_to) ? r_int(r, a_to) : 0, last = r_has(r, a_to) ? to - 1 : w->exact;
  if (r_require(r, !r_has(r, a_to) || from < to, "from %lld must be below to %lld", (long long)from, (long long)to) &&
      r_require(r, from >= w->least && last <= w->most && from <= last, "the numbers from %lld to %lld go beyond what %s holds, %lld to %lld",
                (long long)from, (long long)last, ln_dtype_name(input->dtype), (long long)w->least, (long long)w->most))
    draw(r, (ln_random){.kind = LN_RANDOM_INTEGER, .from = from, .range = (uint64_t)last - (uint64_t)from + 1});
}

/* -- Orders -- */

/* Fisher and Yates: from the last position down, each is exchanged with one that is not behind it. Drawn on the host, so that every device gets
 * the same order. */
static bool shuffle(ln_rule *r, int64_t *p, int64_t n, uint64_t seed, uint64_t offset) {
  enum { CHUNK = 512 };
  int64_t bits[CHUNK];
  ln_random work = {.kind = LN_RANDOM_INTEGER, .dtype = LN_INT64, .seed = seed, .offset = offset};
  work.loop = (ln_loop){.n_operands = 1, .ndim = 1, .dtype = {LN_INT64}, .data = {(char *)bits}, .stride = {{sizeof *bits}}};
  for (int64_t done = 0; done < n; done += CHUNK) {
    int64_t m = work.loop.numel = work.loop.shape[0] = n - done < CHUNK ? n - done : CHUNK;
    if (!r_kernel(r, ln_kernels_of(LN_CPU)->random(&work, LN_CPU))) return false;
    work.offset += CHUNK / (uint64_t)ln_random_per_block(&work);
    for (int64_t k = 0; k < m; k++) {
      int64_t i = n - 1 - done - k, j = (int64_t)((unsigned __int128)(uint64_t)bits[k] * (uint64_t)(i + 1) >> 64), swap = p[i];
      p[i] = p[j];
      p[j] = swap;
    }
  }
  return true;
}

void randperm_forward(ln_rule *r) {
  SLOTS(randperm);
  int64_t n = r_int(r, a_n);
  int device = (int)r_int(r, a_device);
  uint64_t seed, offset;
  if (!r_require(r, n >= 0, "n must not be negative, got %lld", (long long)n) || !r_status(r, ln_device_check(device))) return;
  ln_tensor *order = r_new(r, &n, 1, LN_INT64); /* on the host: there is no input */
  if (!order) return;
  int64_t *p = (int64_t *)order->data;
  for (int64_t i = 0; i < n; i++) p[i] = i;
  ln_random_reserve(((uint64_t)n + 1) / 2, &seed, &offset);
  if (!shuffle(r, p, n, seed, offset)) return;
  r->device = device;
  if (device == LN_CPU)
    r_result(r, 0, order);
  else
    r_copy(r, r_out(r, 0, &n, 1, LN_INT64), order);
}
