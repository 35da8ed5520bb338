/* optim.c - one optimizer step over one tensor, for one compute type and instruction set. The order of operations is PyTorch's.
 *
 * Every element goes through the same padded blocks, so that the result does not depend on how threads share them. */
#include "cpu.h"

#include <math.h>

#define ROOT(x) ((ln_t)(sizeof(ln_t) == 4 ? sqrtf((float)(x)) : sqrt((double)(x))))

/* A block of each array in compute type: brought in, changed, put back. */
typedef struct block {
  LN_ALIGN ln_t p[LN_BUFFER];
  LN_ALIGN ln_t g[LN_BUFFER];
  LN_ALIGN ln_t m[LN_BUFFER];
  LN_ALIGN ln_t v[LN_BUFFER];
  LN_ALIGN ln_t top[LN_BUFFER];
} block;

static void in(const char *x, const ln_step *s, int64_t i, int64_t n, ln_t *out) {
  int item = ln_cpu_size_of(s->dtype);
  if (x) LN_FN(load)(x + i * item, item, s->dtype, n, out);
}

static void back(char *x, const ln_step *s, int64_t i, int64_t n, const ln_t *values) {
  int item = ln_cpu_size_of(s->dtype);
  if (x) LN_FN(store)(x + i * item, item, s->dtype, n, values);
}

static void sgd_block(const ln_step *s, block *b) {
  ln_t lr = (ln_t)s->lr, decay = (ln_t)s->weight_decay, momentum = (ln_t)s->momentum, fresh = (ln_t)(1 - s->dampening);
  for (int i = 0; i < LN_BUFFER; i++) {
    ln_t g = s->maximize ? -b->g[i] : b->g[i];
    g += decay * b->p[i];
    if (s->m) {
      b->m[i] = s->first ? g : momentum * b->m[i] + fresh * g;
      g = s->nesterov ? g + momentum * b->m[i] : b->m[i];
    }
    b->p[i] -= lr * g;
  }
}

static void adam_block(const ln_step *s, block *b) {
  ln_t decay = (ln_t)s->weight_decay, shrink = (ln_t)(1 - s->lr * s->weight_decay), beta2 = (ln_t)s->beta2;
  ln_t fresh1 = (ln_t)(1 - s->beta1), fresh2 = (ln_t)(1 - s->beta2), eps = (ln_t)s->eps;
  ln_t size = (ln_t)(s->lr / s->correction1), root2 = (ln_t)sqrt(s->correction2);
  for (int i = 0; i < LN_BUFFER; i++) {
    ln_t g = s->maximize ? -b->g[i] : b->g[i];
    if (s->decoupled)
      b->p[i] *= shrink;
    else
      g += decay * b->p[i];
    b->m[i] += fresh1 * (g - b->m[i]);
    b->v[i] = beta2 * b->v[i] + fresh2 * g * g;
    ln_t v = b->v[i];
    if (s->vmax) v = b->top[i] = b->top[i] > v ? b->top[i] : v;
    b->p[i] -= size * (b->m[i] / (ROOT(v) / root2 + eps));
  }
}

typedef void (*step_fn)(const ln_step *, block *);

static void some_blocks(const ln_step *s, step_fn fn, int64_t from, int64_t to) {
  block b;
  memset(&b, 0, sizeof b);
  for (int64_t i = from; i < to; i += LN_BUFFER) {
    int64_t n = s->n - i < LN_BUFFER ? s->n - i : LN_BUFFER;
    in(s->p, s, i, n, b.p);
    in(s->g, s, i, n, b.g);
    in(s->m, s, i, n, b.m);
    in(s->v, s, i, n, b.v);
    in(s->vmax, s, i, n, b.top);
    fn(s, &b);
    back(s->p, s, i, n, b.p);
    back(s->m, s, i, n, b.m);
    back(s->v, s, i, n, b.v);
    back(s->vmax, s, i, n, b.top);
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
