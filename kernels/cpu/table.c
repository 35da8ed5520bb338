/* table.c - the CPU's table of kernels: the best instruction set the processor has is chosen once, LN_ISA=base|avx2|avx512 chooses by hand. */
#include "cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

const ln_cpu_typed *ln_cpu_typed_now[3];
static const char *isa_name;

#define TABLES(isa) extern const ln_cpu_typed ln_cpu_table_f32_##isa, ln_cpu_table_f64_##isa, ln_cpu_table_i64_##isa;
#define CHOOSE(isa)                              \
  isa_name = #isa;                               \
  ln_cpu_typed_now[0] = &ln_cpu_table_f32_##isa; \
  ln_cpu_typed_now[1] = &ln_cpu_table_f64_##isa; \
  ln_cpu_typed_now[2] = &ln_cpu_table_i64_##isa;

TABLES(base)
#ifdef LN_HAVE_X86_VARIANTS
TABLES(avx2)
TABLES(avx512)
#endif

static const char *typed_pointwise(int row, int pass, int compute, const ln_loop *loop, const double *attrs, int device) {
  (void)device;
  return ln_cpu_typed_now[ln_cpu_type_of(compute)]->pointwise(row, pass, loop, attrs);
}

static const char *typed_fold(int kind, const ln_fold *fold, const void *aux, double p, int device) {
  (void)device;
  return ln_cpu_typed_now[ln_cpu_type_of(fold->x_dtype)]->fold(kind, fold, aux, p);
}

static const char *typed_cumsum(const ln_rows *rows, bool reverse, int device) {
  (void)device;
  return ln_cpu_typed_now[ln_cpu_type_of(rows->dtype)]->cumsum(rows, reverse);
}

/* A kernel of one argument that names its dtype; NULL in the table means that the dtype makes no sense. */
#define TYPED(name, type, dtype_of)                                            \
  static const char *typed_##name(const type *w, int device) {                 \
    (void)device;                                                              \
    const ln_cpu_typed *typed = ln_cpu_typed_now[ln_cpu_type_of(w->dtype_of)]; \
    return typed->name ? typed->name(w) : "not defined for integers";          \
  }
#define TYPED_ROWS(name)                                                    \
  static const char *typed_##name(const ln_rows *w, bool log, int device) { \
    (void)device;                                                           \
    const ln_cpu_typed *typed = ln_cpu_typed_now[ln_cpu_type_of(w->dtype)]; \
    return typed->name ? typed->name(w, log) : "not defined for integers";  \
  }
/* The library takes what it is good at. */
#define TYPED_CONV(name, pass)                                              \
  static const char *typed_##name(const ln_conv *c, int device) {           \
    (void)device;                                                           \
    const char *failure = NULL;                                             \
    if (ln_onednn_conv(c, pass, &failure)) return failure;                  \
    const ln_cpu_typed *typed = ln_cpu_typed_now[ln_cpu_type_of(c->dtype)]; \
    return typed->name ? typed->name(c) : "not defined for integers";       \
  }
TYPED_ROWS(softmax)
TYPED_ROWS(softmax_dx)
TYPED_CONV(conv, 0)
TYPED_CONV(conv_dx, 1)
TYPED_CONV(conv_dw, 2)
TYPED(max_pool, ln_pool, dtype)
TYPED(max_pool_dx, ln_pool, dtype)
TYPED(avg_pool, ln_pool, dtype)
TYPED(avg_pool_dx, ln_pool, dtype)
TYPED(batch_norm, ln_norm, dtype)
TYPED(batch_norm_dx, ln_norm, dtype)
TYPED(take_add, ln_take, dtype)
TYPED(sgd, ln_step, dtype)
TYPED(adam, ln_step, dtype)

static const char *indexed(const ln_indexed *i, int device) {
  return i->add ? ln_cpu_typed_now[ln_cpu_type_of(i->loop.dtype[0])]->scatter_add(i) : ln_cpu_indexed(i, device);
}

static const char *host_alloc(int device, size_t bytes, void **out) {
  (void)device;
  *out = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
  return *out ? NULL : "out of memory";
}

static void host_free(int device, void *p) {
  (void)device;
  free(p);
}

static const char *host_copy(void *dst, int dst_device, const void *src, int src_device, size_t bytes) {
  (void)dst_device;
  (void)src_device;
  memcpy(dst, src, bytes);
  return NULL;
}

static const char *host_synchronize(int device) {
  (void)device;
  return NULL;
}

static const char *host_name(int device, char *name, int capacity) {
  (void)device;
  snprintf(name, (size_t)capacity, "cpu");
  return NULL;
}

static const ln_kernels table = {
  .version = LN_KERNELS_VERSION,
  .size = sizeof(ln_kernels),
  .alloc = host_alloc,
  .free = host_free,
  .copy = host_copy,
  .synchronize = host_synchronize,
  .name = host_name,
  .pointwise = typed_pointwise,
  .convert = ln_cpu_convert,
  .random = ln_cpu_random,
  .arange = ln_cpu_arange,
  .fold = typed_fold,
  .cumsum = typed_cumsum,
  .softmax = typed_softmax,
  .softmax_dx = typed_softmax_dx,
  .gemm = ln_cpu_gemm,
  .conv = typed_conv,
  .conv_dx = typed_conv_dx,
  .conv_dw = typed_conv_dw,
  .max_pool = typed_max_pool,
  .max_pool_dx = typed_max_pool_dx,
  .avg_pool = typed_avg_pool,
  .avg_pool_dx = typed_avg_pool_dx,
  .batch_norm = typed_batch_norm,
  .batch_norm_dx = typed_batch_norm_dx,
  .indexed = indexed,
  .take = ln_cpu_take,
  .take_add = typed_take_add,
  .find_outside = ln_cpu_find_outside,
  .nonzero = ln_cpu_nonzero,
  .sgd = typed_sgd,
  .adam = typed_adam,
};

static void choose(void) {
  CHOOSE(base)
#ifdef LN_HAVE_X86_VARIANTS
  const char *wish = getenv("LN_ISA");
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl");
  if (wish && strcmp(wish, "base") == 0) return;
  if (avx2) { CHOOSE(avx2) }
  if (avx512 && !(wish && strcmp(wish, "avx2") == 0)) { CHOOSE(avx512) }
#endif
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

const ln_kernels *ln_cpu_kernels(void) {
  pthread_once(&once, choose);
  return &table;
}

const char *ln_cpu_isa(void) {
  pthread_once(&once, choose);
  return isa_name;
}
