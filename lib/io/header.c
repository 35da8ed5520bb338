/* header.c - the JSON of a safetensors header: exactly the grammar that the format allows, read strictly. */
#include "safetensors.h"

#include <stdlib.h>

static const char *const dtype_names[LN_DTYPES] = {"F32", "F64", "F16", "BF16", "I8", "I16", "I32", "I64", "U8", "BOOL"};

const char *ln_safetensors_dtype_name(int dtype) { return dtype_names[dtype]; }

typedef struct reader {
  const char *path, *start, *p, *end;
  ln_safetensors *file;
} reader;

static int fail_at(const reader *r, const char *what) {
  return ln_fail("%s: safetensors header, byte %lld: %s", r->path, (long long)(r->p - r->start), what);
}

static void space(reader *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) r->p++;
}

static bool take(reader *r, char c) {
  space(r);
  if (r->p >= r->end || *r->p != c) return false;
  r->p++;
  return true;
}

static int expect(reader *r, char c) {
  char text[32] = "expected 'x'";
  text[10] = c;
  return take(r, c) ? LN_OK : fail_at(r, text);
}

/* -- Strings -- */

static int hex4(reader *r, uint32_t *code) {
  *code = 0;
  if (r->end - r->p < 4) return fail_at(r, "a \\u escape is cut off");
  for (int i = 0; i < 4; i++) {
    char c = *r->p++;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return fail_at(r, "a \\u escape needs four hexadecimal digits");
    *code = *code * 16 + (uint32_t)digit;
  }
  return LN_OK;
}

static size_t utf8(uint32_t code, char *out) {
  if (code < 0x80) return out[0] = (char)code, 1;
  if (code < 0x800) return out[0] = (char)(0xc0 | code >> 6), out[1] = (char)(0x80 | (code & 63)), 2;
  if (code < 0x10000) return out[0] = (char)(0xe0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 63)), out[2] = (char)(0x80 | (code & 63)), 3;
  out[0] = (char)(0xf0 | code >> 18);
  out[1] = (char)(0x80 | (code >> 12 & 63));
  out[2] = (char)(0x80 | (code >> 6 & 63));
  out[3] = (char)(0x80 | (code & 63));
  return 4;
}

static int unicode(reader *r, char *out, size_t *n) {
  uint32_t code, low;
  LN_TRY(hex4(r, &code));
  if (code >= 0xd800 && code < 0xdc00) {
    if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u') return fail_at(r, "half of a surrogate pair");
    r->p += 2;
    LN_TRY(hex4(r, &low));
    if (low < 0xdc00 || low > 0xdfff) return fail_at(r, "half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    return fail_at(r, "half of a surrogate pair");
  }
  if (code == 0) return fail_at(r, "a name cannot hold NUL");
  *n += utf8(code, out + *n);
  return LN_OK;
}

/* How many bytes the character at p takes in UTF-8, 0 when it is none: no overlong forms, surrogates or codes above 0x10ffff. */
static int character(const unsigned char *p, const unsigned char *end) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  int n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;
  if (n < 2 || end - p < n) return n == 1;
  uint32_t code = *p & (0x7fu >> n);
  for (int i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (p[i] & 0x3f);
  }
  return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

/* The first byte from p on that begins no character; end when all do. */
static const char *invalid_utf8(const char *p, const char *end) {
  while (p < end) {
    int n = character((const unsigned char *)p, (const unsigned char *)end);
    if (n == 0) return p;
    p += n;
  }
  return end;
}

static int check_utf8(reader *r) {
  r->p = invalid_utf8(r->p, r->end);
  if (r->p < r->end) return fail_at(r, "invalid UTF-8");
  r->p = r->start;
  return LN_OK;
}

bool ln_is_utf8(const char *text, size_t n) { return invalid_utf8(text, text + n) == text + n; }

/* A string, as malloc'd text. An escape is never shorter than what it stands for. */
static int string(reader *r, char **out) {
  static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  LN_TRY(expect(r, '"'));
  const char *close = r->p;
  while (close < r->end && *close != '"') close += *close == '\\' ? 2 : 1;
  if (close >= r->end) return fail_at(r, "a string is not closed");
  char *text = malloc((size_t)(close - r->p) + 1);
  size_t n = 0;
  if (!text) return ln_fail_nomem(close - r->p);
  while (r->p < close) {
    char c = *r->p++;
    const char *escape;
    int status = LN_OK;
    if ((unsigned char)c < 0x20)
      status = fail_at(r, "a control character in a string");
    else if (c != '\\')
      text[n++] = c;
    else if (*r->p == 'u')
      r->p++, status = unicode(r, text, &n);
    else if (*r->p && (escape = strchr(plain, *r->p)))
      text[n++] = meant[escape - plain], r->p++;
    else
      status = fail_at(r, "an unknown escape");
    if (status != LN_OK) {
      free(text);
      return status;
    }
  }
  r->p = close + 1;
  text[n] = 0;
  *out = text;
  return LN_OK;
}

/* -- Numbers -- */

static int whole(reader *r, int64_t *out) {
  space(r);
  if (r->p < r->end && *r->p == '-') return fail_at(r, "a negative number");
  if (r->p >= r->end || *r->p < '0' || *r->p > '9') return fail_at(r, "expected a whole number");
  if (*r->p == '0' && r->end - r->p > 1 && r->p[1] >= '0' && r->p[1] <= '9') return fail_at(r, "a number that begins with 0");
  int64_t n = 0;
  for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
    if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *r->p - '0', &n)) return fail_at(r, "a number that is too large");
  if (r->p < r->end && (*r->p == '.' || *r->p == 'e' || *r->p == 'E')) return fail_at(r, "expected a whole number");
  *out = n;
  return LN_OK;
}

