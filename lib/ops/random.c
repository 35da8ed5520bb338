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

/* -- Numbers made of uniform ones, in float32 or wider. What a logarithm or a tangent rounds may differ between devices in the last digit. -- */

/* Uniform or normal numbers in the shape of in[0]. */
static ln_tensor *drawn(ln_rule *r, int op, double a, double b) {
  SLOTS(uniform); /* normal has mean and std in the same slots */
  const ln_tensor *x = r->in[0];
  ln_tensor *like = r_new(r, x->shape, x->ndim, x->dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_from, a);
  ln_attrs_float(&attrs, a_to, b);
  return like ? r_do(r, op, &like, 1, &attrs) : NULL;
}

static void give_drawn(ln_rule *r, ln_tensor *y) { r_result(r, 0, y ? r_to(r, y, r->in[0]->dtype) : NULL); }

/* log(1 - u), never infinite. */
static ln_tensor *logarithms(ln_rule *r) { return r_do1(r, LN_OP_log1p, r_do1(r, LN_OP_neg, drawn(r, LN_OP_uniform, 0, 1))); }

void exponential_forward(ln_rule *r) {
  SLOTS(exponential);
  double lambd = r_float(r, a_lambd);
  if (r_require(r, lambd > 0, "lambd must be above 0, got %g", lambd)) give_drawn(r, r_number(r, LN_OP_mul, logarithms(r), -1 / lambd));
}

void cauchy_forward(ln_rule *r) {
  SLOTS(cauchy);
  double sigma = r_float(r, a_sigma), pi = 3.141592653589793;
  if (!r_require(r, sigma > 0, "sigma must be above 0, got %g", sigma)) return;
  ln_tensor *angle = r_number(r, LN_OP_mul, r_number(r, LN_OP_sub, drawn(r, LN_OP_uniform, 0, 1), 0.5), pi);
  give_drawn(r, r_number(r, LN_OP_add, r_number(r, LN_OP_mul, r_do1(r, LN_OP_tan, angle), sigma), r_float(r, a_median)));
}

void log_normal_forward(ln_rule *r) {
  SLOTS(log_normal);
  double std = r_float(r, a_std);
  if (r_require(r, std > 0, "std must be above 0, got %g", std)) give_drawn(r, r_do1(r, LN_OP_exp, drawn(r, LN_OP_normal, r_float(r, a_mean), std)));
}

void geometric_forward(ln_rule *r) {
  SLOTS(geometric);
  double p = r_float(r, a_p);
  if (!r_require(r, p > 0 && p < 1, "the probability %g must lie between 0 and 1", p)) return;
  ln_tensor *trials = r_do1(r, LN_OP_ceil, r_number(r, LN_OP_mul, logarithms(r), 1 / log1p(-p)));
  give_drawn(r, r_number(r, LN_OP_clamp_min, trials, 1));
}

static bool all_true(ln_rule *r, ln_tensor *condition, bool *truth) {
  double number;
  int64_t whole = 0;
  ln_tensor *y = r_do1(r, LN_OP_all, condition);
  if (!y || !r_status(r, ln_tensor_item(y, &number, &whole))) return false;
  *truth = whole != 0;
  return true;
}

/* Is `condition` true of all elements? With what is wrong else. */
static bool all_hold(ln_rule *r, ln_tensor *condition, const char *wrong) {
  bool good = false;
  return all_true(r, condition, &good) && r_require(r, good, "%s", wrong);
}

/* -- Numbers whose parameters are tensors -- */

/* mean + std z: either is a tensor or, where it is NULL, a number. */
static void normals(ln_rule *r, ln_tensor *mean, double mean_number, ln_tensor *std, double std_number) {
  int64_t shape[16];
  int ndim = 0, dtype = mean && std ? ln_promote_types(mean->dtype, std->dtype) : (mean ? mean : std)->dtype;
  if (!r_require(r, std || std_number >= 0, "the standard deviation %g must not be negative", std_number) ||
      (std && !all_hold(r, r_number(r, LN_OP_ge, std, 0), "the standard deviations must not be negative")) ||
      !r_status(r, ln_broadcast(r->name, mean ? mean : std, std ? std : mean, shape, &ndim)))
    return;
  ln_tensor *room = r_new(r, shape, ndim, dtype), *z = room ? r_do1(r, LN_OP_normal, room) : NULL;
  z = std ? r_do2(r, LN_OP_mul, z, std) : r_number(r, LN_OP_mul, z, std_number);
  r_result(r, 0, mean ? r_do2(r, LN_OP_add, z, mean) : r_number(r, LN_OP_add, z, mean_number));
}

