/* counts.c - numbers of the Poisson and the binomial distribution. */
#include "../counts.h"
#include "cpu.h"

const char *ln_cpu_counts(const ln_counts *w) {
  LN_SHARE(ln_cpu_threads(w->n, LN_GRAIN_HEAVY), i, w->n, 1, { w->y[i] = ln_draw_count(w, i); });
  return NULL;
}
