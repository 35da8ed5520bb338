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
  if (work < grain) return 1;
  pthread_once(&once, install_fork_handler);
  int most = ln_get_num_threads();
  int64_t pays = work / grain + 1;
  return pays < most ? (int)pays : most;
}

/* Elements [low, high) of the nest, a contiguous run of the innermost loop at a time. */
static void walk_range(const ln_loop *loop, int64_t low, int64_t high, ln_run_fn run, void *context) {
  int last = loop->ndim - 1;
  int64_t at[16];
  char *p[LN_LOOP_OPERANDS];
  for (int64_t d = last, rest = low; d >= 0; d--) {
    at[d] = rest % loop->shape[d];
    rest /= loop->shape[d];
  }
  for (int k = 0; k < loop->n_operands; k++) {
    p[k] = loop->data[k];
    for (int d = 0; d <= last; d++) p[k] += at[d] * loop->stride[k][d];
  }
  while (low < high) {
    int64_t n = loop->shape[last] - at[last];
    if (n > high - low) n = high - low;
    run(context, n, p);
    low += n;
    if (low >= high) return;
    for (int k = 0; k < loop->n_operands; k++) p[k] -= at[last] * loop->stride[k][last];
    at[last] = 0;
    for (int d = last - 1; d >= 0; d--) {
      bool carry = ++at[d] == loop->shape[d];
      for (int k = 0; k < loop->n_operands; k++) p[k] += loop->stride[k][d] * (carry ? 1 - loop->shape[d] : 1);
      if (!carry) break;
      at[d] = 0;
    }
  }
}

void ln_cpu_walk(const ln_loop *loop, int64_t grain, ln_run_fn run, void *context) {
  if (loop->numel == 0) return;
  int threads = ln_cpu_threads(loop->numel, grain);
  if (threads == 1) {
    walk_range(loop, 0, loop->numel, run, context);
    return;
  }
  int64_t chunk = ((loop->numel + threads - 1) / threads + 63) & ~(int64_t)63;
  LN_SHARE(threads, t, threads, 1, {
    int64_t low = t * chunk, high = low + chunk < loop->numel ? low + chunk : loop->numel;
    if (low < high) walk_range(loop, low, high, run, context);
  });
}
