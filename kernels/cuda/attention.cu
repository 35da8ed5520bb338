/* attention.cu - attention in blocks of queries of all heads, the scores of one block at a time: products, and a team a row between them. */
#include "cuda.h"

#include "../philox.h"

namespace cuda::attention {

/* A row of a block of scores. */
struct place {
  int64_t n, head, row, columns, limit;
};

template <class T> struct rows {
  ln_attention w;
  int64_t n, head, row, rows_of_block, columns, width; /* of the block */
  T *scores, *slopes;
  LN_DEVICE place place_of(int64_t i) const {
    int64_t h = i / rows_of_block, at = row + i - h * rows_of_block;
    place p = {n, head + h, at, columns, w.causal && at + 1 < columns ? at + 1 : columns};
    return p;
  }
  LN_DEVICE T masked(const place &p, int64_t j, T x) const {
    if (!w.mask) return x;
    const char *at = w.mask + p.n * w.mask_stride[0] + p.head * w.mask_stride[1] + p.row * w.mask_stride[2] + j * w.mask_stride[3];
    if (w.mask_dtype == LN_BOOL) return *(const uint8_t *)at ? x : (T)-INFINITY;
    return x + ln_load<T>(at, w.mask_dtype);
  }
  LN_DEVICE int64_t line_of(const place &p) const { return (p.n * w.heads + p.head) * w.l + p.row; }
  /* What dropout multiplies an element with. */
  LN_DEVICE T factor(const place &p, int64_t j) const {
    uint64_t at = (uint64_t)(line_of(p) * w.s + j);
    ln_block128 words = ln_philox(w.seed, w.offset + at / 4);
    return ln_draw_happens(ln_draw_event_of(w.keep), words.v[at % 4]) ? (T)(1 / w.keep) : (T)0;
  }
};

template <class T> struct probabilities {
  rows<T> b;
  template <class Team> LN_DEVICE void operator()(int64_t i, const Team &team) const {
    place p = b.place_of(i);
    T *x = b.scores + i * b.width, top = (T)-INFINITY;
    for (int64_t j = team.rank(); j < p.limit; j += team.size()) {
      T v = x[j] = b.masked(p, j, x[j]);
      top = v > top ? v : top;
    }
    top = team.all(top, ln_larger());
    T base = top == (T)-INFINITY ? (T)0 : top;
    double sum = 0;
    for (int64_t j = team.rank(); j < p.limit; j += team.size()) sum += x[j] = exp(x[j] - base);
    sum = team.all(sum, ln_add());
    T share = sum == 0 ? (T)0 : (T)(1 / sum);
    for (int64_t j = team.rank(); j < p.columns; j += team.size()) {
      T v = j < p.limit ? x[j] * share : (T)0;
      x[j] = b.w.keep < 1 ? v * b.factor(p, j) : v;
    }
    if (team.rank() == 0) ((T *)b.w.lse)[b.line_of(p)] = sum == 0 ? (T)-INFINITY : base + (T)log(sum);
  }
};

template <class T> struct slopes {
  rows<T> b;
  LN_DEVICE const T *row_at(const char *data, const int64_t *stride, const place &p) const {
    return (const T *)data + p.n * stride[0] + p.head * stride[1] + p.row * stride[2];
  }
  template <class Team> LN_DEVICE void operator()(int64_t i, const Team &team) const {
    place p = b.place_of(i);
    const T *out = row_at(b.w.out, b.w.out_stride, p), *dout = row_at(b.w.dout, b.w.dout_stride, p);
    T *x = b.scores + i * b.width, *d = b.slopes + i * b.width, lse = ((const T *)b.w.lse)[b.line_of(p)];
    T base = lse == (T)-INFINITY ? (T)0 : lse;
    double delta = 0;
    for (int64_t j = team.rank(); j < b.w.ev; j += team.size()) delta += out[j] * dout[j];
    delta = team.all(delta, ln_add());
    for (int64_t j = team.rank(); j < p.columns; j += team.size()) {
      T v = j < p.limit ? exp(b.masked(p, j, x[j]) - base) : (T)0, f = b.w.keep < 1 ? b.factor(p, j) : (T)1;
      d[j] = v * (d[j] * f - (T)delta);
      x[j] = v * f;
    }
  }
};

} // namespace cuda::attention

