/* safetensors.h - an opened file: its header taken apart and checked. Included by io/ only. */
#ifndef LUNETTE_SAFETENSORS_H
#define LUNETTE_SAFETENSORS_H

#include "file.h"

struct ln_safetensors {
  ln_file *file;      /* the caller's, open as long as the header is read */
  int64_t size, data; /* of the whole file, and where tensor bytes begin */
  ln_entry *entries;
  int n, capacity;
  char **metadata; /* keys and values in turn */
  int n_metadata, metadata_capacity;
};

/* Takes the JSON header apart; every name, number and range is checked before anything is sized by it. */
int ln_header_parse(ln_safetensors *f, const char *path, const char *text, size_t size);
const char *ln_safetensors_dtype_name(int dtype);
/* The bytes of a tensor's elements; an error when its sizes, zeros left out, multiply to more than can be counted. */
int ln_entry_bytes(const char *path, const char *name, int dtype, const int64_t *shape, int ndim, int64_t *bytes);

#endif
