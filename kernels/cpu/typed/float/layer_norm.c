/* layer_norm.c - layer normalisation of contiguous rows, for one float type and instruction set.
 *
 * Sums run over pieces of LN_BUFFER elements and are added in double, in the order of the row, so that they do not depend on threads. */
#include "../../cpu.h"

#include <math.h>

typedef struct piece {
  int64_t from, n;
} piece;

/* Elements [p.from, p.from + p.n) of a row in compute type: in place where they lie so, else in the buffer. */
static const ln_t *part_of(const char *data, const ln_row_norm *w, int64_t row, piece p, ln_t *buffer) {
  int item = ln_cpu_size_of(w->dtype);
  const char *at = data + (row * w->size + p.from) * item;
  if (w->dtype == LN_T_DTYPE) return (const ln_t *)at;
  LN_FN(load)(at, item, w->dtype, p.n, buffer);
  return buffer;
}

static void put_part(char *data, const ln_row_norm *w, int64_t row, piece p, const ln_t *values) {
  int item = ln_cpu_size_of(w->dtype);
  LN_FN(store)(data + (row * w->size + p.from) * item, item, w->dtype, p.n, values);
}

static piece piece_at(const ln_row_norm *w, int64_t from) { return (piece){from, w->size - from < LN_BUFFER ? w->size - from : LN_BUFFER}; }

#define EACH_PIECE(w, p) for (piece p = piece_at(w, 0); p.from < (w)->size; p = piece_at(w, p.from + LN_BUFFER))

static double sum_of(const ln_t *x, int64_t n) {
  ln_t lane[LN_LANES] = {0};
  int64_t i = 0;
  double sum = 0;
  for (; i + LN_LANES <= n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] += x[i + j];
  for (int j = 0; i < n; i++, j++) lane[j] += x[i];
  for (int j = 0; j < LN_LANES; j++) sum += (double)lane[j];
  return sum;
}

static void forward_row(const ln_row_norm *w, int64_t row) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN out[LN_BUFFER];
  const ln_t *weight = w->weight, *bias = w->bias;
  double sum = 0, squares = 0;
  EACH_PIECE(w, p) { sum += sum_of(part_of(w->x, w, row, p, xb), p.n); }
  ln_t mean = (ln_t)(sum / (double)w->size);
  EACH_PIECE(w, p) {
    const ln_t *x = part_of(w->x, w, row, p, xb);
    for (int64_t i = 0; i < p.n; i++) out[i] = (x[i] - mean) * (x[i] - mean);
    squares += sum_of(out, p.n);
  }
  ln_t rstd = (ln_t)(1 / sqrt(squares / (double)w->size + w->eps));
  ((ln_t *)w->mean)[row] = mean;
  ((ln_t *)w->rstd)[row] = rstd;
  EACH_PIECE(w, p) {
    const ln_t *x = part_of(w->x, w, row, p, xb);
    for (int64_t i = 0; i < p.n; i++) out[i] = (x[i] - mean) * rstd;
    for (int64_t i = 0; weight && i < p.n; i++) out[i] *= weight[p.from + i];
    for (int64_t i = 0; bias && i < p.n; i++) out[i] += bias[p.from + i];
    put_part(w->y, w, row, p, out);
  }
}

const char *LN_FN(layer_norm)(const ln_row_norm *w) {
  LN_SHARE(ln_cpu_threads(w->rows * w->size, LN_GRAIN_LIGHT), row, w->rows, 1, { forward_row(w, row); });
  return NULL;
}

/* dy times weight, and that times the normalised x. */
static void weigh(const ln_row_norm *w, int64_t row, piece p, ln_t *scaled, ln_t *hat) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN db[LN_BUFFER];
  const ln_t *x = part_of(w->x, w, row, p, xb), *dy = part_of(w->dy, w, row, p, db), *weight = w->weight;
  ln_t mean = ((const ln_t *)w->mean)[row], rstd = ((const ln_t *)w->rstd)[row];
  for (int64_t i = 0; i < p.n; i++) {
    scaled[i] = weight ? dy[i] * weight[p.from + i] : dy[i];
    hat[i] = (x[i] - mean) * rstd;
  }
}

static void backward_row(const ln_row_norm *w, int64_t row) {
  ln_t LN_ALIGN scaled[LN_BUFFER], LN_ALIGN hat[LN_BUFFER], LN_ALIGN out[LN_BUFFER], rstd = ((const ln_t *)w->rstd)[row];
  double a = 0, b = 0;
  EACH_PIECE(w, p) {
    weigh(w, row, p, scaled, hat);
    a += sum_of(scaled, p.n);
    for (int64_t i = 0; i < p.n; i++) out[i] = scaled[i] * hat[i];
    b += sum_of(out, p.n);
  }
  ln_t shift = (ln_t)(a / (double)w->size), slope = (ln_t)(b / (double)w->size);
  EACH_PIECE(w, p) {
    weigh(w, row, p, scaled, hat);
    for (int64_t i = 0; i < p.n; i++) out[i] = rstd * (scaled[i] - shift - hat[i] * slope);
    put_part(w->dx, w, row, p, out);
  }
}

/* Columns p of the gradients of weight and bias, over all rows in order. */
static void backward_columns(const ln_row_norm *w, piece p) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN db[LN_BUFFER];
  double dw[LN_BUFFER] = {0}, dbias[LN_BUFFER] = {0};
  for (int64_t row = 0; row < w->rows; row++) {
    const ln_t *x = part_of(w->x, w, row, p, xb), *dy = part_of(w->dy, w, row, p, db);
    ln_t mean = ((const ln_t *)w->mean)[row], rstd = ((const ln_t *)w->rstd)[row];
    for (int64_t i = 0; i < p.n; i++) {
      dw[i] += (double)(dy[i] * ((x[i] - mean) * rstd));
      dbias[i] += (double)dy[i];
    }
  }
  for (int64_t i = 0; w->dweight && i < p.n; i++) ((ln_t *)w->dweight)[p.from + i] = (ln_t)dw[i];
  for (int64_t i = 0; w->dbias && i < p.n; i++) ((ln_t *)w->dbias)[p.from + i] = (ln_t)dbias[i];
}

const char *LN_FN(layer_norm_dx)(const ln_row_norm *w) {
  int threads = ln_cpu_threads(w->rows * w->size, LN_GRAIN_LIGHT);
  LN_SHARE(w->dx ? threads : 1, row, w->dx ? w->rows : 0, 1, { backward_row(w, row); });
  LN_SHARE(threads, from, w->dweight || w->dbias ? w->size : 0, LN_BUFFER, { backward_columns(w, piece_at(w, from)); });
  return NULL;
}
