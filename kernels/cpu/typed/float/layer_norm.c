/* layer_norm.c - layer and group normalisation of contiguous rows, for one float type and instruction set.
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

/* Where such elements are to be written: in place, or into the buffer, of which put_part then makes them. */
static ln_t *place_of(char *data, const ln_row_norm *w, int64_t row, piece p, ln_t *buffer) {
  return w->dtype == LN_T_DTYPE ? (ln_t *)data + row * w->size + p.from : buffer;
}

static void put_part(char *data, const ln_row_norm *w, int64_t row, piece p, const ln_t *values) {
  int item = ln_cpu_size_of(w->dtype);
  if (w->dtype != LN_T_DTYPE) LN_FN(store)(data + (row * w->size + p.from) * item, item, w->dtype, p.n, values);
}

static piece piece_at(const ln_row_norm *w, int64_t from) { return (piece){from, w->size - from < LN_BUFFER ? w->size - from : LN_BUFFER}; }

#define EACH_PIECE(w, p) for (piece p = piece_at(w, 0); p.from < (w)->size; p = piece_at(w, p.from + LN_BUFFER))

/* The sum of a term of i over a piece, in lanes. */
#define SUM_LANES(n, term)                                       \
  do {                                                           \
    ln_t lane[LN_LANES] = {0};                                   \
    int64_t i = 0;                                               \
    double sum = 0;                                              \
    for (; i + LN_LANES <= (n); i += LN_LANES)                   \
      for (int j = 0; j < LN_LANES; j++) lane[j] += term(i + j); \
    for (int j = 0; i < (n); i++, j++) lane[j] += term(i);       \
    for (int j = 0; j < LN_LANES; j++) sum += (double)lane[j];   \
    return sum;                                                  \
  } while (0)

static double sum_of(const ln_t *x, int64_t n) {
#define OWN(k) x[k]
  SUM_LANES(n, OWN);
}

static double sum_of_squares(const ln_t *x, ln_t mean, int64_t n) {
#define SQUARE(k) (x[k] - mean) * (x[k] - mean)
  SUM_LANES(n, SQUARE);
}

/* The weights or biases of a piece of a row; NULL where there are none. */
static const ln_t *factors(const ln_row_norm *w, const void *all, int64_t row, piece p, ln_t *buffer) {
  if (!all) return NULL;
  const int64_t per_row = w->size / w->inner;
  const ln_t *own = (const ln_t *)all + row % w->groups * per_row;
  if (w->inner == 1) return own + p.from;
  for (int64_t i = 0; i < p.n;) {
    const int64_t at = (p.from + i) / w->inner, left = (at + 1) * w->inner - p.from, end = left < p.n ? left : p.n;
    for (; i < end; i++) buffer[i] = own[at];
  }
  return buffer;
}

static void normalise(const ln_t *restrict x, ln_t mean, ln_t rstd, const ln_t *restrict weight, const ln_t *restrict bias, int64_t n,
                      ln_t *restrict y) {
  if (weight && bias) {
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
  } else {
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd;
    for (int64_t i = 0; weight && i < n; i++) y[i] *= weight[i];
    for (int64_t i = 0; bias && i < n; i++) y[i] += bias[i];
  }
}

static void forward_row(const ln_row_norm *w, int64_t row) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN yb[LN_BUFFER], LN_ALIGN wb[LN_BUFFER], LN_ALIGN bb[LN_BUFFER];
  double sum = 0, squares = 0;
  EACH_PIECE(w, p) { sum += sum_of(part_of(w->x, w, row, p, xb), p.n); }
  ln_t mean = (ln_t)(sum / (double)w->size);
  EACH_PIECE(w, p) { squares += sum_of_squares(part_of(w->x, w, row, p, xb), mean, p.n); }
  ln_t rstd = (ln_t)(1 / sqrt(squares / (double)w->size + w->eps));
  ((ln_t *)w->mean)[row] = mean;
  ((ln_t *)w->rstd)[row] = rstd;
  EACH_PIECE(w, p) {
    const ln_t *x = part_of(w->x, w, row, p, xb), *weight = factors(w, w->weight, row, p, wb), *bias = factors(w, w->bias, row, p, bb);
    ln_t *y = place_of(w->y, w, row, p, yb);
    normalise(x, mean, rstd, weight, bias, p.n, y);
    put_part(w->y, w, row, p, y);
  }
}

const char *LN_FN(layer_norm)(const ln_row_norm *w) {
  LN_SHARE(ln_cpu_threads(w->rows * w->size, LN_GRAIN_LIGHT), row, w->rows, 1, { forward_row(w, row); });
  return NULL;
}

/* Pieces of x and of dy times weight. */
typedef struct weighed {
  LN_ALIGN ln_t xb[LN_BUFFER], db[LN_BUFFER], wb[LN_BUFFER], product[LN_BUFFER];
  const ln_t *x, *dy;
} weighed;

