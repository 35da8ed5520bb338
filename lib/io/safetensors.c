/* safetensors.c - the format of Hugging Face's safetensors: 8 bytes of header length, a JSON header, the tensors' bytes. */
#include "safetensors.h"

#include "writer.h"

#include <stdlib.h>

#define HEADER_MOST ((uint64_t)100 << 20) /* as the reference implementation limits it */

/* -- Reading -- */

/* The length of the header, which must lie within the file; where not even a brace follows it, the file is no safetensors at all. */
static int header_length(const ln_safetensors *s, uint64_t *length) {
  const char *path = s->file->path;
  unsigned char start[9] = {0};
  if (s->size < 8) return ln_fail("%s: unknown format: a file of any that is known has at least 8 bytes, this one %lld", path, (long long)s->size);
  LN_TRY(ln_file_bytes(s->file, 0, s->size < 9 ? 8 : 9, start));
  *length = 0;
  for (int i = 7; i >= 0; i--) *length = *length << 8 | start[i];
  if (*length <= (uint64_t)s->size - 8 && *length <= HEADER_MOST) return LN_OK;
  if (start[8] != '{') return ln_fail("%s: unknown format: neither .pt, .safetensors, .npy, .npz, GGUF nor .t7", path);
  return ln_fail("%s: the header claims %llu bytes of a file of %lld", path, (unsigned long long)*length, (long long)s->size);
}

static int read_header(ln_safetensors *s) {
  uint64_t length = 0;
  LN_TRY(header_length(s, &length));
  char *text = malloc(length + 1);
  if (!text) return ln_fail_nomem((int64_t)length);
  text[length] = 0;
  s->data = (int64_t)(8 + length);
  int status = ln_file_bytes(s->file, 8, (int64_t)length, text);
  if (status == LN_OK) status = ln_header_parse(s, s->file->path, text, (size_t)length);
  free(text);
  return status;
}

int ln_safetensors_open(ln_file *f, ln_safetensors **out) {
  ln_safetensors *s = calloc(1, sizeof *s);
  if (!s) return ln_fail_nomem(sizeof *s);
  s->file = f;
  s->size = f->size;
  int status = read_header(s);
  if (status == LN_OK)
    *out = s;
  else
    ln_safetensors_close(s);
  return status;
}

int ln_safetensors_count(const ln_safetensors *s) { return s->n; }

int64_t ln_safetensors_data(const ln_safetensors *s) { return s->data; }

const ln_entry *ln_safetensors_entry(const ln_safetensors *s, int i) { return i >= 0 && i < s->n ? s->entries + i : NULL; }

int ln_safetensors_metadata_count(const ln_safetensors *f) { return f->n_metadata / 2; }

const char *ln_safetensors_metadata(const ln_safetensors *f, int i, bool value) {
  return i >= 0 && 2 * i + 1 < f->n_metadata ? f->metadata[2 * i + value] : NULL;
}

void ln_safetensors_close(ln_safetensors *f) {
  if (!f) return;
  for (int i = 0; i < f->n; i++) free(f->entries[i].name);
  for (int i = 0; i < f->n_metadata; i++) free(f->metadata[i]);
  free(f->entries);
  free(f->metadata);
  free(f);
}

/* -- Writing -- */

static void put_string(FILE *file, const char *text) {
  static const char escaped[] = "\"\\\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37";
  fputc('"', file);
  while (*text) {
    size_t plain = strcspn(text, escaped);
    fwrite(text, 1, plain, file);
    text += plain;
    for (; *text && strchr(escaped, *text); text++) fprintf(file, *text < 0x20 ? "\\u%04x" : "\\%c", *text);
  }
  fputc('"', file);
}

static void put_metadata(FILE *file, const char *const *metadata, int n) {
  fputs("\"__metadata__\":{", file);
  for (int i = 0; i < n; i++) {
    if (i) fputc(',', file);
    put_string(file, metadata[2 * i]);
    fputc(':', file);
    put_string(file, metadata[2 * i + 1]);
  }
  fputc('}', file);
}

