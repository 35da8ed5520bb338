/* threads.c - how many threads a kernel starts, the walk over a nest of loops, and what becomes of both after fork. */
#include "threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static int wanted; /* 0: as many as OpenMP offers */
static bool forked;

/* OpenMP's threads do not survive fork: a region of several threads would hang in the child. */
static void child_after_fork(void) {
  forked = true;
  omp_set_num_threads(1);
}

static void install_fork_handler(void) { pthread_atfork(NULL, NULL, child_after_fork); }

int ln_get_num_threads(void) { return forked ? 1 : wanted ? wanted : omp_get_max_threads(); }

void ln_set_num_threads(int n) {
  wanted = n < 1 ? 1 : n > 256 ? 256 : n;
  omp_set_num_threads(ln_get_num_threads());
}

int ln_cpu_threads(int64_t work, int64_t grain) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (work < grain || omp_in_parallel()) return 1;
  pthread_once(&once, install_fork_handler);
  int most = ln_get_num_threads();
  int64_t pays = work / grain + 1;
  return pays < most ? (int)pays : most;
}

/* -- The walk -- */

typedef struct position {
  const ln_loop *loop;
  int64_t at[16];
  char *p[LN_LOOP_OPERANDS];
} position;

static position position_of(const ln_loop *loop, int64_t element) {
  position w = {.loop = loop};
  for (int d = loop->ndim - 1; d >= 0; d--) {
    w.at[d] = element % loop->shape[d];
    element /= loop->shape[d];
  }
  for (int k = 0; k < loop->n_operands; k++) {
    w.p[k] = loop->data[k];
    for (int d = 0; d < loop->ndim; d++) w.p[k] += w.at[d] * loop->stride[k][d];
  }
  return w;
}

/* Forward by `count` along dim d, where it stays inside or meets the end. */
static void advance(position *w, int d, int64_t count) {
  const ln_loop *loop = w->loop;
  w->at[d] += count;
  for (int k = 0; k < loop->n_operands; k++) w->p[k] += count * loop->stride[k][d];
  for (; d > 0 && w->at[d] == loop->shape[d]; d--) {
    for (int k = 0; k < loop->n_operands; k++) w->p[k] += loop->stride[k][d - 1] - loop->shape[d] * loop->stride[k][d];
    w->at[d] = 0;
    w->at[d - 1]++;
  }
}

#define MOST ((int64_t)1 << 19) /* elements between two looks for an interrupt */

/* Elements [low, high) of the nest: whole runs as many at a time as lie in one plane of the two innermost loops. */
static void walk_range(const ln_loop *loop, int64_t low, int64_t high, ln_rows_fn run, void *context) {
  int last = loop->ndim - 1;
  int64_t width = loop->shape[last];
  position w = position_of(loop, low);
  for (int64_t left = high - low; left > 0 && !ln_cut_short();) {
    int64_t rows = 1, n = width - w.at[last];
    if (n > left) n = left;
    if (n > MOST) n = MOST;
    if (n == width && last > 0) {
      rows = loop->shape[last - 1] - w.at[last - 1];
      if (rows > left / width) rows = left / width;
      if (rows > MOST / width) rows = MOST / width;
    }
    run(context, rows, n, w.p);
    left -= rows * n;
    if (n == width && last > 0)
      advance(&w, last - 1, rows);
    else
      advance(&w, last, n);
  }
}

void ln_cpu_walk_rows(const ln_loop *loop, int64_t grain, ln_rows_fn run, void *context) {
  if (loop->numel == 0) return;
  int threads = ln_cpu_threads(loop->numel, grain);
  if (threads == 1) {
    walk_range(loop, 0, loop->numel, run, context);
    return;
  }
  int64_t chunk = (loop->numel + threads - 1) / threads, width = loop->shape[loop->ndim - 1];
  int64_t unit = width < chunk / 16 ? width : 64; /* short runs stay whole */
  chunk = (chunk + unit - 1) / unit * unit;
  LN_SHARE(threads, t, threads, 1, {
    int64_t low = t * chunk, high = low + chunk < loop->numel ? low + chunk : loop->numel;
    if (low < high) walk_range(loop, low, high, run, context);
  });
}

typedef struct each_run {
  const ln_loop *loop;
  ln_run_fn run;
  void *context;
} each_run;

static void run_each(void *context, int64_t rows, int64_t n, char *const *p) {
  const each_run *w = context;
  char *at[LN_LOOP_OPERANDS];
  for (int k = 0; k < w->loop->n_operands; k++) at[k] = p[k];
  for (int64_t i = 0; i < rows; i++) {
    w->run(w->context, n, at);
    for (int k = 0; k < w->loop->n_operands; k++) at[k] += ln_row_stride(w->loop, k);
  }
}

void ln_cpu_walk(const ln_loop *loop, int64_t grain, ln_run_fn run, void *context) {
  each_run each = {loop, run, context};
  ln_cpu_walk_rows(loop, grain, run_each, &each);
}
