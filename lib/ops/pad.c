/* pad.c - elements added at the ends of dims, or taken away: a number, or what lies inside. */
#include "index.h"

enum { CONSTANT, REFLECT, REPLICATE, CIRCULAR }; /* as in the signatures */
static const char *const modes[] = {"constant", "reflect", "replicate", "circular"};

typedef struct pads {
  int64_t before[LN_MAX_DIMS], after[LN_MAX_DIMS], shape[LN_MAX_DIMS]; /* by dim of x; the padded shape */
} pads;

static bool fits(int mode, int64_t n, int64_t before, int64_t after, int64_t *size) {
  if (before < -n || after < -n || __builtin_add_overflow(n, before, size) || __builtin_add_overflow(*size, after, size) || *size < 0) return false;
  int64_t kept = n + (before < 0 ? before : 0) + (after < 0 ? after : 0);
  if (mode == CONSTANT) return kept >= 0;
  if (mode == CIRCULAR) return kept > 0 && before <= kept && after <= kept;
  return n > 0 && (mode == REPLICATE || (before < n && after < n));
}

/* The numbers of a pad: pairs before, after, the last dim first. */
static bool read_pads(ln_rule *r, int slot, int mode, const ln_tensor *x, pads *p) {
  const int64_t *list;
  int n = r_list(r, slot, &list);
  memset(p, 0, sizeof *p);
  memcpy(p->shape, x->shape, sizeof *p->shape * (size_t)x->ndim);
  if (!r_require(r, n % 2 == 0 && n / 2 <= x->ndim, "%d numbers do not pair with the dimensions of shape %s", n, ln_shape_text(x->shape, x->ndim)))
    return false;
  for (int i = 0; i < n; i += 2) {
    int d = x->ndim - 1 - i / 2;
    if (!list[i] && !list[i + 1]) continue;
    p->before[d] = list[i];
    p->after[d] = list[i + 1];
    if (!r_require(r, fits(mode, x->shape[d], list[i], list[i + 1], &p->shape[d]),
                   "%lld and %lld are out of range for dimension %d of shape %s, mode %s", (long long)list[i], (long long)list[i + 1], d,
                   ln_shape_text(x->shape, x->ndim), modes[mode]))
      return false;
  }
  return r_ok(r);
}

/* -- A number -- */

/* x and y cut down to the part of x that the padded y holds. */
static void overlap(ln_tensor *x, ln_tensor *y, const pads *p) {
  for (int d = 0; d < x->ndim; d++) {
    int64_t in_x = p->before[d] < 0 ? -p->before[d] : 0, in_y = p->before[d] > 0 ? p->before[d] : 0;
    int64_t from = x->shape[d] - in_x, to = y->shape[d] - in_y;
    x->data += in_x * x->stride[d] * ln_itemsize(x);
    y->data += in_y * y->stride[d] * ln_itemsize(y);
    x->shape[d] = y->shape[d] = from < to ? from : to;
  }
  x->numel = y->numel = ln_numel(x->shape, x->ndim);
}

void pad_constant_forward(ln_rule *r) {
  ARGS(pad_constant);
  pads p;
  double value = r_float(r, a_value);
  if (!read_pads(r, a_pad, CONSTANT, input, &p)) return;
  ln_tensor *y = r_out(r, 0, p.shape, input->ndim, input->dtype);
  if (!y || y->numel == 0 || !r_status(r, ln_fill_number(y, false, &value))) return;
  ln_tensor from = *input, to = *y;
  overlap(&from, &to, &p);
  if (to.numel > 0) r_copy(r, &to, &from);
}

/* -- What lies inside -- */

/* Which of n elements stands at padded position i, counted from the first element. */
static int64_t source(int mode, int64_t i, int64_t n, int64_t before, int64_t after) {
  if (mode == REPLICATE) return i < 0 ? 0 : i < n ? i : n - 1;
  if (mode == REFLECT) return i < 0 ? -i : i < n ? i : 2 * (n - 1) - i;
  int64_t from = before < 0 ? -before : 0, kept = n - from + (after < 0 ? after : 0); /* what negative numbers leave is wrapped */
  return from + ((i - from) % kept + kept) % kept;
}

static ln_tensor *sources(ln_rule *r, int mode, int64_t n, int64_t before, int64_t after) {
  int64_t size = n + before + after;
  ln_tensor *index;
  if (!r_status(r, ln_new(&size, 1, LN_INT64, LN_CPU, &index)) || !r_own(r, index)) return NULL;
  for (int64_t i = 0; i < size; i++) ((int64_t *)index->data)[i] = source(mode, i - before, n, before, after);
  if (r->device == LN_CPU) return index;
  ln_tensor *there = r_new(r, &size, 1, LN_INT64);
  return r_copy(r, there, index) ? there : NULL;
}

void pad_edges_forward(ln_rule *r) {
  ARGS(pad_edges);
  pads p;
  int mode = (int)r_int(r, a_mode);
  ln_tensor *y = input;
  if (!read_pads(r, a_pad, mode, input, &p)) return;
  for (int d = 0; d < input->ndim && y; d++) {
    if (!p.before[d] && !p.after[d]) continue;
    ln_tensor *wider = r_indexed(r, LN_OP_index_select, y, d, sources(r, mode, input->shape[d], p.before[d], p.after[d]), NULL);
    r_drop(r, y);
    y = wider;
  }
  r_result(r, 0, y == input ? r_do1(r, LN_OP_clone, y) : y);
}

void pad_edges_dx_forward(ln_rule *r) {
  ARGS(pad_edges_dx);
  pads p;
  const int64_t *size;
  int ndim = r_list(r, a_size, &size), mode = (int)r_int(r, a_mode);
  ln_tensor *dx = dy, x = ln_look(dy, size, NULL, ndim);
  int64_t shape[LN_MAX_DIMS];
  if (!r_require(r, ndim == dy->ndim, "size %s and the gradient's shape %s differ in length", ln_shape_text(size, ndim),
                 ln_shape_text(dy->shape, dy->ndim)) ||
      !read_pads(r, a_pad, mode, &x, &p) ||
      !r_require(r, ln_same_dims(p.shape, dy->shape, ndim), "a gradient of shape %s is expected, got %s", ln_shape_text(p.shape, ndim),
                 ln_shape_text(dy->shape, ndim)))
    return;
  memcpy(shape, dy->shape, sizeof shape);
  for (int d = 0; d < ndim && dx; d++) {
    if (!p.before[d] && !p.after[d]) continue;
    shape[d] = size[d];
    ln_tensor *sum = r_indexed(r, LN_OP_index_add, r_zeros(r, shape, ndim, dy->dtype), d, sources(r, mode, size[d], p.before[d], p.after[d]), dx);
    r_drop(r, dx);
    dx = sum;
  }
  r_result(r, 0, dx == dy ? r_do1(r, LN_OP_clone, dx) : dx);
}

/* -- Either -- */

void pad_forward(ln_rule *r) {
  ARGS(pad);
  int mode = (int)r_int(r, a_mode);
  double value = r_float(r, a_value);
  if (mode != CONSTANT) {
    if (r_require(r, value == 0, "a value goes with mode constant, not with %s", modes[mode]))
      r_result(r, 0, r_do(r, LN_OP_pad_edges, &input, 1, r->attrs)); /* its slots are the first of these */
    return;
  }
  const int64_t *list;
  ln_attrs attrs;
  int n = r_list(r, a_pad, &list);
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, 0, list, n);
  ln_attrs_float(&attrs, 1, value);
  r_result(r, 0, r_do(r, LN_OP_pad_constant, &input, 1, &attrs));
}
