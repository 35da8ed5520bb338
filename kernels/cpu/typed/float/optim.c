/* optim.c - one step of a rule of optim.def over one tensor, for one compute type and instruction set.
 *
 * Every element goes through the same padded blocks, so that the result does not depend on how threads share them. */
#include "../../cpu.h"

#include <math.h>

/* LN_BUFFER elements of each array in compute type: memory as it lies, or a buffer where dtype or a last, shorter block ask for one. */
typedef struct block {
  ln_t *p, *g, *states[LN_STEP_STATES];
} block;

typedef struct buffers {
  LN_ALIGN ln_t p[LN_BUFFER];
  LN_ALIGN ln_t g[LN_BUFFER];
  LN_ALIGN ln_t states[LN_STEP_STATES][LN_BUFFER];
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

/* -- The rules -- */

#define ROOT(x) ((ln_t)(sizeof(ln_t) == 4 ? sqrtf((float)(x)) : sqrt((double)(x))))
#define SIZE(x) ((ln_t)(sizeof(ln_t) == 4 ? fabsf((float)(x)) : fabs((double)(x))))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define HAS(state) (state##_given)
#define SCALAR(i, name) const ln_t name = (ln_t)s->scalars[i];
#define STATE(i, name)                        \
  ln_t *restrict name##_block = b->states[i]; \
  const bool name##_given = s->states[i] != NULL;
#define LOAD(i, name) ln_t name = name##_block[e];
#define STORE(i, name) \
  if (name##_given) name##_block[e] = name;

#define RULE(rule, STATES, SCALARS, ...)                                \
  static void rule(const ln_step *s, const block *b) {                  \
    ln_t *restrict p_block = b->p;                                      \
    const ln_t *restrict g_block = b->g;                                \
    STATES(STATE) SCALARS(SCALAR) for (int e = 0; e < LN_BUFFER; e++) { \
      ln_t p = p_block[e], g = g_block[e];                              \
      STATES(LOAD) __VA_ARGS__ STATES(STORE) p_block[e] = p;            \
    }                                                                   \
  }
#include "../../../optim.def"

static void (*const rules[])(const ln_step *, const block *) = {
#define RULE(rule, STATES, SCALARS, ...) rule,
#include "../../../optim.def"
};

static void some_blocks(const ln_step *s, int64_t from, int64_t to) {
  buffers r;
  memset(&r, 0, sizeof r);
  for (int64_t i = from; i < to; i += LN_BUFFER) {
    int64_t n = s->n - i < LN_BUFFER ? s->n - i : LN_BUFFER;
    block b = {.p = in(s->p, s, i, n, r.p), .g = in(s->g, s, i, n, r.g)};
    for (int k = 0; k < LN_STEP_STATES; k++) b.states[k] = in(s->states[k], s, i, n, r.states[k]);
    rules[s->rule](s, &b);
    back(s->p, s, i, n, b.p, r.p);
    for (int k = 0; k < LN_STEP_STATES; k++) back(s->states[k], s, i, n, b.states[k], r.states[k]);
  }
}

const char *LN_FN(optim_step)(const ln_step *s) {
  int threads = ln_cpu_threads(s->n, LN_GRAIN_HEAVY);
  int64_t blocks = (s->n + LN_BUFFER - 1) / LN_BUFFER, share = (blocks + threads - 1) / threads * LN_BUFFER;
  LN_SHARE_ALL(threads, t, threads, 1, { some_blocks(s, t * share, (t + 1) * share < s->n ? (t + 1) * share : s->n); });
  return NULL;
}
