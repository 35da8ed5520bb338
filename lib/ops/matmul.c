/* matmul.c - matrix products: shapes, batches and strides are settled here, the kernel sees one regular product. */
#include "rules.h"

/* -- From tensors to one or several ln_gemm -- */

/* Can a library read the last two dims as they are? */
static bool readable(const ln_tensor *t) {
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

/* y[batch, m, n] = alpha a b + beta y + bias; y row-major, a and b readable. The last batch dim is the kernel's, the others are walked. */
static int multiply(const char *op, const ln_tensor *a, const ln_tensor *b, const ln_tensor *y, double alpha, double beta, const ln_tensor *bias) {
  int n = y->ndim - 2;
  int64_t item = ln_itemsize(y), outer = ln_numel(y->shape, n > 0 ? n - 1 : 0);
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
               .c_batch = y->shape[n] * y->shape[n + 1],
               .bias = bias ? bias->data : NULL,
               .alpha = alpha,
               .beta = beta};
  if (n > 0) {
    g.a_batch = batch_stride(a, n - 1, n);
    g.b_batch = batch_stride(b, n - 1, n);
  }
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
    LN_TRY(ln_kernel_status(op, ln_kernels_of(y->device)->gemm(&g, y->device)));
  }
  return LN_OK;
}

/* The same for operands of any layout. They are only looked at: a borrowed header with other geometry will do. */
static int product_with_bias(const char *op, const ln_tensor *a, const ln_tensor *b, const ln_tensor *y, double alpha, double beta,
                             const ln_tensor *bias) {
  ln_tensor *ca = NULL, *cb = NULL;
  int status = readable(a) ? LN_OK : ln_dense((ln_tensor *)a, a->dtype, &ca);
  if (status == LN_OK && !readable(b)) status = ln_dense((ln_tensor *)b, b->dtype, &cb);
  if (status == LN_OK) status = multiply(op, ca ? ca : a, cb ? cb : b, y, alpha, beta, bias);
  if (ca) ln_tensor_release(ca);
  if (cb) ln_tensor_release(cb);
  return status;
}

static int product(const char *op, const ln_tensor *a, const ln_tensor *b, const ln_tensor *y, double alpha, double beta) {
  return product_with_bias(op, a, b, y, alpha, beta, NULL);
}

static int check_pair(const char *op, const ln_tensor *a, const ln_tensor *b) {
  LN_TRY(ln_check_same_dtype(op, a, b));
  if (a->dtype == LN_BOOL) return ln_fail("%s: bool has no product of matrices", op);
  return LN_OK;
}

static int check_inner(const char *op, const ln_tensor *a, const ln_tensor *b, int64_t k, int64_t other) {
  if (k == other) return LN_OK;
  return ln_fail("%s: the inner sizes %lld and %lld differ (shapes %s and %s)", op, (long long)k, (long long)other, ln_shape_text(a->shape, a->ndim),
                 ln_shape_text(b->shape, b->ndim));
}

/* A borrowed look at t as a row-major tensor of another shape. */
static ln_tensor look(const ln_tensor *t, const int64_t *shape, int ndim) {
  ln_tensor v = *t;
  ln_set_geometry(&v, shape, NULL, ndim);
  return v;
}