static void weigh(const ln_row_norm *w, int64_t row, piece p, weighed *v) {
  const ln_t *weight = factors(w, w->weight, row, p, v->wb);
  v->x = part_of(w->x, w, row, p, v->xb);
  v->dy = part_of(w->dy, w, row, p, v->db);
  if (!weight) return;
  for (int64_t i = 0; i < p.n; i++) v->product[i] = v->dy[i] * weight[i];
  v->dy = v->product;
}

static double sum_of_hats(const weighed *v, ln_t mean, ln_t rstd, int64_t n) {
  const ln_t *x = v->x, *dy = v->dy;
#define HAT(k) dy[k] * ((x[k] - mean) * rstd)
  SUM_LANES(n, HAT);
}

static void backward_row(const ln_row_norm *w, int64_t row) {
  ln_t LN_ALIGN out[LN_BUFFER], rstd = ((const ln_t *)w->rstd)[row], mean = ((const ln_t *)w->mean)[row];
  double a = 0, b = 0;
  weighed v;
  EACH_PIECE(w, p) {
    weigh(w, row, p, &v);
    a += sum_of(v.dy, p.n);
    b += sum_of_hats(&v, mean, rstd, p.n);
  }
  ln_t shift = (ln_t)(a / (double)w->size), slope = (ln_t)(b / (double)w->size);
  EACH_PIECE(w, p) {
    ln_t *restrict dx = place_of(w->dx, w, row, p, out);
    weigh(w, row, p, &v);
    for (int64_t i = 0; i < p.n; i++) dx[i] = rstd * (v.dy[i] - shift - (v.x[i] - mean) * rstd * slope);
    put_part(w->dx, w, row, p, dx);
  }
}

/* Columns p of the gradients of weight and bias of a kind of rows, over these in order. */
static void backward_columns(const ln_row_norm *w, int64_t kind, piece p) {
  ln_t LN_ALIGN xb[LN_BUFFER], LN_ALIGN db[LN_BUFFER];
  double dw[LN_BUFFER] = {0}, dbias[LN_BUFFER] = {0};
  const int64_t to = kind * w->size + p.from;
  for (int64_t row = kind; row < w->rows; row += w->groups) {
    const ln_t *x = part_of(w->x, w, row, p, xb), *dy = part_of(w->dy, w, row, p, db);
    ln_t mean = ((const ln_t *)w->mean)[row], rstd = ((const ln_t *)w->rstd)[row];
    for (int64_t i = 0; i < p.n; i++) {
      dw[i] += (double)(dy[i] * ((x[i] - mean) * rstd));
      dbias[i] += (double)dy[i];
    }
  }
  for (int64_t i = 0; w->dweight && i < p.n; i++) ((ln_t *)w->dweight)[to + i] = (ln_t)dw[i];
  for (int64_t i = 0; w->dbias && i < p.n; i++) ((ln_t *)w->dbias)[to + i] = (ln_t)dbias[i];
}

/* The gradients of a weight and a bias that belong to many elements of each row. */
static void backward_channel(const ln_row_norm *w, int64_t channel) {
  weighed v;
  const int64_t per_row = w->size / w->inner, first = channel % per_row * w->inner, end = first + w->inner;
  double dw = 0, dbias = 0;
  for (int64_t row = channel / per_row; row < w->rows; row += w->groups) {
    ln_t mean = ((const ln_t *)w->mean)[row], rstd = ((const ln_t *)w->rstd)[row];
    for (int64_t from = first; from < end; from += LN_BUFFER) {
      piece p = {from, end - from < LN_BUFFER ? end - from : LN_BUFFER};
      v.x = part_of(w->x, w, row, p, v.xb);
      v.dy = part_of(w->dy, w, row, p, v.db);
      dw += sum_of_hats(&v, mean, rstd, p.n);
      dbias += sum_of(v.dy, p.n);
    }
  }
  if (w->dweight) ((ln_t *)w->dweight)[channel] = (ln_t)dw;
  if (w->dbias) ((ln_t *)w->dbias)[channel] = (ln_t)dbias;
}

const char *LN_FN(layer_norm_dx)(const ln_row_norm *w) {
  int threads = ln_cpu_threads(w->rows * w->size, LN_GRAIN_LIGHT);
  int64_t weights = w->dweight || w->dbias ? w->groups * (w->size / w->inner) : 0, pieces = (w->size + LN_BUFFER - 1) / LN_BUFFER;
  LN_SHARE(w->dx ? threads : 1, row, w->dx ? w->rows : 0, 1, { backward_row(w, row); });
  if (w->inner > 1)
    LN_SHARE(threads, channel, weights, 1, { backward_channel(w, channel); });
  else
    LN_SHARE(threads, i, weights ? w->groups * pieces : 0, 1, { backward_columns(w, i / pieces, piece_at(w, i % pieces * LN_BUFFER)); });
  return NULL;
}
