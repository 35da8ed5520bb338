/* recurrent.c - RNN, LSTM, GRU: a layer, and a network of layers.
 *
 * A layer multiplies the input of all steps at once, runs a kernel over the steps, and backward multiplies the gradients of all steps at once again.
 * Every operand has its rows in one order: step by step, or sequence by sequence where the input lies so, which saves a copy. */
#include "recurrent.h"

#include "../../kernels/recurrent.h"

/* -- What a layer is given -- */

static void set_dtype(ln_layer *l) {
  l->out = l->x->dtype;
  l->dtype = l->out == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32;
}

/* A layer from the operands and attributes that all rows have; what else a row has follows. */
#define LAYER(op, ...)                           \
  ARGS(op);                                      \
  ln_layer l = {.reverse = r_bool(r, a_reverse), \
                .x = input,                      \
                .h0 = h0,                        \
                .sizes = batch_sizes,            \
                .w_ih = weight_ih,               \
                .w_hh = weight_hh,               \
                .b_ih = bias_ih,                 \
                .b_hh = bias_hh,                 \
                .i_sizes = i_batch_sizes,        \
                __VA_ARGS__};                    \
  set_dtype(&l);                                 \
  return l

static ln_layer lstm_of(ln_rule *r) { LAYER(lstm_layer, .mode = LN_LSTM, .c0 = c0, .w_hr = weight_hr); }

static ln_layer gru_of(ln_rule *r) { LAYER(gru_layer, .mode = LN_GRU); }

static ln_layer rnn_of(ln_rule *r) { LAYER(rnn_layer, .mode = r_int(r, a_nonlinearity) ? LN_RNN_RELU : LN_RNN_TANH); }

/* Rows of the weights for one of `hidden`. */
static int64_t blocks_of(int mode) { return mode == LN_LSTM ? 4 : mode == LN_GRU ? 3 : 1; }

static bool check_matrix(ln_rule *r, const char *name, const ln_tensor *t, int64_t rows, int64_t columns) {
  return r_require(r, t->ndim == 2 && t->shape[0] == rows && t->shape[1] == columns, "%s must have the shape {%lld, %lld}, got %s", name,
                   (long long)rows, (long long)columns, ln_shape_text(t->shape, t->ndim));
}

static bool check_dtypes(ln_rule *r, const ln_layer *l) {
  const ln_tensor *const all[] = {l->h0, l->c0, l->w_ih, l->w_hh, l->b_ih, l->b_hh, l->w_hr};
  for (int i = 0; i < 7; i++) {
    if (!all[i]) continue;
    if (!r_check_same_dtype(r, l->x, all[i]) || !r_require(r, all[i]->device == l->x->device, "input, states and weights must be on one device"))
      return false;
  }
  return true;
}

static bool check_weights(ln_rule *r, ln_layer *l) {
  int ndim = l->sizes ? 2 : 3;
  if (!check_dtypes(r, l) || !r_check_ndim(r, "input", l->x, ndim) || !r_check_ndim(r, "h0", l->h0, 2) || !r_check_ndim(r, "weight_hh", l->w_hh, 2))
    return false;
  int64_t blocks = blocks_of(l->mode);
  l->input = l->x->shape[ndim - 1];
  l->batch = l->h0->shape[0];
  l->size = l->w_hh->shape[1];
  l->hidden = l->w_hh->shape[0] / blocks;
  return r_require(r, l->hidden > 0 && l->size > 0, "the hidden size must be above 0, got weight_hh of shape %s", ln_shape_text(l->w_hh->shape, 2)) &&
         check_matrix(r, "weight_hh", l->w_hh, blocks * l->hidden, l->w_hr ? l->size : l->hidden) && r_check_ndim(r, "weight_ih", l->w_ih, 2) &&
         r_require(r, l->w_ih->shape[1] == l->input, "the last dimension of input must be %lld, got shape %s", (long long)l->w_ih->shape[1],
                   ln_shape_text(l->x->shape, l->x->ndim)) &&
         check_matrix(r, "weight_ih", l->w_ih, blocks * l->hidden, l->input) && check_matrix(r, "h0", l->h0, l->batch, l->size) &&
         (!l->c0 || check_matrix(r, "c0", l->c0, l->batch, l->hidden)) && (!l->w_hr || check_matrix(r, "weight_hr", l->w_hr, l->size, l->hidden)) &&
         r_check_vector(r, "bias_ih", l->b_ih, blocks * l->hidden, "rows of weight_ih") &&
         r_check_vector(r, "bias_hh", l->b_hh, blocks * l->hidden, "rows of weight_hh");
}