void normal_both_forward(ln_rule *r) {
  ARGS(normal_both);
  normals(r, mean, 0, std, 0);
}

void normal_mean_forward(ln_rule *r) {
  ARGS(normal_mean);
  normals(r, mean, 0, NULL, r_float(r, a_std));
}

void normal_std_forward(ln_rule *r) {
  ARGS(normal_std);
  normals(r, NULL, r_float(r, a_mean), std, 0);
}

void normal_size_forward(ln_rule *r) {
  SLOTS(normal_size);
  const int64_t *size;
  int n = r_list(r, a_size, &size), dtype = (int)r_int(r, a_dtype);
  double std = r_float(r, a_std);
  r->device = (int)r_int(r, a_device);
  if (!r_status(r, ln_device_check(r->device)) || !r_require(r, ln_is_float(dtype), "a floating dtype is needed, got %s", ln_dtype_name(dtype)) ||
      !r_require(r, std >= 0, "the standard deviation %g must not be negative", std))
    return;
  ln_tensor *room = r_new(r, size, n, dtype);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, 0, r_float(r, a_mean));
  ln_attrs_float(&attrs, 1, std);
  if (room) r_result(r, 0, r_do(r, LN_OP_normal, &room, 1, &attrs));
}

/* 1 where a uniform number of 53 bits is below p. */
static void events(ln_rule *r, ln_tensor *p) {
  const ln_tensor *x = r->in[0];
  ln_tensor *valid = r_do2(r, LN_OP_logical_and, r_number(r, LN_OP_ge, p, 0), r_number(r, LN_OP_le, p, 1));
  if (!all_hold(r, valid, "the probabilities must lie between 0 and 1")) return;
  ln_tensor *room = r_new(r, x->shape, x->ndim, LN_FLOAT64), *u = room ? r_do1(r, LN_OP_uniform, room) : NULL;
  ln_tensor *y = r_do2(r, LN_OP_lt, u, r_expand(r, r_to(r, p, LN_FLOAT64), x->shape, x->ndim));
  r_result(r, 0, y ? r_to(r, y, x->dtype) : NULL);
}

void bernoulli_of_forward(ln_rule *r) { events(r, r->in[0]); }

void bernoulli_tensor_forward(ln_rule *r) {
  ARGS(bernoulli_tensor);
  if (r_require(r, ln_is_float(p->dtype), "p must be of a floating dtype, got %s", ln_dtype_name(p->dtype))) events(r, p);
}

/* Poisson numbers, or with count those of the binomial distribution; computed in float64. */
static void counts(ln_rule *r, ln_tensor *count, ln_tensor *rate, int dtype) {
  ln_tensor *n = count ? r_dense(r, count, LN_FLOAT64) : NULL, *p = r_dense(r, rate, LN_FLOAT64);
  ln_tensor *y = r_new(r, rate->shape, rate->ndim, LN_FLOAT64);
  if (!r_ok(r)) return;
  ln_counts work = {.n = y->numel, .rate = (const double *)p->data, .y = (double *)y->data, .count = n ? (const double *)n->data : NULL};
  ln_random_reserve((uint64_t)work.n, &work.seed, &work.offset);
  if (work.n == 0 || KERNEL(r, counts, &work)) r_result(r, 0, r_to(r, y, dtype));
}

void poisson_forward(ln_rule *r) {
  ARGS(poisson);
  ln_tensor *valid = r_do2(r, LN_OP_logical_and, r_number(r, LN_OP_ge, input, 0), r_do1(r, LN_OP_isfinite, input));
  if (all_hold(r, valid, "the rates must be finite and not negative")) counts(r, NULL, input, input->dtype);
}

void binomial_forward(ln_rule *r) {
  ARGS(binomial);
  int64_t shape[16];
  int ndim = 0;
  if (!r_require(r, ln_is_float(prob->dtype), "prob must be of a floating dtype, got %s", ln_dtype_name(prob->dtype)) ||
      !r_status(r, ln_broadcast(r->name, count, prob, shape, &ndim)))
    return;
  ln_tensor *whole = r_do2(r, LN_OP_logical_and, r_number(r, LN_OP_ge, count, 0), r_do2(r, LN_OP_eq, count, r_do1(r, LN_OP_floor, count)));
  ln_tensor *finite = r_do2(r, LN_OP_logical_and, whole, r_do1(r, LN_OP_isfinite, count));
  ln_tensor *valid = r_do2(r, LN_OP_logical_and, r_number(r, LN_OP_ge, prob, 0), r_number(r, LN_OP_le, prob, 1));
  if (all_hold(r, finite, "the counts must be whole numbers from 0 on") && all_hold(r, valid, "the probabilities must lie between 0 and 1"))
    counts(r, r_expand(r, count, shape, ndim), r_expand(r, prob, shape, ndim), ln_promote_types(count->dtype, prob->dtype));
}

