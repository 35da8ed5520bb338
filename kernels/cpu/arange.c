/* arange.c - arithmetic progressions. */
#include "cpu.h"

const char *ln_cpu_arange(const ln_arange *a) {
  int item = ln_cpu_size_of(a->dtype);
  double buffer[LN_BUFFER];
  for (int64_t i = 0; i < a->n; i += LN_BUFFER) {
    int64_t m = a->n - i < LN_BUFFER ? a->n - i : LN_BUFFER;
    for (int64_t k = 0; k < m; k++) buffer[k] = a->start + (double)(i + k) * a->step;
    ln_cpu_typed_now[1]->store(a->y + i * item, item, a->dtype, m, buffer);
  }
  return NULL;
}
