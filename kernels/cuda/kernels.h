/* kernels.h - the kernels that the files of this folder offer the table (table.cu), with the meaning that ../kernels.h gives them. */
#ifndef LUNETTE_CUDA_KERNELS_H
#define LUNETTE_CUDA_KERNELS_H

#include "cuda.h"

enum {
  LN_HOST = -1,     /* the host's device number */
  LN_MAX_GPUS = 64, /* more than the core counts */
  LN_PART = 512     /* elements that one thread or team works through in order */
};

const char *ln_gpu_alloc(int device, size_t bytes, void **out);
void ln_gpu_free(int device, void *p);
const char *ln_gpu_synchronize(int device);
const char *ln_gpu_name(int device, char *name, int capacity);
const char *ln_gpu_count(int *devices); /* how many there are, or why none can be used */

const char *ln_gpu_convert(const ln_loop *loop, int device);
const char *ln_gpu_indexed(const ln_indexed *i, int device);
const char *ln_gpu_take(const ln_take *t, int device);
const char *ln_gpu_take_add(const ln_take *t, int device);
const char *ln_gpu_find_outside(const ln_loop *loop, int64_t low, int64_t high, int64_t *place, int device);
const char *ln_gpu_nonzero(const ln_loop *loop, int64_t *count, int64_t *out, int device);
const char *ln_gpu_random(int kind, const ln_loop *loop, uint64_t seed, uint64_t offset, double a, double b, int device);
const char *ln_gpu_arange(char *y, int dtype, int64_t n, double start, double step, int device);
const char *ln_gpu_fold(int kind, const ln_fold *fold, const void *aux, double p, int device);
const char *ln_gpu_cumsum(const ln_rows *rows, bool reverse, int device);
const char *ln_gpu_softmax(const ln_rows *rows, bool log, int device);
const char *ln_gpu_softmax_dx(const ln_rows *rows, bool log, int device);
const char *ln_gpu_gemm(const ln_gemm *g, int device);
const char *ln_gpu_conv(const ln_conv *c, int device);
const char *ln_gpu_conv_dx(const ln_conv *c, int device);
const char *ln_gpu_conv_dw(const ln_conv *c, int device);
const char *ln_gpu_max_pool(const ln_pool *p, int device);
const char *ln_gpu_max_pool_dx(const ln_pool *p, int device);
const char *ln_gpu_avg_pool(const ln_pool *p, int device);
const char *ln_gpu_avg_pool_dx(const ln_pool *p, int device);
const char *ln_gpu_batch_norm(const ln_norm *n, int device);
const char *ln_gpu_batch_norm_dx(const ln_norm *n, int device);
const char *ln_gpu_sgd(const ln_step *s, int device);
const char *ln_gpu_adam(const ln_step *s, int device);

/* The libraries, opened at their first use (cublas.cu, cudnn.cu; on the host they take nothing). */
bool ln_cublas_takes(const ln_gemm *g);
const char *ln_cublas_gemm(const ln_gemm *g, int device); /* what it takes; bias is left to the caller */
/* True when it took the work. */
bool ln_cudnn_conv(const ln_conv *c, int pass, int device, const char **failure); /* pass 0 forward, 1 dx, 2 dw */

#endif