/* -- Steps and rows -- */

/* Sequence by sequence in memory, [N, T, I] seen as [T, N, I]? */
static bool is_batch_major(const ln_layer *l) {
  const ln_tensor *x = l->x;
  return !l->sizes && l->dtype == x->dtype && x->shape[0] > 1 && x->shape[1] > 1 && x->stride[0] == l->input && x->stride[1] == l->steps * l->input &&
         (x->stride[2] == 1 || l->input == 1);
}

static bool packed_steps(ln_rule *r, ln_layer *l) {
  const int64_t *count = (const int64_t *)l->sizes->data;
  l->rows = 0;
  for (int64_t t = 0; t < l->steps; t++) {
    int64_t most = t ? count[t - 1] : l->batch;
    if (!r_require(r, count[t] > 0 && count[t] <= most,
                   "batch_sizes must be above 0, at most the number of sequences in h0, and never grow: entry %lld is %lld, after %lld", (long long)t,
                   (long long)count[t], (long long)most))
      return false;
    l->start[t] = l->rows;
    l->rows += l->count[t] = count[t];
  }
  return r_require(r, l->rows == l->x->shape[0], "batch_sizes add up to %lld, but input has the shape %s", (long long)l->rows,
                   ln_shape_text(l->x->shape, 2));
}

static bool read_steps(ln_rule *r, ln_layer *l) {
  if (l->sizes && !r_require(r, l->sizes->ndim == 1 && l->sizes->dtype == LN_INT64 && l->sizes->device == LN_CPU && ln_tensor_is_contiguous(l->sizes),
                             "batch_sizes must be a contiguous int64 vector on the cpu"))
    return false;
  l->steps = l->sizes ? l->sizes->shape[0] : l->x->shape[0];
  if (!r_require(r, l->steps > 0, "at least one step is needed, got an input of shape %s", ln_shape_text(l->x->shape, l->x->ndim))) return false;
  const int64_t room[2] = {2, l->steps};
  ln_tensor *numbers;
  if (!r_status(r, ln_new(room, 2, LN_INT64, LN_CPU, &numbers))) return false;
  r_own(r, numbers);
  l->start = (int64_t *)numbers->data;
  l->count = l->start + l->steps;
  l->apart = 1;
  l->batch_major = is_batch_major(l);
  if (l->sizes) return packed_steps(r, l);
  if (!r_require(r, l->x->shape[1] == l->batch, "h0 has %lld sequences, input %lld (shapes %s and %s)", (long long)l->batch,
                 (long long)l->x->shape[1], ln_shape_text(l->h0->shape, 2), ln_shape_text(l->x->shape, 3)))
    return false;
  l->rows = l->steps * l->batch;
  if (l->batch_major) l->apart = l->steps;
  for (int64_t t = 0; t < l->steps; t++) {
    l->start[t] = l->batch_major ? t : t * l->batch;
    l->count[t] = l->batch;
  }
  return true;
}

static bool check_layer(ln_rule *r, ln_layer *l) { return check_weights(r, l) && read_steps(r, l); }

int ln_layer_shape(const ln_layer *l, int64_t columns, int64_t *shape) {
  int n = 0;
  shape[n++] = l->sizes ? l->rows : l->steps;
  if (!l->sizes) shape[n++] = l->batch;
  shape[n++] = columns;
  return n;
}

/* Strides of the same in the order of the rows. */
static void stride_of(const ln_layer *l, int64_t columns, int64_t *stride) {
  int n = 0;
  stride[n++] = l->sizes || l->batch_major ? columns : l->batch * columns;
  if (!l->sizes) stride[n++] = l->batch_major ? l->steps * columns : columns;
  stride[n] = 1;
}

/* t, shaped as the input, as a matrix of rows in the compute dtype. */
static ln_tensor *rows_of(ln_rule *r, const ln_layer *l, ln_tensor *t, int64_t columns) {
  if (!t) return NULL;
  if (l->batch_major) t = r_look(r, t, (int64_t[]){l->batch, l->steps, columns}, (int64_t[]){t->stride[1], t->stride[0], t->stride[2]}, 3, 0);
  return r_look(r, r_dense(r, t, l->dtype), (int64_t[]){l->rows, columns}, (int64_t[]){columns, 1}, 2, 0);
}

