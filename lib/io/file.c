/* file.c - files that are read: by position, or whole and unpacked when they are gzip; what the terminal and the clock say. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

/* Regular files only: opening a pipe would wait, and a device has no end. */
static int open_regular(const char *path, int *fd, int64_t *size) {
  struct stat info;
  *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (*fd < 0) return ln_fail("%s: %s", path, strerror(errno));
  if (fstat(*fd, &info) == 0 && S_ISREG(info.st_mode)) {
    *size = info.st_size;
    return LN_OK;
  }
  close(*fd);
  return ln_fail("%s: not a regular file", path);
}

/* -- By position -- */

int ln_file_open(const char *path, ln_file **out) {
  size_t length = strlen(path) + 1;
  ln_file *f = malloc(sizeof *f + length);
  if (!f) return ln_fail_nomem((int64_t)sizeof *f);
  f->map = NULL;
  memcpy(f->path, path, length);
  int status = open_regular(path, &f->fd, &f->size);
  if (status == LN_OK)
    *out = f;
  else
    free(f);
  return status;
}

int64_t ln_file_size(const ln_file *f) { return f->size; }

int ln_file_bytes(const ln_file *f, int64_t offset, int64_t n, void *data) {
  for (char *to = data; n > 0;) {
    ssize_t got = pread(f->fd, to, (size_t)n, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ln_fail("%s: %s", f->path, strerror(errno));
    if (got == 0) return ln_fail("%s: the file became shorter while it was read", f->path);
    to += got;
    offset += got;
    n -= got;
  }
  return LN_OK;
}

void ln_file_close(ln_file *f) {
  if (!f) return;
  if (f->map) ln_map_release(f->map);
  close(f->fd);
  free(f);
}

/* -- Whole -- */

/* Reads what gzread gives, which is the file itself when it is no gzip. */
static int read_all(const char *path, gzFile file, int64_t most, char **data, size_t *size) {
  size_t capacity = 1 << 16, n = 0;
  char *p = malloc(capacity + 1);
  while (p && (int64_t)n <= most) {
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
  if ((int64_t)n > most) return ln_fail("%s: holds more than %lld bytes, the most that is read at once", path, (long long)most);
  return ln_fail_nomem((int64_t)capacity);
}

int ln_file_read(const char *path, int64_t most, char **data, size_t *size) {
  int fd;
  int64_t packed;
  LN_TRY(open_regular(path, &fd, &packed));
  gzFile file = gzdopen(fd, "rb");
  if (!file) {
    close(fd);
    return ln_fail_nomem(packed);
  }
  int status = read_all(path, file, most, data, size);
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
