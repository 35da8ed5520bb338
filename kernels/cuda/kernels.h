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

#define KERNEL(name, arguments, types) const char *ln_gpu_##name(const arguments *work, int device);
#include "../kernels.def"

/* The libraries, opened at their first use (cublas.cu, cudnn.cu; on the host they take nothing). */
bool ln_cublas_takes(const ln_gemm *g);
const char *ln_cublas_gemm(const ln_gemm *g, int device); /* what it takes; bias is left to the caller */
/* True when it took the work. */
bool ln_cudnn_conv(const ln_conv *c, int pass, int device, const char **failure); /* pass 0 forward, 1 dx, 2 dw */

#endif
