/* distance.c - distances of every two rows. */
#include "index.h"

static ln_tensor *norms(ln_rule *r, ln_tensor *difference, double p) {
  SLOTS(norm);
  static const int64_t last = -1;
  ln_attrs attrs;
  if (difference && difference->shape[difference->ndim - 1] == 0) p = 1; /* no numbers have no largest one, but a length */
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_p, p);
  ln_attrs_ints(&attrs, a_dim, &last, 1);
  return difference ? r_do(r, LN_OP_norm, &difference, 1, &attrs) : NULL;
}

static bool check_order(ln_rule *r, double p) { return r_require(r, p >= 0, "p must be at least 0, got %g", p); }

/* -- The operator on [N, P, M] and [N, R, M] -- */

static int compute_dtype(int dtype) { return dtype == LN_FLOAT64 ? LN_FLOAT64 : LN_FLOAT32; }

static bool begin_distances(ln_rule *r, ln_distance *w) {
  ARGS(distances);
  const int64_t *a = x1->shape, *b = x2->shape;
  if (!r_check_ndim(r, "x1", x1, 3) || !r_check_ndim(r, "x2", x2, 3) || !r_check_same_dtype(r, x1, x2) ||
      !r_require(r, a[0] == b[0] && a[2] == b[2], "x1 %s and x2 %s do not fit each other", ln_shape_text(a, 3), ln_shape_text(b, 3)) ||
      !check_order(r, r_float(r, a_p)))
    return false;
  *w = (ln_distance){.dtype = compute_dtype(x1->dtype), .p = r_float(r, a_p), .batch = a[0], .n = a[1], .m = b[1], .size = a[2]};
  return true;
}

/* Kept for backward: the distances before they were rounded to a half type. */
void distances_forward(ln_rule *r) {
  ARGS(distances);
  ln_distance w;
  if (!begin_distances(r, &w)) return;
  const int64_t shape[3] = {w.batch, w.n, w.m};
  r->keep_in |= 3; /* the fused gradient reads both */
  ln_tensor *a = r_dense(r, x1, w.dtype), *b = r_dense(r, r_transpose(r, x2, 1, 2), w.dtype), *y = r_keep(r, 0, r_new(r, shape, 3, w.dtype));
  if (!r_ok(r)) return;
  w.x1 = a->data;
  w.x2 = b->data;
  w.y = y->data;
  if (y->numel > 0) KERNEL(r, distance, &w);
  r_result(r, 0, r_to(r, y, x1->dtype));
}

/* The gradient of one of the two, which are alike: |a - b| is |b - a|. */
static ln_tensor *distances_dx(ln_rule *r, ln_distance w, ln_tensor *own, ln_tensor *other, const ln_tensor *y, const ln_tensor *dy, bool swapped) {
  ln_tensor *a = r_dense(r, own, w.dtype), *b = r_dense(r, other, w.dtype), *dx = r_new(r, own->shape, 3, w.dtype);
  if (!r_ok(r) || dx->numel == 0) return dx;
  w.n = own->shape[1];
  w.m = other->shape[1];
  w.y_row = swapped ? 1 : w.m;
  w.y_column = swapped ? w.n : 1;
  w.x1 = a->data;
  w.x2 = b->data;
  w.y = y->data;
  w.dy = dy->data;
  w.dx = dx->data;
  return KERNEL(r, distance_dx, &w) ? dx : NULL;
}

void distances_backward(ln_rule *r) {
  ARGS(distances);
  ln_distance w;
  if (!begin_distances(r, &w)) return;
  ln_tensor *y = r->extra[0], *dy = r_dense(r, r->g[0], w.dtype);
  if (!r_ok(r)) return;
  if (r->needs[0]) r_give(r, 0, distances_dx(r, w, x1, x2, y, dy, false));
  if (r->needs[1]) r_give(r, 1, distances_dx(r, w, x2, x1, y, dy, true));
}

/* -- Any leading dims -- */

/* t with its leading dims broadcast and brought to one. */
static ln_tensor *with_one_lead(ln_rule *r, ln_tensor *t, const int64_t *lead, int n) {
  int64_t shape[LN_MAX_DIMS];
  memcpy(shape, lead, sizeof *shape * (size_t)n);
  memcpy(shape + n, t->shape + t->ndim - 2, sizeof *shape * 2);
  t = r_expand(r, t, shape, n + 2);
  return t ? r_reshape(r, t, (const int64_t[3]){ln_numel(lead, n), shape[n], shape[n + 1]}, 3) : NULL;
}

