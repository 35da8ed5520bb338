/* attention.c - scaled dot product attention: any number of leading dims brought to [N, heads, L, E], and the operator on these. */
#include "shape.h"

#include <math.h>

/* -- The operator on [N, H, L, E] -- */

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

static bool check_mask(ln_rule *r, const ln_tensor *mask, const int64_t *scores) {
  return r_require(r, mask->ndim == 4 && ln_same_dims(mask->shape, scores, 4), "attn_mask must have the shape %s, got %s", ln_shape_text(scores, 4),
                   ln_shape_text(mask->shape, mask->ndim)) &&
         r_require(r, mask->dtype == LN_BOOL || ln_is_float(mask->dtype), "attn_mask must be bool or of a floating dtype, got %s",
                   ln_dtype_name(mask->dtype));
}

static bool check_attention(ln_rule *r, ln_attention *w) {
  ARGS(attention);
  const ln_tensor *const all[3] = {query, key, value};
  static const char *const names[3] = {"query", "key", "value"};
  for (int i = 0; i < 3; i++)
    if (!r_check_ndim(r, names[i], all[i], 4) || !r_check_same_dtype(r, query, all[i])) return false;
  const int64_t *q = query->shape, *k = key->shape, *v = value->shape, scores[4] = {q[0], q[1], q[2], k[2]};
  if (!r_require(r, k[0] == q[0] && v[0] == q[0] && v[1] == k[1] && v[2] == k[2] && k[3] == q[3] && k[1] > 0 && q[1] % k[1] == 0,
                 "query %s, key %s and value %s do not fit each other", ln_shape_text(q, 4), ln_shape_text(k, 4), ln_shape_text(v, 4)) ||
      (attn_mask && !check_mask(r, attn_mask, scores)))
    return false;
  double p = r_float(r, a_dropout_p);
  if (!r_require(r, p >= 0 && p <= 1, "dropout_p must lie between 0 and 1, got %g", p)) return false;
  *w = (ln_attention){.dtype = compute_dtype(query->dtype),
                      .causal = r_bool(r, a_is_causal),
                      .n = q[0],
                      .heads = q[1],
                      .groups = k[1],
                      .l = q[2],
                      .s = k[2],
                      .e = q[3],
                      .ev = v[3],
                      .scale = r_float(r, a_scale),
                      .keep = 1 - p};
  w->seed = (uint64_t)r_int(r, a_seed);
  w->offset = (uint64_t)r_int(r, a_offset);
  return true;
}

/* t in the compute dtype with its last dim contiguous; its strides. */
static ln_tensor *operand(ln_rule *r, ln_tensor *t, int dtype, int64_t *stride) {
  bool fits = t && t->dtype == dtype && (t->stride[3] == 1 || t->shape[3] == 1);
  if (t && !fits) t = r_dense(r, t, dtype);
  if (t) memcpy(stride, t->stride, 3 * sizeof *stride);
  return t;
}

/* Strides without gaps for the shape, the dims in the order that they have in `like`. */
static void stride_like(const ln_tensor *like, const int64_t *shape, int64_t *stride) {
  int order[3] = {0, 1, 2};
  for (int i = 0; i < 3; i++)
    for (int k = i; k > 0 && like->stride[order[k]] > like->stride[order[k - 1]]; k--) {
      int other = order[k];
      order[k] = order[k - 1];
      order[k - 1] = other;
    }
  int64_t step = stride[3] = 1;
  step = shape[3];
  for (int i = 2; i >= 0; i--) {
    stride[order[i]] = step;
    step *= shape[order[i]];
  }
}

static ln_tensor *gradient(ln_rule *r, const ln_tensor *of, int dtype, int64_t *stride, bool zeros) {
  int64_t full[4];
  stride_like(of, of->shape, full);
  memcpy(stride, full, 3 * sizeof *stride);
  ln_tensor *t = r_new_strided(r, of->shape, full, 4, dtype);
  return t && (!zeros || r_status(r, ln_zero(t))) ? t : NULL;
}

static void set_mask(ln_attention *w, const ln_tensor *mask) {
  if (!mask) return;
  w->mask = mask->data;
  w->mask_dtype = mask->dtype;
  for (int d = 0; d < 4; d++) w->mask_stride[d] = mask->stride[d] * ln_itemsize(mask);
}

static bool is_empty(const ln_attention *w) { return w->n * w->heads * w->l * w->s * w->ev == 0; }

