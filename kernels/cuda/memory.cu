/* memory.cu - devices, their memory and streams. Every thread has a stream of its own on every device; what it frees is reused in the order of
 * that stream. */
#include "kernels.h"

#include <cub/device/device_radix_sort.cuh>
#include <dlfcn.h>
#include <stdio.h>

struct ln_device_state {
  cudaStream_t stream;
  void *scratch;
  size_t scratch_bytes;
};

static thread_local ln_device_state states[LN_MAX_GPUS];
static thread_local int current = -1;

const char *ln_gpu_failure(cudaError_t error) { return error == cudaSuccess ? NULL : cudaGetErrorString(error); }

const char *ln_gpu_count(int *devices) {
  *devices = 0;
  void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return "no NVIDIA driver was found (libcuda.so.1 cannot be opened)";
  cudaError_t error = cudaGetDeviceCount(devices);
  if (error == cudaErrorInsufficientDriver) return "the NVIDIA driver is too old for the CUDA version that Lunette was built with";
  if (error == cudaErrorNoDevice) return "no CUDA device was found";
  return ln_gpu_failure(error);
}

const char *ln_gpu_enter(int device) {
  if (device == current) return NULL;
  LN_GPU_TRY(ln_gpu_failure(cudaSetDevice(device)));
  current = device;
  if (states[device].stream) return NULL;
  return ln_gpu_failure(cudaStreamCreateWithFlags(&states[device].stream, cudaStreamNonBlocking));
}

cudaStream_t ln_gpu_stream(int device) { return states[device].stream; }

const char *ln_gpu_alloc(int device, size_t bytes, void **out) {
  LN_GPU_TRY(ln_gpu_enter(device));
  const char *failure = ln_gpu_failure(cudaMalloc(out, bytes));
  if (failure) cudaGetLastError(); /* an allocation that failed is no lasting error */
  return failure;
}

void ln_gpu_free(int device, void *p) {
  if (!ln_gpu_enter(device)) cudaFree(p);
}

const char *ln_gpu_scratch(int device, size_t bytes, void **out) {
  ln_device_state *s = &states[device];
  LN_GPU_TRY(ln_gpu_enter(device));
  if (bytes > s->scratch_bytes) {
    size_t room = bytes < (size_t)1 << 20 ? (size_t)1 << 20 : bytes + bytes / 4;
    void *fresh = NULL;
    LN_GPU_TRY(ln_gpu_alloc(device, room, &fresh));
    if (s->scratch) cudaFree(s->scratch);
    s->scratch = fresh;
    s->scratch_bytes = room;
  }
  *out = s->scratch;
  return NULL;
}

const char *ln_gpu_synchronize(int device) {
  LN_GPU_TRY(ln_gpu_enter(device));
  return ln_gpu_failure(cudaStreamSynchronize(states[device].stream));
}

/* The host's end of a copy is safe to use when this returns. */
const char *ln_gpu_copy(void *dst, int dst_device, const void *src, int src_device, size_t bytes) {
  if (bytes == 0) return NULL;
  if (dst_device != LN_HOST && src_device != LN_HOST && dst_device != src_device) {
    LN_GPU_TRY(ln_gpu_synchronize(src_device));
    LN_GPU_TRY(ln_gpu_enter(dst_device));
    LN_GPU_TRY(ln_gpu_failure(cudaMemcpyPeerAsync(dst, dst_device, src, src_device, bytes, states[dst_device].stream)));
    return ln_gpu_synchronize(dst_device); /* src may be reused by its own stream from now on */
  }
  int device = dst_device == LN_HOST ? src_device : dst_device;
  LN_GPU_TRY(ln_gpu_enter(device));
  LN_GPU_TRY(ln_gpu_failure(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, states[device].stream)));
  return dst_device == src_device ? NULL : ln_gpu_synchronize(device);
}

const char *ln_gpu_name(int device, char *name, int capacity) {
  cudaDeviceProp properties;
  LN_GPU_TRY(ln_gpu_failure(cudaGetDeviceProperties(&properties, device)));
  snprintf(name, (size_t)capacity, "%s", properties.name);
  return NULL;
}

const char *ln_gpu_sort(int device, int64_t n, const uint64_t *keys, uint64_t *keys_out, const int64_t *values, int64_t *values_out, int bits,
                        void *room, size_t *room_bytes) {
  LN_GPU_TRY(ln_gpu_enter(device));
  return ln_gpu_failure(cub::DeviceRadixSort::SortPairs(room, *room_bytes, keys, keys_out, values, values_out, n, 0, bits, states[device].stream));
}