static ln_tensor *matrix(ln_rule *r, const ln_layer *l, int64_t rows, int64_t columns) { return r_new(r, (int64_t[]){rows, columns}, 2, l->dtype); }

/* A copy of a state, zeros for none. */
static ln_tensor *state(ln_rule *r, const ln_layer *l, ln_tensor *from, int64_t columns) {
  ln_tensor *t = from ? matrix(r, l, l->batch, columns) : r_zeros(r, (int64_t[]){l->batch, columns}, 2, l->dtype);
  if (from) r_copy(r, t, from);
  return t;
}

/* -- Products of all rows -- */

static ln_tensor *columns_of(ln_rule *r, ln_tensor *t, int64_t from, int64_t n) {
  return t ? r_look(r, t, (int64_t[]){t->shape[0], n}, t->stride, 2, from) : NULL;
}

static ln_tensor *some_rows(ln_rule *r, ln_tensor *t, int64_t from, int64_t n) {
  return t ? r_look(r, t, (int64_t[]){n, t->shape[1]}, t->stride, 2, from * t->stride[0]) : NULL;
}

static ln_tensor *turned(ln_rule *r, ln_tensor *t) {
  return t ? r_look(r, t, (int64_t[]){t->shape[1], t->shape[0]}, (int64_t[]){t->stride[1], t->stride[0]}, 2, 0) : NULL;
}

/* y = a b + beta y + bias. */
static void multiply(ln_rule *r, const ln_tensor *a, const ln_tensor *b, const ln_tensor *y, double beta, const ln_tensor *bias) {
  if (!a || !b || !y || !r_ok(r)) return;
  ln_gemm g = {.dtype = y->dtype,
               .batch = 1,
               .m = y->shape[0],
               .n = y->shape[1],
               .k = a->shape[1],
               .a = a->data,
               .b = b->data,
               .c = y->data,
               .bias = bias ? bias->data : NULL,
               .a_row = a->stride[0],
               .a_col = a->stride[1],
               .b_row = b->stride[0],
               .b_col = b->stride[1],
               .c_row = y->stride[0],
               .alpha = 1,
               .beta = beta};
  KERNEL(r, gemm, &g);
}

/* Columns of the gates that belong to rows of weight_ih. */
typedef struct piece {
  int64_t column, row, n;
} piece;

/* One piece, or in a GRU, where n stands before r and z, two; how many. */
static int pieces_of(const ln_layer *l, piece *p) {
  int64_t n = l->hidden;
  p[0] = l->mode == LN_GRU ? (piece){0, 2 * n, n} : (piece){0, 0, blocks_of(l->mode) * n};
  p[1] = (piece){n, 0, 2 * n};
  return l->mode == LN_GRU ? 2 : 1;
}

static ln_tensor *entries(ln_rule *r, ln_tensor *t, int64_t from, int64_t n) { return t ? r_look(r, t, &n, (int64_t[]){1}, 1, from) : NULL; }

/* What is added to the product of the input: both biases, but of n in a GRU only the first. */
static ln_tensor *bias_of(ln_rule *r, const ln_layer *l, const piece *p) {
  ln_tensor *a = entries(r, r_dense(r, l->b_ih, l->dtype), p->row, p->n), *b = entries(r, r_dense(r, l->b_hh, l->dtype), p->row, p->n);
  if (l->mode == LN_GRU && p->column == 0) return a;
  return a && b ? r_do2(r, LN_OP_add, a, b) : a ? a : b;
}

static void multiply_input(ln_rule *r, const ln_layer *l, ln_tensor *x, ln_tensor *gates) {
  piece p[2];
  ln_tensor *w = r_dense(r, l->w_ih, l->dtype);
  for (int i = 0, n = pieces_of(l, p); i < n; i++)
    multiply(r, x, turned(r, some_rows(r, w, p[i].row, p[i].n)), columns_of(r, gates, p[i].column, p[i].n), 0, bias_of(r, l, &p[i]));
}

/* -- A layer forward -- */

static char *data_of(const ln_tensor *t) { return t ? t->data : NULL; }