/* Kept for backward: the logarithm of each row's sum, and the result. */
void attention_forward(ln_rule *r) {
  ARGS(attention);
  ln_attention w;
  if (!check_attention(r, &w)) return;
  const int64_t shape[4] = {w.n, w.heads, w.l, w.ev}, rows[3] = {w.n, w.heads, w.l};
  int64_t stride[4];
  stride_like(query, shape, stride);
  ln_tensor *q = operand(r, query, w.dtype, w.q_stride), *k = operand(r, key, w.dtype, w.k_stride), *v = operand(r, value, w.dtype, w.v_stride);
  bool same = query->dtype == w.dtype;
  ln_tensor *out = same ? r_out_strided(r, 0, shape, stride, 4, w.dtype) : r_new_strided(r, shape, stride, 4, w.dtype);
  ln_tensor *lse = r_keep(r, 0, r_new(r, rows, 3, w.dtype));
  r->keep_in |= 15; /* the fused gradient reads all of them */
  r->keep_out |= 1;
  if (!r_ok(r)) return;
  memcpy(w.out_stride, stride, sizeof w.out_stride);
  set_mask(&w, attn_mask);
  w.q = q->data;
  w.k = k->data;
  w.v = v->data;
  w.out = out->data;
  w.lse = lse->data;
  if (is_empty(&w))
    r_status(r, ln_zero(out));
  else
    KERNEL(r, attention, &w);
  if (!same) r_result(r, 0, r_to(r, out, query->dtype));
}

void attention_backward(ln_rule *r) {
  ARGS(attention);
  ln_attention w;
  if (!check_attention(r, &w)) return;
  if (is_empty(&w) || (attn_mask && r->needs[i_attn_mask])) {
    ln_text_backward(r);
    return;
  }
  ln_tensor *q = operand(r, query, w.dtype, w.q_stride), *k = operand(r, key, w.dtype, w.k_stride), *v = operand(r, value, w.dtype, w.v_stride);
  ln_tensor *out = operand(r, r->out[0], w.dtype, w.out_stride), *dout = operand(r, r->g[0], w.dtype, w.dout_stride);
  ln_tensor *dq = gradient(r, query, w.dtype, w.dq_stride, false), *dk = gradient(r, key, w.dtype, w.dk_stride, true);
  ln_tensor *dv = gradient(r, value, w.dtype, w.dv_stride, true);
  if (!r_ok(r)) return;
  set_mask(&w, attn_mask);
  w.q = q->data;
  w.k = k->data;
  w.v = v->data;
  w.out = out->data;
  w.dout = dout->data;
  w.lse = r->extra[0]->data;
  w.dq = dq->data;
  w.dk = dk->data;
  w.dv = dv->data;
  if (!KERNEL(r, attention_dx, &w)) return;
  r_give(r, i_query, dq);
  r_give(r, i_key, dk);
  r_give(r, i_value, dv);
}

/* -- Any leading dims -- */

/* The leading dims of three operands, broadcast: all but the last two, and in grouped attention but the heads. */
typedef struct lead {
  int n;
  int64_t shape[LN_MAX_DIMS];
} lead;

static bool join_lead(ln_rule *r, lead *l, const ln_tensor *t, int ends) {
  for (int i = 0; i < t->ndim - ends; i++) {
    int at = l->n - 1 - i;
    int64_t size = t->shape[t->ndim - ends - 1 - i];
    if (at < 0) {
      memmove(l->shape + 1, l->shape, sizeof *l->shape * (size_t)l->n++);
      l->shape[0] = size;
    } else if (l->shape[at] == 1) {
      l->shape[at] = size;
    } else if (!r_require(r, size == 1 || size == l->shape[at],
                          "the leading dims of query, key and value cannot be broadcast: shape %s does not fit %s", ln_shape_text(t->shape, t->ndim),
                          ln_shape_text(l->shape, l->n))) {
      return false;
    }
  }
  return true;
}

/* t expanded to the leading dims and then as [N, heads, ...]; three dims begin with the heads where these are grouped. */
static ln_tensor *brought(ln_rule *r, ln_tensor *t, const lead *l, int ends, bool grouped) {
  int64_t shape[LN_MAX_DIMS], four[4];
  int n = l->n;
  memcpy(shape, l->shape, sizeof *shape * (size_t)n);
  for (int i = 0; i < ends; i++) shape[n++] = t->shape[t->ndim - ends + i];
  t = r_expand(r, t, shape, n);
  if (!t || n == 4) return t;
  bool heads = n > 3 || (n == 3 && grouped);
  four[0] = heads ? ln_numel(shape, n - 3) : n == 3 ? shape[0] : 1;
  four[1] = heads ? shape[n - 3] : 1;
  four[2] = shape[n - 2];
  four[3] = shape[n - 1];
  return r_reshape(r, t, four, 4);
}

