/* softmax.c - softmax and log_softmax along one dimension of [outer, size, inner] and their gradients, for one float type and instruction set.
 *
 * Whatever `inner`, the place of a row and the threads are, an element meets the same instructions: formulas run over whole vectors, and a sum has
 * LN_LANES lanes, which take every LN_LANES-th element and are combined in a tree. */
#include "../../vector.h"

#include <math.h>
#include <stdlib.h>

#include "../../../formula.h"

/* -- What a part of a row, a multiple of LN_LANES elements, contributes -- */

/* The largest number so far; NaN is passed over, as the sum that follows finds it. */
static ln_t part_max(const ln_t *x, int64_t n, ln_t top) {
  vector best[4];
  int64_t i = 0;
  for (int k = 0; k < 4; k++) best[k] = vector_of(top);
  for (; i + 4 * VECTOR <= n; i += 4 * VECTOR)
    for (int k = 0; k < 4; k++) best[k] = larger(*(const vector *)(x + i + k * VECTOR), best[k]);
  for (; i < n; i += VECTOR) best[0] = larger(*(const vector *)(x + i), best[0]);
  best[0] = larger(larger(best[0], best[1]), larger(best[2], best[3]));
  for (int j = 0; j < VECTOR; j++) top = best[0][j] > top ? best[0][j] : top;
  return top;
}

static void part_sum(const ln_t *x, int64_t n, ln_t *lane) {
  for (int64_t i = 0; i < n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] += x[i + j];
}

static void part_sum_of_products(const ln_t *x, const ln_t *y, int64_t n, ln_t *lane) {
  for (int64_t i = 0; i < n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] += x[i + j] * y[i + j];
}

static void part_exp(const ln_t *x, int64_t n, ln_t top, ln_t *e) {
  LN_INDEPENDENT
  for (int64_t k = 0; k < n; k++) e[k] = exp(x[k] - top);
}

/* Sums exp(x - top), which stays in e unless that is NULL. */
static void part_sum_of_exp(const ln_t *x, int64_t n, ln_t top, ln_t *e, ln_t *lane) {
  ln_t LN_ALIGN block[LN_BUFFER];
  for (int64_t k = 0; k < n; k += LN_BUFFER) {
    int64_t m = n - k < LN_BUFFER ? n - k : LN_BUFFER;
    ln_t *to = e ? e + k : block;
    part_exp(x + k, m, top, to);
    part_sum(to, m, lane);
  }
}

