/* recurrent_graph.c - the gradient of a recurrent layer made of operators, for where it is differentiated again: the steps are computed once more and
 * then followed back one by one. */
#include "recurrent.h"

#include <stdlib.h>

/* One step: what it began with and its gates, for its n sequences. */
typedef struct moment {
  ln_tensor *x, *h, *c;
  ln_tensor *gate[4]; /* RNN h; LSTM i f g o; GRU r z n and what r multiplies */
  ln_tensor *cell, *full;
  int64_t n;
} moment;

/* What the steps add up to. */
typedef struct sums {
  ln_tensor *dw_ih, *dw_hh, *db_ih, *db_hh, *dw_hr;
  ln_tensor **dx; /* [steps] */
  ln_tensor *dh, *dc;
} sums;

static ln_tensor *times(ln_rule *r, ln_tensor *a, ln_tensor *b) { return r_do2(r, LN_OP_mul, a, b); }

static ln_tensor *plus(ln_rule *r, ln_tensor *a, ln_tensor *b) { return !a ? b : b ? r_do2(r, LN_OP_add, a, b) : a; }

static ln_tensor *product(ln_rule *r, ln_tensor *a, ln_tensor *b) { return r_do2(r, LN_OP_matmul, a, b); }

static ln_tensor *turned(ln_rule *r, ln_tensor *t) { return r_transpose(r, t, 0, 1); }

/* a (1 - b) */
static ln_tensor *times_rest(ln_rule *r, ln_tensor *a, ln_tensor *b) { return r_do2(r, LN_OP_sub, a, times(r, a, b)); }

/* a b (1 - b): the slope of a sigmoid */
static ln_tensor *sigmoid_slope(ln_rule *r, ln_tensor *a, ln_tensor *b) { return times_rest(r, times(r, a, b), b); }

/* a (1 - b^2): the slope of tanh */
static ln_tensor *tanh_slope(ln_rule *r, ln_tensor *a, ln_tensor *b) { return times_rest(r, a, times(r, b, b)); }

static ln_tensor *linear(ln_rule *r, ln_tensor *x, ln_tensor *w, ln_tensor *b) {
  ln_tensor *const in[3] = {x, w, b};
  return x && w ? r_do(r, LN_OP_linear, in, 3, NULL) : NULL;
}

static ln_tensor *cat(ln_rule *r, ln_tensor *const *parts, int n, int dim) {
  SLOTS(cat);
  ln_attrs attrs;
  for (int i = 0; i < n; i++)
    if (!parts[i]) return NULL;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  return n == 1 ? parts[0] : r_do(r, LN_OP_cat, parts, n, &attrs);
}

static ln_tensor *first_rows(ln_rule *r, ln_tensor *t, int64_t n) { return t && t->shape[0] == n ? t : r_narrow(r, t, 0, 0, n); }

/* t with other first rows. */
static ln_tensor *with_rows(ln_rule *r, ln_tensor *t, ln_tensor *rows) {
  if (!t || !rows || rows->shape[0] == t->shape[0]) return rows;
  return cat(r, (ln_tensor *const[]){rows, r_narrow(r, t, 0, rows->shape[0], t->shape[0] - rows->shape[0])}, 2, 0);
}

/* Step t of what is shaped as the input. */
static ln_tensor *step_of(ln_rule *r, const ln_layer *l, ln_tensor *all, int64_t t) {
  return l->sizes ? r_narrow(r, all, 0, l->start[t], l->count[t]) : r_select(r, all, 0, t);
}

/* -- The steps again -- */

static ln_tensor *block(ln_rule *r, const ln_layer *l, ln_tensor *z, int k) { return r_narrow(r, z, 1, k * l->hidden, l->hidden); }

