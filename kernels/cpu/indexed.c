/* indexed.c - moving elements by an index; only their size matters, so it is compiled once. Adding ones are in scatter_add.c. */
#include "threads.h"

typedef struct move_work {
  const ln_indexed *job;
  int64_t out, in, index; /* strides of the innermost loop, in bytes */
  int item;
} move_work;

/* One element of 1 to 8 bytes. */
static inline void move(char *y, const char *x, int item) {
  switch (item) {
  case 1: *y = *x; return;
  case 2: memcpy(y, x, 2); return;
  case 4: memcpy(y, x, 4); return;
  default: memcpy(y, x, 8); return;
  }
}

static void move_run(void *context, int64_t n, char *const *p) {
  const move_work *w = context;
  const ln_indexed *job = w->job;
  for (int64_t k = 0; k < n; k++) {
    int64_t at = *(const int64_t *)(p[2] + k * w->index) * job->stride;
    char *y = p[0] + k * w->out + (job->indexed == 0 ? at : 0);
    const char *x = p[1] + k * w->in + (job->indexed == 1 ? at : 0);
    move(y, x, w->item);
  }
}

/* Scattered writes may meet, the last one wins: they stay on one thread. */
const char *ln_cpu_indexed(const ln_indexed *job, int device) {
  (void)device;
  const ln_loop *l = &job->loop;
  int last = l->ndim - 1;
  move_work w = {job, l->stride[0][last], l->stride[1][last], l->stride[2][last], ln_cpu_size_of(l->dtype[0])};
  ln_cpu_walk(l, job->indexed == 1 ? LN_GRAIN_DEAR : INT64_MAX, move_run, &w);
  return NULL;
}

const char *ln_cpu_take(const ln_take *t, int device) {
  (void)device;
  size_t bytes = (size_t)t->width * (size_t)ln_cpu_size_of(t->dtype);
  int threads = ln_cpu_threads(t->n * t->width, LN_GRAIN_CHEAP);
  LN_SHARE(threads, i, t->n, 1, { memcpy(t->out + (size_t)i * bytes, t->in + (size_t)t->ids[i] * bytes, bytes); });
  return NULL;
}

typedef struct find_work {
  int64_t low, high, stride, done, place;
} find_work;

static void find_run(void *context, int64_t n, char *const *p) {
  find_work *w = context;
  for (int64_t k = 0; k < n && w->place < 0; k++) {
    int64_t v = *(const int64_t *)(p[1] + k * w->stride);
    if (v < w->low || v >= w->high) w->place = w->done + k;
  }
  w->done += n;
}

const char *ln_cpu_find_outside(const ln_loop *loop, int64_t low, int64_t high, int64_t *place, int device) {
  (void)device;
  find_work w = {low, high, loop->stride[1][loop->ndim - 1], 0, -1};
  ln_cpu_walk(loop, INT64_MAX, find_run, &w);
  *place = w.place;
  return NULL;
}

typedef struct nonzero_work {
  int64_t stride, done, count, *out;
  int dtype;
} nonzero_work;

static void nonzero_run(void *context, int64_t n, char *const *p) {
  nonzero_work *w = context;
  int whole = ln_cpu_type_of(w->dtype) == 2;
  union {
    double d[LN_BUFFER];
    int64_t i[LN_BUFFER];
  } v;
  for (int64_t done = 0; done < n; done += LN_BUFFER) {
    int64_t m = n - done < LN_BUFFER ? n - done : LN_BUFFER;
    ln_cpu_typed_now[whole ? 2 : 1]->load(p[1] + done * w->stride, w->stride, w->dtype, m, &v);
    for (int64_t k = 0; k < m; k++) {
      if (whole ? v.i[k] == 0 : v.d[k] == 0) continue;
      if (w->out) w->out[w->count] = w->done + done + k;
      w->count++;
    }
  }
  w->done += n;
}

const char *ln_cpu_nonzero(const ln_loop *loop, int64_t *count, int64_t *out, int device) {
  (void)device;
  nonzero_work w = {loop->stride[1][loop->ndim - 1], 0, 0, out, loop->dtype[1]};
  ln_cpu_walk(loop, INT64_MAX, nonzero_run, &w);
  *count = w.count;
  return NULL;
}
