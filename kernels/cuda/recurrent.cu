/* recurrent.cu - the steps of recurrent layers: of each the product with the last h, then a functor for each element of a state. */
#include "cuda.h"

namespace cuda::recurrent {

template <class T> LN_DEVICE T logistic(T x) { return 1 / (1 + exp(-x)); }

/* The sequences of one step. */
template <class T> struct moment {
  ln_recurrent w;
  int64_t row, width; /* of sequence 0; columns of a row of gates */
  T *gates, *cells, *y, *h, *c, *full, *dgates, *before, *dh, *dc, *dout, *dfull;
  const T *bias, *dy, *h0, *c0;
  int64_t last_row, last_count; /* the step before: its row of sequence 0 and how many it has, 0 where the step is the first */
  LN_DEVICE int64_t row_of(int64_t b) const { return row + b * w.apart; }
  /* What sequence b began with. */
  LN_DEVICE T last(const T *rows, const T *first, int64_t b, int64_t j, int64_t columns) const {
    return b < last_count ? rows[(last_row + b * w.apart) * columns + j] : first[b * columns + j];
  }
};

/* Element j of sequence b among `columns`. */
#define ELEMENT(columns) int64_t b = i / (columns), j = i - b * (columns)

/* q of a GRU begins with its bias. */
template <class T> struct begin_q {
  moment<T> m;
  LN_DEVICE void operator()(int64_t i) const {
    ELEMENT(m.w.hidden);
    m.gates[m.row_of(b) * m.width + 3 * m.w.hidden + j] = m.bias ? m.bias[j] : (T)0;
  }
};

template <class T> struct forward_body {
  moment<T> m;
  LN_DEVICE void operator()(int64_t i) const {
    const int mode = LN_FIXED(KIND, m.w.mode);
    ELEMENT(m.w.hidden);
    int64_t n = m.w.hidden;
    T *gate = m.gates + m.row_of(b) * m.width + j, *h = m.w.w_hr ? m.full + i : m.h + i;
    if (mode == LN_LSTM) {
      T in = logistic(gate[0]), forget = logistic(gate[n]), g = tanh(gate[2 * n]), out = logistic(gate[3 * n]), c = forget * m.c[i] + in * g;
      gate[0] = in, gate[n] = forget, gate[2 * n] = g, gate[3 * n] = out;
      m.c[i] = m.cells[m.row_of(b) * n + j] = c;
      *h = out * tanh(c);
    } else if (mode == LN_GRU) {
      T r = logistic(gate[n]), z = logistic(gate[2 * n]), v = tanh(gate[0] + r * gate[3 * n]);
      gate[0] = v, gate[n] = r, gate[2 * n] = z;
      *h = v + z * (*h - v);
    } else {
      T v = gate[0];
      *h = gate[0] = mode == LN_RNN_TANH ? tanh(v) : v < 0 ? (T)0 : v;
    }
  }
};

template <class T> struct store_y {
  moment<T> m;
  LN_DEVICE void operator()(int64_t i) const {
    ELEMENT(m.w.size);
    m.y[m.row_of(b) * m.w.size + j] = m.h[i];
  }
};

/* The gradient of y arrives; what the row began with is noted. */
template <class T> struct arrive {
  moment<T> m;
  LN_DEVICE void operator()(int64_t i) const {
    ELEMENT(m.w.size);
    int64_t at = m.row_of(b) * m.w.size + j;
    if (m.dy) m.dh[i] += m.dy[at];
    if (m.dout) m.dout[at] = m.dh[i];
    m.before[at] = m.last(m.y, m.h0, b, j, m.w.size);
  }
};

template <class T> struct backward_body {
  moment<T> m;
  LN_DEVICE void operator()(int64_t i) const {
    const int mode = LN_FIXED(KIND, m.w.mode);
    ELEMENT(m.w.hidden);
    int64_t n = m.w.hidden, row = m.row_of(b);
    const T *gate = m.gates + row * m.width + j;
    T *d = m.dgates + row * m.width + j, dh = m.w.w_hr ? m.dfull[i] : m.dh[i];
    if (mode == LN_LSTM) {
      T in = gate[0], forget = gate[n], g = gate[2 * n], out = gate[3 * n], v = tanh(m.cells[row * n + j]);
      T dcell = m.dc[i] + dh * out * (1 - v * v);
      d[0] = dcell * g * in * (1 - in);
      d[n] = dcell * m.last(m.cells, m.c0, b, j, n) * forget * (1 - forget);
      d[2 * n] = dcell * in * (1 - g * g);
      d[3 * n] = dh * v * out * (1 - out);
      m.dc[i] = dcell * forget;
      if (m.w.w_hr) m.full[row * n + j] = out * v;
    } else if (mode == LN_GRU) {
      T v = gate[0], r = gate[n], z = gate[2 * n], dn = dh * (1 - z) * (1 - v * v);
      d[0] = dn;
      d[n] = dn * gate[3 * n] * r * (1 - r);
      d[2 * n] = dh * (m.last(m.y, m.h0, b, j, n) - v) * z * (1 - z);
      d[3 * n] = dn * r;
      m.dh[i] = dh * z;
    } else {
      d[0] = mode == LN_RNN_TANH ? dh * (1 - gate[0] * gate[0]) : gate[0] <= 0 ? (T)0 : dh;
    }
  }
};

} // namespace cuda::recurrent

