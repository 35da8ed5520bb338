/* safetensors.c - the format of Hugging Face's safetensors: 8 bytes of header length, a JSON header, the tensors' bytes. Files are read through a
 * memory map and written to a temporary file that is synced and renamed, so that a reader never sees half of one. */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MOST ((uint64_t)100 << 20) /* as the reference implementation limits it */

/* -- Reading -- */

static int map_file(const char *path, ln_safetensors *f) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC), status = LN_OK;
  if (fd < 0) return ln_fail("%s: %s", path, strerror(errno));
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
    status = ln_fail("%s: not a regular file", path);
  else if (info.st_size < 8)
    status = ln_fail("%s: a safetensors file has at least 8 bytes, this one %lld", path, (long long)info.st_size);
  if (status == LN_OK) {
    f->size = (size_t)info.st_size;
    f->map = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (f->map == MAP_FAILED) {
      f->map = NULL;
      status = ln_fail("%s: %s", path, strerror(errno));
    }
  }
  close(fd);
  return status;
}

int ln_safetensors_open(const char *path, ln_safetensors **out) {
  ln_safetensors *f = calloc(1, sizeof *f);
  uint64_t length = 0;
  if (!f) return ln_fail_nomem(sizeof *f);
  int status = map_file(path, f);
  if (status == LN_OK) {
    for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)f->map[i];
    if (length > f->size - 8 || length > HEADER_MOST)
      status = ln_fail("%s: the header claims %llu bytes of a file of %zu", path, (unsigned long long)length, f->size);
  }
  if (status == LN_OK) {
    f->data = (int64_t)(8 + length);
    status = ln_header_parse(f, path, f->map + 8, (size_t)length);
  }
  if (status != LN_OK) {
    ln_safetensors_close(f);
    return status;
  }
  *out = f;
  return LN_OK;
}

int ln_safetensors_count(const ln_safetensors *f) { return f->n; }

const char *ln_safetensors_name(const ln_safetensors *f, int i) { return i >= 0 && i < f->n ? f->entries[i].name : NULL; }

int ln_safetensors_tensor(const ln_safetensors *f, int i, ln_tensor **out) {
  if (i < 0 || i >= f->n) return ln_fail("safetensors: there is no tensor %d", i);
  const ln_entry *e = &f->entries[i];
  LN_TRY(ln_new(e->shape, e->ndim, e->dtype, LN_CPU, out));
  memcpy((*out)->data, f->map + f->data + e->begin, (size_t)(e->end - e->begin));
  ln_hand_out(*out);
  return LN_OK;
}

int ln_safetensors_metadata_count(const ln_safetensors *f) { return f->n_metadata / 2; }

const char *ln_safetensors_metadata(const ln_safetensors *f, int i, bool value) {
  return i >= 0 && 2 * i + 1 < f->n_metadata ? f->metadata[2 * i + value] : NULL;
}

void ln_safetensors_close(ln_safetensors *f) {
  if (!f) return;
  for (int i = 0; i < f->n; i++) free(f->entries[i].name);
  for (int i = 0; i < f->n_metadata; i++) free(f->metadata[i]);
  if (f->map) munmap(f->map, f->size);
  free(f->entries);
  free(f->metadata);
  free(f);
}

/* -- Writing -- */

static void put_string(FILE *file, const char *text) {
  fputc('"', file);
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p == '"' || *p == '\\')
      fprintf(file, "\\%c", *p);
    else if (*p < 0x20)
      fprintf(file, "\\u%04x", *p);
    else
      fputc(*p, file);
  }
  fputc('"', file);
}

