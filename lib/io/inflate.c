/* inflate.c - what zlib does for archives: unpacking deflate data, and CRC-32. */
#include "file.h"

#include <zlib.h>

#define WINDOW (1 << 16) /* bytes of the file that are read at once */
#define MOST_RATIO 1040  /* deflate packs at most 1032 to 1 */

uint32_t ln_crc32(uint32_t crc, const void *data, int64_t n) { return (uint32_t)crc32_z(crc, data, (z_size_t)n); }

/* Feeds packed bytes to z until it has what it wants or they end; what zlib said last. */
static int unpack(const ln_file *f, int64_t offset, int64_t packed, char *to, int64_t n, z_stream *z, int *code) {
  unsigned char window[WINDOW];
  z->next_out = (unsigned char *)to;
  *code = Z_OK;
  while (*code == Z_OK) {
    if (z->avail_in == 0 && packed > 0) {
      int64_t part = packed < WINDOW ? packed : WINDOW;
      LN_TRY(ln_file_bytes(f, offset, part, window));
      offset += part;
      packed -= part;
      z->next_in = window;
      z->avail_in = (unsigned)part;
    }
    int64_t room = n - (int64_t)z->total_out;
    z->avail_out = room > 1 << 30 ? 1u << 30 : (unsigned)room;
    *code = inflate(z, Z_NO_FLUSH);
    if (*code == Z_BUF_ERROR && z->avail_in == 0 && packed > 0) *code = Z_OK;
  }
  return LN_OK;
}

static int inflate_into(const ln_file *f, int64_t offset, int64_t packed, char *to, int64_t n, uint32_t crc) {
  z_stream z = {0};
  int code;
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return ln_fail_nomem(1 << 15);
  int status = unpack(f, offset, packed, to, n, &z, &code);
  int64_t got = (int64_t)z.total_out;
  if (status == LN_OK && code != Z_STREAM_END)
    status = ln_fail("%s: the packed data from byte %lld on are damaged (%s)", f->path, (long long)offset, z.msg ? z.msg : "they do not end");
  inflateEnd(&z);
  if (status == LN_OK && got != n)
    status = ln_fail("%s: the packed data from byte %lld on hold %lld bytes, not %lld", f->path, (long long)offset, (long long)got, (long long)n);
  if (status == LN_OK && ln_crc32(0, to, n) != crc)
    status = ln_fail("%s: the data from byte %lld on do not have the checksum that the archive names", f->path, (long long)offset);
  return status;
}

int ln_file_inflate(const ln_file *f, int64_t offset, int64_t packed, int64_t n, uint32_t crc, ln_tensor **out) {
  if (offset < 0 || packed < 0 || offset > f->size || packed > f->size - offset)
    return ln_fail("%s: bytes %lld to %lld are wanted of %lld", f->path, (long long)offset, (long long)offset + packed, (long long)f->size);
  if (n < 0 || n / MOST_RATIO > packed)
    return ln_fail("%s: %lld packed bytes cannot hold the %lld that are named", f->path, (long long)packed, (long long)n);
  LN_TRY(ln_bytes_new(n, out));
  int status = inflate_into(f, offset, packed, (*out)->data, n, crc);
  if (status == LN_OK)
    ln_hand_out(*out);
  else
    ln_tensor_release(*out);
  return status;
}
