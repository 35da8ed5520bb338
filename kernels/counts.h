/* counts.h - numbers of the Poisson and the binomial distribution, for C and CUDA C++. Small means are found by adding up probabilities; larger ones by
 * transformed rejection (Hoermann, "The generation of binomial random variates" and "The transformed rejection method for generating Poisson random
 * variables", 1993), where each attempt takes a block that belongs to the element. */
#ifndef LUNETTE_COUNTS_H
#define LUNETTE_COUNTS_H

#include "philox.h"

#include "kernels.h"

#define LN_COUNTS_SMALL 10 /* means below are summed up */
#define LN_COUNTS_MOST 128 /* what a mean below that exceeds once in far more than 2^53 draws */

/* Two uniform numbers of an attempt: u in [-1/2, 1/2), its distance from the ends, v in [0, 1). */
typedef struct ln_counts_pair {
  double u, room, v;
} ln_counts_pair;

LN_INLINE ln_counts_pair ln_counts_draw(const ln_counts *w, int64_t i, uint32_t attempt) {
  const ln_block128 b = ln_philox_again(w->seed, w->offset + (uint64_t)i, attempt);
  ln_counts_pair pair;
  pair.u = ln_draw_unit_f64(b.v[0], b.v[1]) - 0.5;
  pair.room = 0.5 - fabs(pair.u);
  pair.v = ln_draw_unit_f64(b.v[2], b.v[3]);
  return pair;
}

LN_INLINE double ln_draw_poisson(const ln_counts *w, int64_t i) {
  const double mean = w->rate[i];
  if (mean < LN_COUNTS_SMALL) {
    double left = ln_counts_draw(w, i, 0).u + 0.5, p = exp(-mean), k = 0;
    for (; left >= p && k < LN_COUNTS_MOST; p *= mean / k) left -= p, k++;
    return mean > 0 ? k : 0;
  }
  const double b = 0.931 + 2.53 * sqrt(mean), a = -0.059 + 0.02483 * b, scale = 1.1239 + 1.1328 / (b - 3.4), sure = 0.9277 - 3.6224 / (b - 2);
  for (uint32_t attempt = 0;; attempt++) {
    const ln_counts_pair d = ln_counts_draw(w, i, attempt);
    const double k = floor((2 * a / d.room + b) * d.u + mean + 0.43);
    if (d.room >= 0.07 && d.v <= sure) return k;
    if (!(k >= 0) || (d.room < 0.013 && d.v > d.room)) continue;
    if (log(d.v * scale / (a / (d.room * d.room) + b)) <= k * log(mean) - mean - lgamma(k + 1)) return k;
  }
}

/* p is 1/2 at most. */
LN_INLINE double ln_draw_successes(const ln_counts *w, int64_t i, double n, double p) {
  const double odds = p / (1 - p);
  if (n * p < LN_COUNTS_SMALL) {
    double left = ln_counts_draw(w, i, 0).u + 0.5, chance = exp(n * log1p(-p)), k = 0;
    for (; left >= chance && k < n && k < LN_COUNTS_MOST; chance *= (n - k + 1) / k * odds) left -= chance, k++;
    return k;
  }
  const double spread = sqrt(n * p * (1 - p)), b = 1.15 + 2.53 * spread, a = -0.0873 + 0.0248 * b + 0.01 * p, sure = 0.92 - 4.2 / b;
  const double scale = (2.83 + 5.1 / b) * spread, middle = floor((n + 1) * p), top = lgamma(middle + 1) + lgamma(n - middle + 1);
  for (uint32_t attempt = 0;; attempt++) {
    const ln_counts_pair d = ln_counts_draw(w, i, attempt);
    const double k = floor((2 * a / d.room + b) * d.u + n * p + 0.5);
    if (!(k >= 0 && k <= n)) continue;
    if (d.room >= 0.07 && d.v <= sure) return k;
    if (log(d.v * scale / (a / (d.room * d.room) + b)) <= top - lgamma(k + 1) - lgamma(n - k + 1) + (k - middle) * log(odds)) return k;
  }
}

LN_INLINE double ln_draw_count(const ln_counts *w, int64_t i) {
  if (!w->count) return ln_draw_poisson(w, i);
  const double n = w->count[i], p = w->rate[i];
  return p > 0.5 ? n - ln_draw_successes(w, i, n, 1 - p) : ln_draw_successes(w, i, n, p);
}

#endif