/* -- Indices as probable as their weights -- */

static ln_tensor *along_last(ln_rule *r, int op, ln_tensor *x, bool keepdim) {
  ln_attrs attrs;
  int64_t last = -1;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, 0, &last, 1);
  if (keepdim) ln_attrs_int(&attrs, 1, true);
  return x ? r_do(r, op, &x, 1, &attrs) : NULL;
}

/* Each row: numbers from 0 on, none of them infinite, `need` of them above 0. */
static bool check_weights(ln_rule *r, ln_tensor *x, int64_t need) {
  bool good = false;
  ln_tensor *valid = r_do2(r, LN_OP_logical_and, r_number(r, LN_OP_ge, x, 0), r_do1(r, LN_OP_isfinite, x));
  if (!all_true(r, valid, &good) || !r_require(r, good, "the weights must be finite and not negative")) return false;
  ln_tensor *enough = r_whole(r, LN_OP_ge, along_last(r, LN_OP_count_nonzero, x, false), need);
  return all_true(r, enough, &good) && r_require(r, good, "each row needs %lld weights above 0", (long long)need);
}

/* The first place whose running sum exceeds a uniform part of the whole. */
static ln_tensor *with_replacement(ln_rule *r, ln_tensor *x, int64_t count) {
  SLOTS(searchsorted);
  int64_t shape[2], n = x->shape[x->ndim - 1];
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, 0, -1);
  memcpy(shape, x->shape, sizeof *shape * (size_t)x->ndim);
  shape[x->ndim - 1] = count;
  ln_tensor *sums = r_do(r, LN_OP_cumsum, &x, 1, &attrs), *last = sums ? r_narrow(r, sums, x->ndim - 1, n - 1, 1) : NULL;
  ln_tensor *room = r_new(r, shape, x->ndim, x->dtype), *parts = room ? r_do1(r, LN_OP_uniform, room) : NULL;
  ln_tensor *const in[3] = {r_do2(r, LN_OP_div, sums, last), parts, NULL};
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_right, true);
  return in[0] && in[1] ? r_whole(r, LN_OP_clamp_max, r_do(r, LN_OP_searchsorted, in, 3, &attrs), n - 1) : NULL;
}

/* The largest of weights over exponential numbers (Efraimidis and Spirakis, 2006). */
static ln_tensor *without_replacement(ln_rule *r, ln_tensor *x, int64_t count) {
  SLOTS(topk);
  ln_tensor *pair[2], *keys = r_do2(r, LN_OP_div, x, r_do1(r, LN_OP_exponential, x));
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_k, count);
  ln_tensor *positive = r_number(r, LN_OP_gt, x, 0); /* 0 over a number that happens to be 0 */
  keys = r_where(r, positive, keys, 0, NULL, -1);
  return keys && r_do_all(r, LN_OP_topk, &keys, 1, &attrs, pair) ? pair[1] : NULL;
}

void multinomial_forward(ln_rule *r) {
  ARGS(multinomial);
  int64_t count = r_int(r, a_num_samples);
  bool again = r_bool(r, a_replacement);
  if (!r_require(r, (input->ndim == 1 || input->ndim == 2) && input->shape[input->ndim - 1] > 0,
                 "weights are a vector or a matrix of one row or more, got shape %s", ln_shape_text(input->shape, input->ndim)) ||
      !r_require(r, count > 0, "num_samples must be above 0, got %lld", (long long)count) ||
      !r_require(r, again || count <= input->shape[input->ndim - 1], "%lld samples without replacement from %lld weights", (long long)count,
                 (long long)input->shape[input->ndim - 1]))
    return;
  ln_tensor *x = input->dtype == LN_FLOAT64 ? input : r_to(r, input, LN_FLOAT32);
  if (x && check_weights(r, x, again ? 1 : count)) r_result(r, 0, again ? with_replacement(r, x, count) : without_replacement(r, x, count));
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
