/* kernels.h - what the files of this folder offer each other on the host: the kernels of the table (table.cpp), with the meaning that ../kernels.h
 * gives them, the device and the libraries. */
#ifndef LUNETTE_CUDA_KERNELS_H
#define LUNETTE_CUDA_KERNELS_H

#include "cuda.h"

/* -- The device (device.cpp; standin.cpp) -- */

const char *ln_gpu_count(int *devices); /* how many there are, or why none can be used */
const char *ln_gpu_alloc(int device, size_t bytes, void **out);
void ln_gpu_free(int device, void *p);
const char *ln_gpu_synchronize(int device);
const char *ln_gpu_name(int device, char *name, int capacity);

/* Where the checks of this thread write what they find on the device: its address there. */
const char *ln_gpu_record(int device, ln_violation **record);
/* Takes what was found; the device has been waited for. */
bool ln_gpu_violation(int device, ln_violation *found);

/* May float32 products and convolutions round their factors to TF32? A `set` of 0 or 1 says so from now on, in all threads. */
bool ln_gpu_allow_tf32(int set);
/* What is known of NVIDIA's libraries: one line a library, and one for each kind of work that it did not take. */
int ln_gpu_libraries(char *text, int capacity);
/* Tells the user something once; through the core. */
void ln_gpu_warn(const char *text);

/* A failure's text with something filled in; of this thread, valid until the next one. */
const char *ln_gpu_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- Kernels -- */

#define KERNEL(name, arguments, types) const char *ln_gpu_##name(const arguments *work, int device);
#include "../kernels.def"

const char *ln_gpu_pointwise_f32(const ln_pointwise *p, int device);
const char *ln_gpu_pointwise_f64(const ln_pointwise *p, int device);
const char *ln_gpu_pointwise_i64(const ln_pointwise *p, int device);

/* counts[0 .. n) become the sums before each, counts[n] the sum of all (scan.cu). */
const char *ln_gpu_sums_before(int device, int64_t *counts, int64_t n);

/* n pairs to be sorted by key, equal keys in their order (sort.cu): after `begin` keys and order are to be filled, after `run` they are sorted. */
struct ln_sort {
  int64_t n;
  uint64_t *keys;
  int64_t *order;
};
size_t ln_sort_bytes(int64_t n); /* of the memory that begin gets */
void ln_sort_begin(ln_sort *s, int64_t n, void *memory);
const char *ln_sort_run(ln_sort *s, uint64_t largest, int device); /* no key is above `largest` */

/* -- The libraries, opened at their first use (cublas.cpp, cudnn.cpp; the stand-in has none) -- */

/* True when it took the work, and *failure is what came of it. */
bool ln_cublas_gemm(const ln_gemm *g, int device, const char **failure);
/* Writes the bias into C, or adds it (gemm.cu). */
const char *ln_gpu_add_bias(const ln_gemm *g, bool add, int device);
/* Adds the bias to y (conv.cu). */
const char *ln_gpu_conv_bias(const ln_conv *c, int device);
bool ln_cudnn_conv(const ln_conv *c, int pass, int device, const char **failure); /* pass 0 forward, 1 dx, 2 dw */

#endif
