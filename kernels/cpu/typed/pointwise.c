/* pointwise.c - the elementwise rows of ops.def as loops, for one compute type and instruction set.
 *
 * Every loop runs over a multiple of LN_LANES elements. What is not contiguous memory of the compute type, and the last partial vector, passes
 * through buffers, so that an element meets the same instructions at every position, in every layout, on every number of threads. */
#include "../threads.h"

#include "../../formula.h"

typedef void (*block_fn)(ln_t *y, const ln_t *const *in, int64_t n, const double *at);

/* One loop: `operands` declares the names of the formula at element i. */
#define BLOCK(function, inputs, attrs, operands, formula)                              \
  static void function(ln_t *y_, const ln_t *const *in, int64_t n, const double *at) { \
    (void)at;                                                                          \
    attrs n &= ~(int64_t)(LN_LANES - 1);                                               \
    LN_INDEPENDENT                                                                     \
    for (int64_t i = 0; i < n; i++) { operands y_[i] = (ln_t)(formula); }              \
  }
#define INPUT(k) in[k][i]
#define ENTRY(function) function
#define ROW(cost, ...) {{__VA_ARGS__}, LN_GRAIN_##cost},
#include "../../rows.h"

typedef struct row {
  block_fn pass[4];
  int64_t grain;
} row;

static const row rows[] = {
#include "../../../lib/ops.def"
};

/* -- Driving a loop over operands of any layout and dtype -- */

typedef struct work {
  const ln_loop *loop;
  block_fn fn;
  const double *at;
  bool direct[LN_LOOP_OPERANDS]; /* contiguous memory of the compute type */
  bool all_direct;
} work;

typedef ln_t buffers[LN_LOOP_OPERANDS][LN_BUFFER];

/* m elements (at most LN_BUFFER) through buffers where an operand, or the end of the run, asks for one. */
static void run_block(const work *w, buffers buffer, int64_t done, int64_t m, char *const *p) {
  const ln_loop *loop = w->loop;
  const ln_t *in[LN_LOOP_OPERANDS];
  int last = loop->ndim - 1;
  int64_t padded = (m + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1);
  for (int k = 1; k < loop->n_operands; k++) {
    int64_t stride = loop->stride[k][last];
    in[k - 1] = buffer[k];
    if (w->direct[k] && padded == m) {
      in[k - 1] = (const ln_t *)(p[k] + done * stride);
    } else if (stride) {
      LN_FN(load)(p[k] + done * stride, stride, loop->dtype[k], m, buffer[k]);
      for (int64_t i = m; i < padded; i++) buffer[k][i] = 0;
    }
  }
  char *y = p[0] + done * loop->stride[0][last];
  if (w->direct[0] && padded == m) {
    w->fn((ln_t *)y, in, padded, w->at);
  } else {
    w->fn(buffer[0], in, padded, w->at);
    LN_FN(store)(y, loop->stride[0][last], loop->dtype[0], m, buffer[0]);
  }
}

static void run(void *context, int64_t n, char *const *p) {
  const work *w = context;
  const ln_loop *loop = w->loop;
  int64_t done = 0;
  if (w->all_direct) {
    const ln_t *in[LN_LOOP_OPERANDS];
    for (int k = 1; k < loop->n_operands; k++) in[k - 1] = (const ln_t *)p[k];
    done = n & ~(int64_t)(LN_LANES - 1);
    if (done) w->fn((ln_t *)p[0], in, done, w->at);
    if (done == n) return;
  }
  LN_ALIGN buffers buffer;
  int64_t widest = n < LN_BUFFER ? (n + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1) : LN_BUFFER;
  for (int k = 1; k < loop->n_operands; k++) /* what repeats is loaded once */
    if (loop->stride[k][loop->ndim - 1] == 0) LN_FN(load)(p[k], 0, loop->dtype[k], widest, buffer[k]);
  for (; done < n; done += LN_BUFFER) run_block(w, buffer, done, n - done < LN_BUFFER ? n - done : LN_BUFFER, p);
}

const char *LN_FN(pointwise)(const ln_pointwise *p) {
  const ln_loop *loop = &p->loop;
  work w = {.loop = loop, .fn = rows[p->row].pass[p->pass], .at = p->attrs, .all_direct = true};
  if (!w.fn) return "not defined for this dtype";
  for (int k = 0; k < loop->n_operands; k++) {
    w.direct[k] = loop->dtype[k] == LN_T_DTYPE && loop->stride[k][loop->ndim - 1] == (int64_t)sizeof(ln_t);
    w.all_direct = w.all_direct && w.direct[k];
  }
  ln_cpu_walk(loop, rows[p->row].grain, run, &w);
  return NULL;
}
