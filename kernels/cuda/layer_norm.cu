/* layer_norm.cu - layer and group normalisation of contiguous rows: a team a row, which keeps it in registers unless it is long; for the gradients of weight and
 * bias a team for 32 neighbouring columns, the rows cut into parts that are added in order. */
#include "norm.h"

namespace cuda::layer_norm {

/* Elements of a row that a thread keeps; of longer rows it reads them again. */
enum { KEPT = 16 };

/* Elements of a row, or of a matrix of rows. */
struct matrix {
  const char *data;
  int64_t size;
  int dtype;
  template <class T> LN_DEVICE T at(int64_t row, int64_t k) const {
    const int type = LN_FIXED(DTYPE_0, dtype);
    return ln_load<T>(data + (row * size + k) * ln_gpu_size_of(type), type);
  }
  template <class T> LN_DEVICE void put(int64_t row, int64_t k, T v) const {
    const int type = LN_FIXED(DTYPE_0, dtype);
    ln_store<T>((char *)data + (row * size + k) * ln_gpu_size_of(type), type, v);
  }
};

/* The part of a row that belongs to a thread: elements rank, rank + team, ... */
template <class T> struct own {
  matrix x;
  int64_t row;
  int first, step;
  bool kept;
  T value[KEPT];
  template <class Team> LN_DEVICE own(const matrix &m, int64_t r, const Team &team) : x(m), row(r), first(team.rank()), step(team.size()) {
    kept = x.size <= (int64_t)step * KEPT;
    LN_UNROLL for (int j = 0; j < KEPT; j++) {
      const int64_t k = first + (int64_t)j * step;
      value[j] = kept && k < x.size ? x.at<T>(row, k) : 0;
    }
  }
  /* run(k, element k) */
  template <class Run> LN_DEVICE void each(const Run &run) const {
    if (kept) {
      LN_UNROLL for (int j = 0; j < KEPT; j++) {
        const int64_t k = first + (int64_t)j * step;
        if (k < x.size) run(k, value[j]);
      }
    } else {
      for (int64_t k = first; k < x.size; k += step) run(k, x.at<T>(row, k));
    }
  }
};

/* The place of element k's weight and bias. */
LN_DEVICE int64_t weight_of(const ln_row_norm &job, int64_t row, int64_t k) {
  return job.groups == 1 && job.inner == 1 ? k : row % job.groups * (job.size / job.inner) + k / job.inner;
}

template <class T> struct forward {
  ln_row_norm job;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const own<T> x(matrix{job.x, job.size, job.dtype}, row, team);
    const matrix y = {job.y, job.size, job.dtype};
    double sum = 0, squares = 0;
    x.each([&](int64_t, T v) { sum += v; });
    const T mean = (T)(team.all(sum, ln_add()) / (double)job.size);
    x.each([&](int64_t, T v) { squares += (double)(v - mean) * (double)(v - mean); });
    const T rstd = (T)(1 / sqrt(team.all(squares, ln_add()) / (double)job.size + job.eps));
    x.each([&](int64_t k, T v) {
      const int64_t at = weight_of(job, row, k);
      y.put<T>(row, k, (v - mean) * rstd * ln_norm_factor<T>(job.weight, at, 1) + ln_norm_factor<T>(job.bias, at, 0));
    });
    if (team.rank()) return;
    ((T *)job.mean)[row] = mean;
    ((T *)job.rstd)[row] = rstd;
  }
};

template <class T> struct gradient {
  ln_row_norm job;
  template <class Team> LN_DEVICE void operator()(int64_t row, const Team &team) const {
    const matrix x = {job.x, job.size, job.dtype}, dx = {job.dx, job.size, job.dtype};
    const own<T> dy(matrix{job.dy, job.size, job.dtype}, row, team);
    const T mean = ((const T *)job.mean)[row], rstd = ((const T *)job.rstd)[row];
    ln_norm_sums v = {0, 0};
    dy.each([&](int64_t k, T g) {
      const T scaled = g * ln_norm_factor<T>(job.weight, weight_of(job, row, k), 1);
      v.dy += scaled;
      v.dy_x += (double)scaled * (double)((x.at<T>(row, k) - mean) * rstd);
    });
    v = team.all(v, ln_add_norm_sums());
    const T shift = (T)(v.dy / (double)job.size), slope = (T)(v.dy_x / (double)job.size);
    dy.each([&](int64_t k, T g) {
      const T hat = (x.at<T>(row, k) - mean) * rstd;
      dx.put<T>(row, k, rstd * (g * ln_norm_factor<T>(job.weight, weight_of(job, row, k), 1) - shift - hat * slope));
    });
  }
};

