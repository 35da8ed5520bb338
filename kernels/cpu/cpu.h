/* cpu.h - what the CPU kernels share: the compute type of a translation unit, names, conversion at the border, threads.
 *
 * The files of typed/ are compiled once per compute type (LN_TYPE: f32, f64, i64, u8) and instruction set (LN_ISA: base, avx2,
 * avx512); LN_FN(name) gives each copy its name. Half types compute in f32, all integers in i64, bool there or in u8: values are converted when they
 * enter or leave a buffer of LN_BUFFER elements, which serves strides and partial vectors as well. */
#ifndef LUNETTE_CPU_H
#define LUNETTE_CPU_H

#include "../interrupt.h"
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
#define LN_SHARE_ALL(threads, i, n, step, ...)                                                                                      \
  do {                                                                                                                              \
    const int ln_threads = (threads);                                                                                               \
    const int64_t ln_end = (n);                                                                                                     \
    if (ln_threads > 1) {                                                                                                           \
      _Pragma("omp parallel for num_threads(ln_threads) schedule(static)") for (int64_t i = 0; i < ln_end; i += (step)) __VA_ARGS__ \
    } else {                                                                                                                        \
      for (int64_t i = 0; i < ln_end; i += (step)) __VA_ARGS__                                                                      \
    }                                                                                                                               \
  } while (0)
/* The same, of which an interrupt leaves out the rest. */
#define LN_SHARE(threads, i, n, step, ...) \
  LN_SHARE_ALL(threads, i, n, step, {      \
    if (!ln_cut_short()) __VA_ARGS__       \
  })
#define LN_GRAIN_LIGHT 16384
#define LN_GRAIN_HEAVY 4096

/* The compute type of a dtype: 0 f32, 1 f64, 2 i64; and with bytes, of kernels for EVERY type, 3 u8. */
static inline int ln_cpu_type_of(int dtype) { return dtype == LN_FLOAT64 ? 1 : dtype >= LN_INT8 ? 2 : 0; }

static inline int ln_cpu_byte_type_of(int dtype) { return dtype == LN_BOOL ? 3 : ln_cpu_type_of(dtype); }

static inline int ln_cpu_size_of(int dtype) {
  static const uint8_t size[LN_DTYPES] = {4, 8, 2, 2, 1, 2, 4, 8, 1, 1};
  return size[dtype];
}

/* The kernels of one compute type and instruction set, collected by typed/every/table.c. What makes no sense for a type is NULL. */
#define LN_IF_TYPED_ONCE(...)
#define LN_IF_TYPED_FLOAT(...) __VA_ARGS__
#define LN_IF_TYPED_NUMBER(...) __VA_ARGS__
#define LN_IF_TYPED_EVERY(...) __VA_ARGS__
typedef struct ln_cpu_typed {
  /* n elements of any dtype, stride in bytes (0 repeats one), into compute type; and back */
  void (*load)(const char *x, int64_t stride, int dtype, int64_t n, void *out);
  void (*store)(char *y, int64_t stride, int dtype, int64_t n, const void *in);
  /* the same for rows of n elements, which lie one after another in compute type */
  void (*load_rows)(const char *x, int64_t row_stride, int64_t stride, int dtype, int64_t rows, int64_t n, void *out);
  void (*store_rows)(char *y, int64_t row_stride, int64_t stride, int dtype, int64_t rows, int64_t n, const void *in);
#define KERNEL(name, arguments, types) LN_IF_TYPED_##types(const char *(*name)(const arguments *work);)
#include "../kernels.def"
} ln_cpu_typed;

/* Of the instruction set chosen at load, by ln_cpu_type_of. */
extern const ln_cpu_typed *ln_cpu_typed_now[4];

/* The kernels that are compiled once. */
#define LN_IF_ONCE_ONCE(...) __VA_ARGS__
#define LN_IF_ONCE_FLOAT(...)
#define LN_IF_ONCE_NUMBER(...)
#define LN_IF_ONCE_EVERY(...)
#define KERNEL(name, arguments, types) LN_IF_ONCE_##types(const char *ln_cpu_##name(const arguments *work);)
#include "../kernels.def"

/* A matrix product by OpenBLAS or oneDNN (blas.c): false when it is left to the loops of typed/gemm.c. */
bool ln_blas_gemm(const ln_gemm *g, const char **failure);
/* oneDNN (onednn.c): true when it took the work; without the library always false. */
bool ln_onednn_sgemm(const ln_gemm *g);
bool ln_onednn_conv(const ln_conv *c, int pass, const char **failure); /* pass 0 forward, 1 dx, 2 dw */

#ifdef LN_TYPE
#include "../type.h"

void LN_FN(load)(const char *x, int64_t stride, int dtype, int64_t n, void *out);
void LN_FN(store)(char *y, int64_t stride, int dtype, int64_t n, const void *in);
void LN_FN(load_rows)(const char *x, int64_t row_stride, int64_t stride, int dtype, int64_t rows, int64_t n, void *out);
void LN_FN(store_rows)(char *y, int64_t row_stride, int64_t stride, int dtype, int64_t rows, int64_t n, const void *in);

/* The kernels of this compute type. */
#define LN_IF_OWN_ONCE(...)
#ifdef LN_INTEGER
#define LN_IF_OWN_FLOAT(...)
#else
#define LN_IF_OWN_FLOAT(...) __VA_ARGS__
#endif
#ifdef LN_BYTE
#define LN_IF_OWN_NUMBER(...)
#else
#define LN_IF_OWN_NUMBER(...) __VA_ARGS__
#endif
#define LN_IF_OWN_EVERY(...) __VA_ARGS__
#define KERNEL(name, arguments, types) LN_IF_OWN_##types(const char *LN_FN(name)(const arguments *work);)
#include "../kernels.def"
#endif

#endif
