/* attention.c - attention without a matrix of scores (after Rabe and Staats, 2021, and Dao et al., 2022), for one float type and instruction set.
 *
 * A block of queries meets all its keys in a buffer of its thread. Backward computes the probabilities once more from the logarithm of their sum, and
 * one thread goes through all blocks of a group of heads, so that the gradients of keys and values are added in a fixed order. */
#include "../../cpu.h"

#include <stdlib.h>

#include "../../../attention.h"
#include "../../../philox.h"
#include "../../../formula.h"

#if LN_IS(LN_TYPE) == LN_IS_f32
#define LOWEST ((ln_t)-87) /* below it exp is nearly the smallest number, and slow */
#else
#define LOWEST ((ln_t)-700)
#endif

/* A thread's buffers: scores and their gradients of a block, a row of a mask. */
typedef struct room {
  ln_t *scores, *slopes, *mask;
} room;

/* Queries of a block: fewer where rows are long, so that a block stays in the cache. */
static int64_t block_rows(const ln_attention *w) { return w->s <= 2048 ? 64 : w->s <= 8192 ? 32 : 16; }

/* -- One row of scores -- */

/* Which row of a block. */
typedef struct place {
  const ln_attention *w;
  int64_t n, head, row;
  int64_t columns, limit; /* in the buffer; of these allowed by causality */
} place;

static place place_of(const ln_attention *w, const ln_attention_block *b, int64_t i) {
  int64_t row = b->row + i;
  return (place){w, b->n, b->head, row, b->columns, w->causal && row + 1 < b->columns ? row + 1 : b->columns};
}

static void add_mask(const place *p, ln_t *x, ln_t *buffer) {
  const ln_attention *w = p->w;
  const int64_t *stride = w->mask_stride;
  const char *row = w->mask + p->n * stride[0] + p->head * stride[1] + p->row * stride[2];
  LN_FN(load)(row, stride[3], w->mask_dtype, p->limit, buffer);
  if (w->mask_dtype == LN_BOOL)
    for (int64_t j = 0; j < p->limit; j++) x[j] = where(eq(buffer[j], 0), -(ln_t)INFINITY, x[j]);
  else
    for (int64_t j = 0; j < p->limit; j++) x[j] += buffer[j];
}

/* x = exp(x - base), 0 behind the limit. */
static void exponentials(const place *p, ln_t *x, ln_t base) {
  LN_INDEPENDENT
  for (int64_t j = 0; j < p->limit; j++) {
    ln_t v = x[j] - base;
    ln_t e = exp(where(lt(v, LOWEST), LOWEST, v));
    x[j] = where(lt(v, LOWEST), 0, e);
  }
  for (int64_t j = p->limit; j < p->columns; j++) x[j] = 0;
}