static int numbers(reader *r, int64_t *out, int most, int *n) {
  *n = 0;
  LN_TRY(expect(r, '['));
  if (take(r, ']')) return LN_OK;
  do {
    if (*n == most) return fail_at(r, "too many numbers in a list");
    LN_TRY(whole(r, &out[(*n)++]));
  } while (take(r, ','));
  return expect(r, ']');
}

/* -- Entries -- */

static int dtype_of(reader *r, const char *name, int *dtype) {
  for (int i = 0; i < LN_DTYPES; i++) {
    if (strcmp(dtype_names[i], name) != 0) continue;
    *dtype = i;
    return LN_OK;
  }
  return ln_fail("%s: dtype '%s' is not supported (F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL are)", r->path, name);
}

static int field(reader *r, ln_entry *e, const char *key, unsigned *seen) {
  int n;
  int64_t range[2];
  unsigned bit = strcmp(key, "dtype") == 0 ? 1 : strcmp(key, "shape") == 0 ? 2 : strcmp(key, "data_offsets") == 0 ? 4 : 0;
  if (!bit || (*seen & bit)) return ln_fail("%s: tensor '%s' has an unknown or repeated field '%s'", r->path, e->name, key);
  *seen |= bit;
  if (bit == 2) return numbers(r, e->shape, LN_MAX_DIMS, &e->ndim);
  if (bit == 4) {
    LN_TRY(numbers(r, range, 2, &n));
    if (n != 2) return ln_fail("%s: data_offsets of tensor '%s' must be two numbers", r->path, e->name);
    e->begin = range[0];
    e->end = range[1];
    return LN_OK;
  }
  char *name;
  LN_TRY(string(r, &name));
  int status = dtype_of(r, name, &e->dtype);
  free(name);
  return status;
}

int ln_entry_bytes(const char *path, const char *name, int dtype, const int64_t *shape, int ndim, int64_t *bytes) {
  bool empty = false;
  *bytes = ln_dtype_size(dtype);
  for (int i = 0; i < ndim; i++) { /* a 0 does not hide sizes whose strides would overflow */
    empty |= shape[i] == 0;
    if (__builtin_mul_overflow(*bytes, shape[i] ? shape[i] : 1, bytes))
      return ln_fail("%s: tensor '%s' of shape %s is too large", path, name, ln_shape_text(shape, ndim));
  }
  if (empty) *bytes = 0;
  return LN_OK;
}

static int check_entry(const reader *r, const ln_entry *e) {
  int64_t bytes, room = r->file->size - r->file->data;
  LN_TRY(ln_entry_bytes(r->path, e->name, e->dtype, e->shape, e->ndim, &bytes));
  if (e->begin > e->end || e->end > room)
    return ln_fail("%s: tensor '%s' claims bytes %lld to %lld of %lld", r->path, e->name, (long long)e->begin, (long long)e->end, (long long)room);
  if (e->end - e->begin != bytes)
    return ln_fail("%s: tensor '%s' of shape %s needs %lld bytes, its offsets give %lld", r->path, e->name, ln_shape_text(e->shape, e->ndim),
                   (long long)bytes, (long long)(e->end - e->begin));
  return LN_OK;
}

