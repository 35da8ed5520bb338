/* sort.c - rows in order. An element becomes an item, a key whose order as an unsigned number is that of the elements and its position, and the items
 * are sorted by key from the lowest byte up, so that equal elements keep their order. Where few places of the order are asked for, the bytes are looked
 * at from the highest down first, and only items that may come there are kept. It is compiled once: keys are whole numbers. */
#include "../search.h"
#include "cpu.h"

#include <stdlib.h>

enum { SHORT = 24, DIGITS = 256, SHARES = 64 };

/* Items of keys of 32 bits, in one word above their positions. */
typedef uint64_t narrow;
/* Items of 64 bits. */
typedef struct wide {
  uint64_t key, at;
} wide;

static inline uint64_t narrow_key(narrow i) { return i >> 32; }
static inline int64_t narrow_at(narrow i) { return (int64_t)(uint32_t)i; }
static inline narrow narrow_of(uint64_t key, int64_t at) { return key << 32 | (uint64_t)at; }
static inline bool narrow_before(narrow a, narrow b) { return a < b; }
static inline uint64_t wide_key(wide i) { return i.key; }
static inline int64_t wide_at(wide i) { return (int64_t)i.at; }
static inline wide wide_of(uint64_t key, int64_t at) { return (wide){key, (uint64_t)at}; }
static inline bool wide_before(wide a, wide b) { return a.key < b.key || (a.key == b.key && a.at < b.at); }

/* The counts of each thread's part, by digit and then by part, as the places where their items go. */
static void places_of(int64_t (*counts)[DIGITS], int parts) {
  int64_t sum = 0;
  for (int d = 0; d < DIGITS; d++)
    for (int p = 0; p < parts; p++) {
      int64_t n = counts[p][d];
      counts[p][d] = sum;
      sum += n;
    }
}

static inline void put(char *y, int64_t to, const char *x, int item) {
  switch (item) {
  case 1: y[to] = *x; return;
  case 2: memcpy(y + 2 * to, x, 2); return;
  case 4: memcpy(y + 4 * to, x, 4); return;
  default: memcpy(y + 8 * to, x, 8);
  }
}

/* For items of either kind: `item` names the type and the functions above.
 *
 * item_sort       n items, of whose keys only the bits of `varying` differ; `other` is as large. Where the sorted ones are.
 * item_select     drops items that come neither at place *from nor at those up to *from + count - 1; how many stay, in their order, *from counting
 *                 among them. */