static bool check_operands(ln_rule *r, bool grouped) {
  ARGS(scaled_dot_product_attention);
  int least = grouped ? 3 : 2;
  const ln_tensor *const all[3] = {query, key, value};
  for (int i = 0; i < 3; i++)
    if (!r_require(r, all[i]->ndim >= least && all[i]->ndim <= 14, "query, key and value must have at least %d dimensions, got shapes %s, %s and %s",
                   least, ln_shape_text(query->shape, query->ndim), ln_shape_text(key->shape, key->ndim), ln_shape_text(value->shape, value->ndim)))
      return false;
  return r_require(r, query->shape[query->ndim - 1] == key->shape[key->ndim - 1],
                   "query and key must agree in their last dimension, got shapes %s and %s", ln_shape_text(query->shape, query->ndim),
                   ln_shape_text(key->shape, key->ndim)) &&
         r_require(r, key->shape[key->ndim - 2] == value->shape[value->ndim - 2], "there must be a value for each key, got shapes %s and %s",
                   ln_shape_text(key->shape, key->ndim), ln_shape_text(value->shape, value->ndim)) &&
         r_require(r,
                   !grouped || (key->shape[key->ndim - 3] == value->shape[value->ndim - 3] && key->shape[key->ndim - 3] > 0 &&
                                query->shape[query->ndim - 3] % key->shape[key->ndim - 3] == 0),
                   "the heads of query must be a multiple of those of key and value, got shapes %s, %s and %s",
                   ln_shape_text(query->shape, query->ndim), ln_shape_text(key->shape, key->ndim), ln_shape_text(value->shape, value->ndim)) &&
         r_require(r, !attn_mask || !r_bool(r, a_is_causal), "attn_mask and is_causal cannot be given together; put causality into the mask");
}

/* The mask over all scores, as [N, heads, L, S]. */
static ln_tensor *brought_mask(ln_rule *r, ln_tensor *mask, const ln_tensor *query, const ln_tensor *key, const lead *l, bool grouped) {
  lead all = *l;
  if (grouped) all.shape[all.n++] = query->shape[query->ndim - 3];
  int64_t full[LN_MAX_DIMS];
  int n = all.n + 2;
  memcpy(full, all.shape, sizeof *full * (size_t)all.n);
  full[all.n] = query->shape[query->ndim - 2];
  full[all.n + 1] = key->shape[key->ndim - 2];
  bool fits = mask->ndim <= n;
  for (int i = 1; i <= mask->ndim && fits; i++) fits = mask->shape[mask->ndim - i] == 1 || mask->shape[mask->ndim - i] == full[n - i];
  if (!r_require(r, fits, "attn_mask of shape %s cannot be broadcast to the scores, of shape %s", ln_shape_text(mask->shape, mask->ndim),
                 ln_shape_text(full, n)))
    return NULL;
  return brought(r, r_expand(r, mask, full, n), &all, 2, grouped);
}

static void set_attrs(ln_attrs *attrs, double scale, bool causal, double p, const uint64_t *stream) {
  SLOTS(attention);
  ln_attrs_begin(attrs);
  ln_attrs_float(attrs, a_scale, scale);
  ln_attrs_int(attrs, a_is_causal, causal);
  ln_attrs_float(attrs, a_dropout_p, p);
  ln_attrs_int(attrs, a_seed, (int64_t)stream[0]);
  ln_attrs_int(attrs, a_offset, (int64_t)stream[1]);
}

/* The shape of the result: `last` behind the leading dims and the rows of query. */
static int result_shape(const ln_tensor *query, const lead *l, bool grouped, int64_t last, int64_t *shape) {
  int n = l->n;
  memcpy(shape, l->shape, sizeof *shape * (size_t)n);
  if (grouped) shape[n++] = query->shape[query->ndim - 3];
  shape[n++] = query->shape[query->ndim - 2];
  shape[n++] = last;
  return n;
}

void scaled_dot_product_attention_forward(ln_rule *r) {
  ARGS(scaled_dot_product_attention);
  bool grouped = r_bool(r, a_enable_gqa);
  double p = r_float(r, a_dropout_p);
  int ends = grouped ? 3 : 2;
  lead l = {.n = 0};
  if (!check_operands(r, grouped) || !join_lead(r, &l, query, ends) || !join_lead(r, &l, key, ends) || !join_lead(r, &l, value, ends) ||
      !r_require(r, p >= 0 && p <= 1, "dropout_p must lie between 0 and 1, got %g", p))
    return;
  ln_tensor *mask = attn_mask ? brought_mask(r, attn_mask, query, key, &l, grouped) : NULL;
  ln_tensor *in[4] = {brought(r, query, &l, ends, grouped), brought(r, key, &l, ends, grouped), brought(r, value, &l, ends, grouped), mask};
  if (!r_ok(r)) return;
  int64_t size = query->shape[query->ndim - 1], shape[LN_MAX_DIMS];
  uint64_t stream[2] = {0, 0}; /* seed and first block of what dropout draws */
  ln_attrs attrs;
  if (p > 0) ln_random_reserve(((uint64_t)(ln_numel(in[0]->shape, 3) * in[1]->shape[2]) + 3) / 4, &stream[0], &stream[1]);
  set_attrs(&attrs, r_has(r, a_scale) ? r_float(r, a_scale) : size > 0 ? 1 / sqrt((double)size) : 1, r_bool(r, a_is_causal), p, stream);
  int n = result_shape(query, &l, grouped, value->shape[value->ndim - 1], shape);
  r_result(r, 0, r_reshape(r, r_do(r, LN_OP_attention, in, 4, &attrs), shape, n));
}
