/* norm.cu - batch normalisation over x [N, C, M] in any strides. Sums over a channel are cut into parts, each combined by a team; where channels
 * are neighbours in memory a team takes 32 of them. */
#include "norm.h"

namespace cuda::norm {

/* How a team goes over its parts of channels: row = tile * parts + part. The nest is that of one channel: x, and dy where it is read. */
struct walk {
  ln_nest<2> nest;
  int64_t channel[2]; /* strides in bytes */
  int64_t channels, count, parts, length, tile;
  LN_DEVICE int64_t end(int64_t part) const { return (part + 1) * length < count ? (part + 1) * length : count; }
};

/* Mean and sum of squared differences from it, of some of a channel's elements. */
struct moments {
  double count, mean, squares;
};

/* Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979. */
LN_DEVICE moments joined(const moments &a, const moments &b) {
  double count = a.count + b.count, delta = b.mean - a.mean;
  if (count == 0) return a;
  return moments{count, a.mean + delta * (b.count / count), a.squares + b.squares + delta * delta * (a.count * b.count / count)};
}

/* partial[part * channels + c] */
template <class T> struct part_moments {
  walk w;
  const char *x;
  int dtype;
  moments *partial;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const int type = LN_FIXED(DTYPE_0, dtype), width = team.size() < w.tile ? team.size() : (int)w.tile;
    const int step = team.size() / width, own = team.rank() / width;
    const int64_t tile = row / w.parts, part = row - tile * w.parts, first = part * w.length, end = w.end(part);
    for (int64_t k = team.rank() % width; k < w.tile; k += width) {
      const int64_t c = tile * w.tile + k;
      const bool real = c < w.channels;
      const char *p = x + (real ? c : 0) * w.channel[0];
      int64_t at[2];
      double sum = 0, squares = 0;
      for (int64_t i = first + own; i < end; i += step) {
        w.nest.offsets(i, at);
        sum += ln_load<T>(p + at[0], type);
      }
      const double mean = team.all(sum, ln_add(), width) / (double)(end - first);
      for (int64_t i = first + own; i < end; i += step) {
        w.nest.offsets(i, at);
        double v = (double)ln_load<T>(p + at[0], type) - mean;
        squares += v * v;
      }
      squares = team.all(squares, ln_add(), width);
      if (own == 0 && real) partial[part * w.channels + c] = moments{(double)(end - first), mean, squares};
    }
  }
};

template <class T> LN_DEVICE void mix(const ln_running &r, int64_t c, double momentum, T value) {
  if (!r.data) return;
  char *p = r.data + c * r.stride;
  ln_store<T>(p, r.dtype, ln_load<T>(p, r.dtype) * (T)(1 - momentum) + value * (T)momentum);
}

template <class T> struct join_moments {
  ln_norm job;
  const moments *partial;
  int64_t parts;
  LN_DEVICE void operator()(int64_t c) const {
    moments m = {0, 0, 0};
    for (int64_t k = 0; k < parts; k++) m = joined(m, partial[k * job.c + c]);
    const double variance = m.squares / m.count;
    ((T *)job.mean)[c] = (T)m.mean;
    ((T *)job.rstd)[c] = (T)(1 / sqrt(variance + job.eps));
    mix<T>(job.running_mean, c, job.momentum, (T)m.mean);
    mix<T>(job.running_var, c, job.momentum, (T)variance * (T)(m.count / (m.count - 1)));
  }
};

/* -- Elements: the nest goes over all of them; its last operand is the number of the channel -- */

template <class T> struct forward {
  ln_nest<3> nest; /* x, y, channel */
  ln_norm job;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, job.dtype);
    int64_t at[3];
    nest.offsets(i, at);
    const int64_t c = at[2];
    const T scale = ln_norm_factor<T>(job.weight, c, 1) * ((const T *)job.rstd)[c];
    const T shift = ln_norm_factor<T>(job.bias, c, 0) - ((const T *)job.mean)[c] * scale;
    ln_store<T>(job.y + at[1], type, ln_load<T>(job.x + at[0], type) * scale + shift);
  }
};

