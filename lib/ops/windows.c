/* windows.c - maximum pooling over windows of unequal size or distance: adaptive and fractional. The rules write down where each window begins and ends,
 * one kernel looks for the largest elements. */
#include "index.h"

/* Tables of int64 for the three dims, written on the host. */
typedef struct tables {
  ln_tensor *low[3], *high[3];
} tables;

static bool read_output(ln_rule *r, ln_windows *w, ln_tensor *x, int slot) {
  const int64_t *list;
  int n = r_list(r, slot, &list);
  *w = (ln_windows){.dtype = x->dtype, .in = {1, 1, 1}, .out = {1, 1, 1}};
  if (!r_require(r, n >= 1 && n <= 3, "output_size takes 1 to 3 numbers, got %s", ln_shape_text(list, n)) || !r_check_spatial(r, x, n)) return false;
  for (int d = 0; d < n; d++) {
    w->in[3 - n + d] = x->shape[x->ndim - n + d];
    w->out[3 - n + d] = list[d];
    if (!r_require(r, list[d] >= 0, "output_size %s must not be negative", ln_shape_text(list, n)) ||
        !r_require(r, w->in[3 - n + d] >= 1, "input of shape %s has no elements to choose from", ln_shape_text(x->shape, x->ndim)))
      return false;
  }
  return true;
}

static int64_t *new_table(ln_rule *r, ln_tensor **t, int64_t n) {
  if (!r_ok(r) || !r_status(r, ln_new(&n, 1, LN_INT64, LN_CPU, t))) return NULL;
  return r_own(r, *t) ? (int64_t *)(*t)->data : NULL;
}

static const int64_t *delivered(ln_rule *r, ln_tensor *t) {
  if (!t || !r_ok(r)) return NULL;
  if (r->device == LN_CPU) return (const int64_t *)t->data;
  ln_tensor *there = r_new(r, t->shape, 1, LN_INT64);
  return r_copy(r, there, t) ? (const int64_t *)there->data : NULL;
}

static void set_strides(int64_t *to, const ln_tensor *t) {
  int spatial = t->ndim - 2;
  to[0] = t->stride[0];
  to[1] = t->stride[1];
  for (int d = 0; d < 3; d++) to[2 + d] = d < 3 - spatial ? 0 : t->stride[2 + d - (3 - spatial)];
}

/* Allocates the results and runs the kernel over the tables. */
static void look_for_largest(ln_rule *r, ln_windows *w, ln_tensor *input, int spatial, const tables *t) {
  ln_tensor *x = r_with_batch(r, input, spatial);
  if (!x) return;
  bool batched = input->ndim == spatial + 2, last = ln_is_channels_last(x, spatial);
  int64_t shape[5] = {x->shape[0], x->shape[1]};
  memcpy(shape + 2, w->out + 3 - spatial, sizeof(int64_t) * (size_t)spatial);
  ln_tensor *y = r_out_spatial(r, 0, shape, spatial, batched, last, input->dtype);
  ln_tensor *indices = r_out_spatial(r, 1, shape, spatial, batched, last, LN_INT64);
  r->keep_out = 2;
  if (!r_ok(r) || y->numel == 0) return;
  for (int d = 0; d < 3; d++) {
    w->low[d] = delivered(r, t->low[d]);
    w->high[d] = delivered(r, t->high[d]);
  }
  w->n = shape[0];
  w->c = shape[1];
  w->x = x->data;
  w->y = y->data;
  w->indices = (int64_t *)indices->data;
  set_strides(w->x_stride, x);
  set_strides(w->y_stride, y);
  KERNEL(r, window_max, w);
}

/* Each element's gradient goes to where it came from. */
static void scatter_gradient(ln_rule *r, int spatial) {
  const ln_tensor *x = r->in[0], *indices = r->out[1];
  int lead = x->ndim - spatial;
  int64_t flat_in[3], flat_out[3];
  if (!r->g[0]) return;
  memcpy(flat_in, x->shape, sizeof(int64_t) * (size_t)lead);
  memcpy(flat_out, x->shape, sizeof(int64_t) * (size_t)lead);
  flat_in[lead] = ln_numel(x->shape + lead, spatial);
  flat_out[lead] = ln_numel(indices->shape + lead, spatial);
  ln_tensor *g = r_reshape(r, r->g[0], flat_out, lead + 1), *where = r_reshape(r, r->out[1], flat_out, lead + 1);
  ln_tensor *zeros = r_zeros(r, flat_in, lead + 1, r->g[0]->dtype);
  r_give(r, 0, r_reshape(r, r_indexed(r, LN_OP_scatter_add, zeros, -1, where, g), x->shape, x->ndim));
}

/* -- Adaptive: windows as equal as can be that cover the input -- */

