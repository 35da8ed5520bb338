/* distance.c - distances of every two rows. */
#include "index.h"

static ln_tensor *norms(ln_rule *r, ln_tensor *difference, double p) {
  SLOTS(norm);
  static const int64_t last = -1;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_p, p);
  ln_attrs_ints(&attrs, a_dim, &last, 1);
  return difference ? r_do(r, LN_OP_norm, &difference, 1, &attrs) : NULL;
}

static bool check_order(ln_rule *r, double p) { return r_require(r, p >= 0, "p must be at least 0, got %g", p); }

/* t with a dim of size 1 before the last but `behind`. */
static ln_tensor *with_dim(ln_rule *r, ln_tensor *t, int behind) { return r_spread(r, t, 1u << (t->ndim - behind), t->ndim + 1); }

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
    r_result(r, 0, norms(r, r_do2(r, LN_OP_sub, with_dim(r, x1, 1), with_dim(r, x2, 2)), p));
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
