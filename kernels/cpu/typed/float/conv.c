/* conv.c - convolution of 1 to 3 dimensions and its two gradients as products over unfolded patches, for one compute type and instruction set.
 *
 * It serves float64, the half types (converted) and what oneDNN declines. Patches are rows of [taps, channels of the group]; the weights are
 * put into the same order. Rows are taken in chunks whose size depends on the geometry alone. */
#include "../../../spatial.h"
#include "../../dense.h"

#define CHUNK_ELEMENTS (1 << 18) /* of unfolded patches at a time */

enum { FORWARD, DX, DW };

typedef struct plan {
  const ln_conv *c;
  ln_spatial s;
  int64_t ws[5];               /* of w: o, c of the group, then the dims */
  int64_t cg, og, taps, width; /* channels of a group, in and out; width = taps * cg */
  int64_t lines, chunk;        /* rows of out[2] patches: all, and at a time */
  ln_t *w, *patches, *block;   /* [groups, og, width], [chunk, out[2], width], [chunk, out[2], og] */
} plan;

static bool plan_begin(plan *p, const ln_conv *c) {
  p->c = c;
  LN_SPATIAL_OF(&p->s, c);
  ln_spatial_strides(c->spatial, c->w_stride, p->ws);
  p->cg = c->c / c->groups;
  p->og = c->o / c->groups;
  p->taps = p->s.kernel[0] * p->s.kernel[1] * p->s.kernel[2];
  p->width = p->taps * p->cg;
  p->lines = c->n * p->s.out[0] * p->s.out[1];
  p->chunk = CHUNK_ELEMENTS / (p->s.out[2] * p->width);
  if (p->chunk < 1) p->chunk = 1;
  if (p->chunk > p->lines) p->chunk = p->lines;
  size_t rows = (size_t)(p->chunk * p->s.out[2]);
  p->w = malloc((size_t)(c->o * p->width) * sizeof(ln_t));
  p->patches = malloc(rows * (size_t)p->width * sizeof(ln_t));
  p->block = malloc(rows * (size_t)p->og * sizeof(ln_t));
  return p->w && p->patches && p->block;
}

static void plan_end(plan *p) {
  free(p->w);
  free(p->patches);
  free(p->block);
}

/* -- Weights between their own order and [o, taps, cg] -- */

static void move_weights(const plan *p, ln_t *w, bool out) {
  const int64_t *ws = p->ws;
  ln_t *q = p->w;
  for (int64_t o = 0; o < p->c->o; o++)
    for (int64_t a = 0; a < p->s.kernel[0]; a++)
      for (int64_t b = 0; b < p->s.kernel[1]; b++)
        for (int64_t d = 0; d < p->s.kernel[2]; d++)
          for (int64_t i = 0; i < p->cg; i++, q++) {
            ln_t *v = w + o * ws[0] + i * ws[1] + a * ws[2] + b * ws[3] + d * ws[4];
            if (out)
              *v = *q;
            else
              *q = *v;
          }
}

/* -- Patches -- */

/* Where the patch of one output place starts: coordinates in the padded input, and offset of its image. */
typedef struct corner {
  int64_t at[2], image;
} corner;

static corner line_corner(const plan *p, int64_t line) {
  int64_t oh = line % p->s.out[1], rest = line / p->s.out[1], od = rest % p->s.out[0];
  return (corner){{od * p->s.stride[0] - p->s.padding[0], oh * p->s.stride[1] - p->s.padding[1]}, rest / p->s.out[0] * p->s.xs[0]};
}

/* Offset of the input row that taps (a, b) of a line read; false when it lies in the padding. */
static bool tap_row(const plan *p, const corner *k, int64_t a, int64_t b, int64_t *offset) {
  int64_t d = k->at[0] + a * p->s.dilation[0], h = k->at[1] + b * p->s.dilation[1];
  *offset = k->image + d * p->s.xs[2] + h * p->s.xs[3];
  return d >= 0 && d < p->s.in[0] && h >= 0 && h < p->s.in[1];
}

static void take(ln_t *patch, const ln_t *x, int64_t n, int64_t stride) {
  if (stride == 1) {
    memcpy(patch, x, (size_t)n * sizeof *patch);
    return;
  }
  for (int64_t i = 0; i < n; i++) patch[i] = x[i * stride];
}

