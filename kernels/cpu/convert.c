/* convert.c - one operand into another: bytes moved where the dtype is the same, else through the compute type that loses least. */
#include "threads.h"

typedef struct work {
  const ln_loop *loop;
  const ln_cpu_typed *typed;
  int64_t size, stride[2];
} work;

#define MOVE(type) \
  for (int64_t i = 0; i < n; i++) *(type *)(y + i * sy) = *(const type *)(x + i * sx);

static void move(void *context, int64_t n, char *const *p) {
  const work *w = context;
  char *y = p[0];
  const char *x = p[1];
  int64_t sy = w->stride[0], sx = w->stride[1];
  if (sy == w->size && sx == w->size) {
    memmove(y, x, (size_t)(n * w->size));
    return;
  }
  switch (w->size) {
  case 1: MOVE(uint8_t) break;
  case 2: MOVE(uint16_t) break;
  case 4: MOVE(uint32_t) break;
  default: MOVE(uint64_t) break;
  }
}

static void convert(void *context, int64_t n, char *const *p) {
  const work *w = context;
  int64_t LN_ALIGN buffer[LN_BUFFER];
  for (int64_t done = 0; done < n; done += LN_BUFFER) {
    int64_t m = n - done < LN_BUFFER ? n - done : LN_BUFFER;
    w->typed->load(p[1] + done * w->stride[1], w->stride[1], w->loop->dtype[1], m, buffer);
    w->typed->store(p[0] + done * w->stride[0], w->stride[0], w->loop->dtype[0], m, buffer);
  }
}

const char *ln_cpu_convert(const ln_loop *loop) {
  int to = loop->dtype[0], from = loop->dtype[1], last = loop->ndim - 1;
  bool whole = ln_cpu_type_of(to) == 2 && ln_cpu_type_of(from) == 2;
  bool wide = to == LN_FLOAT64 || from == LN_FLOAT64 || ln_cpu_type_of(to) == 2;
  work w = {loop, ln_cpu_typed_now[whole ? 2 : wide ? 1 : 0], ln_cpu_size_of(to), {loop->stride[0][last], loop->stride[1][last]}};
  ln_cpu_walk(loop, LN_GRAIN_CHEAP, to == from ? move : convert, &w);
  return NULL;
}
