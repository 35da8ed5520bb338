/* rows.c - running sums along one dimension of [outer, size, inner], for one compute type and instruction set. */
#include "../../cpu.h"

#ifdef LN_INTEGER
typedef int64_t acc_t;
#else
typedef double acc_t;
#endif

#define PANEL 64 /* neighbouring sequences that advance together */
#define BESIDE 4 /* sequences that do so and are no neighbours */

/* Sequences [first, first + n), n at most BESIDE, a buffer at a time; several advance together, since a sum waits for the one before. */
static inline __attribute__((always_inline)) void run_beside(const ln_rows *r, int64_t first, int n) {
  ln_t LN_ALIGN buffer[BESIDE][LN_BUFFER];
  acc_t sum[BESIDE] = {0};
  int64_t item = ln_cpu_size_of(r->dtype), stride = item * r->inner, step = r->reverse ? -stride : stride;
  for (int64_t done = 0; done < r->size; done += LN_BUFFER) {
    int64_t m = r->size - done < LN_BUFFER ? r->size - done : LN_BUFFER, from[BESIDE];
    for (int j = 0; j < n; j++) {
      int64_t start = (first + j) / r->inner * r->size * stride + (first + j) % r->inner * item;
      from[j] = start + (r->reverse ? r->size - 1 - done : done) * stride;
      LN_FN(load)(r->x + from[j], step, r->dtype, m, buffer[j]);
    }
    for (int64_t k = 0; k < m; k++)
      for (int j = 0; j < n; j++) buffer[j][k] = (ln_t)(sum[j] += buffer[j][k]);
    for (int j = 0; j < n; j++) LN_FN(store)(r->out + from[j], step, r->dtype, m, buffer[j]);
  }
}

/* Up to PANEL sequences side by side. */
static void run_panel(const ln_rows *r, int64_t outer, int64_t inner, int64_t columns) {
  acc_t LN_ALIGN sum[PANEL] = {0};
  ln_t LN_ALIGN row[PANEL];
  int64_t item = ln_cpu_size_of(r->dtype), stride = item * r->inner, start = outer * r->size * stride + inner * item;
  bool direct = r->dtype == LN_T_DTYPE && columns == PANEL;
  for (int64_t k = 0; k < r->size; k++) {
    int64_t at = start + (r->reverse ? r->size - 1 - k : k) * stride;
    const ln_t *x = direct ? (const ln_t *)(r->x + at) : row;
    ln_t *out = direct ? (ln_t *)(r->out + at) : row;
    if (!direct) LN_FN(load)(r->x + at, item, r->dtype, columns, row);
    LN_INDEPENDENT
    for (int64_t c = 0; c < PANEL; c++) out[c] = (ln_t)(sum[c] += x[c]);
    if (!direct) LN_FN(store)(r->out + at, item, r->dtype, columns, row);
  }
}

const char *LN_FN(cumsum)(const ln_rows *r) {
  if (r->size == 0) return NULL;
  int threads = ln_cpu_threads(r->outer * r->size * r->inner, LN_GRAIN_LIGHT);
  if (r->inner < 4) {
    int64_t n = r->outer * r->inner;
    LN_SHARE(threads, i, n, BESIDE, {
      if (i + BESIDE <= n)
        run_beside(r, i, BESIDE);
      else
        for (int64_t k = i; k < n; k++) run_beside(r, k, 1);
    });
    return NULL;
  }
  int64_t panels = (r->inner + PANEL - 1) / PANEL;
  LN_SHARE(threads, i, r->outer * panels, 1, {
    int64_t c = i % panels * PANEL;
    run_panel(r, i / panels, c, r->inner - c < PANEL ? r->inner - c : PANEL);
  });
  return NULL;
}