static void unfold_line(const plan *p, const ln_t *x, int64_t line, ln_t *row) {
  corner k = line_corner(p, line);
  int64_t step = p->cg, offset;
  for (int64_t a = 0; a < p->s.kernel[0]; a++)
    for (int64_t b = 0; b < p->s.kernel[1]; b++) {
      bool inside = tap_row(p, &k, a, b, &offset);
      for (int64_t d = 0; d < p->s.kernel[2]; d++, row += step)
        for (int64_t o = 0; o < p->s.out[2]; o++) {
          int64_t w = o * p->s.stride[2] - p->s.padding[2] + d * p->s.dilation[2];
          ln_t *patch = row + o * p->width;
          if (inside && w >= 0 && w < p->s.in[2])
            take(patch, x + offset + w * p->s.xs[4], step, p->s.xs[1]);
          else
            memset(patch, 0, (size_t)step * sizeof *patch);
        }
    }
}

static void unfold(const plan *p, int64_t group, int64_t first, int64_t count) {
  const ln_t *x = (const ln_t *)p->c->x + group * p->cg * p->s.xs[1];
  int64_t size = p->s.out[2] * p->width;
  LN_SHARE(ln_cpu_threads(count * size, LN_GRAIN_LIGHT), i, count, 1, { unfold_line(p, x, first + i, p->patches + i * size); });
}

/* The inverse, adding, for channels [low, high) of the group. */
static void fold_line(const plan *p, ln_t *dx, int64_t line, const ln_t *row, int64_t low, int64_t high) {
  corner k = line_corner(p, line);
  int64_t offset, xc = p->s.xs[1];
  for (int64_t a = 0; a < p->s.kernel[0]; a++)
    for (int64_t b = 0; b < p->s.kernel[1]; b++) {
      bool inside = tap_row(p, &k, a, b, &offset);
      for (int64_t d = 0; d < p->s.kernel[2]; d++, row += p->cg)
        for (int64_t o = 0; inside && o < p->s.out[2]; o++) {
          int64_t w = o * p->s.stride[2] - p->s.padding[2] + d * p->s.dilation[2];
          if (w < 0 || w >= p->s.in[2]) continue;
          const ln_t *patch = row + o * p->width;
          ln_t *to = dx + offset + w * p->s.xs[4];
          for (int64_t i = low; i < high; i++) to[i * xc] += patch[i];
        }
    }
}

/* Lines overlap in dx, channels do not: each thread takes some channels of all lines, in the order of lines. */
static void fold(const plan *p, int64_t group, int64_t first, int64_t count) {
  ln_t *dx = (ln_t *)p->c->y + group * p->cg * p->s.xs[1];
  int64_t size = p->s.out[2] * p->width;
  int threads = ln_cpu_threads(count * size, LN_GRAIN_LIGHT);
  int64_t share = (p->cg + threads - 1) / threads;
  LN_SHARE(threads, t, threads, 1, {
    int64_t low = t * share, high = low + share < p->cg ? low + share : p->cg;
    for (int64_t i = 0; low < high && i < count; i++) fold_line(p, dx, first + i, p->patches + i * size, low, high);
  });
}

/* -- Blocks of the output side, [rows, og] -- */

static int64_t line_offset(const plan *p, int64_t line) {
  int64_t oh = line % p->s.out[1], rest = line / p->s.out[1];
  return oh * p->s.ys[3] + rest % p->s.out[0] * p->s.ys[2] + rest / p->s.out[0] * p->s.ys[0];
}

static void write_block(const plan *p, int64_t group, int64_t first, int64_t count) {
  const ln_t *bias = p->c->bias ? (const ln_t *)p->c->bias + group * p->og : NULL;
  int64_t size = p->s.out[2] * p->og;
  LN_SHARE(ln_cpu_threads(count * size, LN_GRAIN_LIGHT), i, count, 1, {
    ln_t *y = (ln_t *)p->c->y + line_offset(p, first + i) + group * p->og * p->s.ys[1];
    const ln_t *row = p->block + i * size;
    for (int64_t w = 0; w < p->s.out[2]; w++, row += p->og)
      for (int64_t o = 0; o < p->og; o++) y[w * p->s.ys[4] + o * p->s.ys[1]] = bias ? row[o] + bias[o] : row[o];
  });
}

static void read_block(const plan *p, int64_t group, int64_t first, int64_t count) {
  int64_t size = p->s.out[2] * p->og;
  LN_SHARE(ln_cpu_threads(count * size, LN_GRAIN_LIGHT), i, count, 1, {
    const ln_t *dy = (const ln_t *)p->c->dy + line_offset(p, first + i) + group * p->og * p->s.ys[1];
    ln_t *row = p->block + i * size;
    for (int64_t w = 0; w < p->s.out[2]; w++, row += p->og) take(row, dy + w * p->s.ys[4], p->og, p->s.ys[1]);
  });
}

/* -- The three products of a chunk -- */

