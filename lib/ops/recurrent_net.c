/* recurrent_net.c - networks of recurrent layers: each direction of each layer is an operator of its own, recorded as such. */
#include "recurrent.h"

/* A network of a layer operator. */
typedef struct net {
  int op, mode;
  bool bidirectional, training;
  int64_t layers;
  double dropout;
  ln_tensor *x, *h0, *c0, *sizes;
  ln_tensor *const *weights;
  int n_weights, per; /* in all; of a layer in one direction */
  ln_attrs attrs;     /* of the layer operator, `reverse` to be set */
  int a_reverse;
} net;

/* What a direction of a layer gives: y, h, c. */
typedef struct answer {
  ln_tensor *out[LN_MAX_OUTPUTS];
} answer;

enum { MOST_LAYERS = 512 };

static int directions_of(const net *n) { return n->bidirectional ? 2 : 1; }

static bool check_net(ln_rule *r, net *n) {
  int64_t parts = n->layers * directions_of(n);
  if (!r_require(r, n->layers > 0 && n->layers <= MOST_LAYERS, "num_layers must lie between 1 and %d, got %lld", MOST_LAYERS, (long long)n->layers) ||
      !r_require(r, n->dropout >= 0 && n->dropout <= 1, "dropout must lie between 0 and 1, got %g", n->dropout))
    return false;
  n->per = (int)(n->n_weights / parts);
  bool known = n->per == 2 || n->per == 4 || (n->mode == LN_LSTM && (n->per == 3 || n->per == 5));
  return r_require(r, known && n->per * parts == n->n_weights,
                   "weights must hold weight_ih, weight_hh%s%s for each of %lld layers in %d directions, got %d tensors", "[, bias_ih, bias_hh]",
                   n->mode == LN_LSTM ? "[, weight_hr]" : "", (long long)n->layers, directions_of(n), n->n_weights) &&
         r_require(r, n->x->ndim == (n->sizes ? 2 : 3), "input must have %s, got shape %s",
                   n->sizes ? "2 dimensions beside batch_sizes" : "3 dimensions", ln_shape_text(n->x->shape, n->x->ndim)) &&
         r_require(r, n->weights[1]->ndim == 2, "weight_hh must have 2 dimensions, got shape %s",
                   ln_shape_text(n->weights[1]->shape, n->weights[1]->ndim));
}

static bool check_state(ln_rule *r, const net *n, const char *name, const ln_tensor *t) {
  int64_t parts = n->layers * directions_of(n);
  return r_require(r, !t || (t->ndim == 3 && t->shape[0] == parts),
                   "%s must have the shape {%lld, batch, size}, for %lld layers in %d direction(s), got %s", name, (long long)parts,
                   (long long)n->layers, directions_of(n), t ? ln_shape_text(t->shape, t->ndim) : "");
}

/* How many sequences there are; what cannot be right is left to the layers. */
static int64_t batch_of(const net *n) {
  const ln_tensor *sizes = n->sizes;
  if (!sizes) return n->x->shape[1];
  if (sizes->ndim != 1 || sizes->numel == 0 || sizes->dtype != LN_INT64 || sizes->device != LN_CPU) return 0;
  int64_t first = *(const int64_t *)sizes->data;
  return first >= 0 && first <= n->x->shape[0] ? first : 0;
}

/* The first state of part k: zeros where none is given. */
static ln_tensor *first_state(ln_rule *r, const net *n, ln_tensor *given, int64_t k, int64_t size) {
  return given ? r_select(r, given, 0, k) : r_zeros(r, (int64_t[]){batch_of(n), size}, 2, n->x->dtype);
}

