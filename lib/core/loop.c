/* loop.c - nests of loops: broadcasting, collapsing of dimensions, the split of a reduction. Shapes only, no element. */
#include "../internal.h"

int ln_wrap_dim(const char *op, int64_t dim, int ndim, int *out) {
  int n = ndim > 0 ? ndim : 1;
  if (dim < -n || dim >= n)
    return ln_fail("%s: dim %lld is out of range, expected %d to %d for a tensor of %d dimensions (dims start at 0)", op, (long long)dim, -n, n - 1,
                   ndim);
  *out = (int)(dim < 0 ? dim + n : dim);
  return LN_OK;
}

int ln_broadcast(const char *op, const ln_tensor *a, const ln_tensor *b, int64_t *shape, int *ndim) {
  int n = a->ndim > b->ndim ? a->ndim : b->ndim;
  int64_t result[16];
  for (int i = 0; i < n; i++) {
    int64_t da = i < n - a->ndim ? 1 : a->shape[i - (n - a->ndim)];
    int64_t db = i < n - b->ndim ? 1 : b->shape[i - (n - b->ndim)];
    if (da != db && da != 1 && db != 1)
      return ln_fail("%s: the shapes %s and %s cannot be broadcast: size %lld meets %lld in dimension %d", op, ln_shape_text(a->shape, a->ndim),
                     ln_shape_text(b->shape, b->ndim), (long long)da, (long long)db, i);
    result[i] = da == 1 ? db : da;
  }
  memcpy(shape, result, sizeof(int64_t) * (size_t)n);
  *ndim = n;
  return LN_OK;
}

/* Operand 0's dimensions from the widest stride to the narrowest, so that it is written as it lies in memory; equals keep their order. */
static void order_by_output(ln_loop *loop) {
  for (int i = 1; i < loop->ndim; i++) {
    for (int j = i; j > 0 && loop->stride[0][j - 1] < loop->stride[0][j]; j--) {
      int64_t size = loop->shape[j];
      loop->shape[j] = loop->shape[j - 1];
      loop->shape[j - 1] = size;
      for (int k = 0; k < loop->n_operands; k++) {
        int64_t stride = loop->stride[k][j];
        loop->stride[k][j] = loop->stride[k][j - 1];
        loop->stride[k][j - 1] = stride;
      }
    }
  }
}

/* Can dimension i be folded into i + 1 (its inner neighbour) for every operand? */
static bool collapses(const ln_loop *loop, int i) {
  for (int k = 0; k < loop->n_operands; k++)
    if (loop->stride[k][i] != loop->stride[k][i + 1] * loop->shape[i + 1]) return false;
  return true;
}

static void drop_ones(ln_loop *loop) {
  int n = 0;
  for (int i = 0; i < loop->ndim; i++) {
    if (loop->shape[i] == 1) continue;
    loop->shape[n] = loop->shape[i];
    for (int k = 0; k < loop->n_operands; k++) loop->stride[k][n] = loop->stride[k][i];
    n++;
  }
  loop->ndim = n;
}

/* Merges outer dimensions into inner ones. */
static void collapse(ln_loop *loop) {
  for (int i = loop->ndim - 2; i >= 0; i--) {
    if (!collapses(loop, i)) continue;
    loop->shape[i + 1] *= loop->shape[i];
    for (int j = i; j < loop->ndim - 1; j++) {
      loop->shape[j] = loop->shape[j + 1];
      for (int k = 0; k < loop->n_operands; k++) loop->stride[k][j] = loop->stride[k][j + 1];
    }
    loop->ndim--;
  }
  if (loop->ndim == 0) {
    loop->ndim = 1;
    loop->shape[0] = loop->numel;
    for (int k = 0; k < loop->n_operands; k++) loop->stride[k][0] = ln_dtype_size(loop->dtype[k]);
  }
}

