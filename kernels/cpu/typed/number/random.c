/* random.c - random numbers and dropout, for one compute type and instruction set. The stream (../../philox.h) is taken in tiles of up to BLOCKS
 * blocks, whose words lie in four arrays so that the compiler vectorises both the generator and the distributions. */
#include "../../threads.h"

#include "../../../philox.h"

#define BLOCKS 128

/* The generator multiplies 32-bit words to 64 bits, which is one instruction a vector where the words lie in lanes of 64; compilers find it no
 * other way. */
#if defined(__AVX512F__)
#define LANES_BYTES 64
#define MULTIPLY(a, b) (lanes) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#elif defined(__AVX2__)
#define LANES_BYTES 32
#define MULTIPLY(a, b) (lanes) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#elif defined(__SSE2__)
#define LANES_BYTES 16
#define MULTIPLY(a, b) (lanes) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#else
#define LANES_BYTES 16
#define MULTIPLY(a, b) (((a)&0xffffffffu) * (b))
#endif
#ifdef __SSE2__
#include <immintrin.h>
#endif
typedef uint64_t lanes __attribute__((vector_size(LANES_BYTES), may_alias));
#define LANES ((int)(LANES_BYTES / sizeof(uint64_t)))

typedef struct words {
  LN_ALIGN uint32_t v[4][BLOCKS];
} words;

/* A draw as its loops want it. */
typedef struct draw draw;
/* n blocks of words into n * per elements. x: what dropout scales, else NULL. */
typedef void (*tile_fn)(const draw *d, const words *w, int n, const ln_t *x, ln_t *y);
struct draw {
  const ln_random *r;
  tile_fn fn;
  int per; /* elements of a block */
  bool direct;
  ln_draw_event event;
};

/* Blocks counter[k] of the stream; the upper halves of the lanes that come out mean nothing. */
static inline void philox_lanes(uint64_t seed, lanes counter, lanes *out) {
  const lanes m0 = (lanes){0} + 0xD2511F53u, m2 = (lanes){0} + 0xCD9E8D57u;
  lanes c0 = counter, c1 = counter >> 32, c2 = {0}, c3 = {0};
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    lanes p0 = MULTIPLY(c0, m0), p2 = MULTIPLY(c2, m2);
    c0 = (p2 >> 32) ^ c1 ^ k0;
    c1 = p2;
    c2 = (p0 >> 32) ^ c3 ^ k1;
    c3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* n blocks, rounded up to whole vectors: the even ones go to the lower halves of lanes, the odd ones to the upper. */
static void draw_words(const draw *d, uint64_t block, int n, words *w) {
  lanes even = {0};
  for (int k = 0; k < LANES; k++) even[k] = d->r->offset + block + 2 * (uint64_t)k;
  for (int i = 0; i < n; i += 2 * LANES, even += 2 * LANES) {
    lanes low[4], high[4];
    philox_lanes(d->r->seed, even, low);
    philox_lanes(d->r->seed, even + 1, high);
    for (int k = 0; k < 4; k++) *(lanes *)&w->v[k][i] = (low[k] & 0xffffffffu) | high[k] << 32;
  }
}

/* -- Distributions -- */

#define TILE(name) static void name(const draw *d, const words *w, int n, const ln_t *x, ln_t *y)

#ifdef LN_INTEGER

TILE(tile_integer) {
  (void)x;
  int64_t from = d->r->from;
  uint64_t range = d->r->range;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 2; k++) y[2 * i + k] = (int64_t)((uint64_t)from + ln_draw_below(w->v[2 * k][i], w->v[2 * k + 1][i], range));
}

TILE(tile_integer_any) {
  (void)x;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 2; k++) y[2 * i + k] = (int64_t)((uint64_t)d->r->from + ((uint64_t)w->v[2 * k + 1][i] << 32 | w->v[2 * k][i]));
}

TILE(tile_integer_wide) {
  (void)x;
  for (int i = 0; i < n; i++) {
    ln_block128 b = {{w->v[0][i], w->v[1][i], w->v[2][i], w->v[3][i]}};
    y[i] = (int64_t)((uint64_t)d->r->from + ln_draw_below_wide(b, d->r->range));
  }
}

#elif LN_IS(LN_TYPE) == LN_IS_f32

TILE(tile_uniform) {
  (void)x;
  const ln_random *r = d->r;
  int digits = r->digits;
  float from = (float)r->a, width = (float)(r->b - r->a), top = (float)r->top;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 4; k++) y[4 * i + k] = ln_draw_between_f32(ln_draw_unit_f32(w->v[k][i], digits), from, width, top);
}

TILE(tile_normal) {
  (void)x;
  float mean = (float)d->r->a, std = (float)d->r->b;
  for (int i = 0; i < n; i++) {
    float z[4];
    ln_draw_normals_f32(w->v[0][i], w->v[1][i], &z[0], &z[1]);
    ln_draw_normals_f32(w->v[2][i], w->v[3][i], &z[2], &z[3]);
    for (int k = 0; k < 4; k++) y[4 * i + k] = mean + std * z[k];
  }
}

#else

TILE(tile_uniform) {
  (void)x;
  const ln_random *r = d->r;
  double from = r->a, width = r->b - r->a, top = r->top;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 2; k++) y[2 * i + k] = ln_draw_between_f64(ln_draw_unit_f64(w->v[2 * k][i], w->v[2 * k + 1][i]), from, width, top);
}

