/* table.c - the CPU's table of kernels: the best instruction set the processor has is chosen once, LN_ISA=base|avx2|avx512 chooses by hand. */
#include "cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

const ln_cpu_typed *ln_cpu_typed_now[4];
static const char *isa_name;

#define TABLES(isa) extern const ln_cpu_typed ln_cpu_table_f32_##isa, ln_cpu_table_f64_##isa, ln_cpu_table_i64_##isa, ln_cpu_table_u8_##isa;
#define CHOOSE(isa)                              \
  isa_name = #isa;                               \
  ln_cpu_typed_now[0] = &ln_cpu_table_f32_##isa; \
  ln_cpu_typed_now[1] = &ln_cpu_table_f64_##isa; \
  ln_cpu_typed_now[2] = &ln_cpu_table_i64_##isa; \
  ln_cpu_typed_now[3] = &ln_cpu_table_u8_##isa;

TABLES(base)
#ifdef LN_HAVE_X86_VARIANTS
TABLES(avx2)
TABLES(avx512)
#endif

/* The entry of each kernel: of the compute type that the arguments name, or the one that serves all. */
#define CALL_ONCE(name) return ln_cpu_##name(work);
#define CALL_EVERY(name) return ln_cpu_typed_now[ln_cpu_byte_type_of(work->dtype)]->name(work);
#define CALL_NUMBER(name) return ln_cpu_typed_now[ln_cpu_type_of(work->dtype)]->name(work);
#define CALL_FLOAT(name)                                                     \
  const ln_cpu_typed *typed = ln_cpu_typed_now[ln_cpu_type_of(work->dtype)]; \
  return typed->name ? typed->name(work) : #name " is not defined for integers";
#define KERNEL(name, arguments, types)                                \
  static const char *call_##name(const arguments *work, int device) { \
    (void)device;                                                     \
    CALL_##types(name)                                                \
  }
#include "../kernels.def"

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
#define KERNEL(name, arguments, types) .name = call_##name,
#include "../kernels.def"
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
