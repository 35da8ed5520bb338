/* norm.cu - batch normalisation over x [N, C, M] in any strides: a team per channel for the sums, an index per element for the rest; layer
 * normalisation of rows, a team each. */
#include "kernels.h"

namespace {

struct pair {
  double a, b;
};

struct meet_pairs {
  LN_BODY pair operator()(const pair &x, const pair &y) const {
    pair r = {x.a + y.a, x.b + y.b};
    return r;
  }
};

LN_BODY int64_t offset_of(const ln_norm &w, int64_t c, int64_t i, const int64_t *stride) {
  return i / w.m * stride[0] + c * stride[1] + i % w.m * stride[2];
}

template <class T> LN_BODY T number(const void *values, int64_t c, T otherwise) { return values ? ((const T *)values)[c] : otherwise; }

template <class T> struct statistics_body {
  ln_norm w;
  int item;
  template <class Team> LN_BODY void operator()(int64_t c, const Team &team) const {
    int64_t count = w.n * w.m;
    double sum = 0, squares = 0;
    for (int64_t i = team.rank(); i < count; i += team.size()) sum += ln_load<T>(w.x + offset_of(w, c, i, w.x_stride) * item, w.dtype);
    double mean = team.all(sum, ln_meet_sum()) / (double)count;
    T centre = (T)mean;
    for (int64_t i = team.rank(); i < count; i += team.size()) {
      double v = ln_load<T>(w.x + offset_of(w, c, i, w.x_stride) * item, w.dtype) - centre;
      squares += v * v;
    }
    double variance = team.all(squares, ln_meet_sum()) / (double)count;
    if (team.rank()) return;
    ((T *)w.mean)[c] = centre;
    ((T *)w.rstd)[c] = (T)(1 / sqrt(variance + w.eps));
    ((T *)w.variance)[c] = (T)variance;
  }
};

/* Element i of [N, C, M]. */
struct element {
  int64_t n, c, m;
};

LN_BODY element element_of(const ln_norm &w, int64_t i) {
  element e = {i / (w.c * w.m), i / w.m % w.c, i % w.m};
  return e;
}

LN_BODY int64_t place_of(const element &e, const int64_t *stride) { return e.n * stride[0] + e.c * stride[1] + e.m * stride[2]; }

template <class T> struct forward_body {
  ln_norm w;
  int item;
  LN_BODY void operator()(int64_t i) const {
    element e = element_of(w, i);
    T scale = number<T>(w.weight, e.c, 1) * ((const T *)w.rstd)[e.c];
    T shift = number<T>(w.bias, e.c, 0) - ((const T *)w.mean)[e.c] * scale;
    T x = ln_load<T>(w.x + place_of(e, w.x_stride) * item, w.dtype);
    ln_store<T>(w.y + place_of(e, w.y_stride) * item, w.dtype, x * scale + shift);
  }
};

/* sums[c]: those of dy and of dy times the normalised x. */
template <class T> struct gradient_sums {
  ln_norm w;
  int item;
  pair *sums;
  template <class Team> LN_BODY void operator()(int64_t c, const Team &team) const {
    T mean = ((const T *)w.mean)[c], rstd = ((const T *)w.rstd)[c];
    pair v = {0, 0};
    for (int64_t i = team.rank(); i < w.n * w.m; i += team.size()) {
      T dy = ln_load<T>(w.dy + offset_of(w, c, i, w.dy_stride) * item, w.dtype);
      v.a += dy;
      v.b += dy * ((ln_load<T>(w.x + offset_of(w, c, i, w.x_stride) * item, w.dtype) - mean) * rstd);
    }
    v = team.all(v, meet_pairs());
    if (team.rank()) return;
    sums[c] = v;
    if (w.dweight) ((T *)w.dweight)[c] = (T)v.b;
    if (w.dbias) ((T *)w.dbias)[c] = (T)v.a;
  }
};

template <class T> struct gradient_body {
  ln_norm w;
  int item;
  const pair *sums;
  LN_BODY void operator()(int64_t i) const {
    element e = element_of(w, i);
    double rstd = ((const T *)w.rstd)[e.c], count = (double)(w.n * w.m), k = number<T>(w.weight, e.c, 1) * rstd;
    double dy = ln_load<T>(w.dy + place_of(e, w.dy_stride) * item, w.dtype);
    if (w.training) {
      double x = ((double)ln_load<T>(w.x + place_of(e, w.x_stride) * item, w.dtype) - (double)((const T *)w.mean)[e.c]) * rstd;
      dy -= sums[e.c].a / count + x * (sums[e.c].b / count);
    }
    ln_store<T>(w.dx + place_of(e, w.dx_stride) * item, w.dtype, (T)(k * dy));
  }
};

bool side_by_side(const ln_norm *w) { return w->x_stride[1] == 1 && w->c > 1; }

template <class T> const char *forward(const ln_norm *w, int device) {
  int item = ln_gpu_size_of(w->dtype);
  if (w->training) LN_GPU_TRY(ln_teams(device, w->c, w->n * w->m, side_by_side(w), statistics_body<T>{*w, item}));
  return ln_each(device, w->n * w->c * w->m, forward_body<T>{*w, item});
}

template <class T> const char *backward(const ln_norm *w, int device) {
  int item = ln_gpu_size_of(w->dtype);
  void *memory;
  LN_GPU_TRY(ln_gpu_scratch(device, sizeof(pair) * (size_t)w->c, &memory));
  LN_GPU_TRY(ln_teams(device, w->c, w->n * w->m, side_by_side(w), gradient_sums<T>{*w, item, (pair *)memory}));
  return w->dx ? ln_each(device, w->n * w->c * w->m, gradient_body<T>{*w, item, (const pair *)memory}) : NULL;
}

/* -- Layer normalisation -- */

template <class T> struct layer_forward {
  ln_row_norm w;
  int item;
  LN_BODY T x(int64_t row, int64_t k) const { return ln_load<T>(w.x + (row * w.size + k) * item, w.dtype); }
  template <class Team> LN_BODY void operator()(int64_t row, const Team &team) const {
    double sum = 0, squares = 0;
    for (int64_t k = team.rank(); k < w.size; k += team.size()) sum += x(row, k);
    T mean = (T)(team.all(sum, ln_meet_sum()) / (double)w.size);
    for (int64_t k = team.rank(); k < w.size; k += team.size()) {
      double v = x(row, k) - mean;
      squares += v * v;
    }
    T rstd = (T)(1 / sqrt(team.all(squares, ln_meet_sum()) / (double)w.size + w.eps));
    for (int64_t k = team.rank(); k < w.size; k += team.size())
      ln_store<T>(w.y + (row * w.size + k) * item, w.dtype, (x(row, k) - mean) * rstd * number<T>(w.weight, k, 1) + number<T>(w.bias, k, 0));
    if (team.rank()) return;
    ((T *)w.mean)[row] = mean;
    ((T *)w.rstd)[row] = rstd;
  }
};

/* dy of an element and the normalised x there. */
template <class T> struct layer_element {
  ln_row_norm w;
  int item;
  LN_BODY T dy(int64_t row, int64_t k) const { return ln_load<T>(w.dy + (row * w.size + k) * item, w.dtype); }
  LN_BODY T hat(int64_t row, int64_t k) const {
    return (ln_load<T>(w.x + (row * w.size + k) * item, w.dtype) - ((const T *)w.mean)[row]) * ((const T *)w.rstd)[row];
  }
};

template <class T> struct layer_backward {
  layer_element<T> e;
  template <class Team> LN_BODY void operator()(int64_t row, const Team &team) const {
    const ln_row_norm &w = e.w;
    pair v = {0, 0};
    for (int64_t k = team.rank(); k < w.size; k += team.size()) {
      double scaled = e.dy(row, k) * number<T>(w.weight, k, 1);
      v.a += scaled;
      v.b += scaled * e.hat(row, k);
    }
    v = team.all(v, meet_pairs());
    T shift = (T)(v.a / (double)w.size), slope = (T)(v.b / (double)w.size), rstd = ((const T *)w.rstd)[row];
    for (int64_t k = team.rank(); k < w.size; k += team.size())
      ln_store<T>(w.dx + (row * w.size + k) * e.item, w.dtype, rstd * (e.dy(row, k) * number<T>(w.weight, k, 1) - shift - e.hat(row, k) * slope));
  }
};

/* A column of the gradients of weight and bias. */
template <class T> struct layer_columns {
  layer_element<T> e;
  template <class Team> LN_BODY void operator()(int64_t k, const Team &team) const {
    pair v = {0, 0};
    for (int64_t row = team.rank(); row < e.w.rows; row += team.size()) {
      v.a += e.dy(row, k);
      v.b += e.dy(row, k) * e.hat(row, k);
    }
    v = team.all(v, meet_pairs());
    if (team.rank()) return;
    if (e.w.dweight) ((T *)e.w.dweight)[k] = (T)v.b;
    if (e.w.dbias) ((T *)e.w.dbias)[k] = (T)v.a;
  }
};

template <class T> const char *layer_gradients(const ln_row_norm *w, int device) {
  layer_element<T> e = {*w, ln_gpu_size_of(w->dtype)};
  if (w->dx) LN_GPU_TRY(ln_teams(device, w->rows, w->size, false, layer_backward<T>{e}));
  return w->dweight || w->dbias ? ln_teams(device, w->size, w->rows, true, layer_columns<T>{e}) : NULL;
}

} // namespace

const char *ln_gpu_batch_norm(const ln_norm *n, int device) {
#define NORM(T) forward<T>(n, device)
  LN_BY_FLOAT(n->dtype, NORM);
}

const char *ln_gpu_batch_norm_dx(const ln_norm *n, int device) {
#define NORM_DX(T) backward<T>(n, device)
  LN_BY_FLOAT(n->dtype, NORM_DX);
}

const char *ln_gpu_layer_norm(const ln_row_norm *w, int device) {
#define LAYER(T) ln_teams(device, w->rows, w->size, false, layer_forward<T>{*w, ln_gpu_size_of(w->dtype)})
  LN_BY_FLOAT(w->dtype, LAYER);
}

const char *ln_gpu_layer_norm_dx(const ln_row_norm *w, int device) {
#define LAYER_DX(T) layer_gradients<T>(w, device)
  LN_BY_FLOAT(w->dtype, LAYER_DX);
}