/* Row: a part of the rows of LN_NORM_COLUMNS neighbouring columns. partial[part * size + column] */
template <class T> struct column_sums {
  ln_row_norm job;
  int64_t parts, length;
  ln_norm_sums *partial;
  template <class Team> LN_DEVICE void operator()(int64_t i, const Team &team) const {
    const matrix x = {job.x, job.size, job.dtype}, dy = {job.dy, job.size, job.dtype};
    const int width = team.size() < LN_NORM_COLUMNS ? team.size() : (int)LN_NORM_COLUMNS, step = team.size() / width, own = team.rank() / width;
    const int64_t tile = i / parts, part = i - tile * parts, end = (part + 1) * length < job.rows ? (part + 1) * length : job.rows;
    for (int c = team.rank() % width; c < LN_NORM_COLUMNS; c += width) {
      const int64_t k = tile * LN_NORM_COLUMNS + c;
      ln_norm_sums v = {0, 0};
      for (int64_t row = part * length + own; k < job.size && row < end; row += step) {
        const T g = dy.at<T>(row, k);
        v.dy += g;
        v.dy_x += (double)g * (double)((x.at<T>(row, k) - ((const T *)job.mean)[row]) * ((const T *)job.rstd)[row]);
      }
      v = team.all(v, ln_add_norm_sums(), width);
      if (own == 0 && k < job.size) partial[part * job.size + k] = v;
    }
  }
};

template <class T> struct join_columns {
  ln_row_norm job;
  int64_t parts;
  const ln_norm_sums *partial;
  LN_DEVICE void operator()(int64_t k) const {
    ln_norm_sums v = {0, 0};
    for (int64_t part = 0; part < parts; part++) v = ln_add_norm_sums()(v, partial[part * job.size + k]);
    if (job.dweight) ((T *)job.dweight)[k] = (T)v.dy_x;
    if (job.dbias) ((T *)job.dbias)[k] = (T)v.dy;
  }
};

/* Row: a weight of group normalisation, with its elements in all rows of its kind. */
template <class T> struct channel_sums {
  ln_row_norm job;
  template <class Team> LN_DEVICE void operator()(int64_t channel, const Team &team) const {
    const matrix x = {job.x, job.size, job.dtype}, dy = {job.dy, job.size, job.dtype};
    const int64_t per_row = job.size / job.inner, kind = channel / per_row, first = channel % per_row * job.inner;
    ln_norm_sums v = {0, 0};
    for (int64_t i = team.rank(); i < job.rows / job.groups * job.inner; i += team.size()) {
      const int64_t row = i / job.inner * job.groups + kind, k = first + i % job.inner;
      const T g = dy.at<T>(row, k);
      v.dy += g;
      v.dy_x += (double)g * (double)((x.at<T>(row, k) - ((const T *)job.mean)[row]) * ((const T *)job.rstd)[row]);
    }
    v = team.all(v, ln_add_norm_sums());
    if (team.rank()) return;
    if (job.dweight) ((T *)job.dweight)[channel] = (T)v.dy_x;
    if (job.dbias) ((T *)job.dbias)[channel] = (T)v.dy;
  }
};

} // namespace cuda::layer_norm

#ifdef LN_HOST_CODE
#include "kernels.h"

namespace cuda::layer_norm {
namespace {

template <class T> const char *columns(const ln_row_norm *w, int device) {
  const int64_t tiles = (w->size + LN_NORM_COLUMNS - 1) / LN_NORM_COLUMNS, most = w->rows / 256;
  if (tiles == 0) return NULL;
  int64_t parts = 1024 / tiles < most ? 1024 / tiles : most;
  if (parts < 1) parts = 1;
  const int64_t length = (w->rows + parts - 1) / parts;
  if (length) parts = (w->rows + length - 1) / length;
  ln_scratch scratch(device, sizeof(ln_norm_sums) * (size_t)(w->size * parts));
  LN_GPU_TRY(scratch.failure);
  ln_norm_sums *partial = (ln_norm_sums *)scratch.memory;
  LN_GPU_TRY(ln_teams(device, tiles * parts, length * LN_NORM_COLUMNS, false, column_sums<T>{*w, parts, length, partial}, ln_fixed::dtype(w->dtype)));
  return ln_each(device, w->size, join_columns<T>{*w, parts, partial});
}

template <class T> const char *gradients(const ln_row_norm *w, int device) {
  if (w->dx) LN_GPU_TRY(ln_teams(device, w->rows, w->size, false, gradient<T>{*w}, ln_fixed::dtype(w->dtype)));
  if (!w->dweight && !w->dbias) return NULL;
  if (w->groups == 1 && w->inner == 1) return columns<T>(w, device);
  return ln_teams(device, w->groups * (w->size / w->inner), w->rows / w->groups * w->inner, false, channel_sums<T>{*w}, ln_fixed::dtype(w->dtype));
}

} // namespace
} // namespace cuda::layer_norm

const char *ln_gpu_layer_norm(const ln_row_norm *w, int device) {
#define LAYER(T) ln_teams(device, w->rows, w->size, false, cuda::layer_norm::forward<T>{*w}, ln_fixed::dtype(w->dtype))
  LN_BY_FLOAT(w->dtype, LAYER);
}

const char *ln_gpu_layer_norm_dx(const ln_row_norm *w, int device) {
#define LAYER_DX(T) cuda::layer_norm::gradients<T>(w, device)
  LN_BY_FLOAT(w->dtype, LAYER_DX);
}
#endif
