/* scatter_add.c - adding by an index, in the order of the index: deterministic. For one compute type and instruction set. */
#include "../threads.h"

typedef struct add_work {
  const ln_indexed *job;
  int last;
} add_work;

static void add_run(void *context, int64_t n, char *const *p) {
  const add_work *w = context;
  const ln_loop *l = &w->job->loop;
  for (int64_t k = 0; k < n; k++) {
    char *y = p[0] + k * l->stride[0][w->last] + *(const int64_t *)(p[2] + k * l->stride[2][w->last]) * w->job->stride;
    ln_t sum, x;
    LN_FN(load)(y, 0, l->dtype[0], 1, &sum);
    LN_FN(load)(p[1] + k * l->stride[1][w->last], 0, l->dtype[1], 1, &x);
    sum += x;
    LN_FN(store)(y, 0, l->dtype[0], 1, &sum);
  }
}

const char *LN_FN(scatter_add)(const ln_indexed *job) {
  add_work w = {job, job->loop.ndim - 1};
  ln_cpu_walk(&job->loop, INT64_MAX, add_run, &w);
  return NULL;
}

/* Threads share the columns, so that every element still adds in the order of the ids. */
const char *LN_FN(take_add)(const ln_take *t) {
  int item = ln_cpu_size_of(t->dtype);
  int64_t pieces = (t->width + LN_BUFFER - 1) / LN_BUFFER;
  int threads = pieces > 1 ? ln_cpu_threads(t->n * t->width, LN_GRAIN_CHEAP) : 1;
  LN_SHARE(threads, piece, pieces, 1, {
    int64_t from = piece * LN_BUFFER, n = t->width - from < LN_BUFFER ? t->width - from : LN_BUFFER;
    ln_t LN_ALIGN sum[LN_BUFFER], LN_ALIGN x[LN_BUFFER];
    for (int64_t i = 0; i < t->n; i++) {
      if (t->ids[i] == t->skip) continue;
      char *y = t->out + (t->ids[i] * t->width + from) * item;
      LN_FN(load)(y, item, t->dtype, n, sum);
      LN_FN(load)(t->in + (i * t->width + from) * item, item, t->dtype, n, x);
      for (int64_t k = 0; k < n; k++) sum[k] += x[k];
      LN_FN(store)(y, item, t->dtype, n, sum);
    }
  });
  return NULL;
}
