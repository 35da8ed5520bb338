/* driver.h - the few functions of the CUDA driver that the plug-in uses, declared as its documentation gives them, so that neither header nor library
 * is needed to build: libcuda.so.1 is opened when a device is first asked for. */
#ifndef LUNETTE_CUDA_DRIVER_H
#define LUNETTE_CUDA_DRIVER_H

#include "library.h"

typedef struct CUctx_st *ln_context;
typedef struct CUstream_st *ln_stream;
typedef struct CUlib_st *ln_binary;
typedef struct CUkern_st *ln_kernel;
typedef unsigned long long ln_address;

enum {
  LN_CUDA_OUT_OF_MEMORY = 2,
  LN_CUDA_NO_DEVICE = 100,
  LN_CUDA_NON_BLOCKING = 1,
  LN_CUDA_HOST_MAPPED = 1 | 2, /* for every context */
  LN_CUDA_MAJOR = 75,
  LN_CUDA_MINOR = 76,
  LN_CUDA_LEAST = 12000 /* the driver's version from which on cuLibraryLoadData is there */
};

#define LN_DRIVER(X)                                                                                            \
  X(init, "cuInit", (unsigned))                                                                                 \
  X(version, "cuDriverGetVersion", (int *))                                                                     \
  X(error_text, "cuGetErrorString", (int, const char **))                                                       \
  X(count, "cuDeviceGetCount", (int *))                                                                         \
  X(device, "cuDeviceGet", (int *, int))                                                                        \
  X(name, "cuDeviceGetName", (char *, int, int))                                                                \
  X(attribute, "cuDeviceGetAttribute", (int *, int, int))                                                       \
  X(retain, "cuDevicePrimaryCtxRetain", (ln_context *, int))                                                    \
  X(current, "cuCtxGetCurrent", (ln_context *))                                                                 \
  X(set_current, "cuCtxSetCurrent", (ln_context))                                                               \
  X(stream_new, "cuStreamCreate", (ln_stream *, unsigned))                                                      \
  X(stream_drop, "cuStreamDestroy_v2", (ln_stream))                                                             \
  X(stream_wait, "cuStreamSynchronize", (ln_stream))                                                            \
  X(alloc, "cuMemAlloc_v2", (ln_address *, size_t))                                                             \
  X(free, "cuMemFree_v2", (ln_address))                                                                         \
  X(alloc_host, "cuMemHostAlloc", (void **, size_t, unsigned))                                                  \
  X(free_host, "cuMemFreeHost", (void *))                                                                       \
  X(host_address, "cuMemHostGetDevicePointer_v2", (ln_address *, void *, unsigned))                             \
  X(to_device, "cuMemcpyHtoDAsync_v2", (ln_address, const void *, size_t, ln_stream))                           \
  X(to_host, "cuMemcpyDtoHAsync_v2", (void *, ln_address, size_t, ln_stream))                                   \
  X(copy, "cuMemcpyDtoDAsync_v2", (ln_address, ln_address, size_t, ln_stream))                                  \
  X(copy_peer, "cuMemcpyPeerAsync", (ln_address, ln_context, ln_address, ln_context, size_t, ln_stream))        \
  X(load, "cuLibraryLoadData", (ln_binary *, const void *, int *, void **, unsigned, int *, void **, unsigned)) \
  X(unload, "cuLibraryUnload", (ln_binary))                                                                     \
  X(kernel, "cuLibraryGetKernel", (ln_kernel *, ln_binary, const char *))                                       \
  X(launch, "cuLaunchKernel", (ln_kernel, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, ln_stream, void **, void **))

struct ln_driver {
#define LN_DRIVER_FUNCTION(name, symbol, arguments) int(*name) arguments;
  LN_DRIVER(LN_DRIVER_FUNCTION)
#undef LN_DRIVER_FUNCTION
};

/* Filled by ln_gpu_count. */
extern ln_driver ln_gpu_driver;
int ln_gpu_driver_version(void); /* 13000 for 13.0 */

/* NULL for 0, else the driver's text for the error. */
const char *ln_gpu_failure(int error);
ln_stream ln_gpu_stream(int device); /* this thread's; the device was entered */
/* The architecture of a device: 90 for compute capability 9.0. */
const char *ln_gpu_architecture(int device, int *architecture);

/* Runs when this thread ends, unless it is the last of the process. */
void ln_gpu_at_thread_end(void (*run)(void *), void *argument);

#endif