/* A borrowed look at a matrix, turned. */
static ln_tensor turned(const ln_tensor *t) {
  ln_tensor v = *t;
  v.shape[0] = t->shape[1];
  v.shape[1] = t->shape[0];
  v.stride[0] = t->stride[1];
  v.stride[1] = t->stride[0];
  return v;
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

int matmul_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *y = c->in[1];
  LN_TRY(check_pair(c->name, x, y));
  if (x->ndim == 0 || y->ndim == 0)
    return ln_fail("%s: both operands need at least one dimension (shapes %s and %s)", c->name, ln_shape_text(x->shape, x->ndim),
                   ln_shape_text(y->shape, y->ndim));
  ln_tensor a = with_vector(x, true), b = with_vector(y, false);
  LN_TRY(check_inner(c->name, x, y, a.shape[a.ndim - 1], b.shape[b.ndim - 2]));
  if (b.ndim == 2 && a.ndim > 2 && ln_tensor_is_contiguous(&a)) { /* one product of all rows */
    int64_t rows[2] = {ln_numel(a.shape, a.ndim - 1), a.shape[a.ndim - 1]};
    ln_tensor flat = look(&a, rows, 2);
    int64_t shape[16];
    memcpy(shape, a.shape, sizeof(int64_t) * (size_t)(a.ndim - 1));
    int n = a.ndim - 1;
    if (y->ndim > 1) shape[n++] = b.shape[1];
    LN_TRY(ln_call_out(c, 0, shape, n, x->dtype));
    ln_tensor out = look(c->out[0], (int64_t[]){rows[0], b.shape[1]}, 2);
    c->keep_in = 3;
    return c->target ? ln_fail("%s: there is no in-place form", c->name) : product(c->name, &flat, &b, &out, 1, 0);
  }
  ln_tensor batch_a = a, batch_b = b;
  int64_t shape[16];
  int n;
  batch_a.ndim -= 2;
  batch_b.ndim -= 2;
  if (ln_broadcast(c->name, &batch_a, &batch_b, shape, &n) != LN_OK)
    return ln_fail("%s: the batches of shapes %s and %s cannot be broadcast", c->name, ln_shape_text(x->shape, x->ndim),
                   ln_shape_text(y->shape, y->ndim));
  int64_t full[16];
  memcpy(full, shape, sizeof(int64_t) * (size_t)n);
  full[n] = a.shape[a.ndim - 2];
  full[n + 1] = b.shape[b.ndim - 1];
  int ndim = n;
  if (x->ndim > 1) shape[ndim++] = full[n];
  if (y->ndim > 1) shape[ndim++] = full[n + 1];
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_call_out(c, 0, shape, ndim, x->dtype));
  ln_tensor out = look(c->out[0], full, n + 2);
  c->keep_in = 3;
  return product(c->name, &a, &b, &out, 1, 0);
}

static ln_tensor *turn(ln_back *b, ln_tensor *t) { return t ? ln_do_transpose(b, t, -2, -1) : NULL; }

static ln_tensor *rows_of(ln_back *b, ln_tensor *t, int64_t width) {
  int64_t shape[2] = {-1, width};
  if (t && t->numel == 0) shape[0] = width ? 0 : ln_numel(t->shape, t->ndim - 1);
  return ln_do_view(b, t, shape, 2);
}

void matmul_backward(ln_back *b) {
  int64_t xs[16], ys[16], gs[16];
  int nx = b->ndim[0], ny = b->ndim[1], ng = 0;
  memcpy(xs, b->shape[0], sizeof xs);
  memcpy(ys, b->shape[1], sizeof ys);
  if (nx == 1) {
    xs[1] = xs[0];
    xs[0] = 1;
    nx = 2;
  }
  if (ny == 1) {
    ys[1] = 1;
    ny = 2;
  }
  const ln_tensor *g0 = b->g[0];
  int batch = g0->ndim - (b->ndim[0] > 1) - (b->ndim[1] > 1);
  for (; ng < batch; ng++) gs[ng] = g0->shape[ng];
  gs[ng++] = xs[nx - 2];
  gs[ng++] = ys[ny - 1];
  ln_tensor *g = ln_do_view(b, b->g[0], gs, ng), *x = ln_do_view(b, b->in[0], xs, nx), *y = ln_do_view(b, b->in[1], ys, ny);
  bool fold = ny == 2 && nx > 2;
  if (fold) {
    x = rows_of(b, x, xs[nx - 1]);
    g = rows_of(b, g, gs[ng - 1]);
  }
  if (b->needs[0]) {
    ln_tensor *dx = ln_do2(b, LN_OP_matmul, g, turn(b, y));
    dx = fold ? dx : ln_do_sum_to(b, dx, xs, nx);
    ln_give(b, 0, ln_do_view(b, dx, b->shape[0], b->ndim[0]));
  }
  if (b->needs[1]) {
    ln_tensor *dy = ln_do_sum_to(b, ln_do2(b, LN_OP_matmul, turn(b, x), g), ys, ny);
    ln_give(b, 1, ln_do_view(b, dy, b->shape[1], b->ndim[1]));
  }
}