/* Every operand of the same shape and row-major, or, in any order, laid out alike without gaps: one loop, the common case. */
static bool init_flat(ln_loop *loop, ln_tensor *const *operands, int n, bool any_order) {
  const ln_tensor *y = operands[0];
  bool row_major = ln_tensor_is_contiguous(y);
  if (!row_major && !(any_order && ln_is_dense(y))) return false;
  for (int k = 1; k < n; k++) {
    const ln_tensor *t = operands[k];
    if (!t || t->numel == 1) continue;
    if (!ln_same_shape(t, y) || !(row_major ? ln_tensor_is_contiguous(t) : ln_same_dims(t->stride, y->stride, y->ndim))) return false;
  }
  loop->ndim = 1;
  loop->shape[0] = y->numel;
  for (int k = 0; k < n; k++) {
    const ln_tensor *t = operands[k];
    loop->stride[k][0] = !t || (t->numel == 1 && y->numel != 1) ? 0 : ln_itemsize(t);
  }
  return true;
}

static void init(ln_loop *loop, ln_tensor *const *operands, int n, bool any_order) {
  const ln_tensor *y = operands[0];
  loop->n_operands = n;
  loop->scalars = 0;
  loop->numel = y->numel;
  for (int k = 0; k < n; k++) {
    loop->dtype[k] = operands[k] ? operands[k]->dtype : y->dtype;
    loop->data[k] = operands[k] ? operands[k]->data : NULL;
  }
  if (init_flat(loop, operands, n, any_order)) return;
  loop->ndim = y->ndim;
  for (int i = 0; i < y->ndim; i++) loop->shape[i] = y->shape[i];
  for (int k = 0; k < n; k++) {
    const ln_tensor *t = operands[k];
    for (int i = 0; i < y->ndim; i++) {
      int own = t ? i - (y->ndim - t->ndim) : -1;
      loop->stride[k][i] = own < 0 || t->shape[own] == 1 ? 0 : t->stride[own] * ln_itemsize(t);
    }
  }
  drop_ones(loop);
  if (any_order) order_by_output(loop);
  collapse(loop);
}

void ln_loop_init(ln_loop *loop, ln_tensor *const *operands, int n) { init(loop, operands, n, false); }

void ln_loop_init_any_order(ln_loop *loop, ln_tensor *const *operands, int n) { init(loop, operands, n, true); }

void ln_loop_scalar(ln_loop *loop, int operand, int dtype, const void *value) {
  loop->scalars |= 1u << operand;
  loop->dtype[operand] = dtype;
  loop->data[operand] = (char *)value;
  for (int i = 0; i < loop->ndim; i++) loop->stride[operand][i] = 0;
}

/* Appends a dim to a nest, merging it into the last one where the strides of x (and y) allow. */
static void push(int64_t *shape, int64_t *sx, int64_t *sy, int *ndim, int64_t size, int64_t x, int64_t y) {
  if (size == 1) return;
  int n = *ndim;
  if (n > 0 && sx[n - 1] == x * size && (!sy || sy[n - 1] == y * size)) {
    shape[n - 1] *= size;
    sx[n - 1] = x;
    if (sy) sy[n - 1] = y;
    return;
  }
  shape[n] = size;
  sx[n] = x;
  if (sy) sy[n] = y;
  *ndim = n + 1;
}

void ln_fold_init(ln_fold *fold, int kind, const ln_tensor *x, uint32_t mask, const ln_tensor *y, bool keepdim) {
  int64_t ix = ln_itemsize(x), iy = ln_itemsize(y);
  fold->outer_ndim = fold->inner_ndim = 0;
  fold->outer_numel = fold->inner_numel = 1;
  fold->x = x->data;
  fold->y = y->data;
  fold->kind = kind;
  fold->dtype = x->dtype;
  fold->y_dtype = y->dtype;
  int at = 0; /* dim of y */
  for (int i = 0; i < x->ndim; i++) {
    if ((mask >> i) & 1) {
      push(fold->inner_shape, fold->x_inner_stride, NULL, &fold->inner_ndim, x->shape[i], x->stride[i] * ix, 0);
      fold->inner_numel *= x->shape[i];
      at += keepdim;
    } else {
      push(fold->outer_shape, fold->x_outer_stride, fold->y_stride, &fold->outer_ndim, x->shape[i], x->stride[i] * ix, y->stride[at] * iy);
      fold->outer_numel *= x->shape[i];
      at++;
    }
  }
}
