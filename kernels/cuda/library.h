/* library.h - shared libraries that are opened at their first use. */
#ifndef LUNETTE_CUDA_LIBRARY_H
#define LUNETTE_CUDA_LIBRARY_H

#include "kernels.h"

/* "lib<name>.so.<version>" for each version, highest first and none above the driver's, then without one: on the loader's path, in $CUDA_HOME, $CUDA_PATH and
 * /usr/local/cuda, or where NVIDIA's Python packages put it. *found gets the version, 0 where the name had none. */
void *ln_library_open(const char *name, const int *versions, int *found);
/* The same for one name exactly. */
void *ln_library_open_name(const char *file);

void *ln_library_find(void *library, const char *name);

/* Looks a function up; `found` turns false where it is missing. */
template <class F> void ln_library_symbol(void *library, const char *name, F *function, bool *found) {
  void *symbol = ln_library_find(library, name);
  *(void **)function = symbol;
  if (!symbol) *found = false;
}

/* What lt.cuda.libraries() says of a library. */
void ln_library_state(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, and the user is told. */
void ln_library_missing(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Work that the library did not take: the user is told once of each kind of text. */
void ln_library_refused(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