#define ITEMS(item)                                                                                                    \
  static void item##_insert(item *x, int64_t n) {                                                                      \
    for (int64_t i = 1; i < n; i++) {                                                                                  \
      item v = x[i];                                                                                                   \
      int64_t k = i;                                                                                                   \
      for (; k > 0 && item##_before(v, x[k - 1]); k--) x[k] = x[k - 1];                                                \
      x[k] = v;                                                                                                        \
    }                                                                                                                  \
  }                                                                                                                    \
  static void item##_pass(const item *x, item *y, int64_t n, int shift, int parts) {                                   \
    int64_t counts[SHARES][DIGITS], part = (n + parts - 1) / parts;                                                    \
    LN_SHARE(parts, p, parts, 1, {                                                                                     \
      int64_t end = (p + 1) * part < n ? (p + 1) * part : n;                                                           \
      memset(counts[p], 0, sizeof counts[p]);                                                                          \
      for (int64_t i = p * part; i < end; i++) counts[p][item##_key(x[i]) >> shift & (DIGITS - 1)]++;                  \
    });                                                                                                                \
    places_of(counts, parts);                                                                                          \
    LN_SHARE(parts, p, parts, 1, {                                                                                     \
      int64_t end = (p + 1) * part < n ? (p + 1) * part : n;                                                           \
      for (int64_t i = p * part; i < end; i++) y[counts[p][item##_key(x[i]) >> shift & (DIGITS - 1)]++] = x[i];        \
    });                                                                                                                \
  }                                                                                                                    \
  static item *item##_sort(item *x, item *other, int64_t n, uint64_t varying, int parts) {                             \
    if (n <= SHORT) {                                                                                                  \
      item##_insert(x, n);                                                                                             \
      return x;                                                                                                        \
    }                                                                                                                  \
    for (int shift = 0; shift < 64 && varying >> shift; shift += 8) {                                                  \
      if (!(varying >> shift & (DIGITS - 1))) continue;                                                                \
      item##_pass(x, other, n, shift, parts);                                                                          \
      item *swap = x;                                                                                                  \
      x = other;                                                                                                       \
      other = swap;                                                                                                    \
    }                                                                                                                  \
    return x;                                                                                                          \
  }                                                                                                                    \
  static int64_t item##_select(item *x, int64_t n, uint64_t varying, int64_t *from, int64_t count) {                   \
    for (int shift = 56; shift >= 0 && n > 2 * count + SHORT; shift -= 8) {                                            \
      int64_t counts[DIGITS] = {0}, before = 0, kept = 0;                                                              \
      uint64_t low = 0, high;                                                                                          \
      if (!(varying >> shift & (DIGITS - 1))) continue;                                                                \
      for (int64_t i = 0; i < n; i++) counts[item##_key(x[i]) >> shift & (DIGITS - 1)]++;                              \
      for (; before + counts[low] <= *from; low++) before += counts[low];                                              \
      int64_t upto = before + counts[low];                                                                             \
      for (high = low; upto < *from + count; upto += counts[++high]) {}                                                \
      for (int64_t i = 0; i < n; i++) {                                                                                \
        uint64_t digit = item##_key(x[i]) >> shift & (DIGITS - 1);                                                     \
        x[kept] = x[i];                                                                                                \
        kept += (digit >= low) & (digit <= high);                                                                      \
      }                                                                                                                \
      n = kept;                                                                                                        \
      *from -= before;                                                                                                 \
      if (low != high) break;                                                                                          \
    }                                                                                                                  \
    return n;                                                                                                          \
  }                                                                                                                    \
  /* One row; the two rooms have `size` items each. */                                                                 \
  static void item##_row(const ln_order *w, int64_t row, item *x, item *other, uint64_t least, int parts) {            \
    const int64_t step = w->inner * ln_cpu_size_of(w->dtype), outer = row / w->inner, inner = row % w->inner;          \
    const char *in = w->x + outer * w->size * step + inner * ln_cpu_size_of(w->dtype);                                 \
    uint64_t varying = 0, first = ln_key(in, w->dtype, w->descending), varied[SHARES] = {0};                           \
    int64_t from = w->from, n = w->size, part = (n + parts - 1) / parts;                                               \
    LN_SHARE(parts, p, parts, 1, {                                                                                     \
      int64_t end = (p + 1) * part < n ? (p + 1) * part : n;                                                           \
      for (int64_t i = p * part; i < end; i++) {                                                                       \
        uint64_t key = ln_key(in + i * step, w->dtype, w->descending);                                                 \
        varied[p] |= key ^ first;                                                                                      \
        x[i] = item##_of(key - least, i);                                                                              \
      }                                                                                                                \
    });                                                                                                                \
    for (int p = 0; p < parts; p++) varying |= varied[p];                                                              \
    if (least) varying = ~(uint64_t)0 >> 32;                                                                           \
    if (w->count < n) n = item##_select(x, n, varying, &from, w->count);                                               \
    x = item##_sort(x, other, n, varying, parts);                                                                      \
    LN_SHARE(parts, i, w->count, 1, {                                                                                  \
      int64_t at = item##_at(x[from + i]), to = (outer * w->count + i) * w->inner + inner;                             \
      if (w->values) put(w->values, to, in + at * step, ln_cpu_size_of(w->dtype));                                     \
      if (w->indices) w->indices[to] = at;                                                                             \
    });                                                                                                                \
  }                                                                                                                    \
  static const char *item##_rows(const ln_order *w, int threads, uint64_t least) {                                     \
    const int64_t rows = w->outer * w->inner;                                                                          \
    const int lines = rows < threads ? 1 : threads; /* a few long rows are sorted by all threads, one after another */ \
    item *room = malloc(sizeof *room * 2 * (size_t)w->size * (size_t)lines);                                           \
    if (!room) return LN_OUT_OF_MEMORY;                                                                                \
    LN_SHARE(lines, t, lines, 1, {                                                                                     \
      item *mine = room + 2 * w->size * t;                                                                             \
      for (int64_t row = rows * t / lines; row < rows * (t + 1) / lines; row++)                                        \
        item##_row(w, row, mine, mine + w->size, least, lines > 1 ? 1 : threads);                                      \
    });                                                                                                                \
    free(room);                                                                                                        \
    return NULL;                                                                                                       \
  }

ITEMS(narrow)
ITEMS(wide)

/* Do the keys of 64 bits span no more than 32? *least: the smallest, 1 at least. */
static bool fits_narrow(const ln_order *w, uint64_t *least) {
  uint64_t low = UINT64_MAX, high = 0;
  const int64_t n = w->outer * w->size * w->inner;
  for (int64_t i = 0; i < n; i++) {
    uint64_t key = ln_key(w->x + 8 * i, w->dtype, w->descending);
    low = key < low ? key : low;
    high = key > high ? key : high;
  }
  *least = low ? low : 1;
  return low && high - low <= UINT32_MAX;
}

const char *ln_cpu_sort(const ln_order *w) {
  uint64_t least = 0;
  int threads = ln_cpu_threads(w->outer * w->size * w->inner, LN_GRAIN_HEAVY);
  if (threads > SHARES) threads = SHARES;
  if (w->outer * w->inner * w->count == 0) return NULL;
  bool small = w->size <= UINT32_MAX && (ln_cpu_size_of(w->dtype) < 8 || fits_narrow(w, &least));
  return small ? narrow_rows(w, threads, least) : wide_rows(w, threads, 0);
}

/* -- Searching -- */

/* A loop for each dtype. */
#define SEARCH(type, bytes) \
  case type: LN_SHARE(threads, i, w->rows * w->m, 1, { w->y[i] = ln_search_place(w, i, type, bytes); }); return NULL;

const char *ln_cpu_search(const ln_search *w) {
  const int threads = ln_cpu_threads(w->rows * w->m, LN_GRAIN_HEAVY);
  switch (w->dtype) {
    SEARCH(LN_FLOAT32, 4)
    SEARCH(LN_FLOAT64, 8)
    SEARCH(LN_FLOAT16, 2)
    SEARCH(LN_BFLOAT16, 2)
    SEARCH(LN_INT64, 8)
    SEARCH(LN_INT32, 4)
    SEARCH(LN_INT16, 2)
    SEARCH(LN_INT8, 1)
  default: LN_SHARE(threads, i, w->rows * w->m, 1, { w->y[i] = ln_search_place(w, i, LN_UINT8, 1); }); return NULL;
  }
}