static const char *multiply(const plan *p, int pass, int64_t group, int64_t count, bool first) {
  int64_t rows = count * p->s.out[2], k = p->width, og = p->og;
  ln_t *w = p->w + group * og * k;
  ln_gemm g = {.dtype = LN_T_DTYPE, .batch = 1, .alpha = 1};
  if (pass == FORWARD) { /* block = patches w^T */
    g.m = rows, g.n = og, g.k = k;
    g.a = (const char *)p->patches, g.a_row = k, g.a_col = 1;
    g.b = (const char *)w, g.b_row = 1, g.b_col = k;
    g.c = (char *)p->block, g.c_row = og;
  } else if (pass == DX) { /* patches = block w */
    g.m = rows, g.n = k, g.k = og;
    g.a = (const char *)p->block, g.a_row = og, g.a_col = 1;
    g.b = (const char *)w, g.b_row = k, g.b_col = 1;
    g.c = (char *)p->patches, g.c_row = k;
  } else { /* w += block^T patches */
    g.m = og, g.n = k, g.k = rows;
    g.a = (const char *)p->block, g.a_row = 1, g.a_col = og;
    g.b = (const char *)p->patches, g.b_row = k, g.b_col = 1;
    g.c = (char *)w, g.c_row = k, g.beta = !first;
  }
  return LN_FN(gemm)(&g);
}

static const char *run_chunk(const plan *p, int pass, int64_t group, int64_t first) {
  int64_t count = p->lines - first < p->chunk ? p->lines - first : p->chunk;
  if (pass != DX) unfold(p, group, first, count);
  if (pass != FORWARD) read_block(p, group, first, count);
  const char *failure = multiply(p, pass, group, count, first == 0);
  if (failure) return failure;
  if (pass == FORWARD) write_block(p, group, first, count);
  if (pass == DX) fold(p, group, first, count);
  return NULL;
}

static const char *run(const ln_conv *c, int pass) {
  plan p;
  const char *failure = plan_begin(&p, c) ? NULL : "out of memory for unfolded patches";
  if (!failure && pass != DW) move_weights(&p, (ln_t *)c->w, false);
  if (pass == DX) memset(c->y, 0, (size_t)(c->n * c->c * p.s.in[0] * p.s.in[1] * p.s.in[2]) * sizeof(ln_t));
  for (int64_t group = 0; group < c->groups; group++)
    for (int64_t line = 0; line < p.lines && !failure; line += p.chunk) failure = run_chunk(&p, pass, group, line);
  if (!failure && pass == DW) move_weights(&p, (ln_t *)c->y, true);
  plan_end(&p);
  return failure;
}

/* The library takes what it is good at. */
static const char *run_float(const ln_conv *c, int pass) {
  const char *failure = NULL;
  if (LN_T_DTYPE == LN_FLOAT32 && ln_onednn_conv(c, pass, &failure)) return failure;
  return run(c, pass);
}

/* -- Half types -- */

static const char *run_half(const ln_conv *c, int pass) {
  int64_t nx = c->n * c->c, ny = c->n * c->o, nw = c->o * (c->c / c->groups);
  for (int d = 0; d < c->spatial; d++) nx *= c->in[d], ny *= c->out[d], nw *= c->kernel[d];
  ln_conv f = *c;
  ln_t *x = dense_load(pass == DX ? NULL : c->x, c->dtype, nx);
  ln_t *y = dense_load(pass == FORWARD ? NULL : c->dy, c->dtype, ny);
  ln_t *w = dense_load(pass == DW ? NULL : c->w, c->dtype, nw);
  ln_t *bias = c->bias ? dense_load(c->bias, c->dtype, c->o) : NULL;
  const char *failure = x && y && w && (bias || !c->bias) ? NULL : "out of memory for the float copies";
  ln_t *result = pass == FORWARD ? y : pass == DX ? x : w;
  f.dtype = LN_T_DTYPE;
  f.x = (const char *)x, f.w = (const char *)w, f.bias = (const char *)bias, f.dy = (const char *)y, f.y = (char *)result;
  if (!failure) failure = run_float(&f, pass);
  if (!failure) dense_store(c->y, c->dtype, pass == FORWARD ? ny : pass == DX ? nx : nw, result);
  free(x);
  free(y);
  free(w);
  free(bias);
  return failure;
}

static const char *run_any(const ln_conv *c, int pass) { return c->dtype == LN_T_DTYPE ? run_float(c, pass) : run_half(c, pass); }

const char *LN_FN(conv)(const ln_conv *c) { return run_any(c, FORWARD); }

const char *LN_FN(conv_dx)(const ln_conv *c) { return run_any(c, DX); }

const char *LN_FN(conv_dw)(const ln_conv *c) { return run_any(c, DW); }