static bool run_part(ln_rule *r, net *n, ln_tensor *x, int64_t k, bool reverse, answer *a) {
  ln_tensor *const *w = n->weights + k * n->per;
  ln_tensor *in[9] = {x};
  int at = 1;
  bool lstm = n->mode == LN_LSTM, biased = n->per >= 4;
  in[at++] = first_state(r, n, n->h0, k, w[1]->ndim == 2 ? w[1]->shape[1] : 0);
  if (lstm) in[at++] = first_state(r, n, n->c0, k, w[1]->shape[0] / 4);
  in[at++] = n->sizes;
  in[at++] = w[0];
  in[at++] = w[1];
  in[at++] = biased ? w[2] : NULL;
  in[at++] = biased ? w[3] : NULL;
  if (lstm) in[at++] = n->per % 2 ? w[n->per - 1] : NULL;
  ln_attrs_int(&n->attrs, n->a_reverse, reverse);
  return r_do_all(r, n->op, in, at, &n->attrs, a->out);
}

static ln_tensor *joined(ln_rule *r, int op, ln_tensor *const *parts, int n, int dim) {
  SLOTS(cat);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  return r_ok(r) ? r_do(r, op, parts, n, &attrs) : NULL;
}

static ln_tensor *dropped(ln_rule *r, const net *n, ln_tensor *x) {
  SLOTS(dropout);
  ln_attrs attrs;
  if (!x || !n->training || n->dropout == 0) return x;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_p, n->dropout);
  return r_do(r, LN_OP_dropout, &x, 1, &attrs);
}

static void give_states(ln_rule *r, const answer *all, int64_t parts, int output) {
  ln_tensor *states[2 * MOST_LAYERS];
  for (int64_t k = 0; k < parts; k++) states[k] = all[k].out[output];
  r_result(r, output, joined(r, LN_OP_stack, states, (int)parts, 0));
}

static void run_net(ln_rule *r, net n) {
  answer all[2 * MOST_LAYERS];
  if (!check_net(r, &n) || !check_state(r, &n, "h0", n.h0) || !check_state(r, &n, "c0", n.c0)) return;
  ln_tensor *x = n.x;
  int directions = directions_of(&n);
  for (int64_t layer = 0; layer < n.layers && r_ok(r); layer++) {
    answer *a = &all[layer * directions];
    for (int d = 0; d < directions && r_ok(r); d++) run_part(r, &n, x, layer * directions + d, d == 1, &a[d]);
    x = directions == 1 || !r_ok(r) ? a[0].out[0] : joined(r, LN_OP_cat, (ln_tensor *const[]){a[0].out[0], a[1].out[0]}, 2, -1);
    if (layer < n.layers - 1) x = dropped(r, &n, x);
  }
  r_result(r, 0, x);
  for (int output = 1; output < r->row->info.n_outputs && r_ok(r); output++) give_states(r, all, n.layers * directions, output);
}

/* What the rows have in common; ARGS stand before it. */
#define NET(layer_mode, layer_op, cells)                                                                                         \
  {                                                                                                                              \
    .op = layer_op, .mode = layer_mode, .bidirectional = r_bool(r, a_bidirectional), .training = r_bool(r, a_training),          \
    .layers = r_int(r, a_num_layers), .dropout = r_float(r, a_dropout), .x = input, .h0 = h0, .c0 = cells, .sizes = batch_sizes, \
    .weights = r->in + i_weights, .n_weights = r->n_in - i_weights                                                               \
  }

void lstm_forward(ln_rule *r) {
  ARGS(lstm);
  net n = NET(LN_LSTM, LN_OP_lstm_layer, c0);
  ln_attrs_begin(&n.attrs);
  run_net(r, n);
}

void gru_forward(ln_rule *r) {
  ARGS(gru);
  net n = NET(LN_GRU, LN_OP_gru_layer, NULL);
  ln_attrs_begin(&n.attrs);
  run_net(r, n);
}

void rnn_forward(ln_rule *r) {
  ARGS(rnn);
  net n = NET(LN_RNN_TANH, LN_OP_rnn_layer, NULL);
  ln_attrs_begin(&n.attrs);
  ln_attrs_int(&n.attrs, 0, r_int(r, a_nonlinearity)); /* the layer's first slot */
  n.a_reverse = 1;
  run_net(r, n);
}
