/* map.c - files as memory: a tensor's bytes lie where the system maps the file, and are read when they are first looked at. A change stays in the
 * process (copy on write). A file that another program makes shorter meanwhile leaves nothing behind its new end: touching that ends the process. */
#include "file.h"

#include <stdlib.h>
#include <sys/mman.h>

struct ln_map {
  int64_t refs; /* the file's, while it is open, and one of each storage */
  size_t size;
  char *start;
};

void ln_map_retain(ln_map *m) { m->refs++; }

void ln_map_release(ln_map *m) {
  if (--m->refs) return;
  munmap(m->start, m->size);
  free(m);
}

/* The map of the whole file, NULL when there can be none. Swap is asked for when a page is changed, not for all of them now. */
static ln_map *map_of(ln_file *f) {
  if (f->map) return f->map;
  ln_map *m = malloc(sizeof *m);
  if (!m) return NULL;
  void *start = mmap(NULL, (size_t)f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, f->fd, 0);
  if (start == MAP_FAILED) {
    free(m);
    return NULL;
  }
  *m = (ln_map){.refs = 1, .size = (size_t)f->size, .start = start};
  f->map = m;
  return m;
}

int ln_bytes_new(int64_t n, ln_tensor **out) { return ln_new(&n, 1, LN_UINT8, LN_CPU, out); }

static int read_bytes(const ln_file *f, int64_t offset, int64_t n, ln_tensor **out) {
  LN_TRY(ln_bytes_new(n, out));
  int status = ln_file_bytes(f, offset, n, (*out)->data);
  if (status == LN_OK)
    ln_hand_out(*out);
  else
    ln_tensor_release(*out);
  return status;
}

int ln_file_tensor(ln_file *f, int64_t offset, int64_t n, bool map, ln_tensor **out) {
  const int64_t one = 1;
  if (offset < 0 || n < 0 || offset > f->size || n > f->size - offset)
    return ln_fail("%s: bytes %lld to %lld are wanted of %lld", f->path, (long long)offset, (long long)offset + n, (long long)f->size);
  ln_map *m = map && n > 0 && offset % (int64_t)sizeof(int64_t) == 0 ? map_of(f) : NULL;
  if (!m) return read_bytes(f, offset, n, out);
  ln_storage *s;
  LN_TRY(ln_storage_over(m, m->start + offset, n, &s));
  LN_TRY(ln_new_over(s, s->data, &n, &one, 1, LN_UINT8, out));
  ln_hand_out(*out);
  return LN_OK;
}
