/* indexed.c - moving elements by an index; only their size matters, so it is compiled once. Adding is in typed/scatter_add.c. */
#include "threads.h"

typedef struct move_work {
  int64_t out, in, index;  /* strides of the innermost loop, in bytes */
  int64_t out_led, in_led; /* bytes from one index to the next in the operand that it leads, else 0 */
  int item;
} move_work;

/* Elements of one size. */
#define MOVE_ALL(type)                                                                                   \
  for (int64_t k = 0; k < n; k++) {                                                                      \
    const int64_t at = *(const int64_t *)(p[2] + k * w->index);                                          \
    *(type *)(p[0] + k * w->out + at * w->out_led) = *(const type *)(p[1] + k * w->in + at * w->in_led); \
  }

static void move_run(void *context, int64_t n, char *const *p) {
  const move_work *w = context;
  switch (w->item) {
  case 1: MOVE_ALL(uint8_t) return;
  case 2: MOVE_ALL(uint16_t) return;
  case 4: MOVE_ALL(uint32_t) return;
  default: MOVE_ALL(uint64_t) return;
  }
}

/* Scattered writes may meet, the last one wins: they stay on one thread. */
const char *ln_cpu_indexed(const ln_indexed *job) {
  const ln_loop *l = &job->loop;
  int last = l->ndim - 1;
  move_work w = {.out = l->stride[0][last],
                 .in = l->stride[1][last],
                 .index = l->stride[2][last],
                 .out_led = job->indexed == 0 ? job->stride : 0,
                 .in_led = job->indexed == 1 ? job->stride : 0,
                 .item = ln_cpu_size_of(l->dtype[0])};
  ln_cpu_walk(l, job->indexed == 1 ? LN_GRAIN_HEAVY : INT64_MAX, move_run, &w);
  return NULL;
}

const char *ln_cpu_take(const ln_take *t) {
  size_t bytes = (size_t)t->width * (size_t)ln_cpu_size_of(t->dtype);
  int threads = ln_cpu_threads(t->n * t->width, LN_GRAIN_LIGHT);
  LN_SHARE(threads, i, t->n, 1, { memcpy(t->out + (size_t)i * bytes, t->in + (size_t)t->ids[i] * bytes, bytes); });
  return NULL;
}

/* -- Looking for elements: in logical order, hence on one thread -- */

/* The first of n elements that is wrong, or n. That there is none is seen without leaving the loop. */
#define FIRST_WRONG(type, wrong)                \
  do {                                          \
    int any = 0;                                \
    for (int64_t k = 0; k < n; k++) {           \
      type v = *(const type *)(p + k * stride); \
      any |= (wrong);                           \
    }                                           \
    for (int64_t k = 0; any && k < n; k++) {    \
      type v = *(const type *)(p + k * stride); \
      if (wrong) return k;                      \
    }                                           \
    return n;                                   \
  } while (0)

static int64_t first_outside(const ln_check *job, int64_t n, const char *p, int64_t stride) {
  const uint64_t span = (uint64_t)job->high - (uint64_t)job->low, low = (uint64_t)job->low;
  if (stride == (int64_t)sizeof(int64_t)) {
    const int64_t *index = (const int64_t *)p;
    int any = 0;
    for (int64_t k = 0; k < n; k++) any |= (uint64_t)index[k] - low >= span;
    if (!any) return n;
  }
  FIRST_WRONG(int64_t, (uint64_t)v - low >= span);
}

static int64_t first_zero(int dtype, int64_t n, const char *p, int64_t stride) {
  switch (ln_cpu_size_of(dtype)) {
  case 1: FIRST_WRONG(int8_t, v == 0);
  case 2: FIRST_WRONG(int16_t, v == 0);
  case 4: FIRST_WRONG(int32_t, v == 0);
  default: FIRST_WRONG(int64_t, v == 0);
  }
}

static void check_run(void *context, int64_t n, char *const *p) {
  const ln_check *job = context;
  const bool divisor = job->what.kind == LN_CHECK_DIVISOR;
  const int64_t stride = job->loop.stride[1][job->loop.ndim - 1];
  if (job->found->kind) return;
  int64_t k = divisor ? first_zero(job->loop.dtype[1], n, p[1], stride) : first_outside(job, n, p[1], stride);
  if (k == n) return;
  *job->found = job->what;
  job->found->value = divisor ? 0 : *(const int64_t *)(p[1] + k * stride);
}

const char *ln_cpu_check(const ln_check *job) {
  ln_cpu_walk(&job->loop, INT64_MAX, check_run, (void *)job);
  return NULL;
}

typedef struct nonzero_work {
  const ln_nonzero *job;
  int64_t done;
} nonzero_work;

static void nonzero_run(void *context, int64_t n, char *const *p) {
  nonzero_work *w = context;
  const ln_nonzero *job = w->job;
  int dtype = job->loop.dtype[1], whole = ln_cpu_type_of(dtype) == 2;
  int64_t stride = job->loop.stride[1][job->loop.ndim - 1];
  union {
    double d[LN_BUFFER];
    int64_t i[LN_BUFFER];
  } v;
  for (int64_t done = 0; done < n; done += LN_BUFFER) {
    int64_t m = n - done < LN_BUFFER ? n - done : LN_BUFFER;
    ln_cpu_typed_now[whole ? 2 : 1]->load(p[1] + done * stride, stride, dtype, m, &v);
    for (int64_t k = 0; k < m; k++) {
      if (whole ? v.i[k] == 0 : v.d[k] == 0) continue;
      if (job->out) job->out[*job->count] = w->done + done + k;
      ++*job->count;
    }
  }
  w->done += n;
}

const char *ln_cpu_nonzero(const ln_nonzero *job) {
  nonzero_work w = {job, 0};
  *job->count = 0;
  ln_cpu_walk(&job->loop, INT64_MAX, nonzero_run, &w);
  return NULL;
}
