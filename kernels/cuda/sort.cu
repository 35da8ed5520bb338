/* sort.cu - pairs sorted by key, equal keys in their order: a radix sort from the lowest digit up. In every pass the parts of the input count their
 * digits, the counts become positions (scan.cu), and each part writes its pairs there. */
#include "cuda.h"

namespace cuda::sort {

enum { DIGIT_BITS = 4, DIGITS = 1 << DIGIT_BITS };
const int64_t PART = 2048; /* pairs */

/* Counts of all digits, 16 bits each: those of a team's threads fit. */
struct counts {
  uint64_t four[DIGITS / 4];
};

LN_DEVICE counts one(int digit) {
  counts c;
  LN_UNROLL for (int k = 0; k < DIGITS / 4; k++) c.four[k] = k == digit / 4 ? (uint64_t)1 << digit % 4 * 16 : 0;
  return c;
}

LN_DEVICE counts none() { return one(-DIGITS); }

LN_DEVICE int64_t count_of(const counts &c, int digit) {
  uint64_t four = 0;
  LN_UNROLL for (int k = 0; k < DIGITS / 4; k++) four = k == digit / 4 ? c.four[k] : four;
  return (int64_t)(four >> digit % 4 * 16 & 0xffff);
}

struct add_counts {
  LN_DEVICE counts operator()(const counts &a, const counts &b) const {
    counts c;
    LN_UNROLL for (int k = 0; k < DIGITS / 4; k++) c.four[k] = a.four[k] + b.four[k];
    return c;
  }
};

/* found[digit * parts + part] */
struct count_digits {
  const uint64_t *keys;
  int64_t n, parts, *found;
  int shift;
  template <class Team> LN_DEVICE void operator()(int64_t part, const Team &team) const {
    counts c = none();
    int64_t end = (part + 1) * PART < n ? (part + 1) * PART : n;
    for (int64_t i = part * PART + team.rank(); i < end; i += team.size()) c = add_counts()(c, one((int)(keys[i] >> shift) & (DIGITS - 1)));
    c = team.all(c, add_counts());
    for (int d = team.rank(); d < DIGITS; d += team.size()) found[d * parts + part] = count_of(c, d);
  }
};

/* Pair i goes behind all pairs of lower digits, those of its own in earlier parts and those of its own before it in this one. */
struct move_pairs {
  const uint64_t *keys;
  uint64_t *keys_out;
  const int64_t *order;
  int64_t *order_out, n, parts;
  const int64_t *before;
  int shift;
  template <class Team> LN_DEVICE void operator()(int64_t part, const Team &team) const {
    counts so_far = none();
    int64_t end = (part + 1) * PART < n ? (part + 1) * PART : n;
    for (int64_t first = part * PART; first < end; first += team.size()) {
      int64_t i = first + team.rank();
      int digit = i < end ? (int)(keys[i] >> shift) & (DIGITS - 1) : 0;
      counts total, mine = team.before(i < end ? one(digit) : none(), so_far, add_counts(), &total);
      if (i < end) {
        int64_t to = before[digit * parts + part] + count_of(mine, digit);
        keys_out[to] = keys[i];
        order_out[to] = order[i];
      }
      so_far = total;
    }
  }
};

} // namespace cuda::sort

#ifdef LN_HOST_CODE
#include "kernels.h"

size_t ln_sort_bytes(int64_t n) {
  int64_t parts = (n + cuda::sort::PART - 1) / cuda::sort::PART;
  return sizeof(int64_t) * (size_t)(4 * n + cuda::sort::DIGITS * parts + 1);
}

void ln_sort_begin(ln_sort *s, int64_t n, void *memory) {
  s->n = n;
  s->keys = (uint64_t *)memory;
  s->order = (int64_t *)(s->keys + 2 * n);
}

const char *ln_sort_run(ln_sort *s, uint64_t largest, int device) {
  uint64_t *keys[2] = {s->keys, s->keys + s->n};
  int64_t *order[2] = {s->order, s->order + s->n}, parts = (s->n + cuda::sort::PART - 1) / cuda::sort::PART, *found = order[1] + s->n;
  int now = 0;
  for (int shift = 0; shift < 64 && largest >> shift; shift += cuda::sort::DIGIT_BITS, now = !now) {
    LN_GPU_TRY(ln_teams(device, parts, s->n < cuda::sort::PART ? s->n : cuda::sort::PART, false,
                        cuda::sort::count_digits{keys[now], s->n, parts, found, shift}));
    LN_GPU_TRY(ln_gpu_sums_before(device, found, cuda::sort::DIGITS * parts));
    LN_GPU_TRY(ln_teams(device, parts, s->n < cuda::sort::PART ? s->n : cuda::sort::PART, false,
                        cuda::sort::move_pairs{keys[now], keys[!now], order[now], order[!now], s->n, parts, found, shift}));
  }
  s->keys = keys[now];
  s->order = order[now];
  return NULL;
}
#endif
