/* library.h - a shared library that is opened at its first use. */
#ifndef LUNETTE_CUDA_LIBRARY_H
#define LUNETTE_CUDA_LIBRARY_H

#include "kernels.h"

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

/* This thread's handle of a library on the device, on its stream there, made at the first use. */
template <class Handle>
const char *ln_library_handle(int device, Handle *handles, int (*create)(Handle *), int (*set_stream)(Handle, cudaStream_t), Handle *out) {
  LN_GPU_TRY(ln_gpu_enter(device));
  if (!handles[device]) {
    if (create(&handles[device])) return "a library of CUDA could not be started";
    if (set_stream(handles[device], ln_gpu_stream(device))) return "a library of CUDA did not take the stream";
  }
  *out = handles[device];
  return NULL;
}

#endif
