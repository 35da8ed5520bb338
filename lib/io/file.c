/* file.c - a whole file in memory, unpacked when it is gzip; what the terminal and the clock say. */
#include "../internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

/* Reads what gzread gives, which is the file itself when it is no gzip. */
static int read_all(const char *path, gzFile file, char **data, size_t *size) {
  size_t capacity = 1 << 16, n = 0;
  char *p = malloc(capacity + 1);
  while (p) {
    if (n == capacity) {
      char *more = realloc(p, 2 * capacity + 1);
      if (!more) break;
      p = more;
      capacity *= 2;
    }
    unsigned want = capacity - n > 1u << 24 ? 1u << 24 : (unsigned)(capacity - n);
    int got = gzread(file, p + n, want);
    if (got < 0) {
      int code;
      const char *why = gzerror(file, &code);
      free(p);
      return ln_fail("%s: damaged gzip data (%s)", path, code == Z_ERRNO ? strerror(errno) : why);
    }
    if (got == 0) {
      p[n] = 0;
      *data = p;
      *size = n;
      return LN_OK;
    }
    n += (size_t)got;
  }
  free(p);
  return ln_fail_nomem((int64_t)capacity);
}

int ln_file_read(const char *path, char **data, size_t *size) {
  struct stat info;
  if (stat(path, &info) != 0) return ln_fail("%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return ln_fail("%s: not a regular file", path);
  gzFile file = gzopen(path, "rb");
  if (!file) return ln_fail("%s: %s", path, strerror(errno ? errno : ENOMEM));
  int status = read_all(path, file, data, size);
  int closed = gzclose_r(file);
  if (status == LN_OK && closed == Z_BUF_ERROR) {
    free(*data);
    return ln_fail("%s: the gzip data end too early", path);
  }
  return status;
}

void ln_buffer_free(char *data) { free(data); }

bool ln_is_terminal(int descriptor) { return isatty(descriptor) == 1; }

double ln_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
