/* recurrent.c - the steps of RNN, LSTM (Hochreiter and Schmidhuber, 1997; with projection Sak et al., 2014) and GRU (Cho et al., 2014), for one
 * float type and instruction set.
 *
 * The batch is cut into blocks that do not depend on the number of threads, and a block goes through all steps on one thread: one region for the
 * whole sequence, and no thread waits for another. */
#include "../../cpu.h"

#include "../../../recurrent.h"
#include "../../../formula.h"

/* A block of sequences in one step. */
typedef struct part {
  const ln_recurrent *w;
  int64_t t, b, n; /* step, first sequence, how many */
  int64_t width;
} part;

static ln_t *row_of(const part *p, char *data, int64_t b, int64_t columns) {
  return (ln_t *)data + (p->w->start[p->t] + (p->b + b) * p->w->apart) * columns;
}

static ln_t *state_of(const part *p, char *data, int64_t b, int64_t columns) { return data ? (ln_t *)data + (p->b + b) * columns : NULL; }

static void put(ln_t *to, const ln_t *from, int64_t n) { memcpy(to, from, sizeof *to * (size_t)n); }

/* -- Forward -- */

static void rnn_row(const part *p, ln_t *restrict gates, ln_t *restrict h) {
  int64_t n = p->w->hidden;
  bool is_relu = p->w->mode == LN_RNN_RELU;
  LN_INDEPENDENT
  for (int64_t j = 0; j < n; j++) h[j] = is_relu ? where(lt(gates[j], 0), 0, gates[j]) : tanh(gates[j]);
  put(gates, h, n);
}

static void lstm_row(const part *p, ln_t *restrict gates, ln_t *restrict c, ln_t *restrict cell, ln_t *restrict h) {
  int64_t n = p->w->hidden;
  ln_t *restrict i = gates, *restrict f = gates + n, *restrict g = gates + 2 * n, *restrict o = gates + 3 * n;
  LN_INDEPENDENT
  for (int64_t j = 0; j < n; j++) {
    i[j] = sigmoid(i[j]);
    f[j] = sigmoid(f[j]);
    g[j] = tanh(g[j]);
    o[j] = sigmoid(o[j]);
    ln_t v = f[j] * c[j] + i[j] * g[j];
    c[j] = v;
    cell[j] = v;
    h[j] = o[j] * tanh(v);
  }
}

static void gru_row(const part *p, ln_t *restrict gates, ln_t *restrict h) {
  int64_t size = p->w->hidden;
  ln_t *restrict n = gates, *restrict r = gates + size, *restrict z = gates + 2 * size, *restrict q = gates + 3 * size;
  LN_INDEPENDENT
  for (int64_t j = 0; j < size; j++) {
    r[j] = sigmoid(r[j]);
    z[j] = sigmoid(z[j]);
    n[j] = tanh(n[j] + r[j] * q[j]);
    h[j] = n[j] + z[j] * (h[j] - n[j]);
  }
}

/* q begins with its bias: the product is added. */
static void begin_q(const part *p) {
  int64_t n = p->w->hidden;
  for (int64_t b = 0; b < p->n; b++) {
    ln_t *q = row_of(p, p->w->gates, b, p->width) + 3 * n;
    if (p->w->bias)
      put(q, (const ln_t *)p->w->bias, n);
    else
      memset(q, 0, sizeof *q * (size_t)n);
  }
}

static const char *forward_part(const part *p) {
  const ln_recurrent *w = p->w;
  if (w->mode == LN_GRU) begin_q(p);
  ln_gemm product = ln_recurrent_product(w, p->t, p->b, p->n, false, sizeof(ln_t));
  const char *failure = LN_FN(gemm)(&product);
  for (int64_t b = 0; b < p->n && !failure; b++) {
    ln_t *gates = row_of(p, w->gates, b, p->width), *h = w->w_hr ? state_of(p, w->full, b, w->hidden) : state_of(p, w->h, b, w->size);
    if (w->mode == LN_LSTM)
      lstm_row(p, gates, state_of(p, w->c, b, w->hidden), row_of(p, w->cells, b, w->hidden), h);
    else if (w->mode == LN_GRU)
      gru_row(p, gates, h);
    else
      rnn_row(p, gates, h);
  }
  if (w->w_hr && !failure) {
    product = ln_recurrent_projection(w, p->b, p->n, false, sizeof(ln_t));
    failure = LN_FN(gemm)(&product);
  }
  for (int64_t b = 0; b < p->n && !failure; b++) put(row_of(p, w->y, b, w->size), state_of(p, w->h, b, w->size), w->size);
  return failure;
}

/* -- Backward -- */

static void rnn_row_dx(const part *p, const ln_t *restrict gates, const ln_t *restrict dh, ln_t *restrict d) {
  bool is_relu = p->w->mode == LN_RNN_RELU;
  for (int64_t j = 0; j < p->w->hidden; j++) d[j] = is_relu ? where(le(gates[j], 0), 0, dh[j]) : dh[j] * (1 - gates[j] * gates[j]);
}

/* full: where h before its projection goes, or NULL. */
static void lstm_row_dx(const part *p, const ln_t *gates, const ln_t *cell, const ln_t *last, const ln_t *dh, ln_t *restrict dc, ln_t *restrict d,
                        ln_t *restrict full) {
  int64_t n = p->w->hidden;
  const ln_t *i = gates, *f = gates + n, *g = gates + 2 * n, *o = gates + 3 * n;
  LN_INDEPENDENT
  for (int64_t j = 0; j < n; j++) {
    ln_t v = tanh(cell[j]), dcell = dc[j] + dh[j] * o[j] * (1 - v * v);
    d[j] = dcell * g[j] * i[j] * (1 - i[j]);
    d[n + j] = dcell * last[j] * f[j] * (1 - f[j]);
    d[2 * n + j] = dcell * i[j] * (1 - g[j] * g[j]);
    d[3 * n + j] = dh[j] * v * o[j] * (1 - o[j]);
    dc[j] = dcell * f[j];
  }
  LN_INDEPENDENT
  for (int64_t j = 0; full && j < n; j++) full[j] = o[j] * tanh(cell[j]);
}