static void put_header(FILE *file, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata, int n_metadata) {
  int64_t at = 0;
  bool first = true;
  fputc('{', file);
  if (n_metadata > 0) {
    fputs("\"__metadata__\":{", file);
    for (int i = 0; i < n_metadata; i++) {
      if (i) fputc(',', file);
      put_string(file, metadata[2 * i]);
      fputc(':', file);
      put_string(file, metadata[2 * i + 1]);
    }
    fputc('}', file);
    first = false;
  }
  for (int i = 0; i < n; i++) {
    const ln_tensor *t = tensors[i];
    int64_t bytes = t->numel * ln_itemsize(t);
    if (!first) fputc(',', file);
    first = false;
    put_string(file, names[i]);
    fprintf(file, ":{\"dtype\":\"%s\",\"shape\":[", ln_safetensors_dtype_name(t->dtype));
    for (int d = 0; d < t->ndim; d++) fprintf(file, d ? ",%lld" : "%lld", (long long)t->shape[d]);
    fprintf(file, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)(at + bytes));
    at += bytes;
  }
  fputc('}', file);
}

/* A tensor's bytes in row-major order on the host. */
static int put_tensor(FILE *file, ln_tensor *t) {
  ln_tensor *host = t, *dense;
  int status = LN_OK;
  if (t->device != LN_CPU) {
    LN_TRY(ln_new(t->shape, t->ndim, t->dtype, LN_CPU, &host));
    status = ln_copy_into(host, t);
  } else {
    ln_tensor_retain(host);
  }
  if (status == LN_OK) status = ln_dense(host, t->dtype, &dense);
  if (status == LN_OK) {
    fwrite(dense->data, (size_t)ln_itemsize(t), (size_t)t->numel, file);
    ln_tensor_release(dense);
  }
  ln_tensor_release(host);
  return status;
}

static int write_file(FILE *file, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata, int n_metadata) {
  char *text = NULL;
  size_t length = 0;
  FILE *header = open_memstream(&text, &length);
  if (!header) return ln_fail_nomem(4096);
  put_header(header, names, tensors, n, metadata, n_metadata);
  if (fclose(header) != 0) {
    free(text);
    return ln_fail_nomem(4096);
  }
  size_t padded = (length + 7) & ~(size_t)7;
  for (int i = 0; i < 8; i++) fputc((int)(padded >> (8 * i) & 255), file);
  fwrite(text, 1, length, file);
  for (size_t i = length; i < padded; i++) fputc(' ', file);
  free(text);
  for (int i = 0; i < n; i++) LN_TRY(put_tensor(file, tensors[i]));
  return LN_OK;
}

static int check_names(const char *path, const char *const *names, int n) {
  for (int i = 0; i < n; i++) {
    if (strcmp(names[i], "__metadata__") == 0) return ln_fail("%s: a tensor cannot be named __metadata__", path);
    for (int k = 0; k < i; k++)
      if (strcmp(names[i], names[k]) == 0) return ln_fail("%s: the name '%s' stands twice", path, names[i]);
  }
  return LN_OK;
}

/* The rename is durable once its folder is synced. */
static void sync_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
  free(folder);
}

int ln_safetensors_save(const char *path, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata, int n_metadata) {
  LN_TRY(check_names(path, names, n));
  size_t size = strlen(path) + 32;
  char *temporary = malloc(size);
  if (!temporary) return ln_fail_nomem((int64_t)size);
  snprintf(temporary, size, "%s.%ld.tmp", path, (long)getpid());
  FILE *file = fopen(temporary, "wbe");
  int status = file ? LN_OK : ln_fail("%s: %s", temporary, strerror(errno));
  if (file) {
    status = write_file(file, names, tensors, n, metadata, n_metadata);
    bool bad = ferror(file) || fflush(file) != 0 || fsync(fileno(file)) != 0;
    if (fclose(file) != 0 || bad) status = status != LN_OK ? status : ln_fail("%s: writing failed: %s", path, strerror(errno));
    if (status == LN_OK && rename(temporary, path) != 0) status = ln_fail("%s: %s", path, strerror(errno));
    if (status != LN_OK)
      unlink(temporary);
    else
      sync_folder(path);
  }
  free(temporary);
  return status;
}
