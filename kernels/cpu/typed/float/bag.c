/* bag.c - sums, means and maxima of bags of rows by index, and products of rows. For one compute type and instruction set.
 *
 * A bag is computed a block of columns at a time, whose results stay in registers or in the first cache while the rows pass by. */
#include "../../cpu.h"

#define COLUMNS (256 / (int64_t)sizeof(ln_t)) /* of a block: as many as stay in registers */
#define AHEAD 8                               /* rows that are fetched before they are needed */

/* Columns of any alignment. */
typedef ln_t part __attribute__((vector_size(64), aligned(sizeof(ln_t)), may_alias));

typedef struct bag {
  int64_t first, end; /* of ids */
} bag;

static bag bag_at(const ln_bag *w, int64_t b) {
  return w->offsets ? (bag){w->offsets[b], w->offsets[b + 1]} : (bag){b * w->bag_size, (b + 1) * w->bag_size};
}

/* m elements of a row in compute type: where they stand, or converted into `room`. */
static inline const ln_t *columns_of(const char *row, int dtype, int64_t m, ln_t *room) {
  if (dtype == LN_T_DTYPE) return (const ln_t *)row;
  LN_FN(load)(row, ln_cpu_size_of(dtype), dtype, m, room);
  return room;
}

static int64_t counted(const ln_bag *w, bag b) {
  int64_t n = 0;
  for (int64_t i = b.first; i < b.end; i++) n += w->ids[i] != w->skip;
  return n;
}

/* Whole blocks of this compute type. `plain`: no row is skipped or scaled. */
static inline __attribute__((always_inline)) void add_blocks(const ln_bag *w, bag b, const char *table, ln_t *restrict sum, bool plain) {
  const ln_t *scale = w->scale;
  const int64_t *ids = w->ids, bytes = w->width * (int64_t)sizeof(ln_t), last = w->n - 1;
  part s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
  for (int64_t i = b.first; i < b.end; i++) {
    const char *later = table + ids[i + AHEAD < last ? i + AHEAD : last] * bytes;
    for (int line = 0; line < 4; line++) __builtin_prefetch(later + 64 * line);
    if (!plain && ids[i] == w->skip) continue;
    const part *x = (const part *)(table + ids[i] * bytes);
    if (plain) {
      s0 += x[0];
      s1 += x[1];
      s2 += x[2];
      s3 += x[3];
      continue;
    }
    const ln_t s = scale ? scale[i] : 1;
    s0 += s * x[0];
    s1 += s * x[1];
    s2 += s * x[2];
    s3 += s * x[3];
  }
  const part all[4] = {s0, s1, s2, s3};
  memcpy(sum, all, sizeof all);
}

static void add_rows(const ln_bag *w, bag b, const char *table, int64_t m, ln_t *restrict sum) {
  const ln_t *scale = w->scale;
  const int64_t bytes = w->width * ln_cpu_size_of(w->dtype);
  ln_t LN_ALIGN room[COLUMNS];
  for (int64_t i = b.first; i < b.end; i++) {
    if (w->ids[i] == w->skip) continue;
    const ln_t *x = columns_of(table + w->ids[i] * bytes, w->dtype, m, room);
    const ln_t s = scale ? scale[i] : 1;
    for (int64_t c = 0; c < m; c++) sum[c] += s * x[c];
  }
}

/* The first of equal ones stays; so does a NaN that comes first, as in PyTorch. */
static void largest_rows(const ln_bag *w, bag b, int64_t column, int64_t m, ln_t *restrict top, int64_t *restrict best) {
  const int64_t item = ln_cpu_size_of(w->dtype);
  ln_t LN_ALIGN room[COLUMNS];
  for (int64_t i = b.first, seen = 0; i < b.end; i++) {
    int64_t at = w->ids[i] * w->width + column;
    if (w->ids[i] == w->skip) continue;
    const ln_t *x = columns_of(w->in + at * item, w->dtype, m, room);
    for (int64_t c = 0; c < m; c++) {
      if (seen && !(x[c] > top[c])) continue;
      top[c] = x[c];
      best[c] = at + c;
    }
    seen = 1;
  }
}

static void block(const ln_bag *w, int64_t b, bag at, int64_t count, int64_t column, int64_t m) {
  const int64_t item = ln_cpu_size_of(w->dtype);
  ln_t LN_ALIGN y[COLUMNS] = {0};
  int64_t best[COLUMNS];
  if (w->mode == LN_BAG_MAX) {
    for (int64_t c = 0; c < m; c++) best[c] = -1;
    largest_rows(w, at, column, m, y, best);
    if (w->best) memcpy(w->best + b * w->width + column, best, sizeof *best * (size_t)m);
  } else if (m == COLUMNS && w->dtype == LN_T_DTYPE) {
    if (w->skip < 0 && !w->scale)
      add_blocks(w, at, w->in + column * item, y, true);
    else
      add_blocks(w, at, w->in + column * item, y, false);
  } else {
    add_rows(w, at, w->in + column * item, m, y);
  }
  if (w->mode == LN_BAG_MEAN && count > 0)
    for (int64_t c = 0; c < m; c++) y[c] /= (ln_t)count;
  LN_FN(store)(w->out + (b * w->width + column) * item, item, w->dtype, m, y);
}

static void note(const ln_bag *w, int64_t b, bag at, int64_t count) {
  for (int64_t i = at.first; w->bag_of && i < at.end; i++) w->bag_of[i] = b;
  for (int64_t i = at.first; w->share && i < at.end; i++) ((ln_t *)w->share)[i] = count ? 1 / (ln_t)count : 0;
}

const char *LN_FN(bag)(const ln_bag *w) {
  int threads = ln_cpu_threads(w->n * w->width, LN_GRAIN_LIGHT);
  LN_SHARE(threads, b, w->bags, 1, {
    bag at = bag_at(w, b);
    int64_t count = w->mode == LN_BAG_MEAN ? counted(w, at) : 0;
    note(w, b, at, count);
    for (int64_t column = 0; column < w->width; column += COLUMNS)
      block(w, b, at, count, column, w->width - column < COLUMNS ? w->width - column : COLUMNS);
  });
  return NULL;
}

static ln_t dot(const char *a, const char *b, int dtype, int64_t n) {
  ln_t LN_ALIGN room[2][COLUMNS];
  ln_t LN_ALIGN lanes[LN_LANES] = {0};
  const int64_t item = ln_cpu_size_of(dtype);
  ln_t sum = 0;
  for (int64_t done = 0; done < n; done += COLUMNS) {
    int64_t m = n - done < COLUMNS ? n - done : COLUMNS, c = 0;
    const ln_t *x = columns_of(a + done * item, dtype, m, room[0]), *y = columns_of(b + done * item, dtype, m, room[1]);
    for (; c + LN_LANES <= m; c += LN_LANES)
      for (int k = 0; k < LN_LANES; k++) lanes[k] += x[c + k] * y[c + k];
    for (; c < m; c++) sum += x[c] * y[c];
  }
  for (int k = 0; k < LN_LANES; k++) sum += lanes[k];
  return sum;
}

const char *LN_FN(take_dot)(const ln_take *t) {
  const int64_t item = ln_cpu_size_of(t->dtype), bytes = t->width * item;
  LN_SHARE(ln_cpu_threads(t->n * t->width, LN_GRAIN_LIGHT), i, t->n, 1, {
    ln_t y = dot(t->in + t->ids[i] * bytes, t->with + (t->from ? t->from[i] : i) * bytes, t->dtype, t->width);
    LN_FN(store)(t->out + i * item, item, t->dtype, 1, &y);
  });
  return NULL;
}