/* dh becomes what goes past the gates. */
static void gru_row_dx(const part *p, const ln_t *gates, const ln_t *last, ln_t *restrict dh, ln_t *restrict d) {
  int64_t size = p->w->hidden;
  const ln_t *n = gates, *r = gates + size, *z = gates + 2 * size, *q = gates + 3 * size;
  LN_INDEPENDENT
  for (int64_t j = 0; j < size; j++) {
    ln_t dn = dh[j] * (1 - z[j]) * (1 - n[j] * n[j]);
    d[j] = dn;
    d[size + j] = dn * q[j] * r[j] * (1 - r[j]);
    d[2 * size + j] = dh[j] * (last[j] - n[j]) * z[j] * (1 - z[j]);
    d[3 * size + j] = dn * r[j];
    dh[j] *= z[j];
  }
}

/* What sequence b began the step with: y or cells of the step before, or the first state. */
static const ln_t *last_of(const part *p, const char *rows, const char *first, int64_t b, int64_t columns) {
  int64_t row = ln_recurrent_last_row(p->w, p->t, p->b + b);
  return row < 0 ? (const ln_t *)first + (p->b + b) * columns : (const ln_t *)rows + row * columns;
}

static void backward_row(const part *p, int64_t b) {
  const ln_recurrent *w = p->w;
  ln_t *gates = row_of(p, w->gates, b, p->width), *d = row_of(p, w->dgates, b, p->width), *dh = state_of(p, w->dh, b, w->size);
  const ln_t *last = last_of(p, w->y, w->h0, b, w->size);
  put(row_of(p, w->before, b, w->size), last, w->size);
  if (w->mode == LN_LSTM)
    lstm_row_dx(p, gates, row_of(p, w->cells, b, w->hidden), last_of(p, w->cells, w->c0, b, w->hidden),
                w->w_hr ? state_of(p, w->dfull, b, w->hidden) : dh, state_of(p, w->dc, b, w->hidden), d,
                w->w_hr ? row_of(p, w->full, b, w->hidden) : NULL);
  else if (w->mode == LN_GRU)
    gru_row_dx(p, gates, last, dh, d);
  else
    rnn_row_dx(p, gates, dh, d);
}

static const char *backward_part(const part *p) {
  const ln_recurrent *w = p->w;
  const char *failure = NULL;
  for (int64_t b = 0; b < p->n; b++) {
    ln_t *dh = state_of(p, w->dh, b, w->size);
    const ln_t *dy = w->dy ? row_of(p, (char *)w->dy, b, w->size) : NULL;
    for (int64_t j = 0; dy && j < w->size; j++) dh[j] += dy[j];
    if (w->w_hr) put(row_of(p, w->dout, b, w->size), dh, w->size);
  }
  if (w->w_hr) {
    ln_gemm product = ln_recurrent_projection(w, p->b, p->n, true, sizeof(ln_t));
    failure = LN_FN(gemm)(&product);
  }
  for (int64_t b = 0; b < p->n && !failure; b++) backward_row(p, b);
  if (failure) return failure;
  ln_gemm product = ln_recurrent_product(w, p->t, p->b, p->n, true, sizeof(ln_t));
  return LN_FN(gemm)(&product);
}

/* -- All steps -- */

/* Sequences of a block: 16 or 32, evenly and whatever the number of threads, so that it changes no bit. */
static int64_t block_size(int64_t batch) {
  int64_t most = batch < 64 ? 16 : 32, blocks = (batch + most - 1) / most;
  return ((batch + blocks - 1) / blocks + 3) & ~(int64_t)3;
}

typedef const char *(*part_fn)(const part *p);

static const char *run_block(const ln_recurrent *w, int64_t b, int64_t size, bool from_end, part_fn fn) {
  const char *failure = NULL;
  for (int64_t s = 0; s < w->steps && !failure; s++) {
    part p = {w, from_end ? w->steps - 1 - s : s, b, size, ln_recurrent_width(w)};
    if (p.n > w->count[p.t] - b) p.n = w->count[p.t] - b;
    if (p.n > 0) failure = fn(&p);
  }
  return failure;
}

static const char *run(const ln_recurrent *w, bool from_end, part_fn fn) {
  const char *failure = NULL;
  if (w->batch == 0) return NULL;
  int64_t size = block_size(w->batch), blocks = (w->batch + size - 1) / size;
  int threads = ln_cpu_threads(w->steps * w->batch * ln_recurrent_width(w) * w->size, LN_GRAIN_LIGHT * 4);
  LN_SHARE(threads < blocks ? threads : (int)blocks, b, w->batch, size, {
    const char *answer = run_block(w, b, size < w->batch - b ? size : w->batch - b, from_end, fn);
    if (answer) __atomic_store_n(&failure, answer, __ATOMIC_RELAXED);
  });
  return failure;
}

const char *LN_FN(recurrent)(const ln_recurrent *w) { return run(w, w->reverse, forward_part); }

const char *LN_FN(recurrent_dx)(const ln_recurrent *w) { return run(w, !w->reverse, backward_part); }