static ln_t row_max(const ln_t *x, int64_t n) {
  ln_t lane[LN_LANES], top = -(ln_t)INFINITY;
  int64_t i = 0;
  for (int j = 0; j < LN_LANES; j++) lane[j] = top;
  for (; i + LN_LANES <= n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
  for (int j = 0; j < LN_LANES; j++) top = lane[j] > top ? lane[j] : top;
  for (; i < n; i++) top = x[i] > top ? x[i] : top;
  return top;
}

static ln_t row_sum(const ln_t *x, int64_t n) {
  ln_t lane[LN_LANES] = {0}, sum = 0;
  int64_t i = 0;
  for (; i + LN_LANES <= n; i += LN_LANES)
    for (int j = 0; j < LN_LANES; j++) lane[j] += x[i + j];
  for (int j = 0; j < LN_LANES; j++) sum += lane[j];
  for (; i < n; i++) sum += x[i];
  return sum;
}

/* Scores of a row become probabilities; the logarithm of the sum of their exponentials. */
static ln_t probabilities(const place *p, ln_t *x, const room *r) {
  if (p->w->mask) add_mask(p, x, r->mask);
  ln_t top = row_max(x, p->limit), base = top == -(ln_t)INFINITY ? 0 : top;
  exponentials(p, x, base);
  ln_t sum = row_sum(x, p->limit), share = sum == 0 ? 0 : 1 / sum;
  for (int64_t j = 0; j < p->limit; j++) x[j] *= share;
  return sum == 0 ? -(ln_t)INFINITY : base + log(sum);
}

/* y = x with the elements that dropout takes 0, the others scaled. */
static void drop(const place *p, const ln_t *x, ln_t *y) {
  const ln_attention *w = p->w;
  ln_draw_event kept = ln_draw_event_of(w->keep);
  ln_t factor = w->keep > 0 ? (ln_t)(1 / w->keep) : 0;
  uint64_t first = (uint64_t)(((p->n * w->heads + p->head) * w->l + p->row) * w->s);
  for (int64_t j = 0; j < p->columns;) {
    uint64_t at = first + (uint64_t)j;
    ln_block128 words = ln_philox(w->seed, w->offset + at / 4);
    for (int k = (int)(at % 4); k < 4 && j < p->columns; k++, j++) y[j] = x[j] * (ln_draw_happens(kept, words.v[k]) ? factor : 0);
  }
}

/* -- Forward -- */

static const char *forward_block(const ln_attention *w, const ln_attention_block *b, const room *r) {
  ln_gemm product = ln_attention_scores(w, b, w->q, w->q_stride, w->k, w->k_stride, w->e, w->scale, sizeof(ln_t), (char *)r->scores);
  const char *failure = LN_FN(gemm)(&product);
  ln_t *lse = (ln_t *)w->lse + (b->n * w->heads + b->head) * w->l + b->row;
  for (int64_t i = 0; i < b->rows && !failure; i++) {
    place p = place_of(w, b, i);
    lse[i] = probabilities(&p, r->scores + i * b->width, r);
    if (w->keep < 1) drop(&p, r->scores + i * b->width, r->scores + i * b->width);
  }
  if (failure) return failure;
  product = ln_attention_rows(w, b, (char *)r->scores, w->v, w->v_stride, w->out, w->out_stride, w->ev, 1, sizeof(ln_t));
  return LN_FN(gemm)(&product);
}

/* -- Backward -- */

static const ln_t *row_at(const char *data, const int64_t *stride, const place *p) {
  return (const ln_t *)data + ln_attention_at(stride, p->n, p->head, p->row);
}

/* From the scores and the gradients of the probabilities: what the values are weighted with, and in `slopes` the gradients of the scores. */
static void backward_row(const place *p, ln_t *x, ln_t *slope, const room *r) {
  const ln_attention *w = p->w;
  ln_t lse = ((const ln_t *)w->lse)[(p->n * w->heads + p->head) * w->l + p->row], delta = 0;
  const ln_t *out = row_at(w->out, w->out_stride, p), *dout = row_at(w->dout, w->dout_stride, p);
  for (int64_t j = 0; j < w->ev; j++) delta += out[j] * dout[j];
  if (w->mask) add_mask(p, x, r->mask);
  exponentials(p, x, lse == -(ln_t)INFINITY ? 0 : lse);
  if (w->keep < 1) drop(p, slope, slope);
  for (int64_t j = 0; j < p->columns; j++) slope[j] = x[j] * (slope[j] - delta);
  if (w->keep < 1) drop(p, x, x);
}

static const char *backward_block(const ln_attention *w, const ln_attention_block *b, const room *r) {
  const int item = sizeof(ln_t);
  ln_gemm steps[5] = {
    ln_attention_scores(w, b, w->q, w->q_stride, w->k, w->k_stride, w->e, w->scale, item, (char *)r->scores),
    ln_attention_scores(w, b, w->dout, w->dout_stride, w->v, w->v_stride, w->ev, 1, item, (char *)r->slopes),
    ln_attention_columns(w, b, (char *)r->scores, w->dout, w->dout_stride, w->dv, w->dv_stride, w->ev, 1, item),
    ln_attention_columns(w, b, (char *)r->slopes, w->q, w->q_stride, w->dk, w->dk_stride, w->e, w->scale, item),
    ln_attention_rows(w, b, (char *)r->slopes, w->k, w->k_stride, w->dq, w->dq_stride, w->e, w->scale, item),
  };
  const char *failure = NULL;
  for (int k = 0; k < 5 && !failure; k++) {
    failure = LN_FN(gemm)(&steps[k]);
    for (int64_t i = 0; k == 1 && i < b->rows && !failure; i++) {
      place p = place_of(w, b, i);
      backward_row(&p, r->scores + i * b->width, r->slopes + i * b->width, r);
    }
  }
  return failure;
}

/* -- Sharing -- */

typedef const char *(*block_fn)(const ln_attention *w, const ln_attention_block *b, const room *r);

/* Work is shared in items of `heads` heads and `rows` queries, in the buffers of each thread. */
static const char *share(const ln_attention *w, int64_t heads, int64_t rows, block_fn fn) {
  int64_t block = block_rows(w), parts = (w->l + rows - 1) / rows, items = w->n * (w->heads / heads) * parts;
  int64_t size = (block * w->s + 15) & ~(int64_t)15, row = (w->s + 15) & ~(int64_t)15;
  int threads = ln_cpu_threads(w->n * w->heads * w->l * w->s, LN_GRAIN_HEAVY);
  if (threads > items) threads = (int)items;
  ln_t *memory = aligned_alloc(64, (size_t)threads * (size_t)(2 * size + row) * sizeof(ln_t));
  const char *failure = NULL;
  if (!memory) return "out of memory for a block of scores";
  LN_SHARE(threads, i, items, 1, {
    ln_t *own = memory + omp_get_thread_num() * (2 * size + row);
    const room r = {own, own + size, own + 2 * size};
    int64_t per_batch = w->heads / heads * parts, n = i / per_batch, head = i % per_batch / parts * heads, from = i % parts * rows;
    for (int64_t h = head; h < head + heads; h++)
      for (int64_t at = from; at < from + rows && at < w->l; at += block) {
        ln_attention_block b = ln_attention_block_at(w, n, h, 1, at, block);
        const char *answer = fn(w, &b, &r);
        if (answer) __atomic_store_n(&failure, answer, __ATOMIC_RELAXED);
      }
  });
  free(memory);
  return failure;
}

const char *LN_FN(attention)(const ln_attention *w) { return share(w, 1, block_rows(w), forward_block); }

const char *LN_FN(attention_dx)(const ln_attention *w) { return share(w, w->heads / w->groups, w->l, backward_block); }