#ifdef LN_HOST_CODE
#include "kernels.h"
extern "C" {
#include "../recurrent.h"
}

using namespace cuda::recurrent;

template <class T> static moment<T> moment_of(const ln_recurrent *w, int64_t t) {
  int64_t last = w->reverse ? t + 1 : t - 1;
  bool is_first = last < 0 || last >= w->steps;
  return moment<T>{*w,
                   w->start[t],
                   ln_recurrent_width(w),
                   (T *)w->gates,
                   (T *)w->cells,
                   (T *)w->y,
                   (T *)w->h,
                   (T *)w->c,
                   (T *)w->full,
                   (T *)w->dgates,
                   (T *)w->before,
                   (T *)w->dh,
                   (T *)w->dc,
                   (T *)w->dout,
                   (T *)w->dfull,
                   (const T *)w->bias,
                   (const T *)w->dy,
                   (const T *)w->h0,
                   (const T *)w->c0,
                   is_first ? 0 : w->start[last],
                   is_first ? 0 : w->count[last]};
}

static ln_fixed fixed_of(const ln_recurrent *w) { return ln_fixed::dtype(w->dtype).with(LN_FIX_KIND, w->mode); }

template <class T> static const char *forward(const ln_recurrent *w, int device) {
  for (int64_t s = 0; s < w->steps; s++) {
    int64_t t = w->reverse ? w->steps - 1 - s : s, n = w->count[t];
    moment<T> m = moment_of<T>(w, t);
    if (w->mode == LN_GRU) LN_GPU_TRY(ln_each(device, n * w->hidden, begin_q<T>{m}, fixed_of(w)));
    ln_gemm product = ln_recurrent_product(w, t, 0, n, false, sizeof(T));
    LN_GPU_TRY(ln_gpu_gemm(&product, device));
    LN_GPU_TRY(ln_each(device, n * w->hidden, forward_body<T>{m}, fixed_of(w)));
    if (w->w_hr) {
      product = ln_recurrent_projection(w, 0, n, false, sizeof(T));
      LN_GPU_TRY(ln_gpu_gemm(&product, device));
    }
    LN_GPU_TRY(ln_each(device, n * w->size, store_y<T>{m}, fixed_of(w)));
  }
  return NULL;
}

template <class T> static const char *backward(const ln_recurrent *w, int device) {
  for (int64_t s = 0; s < w->steps; s++) {
    int64_t t = w->reverse ? s : w->steps - 1 - s, n = w->count[t];
    moment<T> m = moment_of<T>(w, t);
    LN_GPU_TRY(ln_each(device, n * w->size, arrive<T>{m}, fixed_of(w)));
    ln_gemm product;
    if (w->w_hr) {
      product = ln_recurrent_projection(w, 0, n, true, sizeof(T));
      LN_GPU_TRY(ln_gpu_gemm(&product, device));
    }
    LN_GPU_TRY(ln_each(device, n * w->hidden, backward_body<T>{m}, fixed_of(w)));
    product = ln_recurrent_product(w, t, 0, n, true, sizeof(T));
    LN_GPU_TRY(ln_gpu_gemm(&product, device));
  }
  return NULL;
}

const char *ln_gpu_recurrent(const ln_recurrent *w, int device) {
#define RECURRENT(T) forward<T>(w, device)
  LN_BY_FLOAT(w->dtype, RECURRENT);
}

const char *ln_gpu_recurrent_dx(const ln_recurrent *w, int device) {
#define RECURRENT_DX(T) backward<T>(w, device)
  LN_BY_FLOAT(w->dtype, RECURRENT_DX);
}
#endif
