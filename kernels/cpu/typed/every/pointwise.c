/* pointwise.c - the elementwise rows of ops.def as loops, for one compute type and instruction set.
 *
 * Every loop runs over a multiple of LN_LANES elements. What is not contiguous memory of the compute type, and the last partial vector, passes
 * through buffers, so that an element meets the same instructions at every position, in every layout, on every number of threads. Short runs are
 * packed: several of them make one block. */
#include "../../threads.h"

#include "../../../formula.h"

typedef void (*block_fn)(ln_t *y, const ln_t *const *in, int64_t n, const double *at);

/* One loop: `operands` declares the names of the formula at element i. The pointers are copied, since bytes that are written might be theirs. */
#define BLOCK(function, inputs, attrs, operands, formula)                               \
  static void function(ln_t *y_, const ln_t *const *in, int64_t n_, const double *at) { \
    (void)at;                                                                           \
    const ln_t *from[inputs];                                                           \
    for (int k = 0; k < inputs; k++) from[k] = in[k];                                   \
    attrs n_ &= ~(int64_t)(LN_LANES - 1);                                               \
    LN_INDEPENDENT                                                                      \
    for (int64_t i = 0; i < n_; i++) { operands y_[i] = (ln_t)(formula); }              \
  }
#define INPUT(k) from[k][i]
#define ENTRY(function) function
#define ROW(cost, ...) {{__VA_ARGS__}, LN_GRAIN_##cost},
#include "../../../rows.h"

typedef struct row {
  block_fn pass[4];
  int64_t grain;
} row;

static const row rows[] = {
#include "../../../../lib/ops.def"
};

/* -- Driving a loop over operands of any layout and dtype -- */

#define BLOCK_SIZE 1024 /* elements of a buffer */
#define SHORT 64        /* a run worth packing, whatever its operands */

typedef struct work {
  const ln_loop *loop;
  block_fn fn;
  const double *at;
  int64_t stride[LN_LOOP_OPERANDS], row_stride[LN_LOOP_OPERANDS];
  bool direct[LN_LOOP_OPERANDS]; /* neighbours lie as in memory of the compute type */
  bool all_direct;
} work;

typedef ln_t buffers[LN_LOOP_OPERANDS][BLOCK_SIZE];

static int64_t padded(int64_t n) { return (n + LN_LANES - 1) & ~(int64_t)(LN_LANES - 1); }

/* `rows` rows of n elements of operand k into its buffer, which then holds whole vectors. */
static void fill(const work *w, ln_t *buffer, int k, int64_t rows, int64_t n, const char *p) {
  LN_FN(load_rows)(p, w->row_stride[k], w->stride[k], w->loop->dtype[k], rows, n, buffer);
  for (int64_t i = rows * n; i < padded(rows * n); i++) buffer[i] = 0;
}

/* One block: operands are read and written in place where they lie as the formula's vectors do, else through buffers. Bit k of `filled`: the
 * buffer of operand k holds what every block of the run reads. */
static void run_block(const work *w, buffers buffer, uint32_t filled, int64_t rows, int64_t n, char *const *p) {
  const ln_t *in[LN_LOOP_OPERANDS];
  bool in_place[LN_LOOP_OPERANDS], whole = rows * n == padded(rows * n);
  for (int k = 0; k < w->loop->n_operands; k++) in_place[k] = whole && w->direct[k] && (rows == 1 || w->row_stride[k] == n * (int64_t)sizeof(ln_t));
  for (int k = 1; k < w->loop->n_operands; k++) {
    in[k - 1] = in_place[k] ? (const ln_t *)p[k] : buffer[k];
    if (!in_place[k] && !(filled >> k & 1)) fill(w, buffer[k], k, rows, n, p[k]);
  }
  w->fn(in_place[0] ? (ln_t *)p[0] : buffer[0], in, padded(rows * n), w->at);
  if (!in_place[0]) LN_FN(store_rows)(p[0], w->row_stride[0], w->stride[0], w->loop->dtype[0], rows, n, buffer[0]);
}

