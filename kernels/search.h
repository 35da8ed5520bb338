/* search.h - the place of a value in a sorted row, for C and CUDA C++. */
#ifndef LUNETTE_SEARCH_H
#define LUNETTE_SEARCH_H

#include "key.h"

/* Of value i, counted through all rows. The number of steps depends on the length of the row alone and no step branches on what it compares, so
 * neighbouring searches overlap. `dtype` is w's, `item` the size of an element: constants where the caller makes them so. */
LN_INLINE int64_t ln_search_place(const ln_search *w, int64_t i, int dtype, int item) {
  const int64_t row = w->shared ? 0 : i / w->m, first = row * w->n;
  const int64_t *sorter = w->sorter ? w->sorter + first : (const int64_t *)0;
  const char *sorted = w->sorted + first * item;
  uint64_t most = ln_key(w->values + i * item, dtype, false);                  /* the largest key that stands before the place */
  if (!w->right && !(dtype <= LN_BFLOAT16 && most == ln_largest_key(dtype))) { /* NaN stands behind all */
    if (most == 0) return 0;
    most--;
  }
  int64_t place = 0, n = w->n;
  for (int64_t half; n > 0; n -= half) {
    half = (n + 1) / 2;
    const int64_t at = place + half - 1, next = (n - half) / 2;
    LN_PREFETCH(sorted + (place + next) * item); /* wherever the search goes on, its element is under way */
    LN_PREFETCH(sorted + (place + half + next) * item);
    place += ln_key(sorted + (sorter ? sorter[at] : at) * item, dtype, false) <= most ? half : 0;
  }
  return place;
}

#endif
