/* pointwise.c - the elementwise rows of ops.def as loops, for one compute type and instruction set.
 *
 * Every loop runs over a multiple of LN_LANES elements. What is not contiguous memory of the compute type, and the last partial vector, passes
 * through buffers, so that an element meets the same instructions at every position, in every layout, on every number of threads. */
#include "threads.h"

#include "../formula.h"

typedef void (*block_fn)(ln_t *y, const ln_t *const *in, int64_t n, const double *at);

#define A0
#define A1(n0, d0)                \
  const ln_t n0 = ln_attr(at[0]); \
  (void)n0;
#define A2(n0, d0, n1, d1)                   \
  A1(n0, d0) const ln_t n1 = ln_attr(at[1]); \
  (void)n1;
#define A3(n0, d0, n1, d1, n2, d2)                   \
  A2(n0, d0, n1, d1) const ln_t n2 = ln_attr(at[2]); \
  (void)n2;

/* One loop: `operands` declares the names of the formula at element i. */
#define BLOCK(function, attrs, operands, formula)                                      \
  static void function(ln_t *y_, const ln_t *const *in, int64_t n, const double *at) { \
    (void)at;                                                                          \
    attrs n &= ~(int64_t)(LN_LANES - 1);                                               \
    LN_INDEPENDENT                                                                     \
    for (int64_t i = 0; i < n; i++) { operands y_[i] = (ln_t)(formula); }              \
  }
#define USE(name, k)          \
  const ln_t name = in[k][i]; \
  (void)name;
#define IN_UNARY USE(x, 0)
#define IN_BINARY USE(a, 0) USE(b, 1)
#define IN_TERNARY USE(a, 0) USE(b, 1) USE(c, 2)
#define GRAD_UNARY USE(g, 0) USE(x, 1) USE(y, 2)
#define GRAD_BINARY USE(g, 0) USE(a, 1) USE(b, 2) USE(y, 3)
#define GRAD_TERNARY USE(g, 0) USE(a, 1) USE(b, 2) USE(c, 3) USE(y, 4)
#define OP(...)
#define VIEW(...)

#ifdef LN_INTEGER
#define KEEP_FLOAT(...)
#define KEEP_SAME(...) __VA_ARGS__
#define KEEP_TEST(...) __VA_ARGS__
#define DERIVATIVE(...)
#else
#define KEEP_FLOAT(...) __VA_ARGS__
#define KEEP_SAME(...) __VA_ARGS__
#define KEEP_TEST(...) __VA_ARGS__
#define NONE K(0)
#define DERIVATIVE(...) BLOCK(__VA_ARGS__)
#endif

#define UNARY(name, class, cost, attrs, doc, f, dx, low, high) \
  KEEP_##class(BLOCK(name##_f, attrs, IN_UNARY, f) DERIVATIVE(name##_d0, attrs, GRAD_UNARY, dx))
#define BINARY(name, class, cost, attrs, doc, f, da, db, low, high) \
  KEEP_##class(BLOCK(name##_f, attrs, IN_BINARY, f) DERIVATIVE(name##_d0, attrs, GRAD_BINARY, da) DERIVATIVE(name##_d1, attrs, GRAD_BINARY, db))
#define TERNARY(name, class, cost, attrs, doc, f, da, db, dc, low, high)                                                                           \
  KEEP_##class(BLOCK(name##_f, attrs, IN_TERNARY, f) DERIVATIVE(name##_d0, attrs, GRAD_TERNARY, da) DERIVATIVE(name##_d1, attrs, GRAD_TERNARY, db) \
                 DERIVATIVE(name##_d2, attrs, GRAD_TERNARY, dc))
#include "../../lib/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY

typedef struct row {
  block_fn pass[4];
  int64_t grain;
} row;

#ifdef LN_INTEGER
#define SLOT_FLOAT(...) NULL
#define SLOT_SAME(f) f
#define SLOT_TEST(f) f
#define SLOT_D(f) NULL
#else
#define SLOT_FLOAT(f) f
#define SLOT_SAME(f) f
#define SLOT_TEST(f) f
#define SLOT_D(f) f
#endif
#define UNARY(name, class, cost, ...) {{SLOT_##class(name##_f), SLOT_D(name##_d0), NULL, NULL}, LN_GRAIN_##cost},
#define BINARY(name, class, cost, ...) {{SLOT_##class(name##_f), SLOT_D(name##_d0), SLOT_D(name##_d1), NULL}, LN_GRAIN_##cost},
#define TERNARY(name, class, cost, ...) {{SLOT_##class(name##_f), SLOT_D(name##_d0), SLOT_D(name##_d1), SLOT_D(name##_d2)}, LN_GRAIN_##cost},
static const row rows[] = {
#include "../../lib/ops.def"
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

const char *LN_FN(pointwise)(int row, int pass, const ln_loop *loop, const double *attrs) {
  work w = {.loop = loop, .fn = rows[row].pass[pass], .at = attrs, .all_direct = true};
  if (!w.fn) return "not defined for this dtype";
  for (int k = 0; k < loop->n_operands; k++) {
    w.direct[k] = loop->dtype[k] == LN_T_DTYPE && loop->stride[k][loop->ndim - 1] == (int64_t)sizeof(ln_t);
    w.all_direct = w.all_direct && w.direct[k];
  }
  ln_cpu_walk(loop, rows[row].grain, run, &w);
  return NULL;
}