#ifdef LN_HOST_CODE
#include "kernels.h"
extern "C" {
#include "../attention.h"
}

using namespace cuda::attention;

enum { SCORES = 1 << 24 }; /* of a block at most, unless a single row is longer */

static int64_t heads_of(const ln_attention *w) { return w->heads == w->groups ? w->heads : 1; }

static int64_t rows_of(const ln_attention *w) {
  int64_t fit = SCORES / (heads_of(w) * w->s);
  return fit < 1 ? 1 : fit < w->l ? fit : w->l;
}

template <class T> static rows<T> rows_at(const ln_attention *w, const ln_attention_block &b, T *scores, T *slope) {
  return rows<T>{*w, b.n, b.head, b.row, b.rows, b.columns, b.width, scores, slope};
}

template <class T> static const char *forward_block(const ln_attention *w, const ln_attention_block &b, T *scores, T *, int device) {
  ln_gemm product = ln_attention_scores(w, &b, w->q, w->q_stride, w->k, w->k_stride, w->e, w->scale, sizeof(T), (char *)scores);
  LN_GPU_TRY(ln_gpu_gemm(&product, device));
  LN_GPU_TRY(ln_teams(device, b.heads * b.rows, b.columns, false, probabilities<T>{rows_at<T>(w, b, scores, NULL)}));
  product = ln_attention_rows(w, &b, (char *)scores, w->v, w->v_stride, w->out, w->out_stride, w->ev, 1, sizeof(T));
  return ln_gpu_gemm(&product, device);
}

template <class T> static const char *backward_block(const ln_attention *w, const ln_attention_block &b, T *scores, T *slope, int device) {
  const int item = sizeof(T);
  ln_gemm product = ln_attention_scores(w, &b, w->q, w->q_stride, w->k, w->k_stride, w->e, w->scale, item, (char *)scores);
  LN_GPU_TRY(ln_gpu_gemm(&product, device));
  product = ln_attention_scores(w, &b, w->dout, w->dout_stride, w->v, w->v_stride, w->ev, 1, item, (char *)slope);
  LN_GPU_TRY(ln_gpu_gemm(&product, device));
  LN_GPU_TRY(ln_teams(device, b.heads * b.rows, b.columns, false, slopes<T>{rows_at<T>(w, b, scores, slope)}));
  product = ln_attention_columns(w, &b, (char *)scores, w->dout, w->dout_stride, w->dv, w->dv_stride, w->ev, 1, item);
  LN_GPU_TRY(ln_gpu_gemm(&product, device));
  product = ln_attention_columns(w, &b, (char *)slope, w->q, w->q_stride, w->dk, w->dk_stride, w->e, w->scale, item);
  LN_GPU_TRY(ln_gpu_gemm(&product, device));
  product = ln_attention_rows(w, &b, (char *)slope, w->k, w->k_stride, w->dq, w->dq_stride, w->e, w->scale, item);
  return ln_gpu_gemm(&product, device);
}

template <class T>
static const char *each_block(const ln_attention *w, int device, int buffers,
                              const char *(*run)(const ln_attention *, const ln_attention_block &, T *, T *, int)) {
  int64_t heads = heads_of(w), block = rows_of(w), size = heads * block * w->s;
  ln_scratch scratch(device, sizeof(T) * (size_t)(size * buffers));
  if (scratch.failure) return scratch.failure;
  T *scores = (T *)scratch.memory, *slope = scores + (buffers > 1 ? size : 0);
  for (int64_t n = 0; n < w->n; n++)
    for (int64_t head = 0; head < w->heads; head += heads)
      for (int64_t row = 0; row < w->l; row += block) LN_GPU_TRY(run(w, ln_attention_block_at(w, n, head, heads, row, block), scores, slope, device));
  return NULL;
}

const char *ln_gpu_attention(const ln_attention *w, int device) {
#define ATTENTION(T) each_block<T>(w, device, 1, forward_block<T>)
  LN_BY_FLOAT(w->dtype, ATTENTION);
}

const char *ln_gpu_attention_dx(const ln_attention *w, int device) {
#define ATTENTION_DX(T) each_block<T>(w, device, 2, backward_block<T>)
  LN_BY_FLOAT(w->dtype, ATTENTION_DX);
}
#endif