static ln_tensor *lstm_step(ln_rule *r, const ln_layer *l, moment *m, ln_tensor *zx, ln_tensor *zh) {
  ln_tensor *z = plus(r, zx, zh);
  for (int k = 0; k < 4; k++) m->gate[k] = r_do1(r, k == 2 ? LN_OP_tanh : LN_OP_sigmoid, block(r, l, z, k));
  m->cell = plus(r, times(r, m->gate[1], m->c), times(r, m->gate[0], m->gate[2]));
  m->full = times(r, m->gate[3], r_do1(r, LN_OP_tanh, m->cell));
  return l->w_hr ? linear(r, m->full, l->w_hr, NULL) : m->full;
}

static ln_tensor *gru_step(ln_rule *r, const ln_layer *l, moment *m, ln_tensor *zx, ln_tensor *zh) {
  for (int k = 0; k < 2; k++) m->gate[k] = r_do1(r, LN_OP_sigmoid, plus(r, block(r, l, zx, k), block(r, l, zh, k)));
  m->gate[3] = block(r, l, zh, 2);
  m->gate[2] = r_do1(r, LN_OP_tanh, plus(r, block(r, l, zx, 2), times(r, m->gate[0], m->gate[3])));
  return plus(r, m->gate[2], times(r, m->gate[1], r_do2(r, LN_OP_sub, m->h, m->gate[2])));
}

static ln_tensor *rnn_step(ln_rule *r, const ln_layer *l, moment *m, ln_tensor *zx, ln_tensor *zh) {
  return m->gate[0] = r_do1(r, l->mode == LN_RNN_RELU ? LN_OP_relu : LN_OP_tanh, plus(r, zx, zh));
}

static void compute_again(ln_rule *r, const ln_layer *l, moment *all) {
  ln_tensor *h = l->h0, *c = l->c0;
  for (int64_t s = 0; s < l->steps && r_ok(r); s++) {
    int64_t t = l->reverse ? l->steps - 1 - s : s;
    moment *m = &all[t];
    m->n = l->count[t];
    m->x = step_of(r, l, l->x, t);
    m->h = first_rows(r, h, m->n);
    m->c = c ? first_rows(r, c, m->n) : NULL;
    ln_tensor *zx = linear(r, m->x, l->w_ih, l->b_ih), *zh = linear(r, m->h, l->w_hh, l->b_hh);
    ln_tensor *now = l->mode == LN_LSTM ? lstm_step(r, l, m, zx, zh) : l->mode == LN_GRU ? gru_step(r, l, m, zx, zh) : rnn_step(r, l, m, zx, zh);
    h = with_rows(r, h, now);
    if (c) c = with_rows(r, c, m->cell);
  }
}

/* -- And back -- */

/* The gradient of what the input gives; of what h gives in *dzh; dh becomes what goes past the gates, or NULL. */
static ln_tensor *lstm_back(ln_rule *r, const ln_layer *l, const moment *m, sums *s, ln_tensor **dh, ln_tensor **dzh) {
  ln_tensor *const *gate = m->gate, *tc = r_do1(r, LN_OP_tanh, m->cell), *dfull = l->w_hr ? product(r, *dh, l->w_hr) : *dh;
  if (l->w_hr) s->dw_hr = plus(r, s->dw_hr, product(r, turned(r, *dh), m->full));
  ln_tensor *dcell = plus(r, first_rows(r, s->dc, m->n), tanh_slope(r, times(r, dfull, gate[3]), tc));
  ln_tensor *const d[4] = {sigmoid_slope(r, times(r, dcell, gate[2]), gate[0]), sigmoid_slope(r, times(r, dcell, m->c), gate[1]),
                           tanh_slope(r, times(r, dcell, gate[0]), gate[2]), sigmoid_slope(r, times(r, dfull, tc), gate[3])};
  s->dc = with_rows(r, s->dc, times(r, dcell, gate[1]));
  *dh = NULL;
  return *dzh = cat(r, d, 4, 1);
}

