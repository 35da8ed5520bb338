/* matmul.c - matrix products: shapes, batches and strides are resolved here, the kernel sees one regular product. */
#include "shape.h"

/* -- From tensors to one or several ln_gemm -- */

/* Can a library read the last two dims as they are? Where not, a copy is always made: nothing without elements may be asked for one, since of what
 * is dense anyway the caller would get, and release, the borrowed look itself. */
static bool readable(const ln_tensor *t) {
  if (t->numel == 0) return true;
  int64_t rows = t->shape[t->ndim - 2], cols = t->shape[t->ndim - 1], row = t->stride[t->ndim - 2], col = t->stride[t->ndim - 1];
  bool plain = (col == 1 || cols == 1) && (row >= cols || rows == 1);
  bool turned = (row == 1 || rows == 1) && (col >= rows || cols == 1);
  return plain || turned;
}

/* The stride of t along batch dim i of n, 0 where t repeats. */
static int64_t batch_stride(const ln_tensor *t, int i, int n) {
  int own = i - (n - (t->ndim - 2));
  return own < 0 || t->shape[own] == 1 ? 0 : t->stride[own];
}

/* The product at the front of the batches: sizes and strides. */
static ln_gemm first_product(const ln_tensor *a, const ln_tensor *b, const ln_tensor *y) {
  int n = y->ndim - 2;
  ln_gemm g = {.dtype = y->dtype,
               .batch = n > 0 ? y->shape[n - 1] : 1,
               .m = y->shape[n],
               .n = y->shape[n + 1],
               .k = a->shape[a->ndim - 1],
               .a_row = a->stride[a->ndim - 2],
               .a_col = a->stride[a->ndim - 1],
               .b_row = b->stride[b->ndim - 2],
               .b_col = b->stride[b->ndim - 1],
               .c_row = y->shape[n + 1],
               .c_batch = y->shape[n] * y->shape[n + 1]};
  if (n > 0) {
    g.a_batch = batch_stride(a, n - 1, n);
    g.b_batch = batch_stride(b, n - 1, n);
  }
  return g;
}

/* y[batch, m, n] = alpha a b + beta y + bias; y row-major. The last batch dim is the kernel's, the others are walked. */
static void product(ln_rule *r, const ln_tensor *a, const ln_tensor *b, const ln_tensor *y, double alpha, double beta, const ln_tensor *bias) {
  if (!a || !b || !y || !r_ok(r)) return;
  if (!readable(a)) a = r_dense(r, (ln_tensor *)a, a->dtype);
  if (!readable(b)) b = r_dense(r, (ln_tensor *)b, b->dtype);
  if (!r_ok(r)) return;
  int n = y->ndim - 2;
  int64_t item = ln_itemsize(y), outer = ln_numel(y->shape, n > 0 ? n - 1 : 0);
  ln_gemm g = first_product(a, b, y);
  if (a->numel == 0 || b->numel == 0) { /* strides that no library objects to */
    g.a_row = g.k > 0 ? g.k : 1;
    g.b_row = g.n > 0 ? g.n : 1;
    g.a_col = g.b_col = 1;
  }
  g.bias = bias ? bias->data : NULL;
  g.alpha = alpha;
  g.beta = beta;
  for (int64_t k = 0; k < outer; k++) {
    int64_t pa = 0, pb = 0, rest = k;
    for (int i = n - 2; i >= 0; i--) {
      int64_t at = rest % y->shape[i];
      rest /= y->shape[i];
      pa += at * batch_stride(a, i, n);
      pb += at * batch_stride(b, i, n);
    }
    g.a = a->data + pa * item;
    g.b = b->data + pb * item;
    g.c = y->data + k * g.batch * g.c_batch * item;
    if (!KERNEL(r, gemm, &g)) return;
  }
}

static bool check_pair(ln_rule *r, const ln_tensor *a, const ln_tensor *b) {
  return r_check_same_dtype(r, a, b) && r_require(r, a->dtype != LN_BOOL, "bool has no product of matrices");
}

