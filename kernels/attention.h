/* attention.h - what the kernels of every device know of attention: the products of a block of queries. */
#ifndef LUNETTE_ATTENTION_H
#define LUNETTE_ATTENTION_H

#include "kernels.h"

#include <string.h>

/* Queries [row, row + rows) of `heads` heads from `head` on of batch n, with the first `columns` keys; several heads only where each has keys of its
 * own. Scores of a block lie as [heads, rows, width]. */
typedef struct ln_attention_block {
  int64_t n, head, heads, row, rows, columns, width;
} ln_attention_block;

/* Where a row begins in an operand [n, heads, rows, size], in elements. */
static inline int64_t ln_attention_at(const int64_t *stride, int64_t n, int64_t head, int64_t row) {
  return n * stride[0] + head * stride[1] + row * stride[2];
}
static inline int64_t ln_attention_group(const ln_attention *w, int64_t head) { return head / (w->heads / w->groups); }

/* Keys that a block needs: behind the last query's own no key counts where attention is causal. */
static inline ln_attention_block ln_attention_block_at(const ln_attention *w, int64_t n, int64_t head, int64_t heads, int64_t row, int64_t rows) {
  ln_attention_block b = {n, head, heads, row, row + rows < w->l ? rows : w->l - row, w->s, w->s};
  if (w->causal && b.row + b.rows < w->s) b.columns = b.row + b.rows;
  return b;
}

static inline ln_gemm ln_attention_product(const ln_attention *w, const ln_attention_block *b, int64_t m, int64_t n, int64_t k, double alpha) {
  ln_gemm g;
  memset(&g, 0, sizeof g);
  g.dtype = w->dtype;
  g.batch = b->heads;
  g.m = m;
  g.n = n;
  g.k = k;
  g.alpha = alpha;
  return g;
}

/* scores = alpha x y^T: x the block's rows of an operand like the queries, y the keys or values. */
static inline ln_gemm ln_attention_scores(const ln_attention *w, const ln_attention_block *b, const char *x, const int64_t *x_stride, const char *y,
                                          const int64_t *y_stride, int64_t size, double alpha, int item, char *scores) {
  ln_gemm g = ln_attention_product(w, b, b->rows, b->columns, size, alpha);
  g.a = x + ln_attention_at(x_stride, b->n, b->head, b->row) * item, g.a_row = x_stride[2], g.a_col = 1, g.a_batch = x_stride[1];
  g.b = y + ln_attention_at(y_stride, b->n, ln_attention_group(w, b->head), 0) * item, g.b_row = 1, g.b_col = y_stride[2], g.b_batch = y_stride[1];
  g.c = scores, g.c_row = b->width, g.c_batch = b->rows * b->width;
  return g;
}

/* rows of x = alpha scores y. */
static inline ln_gemm ln_attention_rows(const ln_attention *w, const ln_attention_block *b, const char *scores, const char *y,
                                        const int64_t *y_stride, char *x, const int64_t *x_stride, int64_t size, double alpha, int item) {
  ln_gemm g = ln_attention_product(w, b, b->rows, size, b->columns, alpha);
  g.a = scores, g.a_row = b->width, g.a_col = 1, g.a_batch = b->rows * b->width;
  g.b = y + ln_attention_at(y_stride, b->n, ln_attention_group(w, b->head), 0) * item, g.b_row = y_stride[2], g.b_col = 1, g.b_batch = y_stride[1];
  g.c = x + ln_attention_at(x_stride, b->n, b->head, b->row) * item, g.c_row = x_stride[2], g.c_batch = x_stride[1];
  return g;
}

/* y += alpha scores^T x: of the keys or values. */
static inline ln_gemm ln_attention_columns(const ln_attention *w, const ln_attention_block *b, const char *scores, const char *x,
                                           const int64_t *x_stride, char *y, const int64_t *y_stride, int64_t size, double alpha, int item) {
  ln_gemm g = ln_attention_product(w, b, b->columns, size, b->rows, alpha);
  g.a = scores, g.a_row = 1, g.a_col = b->width, g.a_batch = b->rows * b->width;
  g.b = x + ln_attention_at(x_stride, b->n, b->head, b->row) * item, g.b_row = x_stride[2], g.b_col = 1, g.b_batch = x_stride[1];
  g.c = y + ln_attention_at(y_stride, b->n, ln_attention_group(w, b->head), 0) * item, g.c_row = y_stride[2], g.c_batch = y_stride[1];
  g.beta = 1;
  return g;
}

#endif