/* One run, in blocks. */
static void run_one(const work *w, int64_t n, char *const *start) {
  char *p[LN_LOOP_OPERANDS];
  const ln_t *in[LN_LOOP_OPERANDS];
  int64_t done = w->all_direct ? n & ~(int64_t)(LN_LANES - 1) : 0, size = n < BLOCK_SIZE ? n : BLOCK_SIZE;
  for (int k = 0; k < w->loop->n_operands; k++) {
    if (k > 0) in[k - 1] = (const ln_t *)start[k];
    p[k] = start[k] + done * w->stride[k];
  }
  if (done) w->fn((ln_t *)start[0], in, done, w->at);
  if (done == n) return;
  LN_ALIGN buffers buffer;
  uint32_t filled = 0;
  for (int k = 1; k < w->loop->n_operands; k++) {
    if (w->stride[k]) continue;
    filled |= 1u << k;
    fill(w, buffer[k], k, 1, size, p[k]);
  }
  for (; done < n; done += BLOCK_SIZE) {
    run_block(w, buffer, filled, 1, n - done < BLOCK_SIZE ? n - done : BLOCK_SIZE, p);
    for (int k = 0; k < w->loop->n_operands; k++) p[k] += BLOCK_SIZE * w->stride[k];
  }
}

/* How many runs of n elements make a block, or 0 when each had better be on its own. */
static int64_t runs_to_pack(const work *w, int64_t n) {
  int64_t fit = BLOCK_SIZE / n, even = n & -n, unit = even < LN_LANES ? LN_LANES / even : 1; /* runs that make whole vectors */
  bool free = true;                                                                          /* nothing is copied but what repeats */
  for (int k = 0; k < w->loop->n_operands; k++)
    free = free && ((k > 0 && w->row_stride[k] == 0) || (w->direct[k] && w->row_stride[k] == n * (int64_t)sizeof(ln_t)));
  if (fit < 2 || (n >= SHORT && !free)) return 0;
  return fit < unit ? fit : fit / unit * unit;
}

static void run_packed(const work *w, int64_t pack, int64_t rows, int64_t n, char *const *start) {
  char *p[LN_LOOP_OPERANDS];
  LN_ALIGN buffers buffer;
  uint32_t filled = 0;
  if (pack > rows) pack = rows;
  for (int k = 0; k < w->loop->n_operands; k++) {
    p[k] = start[k];
    if (k == 0 || w->row_stride[k]) continue;
    filled |= 1u << k;
    fill(w, buffer[k], k, pack, n, p[k]);
  }
  for (; rows > 0; rows -= pack) {
    run_block(w, buffer, filled, rows < pack ? rows : pack, n, p);
    for (int k = 0; k < w->loop->n_operands; k++) p[k] += pack * w->row_stride[k];
  }
}

static void run(void *context, int64_t rows, int64_t n, char *const *start) {
  const work *w = context;
  char *p[LN_LOOP_OPERANDS];
  int64_t pack = rows > 1 ? runs_to_pack(w, n) : 0;
  if (pack) {
    run_packed(w, pack, rows, n, start);
    return;
  }
  if (rows == 1) {
    run_one(w, n, start);
    return;
  }
  for (int k = 0; k < w->loop->n_operands; k++) p[k] = start[k];
  for (int64_t i = 0; i < rows; i++) {
    run_one(w, n, p);
    for (int k = 0; k < w->loop->n_operands; k++) p[k] += w->row_stride[k];
  }
}

const char *LN_FN(pointwise)(const ln_pointwise *job) {
  const ln_loop *loop = &job->loop;
  work w = {.loop = loop, .fn = rows[job->row].pass[job->pass], .at = job->attrs, .all_direct = true};
  if (!w.fn) return "not defined for this dtype";
  for (int k = 0; k < loop->n_operands; k++) {
    w.stride[k] = loop->stride[k][loop->ndim - 1];
    w.row_stride[k] = ln_row_stride(loop, k);
    w.direct[k] = loop->dtype[k] == LN_T_DTYPE && w.stride[k] == (int64_t)sizeof(ln_t);
    w.all_direct = w.all_direct && w.direct[k];
  }
  ln_cpu_walk_rows(loop, rows[job->row].grain, run, &w);
  return NULL;
}