/* -- Gradients -- */

template <class T> struct part_sums {
  walk w;
  ln_norm job;
  ln_norm_sums *partial;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const int type = LN_FIXED(DTYPE_0, job.dtype), width = team.size() < w.tile ? team.size() : (int)w.tile;
    const int step = team.size() / width, own = team.rank() / width;
    const int64_t tile = row / w.parts, part = row - tile * w.parts, end = w.end(part);
    for (int64_t k = team.rank() % width; k < w.tile; k += width) {
      const int64_t c = tile * w.tile + k;
      ln_norm_sums v = {0, 0};
      if (c < w.channels) {
        const T mean = ((const T *)job.mean)[c], rstd = ((const T *)job.rstd)[c];
        for (int64_t i = part * w.length + own; i < end; i += step) {
          int64_t at[2];
          w.nest.offsets(i, at);
          const T dy = ln_load<T>(job.dy + c * w.channel[1] + at[1], type), x = ln_load<T>(job.x + c * w.channel[0] + at[0], type);
          v.dy += dy;
          v.dy_x += dy * ((x - mean) * rstd);
        }
      }
      v = team.all(v, ln_add_norm_sums(), width);
      if (own == 0 && c < w.channels) partial[part * w.channels + c] = v;
    }
  }
};

/* The sums of all parts stand in the first. */
template <class T> struct join_sums {
  ln_norm job;
  ln_norm_sums *partial;
  int64_t parts;
  LN_DEVICE void operator()(int64_t c) const {
    ln_norm_sums v = partial[c];
    for (int64_t k = 1; k < parts; k++) v = ln_add_norm_sums()(v, partial[k * job.c + c]);
    partial[c] = v;
    if (job.dweight) ((T *)job.dweight)[c] = (T)v.dy_x;
    if (job.dbias) ((T *)job.dbias)[c] = (T)v.dy;
  }
};

template <class T> struct gradient {
  ln_nest<4> nest; /* x, dy, dx, channel */
  ln_norm job;
  const ln_norm_sums *of;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, job.dtype);
    int64_t at[4];
    nest.offsets(i, at);
    const int64_t c = at[3];
    const double rstd = ((const T *)job.rstd)[c], k = ln_norm_factor<T>(job.weight, c, 1) * rstd;
    double dy = ln_load<T>(job.dy + at[1], type);
    if (job.training) {
      const double count = (double)(job.n * job.m), x = ((double)ln_load<T>(job.x + at[0], type) - (double)((const T *)job.mean)[c]) * rstd;
      dy -= of[c].dy / count + x * (of[c].dy_x / count);
    }
    ln_store<T>(job.dx + at[2], type, (T)(k * dy));
  }
};

} // namespace cuda::norm

#ifdef LN_HOST_CODE
#include "kernels.h"