static ln_tensor *by_difference(ln_rule *r, ln_tensor *x1, ln_tensor *x2, double p) {
  SLOTS(distances);
  int dtype = x1->dtype == x2->dtype ? x1->dtype : ln_promote_types(x1->dtype, x2->dtype), n = x1->ndim - 2;
  ln_tensor a = *x1, b = *x2;
  int64_t shape[LN_MAX_DIMS];
  memcpy(shape, x1->shape, sizeof shape);
  a.ndim -= 2;
  b.ndim -= 2;
  if (!r_status(r, ln_broadcast(r->name, &a, &b, shape, &n))) return NULL;
  ln_tensor *in[2] = {with_one_lead(r, r_to(r, x1, dtype), shape, n), with_one_lead(r, r_to(r, x2, dtype), shape, n)};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_p, p);
  shape[n] = x1->shape[x1->ndim - 2];
  shape[n + 1] = x2->shape[x2->ndim - 2];
  return r_ok(r) ? r_reshape(r, r_do(r, LN_OP_distances, in, 2, &attrs), shape, n + 2) : NULL;
}

enum { BY_PRODUCT_OF_MANY, BY_PRODUCT, BY_DIFFERENCE }; /* as in the signature */

void cdist_forward(ln_rule *r) {
  ARGS(cdist);
  enum { MANY = 25 };
  double p = r_float(r, a_p);
  if (!r_require(r, x1->ndim >= 2 && x2->ndim >= 2, "x1 and x2 must have at least 2 dimensions, got shapes %s and %s",
                 ln_shape_text(x1->shape, x1->ndim), ln_shape_text(x2->shape, x2->ndim)) ||
      !r_require(r, x1->shape[x1->ndim - 1] == x2->shape[x2->ndim - 1], "rows of %lld and %lld numbers have no difference (shapes %s and %s)",
                 (long long)x1->shape[x1->ndim - 1], (long long)x2->shape[x2->ndim - 1], ln_shape_text(x1->shape, x1->ndim),
                 ln_shape_text(x2->shape, x2->ndim)) ||
      !r_require(r, x1->ndim < LN_MAX_DIMS && x2->ndim < LN_MAX_DIMS, "at most %d dimensions, got shapes %s and %s", LN_MAX_DIMS - 1,
                 ln_shape_text(x1->shape, x1->ndim), ln_shape_text(x2->shape, x2->ndim)) ||
      !check_order(r, p))
    return;
  int64_t mode = r_int(r, a_compute_mode);
  bool many = x1->shape[x1->ndim - 2] > MANY || x2->shape[x2->ndim - 2] > MANY;
  if (p == 2 && (mode == BY_PRODUCT || (mode == BY_PRODUCT_OF_MANY && many)))
    r_result(r, 0, r_do2(r, LN_OP_euclidean_distance, x1, x2));
  else
    r_result(r, 0, by_difference(r, x1, x2, p));
}

/* The rows of the pairs i < j, first[k] and second[k]. */
static void fill_pairs(int64_t n, int64_t *first, int64_t *second) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i + 1; j < n; j++) {
      *first++ = i;
      *second++ = j;
    }
}

void pdist_forward(ln_rule *r) {
  ARGS(pdist);
  double p = r_float(r, a_p);
  if (!r_require(r, input->ndim == 2, "input must be a matrix, got shape %s", ln_shape_text(input->shape, input->ndim)) || !check_order(r, p)) return;
  int64_t n = input->shape[0], pairs = n * (n - 1) / 2;
  ln_tensor *index[2], *rows[2];
  for (int i = 0; i < 2; i++)
    if (!r_status(r, ln_new(&pairs, 1, LN_INT64, LN_CPU, &index[i])) || !r_own(r, index[i])) return;
  fill_pairs(n, (int64_t *)index[0]->data, (int64_t *)index[1]->data);
  for (int i = 0; i < 2; i++) {
    ln_tensor *there = r->device == LN_CPU ? index[i] : r_new(r, &pairs, 1, LN_INT64);
    if (there != index[i]) r_copy(r, there, index[i]);
    rows[i] = r_indexed(r, LN_OP_index_select, input, 0, there, NULL);
  }
  r_result(r, 0, norms(r, r_do2(r, LN_OP_sub, rows[0], rows[1]), p));
}
