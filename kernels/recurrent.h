/* recurrent.h - what the kernels of every device and the rules know of a recurrent layer's rows, and the products of a step. */
#ifndef LUNETTE_RECURRENT_ROWS_H
#define LUNETTE_RECURRENT_ROWS_H

#include "kernels.h"

#include <string.h>

static inline int ln_recurrent_gates(int mode) { return mode >= LN_LSTM ? 4 : 1; }
static inline int64_t ln_recurrent_column(const ln_recurrent *w) { return w->mode == LN_GRU ? w->hidden : 0; }
static inline int64_t ln_recurrent_width(const ln_recurrent *w) { return w->hidden * ln_recurrent_gates(w->mode); }
/* The row of the step before, -1 where that is the first state. */
static inline int64_t ln_recurrent_last_row(const ln_recurrent *w, int64_t t, int64_t b) {
  int64_t last = w->reverse ? t + 1 : t - 1;
  return last >= 0 && last < w->steps && b < w->count[last] ? w->start[last] + b * w->apart : -1;
}
static inline ln_gemm ln_recurrent_begin(const ln_recurrent *w, int64_t n) {
  ln_gemm g;
  memset(&g, 0, sizeof g);
  g.dtype = w->dtype;
  g.batch = 1;
  g.m = n;
  g.alpha = 1;
  return g;
}
/* Sequences [b, ...) of step `t` multiplied with w_hh: dx false: gates += h w_hh^T; true: dh = dgates w_hh, in a GRU added. */
static inline ln_gemm ln_recurrent_product(const ln_recurrent *w, int64_t t, int64_t b, int64_t n, bool dx, int item) {
  int64_t row = w->start[t] + b * w->apart, width = ln_recurrent_width(w), column = ln_recurrent_column(w), gates = width - column;
  ln_gemm g = ln_recurrent_begin(w, n);
  g.b = w->w_hh;
  if (dx) {
    g.n = w->size, g.k = gates;
    g.a = w->dgates + (row * width + column) * item, g.a_row = w->apart * width, g.a_col = 1;
    g.b_row = w->size, g.b_col = 1;
    g.c = w->dh + b * w->size * item, g.c_row = w->size;
    g.beta = w->mode == LN_GRU;
  } else {
    g.n = gates, g.k = w->size;
    g.a = w->h + b * w->size * item, g.a_row = w->size, g.a_col = 1;
    g.b_row = 1, g.b_col = w->size;
    g.c = w->gates + (row * width + column) * item, g.c_row = w->apart * width;
    g.beta = 1;
  }
  return g;
}
/* The same with w_hr: dx false: h = full w_hr^T, full [batch, hidden]; true: dfull = dh w_hr. */
static inline ln_gemm ln_recurrent_projection(const ln_recurrent *w, int64_t b, int64_t n, bool dx, int item) {
  ln_gemm g = ln_recurrent_begin(w, n);
  g.n = dx ? w->hidden : w->size, g.k = dx ? w->size : w->hidden;
  g.a = dx ? w->dh + b * w->size * item : w->full + b * w->hidden * item, g.a_row = g.k, g.a_col = 1;
  g.b = w->w_hr, g.b_row = dx ? w->hidden : 1, g.b_col = dx ? 1 : w->hidden;
  g.c = dx ? w->dfull + b * w->hidden * item : w->h + b * w->size * item, g.c_row = g.n;
  return g;
}

#endif
