/* library.h - shared libraries that are opened at their first use: a program that needs none of them starts without them. */
#ifndef LUNETTE_CPU_LIBRARY_H
#define LUNETTE_CPU_LIBRARY_H

#include <stdbool.h>

#define LN_LIBRARY_TEXT 512

/* What is made of each function that a file looks up: a member of its struct `api`, a name, the member's address. */
#define LN_LIBRARY_POINTER(name) __typeof__(name) *name;
#define LN_LIBRARY_NAME(name) #name,
#define LN_LIBRARY_SLOT(name) (void **)&api.name,

/* Opens the file that the build found or, where that is gone, what the loader knows by the name of the file, and finds its functions (both lists
 * end with NULL). Otherwise the text of `failure` says why not and which package brings the library. */
bool ln_library_open(const char *path, const char *package, const char *const *names, void **const *functions, char *failure);

#endif