static int put_entry(FILE *file, const char *path, const char *name, const ln_tensor *t, int64_t *at) {
  int64_t bytes;
  LN_TRY(ln_entry_bytes(path, name, t->dtype, t->shape, t->ndim, &bytes));
  put_string(file, name);
  fprintf(file, ":{\"dtype\":\"%s\",\"shape\":[", ln_safetensors_dtype_name(t->dtype));
  for (int d = 0; d < t->ndim; d++) fprintf(file, d ? ",%lld" : "%lld", (long long)t->shape[d]);
  fprintf(file, "],\"data_offsets\":[%lld,%lld]}", (long long)*at, (long long)(*at + bytes));
  *at += bytes;
  return LN_OK;
}

static int put_header(FILE *file, const char *path, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata,
                      int n_metadata) {
  int64_t at = 0;
  fputc('{', file);
  if (n_metadata > 0) put_metadata(file, metadata, n_metadata);
  for (int i = 0; i < n; i++) {
    if (i || n_metadata > 0) fputc(',', file);
    LN_TRY(put_entry(file, path, names[i], tensors[i], &at));
  }
  fputc('}', file);
  while (ftell(file) % 8) fputc(' ', file); /* tensors begin at a multiple of 8 */
  return LN_OK;
}

/* The header as malloc'd text. */
static int make_header(const char *path, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata, int n_metadata,
                       char **text, size_t *length) {
  FILE *file = open_memstream(text, length);
  if (!file) return ln_fail_nomem(4096);
  int status = put_header(file, path, names, tensors, n, metadata, n_metadata);
  if (fclose(file) != 0 && status == LN_OK) status = ln_fail_nomem((int64_t)*length);
  if (status == LN_OK && *length > HEADER_MOST)
    status =
      ln_fail("%s: the names and shapes take %zu bytes, a safetensors header has at most %llu", path, *length, (unsigned long long)HEADER_MOST);
  return status;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int check_names(const char *path, const char *const *names, int n) {
  for (int i = 0; i < n; i++) {
    if (strcmp(names[i], "__metadata__") == 0) return ln_fail("%s: a tensor cannot be named __metadata__", path);
    if (!ln_is_utf8(names[i], strlen(names[i])))
      return ln_fail("%s: the name '%s' is not valid UTF-8, which safetensors names must be", path, names[i]);
  }
  const char **sorted = malloc(sizeof *sorted * ((size_t)n + 1));
  int status = sorted ? LN_OK : ln_fail_nomem(n * (int64_t)sizeof *sorted);
  if (sorted) memcpy(sorted, names, sizeof *sorted * (size_t)n);
  if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, by_text);
  for (int i = 1; i < n && status == LN_OK; i++)
    if (strcmp(sorted[i - 1], sorted[i]) == 0) status = ln_fail("%s: the name '%s' stands twice", path, sorted[i]);
  free(sorted);
  return status;
}

static int write_file(const char *path, const char *header, size_t length, ln_tensor *const *tensors, int n) {
  ln_writer w;
  unsigned char start[8];
  int status = ln_writer_open(&w, path);
  for (int i = 0; i < 8; i++) start[i] = (unsigned char)(length >> (8 * i));
  if (status == LN_OK) {
    ln_write(&w, start, sizeof start);
    ln_write(&w, header, length);
  }
  for (int i = 0; i < n && status == LN_OK; i++) status = ln_write_tensor(&w, tensors[i]);
  return ln_writer_close(&w, status);
}

int ln_safetensors_save(const char *path, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata, int n_metadata) {
  char *header = NULL;
  size_t length = 0;
  LN_TRY(check_names(path, names, n));
  int status = make_header(path, names, tensors, n, metadata, n_metadata, &header, &length);
  if (status == LN_OK) status = write_file(path, header, length, tensors, n);
  free(header);
  return status;
}