static bool check_inner(ln_rule *r, const ln_tensor *a, const ln_tensor *b, int64_t k, int64_t other) {
  return r_require(r, k == other, "the inner sizes %lld and %lld differ (shapes %s and %s)", (long long)k, (long long)other,
                   ln_shape_text(a->shape, a->ndim), ln_shape_text(b->shape, b->ndim));
}

/* A borrowed look at a matrix, turned. */
static ln_tensor turned(const ln_tensor *t) {
  const int64_t shape[2] = {t->shape[1], t->shape[0]}, stride[2] = {t->stride[1], t->stride[0]};
  return ln_look(t, shape, stride, 2);
}

static ln_tensor with_vector(const ln_tensor *t, bool as_row) {
  ln_tensor v = *t;
  if (t->ndim != 1) return v;
  v.ndim = 2;
  v.shape[0] = as_row ? 1 : t->shape[0];
  v.shape[1] = as_row ? t->shape[0] : 1;
  v.stride[0] = as_row ? t->shape[0] * t->stride[0] : t->stride[0];
  v.stride[1] = as_row ? t->stride[0] : 1;
  return v;
}

/* -- matmul -- */

/* The batches of a product, broadcast, and then its matrix. */
static bool full_shape(ln_rule *r, const ln_tensor *a, const ln_tensor *b, int64_t *full, int *n) {
  ln_tensor batch_a = *a, batch_b = *b;
  batch_a.ndim -= 2;
  batch_b.ndim -= 2;
  bool goes = ln_broadcast(r->name, &batch_a, &batch_b, full, n) == LN_OK;
  if (!r_require(r, goes, "the batches of shapes %s and %s cannot be broadcast", ln_shape_text(r->in[0]->shape, r->in[0]->ndim),
                 ln_shape_text(r->in[1]->shape, r->in[1]->ndim)))
    return false;
  full[*n] = a->shape[a->ndim - 2];
  full[*n + 1] = b->shape[b->ndim - 1];
  *n += 2;
  return r_require(r, *n <= LN_MAX_DIMS, "a tensor has at most %d dimensions", LN_MAX_DIMS);
}

void matmul_forward(ln_rule *r) {
  ln_tensor *x = r->in[0], *y = r->in[1];
  int64_t full[LN_MAX_DIMS + 2], shape[LN_MAX_DIMS + 2];
  int n = 0, ndim = 0;
  if (!check_pair(r, x, y)) return;
  if (!r_require(r, x->ndim > 0 && y->ndim > 0, "both operands need at least one dimension (shapes %s and %s)", ln_shape_text(x->shape, x->ndim),
                 ln_shape_text(y->shape, y->ndim)))
    return;
  ln_tensor a = with_vector(x, true), b = with_vector(y, false);
  if (!check_inner(r, x, y, a.shape[a.ndim - 1], b.shape[b.ndim - 2]) || !full_shape(r, &a, &b, full, &n)) return;
  for (int i = 0; i < n - 2; i++) shape[ndim++] = full[i];
  if (x->ndim > 1) shape[ndim++] = full[n - 2];
  if (y->ndim > 1) shape[ndim++] = full[n - 1];
  r->keep_in = (ln_wants_grad(x) ? 2 : 0) | (ln_wants_grad(y) ? 1 : 0);
  ln_tensor *made = r_out(r, 0, shape, ndim, x->dtype);
  if (!made) return;
  if (b.ndim == 2 && a.ndim > 2 && ln_tensor_is_contiguous(&a)) { /* one product of all rows */
    int64_t k = a.shape[a.ndim - 1], rows = ln_numel(a.shape, a.ndim - 1);
    a = ln_look(&a, (int64_t[]){rows, k}, NULL, 2);
    full[0] = rows;
    full[1] = b.shape[1];
    n = 2;
  }
  ln_tensor out = ln_look(made, full, NULL, n);
  product(r, &a, &b, &out, 1, 0, NULL);
}

static ln_tensor *turn(ln_rule *r, ln_tensor *t) { return r_transpose(r, t, -2, -1); }

static ln_tensor *rows_of(ln_rule *r, ln_tensor *t) {
  return t ? r_reshape(r, t, (int64_t[]){ln_numel(t->shape, t->ndim - 1), t->shape[t->ndim - 1]}, 2) : NULL;
}

