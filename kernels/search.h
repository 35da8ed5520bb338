/* search.h - the place of a value in a sorted row, for C and CUDA C++. */
#ifndef LUNETTE_SEARCH_H
#define LUNETTE_SEARCH_H

#include "key.h"

/* Of value i, counted through all rows; `item` is the size of an element. */
LN_INLINE int64_t ln_search_place(const ln_search *w, int64_t i, int item) {
  const int64_t row = w->shared ? 0 : i / w->m, first = row * w->n;
  const uint64_t key = ln_key(w->values + i * item, w->dtype, false);
  const bool right = w->right || (w->dtype <= LN_BFLOAT16 && key == ln_largest_key(w->dtype)); /* NaN stands behind all */
  int64_t low = 0, high = w->n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2, at = first + (w->sorter ? w->sorter[first + middle] : middle);
    const uint64_t other = ln_key(w->sorted + at * item, w->dtype, false);
    if (right ? other <= key : other < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

#endif
