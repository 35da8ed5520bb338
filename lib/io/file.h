/* file.h - an opened file. Included by io/ only. */
#ifndef LUNETTE_FILE_H
#define LUNETTE_FILE_H

#include "../internal.h"

struct ln_file {
  int fd;
  int64_t size;
  ln_map *map; /* of the whole file; NULL before something of it was mapped */
  char path[];
};

/* A new vector of uint8 on the host. */
int ln_bytes_new(int64_t n, ln_tensor **out);

#endif
