/* pad.c - elements added at the ends of dimensions, and the gradient of that: copies and sums between parts of one tensor, on any device.
 *
 * The result is made as if nothing were cropped: the input in the middle, then, dim by dim from the last, the margins at both ends, which repeat what
 * is there already. What a negative number crops is cut off in the end; where the margins must not see it, in the beginning. */
#include "shape.h"

enum { CONSTANT, REFLECT, REPLICATE, CIRCULAR }; /* as in the signatures */
static const char *const modes[] = {"constant", "reflect", "replicate", "circular"};

typedef struct frame {
  int ndim, mode;
  int64_t in[16], before[16], after[16];   /* of the input as the margins see it; what is added, not negative */
  int64_t size[16];                        /* with what is added */
  int64_t crop_before[16], crop_after[16]; /* not negative */
  int64_t out[16];                         /* of the result */
  bool crops, crops_first;
} frame;

/* -- Reading -- */

static bool check_dim(ln_rule *r, const frame *f, int d, const int64_t *shape, int64_t before, int64_t after) {
  int64_t n = f->in[d], most = f->mode == REFLECT ? n - 1 : f->mode == CIRCULAR ? n : INT64_MAX / 4;
  bool fits = before <= most && after <= most && f->out[d] >= 0 && n >= 0 && (f->mode == CONSTANT || n > 0);
  return r_require(r, fits, "%lld and %lld are out of range for dimension %d of shape %s, mode %s", (long long)before, (long long)after, d,
                   ln_shape_text(shape, f->ndim), modes[f->mode]);
}

static bool read_dim(ln_rule *r, frame *f, int d, const int64_t *shape, int64_t before, int64_t after) {
  bool small = before > -INT64_MAX / 4 && after > -INT64_MAX / 4;
  f->before[d] = before > 0 ? before : 0;
  f->after[d] = after > 0 ? after : 0;
  f->crop_before[d] = small && before < 0 ? -before : 0;
  f->crop_after[d] = small && after < 0 ? -after : 0;
  f->crops = f->crops || before < 0 || after < 0;
  if (f->crops_first) f->in[d] = shape[d] - f->crop_before[d] - f->crop_after[d];
  if (small && (before != 0 || after != 0)) {
    f->out[d] = before <= INT64_MAX / 4 && after <= INT64_MAX / 4 ? shape[d] + before + after : -1;
    if (!check_dim(r, f, d, shape, before, after)) return false;
  }
  f->size[d] = f->in[d] + f->before[d] + f->after[d];
  return r_require(r, small, "pad holds the number %lld", (long long)(before < after ? before : after));
}

/* The numbers of the attribute pad, a pair a dimension. */
static int read_pads(ln_rule *r, const int64_t **pads) {
  SLOTS(pad); /* all rows have pad in this slot */
  int n = r_has(r, a_pad) ? (int)(r->attrs->slot[a_pad].i & 255) : 0;
  return r_require(r, n <= LN_MAX_DIMS, "at most %d dimensions are padded at once, got %d numbers", LN_MAX_DIMS / 2, n) ? r_list(r, a_pad, pads) : 0;
}

/* What the attribute pad says of an input of a shape. */
static bool read_frame(ln_rule *r, frame *f, int mode, const int64_t *shape, int ndim) {
  const int64_t *pads;
  int n = read_pads(r, &pads);
  *f = (frame){.ndim = ndim, .mode = mode};
  f->crops_first = f->mode == CONSTANT || f->mode == CIRCULAR;
  if (!r_require(r, n % 2 == 0 && n / 2 <= ndim, "%d numbers do not pair with the dimensions of shape %s", n, ln_shape_text(shape, ndim)))
    return false;
  for (int d = 0; d < ndim; d++) f->in[d] = f->size[d] = f->out[d] = shape[d];
  for (int i = 0; i < n / 2; i++)
    if (!read_dim(r, f, ndim - 1 - i, shape, pads[2 * i], pads[2 * i + 1])) return false;
  return r_ok(r);
}

/* -- Margins -- */

typedef struct box {
  int64_t start[16], length[16];
} box;

/* The margin of dim d at one end: of the dims before d, which come later, only the middle. */
static box margin_of(const frame *f, int d, bool end) {
  box b;
  for (int k = 0; k < f->ndim; k++) {
    b.start[k] = k < d ? f->before[k] : 0;
    b.length[k] = k < d ? f->in[k] : f->size[k];
  }
  b.start[d] = end ? f->before[d] + f->in[d] : 0;
  b.length[d] = end ? f->after[d] : f->before[d];
  return b;
}

/* What the margin repeats: elements from `first` on along d, `step` apart. */
static void source_of(const frame *f, int d, bool end, int64_t *first, int64_t *step) {
  int64_t low = f->before[d], high = low + f->in[d];
  *step = f->mode == REFLECT ? -1 : f->mode == CIRCULAR ? 1 : 0;
  if (f->mode == REFLECT)
    *first = end ? high - 2 : 2 * low;
  else if (f->mode == CIRCULAR)
    *first = end ? low : high - low;
  else
    *first = end ? high - 1 : low;
}

static ln_tensor source_part(const frame *f, const ln_tensor *y, box b, int d, bool end) {
  int64_t step;
  source_of(f, d, end, &b.start[d], &step);
  ln_tensor part = ln_part(y, b.start, b.length);
  part.stride[d] = step * y->stride[d];
  return part;
}

