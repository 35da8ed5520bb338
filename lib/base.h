/* base.h - errors and growing arrays. */
#ifndef LUNETTE_BASE_H
#define LUNETTE_BASE_H

#include "lunette.h"

#include <stdarg.h>
#include <string.h>

#define LN_CPU (-1)

/* -- Errors (core/error.c) -- */
/* Sets the thread's error text and returns LN_ERROR. */
int ln_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ln_fail_nomem(int64_t bytes);
int ln_fail_interrupted(void);
/* A kernel's answer as a status: LN_OK for NULL, unless an interrupt has cut it short. */
int ln_kernel_status(const char *op, const char *failure);
#define LN_TRY(call)                                  \
  do {                                                \
    int ln_try_status = (call);                       \
    if (ln_try_status != LN_OK) return ln_try_status; \
  } while (0)
/* "{2, 3}" for messages; rotates through a few buffers of the thread. */
const char *ln_shape_text(const int64_t *shape, int ndim);
const char *ln_dtype_name(int dtype);

/* An array that grows by doubling; false when out of memory. */
bool ln_grow(void *array, int *capacity, int want, size_t item);

#endif
