/* join.c - several tensors as one: cat, stack; elements of one in another order: roll, which joins parts, flip and rot90. */
#include "shape.h"

static bool is_legacy_empty(const ln_tensor *t) { return t->ndim == 1 && t->shape[0] == 0; }

/* The tensor whose shape the others must go with; vectors without elements fit anywhere, as they always did in PyTorch. */
static const ln_tensor *leading(const ln_rule *r) {
  for (int i = 0; i < r->n_in; i++)
    if (!is_legacy_empty(r->in[i])) return r->in[i];
  return r->in[0];
}

static int joined_dtype(const ln_rule *r) {
  int dtype = r->in[0]->dtype;
  for (int i = 1; i < r->n_in; i++) dtype = ln_promote_types(dtype, r->in[i]->dtype);
  return dtype;
}

static bool check_list(ln_rule *r) {
  bool some = r_require(r, r->n_in > 0, "at least one tensor is needed");
  for (int i = 0; some && i < r->n_in; i++) some = r_require(r, r->in[i] != NULL, "tensor %d is missing", i);
  return some;
}

static bool goes_with(const ln_tensor *t, const ln_tensor *first, int dim) {
  if (t->ndim != first->ndim) return false;
  for (int k = 0; k < t->ndim; k++)
    if (k != dim && t->shape[k] != first->shape[k]) return false;
  return true;
}

void cat_forward(ln_rule *r) {
  SLOTS(cat);
  int64_t shape[16], at = 0;
  if (!check_list(r)) return;
  for (int i = 0; i < r->n_in; i++)
    if (!r_require(r, r->in[i]->ndim > 0, "tensor %d has no dimension to be joined along; use stack", i)) return;
  const ln_tensor *first = leading(r);
  int dim = r_dim(r, a_dim, first->ndim);
  memcpy(shape, first->shape, sizeof shape);
  shape[dim] = 0;
  for (int i = 0; i < r->n_in && r_ok(r); i++) {
    const ln_tensor *t = r->in[i];
    if (is_legacy_empty(t)) continue;
    r_require(r, goes_with(t, first, dim), "tensor %d of shape %s does not fit to %s along dim %d", i, ln_shape_text(t->shape, t->ndim),
              ln_shape_text(first->shape, first->ndim), dim);
    shape[dim] += t->shape[dim];
  }
  ln_tensor *y = r_out(r, 0, shape, first->ndim, joined_dtype(r));
  for (int i = 0; y && i < r->n_in; i++) {
    ln_tensor *t = r->in[i], part = *y;
    if (is_legacy_empty(t)) continue;
    part.shape[dim] = t->shape[dim];
    part.numel = t->numel;
    part.data += at * part.stride[dim] * ln_itemsize(&part);
    at += t->shape[dim];
    if (!r_copy(r, &part, t)) return;
  }
}

void cat_backward(ln_rule *r) {
  SLOTS(cat);
  ln_tensor *g = r->g[0];
  int dim = r_dim(r, a_dim, g->ndim);
  int64_t at = 0;
  for (int i = 0; i < r->n_in && r_ok(r); i++) {
    const ln_tensor *t = r->in[i];
    if (is_legacy_empty(t) && g->ndim != 1) {
      if (r->needs[i]) r_give(r, i, r_zeros(r, t->shape, t->ndim, t->dtype));
      continue;
    }
    ln_tensor *part = r->needs[i] ? r_narrow(r, g, dim, at, t->shape[dim]) : NULL;
    at += t->shape[dim];
    r_give(r, i, part);
    r_drop(r, part);
  }
}

void stack_forward(ln_rule *r) {
  SLOTS(stack);
  int64_t shape[16];
  if (!check_list(r)) return;
  const ln_tensor *first = r->in[0];
  if (!r_require(r, first->ndim < LN_MAX_DIMS, "a tensor has at most %d dimensions", LN_MAX_DIMS)) return;
  int dim = r_dim(r, a_dim, first->ndim + 1), ndim = first->ndim + 1;
  for (int i = 0; i < r->n_in; i++)
    if (!r_require(r, ln_same_shape(first, r->in[i]), "tensor %d has shape %s, the first %s", i, ln_shape_text(r->in[i]->shape, r->in[i]->ndim),
                   ln_shape_text(first->shape, first->ndim)))
      return;
  for (int i = 0; i < ndim; i++) shape[i] = i == dim ? r->n_in : first->shape[i > dim ? i - 1 : i];
  ln_tensor *y = r_out(r, 0, shape, ndim, joined_dtype(r));
  for (int i = 0; y && i < r->n_in; i++) {
    int64_t stride[16];
    for (int k = 0; k < first->ndim; k++) stride[k] = y->stride[k < dim ? k : k + 1];
    ln_tensor part = ln_look(y, first->shape, stride, first->ndim);
    part.data += i * y->stride[dim] * ln_itemsize(y);
    if (!r_copy(r, &part, r->in[i])) return;
  }
}

