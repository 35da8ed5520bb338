/* scan.c - running products, logarithms of sums and extremes along one dimension of [outer, size, inner], for one compute type and instruction set. */
#include "../../cpu.h"

#include <math.h>

#ifdef LN_INTEGER
typedef int64_t acc_t;
#define LOWEST INT64_MIN
#define HIGHEST INT64_MAX
#define EXP(x) (x)
#define LOG(x) (x)
#pragma GCC diagnostic ignored "-Wtautological-compare" /* x != x asks for NaN */
#else
typedef double acc_t;
#define LOWEST ((acc_t)-INFINITY)
#define HIGHEST ((acc_t)INFINITY)
#if LN_IS(LN_TYPE) == LN_IS_f32
#define EXP(x) expf((float)(x))
#define LOG(x) logf((float)(x))
#else
#define EXP(x) exp(x)
#define LOG(x) log(x)
#endif
#endif

/* What a sequence has come to: a product, the extreme and its place, or the largest element and the sum of exp(x - largest). */
typedef struct state {
  acc_t value, sum;
  int64_t at;
} state;

static inline __attribute__((always_inline)) void begin(state *s, int kind) {
  *s = (state){.value = kind == LN_SCAN_PROD ? 1 : kind == LN_SCAN_MIN ? HIGHEST : LOWEST};
}

static inline __attribute__((always_inline)) ln_t advance(state *s, int kind, ln_t v, int64_t k) {
  acc_t x = (acc_t)v;
  switch (kind) {
  case LN_SCAN_PROD: return (ln_t)(s->value *= x);
  case LN_SCAN_LOGSUMEXP:
    if (x > s->value) {
      s->sum = s->sum * EXP(s->value - x) + 1;
      s->value = x;
    } else {
      s->sum += x == s->value ? 1 : EXP(x - s->value);
    }
    return (ln_t)(s->value + LOG(s->sum));
  default:
    if (x != x || (kind == LN_SCAN_MAX ? x >= s->value : x <= s->value)) { /* never beside a NaN */
      s->value = x;
      s->at = k;
    }
    return (ln_t)s->value;
  }
}

#define PANEL 16 /* neighbouring sequences that advance together */

/* Up to PANEL sequences side by side, or one a buffer at a time. */
static inline __attribute__((always_inline)) void run(const ln_scan *w, int kind, int64_t outer, int64_t inner, int64_t columns) {
  const int64_t item = ln_cpu_size_of(w->dtype), stride = item * w->inner, start = outer * w->size * stride + inner * item;
  const int64_t rows = columns > 1 ? 1 : LN_BUFFER;
  ln_t LN_ALIGN buffer[LN_BUFFER];
  state s[PANEL];
  for (int64_t c = 0; c < columns; c++) begin(&s[c], kind);
  for (int64_t done = 0; done < w->size; done += rows) {
    const int64_t m = columns > 1 ? columns : w->size - done < rows ? w->size - done : rows, step = w->reverse ? -stride : stride;
    const int64_t at = start + (w->reverse ? w->size - 1 - done : done) * stride;
    LN_FN(load)(w->x + at, columns > 1 ? item : step, w->dtype, m, buffer);
    for (int64_t k = 0; k < m; k++) {
      const int64_t place = columns > 1 ? done : done + k;
      state *mine = &s[columns > 1 ? k : 0];
      buffer[k] = advance(mine, kind, buffer[k], place);
      if (w->indices) w->indices[(outer * w->size + place) * w->inner + inner + (columns > 1 ? k : 0)] = mine->at;
    }
    LN_FN(store)(w->out + at, columns > 1 ? item : step, w->dtype, m, buffer);
  }
}

/* One sequence alone keeps its state in registers. */
#define RUN(kind) columns == 1 ? run(w, kind, outer, inner, 1) : run(w, kind, outer, inner, columns)

static void run_kind(const ln_scan *w, int64_t outer, int64_t inner, int64_t columns) {
  switch (w->kind) {
  case LN_SCAN_PROD: RUN(LN_SCAN_PROD); return;
  case LN_SCAN_LOGSUMEXP: RUN(LN_SCAN_LOGSUMEXP); return;
  case LN_SCAN_MAX: RUN(LN_SCAN_MAX); return;
  default: RUN(LN_SCAN_MIN);
  }
}

const char *LN_FN(scan)(const ln_scan *w) {
  const int64_t panels = (w->inner + PANEL - 1) / PANEL;
  int threads = ln_cpu_threads(w->outer * w->size * w->inner, w->kind == LN_SCAN_LOGSUMEXP ? LN_GRAIN_HEAVY : LN_GRAIN_LIGHT);
  LN_SHARE(threads, i, w->outer * panels, 1, {
    int64_t c = i % panels * PANEL;
    run_kind(w, i / panels, c, w->inner - c < PANEL ? w->inner - c : PANEL);
  });
  return NULL;
}
