/* resample.c - interpolation and means along one dim. Every mode is a band matrix: each result is a weighted sum of neighbouring elements. The rules
 * write the matrix down, transposed for the gradient, and one kernel applies it. */
#include "shape.h"

#include <math.h>
#include <stdlib.h>

enum mode { NEAREST, EXACT, LINEAR, CUBIC, AREA, LANCZOS };

typedef struct band {
  int64_t in, out, taps; /* taps: the most that a row has */
  int64_t *start, *count;
  double *weight; /* [out, taps] */
} band;

typedef struct sampling {
  int mode;
  bool align, antialias;
  int64_t in, out;
  double step; /* elements of the input from one result to the next */
} sampling;

/* -- The weights of one result -- */

static double triangle(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

/* The cubic kernel of Keys (1981) with parameter a. */
static double keys(double x, double a) {
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static int64_t held(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* sinc(x) sinc(x / 3), which ends at 3. */
static double lanczos(double x) {
  x = fabs(x) * acos(-1);
  if (x < 1e-9) return 1;
  return x < 3 * acos(-1) ? 3 * sin(x) * sin(x / 3) / (x * x) : 0;
}

static double kernel_at(int mode, double x) { return mode == CUBIC ? keys(x, -0.5) : mode == LANCZOS ? lanczos(x) : triangle(x); }

/* Where result o lies among the elements of the input. */
static double position(const sampling *s, int64_t o) { return s->align ? s->step * (double)o : s->step * ((double)o + 0.5) - 0.5; }

/* In float, as PyTorch computes it for every dtype: which element is nearest may hang on the last bit. */
static int64_t nearest(const sampling *s, int64_t o) {
  float step = (float)s->step;
  if (s->mode == EXACT) return held((int64_t)floorf(((float)o + 0.5f) * step), s->in);
  return held((int64_t)floorf((float)o * step), s->in);
}

static void area_row(const sampling *s, int64_t o, band *b) {
  int64_t low = o * s->in / s->out, high = ((o + 1) * s->in + s->out - 1) / s->out;
  b->start[o] = low;
  b->count[o] = high - low;
  for (int64_t k = 0; k < high - low; k++) b->weight[o * b->taps + k] = 1 / (double)(high - low);
}

/* Taps that the border holds back fall together. */
static void add_tap(const sampling *s, band *b, int64_t o, int64_t i, double weight) {
  i = held(i, s->in);
  if (b->count[o] == 0) b->start[o] = i;
  b->weight[o * b->taps + i - b->start[o]] += weight;
  b->count[o] = i - b->start[o] + 1;
}

static void interpolated_row(const sampling *s, int64_t o, band *b) {
  double x = s->mode == LINEAR && s->out == s->in ? (double)o : position(s, o); /* of equal sizes the scale does not count */
  if (s->mode == LINEAR && x < 0) x = 0;
  int64_t i = (int64_t)floor(x);
  if (s->mode == LINEAR && i > s->in - 1) i = s->in - 1;
  double t = x - (double)i;
  t = t < 0 ? 0 : t > 1 ? 1 : t;
  if (s->mode == CUBIC) {
    for (int k = -1; k <= 2; k++) add_tap(s, b, o, i + k, keys((double)k - t, -0.75));
  } else {
    add_tap(s, b, o, i, 1 - t);
    add_tap(s, b, o, i + 1, t);
  }
}

static double support(const sampling *s) { return (s->mode == LANCZOS ? 3 : s->mode == CUBIC ? 2 : 1) * (s->step >= 1 ? s->step : 1); }

/* Where the input is denser than the result the kernel widens, so that every element counts. */
static void antialiased_row(const sampling *s, int64_t o, band *b) {
  double centre = s->step * ((double)o + 0.5), reach = support(s), shrink = s->step >= 1 ? 1 / s->step : 1, total = 0;
  int64_t low = (int64_t)(centre - reach + 0.5), high = (int64_t)(centre + reach + 0.5);
  double *weight = b->weight + o * b->taps;
  if (low < 0) low = 0;
  if (high > s->in) high = s->in;
  if (low >= high) low = high - 1;
  for (int64_t k = 0; k < high - low; k++) {
    double x = ((double)(k + low) - centre + 0.5) * shrink;
    total += weight[k] = kernel_at(s->mode, x);
  }
  for (int64_t k = 0; k < high - low && total != 0; k++) weight[k] /= total;
  b->start[o] = low;
  b->count[o] = high - low;
}

static void write_row(const sampling *s, int64_t o, band *b) {
  if (s->mode == AREA) {
    area_row(s, o, b);
  } else if (s->mode <= EXACT) {
    b->start[o] = nearest(s, o);
    b->count[o] = 1;
    b->weight[o] = 1;
  } else if (s->antialias) {
    antialiased_row(s, o, b);
  } else {
    interpolated_row(s, o, b);
  }
}

static int64_t most_taps(const sampling *s) {
  if (s->mode <= EXACT) return 1;
  if (s->mode == AREA) return s->in / (s->out ? s->out : 1) + 2;
  if (!s->antialias) return s->mode == CUBIC ? 4 : 2;
  double taps = 2 * ceil(support(s)) + 2;
  return taps < (double)s->in ? (int64_t)taps : s->in;
}

/* -- The matrix as tensors -- */

/* Host memory of the rule that serves the matrix. */
static bool allocate(ln_rule *r, band *b, ln_tensor **parts) {
  int64_t shape[2] = {b->out, b->taps};
  int64_t *whole[2];
  for (int i = 0; i < 2; i++) {
    if (!r_ok(r) || !r_status(r, ln_new(shape, 1, LN_INT64, LN_CPU, &parts[i]))) return false;
    r_own(r, parts[i]);
    whole[i] = (int64_t *)parts[i]->data;
  }
  if (!r_ok(r) || !r_status(r, ln_new(shape, 2, LN_FLOAT64, LN_CPU, &parts[2]))) return false;
  r_own(r, parts[2]);
  b->start = whole[0];
  b->count = whole[1];
  b->weight = (double *)parts[2]->data;
  memset(b->start, 0, (size_t)b->out * sizeof *b->start);
  memset(b->count, 0, (size_t)b->out * sizeof *b->count);
  memset(b->weight, 0, (size_t)(b->out * b->taps) * sizeof *b->weight);
  return r_ok(r);
}

/* Starts and ends of the rows never fall, so the rows that meet an element are neighbours too. */
static void transpose_counts(const band *b, band *t) {
  for (int64_t o = 0; o < b->out; o++)
    for (int64_t i = b->start[o]; i < b->start[o] + b->count[o]; i++)
      if (t->count[i]++ == 0) t->start[i] = o;
}

static bool transposed(ln_rule *r, const band *b, band *t, ln_tensor **parts) {
  band counted = {.in = b->out, .out = b->in, .taps = 0};
  if (!allocate(r, &counted, parts)) return false;
  transpose_counts(b, &counted);
  *t = counted;
  t->taps = 1;
  for (int64_t i = 0; i < t->out; i++) t->taps = counted.count[i] > t->taps ? counted.count[i] : t->taps;
  if (!allocate(r, t, parts)) return false;
  transpose_counts(b, t);
  for (int64_t o = 0; o < b->out; o++)
    for (int64_t k = 0; k < b->count[o]; k++) {
      int64_t i = b->start[o] + k;
      t->weight[i * t->taps + o - t->start[i]] = b->weight[o * b->taps + k];
    }
  return true;
}

/* On the rule's device, the weights in the compute dtype. */
static ln_tensor *delivered(ln_rule *r, ln_tensor *part, int dtype) {
  if (r->device == LN_CPU) return r_dense(r, part, dtype);
  ln_tensor *there = r_new(r, part->shape, part->ndim, dtype);
  return r_copy(r, there, part) ? there : NULL;
}

/* -- The rules -- */

static double step_of(ln_rule *r, int slot, bool align, int64_t in, int64_t out) {
  if (align) return out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
  return r_has(r, slot) ? 1 / r_float(r, slot) : (double)in / (double)(out ? out : 1);
}

static bool read_sampling(ln_rule *r, sampling *s, int64_t in, int64_t out) {
  SLOTS(resample); /* resample_dx has the same slots */
  *s = (sampling){.mode = (int)r_int(r, a_mode), .align = r_bool(r, a_align_corners), .antialias = r_bool(r, a_antialias), .in = in, .out = out};
  bool smooth = s->mode == LINEAR || s->mode == CUBIC || s->mode == LANCZOS;
  s->step = s->antialias && in == out ? 1 : step_of(r, a_scale, s->align, in, out);
  return r_require(r, in >= 1 && out >= 0, "there must be elements to resample and no fewer than 0 results, got %lld and %lld", (long long)in,
                   (long long)out) &&
         r_require(r, smooth || (!s->align && !s->antialias), "align_corners and antialias are for linear, cubic and lanczos interpolation") &&
         r_require(r, s->mode != LANCZOS || s->antialias, "mode lanczos needs antialias") &&
         r_require(r, s->step >= 0 && isfinite(s->step) && in <= INT32_MAX && out <= INT32_MAX, "scale %g and sizes %lld, %lld are out of range",
                   r_float(r, a_scale), (long long)in, (long long)out);
}

/* y = matrix x along dim, both with their dims in the order of x's memory. */
static void apply(ln_rule *r, ln_tensor *x, int dim, const band *b, ln_tensor *const *parts) {
  int order[16], dtype = x->dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32, n = x->ndim, at = 0;
  int64_t shape[16], stride[16];
  bool dense = ln_is_dense(x);
  ln_memory_order(x, order);
  for (int i = 0; i < n && !dense; i++) order[i] = i;
  ln_tensor *wide = dense && x->dtype == dtype ? x : NULL;
  if (!wide) {
    ln_strides_in_order(x->shape, n, order, stride);
    wide = r_new_strided(r, x->shape, stride, n, dtype);
    if (!r_copy(r, wide, x)) return;
  }
  memcpy(shape, x->shape, sizeof(int64_t) * (size_t)n);
  shape[dim] = b->out;
  ln_strides_in_order(shape, n, order, stride);
  ln_tensor *out = r_out_strided(r, 0, shape, stride, n, x->dtype), *y = x->dtype == dtype ? out : r_new_strided(r, shape, stride, n, dtype);
  ln_tensor *start = delivered(r, parts[0], LN_INT64), *count = delivered(r, parts[1], LN_INT64), *weight = delivered(r, parts[2], dtype);
  if (!r_ok(r) || !y || out->numel == 0) return;
  while (order[at] != dim) at++;
  ln_band work = {.dtype = dtype, .outer = 1, .in = b->in, .out = b->out, .inner = 1, .taps = b->taps, .x = wide->data, .y = y->data};
  for (int i = 0; i < at; i++) work.outer *= shape[order[i]];
  for (int i = at + 1; i < n; i++) work.inner *= shape[order[i]];
  work.start = (const int64_t *)start->data;
  work.count = (const int64_t *)count->data;
  work.weight = weight->data;
  if (KERNEL(r, band, &work) && y != out) r_copy(r, out, y);
}

static void resample(ln_rule *r, bool backward) {
  ARGS(resample);
  int dim = r_dim(r, a_dim, input->ndim);
  if (!r_require(r, input->ndim > 0, "input has no dimensions")) return;
  int64_t have = input->shape[dim], want = r_int(r, a_size);
  sampling s;
  if (!read_sampling(r, &s, backward ? want : have, backward ? have : want)) return;
  band b = {.in = s.in, .out = s.out, .taps = most_taps(&s)}, turned;
  ln_tensor *parts[3];
  if (!allocate(r, &b, parts)) return;
  for (int64_t o = 0; o < b.out; o++) write_row(&s, o, &b);
  if (backward && !transposed(r, &b, &turned, parts)) return;
  apply(r, input, dim, backward ? &turned : &b, parts);
}

void resample_forward(ln_rule *r) { resample(r, false); }
void resample_dx_forward(ln_rule *r) { resample(r, true); }