void matmul_backward(ln_rule *r) {
  ln_tensor *x = r->in[0], *y = r->in[1], *g = r->g[0];
  ln_tensor a = with_vector(x, true), b = with_vector(y, false); /* geometry */
  int64_t full[16];
  int n = 0, batch = g->ndim - (x->ndim > 1) - (y->ndim > 1);
  for (; n < batch; n++) full[n] = g->shape[n];
  full[n++] = a.shape[a.ndim - 2];
  full[n++] = b.shape[b.ndim - 1];
  g = r_reshape(r, g, full, n);
  bool flat = b.ndim == 2 && a.ndim > 2; /* as one product of all rows */
  if (flat) g = rows_of(r, g);
  if (r->needs[0]) {
    ln_tensor *dx = r_do2(r, LN_OP_matmul, g, turn(r, r_reshape(r, y, b.shape, b.ndim)));
    r_give(r, 0, r_reshape(r, flat ? dx : r_sum_to(r, dx, a.shape, a.ndim), x->shape, x->ndim));
  }
  if (r->needs[1]) {
    ln_tensor *wide_x = r_reshape(r, x, a.shape, a.ndim);
    ln_tensor *dy = r_do2(r, LN_OP_matmul, turn(r, flat ? rows_of(r, wide_x) : wide_x), g);
    r_give(r, 1, r_reshape(r, r_sum_to(r, dy, b.shape, b.ndim), y->shape, y->ndim));
  }
}

static void checked_product(ln_rule *r, int ndim) {
  const ln_tensor *x = r->in[0], *y = r->in[1];
  if (r_check_ndim(r, "input", x, ndim) && r_check_ndim(r, "mat2", y, ndim) &&
      r_require(r, ndim < 3 || x->shape[0] == y->shape[0], "batches of %lld and %lld matrices", (long long)x->shape[0], (long long)y->shape[0]))
    matmul_forward(r);
}

void mm_forward(ln_rule *r) { checked_product(r, 2); }
void bmm_forward(ln_rule *r) { checked_product(r, 3); }

/* -- addmm, baddbmm -- */

static void add_product(ln_rule *r, int ndim) {
  ARGS(addmm);
  double beta = r_float(r, a_beta), alpha = r_float(r, a_alpha);
  if (!r_check_ndim(r, "the first matrix", mat1, ndim) || !r_check_ndim(r, "the second matrix", mat2, ndim) || !check_pair(r, mat1, mat2) ||
      !r_check_same_dtype(r, input, mat1) || !check_inner(r, mat1, mat2, mat1->shape[ndim - 1], mat2->shape[ndim - 2]))
    return;
  int64_t shape[3] = {mat1->shape[0], mat1->shape[ndim - 2], 0}, wide[16];
  shape[ndim - 1] = mat2->shape[ndim - 1];
  if (!r_require(r, ndim < 3 || mat1->shape[0] == mat2->shape[0], "batches of %lld and %lld matrices", (long long)mat1->shape[0],
                 (long long)mat2->shape[0]))
    return;
  ln_tensor *y = r_new(r, shape, ndim, mat1->dtype);
  int n = 0;
  if (!y || !r_status(r, ln_broadcast(r->name, y, input, wide, &n))) return;
  if (!r_require(r, n == ndim && ln_same_dims(wide, shape, n), "input of shape %s does not broadcast to %s", ln_shape_text(input->shape, input->ndim),
                 ln_shape_text(shape, ndim)))
    return;
  if (beta != 0) r_copy(r, y, input);
  product(r, mat1, mat2, y, alpha, beta, NULL);
  r_result(r, 0, y);
}

void addmm_forward(ln_rule *r) { add_product(r, 2); }
void baddbmm_forward(ln_rule *r) { add_product(r, 3); }

/* -- linear -- */

/* t as a matrix of rows: itself, or a look at its memory in `room`. */
static const ln_tensor *as_rows(ln_rule *r, ln_tensor *t, ln_tensor *room) {
  if (t->ndim == 2) return t;
  t = r_dense(r, t, t->dtype);
  if (!t) return NULL;
  *room = ln_look(t, (const int64_t[]){ln_numel(t->shape, t->ndim - 1), t->shape[t->ndim - 1]}, NULL, 2);
  return room;
}

