/* cpu.h - what the CPU kernels share: the compute type of a translation unit, names, conversion at the border, threads.
 *
 * Files whose loops depend on the type are compiled once per compute type (LN_TYPE: f32, f64, i64) and instruction set (LN_ISA: base, avx2,
 * avx512); LN_FN(name) gives each copy its name. Half types compute in f32, all integers and bool in i64: values are converted when they
 * enter or leave a buffer of LN_BUFFER elements, which serves strides and partial vectors as well. */
#ifndef LUNETTE_CPU_H
#define LUNETTE_CPU_H

#include "../kernels.h"

#include <omp.h>
#include <string.h>

#define LN_BUFFER 256 /* elements of a conversion buffer; a multiple of every vector */
#define LN_LANES 16   /* loops run over multiples of this many elements, so that no element meets a scalar tail */
#define LN_ALIGN __attribute__((aligned(64)))

/* The iterations of the loop that follows do not depend on each other. */
#if defined(__clang__)
#define LN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define LN_INDEPENDENT _Pragma("GCC ivdep")
#endif

#define LN_PASTE_(name, type, isa) name##_##type##_##isa
#define LN_PASTE(name, type, isa) LN_PASTE_(name, type, isa)
#define LN_FN(name) LN_PASTE(name, LN_TYPE, LN_ISA)

/* Threads worth starting for `work` elements at `grain` elements each; the pool is OpenMP's, its size ln_set_num_threads'. */
int ln_cpu_threads(int64_t work, int64_t grain);
/* The iterations i = 0, step, ... below n, shared among threads. A single one enters no OpenMP region: that would cost memory and wake the pool. */
#define LN_SHARE(threads, i, n, step, ...)                                                                                          \
  do {                                                                                                                              \
    const int ln_threads = (threads);                                                                                               \
    const int64_t ln_end = (n);                                                                                                     \
    if (ln_threads > 1) {                                                                                                           \
      _Pragma("omp parallel for num_threads(ln_threads) schedule(static)") for (int64_t i = 0; i < ln_end; i += (step)) __VA_ARGS__ \
    } else {                                                                                                                        \
      for (int64_t i = 0; i < ln_end; i += (step)) __VA_ARGS__                                                                      \
    }                                                                                                                               \
  } while (0)
#define LN_GRAIN_CHEAP 16384
#define LN_GRAIN_DEAR 4096

/* The compute type of a dtype: 0 f32, 1 f64, 2 i64. */
static inline int ln_cpu_type_of(int dtype) { return dtype == LN_FLOAT64 ? 1 : dtype >= LN_INT8 ? 2 : 0; }

static inline int ln_cpu_size_of(int dtype) {
  static const uint8_t size[LN_DTYPES] = {4, 8, 2, 2, 1, 2, 4, 8, 1, 1};
  return size[dtype];
}

/* The kernels of one compute type and instruction set, collected by kernels/cpu/typed.c. Entries that make no sense for i64 are NULL there. */
typedef struct ln_cpu_typed {
  const char *(*pointwise)(int row, int pass, const ln_loop *loop, const double *attrs);
  /* n elements of any dtype, stride in bytes (0 repeats one), into compute type; and back */
  void (*load)(const char *x, int64_t stride, int dtype, int64_t n, void *out);
  void (*store)(char *y, int64_t stride, int dtype, int64_t n, const void *in);
  const char *(*fold)(int kind, const ln_fold *fold, const void *aux, double p);
  const char *(*cumsum)(const ln_rows *rows, bool reverse);
  const char *(*softmax)(const ln_rows *rows, bool log);
  const char *(*softmax_dx)(const ln_rows *rows, bool log);
  const char *(*conv)(const ln_conv *c);
  const char *(*conv_dx)(const ln_conv *c);
  const char *(*conv_dw)(const ln_conv *c);
  const char *(*max_pool)(const ln_pool *p);
  const char *(*max_pool_dx)(const ln_pool *p);
  const char *(*avg_pool)(const ln_pool *p);
  const char *(*avg_pool_dx)(const ln_pool *p);
  const char *(*batch_norm)(const ln_norm *n);
  const char *(*batch_norm_dx)(const ln_norm *n);
  const char *(*scatter_add)(const ln_indexed *i); /* ln_kernels.indexed with add */
  const char *(*take_add)(const ln_take *t);
  const char *(*sgd)(const ln_step *s);
  const char *(*adam)(const ln_step *s);
  const char *(*gemm)(const ln_gemm *g); /* the plain loop for what no library takes: i64, and tiny or odd cases */
} ln_cpu_typed;

/* Of the instruction set chosen at load, by ln_cpu_type_of. */
extern const ln_cpu_typed *ln_cpu_typed_now[3];

/* Compiled once, whatever the type (bytes are moved, or a library computes). */
const char *ln_cpu_convert(const ln_loop *loop, int device);
const char *ln_cpu_random(int kind, const ln_loop *loop, uint64_t seed, uint64_t offset, double a, double b, int device);
const char *ln_cpu_arange(char *y, int dtype, int64_t n, double start, double step, int device);
const char *ln_cpu_indexed(const ln_indexed *i, int device);
const char *ln_cpu_take(const ln_take *t, int device);
const char *ln_cpu_find_outside(const ln_loop *loop, int64_t low, int64_t high, int64_t *place, int device);
const char *ln_cpu_nonzero(const ln_loop *loop, int64_t *count, int64_t *out, int device);
const char *ln_cpu_gemm(const ln_gemm *g, int device); /* kernels/cpu/gemm.c: OpenBLAS, oneDNN, our loop */
/* oneDNN (kernels/cpu/onednn.c): true when it took the work; without the library always false. */
bool ln_onednn_sgemm(const ln_gemm *g);
bool ln_onednn_conv(const ln_conv *c, int pass, const char **failure); /* pass 0 forward, 1 dx, 2 dw */
bool ln_onednn_pool(const ln_pool *p, int pass, const char **failure);

#ifdef LN_TYPE
#include "../type.h"

void LN_FN(load)(const char *x, int64_t stride, int dtype, int64_t n, void *out);
void LN_FN(store)(char *y, int64_t stride, int dtype, int64_t n, const void *in);
#endif

#endif
