/* gguf.c - the blocks of quantized numbers in GGUF files: a scale in float16 and 32 small whole numbers. */
#include "file.h"

#include "../../kernels/half.h"

#define BLOCK 32

enum { Q4_0 = 2, Q8_0 = 8 };

static float scale_of(const unsigned char *block) { return ln_from_half((uint16_t)(block[0] | block[1] << 8)); }

static void unpack_4(const unsigned char *block, float *to) {
  float scale = scale_of(block);
  for (int i = 0; i < BLOCK / 2; i++) {
    to[i] = (float)((block[2 + i] & 15) - 8) * scale;
    to[i + BLOCK / 2] = (float)((block[2 + i] >> 4) - 8) * scale;
  }
}

static void unpack_8(const unsigned char *block, float *to) {
  float scale = scale_of(block);
  for (int i = 0; i < BLOCK; i++) to[i] = (float)(signed char)block[2 + i] * scale;
}

int ln_gguf_unpack(int type, const ln_tensor *packed, ln_tensor **out) {
  const int64_t size = type == Q4_0 ? 2 + BLOCK / 2 : 2 + BLOCK, blocks = packed->numel / size, n = blocks * BLOCK;
  if (type != Q4_0 && type != Q8_0) return ln_fail("gguf: numbers of type %d cannot be unpacked", type);
  if (packed->device != LN_CPU || packed->dtype != LN_UINT8 || packed->numel % size != 0) return ln_fail("gguf: no whole number of blocks");
  LN_TRY(ln_new(&n, 1, LN_FLOAT32, LN_CPU, out));
  for (int64_t i = 0; i < blocks; i++)
    (type == Q4_0 ? unpack_4 : unpack_8)((const unsigned char *)packed->data + i * size, (float *)(*out)->data + i * BLOCK);
  ln_hand_out(*out);
  return LN_OK;
}