void stack_backward(ln_rule *r) {
  SLOTS(stack);
  int dim = r_dim(r, a_dim, r->g[0]->ndim);
  for (int i = 0; i < r->n_in && r_ok(r); i++) {
    ln_tensor *part = r->needs[i] ? r_select(r, r->g[0], dim, i) : NULL;
    r_give(r, i, part);
    r_drop(r, part);
  }
}

/* Two parts exchanged along dim. */
static ln_tensor *exchange(ln_rule *r, ln_tensor *x, int dim, int64_t shift) {
  SLOTS(cat);
  int64_t n = x->shape[dim], first = n ? (shift % n + n) % n : 0;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_int(&attrs, a_dim, dim);
  ln_tensor *const parts[2] = {r_narrow(r, x, dim, n - first, first), r_narrow(r, x, dim, 0, n - first)};
  return parts[0] && parts[1] ? r_do(r, LN_OP_cat, parts, 2, &attrs) : NULL;
}

void roll_forward(ln_rule *r) {
  ARGS(roll);
  static const int64_t first;
  const int64_t *shifts, *dims = &first;
  int n = r_list(r, a_shifts, &shifts), n_dims = r_has(r, a_dims) ? r_list(r, a_dims, &dims) : 1, dim = 0;
  if (!r_require(r, n == n_dims, "shifts %s and dims %s differ in length", ln_shape_text(shifts, n), ln_shape_text(dims, n_dims))) return;
  ln_tensor *x = r_has(r, a_dims) ? input : r_reshape(r, input, &input->numel, 1);
  for (int i = 0; i < n && x; i++)
    if (r_status(r, ln_wrap_dim(r->name, dims[i], x->ndim, &dim)) && x->ndim > 0) x = exchange(r, x, dim, shifts[i]);
  r_result(r, 0, r_reshape(r, x, input->shape, input->ndim));
}

/* -- flip, rot90 -- */

/* Read from the far end, backwards. */
static void flip(ln_rule *r, ln_tensor *y, const ln_tensor *x, uint32_t mask) {
  int64_t stride[16], offset = 0;
  for (int i = 0; i < x->ndim; i++) {
    bool flipped = ((mask >> i) & 1) && x->shape[i] > 0;
    stride[i] = flipped ? -x->stride[i] : x->stride[i];
    offset += flipped ? (x->shape[i] - 1) * x->stride[i] : 0;
  }
  ln_tensor backwards = ln_look(x, x->shape, stride, x->ndim);
  backwards.data += offset * ln_itemsize(x);
  r_copy(r, y, &backwards);
}

void flip_forward(ln_rule *r) {
  ARGS(flip);
  const int64_t *dims;
  uint32_t mask = r_list(r, a_dims, &dims) ? r_dims(r, a_dims, input->ndim) : 0;
  ln_tensor *y = r_out(r, 0, input->shape, input->ndim, input->dtype);
  if (y && y->numel > 0) flip(r, y, input, mask);
}

static ln_tensor *flipped(ln_rule *r, ln_tensor *x, const int64_t *dims, int n) {
  SLOTS(flip);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_dims, dims, n);
  return x ? r_do(r, LN_OP_flip, &x, 1, &attrs) : NULL;
}

static void flip_one(ln_rule *r, int64_t dim) {
  ln_tensor *x = r->in[0];
  if (r_require(r, x->ndim > dim, "a tensor of at least %d dimension%s is expected, got shape %s", (int)dim + 1, dim ? "s" : "",
                ln_shape_text(x->shape, x->ndim)))
    r_result(r, 0, flipped(r, x, &dim, 1));
}

void fliplr_forward(ln_rule *r) { flip_one(r, 1); }
void flipud_forward(ln_rule *r) { flip_one(r, 0); }

void rot90_forward(ln_rule *r) {
  ARGS(rot90);
  static const int64_t first_two[2] = {0, 1};
  const int64_t *given = first_two;
  int n = r_has(r, a_dims) ? r_list(r, a_dims, &given) : 2, a = 0, b = 0;
  int64_t turns = ((r_int(r, a_k) % 4) + 4) % 4;
  if (!r_require(r, n == 2, "two dims are expected, got %s", ln_shape_text(given, n)) ||
      !r_require(r, input->ndim >= 2, "a tensor of at least 2 dimensions is expected, got shape %s", ln_shape_text(input->shape, input->ndim)) ||
      !r_status(r, ln_wrap_dim(r->name, given[0], input->ndim, &a)) || !r_status(r, ln_wrap_dim(r->name, given[1], input->ndim, &b)) ||
      !r_require(r, a != b, "the two dims must differ, both are %d", a))
    return;
  const int64_t dims[2] = {a, b};
  if (turns % 2 == 0)
    r_result(r, 0, turns ? flipped(r, input, dims, 2) : r_do1(r, LN_OP_clone, input));
  else
    r_result(r, 0, flipped(r, r_transpose(r, input, a, b), turns == 1 ? &dims[0] : &dims[1], 1));
}