static ln_t lanes_sum(ln_t *lane) {
  for (int half = LN_LANES / 2; half; half /= 2)
    for (int j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

/* A number's logarithm by the loop that takes those of many, which may differ from the library's for one. */
static ln_t log_as_vector(ln_t v) {
  ln_t LN_ALIGN x[LN_LANES];
  for (int j = 0; j < LN_LANES; j++) x[j] = v;
  LN_INDEPENDENT
  for (int j = 0; j < LN_LANES; j++) x[j] = log(x[j]);
  return x[0];
}

static void part_finish(const ln_t *x, ln_t *out, int64_t n, bool is_log, ln_t top, ln_t sum) {
  if (is_log) {
    ln_t shift = log_as_vector(sum); /* not added to top, which may be far larger */
    LN_INDEPENDENT
    for (int64_t k = 0; k < n; k++) out[k] = x[k] - top - shift;
  } else {
    ln_t share = 1 / sum;
    for (int64_t k = 0; k < n; k++) out[k] *= share;
  }
}

static void part_finish_dx(const ln_t *y, const ln_t *dy, ln_t *out, int64_t n, bool is_log, ln_t sum) {
  if (is_log) {
    LN_INDEPENDENT
    for (int64_t k = 0; k < n; k++) out[k] = dy[k] - exp(y[k]) * sum;
  } else {
    LN_INDEPENDENT
    for (int64_t k = 0; k < n; k++) out[k] = y[k] * (dy[k] - sum);
  }
}

/* -- Rows whose elements follow each other -- */

/* Memory of the compute type is worked on where it lies but for the last partial vector; any other row goes through buffers. */
typedef struct plan {
  const ln_rows *rows;
  int64_t item, body, tail; /* elements of the first part, and of the second before it is padded */
  bool direct;
} plan;

static plan plan_of(const ln_rows *r) {
  plan p = {.rows = r, .item = ln_cpu_size_of(r->dtype), .direct = r->dtype == LN_T_DTYPE};
  p.tail = p.direct ? r->size % LN_LANES : 0;
  p.body = p.direct ? r->size - p.tail : (r->size + LN_LANES - 1) / LN_LANES * LN_LANES;
  return p;
}

typedef struct line {
  ln_t *body;
  ln_t LN_ALIGN tail[LN_LANES];
} line;

/* Row i of an operand; `room` holds a row that cannot be worked on in place. */
static void open_line(const plan *p, line *l, const char *from, int64_t i, ln_t padding, ln_t *room) {
  const ln_rows *r = p->rows;
  l->body = p->direct ? (ln_t *)(from + i * r->size * p->item) : room;
  if (p->direct) {
    memcpy(l->tail, l->body + p->body, (size_t)p->tail * sizeof(ln_t));
    for (int64_t k = p->tail; k < LN_LANES; k++) l->tail[k] = padding;
  } else {
    LN_FN(load)(from + i * r->size * p->item, p->item, r->dtype, r->size, room);
    for (int64_t k = r->size; k < p->body; k++) room[k] = padding;
  }
}

static void open_result(const plan *p, line *l, int64_t i, ln_t *room) {
  l->body = p->direct ? (ln_t *)(p->rows->out + i * p->rows->size * p->item) : room;
}

static void close_result(const plan *p, const line *l, int64_t i) {
  const ln_rows *r = p->rows;
  if (p->direct)
    memcpy(l->body + p->body, l->tail, (size_t)p->tail * sizeof(ln_t));
  else
    LN_FN(store)(r->out + i * r->size * p->item, p->item, r->dtype, r->size, l->body);
}

static void softmax_row(const plan *p, int64_t i, ln_t *room) {
  bool is_log = p->rows->is_log;
  ln_t LN_ALIGN lane[LN_LANES] = {0};
  line x, y;
  open_line(p, &x, p->rows->x, i, (ln_t)-INFINITY, room);
  open_result(p, &y, i, room + p->body);
  ln_t top = part_max(x.body, p->body, (ln_t)-INFINITY);
  if (p->tail) top = part_max(x.tail, LN_LANES, top);
  part_sum_of_exp(x.body, p->body, top, is_log ? NULL : y.body, lane);
  if (p->tail) part_sum_of_exp(x.tail, LN_LANES, top, is_log ? NULL : y.tail, lane);
  ln_t sum = lanes_sum(lane);
  part_finish(x.body, y.body, p->body, is_log, top, sum);
  if (p->tail) part_finish(x.tail, y.tail, LN_LANES, is_log, top, sum);
  close_result(p, &y, i);
}

static void softmax_dx_row(const plan *p, int64_t i, ln_t *room) {
  bool is_log = p->rows->is_log;
  ln_t LN_ALIGN lane[LN_LANES] = {0};
  line y, dy, dx;
  open_line(p, &y, p->rows->y, i, 0, room);
  open_line(p, &dy, p->rows->dy, i, 0, room + p->body);
  open_result(p, &dx, i, room);
  if (is_log) {
    part_sum(dy.body, p->body, lane);
    if (p->tail) part_sum(dy.tail, LN_LANES, lane);
  } else {
    part_sum_of_products(dy.body, y.body, p->body, lane);
    if (p->tail) part_sum_of_products(dy.tail, y.tail, LN_LANES, lane);
  }
  ln_t sum = lanes_sum(lane);
  part_finish_dx(y.body, dy.body, dx.body, p->body, is_log, sum);
  if (p->tail) part_finish_dx(y.tail, dy.tail, dx.tail, LN_LANES, is_log, sum);
  close_result(p, &dx, i);
}

/* -- Rows side by side: a panel of them advances together -- */

#define PANEL 64

typedef struct panel {
  const ln_rows *rows;
  int64_t start, stride, item, columns, width; /* offset of the first row, bytes to the next element of a row, columns in whole vectors */
  bool direct;
} panel;

static panel panel_of(const ln_rows *r, int64_t i) {
  int64_t panels = (r->inner + PANEL - 1) / PANEL, c = i % panels * PANEL;
  panel p = {.rows = r, .item = ln_cpu_size_of(r->dtype), .columns = r->inner - c < PANEL ? r->inner - c : PANEL};
  p.stride = p.item * r->inner;
  p.start = i / panels * r->size * p.stride + c * p.item;
  p.width = (p.columns + LN_LANES - 1) / LN_LANES * LN_LANES;
  p.direct = r->dtype == LN_T_DTYPE && p.columns == p.width;
  return p;
}

/* Element k of every row. */
static ln_t *read_across(const panel *p, const char *from, int64_t k, ln_t *room) {
  const char *at = from + p->start + k * p->stride;
  if (p->direct) return (ln_t *)at;
  LN_FN(load)(at, p->item, p->rows->dtype, p->columns, room);
  return room;
}

static ln_t *across_out(const panel *p, int64_t k, ln_t *room) { return p->direct ? (ln_t *)(p->rows->out + p->start + k * p->stride) : room; }

static void write_across(const panel *p, int64_t k, const ln_t *row) {
  if (!p->direct) LN_FN(store)(p->rows->out + p->start + k * p->stride, p->item, p->rows->dtype, p->columns, row);
}

typedef ln_t across[PANEL];

static void lanes_sum_across(across *lane, int64_t width) {
  for (int half = LN_LANES / 2; half; half /= 2)
    for (int j = 0; j < half; j++)
      for (int64_t c = 0; c < width; c++) lane[j][c] += lane[j + half][c];
}

static void top_across(const panel *p, ln_t *top, ln_t *room) {
  for (int64_t c = 0; c < p->width; c++) top[c] = (ln_t)-INFINITY;
  for (int64_t k = 0; k < p->rows->size; k++) {
    const ln_t *x = read_across(p, p->rows->x, k, room);
    for (int64_t c = 0; c < p->width; c += VECTOR) *(vector *)(top + c) = larger(*(const vector *)(x + c), *(const vector *)(top + c));
  }
}

static void softmax_panel(const ln_rows *r, int64_t i) {
  across LN_ALIGN lane[LN_LANES] = {{0}}, LN_ALIGN x_room = {0}, LN_ALIGN y_room = {0}, LN_ALIGN top, LN_ALIGN last;
  panel p = panel_of(r, i);
  bool keeps = p.direct && !r->is_log; /* the result's memory holds what the sum was made of */
  top_across(&p, top, x_room);
  for (int64_t k = 0; k < r->size; k++) {
    const ln_t *x = read_across(&p, r->x, k, x_room);
    ln_t *e = keeps ? across_out(&p, k, y_room) : y_room, *to = lane[k % LN_LANES];
    LN_INDEPENDENT
    for (int64_t c = 0; c < p.width; c++) e[c] = exp(x[c] - top[c]);
    for (int64_t c = 0; c < p.width; c++) to[c] += e[c];
  }
  lanes_sum_across(lane, p.width);
  for (int64_t c = 0; c < p.width; c++) last[c] = r->is_log ? log(lane[0][c]) : 1 / lane[0][c];
  for (int64_t k = 0; k < r->size; k++) {
    const ln_t *x = read_across(&p, r->x, k, x_room);
    ln_t *y = across_out(&p, k, y_room);
    if (r->is_log) {
      LN_INDEPENDENT
      for (int64_t c = 0; c < p.width; c++) y[c] = x[c] - top[c] - last[c];
    } else if (keeps) {
      LN_INDEPENDENT
      for (int64_t c = 0; c < p.width; c++) y[c] *= last[c];
    } else {
      LN_INDEPENDENT
      for (int64_t c = 0; c < p.width; c++) y[c] = exp(x[c] - top[c]) * last[c];
    }
    write_across(&p, k, y);
  }
}

static void softmax_dx_panel(const ln_rows *r, int64_t i) {
  across LN_ALIGN lane[LN_LANES] = {{0}}, LN_ALIGN y_room = {0}, LN_ALIGN dy_room = {0}, LN_ALIGN dx_room;
  panel p = panel_of(r, i);
  for (int64_t k = 0; k < r->size; k++) {
    const ln_t *dy = read_across(&p, r->dy, k, dy_room), *y = r->is_log ? NULL : read_across(&p, r->y, k, y_room);
    ln_t *to = lane[k % LN_LANES];
    for (int64_t c = 0; c < p.width; c++) to[c] += y ? dy[c] * y[c] : dy[c];
  }
  lanes_sum_across(lane, p.width);
  for (int64_t k = 0; k < r->size; k++) {
    const ln_t *dy = read_across(&p, r->dy, k, dy_room), *y = read_across(&p, r->y, k, y_room), *sum = lane[0];
    ln_t *dx = across_out(&p, k, dx_room);
    LN_INDEPENDENT
    for (int64_t c = 0; c < p.width; c++) dx[c] = r->is_log ? dy[c] - exp(y[c]) * sum[c] : y[c] * (dy[c] - sum[c]);
    write_across(&p, k, dx);
  }
}

/* -- Both -- */

typedef void (*row_fn)(const plan *p, int64_t i, ln_t *room);
typedef void (*panel_fn)(const ln_rows *r, int64_t i);

static const char *each_row(const ln_rows *r, row_fn row, panel_fn panel) {
  int64_t n = r->outer * r->inner;
  if (n == 0 || r->size == 0) return NULL;
  int threads = ln_cpu_threads(n * r->size, LN_GRAIN_HEAVY);
  if (r->inner > 1) {
    LN_SHARE(threads, i, r->outer * ((r->inner + PANEL - 1) / PANEL), 1, { panel(r, i); });
    return NULL;
  }
  plan p = plan_of(r);
  ln_t *room = p.direct ? NULL : aligned_alloc(64, (size_t)(threads * 2 * p.body) * sizeof(ln_t));
  if (!room && !p.direct) return "out of memory for a row";
  LN_SHARE(threads, i, n, 1, { row(&p, i, room ? room + omp_get_thread_num() * 2 * p.body : NULL); });
  free(room);
  return NULL;
}

const char *LN_FN(softmax)(const ln_rows *r) { return each_row(r, softmax_row, softmax_panel); }

const char *LN_FN(softmax_dx)(const ln_rows *r) { return each_row(r, softmax_dx_row, softmax_dx_panel); }