static ln_tensor *gru_back(ln_rule *r, const moment *m, ln_tensor **dh, ln_tensor **dzh) {
  ln_tensor *const *gate = m->gate, *dn = tanh_slope(r, times_rest(r, *dh, gate[1]), gate[2]);
  ln_tensor *dr = sigmoid_slope(r, times(r, dn, gate[3]), gate[0]);
  ln_tensor *dz = sigmoid_slope(r, times(r, *dh, r_do2(r, LN_OP_sub, m->h, gate[2])), gate[1]);
  *dh = times(r, *dh, gate[1]);
  *dzh = cat(r, (ln_tensor *const[]){dr, dz, times(r, dn, gate[0])}, 3, 1);
  return cat(r, (ln_tensor *const[]){dr, dz, dn}, 3, 1);
}

static ln_tensor *rnn_back(ln_rule *r, const ln_layer *l, const moment *m, ln_tensor **dh, ln_tensor **dzh) {
  ln_tensor *y = m->gate[0];
  *dzh = l->mode == LN_RNN_RELU ? r_where(r, r_number(r, LN_OP_gt, y, 0), *dh, 0, NULL, 0) : tanh_slope(r, *dh, y);
  *dh = NULL;
  return *dzh;
}

static void step_back(ln_rule *r, const ln_layer *l, const moment *m, sums *s, ln_tensor *dy, ln_tensor **dx) {
  ln_tensor *dh = plus(r, first_rows(r, s->dh, m->n), dy), *dzh = NULL;
  ln_tensor *dzx = l->mode == LN_LSTM  ? lstm_back(r, l, m, s, &dh, &dzh)
                   : l->mode == LN_GRU ? gru_back(r, m, &dh, &dzh)
                                       : rnn_back(r, l, m, &dh, &dzh);
  s->dw_ih = plus(r, s->dw_ih, product(r, turned(r, dzx), m->x));
  s->dw_hh = plus(r, s->dw_hh, product(r, turned(r, dzh), m->h));
  if (l->b_ih) s->db_ih = plus(r, s->db_ih, r_sum(r, dzx, 1, false));
  if (l->b_hh) s->db_hh = plus(r, s->db_hh, r_sum(r, dzh, 1, false));
  *dx = product(r, dzx, l->w_ih);
  s->dh = with_rows(r, s->dh, plus(r, dh, product(r, dzh, l->w_hh)));
}

static void give_all(ln_rule *r, const ln_layer *l, const sums *s) {
  int at = l->i_sizes + 1;
  int64_t shape[3];
  r_give(r, I_H0, s->dh);
  if (l->c0) r_give(r, l->i_sizes - 1, s->dc);
  r_give(r, at, s->dw_ih);
  r_give(r, at + 1, s->dw_hh);
  r_give(r, at + 2, s->db_ih);
  r_give(r, at + 3, s->db_hh);
  if (l->w_hr) r_give(r, at + 4, s->dw_hr);
  if (r->needs[I_INPUT]) r_give(r, I_INPUT, r_reshape(r, cat(r, s->dx, (int)l->steps, 0), shape, ln_layer_shape(l, l->input, shape)));
}

static ln_tensor *or_zeros(ln_rule *r, ln_tensor *g, const ln_tensor *like) {
  return g || !like ? g : r_zeros(r, like->shape, like->ndim, like->dtype);
}

void ln_layer_graph(ln_rule *r, const ln_layer *l) {
  moment *all = calloc((size_t)l->steps, sizeof *all);
  sums s = {.dx = calloc((size_t)l->steps, sizeof *s.dx), .dh = or_zeros(r, r->g[1], l->h0)};
  s.dc = l->c0 ? or_zeros(r, r->g[2], l->c0) : NULL;
  if (!all || !s.dx)
    r_status(r, ln_fail_nomem((int64_t)sizeof *all * l->steps));
  else
    compute_again(r, l, all);
  for (int64_t i = 0; i < l->steps && r_ok(r); i++) {
    int64_t t = l->reverse ? i : l->steps - 1 - i;
    step_back(r, l, &all[t], &s, r->g[0] ? step_of(r, l, r->g[0], t) : NULL, &s.dx[t]);
  }
  if (r_ok(r)) give_all(r, l, &s);
  free(all);
  free(s.dx);
}