static ln_recurrent work_of(const ln_layer *l, const ln_tensor *w_hh, const ln_tensor *w_hr) {
  return (ln_recurrent){.dtype = l->dtype,
                        .mode = l->mode,
                        .reverse = l->reverse,
                        .steps = l->steps,
                        .batch = l->batch,
                        .hidden = l->hidden,
                        .size = l->size,
                        .start = l->start,
                        .count = l->count,
                        .apart = l->apart,
                        .w_hh = data_of(w_hh),
                        .w_hr = data_of(w_hr)};
}

/* y, shaped as the input; `memory`: as rows of the compute dtype. */
static ln_tensor *make_y(ln_rule *r, const ln_layer *l, ln_tensor **memory) {
  int64_t shape[3], stride[3];
  int n = ln_layer_shape(l, l->size, shape);
  stride_of(l, l->size, stride);
  ln_tensor *y = l->out == l->dtype ? r_out_strided(r, 0, shape, stride, n, l->out) : r_new_strided(r, shape, stride, n, l->dtype);
  *memory = y;
  return y;
}

static ln_tensor *bias_of_q(ln_rule *r, const ln_layer *l) {
  return l->mode == LN_GRU ? entries(r, r_dense(r, l->b_hh, l->dtype), 2 * l->hidden, l->hidden) : NULL;
}

/* Kept for backward: the gates of all rows, the cells of an LSTM, y, and all that is given. */
static void forward(ln_rule *r, ln_layer l) {
  if (!check_layer(r, &l)) return;
  ln_tensor *w_hh = r_dense(r, l.w_hh, l.dtype), *w_hr = r_dense(r, l.w_hr, l.dtype), *bias = bias_of_q(r, &l), *y;
  ln_recurrent work = work_of(&l, w_hh, w_hr);
  ln_tensor *gates = r_keep(r, 0, matrix(r, &l, l.rows, ln_recurrent_width(&work)));
  ln_tensor *cells = l.mode == LN_LSTM ? r_keep(r, 1, matrix(r, &l, l.rows, l.hidden)) : NULL;
  ln_tensor *h = state(r, &l, l.h0, l.size), *c = l.c0 ? state(r, &l, l.c0, l.hidden) : NULL;
  ln_tensor *full = l.w_hr ? matrix(r, &l, l.batch, l.hidden) : NULL;
  multiply_input(r, &l, rows_of(r, &l, l.x, l.input), gates);
  r->keep_in = ~(uint64_t)0;
  r->keep_out = 1;
  if (!make_y(r, &l, &y) || !r_ok(r)) return;
  work.gates = gates->data;
  work.cells = data_of(cells);
  work.y = y->data;
  work.h = h->data;
  work.c = data_of(c);
  work.full = data_of(full);
  work.bias = data_of(bias);
  KERNEL(r, recurrent, &work);
  if (!r->out[0]) r_result(r, 0, r_to(r, y, l.out));
  r_result(r, 1, r_to(r, h, l.out));
  if (c) r_result(r, 2, r_to(r, c, l.out));
}

/* -- A layer backward -- */

static void give_weights(ln_rule *r, const ln_layer *l, ln_tensor *x, ln_tensor *dgates, const ln_recurrent *work, ln_tensor *before) {
  piece p[2];
  int at = l->i_sizes + 1, n = pieces_of(l, p);
  ln_tensor *dw = r->needs[at] ? matrix(r, l, l->w_ih->shape[0], l->input) : NULL;
  ln_tensor *db = l->b_ih && r->needs[at + 2] ? r_new(r, l->b_ih->shape, 1, l->dtype) : NULL;
  for (int i = 0; i < n; i++) {
    ln_tensor *d = columns_of(r, dgates, p[i].column, p[i].n);
    multiply(r, turned(r, d), x, some_rows(r, dw, p[i].row, p[i].n), 0, NULL);
    if (db) r_copy(r, entries(r, db, p[i].row, p[i].n), r_sum(r, d, 1, false));
  }
  r_give(r, at, dw);
  r_give(r, at + 2, db);
  int64_t column = ln_recurrent_column(work);
  ln_tensor *d = columns_of(r, dgates, column, dgates->shape[1] - column);
  if (r->needs[at + 1]) {
    dw = matrix(r, l, l->w_hh->shape[0], l->size);
    multiply(r, turned(r, d), before, dw, 0, NULL);
    r_give(r, at + 1, dw);
  }
  if (l->b_hh && r->needs[at + 3]) r_give(r, at + 3, r_sum(r, d, 1, false));
}

