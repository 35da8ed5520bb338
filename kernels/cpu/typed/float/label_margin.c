/* label_margin.c - what multilabel_margin_loss makes of each row, and its gradient, for one float type and instruction set. */
#include "../../cpu.h"

#include "../../../formula.h"

/* How many labels a row of targets has. */
static int64_t labels_of(const ln_label_margin *w, const int64_t *target) {
  int64_t n = 0;
  while (n < w->classes && target[n] >= 0) n++;
  return n;
}

static double sum_of_margins(const ln_label_margin *w, const ln_t *x, const uint8_t *others, ln_t least) {
  ln_t LN_ALIGN margin[LN_BUFFER], lane[LN_LANES] = {0};
  double sum = 0;
  for (int64_t from = 0; from < w->classes; from += LN_BUFFER) {
    int n = (int)(w->classes - from < LN_BUFFER ? w->classes - from : LN_BUFFER), i = 0;
    for (int k = 0; k < n; k++) margin[k] = maximum(least + x[from + k], 0);
    for (int k = 0; k < n; k++) margin[k] = where((ln_truth)others[from + k], margin[k], 0);
    for (; i + LN_LANES <= n; i += LN_LANES)
      for (int j = 0; j < LN_LANES; j++) lane[j] += margin[i + j];
    for (int j = 0; i < n; i++, j++) lane[j] += margin[i];
  }
  for (int j = 0; j < LN_LANES; j++) sum += (double)lane[j];
  return sum;
}

const char *LN_FN(label_margin)(const ln_label_margin *w) {
  LN_SHARE(ln_cpu_threads(w->rows * w->classes * 8, LN_GRAIN_LIGHT), row, w->rows, 1, {
    const ln_t *x = (const ln_t *)w->x + row * w->classes;
    const int64_t *target = w->targets + row * w->classes, labels = labels_of(w, target);
    uint8_t *others = w->others + row * w->classes;
    double sum = 0;
    for (int64_t k = 0; k < w->classes; k++) others[k] = 1;
    for (int64_t t = 0; t < labels; t++) others[target[t]] = 0;
    for (int64_t t = 0; t < labels; t++) sum += sum_of_margins(w, x, others, 1 - x[target[t]]);
    ((ln_t *)w->y)[row] = (ln_t)(sum / (double)w->classes);
  });
  return NULL;
}

/* Adds g to dx where the margin of a label is positive; how often that is. */
static int64_t spread_margins(const ln_label_margin *w, const ln_t *x, const uint8_t *others, ln_t least, ln_t g, ln_t *dx) {
  int64_t count = 0;
  for (int64_t from = 0; from < w->classes; from += LN_BUFFER) {
    int n = (int)(w->classes - from < LN_BUFFER ? w->classes - from : LN_BUFFER);
    ln_truth hits = 0;
    for (int k = 0; k < n; k++) {
      const ln_truth hit = both(gt(least + x[from + k], 0), (ln_truth)others[from + k]);
      dx[from + k] += where(hit, g, 0);
      hits += hit;
    }
    count += hits;
  }
  return count;
}

const char *LN_FN(label_margin_dx)(const ln_label_margin *w) {
  LN_SHARE(ln_cpu_threads(w->rows * w->classes * 8, LN_GRAIN_LIGHT), row, w->rows, 1, {
    const ln_t *x = (const ln_t *)w->x + row * w->classes;
    const ln_t g = ((const ln_t *)w->dy)[row] / (ln_t)w->classes;
    const int64_t *target = w->targets + row * w->classes, labels = labels_of(w, target);
    const uint8_t *others = w->others + row * w->classes;
    ln_t *dx = (ln_t *)w->dx + row * w->classes;
    for (int64_t k = 0; k < w->classes; k++) dx[k] = 0;
    for (int64_t t = 0; t < labels; t++) dx[target[t]] -= g * (ln_t)spread_margins(w, x, others, 1 - x[target[t]], g, dx);
  });
  return NULL;
}