static int entry(reader *r, char *name) {
  ln_safetensors *f = r->file;
  unsigned seen = 0;
  if (!ln_grow(&f->entries, &f->capacity, f->n + 1, sizeof *f->entries)) {
    free(name);
    return ln_fail_nomem(sizeof *f->entries);
  }
  ln_entry *e = &f->entries[f->n++];
  *e = (ln_entry){.name = name};
  LN_TRY(expect(r, '{'));
  do {
    char *key;
    LN_TRY(string(r, &key));
    int status = expect(r, ':');
    if (status == LN_OK) status = field(r, e, key, &seen);
    free(key);
    if (status != LN_OK) return status;
  } while (take(r, ','));
  LN_TRY(expect(r, '}'));
  if (seen != 7) return ln_fail("%s: tensor '%s' lacks dtype, shape or data_offsets", r->path, name);
  return check_entry(r, e);
}

static int metadata(reader *r) {
  ln_safetensors *f = r->file;
  LN_TRY(expect(r, '{'));
  if (take(r, '}')) return LN_OK;
  do {
    for (int i = 0; i < 2; i++) {
      if (i == 1) LN_TRY(expect(r, ':'));
      if (!ln_grow(&f->metadata, &f->metadata_capacity, f->n_metadata + 1, sizeof *f->metadata)) return ln_fail_nomem(64);
      LN_TRY(string(r, &f->metadata[f->n_metadata]));
      f->n_metadata++;
    }
  } while (take(r, ','));
  return expect(r, '}');
}

static int by_name(const void *a, const void *b) { return strcmp((*(ln_entry *const *)a)->name, (*(ln_entry *const *)b)->name); }

static int by_place(const void *a, const void *b) {
  const ln_entry *x = *(ln_entry *const *)a, *y = *(ln_entry *const *)b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

/* Names are unique; the tensors fill the data one after another, without holes or overlaps. */
static int check_all(const reader *r) {
  ln_safetensors *f = r->file;
  ln_entry **sorted = malloc(sizeof *sorted * ((size_t)f->n + 1));
  int status = LN_OK;
  int64_t at = 0;
  if (!sorted) return ln_fail_nomem(f->n * 8);
  for (int i = 0; i < f->n; i++) sorted[i] = &f->entries[i];
  qsort(sorted, (size_t)f->n, sizeof *sorted, by_name);
  for (int i = 1; i < f->n && status == LN_OK; i++)
    if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) status = ln_fail("%s: the name '%s' stands twice", r->path, sorted[i]->name);
  qsort(sorted, (size_t)f->n, sizeof *sorted, by_place);
  for (int i = 0; i < f->n && status == LN_OK; i++) {
    if (sorted[i]->begin != at)
      status = ln_fail("%s: tensor '%s' begins at byte %lld of the data, expected %lld (tensors overlap or leave a hole)", r->path, sorted[i]->name,
                       (long long)sorted[i]->begin, (long long)at);
    at = sorted[i]->end;
  }
  if (status == LN_OK && at != f->size - f->data)
    status = ln_fail("%s: the file has %lld bytes of data, its tensors %lld", r->path, (long long)(f->size - f->data), (long long)at);
  free(sorted);
  return status;
}

int ln_header_parse(ln_safetensors *f, const char *path, const char *text, size_t size) {
  reader r = {path, text, text, text + size, f};
  bool had_metadata = false;
  LN_TRY(check_utf8(&r));
  LN_TRY(expect(&r, '{'));
  if (!take(&r, '}')) {
    do {
      char *name;
      LN_TRY(string(&r, &name));
      int status = expect(&r, ':');
      bool is_metadata = status == LN_OK && strcmp(name, "__metadata__") == 0;
      if (status != LN_OK || is_metadata) free(name);
      if (status != LN_OK) return status;
      if (is_metadata && had_metadata) return fail_at(&r, "__metadata__ stands twice");
      had_metadata |= is_metadata;
      LN_TRY(is_metadata ? metadata(&r) : entry(&r, name));
    } while (take(&r, ','));
    LN_TRY(expect(&r, '}'));
  }
  space(&r);
  if (r.p != r.end) return fail_at(&r, "text after the closing brace");
  return check_all(&r);
}
