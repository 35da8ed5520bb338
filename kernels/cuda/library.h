/* library.h - a shared library that is opened at its first use. */
#ifndef LUNETTE_CUDA_LIBRARY_H
#define LUNETTE_CUDA_LIBRARY_H

#include <dlfcn.h>
#include <stddef.h>

/* The first of the names (ended by NULL) that opens, or NULL. */
static inline void *ln_library_open(const char *const *names) {
  for (; *names; names++) {
    void *library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
  }
  return NULL;
}

/* Looks a function up; `found` turns false where it is missing. */
template <class F> void ln_library_symbol(void *library, const char *name, F *function, bool *found) {
  void *symbol = dlsym(library, name);
  *(void **)function = symbol;
  if (!symbol) *found = false;
}

#endif