/* A weight that is one row, for one output without a dimension of its own, as a matrix. */
static ln_tensor *as_matrix(ln_rule *r, ln_tensor *weight) {
  return weight->ndim == 1 ? r_reshape(r, weight, (const int64_t[]){1, weight->shape[0]}, 2) : weight;
}

static bool check_linear(ln_rule *r, const ln_tensor *input, const ln_tensor *weight, const ln_tensor *bias) {
  int vector = weight->ndim == 1;
  int64_t in = vector ? weight->shape[0] : weight->shape[1];
  return r_require(r, input->shape[input->ndim - 1] == in,
                   "the last dimension of input must be %lld, the weight's in_features, got shape %s (weight %s)", (long long)in,
                   ln_shape_text(input->shape, input->ndim), ln_shape_text(weight->shape, weight->ndim)) &&
         r_require(r, !bias || (bias->ndim == weight->ndim - 1 && (vector || bias->shape[0] == weight->shape[0])), "bias must have shape %s, got %s",
                   ln_shape_text(weight->shape, weight->ndim - 1), bias ? ln_shape_text(bias->shape, bias->ndim) : "") &&
         (!bias || r_check_same_dtype(r, input, bias));
}

void linear_forward(ln_rule *r) {
  ARGS(linear);
  if (!r_require(r, (weight->ndim == 1 || weight->ndim == 2) && input->ndim > 0,
                 "input %s must have at least 1 dimension and weight %s 2, or 1 for one output", ln_shape_text(input->shape, input->ndim),
                 ln_shape_text(weight->shape, weight->ndim)) ||
      !check_pair(r, input, weight) || !check_linear(r, input, weight, bias))
    return;
  int64_t shape[16];
  memcpy(shape, input->shape, sizeof(int64_t) * (size_t)input->ndim);
  ln_tensor *w = as_matrix(r, weight), *row = bias ? r_dense(r, bias, bias->dtype) : NULL, room;
  if (!w) return;
  shape[input->ndim - 1] = w->shape[0];
  ln_tensor *made = r_out(r, 0, shape, input->ndim - (weight->ndim == 1), input->dtype);
  const ln_tensor *x = as_rows(r, input, &room);
  if (!made || !x) return;
  ln_tensor wt = turned(w), y = ln_look(made, (const int64_t[]){x->shape[0], w->shape[0]}, NULL, 2);
  product(r, x, &wt, &y, 1, 0, row);
}

/* One product or sum for each gradient, without the operators in between. */
void linear_backward(ln_rule *r) {
  ARGS(linear);
  ln_tensor g_room, x_room, *dx = NULL, *dw = NULL, *db = NULL;
  ln_tensor *w = as_matrix(r, weight), *gy = weight->ndim == 1 ? r_reshape(r, r->g[0], (const int64_t[]){r->g[0]->numel, 1}, 2) : r->g[0];
  if (!w || !gy) return;
  const ln_tensor *g = as_rows(r, gy, &g_room), *x = r->needs[1] ? as_rows(r, input, &x_room) : NULL;
  if (r->needs[0]) dx = r_new(r, input->shape, input->ndim, input->dtype);
  if (r->needs[1]) dw = r_new(r, weight->shape, weight->ndim, weight->dtype);
  if (bias && r->needs[2]) db = r_new(r, bias->shape, bias->ndim, bias->dtype);
  if (!r_ok(r)) return;
  if (dx) {
    ln_tensor rows = ln_look(dx, (const int64_t[]){g->shape[0], w->shape[1]}, NULL, 2);
    product(r, g, w, &rows, 1, 0, NULL);
  }
  if (dw) {
    ln_tensor columns = turned(g), matrix = ln_look(dw, w->shape, NULL, 2);
    product(r, &columns, x, &matrix, 1, 0, NULL);
  }
  if (db) {
    ln_fold fold;
    ln_tensor sums = ln_look(db, w->shape, NULL, 1);
    ln_fold_init(&fold, LN_FOLD_SUM, g, 1, &sums, false);
    KERNEL(r, fold, &fold);
  }
  r_give(r, 0, dx);
  r_give(r, 1, dw);
  r_give(r, 2, db);
}