static void give_input(ln_rule *r, const ln_layer *l, ln_tensor *dgates) {
  piece p[2];
  int64_t shape[3], stride[3];
  int ndim = ln_layer_shape(l, l->input, shape);
  stride_of(l, l->input, stride);
  ln_tensor *dx = r_new_strided(r, shape, stride, ndim, l->dtype), *w = r_dense(r, l->w_ih, l->dtype);
  ln_tensor *rows = r_look(r, dx, (int64_t[]){l->rows, l->input}, (int64_t[]){l->input, 1}, 2, 0);
  for (int i = 0, n = pieces_of(l, p); i < n; i++)
    multiply(r, columns_of(r, dgates, p[i].column, p[i].n), some_rows(r, w, p[i].row, p[i].n), rows, i > 0, NULL);
  r_give(r, I_INPUT, dx);
}

static void give_projection(ln_rule *r, const ln_layer *l, ln_tensor *dout, ln_tensor *full) {
  int at = l->i_sizes + 5;
  if (!r->needs[at]) return;
  ln_tensor *dw = matrix(r, l, l->size, l->hidden);
  multiply(r, turned(r, dout), full, dw, 0, NULL);
  r_give(r, at, dw);
}

static void fused(ln_rule *r, const ln_layer *l) {
  ln_tensor *w_hh = r_dense(r, l->w_hh, l->dtype), *w_hr = r_dense(r, l->w_hr, l->dtype);
  ln_recurrent work = work_of(l, w_hh, w_hr);
  bool lstm = l->mode == LN_LSTM;
  ln_tensor *dgates = matrix(r, l, l->rows, ln_recurrent_width(&work)), *before = matrix(r, l, l->rows, l->size);
  ln_tensor *dh = state(r, l, r->g[1], l->size), *dc = lstm ? state(r, l, r->g[2], l->hidden) : NULL;
  ln_tensor *h0 = r_dense(r, l->h0, l->dtype), *c0 = r_dense(r, l->c0, l->dtype), *y = rows_of(r, l, r->out[0], l->size);
  ln_tensor *dy = rows_of(r, l, r->g[0], l->size), *dout = w_hr ? matrix(r, l, l->rows, l->size) : NULL;
  ln_tensor *full = w_hr ? matrix(r, l, l->rows, l->hidden) : NULL, *dfull = w_hr ? matrix(r, l, l->batch, l->hidden) : NULL;
  if (!r_ok(r)) return;
  work.gates = r->extra[0]->data;
  work.cells = lstm ? r->extra[1]->data : NULL;
  work.y = y->data;
  work.h0 = h0->data;
  work.c0 = data_of(c0);
  work.dy = data_of(dy);
  work.dgates = dgates->data;
  work.before = before->data;
  work.dh = dh->data;
  work.dc = data_of(dc);
  work.dout = data_of(dout);
  work.full = data_of(full);
  work.dfull = data_of(dfull);
  if (!KERNEL(r, recurrent_dx, &work)) return;
  r_give(r, I_H0, dh);
  if (lstm) r_give(r, l->i_sizes - 1, dc);
  if (w_hr) give_projection(r, l, dout, full);
  give_weights(r, l, rows_of(r, l, l->x, l->input), dgates, &work, before);
  if (r->needs[I_INPUT]) give_input(r, l, dgates);
}

static void backward(ln_rule *r, ln_layer l) {
  if (!check_layer(r, &l)) return;
  if (ln_mode_get() & LN_MODE_GRAD)
    ln_layer_graph(r, &l);
  else
    fused(r, &l);
}

void lstm_layer_forward(ln_rule *r) { forward(r, lstm_of(r)); }
void lstm_layer_backward(ln_rule *r) { backward(r, lstm_of(r)); }
void gru_layer_forward(ln_rule *r) { forward(r, gru_of(r)); }
void gru_layer_backward(ln_rule *r) { backward(r, gru_of(r)); }
void rnn_layer_forward(ln_rule *r) { forward(r, rnn_of(r)); }
void rnn_layer_backward(ln_rule *r) { backward(r, rnn_of(r)); }
