/* convert.c - one operand into another: bytes moved where the dtype is the same, else through the compute type that loses least. */
#include "threads.h"

typedef struct work {
  const ln_loop *loop;
  const ln_cpu_typed *typed;
  int type;     /* the compute type's dtype */
  int64_t size; /* of an element that is moved */
  int64_t stride[2], row_stride[2];
} work;

/* -- Moving -- */

#define MOVE(type)                                                                 \
  for (int64_t r = 0; r < rows; r++, y += w->row_stride[0], x += w->row_stride[1]) \
    for (int64_t i = 0; i < n; i++) *(type *)(y + i * sy) = *(const type *)(x + i * sx);

static void move(void *context, int64_t rows, int64_t n, char *const *p) {
  const work *w = context;
  char *y = p[0];
  const char *x = p[1];
  int64_t sy = w->stride[0], sx = w->stride[1];
  if (sy == w->size && sx == w->size) {
    for (int64_t r = 0; r < rows; r++) memmove(y + r * w->row_stride[0], x + r * w->row_stride[1], (size_t)(n * w->size));
    return;
  }
  switch (w->size) {
  case 1: MOVE(uint8_t) break;
  case 2: MOVE(uint16_t) break;
  case 4: MOVE(uint32_t) break;
  default: MOVE(uint64_t) break;
  }
}

/* -- Moving with two dimensions exchanged: tiles are read along x's rows and written along y's -- */

#define TILE 64

#define TURN(type)                                                                                         \
  {                                                                                                        \
    type tile[TILE][TILE + 1]; /* one more: lines of a power of two would share their sets of the cache */ \
    for (int64_t j = 0; j < columns; j++) memcpy(tile[j], x + j * xs, (size_t)rows * sizeof(type));        \
    for (int64_t i = 0; i < rows; i++) {                                                                   \
      type *to = (type *)(y + i * ys);                                                                     \
      for (int64_t j = 0; j < columns; j++) to[j] = tile[j][i];                                            \
    }                                                                                                      \
  }

/* y[i][j] = x[j][i] with rows contiguous on both sides; ys and xs are the strides of the other dimension. */
static void turn_tile(char *y, int64_t ys, const char *x, int64_t xs, int64_t rows, int64_t columns, int64_t size) {
  switch (size) {
  case 1: TURN(uint8_t) break;
  case 2: TURN(uint16_t) break;
  case 4: TURN(uint32_t) break;
  default: TURN(uint64_t) break;
  }
}

/* The dimension along which x is contiguous, when it is not the innermost one, along which y is; else -1. */
static int turned_dim(const ln_loop *loop, int64_t size) {
  int last = loop->ndim - 1;
  if (loop->stride[0][last] != size || loop->shape[last] < 8) return -1;
  for (int d = last - 1; d >= 0; d--)
    if (loop->stride[1][d] == size && loop->shape[d] >= 8) return d;
  return -1;
}

static void turn(const ln_loop *loop, int d, int64_t size) {
  int last = loop->ndim - 1;
  int64_t across = (loop->shape[d] + TILE - 1) / TILE, along = (loop->shape[last] + TILE - 1) / TILE;
  int64_t planes = loop->numel / (loop->shape[d] * loop->shape[last]);
  LN_SHARE(ln_cpu_threads(loop->numel, LN_GRAIN_LIGHT), t, planes * across * along, 1, {
    int64_t j = t % along * TILE, i = t / along % across * TILE, rest = t / (along * across);
    char *p[2] = {loop->data[0] + i * loop->stride[0][d] + j * size, loop->data[1] + i * size + j * loop->stride[1][last]};
    for (int k = last - 1; k >= 0; k--) {
      if (k == d) continue;
      for (int o = 0; o < 2; o++) p[o] += rest % loop->shape[k] * loop->stride[o][k];
      rest /= loop->shape[k];
    }
    int64_t rows = loop->shape[d] - i < TILE ? loop->shape[d] - i : TILE, columns = loop->shape[last] - j < TILE ? loop->shape[last] - j : TILE;
    turn_tile(p[0], loop->stride[0][d], p[1], loop->stride[1][last], rows, columns, size);
  });
}

/* -- Converting -- */

/* One run; memory that is of the compute type itself needs no buffer. */
static void convert_run(const work *w, int64_t n, char *y, const char *x) {
  const int *dtype = w->loop->dtype;
  int64_t sy = w->stride[0], sx = w->stride[1], item = ln_cpu_size_of(w->type), LN_ALIGN buffer[LN_BUFFER];
  if (dtype[1] == w->type && sx == item) {
    w->typed->store(y, sy, dtype[0], n, x);
  } else if (dtype[0] == w->type && sy == item) {
    w->typed->load(x, sx, dtype[1], n, y);
  } else {
    for (int64_t done = 0; done < n; done += LN_BUFFER) {
      int64_t m = n - done < LN_BUFFER ? n - done : LN_BUFFER;
      w->typed->load(x + done * sx, sx, dtype[1], m, buffer);
      w->typed->store(y + done * sy, sy, dtype[0], m, buffer);
    }
  }
}

static void convert(void *context, int64_t rows, int64_t n, char *const *p) {
  const work *w = context;
  const int *dtype = w->loop->dtype;
  int64_t LN_ALIGN buffer[LN_BUFFER], pack = LN_BUFFER / n;
  if (rows == 1 || pack < 2) {
    for (int64_t r = 0; r < rows; r++) convert_run(w, n, p[0] + r * w->row_stride[0], p[1] + r * w->row_stride[1]);
    return;
  }
  for (int64_t r = 0; r < rows; r += pack) {
    int64_t m = rows - r < pack ? rows - r : pack;
    w->typed->load_rows(p[1] + r * w->row_stride[1], w->row_stride[1], w->stride[1], dtype[1], m, n, buffer);
    w->typed->store_rows(p[0] + r * w->row_stride[0], w->row_stride[0], w->stride[0], dtype[0], m, n, buffer);
  }
}

const char *ln_cpu_convert(const ln_loop *loop) {
  static const int type_dtype[] = {LN_FLOAT32, LN_FLOAT64, LN_INT64};
  int to = loop->dtype[0], from = loop->dtype[1], last = loop->ndim - 1;
  bool whole = ln_cpu_type_of(to) == 2 && ln_cpu_type_of(from) == 2;
  bool wide = to == LN_FLOAT64 || from == LN_FLOAT64 || ln_cpu_type_of(to) == 2;
  int type = whole ? 2 : wide ? 1 : 0, turned = to == from ? turned_dim(loop, ln_cpu_size_of(to)) : -1;
  work w = {.loop = loop, .typed = ln_cpu_typed_now[type], .type = type_dtype[type], .size = ln_cpu_size_of(to)};
  for (int k = 0; k < 2; k++) w.stride[k] = loop->stride[k][last], w.row_stride[k] = ln_row_stride(loop, k);
  if (turned >= 0)
    turn(loop, turned, w.size);
  else
    ln_cpu_walk_rows(loop, LN_GRAIN_LIGHT, to == from ? move : convert, &w);
  return NULL;
}
