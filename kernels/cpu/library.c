/* library.c - opening of shared libraries. */
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool ln_library_open(const char *path, const char *package, const char *const *names, void **const *functions, char *failure) {
  const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(failure, LN_LIBRARY_TEXT, "%s cannot be opened, install %s (%s)", file, package, dlerror());
    return false;
  }
  for (int i = 0; names[i]; i++) {
    *functions[i] = dlsym(library, names[i]);
    if (*functions[i]) continue;
    snprintf(failure, LN_LIBRARY_TEXT, "%s has no function %s, install %s", file, names[i], package);
    return false;
  }
  return true;
}