static int checked_product(ln_call *c, int ndim) {
  LN_TRY(ln_check_dim(c->name, "the first operand", c->in[0], ndim));
  LN_TRY(ln_check_dim(c->name, "the second operand", c->in[1], ndim));
  if (ndim == 3 && c->in[0]->shape[0] != c->in[1]->shape[0])
    return ln_fail("%s: batches of %lld and %lld matrices", c->name, (long long)c->in[0]->shape[0], (long long)c->in[1]->shape[0]);
  return matmul_forward(c);
}

int mm_forward(ln_call *c) { return checked_product(c, 2); }
void mm_backward(ln_back *b) { matmul_backward(b); }
int bmm_forward(ln_call *c) { return checked_product(c, 3); }
void bmm_backward(ln_back *b) { matmul_backward(b); }

/* -- addmm, baddbmm -- */

static int add_product(ln_call *c, int ndim) {
  ln_tensor *input = c->in[0], *a = c->in[1], *b = c->in[2];
  double beta = ln_float(c->attrs, 0), alpha = ln_float(c->attrs, 1);
  LN_TRY(ln_check_dim(c->name, "the first matrix", a, ndim));
  LN_TRY(ln_check_dim(c->name, "the second matrix", b, ndim));
  LN_TRY(check_pair(c->name, a, b));
  LN_TRY(ln_check_same_dtype(c->name, input, a));
  LN_TRY(check_inner(c->name, a, b, a->shape[ndim - 1], b->shape[ndim - 2]));
  int64_t shape[3] = {a->shape[0], a->shape[ndim - 2], 0}, wide[16];
  shape[ndim - 1] = b->shape[ndim - 1];
  if (ndim == 3 && a->shape[0] != b->shape[0])
    return ln_fail("%s: batches of %lld and %lld matrices", c->name, (long long)a->shape[0], (long long)b->shape[0]);
  if (c->target) return ln_fail("%s: there is no in-place form", c->name);
  LN_TRY(ln_call_out(c, 0, shape, ndim, a->dtype));
  int n;
  LN_TRY(ln_broadcast(c->name, c->out[0], input, wide, &n));
  if (n != ndim || !ln_same_dims(wide, shape, n))
    return ln_fail("%s: input of shape %s does not broadcast to %s", c->name, ln_shape_text(input->shape, input->ndim), ln_shape_text(shape, ndim));
  if (beta != 0) LN_TRY(ln_copy_into(c->out[0], input));
  c->keep_in = 6;
  return product(c->name, a, b, c->out[0], alpha, beta);
}

static void add_product_backward(ln_back *b) {
  double beta = ln_float(b->attrs, 0), alpha = ln_float(b->attrs, 1);
  ln_tensor *g = b->g[0];
  if (b->needs[0]) ln_give(b, 0, ln_do_sum_to(b, beta == 1 ? g : ln_do_scale(b, g, beta), b->shape[0], b->ndim[0]));
  if (alpha != 1) g = ln_do_scale(b, g, alpha);
  if (b->needs[1]) ln_give(b, 1, ln_do2(b, LN_OP_matmul, g, turn(b, b->in[2])));
  if (b->needs[2]) ln_give(b, 2, ln_do2(b, LN_OP_matmul, turn(b, b->in[1]), g));
}

int addmm_forward(ln_call *c) { return add_product(c, 2); }
void addmm_backward(ln_back *b) { add_product_backward(b); }
int baddbmm_forward(ln_call *c) { return add_product(c, 3); }
void baddbmm_backward(ln_back *b) { add_product_backward(b); }

/* -- linear -- */

