/* optim.c - one optimizer step over one tensor, for one compute type and instruction set. The order of operations is PyTorch's.
 *
 * Every element goes through the same padded blocks, so that the result does not depend on how threads share them. */
#include "../../cpu.h"

#include <math.h>

#define ROOT(x) ((ln_t)(sizeof(ln_t) == 4 ? sqrtf((float)(x)) : sqrt((double)(x))))

/* LN_BUFFER elements of each array in compute type: memory as it lies, or a buffer where dtype or a last, shorter block ask for one. */
typedef struct block {
  ln_t *p, *g, *m, *v, *top;
} block;

typedef struct buffers {
  LN_ALIGN ln_t p[LN_BUFFER];
  LN_ALIGN ln_t g[LN_BUFFER];
  LN_ALIGN ln_t m[LN_BUFFER];
  LN_ALIGN ln_t v[LN_BUFFER];
  LN_ALIGN ln_t top[LN_BUFFER];
} buffers;

static ln_t *in(const char *x, const ln_step *s, int64_t i, int64_t n, ln_t *buffer) {
  int item = ln_cpu_size_of(s->dtype);
  if (x && s->dtype == LN_T_DTYPE && n == LN_BUFFER) return (ln_t *)x + i;
  if (x) LN_FN(load)(x + i * item, item, s->dtype, n, buffer);
  return buffer;
}

static void back(char *x, const ln_step *s, int64_t i, int64_t n, const ln_t *values, const ln_t *buffer) {
  int item = ln_cpu_size_of(s->dtype);
  if (x && values == buffer) LN_FN(store)(x + i * item, item, s->dtype, n, values);
}

static void sgd_block(const ln_step *s, const block *b) {
  ln_t lr = (ln_t)s->lr, decay = (ln_t)s->weight_decay, momentum = (ln_t)s->momentum, fresh = (ln_t)(1 - s->dampening);
  ln_t *restrict p = b->p, *restrict m = b->m;
  const ln_t *restrict grad = b->g;
  bool first = s->first, nesterov = s->nesterov, has_m = s->m != NULL;
  ln_t sign = s->maximize ? -1 : 1;
  for (int i = 0; i < LN_BUFFER; i++) {
    ln_t g = sign * grad[i] + decay * p[i];
    if (has_m) {
      ln_t v = first ? g : momentum * m[i] + fresh * g;
      m[i] = v;
      g = nesterov ? g + momentum * v : v;
    }
    p[i] -= lr * g;
  }
}

static void adam_block(const ln_step *s, const block *b) {
  ln_t decay = (ln_t)(s->decoupled ? 0 : s->weight_decay), shrink = (ln_t)(s->decoupled ? 1 - s->lr * s->weight_decay : 1);
  ln_t fresh1 = (ln_t)(1 - s->beta1), fresh2 = (ln_t)(1 - s->beta2), beta2 = (ln_t)s->beta2, eps = (ln_t)s->eps;
  ln_t size = (ln_t)(s->lr / s->correction1), root2 = (ln_t)sqrt(s->correction2), sign = s->maximize ? -1 : 1;
  ln_t *restrict p = b->p, *restrict m = b->m, *restrict v = b->v, *restrict top = b->top;
  const ln_t *restrict grad = b->g;
  bool largest = s->vmax != NULL;
  for (int i = 0; i < LN_BUFFER; i++) {
    ln_t g = sign * grad[i] + decay * p[i], q = p[i] * shrink;
    ln_t mean = m[i] + fresh1 * (g - m[i]), square = beta2 * v[i] + fresh2 * g * g, most = square;
    m[i] = mean;
    v[i] = square;
    if (largest) most = top[i] = top[i] > square ? top[i] : square;
    p[i] = q - size * (mean / (ROOT(most) / root2 + eps));
  }
}

typedef void (*step_fn)(const ln_step *, const block *);

static void some_blocks(const ln_step *s, step_fn fn, int64_t from, int64_t to) {
  buffers r;
  memset(&r, 0, sizeof r);
  for (int64_t i = from; i < to; i += LN_BUFFER) {
    int64_t n = s->n - i < LN_BUFFER ? s->n - i : LN_BUFFER;
    block b = {in(s->p, s, i, n, r.p), in(s->g, s, i, n, r.g), in(s->m, s, i, n, r.m), in(s->v, s, i, n, r.v), in(s->vmax, s, i, n, r.top)};
    fn(s, &b);
    back(s->p, s, i, n, b.p, r.p);
    back(s->m, s, i, n, b.m, r.m);
    back(s->v, s, i, n, b.v, r.v);
    back(s->vmax, s, i, n, b.top, r.top);
  }
}

static const char *each_block(const ln_step *s, step_fn fn) {
  int threads = ln_cpu_threads(s->n, LN_GRAIN_DEAR);
  int64_t blocks = (s->n + LN_BUFFER - 1) / LN_BUFFER, share = (blocks + threads - 1) / threads * LN_BUFFER;
  LN_SHARE(threads, t, threads, 1, { some_blocks(s, fn, t * share, (t + 1) * share < s->n ? (t + 1) * share : s->n); });
  return NULL;
}

const char *LN_FN(sgd)(const ln_step *s) { return each_block(s, sgd_block); }

const char *LN_FN(adam)(const ln_step *s) { return each_block(s, adam_block); }