void adaptive_max_pool_forward(ln_rule *r) {
  ARGS(adaptive_max_pool);
  const int64_t *list;
  ln_windows w;
  tables t;
  if (!r_check_float(r, "input", input) || !read_output(r, &w, input, a_output_size)) return;
  for (int d = 0; d < 3; d++) {
    int64_t *low = new_table(r, &t.low[d], w.out[d]), *high = new_table(r, &t.high[d], w.out[d]);
    for (int64_t o = 0; o < w.out[d] && high; o++) {
      low[o] = o * w.in[d] / w.out[d];
      high[o] = ((o + 1) * w.in[d] + w.out[d] - 1) / w.out[d];
    }
  }
  if (r_ok(r)) look_for_largest(r, &w, input, r_list(r, a_output_size, &list), &t);
}

void adaptive_max_pool_backward(ln_rule *r) {
  SLOTS(adaptive_max_pool);
  const int64_t *list;
  scatter_gradient(r, r_list(r, a_output_size, &list));
}

/* -- Fractional: windows of one size, whose distances a random number decides -- */

/* Where window o of a dim begins; in float for inputs that compute in float, as PyTorch does, since rounding decides. */
static int64_t begin_of(int64_t o, double sample, int64_t room, int64_t out, bool is_double) {
  if (o == out - 1) return room;
  if (is_double) {
    double alpha = (double)room / (double)(out - 1);
    return (int64_t)(((double)o + sample) * alpha) - (int64_t)(sample * alpha);
  }
  float alpha = (float)room / (float)(out - 1), start = (float)sample;
  return (int64_t)(((float)o + start) * alpha) - (int64_t)(start * alpha);
}

/* Sample d of a plane is for dim d, but over two dims the first is for the last dim. */
static int sample_of(int d, int spatial) { return spatial == 2 ? 2 - d : d - (3 - spatial); }

static void write_planes(const ln_windows *w, tables *t, int d, const double *sample, int64_t planes, int64_t kernel, int spatial) {
  int64_t *low = (int64_t *)t->low[d]->data, *high = (int64_t *)t->high[d]->data;
  for (int64_t i = 0; i < planes; i++)
    for (int64_t o = 0; o < w->out[d]; o++) {
      double number = d < 3 - spatial ? 0 : sample[i * spatial + sample_of(d, spatial)];
      low[i * w->out[d] + o] = begin_of(o, number, w->in[d] - kernel, w->out[d], w->dtype == LN_FLOAT64);
      high[i * w->out[d] + o] = low[i * w->out[d] + o] + kernel;
    }
}

static bool check_samples(ln_rule *r, ln_tensor *samples, const ln_tensor *x, int spatial) {
  int64_t want[3] = {x->ndim == spatial + 2 ? x->shape[0] : 1, x->shape[x->ndim - spatial - 1], spatial};
  return r_check_float(r, "samples", samples) &&
         r_require(r, samples->ndim == 3 && ln_same_dims(samples->shape, want, 3), "samples must have shape %s for input %s, got %s",
                   ln_shape_text(want, 3), ln_shape_text(x->shape, x->ndim), ln_shape_text(samples->shape, samples->ndim));
}

/* The samples as numbers on the host. */
static const double *read_samples(ln_rule *r, ln_tensor *samples) {
  ln_tensor *host;
  if (!r_ok(r) || !r_status(r, ln_new(samples->shape, 3, LN_FLOAT64, LN_CPU, &host)) || !r_own(r, host)) return NULL;
  if (host->numel > 0) r_status(r, ln_copy_into(host, samples));
  const double *sample = (const double *)host->data;
  for (int64_t i = 0; i < host->numel && r_ok(r); i++)
    r_require(r, sample[i] >= 0 && sample[i] <= 1, "samples must lie between 0 and 1, got %g", sample[i]);
  return r_ok(r) ? sample : NULL;
}

void fractional_max_pool_forward(ln_rule *r) {
  ARGS(fractional_max_pool);
  const int64_t *list;
  ln_windows w;
  tables t;
  int64_t kernel[3] = {1, 1, 1};
  if (!r_check_float(r, "input", input) || !read_output(r, &w, input, a_output_size)) return;
  int spatial = r_list(r, a_output_size, &list);
  if (!r_sizes(r, a_kernel_size, spatial, kernel + 3 - spatial) || !check_samples(r, samples, input, spatial)) return;
  const double *sample = read_samples(r, samples);
  int64_t planes = samples->shape[0] * samples->shape[1];
  w.planes = true;
  for (int d = 0; d < 3 && r_ok(r); d++) {
    if (!r_require(r, kernel[d] >= 1 && w.out[d] >= 1 && w.out[d] + kernel[d] - 1 <= w.in[d],
                   "%lld windows of %lld do not fit into %lld elements (input %s)", (long long)w.out[d], (long long)kernel[d], (long long)w.in[d],
                   ln_shape_text(input->shape, input->ndim)))
      return;
    if (new_table(r, &t.low[d], planes * w.out[d]) && new_table(r, &t.high[d], planes * w.out[d]))
      write_planes(&w, &t, d, sample, planes, kernel[d], spatial);
  }
  if (r_ok(r)) look_for_largest(r, &w, input, spatial, &t);
}

void fractional_max_pool_backward(ln_rule *r) {
  SLOTS(fractional_max_pool);
  const int64_t *list;
  scatter_gradient(r, r_list(r, a_output_size, &list));
}