TILE(tile_normal) {
  (void)x;
  double mean = d->r->a, std = d->r->b;
  for (int i = 0; i < n; i++) {
    ln_block128 b = {{w->v[0][i], w->v[1][i], w->v[2][i], w->v[3][i]}};
    double z[2];
    ln_draw_normals_f64(b, &z[0], &z[1]);
    for (int k = 0; k < 2; k++) y[2 * i + k] = mean + std * z[k];
  }
}

#endif

TILE(tile_bernoulli) {
  (void)x;
  ln_draw_event event = d->event;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 4; k++) y[4 * i + k] = (ln_t)ln_draw_happens(event, w->v[k][i]);
}

#ifndef LN_INTEGER
TILE(tile_dropout) {
  ln_draw_event event = d->event;
  ln_t factor = (ln_t)d->r->b;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 4; k++) y[4 * i + k] = x[4 * i + k] * (ln_draw_happens(event, w->v[k][i]) ? factor : 0);
}
#endif

static tile_fn tile_of(const ln_random *r) {
  switch (r->kind) {
  case LN_RANDOM_BERNOULLI: return tile_bernoulli;
#ifdef LN_INTEGER
  case LN_RANDOM_INTEGER: return r->range == 0 ? tile_integer_any : ln_random_per_block(r) == 2 ? tile_integer : tile_integer_wide;
#else
  case LN_RANDOM_UNIFORM: return tile_uniform;
  case LN_RANDOM_NORMAL: return tile_normal;
  case LN_RANDOM_DROPOUT: return tile_dropout;
#endif
  default: return NULL;
  }
}

/* -- Elements in their logical order, whatever the layout -- */

typedef struct cursor {
  const ln_loop *loop;
  int64_t at[16];
  char *p[2];
} cursor;

static void cursor_set(cursor *c, const ln_loop *loop, int64_t i) {
  c->loop = loop;
  for (int k = 0; k < loop->n_operands; k++) c->p[k] = loop->data[k];
  for (int d = loop->ndim - 1; d >= 0; d--) {
    c->at[d] = i % loop->shape[d];
    i /= loop->shape[d];
    for (int k = 0; k < loop->n_operands; k++) c->p[k] += c->at[d] * loop->stride[k][d];
  }
}

/* n elements on, at most to the end of the innermost run. */
static void cursor_advance(cursor *c, int64_t n) {
  const ln_loop *l = c->loop;
  for (int d = l->ndim - 1; d >= 0; d--) {
    int64_t carry = (c->at[d] += n) == l->shape[d];
    for (int k = 0; k < l->n_operands; k++) c->p[k] += n * l->stride[k][d] - carry * l->shape[d] * l->stride[k][d];
    if (!carry) return;
    c->at[d] = 0;
    n = 1;
  }
}

/* n elements of one operand between memory and a buffer; the cursor is a copy. */
static void move(cursor c, int operand, int64_t n, ln_t *buffer, bool in) {
  const ln_loop *l = c.loop;
  int last = l->ndim - 1;
  while (n > 0) {
    int64_t run = l->shape[last] - c.at[last], stride = l->stride[operand][last];
    if (run > n) run = n;
    if (in)
      LN_FN(load)(c.p[operand], stride, l->dtype[operand], run, buffer);
    else
      LN_FN(store)(c.p[operand], stride, l->dtype[operand], run, buffer);
    cursor_advance(&c, run);
    buffer += run;
    n -= run;
  }
}

/* Elements [low, high); low is a multiple of a tile. */
static void fill_range(const draw *d, int64_t low, int64_t high) {
  const ln_random *r = d->r;
  words w;
  LN_ALIGN ln_t x[4 * BLOCKS], y[4 * BLOCKS];
  bool reads = r->kind == LN_RANDOM_DROPOUT;
  cursor c;
  while (low < high && !ln_cut_short()) {
    cursor_set(&c, &r->loop, low);
    int64_t n = high - low < BLOCKS * d->per ? high - low : BLOCKS * d->per;
    int blocks = (int)((n + d->per - 1) / d->per);
    draw_words(d, (uint64_t)(low / d->per), blocks, &w);
    if (d->direct && n % d->per == 0) {
      d->fn(d, &w, blocks, (const ln_t *)c.p[reads], (ln_t *)c.p[0]);
    } else {
      if (reads) move(c, 1, n, x, true);
      d->fn(d, &w, blocks, x, y);
      move(c, 0, n, y, false);
    }
    low += n;
  }
}

const char *LN_FN(random)(const ln_random *r) {
  const ln_loop *l = &r->loop;
  if (l->numel == 0) return NULL;
  draw d = {.r = r, .per = ln_random_per_block(r), .direct = l->ndim == 1};
  d.fn = tile_of(r);
  if (!d.fn) return "not defined for this dtype";
  for (int k = 0; k < l->n_operands; k++) d.direct = d.direct && l->dtype[k] == LN_T_DTYPE && l->stride[k][0] == (int64_t)sizeof(ln_t);
  if (r->kind == LN_RANDOM_BERNOULLI || r->kind == LN_RANDOM_DROPOUT) d.event = ln_draw_event_of(r->a);
  int threads = ln_cpu_threads(l->numel, r->kind == LN_RANDOM_NORMAL ? LN_GRAIN_HEAVY : LN_GRAIN_LIGHT);
  int64_t tile = BLOCKS * d.per, chunk = ((l->numel + threads - 1) / threads + tile - 1) / tile * tile;
  LN_SHARE(threads, t, threads, 1, {
    int64_t low = t * chunk, high = low + chunk < l->numel ? low + chunk : l->numel;
    if (low < high) fill_range(&d, low, high);
  });
  return NULL;
}