namespace cuda::norm {
namespace {

walk walk_of(const ln_norm *w, ln_fixed *fixed) {
  const int item = ln_gpu_size_of(w->dtype);
  const bool beside = w->x_stride[1] == 1 && w->c > 1;
  const int64_t shape[2] = {w->n, w->m}, x[2] = {w->x_stride[0] * item, w->x_stride[2] * item};
  const int64_t *given = w->dy ? w->dy_stride : w->x_stride, dy[2] = {given[0] * item, given[2] * item};
  const int64_t whole[1] = {w->n * w->m};
  const bool flat = x[0] == x[1] * w->m && dy[0] == dy[1] * w->m;
  const int64_t *const rows[2] = {x, dy}, *const one[2] = {x + 1, dy + 1};
  walk r = {flat ? ln_nest_of<2>(1, whole, one) : ln_nest_of<2>(2, shape, rows),
            {w->x_stride[1] * item, given[1] * item},
            w->c,
            w->n * w->m,
            1,
            0,
            beside ? LN_NORM_COLUMNS : 1};
  const int64_t tiles = (w->c + r.tile - 1) / r.tile, least = beside ? 256 : 4096;
  int64_t parts = 1024 / tiles < r.count / least ? 1024 / tiles : r.count / least;
  r.length = parts > 1 ? (r.count + parts - 1) / parts : r.count;
  r.parts = r.length ? (r.count + r.length - 1) / r.length : 1;
  ln_fix_nest(fixed, r.nest);
  fixed->with(LN_FIX_DTYPE_0, w->dtype);
  return r;
}

int64_t rows_of(const walk &w) { return (w.channels + w.tile - 1) / w.tile * w.parts; }

/* N x C x M in the order of x's memory; strides[k]: of operand k, elements of n, c, m. The last operand is the channel. */
template <int N> ln_nest<N> nest_of(const ln_norm *w, const int64_t *const (&strides)[N - 1]) {
  const int item = ln_gpu_size_of(w->dtype);
  const bool beside = w->x_stride[1] < w->x_stride[2];
  const int order[3] = {0, beside ? 2 : 1, beside ? 1 : 2};
  const int64_t size[3] = {w->n, w->c, w->m};
  int64_t shape[3], stride[N][3];
  const int64_t *lines[N];
  for (int d = 0; d < 3; d++) {
    shape[d] = size[order[d]];
    for (int k = 0; k < N - 1; k++) stride[k][d] = strides[k][order[d]] * item;
    stride[N - 1][d] = order[d] == 1;
  }
  for (int k = 0; k < N; k++) lines[k] = stride[k];
  return ln_nest_of<N>(3, shape, *(const int64_t *const(*)[N])lines);
}

template <class T> const char *forward_run(const ln_norm *w, int device) {
  ln_fixed fixed, of_elements = ln_fixed::dtype(w->dtype);
  if (w->training) {
    walk r = walk_of(w, &fixed);
    ln_scratch scratch(device, sizeof(moments) * (size_t)(r.channels * r.parts));
    LN_GPU_TRY(scratch.failure);
    moments *partial = (moments *)scratch.memory;
    LN_GPU_TRY(ln_teams(device, rows_of(r), r.length * r.tile, false, part_moments<T>{r, w->x, w->dtype, partial}, fixed));
    LN_GPU_TRY(ln_each(device, w->c, join_moments<T>{*w, partial, r.parts}));
  }
  const int64_t *const strides[2] = {w->x_stride, w->y_stride};
  forward<T> f = {nest_of<3>(w, strides), *w};
  ln_fix_nest(&of_elements, f.nest);
  return ln_each(device, w->n * w->c * w->m, f, of_elements);
}

template <class T> const char *backward_run(const ln_norm *w, int device) {
  ln_fixed fixed, of_elements = ln_fixed::dtype(w->dtype);
  walk r = walk_of(w, &fixed);
  ln_scratch scratch(device, sizeof(ln_norm_sums) * (size_t)(r.channels * r.parts));
  LN_GPU_TRY(scratch.failure);
  ln_norm_sums *partial = (ln_norm_sums *)scratch.memory;
  LN_GPU_TRY(ln_teams(device, rows_of(r), r.length * r.tile, false, part_sums<T>{r, *w, partial}, fixed));
  LN_GPU_TRY(ln_each(device, w->c, join_sums<T>{*w, partial, r.parts}));
  if (!w->dx) return NULL;
  const int64_t *const strides[3] = {w->x_stride, w->dy_stride, w->dx_stride};
  gradient<T> f = {nest_of<4>(w, strides), *w, partial};
  ln_fix_nest(&of_elements, f.nest);
  return ln_each(device, w->n * w->c * w->m, f, of_elements);
}

} // namespace
} // namespace cuda::norm

const char *ln_gpu_batch_norm(const ln_norm *n, int device) {
#define NORM(T) cuda::norm::forward_run<T>(n, device)
  LN_BY_FLOAT(n->dtype, NORM);
}

const char *ln_gpu_batch_norm_dx(const ln_norm *n, int device) {
#define NORM_DX(T) cuda::norm::backward_run<T>(n, device)
  LN_BY_FLOAT(n->dtype, NORM_DX);
}
#endif