int linear_forward(ln_call *c) {
  ln_tensor *x = c->in[0], *w = c->in[1], *bias = c->in[2];
  if (w->ndim != 2 || x->ndim == 0)
    return ln_fail("linear: x %s and weight %s must have at least 1 and exactly 2 dimensions", ln_shape_text(x->shape, x->ndim),
                   ln_shape_text(w->shape, w->ndim));
  LN_TRY(check_pair(c->name, x, w));
  if (x->shape[x->ndim - 1] != w->shape[1])
    return ln_fail("linear: the last dimension of x must be %lld, the weight's in_features, got shape %s (weight %s)", (long long)w->shape[1],
                   ln_shape_text(x->shape, x->ndim), ln_shape_text(w->shape, w->ndim));
  if (bias && (bias->ndim != 1 || bias->shape[0] != w->shape[0]))
    return ln_fail("linear: bias must have shape {%lld}, got %s", (long long)w->shape[0], ln_shape_text(bias->shape, bias->ndim));
  if (bias) LN_TRY(ln_check_same_dtype(c->name, x, bias));
  if (c->target) return ln_fail("linear: there is no in-place form");
  int64_t shape[16], rows = ln_numel(x->shape, x->ndim - 1);
  memcpy(shape, x->shape, sizeof(int64_t) * (size_t)x->ndim);
  shape[x->ndim - 1] = w->shape[0];
  LN_TRY(ln_call_out(c, 0, shape, x->ndim, x->dtype));
  c->keep_in = 3;
  ln_tensor y = look(c->out[0], (int64_t[]){rows, w->shape[0]}, 2), wt = turned(w), flat = *x, *dense = NULL, *row = NULL;
  int status = x->ndim == 2 ? LN_OK : ln_dense(x, x->dtype, &dense);
  if (status == LN_OK && bias) status = ln_dense(bias, bias->dtype, &row);
  if (status == LN_OK && dense) flat = look(dense, (int64_t[]){rows, w->shape[1]}, 2);
  if (status == LN_OK) status = product_with_bias(c->name, &flat, &wt, &y, 1, 0, row);
  if (dense) ln_tensor_release(dense);
  if (row) ln_tensor_release(row);
  return status;
}

/* t as a matrix of rows: itself, or a look at a dense copy that belongs to b. */
static bool as_rows(ln_back *b, ln_tensor *t, int64_t width, ln_tensor *out) {
  ln_tensor *dense = t;
  if (t->ndim != 2) {
    b->status = ln_dense(t, t->dtype, &dense);
    if (b->status != LN_OK || !ln_do_own(b, dense)) return false;
    *out = look(dense, (int64_t[]){ln_numel(t->shape, t->ndim - 1), width}, 2);
  } else {
    *out = *t;
  }
  return true;
}

static ln_tensor *new_like_input(ln_back *b, int i) {
  ln_tensor *dx;
  b->status = ln_new(b->shape[i], b->ndim[i], b->dtype[i], b->device, &dx);
  return b->status == LN_OK ? ln_do_own(b, dx) : NULL;
}

/* One product or sum for each gradient, without the operators in between. */
void linear_backward(ln_back *b) {
  int64_t in = b->shape[1][1], out = b->shape[1][0];
  ln_tensor g, x, *dx;
  if (!as_rows(b, b->g[0], out, &g)) return;
  if (b->needs[0] && (dx = new_like_input(b, 0))) {
    ln_tensor y = look(dx, (int64_t[]){g.shape[0], in}, 2);
    b->status = product(b->name, &g, b->in[1], &y, 1, 0);
    ln_give(b, 0, dx);
  }
  if (b->needs[1] && as_rows(b, b->in[0], in, &x) && (dx = new_like_input(b, 1))) {
    ln_tensor turned_g = turned(&g);
    b->status = product(b->name, &turned_g, &x, dx, 1, 0);
    ln_give(b, 1, dx);
  }
  if (b->n_in > 2 && b->needs[2] && (dx = new_like_input(b, 2))) {
    ln_fold fold;
    ln_fold_init(&fold, LN_FOLD_SUM, &g, 1, dx, false);
    b->status = ln_kernel_status(b->name, ln_kernels_of(b->device)->fold(&fold, b->device));
    ln_give(b, 2, dx);
  }
}

void linear_backward_any(ln_back *b) {
  int64_t in = b->shape[1][1], out = b->shape[1][0];
  ln_tensor *g = rows_of(b, b->g[0], out);
  if (b->needs[0]) ln_give(b, 0, ln_do_view(b, ln_do2(b, LN_OP_matmul, g, b->in[1]), b->shape[0], b->ndim[0]));
  if (b->needs[1]) ln_give(b, 1, ln_do2(b, LN_OP_matmul, turn(b, g), rows_of(b, b->in[0], in)));
  if (b->n_in > 2 && b->needs[2]) ln_give(b, 2, ln_do_sum(b, g, 1, false));
}