static bool fill_margin(ln_rule *r, const frame *f, const ln_tensor *y, int d, bool end, double value) {
  box b = margin_of(f, d, end);
  ln_tensor margin = ln_part(y, b.start, b.length), source;
  if (margin.numel == 0) return r_ok(r);
  if (f->mode == CONSTANT) return r_status(r, ln_fill_number(&margin, false, &value));
  source = source_part(f, y, b, d, end);
  return r_copy(r, &margin, &source);
}

/* -- Forward -- */

/* A new tensor whose dims lie in memory as those of a model. */
static ln_tensor *new_in_order(ln_rule *r, const int64_t *shape, const ln_tensor *model, int dtype) {
  int order[16];
  int64_t stride[16];
  ln_memory_order(model, order);
  ln_strides_in_order(shape, model->ndim, order, stride);
  return r_new_strided(r, shape, stride, model->ndim, dtype);
}

static ln_tensor *out_in_order(ln_rule *r, const int64_t *shape, const ln_tensor *model, int dtype) {
  int order[16];
  int64_t stride[16];
  ln_memory_order(model, order);
  ln_strides_in_order(shape, model->ndim, order, stride);
  return r_out_strided(r, 0, shape, stride, model->ndim, dtype);
}

static void padded(ln_rule *r, ln_tensor *input, int mode, double value) {
  frame f;
  if (!read_frame(r, &f, mode, input->shape, input->ndim)) return;
  bool cut = f.crops && !f.crops_first;
  ln_tensor *out = out_in_order(r, f.out, input, input->dtype), *y = cut ? new_in_order(r, f.size, input, input->dtype) : out;
  ln_tensor middle, kept = f.crops_first ? ln_part(input, f.crop_before, f.in) : *input;
  if (!y || !out || out->numel == 0) return;
  middle = ln_part(y, f.before, f.in);
  if (middle.numel > 0 && !r_copy(r, &middle, &kept)) return;
  for (int d = f.ndim - 1; d >= 0; d--)
    if (!fill_margin(r, &f, y, d, false, value) || !fill_margin(r, &f, y, d, true, value)) return;
  if (!cut) return;
  kept = ln_part(y, f.crop_before, f.out);
  r_copy(r, out, &kept);
}

void pad_constant_forward(ln_rule *r) {
  ARGS(pad_constant);
  padded(r, input, CONSTANT, r_float(r, a_value));
}

void pad_edges_forward(ln_rule *r) {
  ARGS(pad_edges);
  padded(r, input, (int)r_int(r, a_mode), 0);
}

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
  int n = read_pads(r, &list);
  if (!r_ok(r)) return;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, 0, list, n);
  ln_attrs_float(&attrs, 1, value);
  r_result(r, 0, r_do(r, LN_OP_pad_constant, &input, 1, &attrs));
}

/* -- Gradient -- */

/* The margin added to where it came from; one element after another when all come from one. */
static bool fold_margin(ln_rule *r, const frame *f, const ln_tensor *y, int d, bool end) {
  box b = margin_of(f, d, end);
  int64_t n = b.length[d], each = f->mode == REPLICATE ? 1 : n;
  for (int64_t i = 0; i < n && r_ok(r); i += each) {
    box part = b;
    part.start[d] += i;
    part.length[d] = each;
    ln_tensor margin = ln_part(y, part.start, part.length), source = source_part(f, y, part, d, end);
    if (margin.numel > 0) r_add_into(r, &source, &margin);
  }
  return r_ok(r);
}

void pad_edges_dx_forward(ln_rule *r) {
  ARGS(pad_edges_dx);
  const int64_t *size;
  int ndim = r_list(r, a_size, &size);
  frame f;
  if (!r_require(r, ndim == dy->ndim, "size %s does not go with dy %s", ln_shape_text(size, ndim), ln_shape_text(dy->shape, dy->ndim)) ||
      !read_frame(r, &f, (int)r_int(r, a_mode), size, ndim) ||
      !r_require(r, ln_same_dims(dy->shape, f.out, ndim), "dy %s is not the result of an input %s", ln_shape_text(dy->shape, dy->ndim),
                 ln_shape_text(size, ndim)))
    return;
  bool cut = f.crops && !f.crops_first;
  ln_tensor *y = new_in_order(r, f.size, dy, ln_is_float(dy->dtype) && dy->dtype != LN_FLOAT64 ? LN_FLOAT32 : dy->dtype),
            *dx = out_in_order(r, size, dy, dy->dtype), part;
  if (!y || !dx || dx->numel == 0) return;
  if (f.crops && (!r_status(r, ln_zero(y)) || !r_status(r, ln_zero(dx)))) return;
  part = cut ? ln_part(y, f.crop_before, f.out) : *y;
  if (part.numel == 0) {
    r_status(r, ln_zero(dx));
    return;
  }
  r_copy(r, &part, dy);
  for (int d = 0; d < ndim && f.mode != CONSTANT && r_ok(r); d++)
    if (!fold_margin(r, &f, y, d, false) || !fold_margin(r, &f, y, d, true)) return;
  ln_tensor middle = ln_part(y, f.before, f.in), to = f.crops_first ? ln_part(dx, f.crop_before, f.in) : *dx;
  if (middle.numel > 0) r_copy(r, &to, &middle);
}
