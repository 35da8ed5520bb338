/* sparse.c - row-sparse gradients: a tensor of values [n, width] that also
 * holds which rows of the table they are for. Operators never see them: the
 * engine adds them up and gives them to leaves, an optimizer's step reads them,
 * Lua takes them apart. */
#include "../ops/rules.h"

bool ln_gradient_fits(const ln_tensor *t, const ln_tensor *g) {
  return g->rows ? t->ndim == 2 && g->n_rows == t->shape[0] && g->shape[1] == t->shape[1] : ln_same_shape(t, g);
}

int ln_sparse_make(ln_tensor *values, ln_tensor *rows, int64_t n_rows, bool coalesced, ln_tensor **out) {
  if (values->ndim != 2 || rows->ndim != 1 || rows->dtype != LN_INT64 || rows->shape[0] != values->shape[0] || rows->device != values->device)
    return ln_fail("a row-sparse gradient: values %s do not go with rows %s", ln_shape_text(values->shape, values->ndim),
                   ln_shape_text(rows->shape, rows->ndim));
  ln_tensor *sparse = ln_alias(values);
  if (!sparse) return LN_NOMEM;
  ln_tensor_retain(rows);
  sparse->rows = rows;
  sparse->n_rows = n_rows;
  if (coalesced) sparse->flags |= LN_COALESCED;
  *out = sparse;
  return LN_OK;
}

/* A context for rules that belong to no operator. */
static void begin(ln_rule *r, const char *name, const ln_tensor *t) {
  *r = (ln_rule){.row = ln_row(LN_OP_embedding_dw), .name = name, .op = LN_OP_embedding_dw, .device = t->device};
  r_begin(r);
}

static int end(ln_rule *r) {
  r_end(r);
  return r->status;
}

/* Zeros with row i of the values added at row places[i]. */
static ln_tensor *placed(ln_rule *r, ln_tensor *values, ln_tensor *places, int64_t n_rows) {
  SLOTS(embedding_dw);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_rows, n_rows);
  return places ? r_do(r, LN_OP_embedding_dw, (ln_tensor *const[4]){values, places}, 4, &attrs) : NULL;
}

/* 1 for every row that occurs, else 0. */
static ln_tensor *marked(ln_rule *r, ln_tensor *rows, int64_t n_rows) {
  SLOTS(scatter_value);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, 0);
  ln_attrs_whole(&attrs, a_value, 1);
  ln_tensor *none = r_zeros(r, &n_rows, 1, LN_INT64);
  return none ? r_do(r, LN_OP_scatter_value, (ln_tensor *const[2]){none, rows}, 2, &attrs) : NULL;
}

static ln_tensor *running_sum(ln_rule *r, ln_tensor *t) {
  SLOTS(cumsum);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, 0);
  return t ? r_do(r, LN_OP_cumsum, &t, 1, &attrs) : NULL;
}

int ln_sparse_compact(ln_tensor *sparse, ln_tensor **out) {
  if (sparse->flags & LN_COALESCED) {
    ln_tensor_retain(sparse);
    *out = sparse;
    return LN_OK;
  }
  ln_rule r;
  begin(&r, "coalesce", sparse);
  ln_tensor *mark = marked(&r, sparse->rows, sparse->n_rows), *found = r_do1(&r, LN_OP_nonzero, mark);
  ln_tensor *rows = found ? r_reshape(&r, found, found->shape, 1) : NULL;
  ln_tensor *place = r_whole(&r, LN_OP_sub, running_sum(&r, mark), 1);
  ln_tensor *places =
    r_do(&r, LN_OP_embedding, (ln_tensor *const[2]){place ? r_reshape(&r, place, (int64_t[2]){sparse->n_rows, 1}, 2) : NULL, sparse->rows}, 2, NULL);
  ln_tensor *flat = places ? r_reshape(&r, places, sparse->rows->shape, 1) : NULL;
  ln_tensor *values = rows ? placed(&r, sparse, flat, rows->numel) : NULL;
  if (r_ok(&r) && values) r_status(&r, ln_sparse_make(values, rows, sparse->n_rows, true, out));
  return end(&r);
}

int ln_sparse_dense(ln_tensor *sparse, ln_tensor **out) {
  ln_rule r;
  begin(&r, "to_dense", sparse);
  ln_tensor *dense = placed(&r, sparse, sparse->rows, sparse->n_rows);
  if (r_ok(&r) && dense) ln_tensor_retain(*out = dense);
  return end(&r);
}

int ln_sparse_join(ln_tensor *a, ln_tensor *b, ln_tensor **out) {
  ln_rule r;
  begin(&r, "backward", a);
  ln_tensor *values = r_do(&r, LN_OP_cat, (ln_tensor *const[2]){a, b}, 2, NULL);
  ln_tensor *rows = r_do(&r, LN_OP_cat, (ln_tensor *const[2]){a->rows, b->rows}, 2, NULL);
  if (r_ok(&r) && values && rows) r_status(&r, ln_sparse_make(values, rows, a->n_rows, false, out));
  return end(&r);
}

/* -- For Lua -- */

static int handed(int status, ln_tensor **out) {
  if (status == LN_OK) ln_hand_out(*out);
  return status;
}

int ln_sparse_new(ln_tensor *values, ln_tensor *rows, int64_t n_rows, bool coalesced, ln_tensor **out) {
  return handed(ln_sparse_make(values, rows, n_rows, coalesced, out), out);
}

static int check(const ln_tensor *t) {
  return t->rows ? LN_OK : ln_fail("a row-sparse gradient is needed, not a tensor of shape %s", ln_shape_text(t->shape, t->ndim));
}

int ln_sparse_rows(ln_tensor *sparse, ln_tensor **out) {
  LN_TRY(check(sparse));
  return ln_tensor_alias(sparse->rows, out);
}

int ln_sparse_coalesce(ln_tensor *sparse, ln_tensor **out) {
  LN_TRY(check(sparse));
  return handed(ln_sparse_compact(sparse, out), out);
}

int ln_sparse_to_dense(ln_tensor *sparse, ln_tensor **out) {
  LN_TRY(check(sparse));
  return handed(ln_sparse_dense(sparse, out), out);
}
