/* driver.c - a libcuda.so.1 without a GPU, for specs of the CUDA plug-in: memory is the host's, kernels compute nothing, and failures come as they are
 * asked for.
 *
 *     FAKE_DEVICES   how many there are (1)      FAKE_VERSION   the driver's version (13000)
 *     FAKE_ARCH      their architecture (90)     FAKE_MEMORY    bytes that can be allocated
 *     FAKE_ALLOC     what allocations return     FAKE_LAUNCH    what launches return
 *     FAKE_LOG       a file that gets a line for each program loaded and each kernel launched */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

static long long number(const char *name, long long otherwise) {
  const char *text = getenv(name);
  return text ? atoll(text) : otherwise;
}

static void note(const char *what, const char *text) {
  const char *path = getenv("FAKE_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s %s\n", what, text);
  fclose(file);
}

static size_t used;

int cuInit(unsigned flags) { return flags ? 1 : number("FAKE_DEVICES", 1) == 0 ? 100 : 0; }
int cuDriverGetVersion(int *version) { return *version = (int)number("FAKE_VERSION", 13000), 0; }
int cuGetErrorString(int error, const char **text) {
  *text = error == 700 ? "an illegal memory access was encountered" : error == 2 ? "out of memory" : "some error";
  return 0;
}
int cuDeviceGetCount(int *count) { return *count = (int)number("FAKE_DEVICES", 1), 0; }
int cuDeviceGet(int *device, int k) { return *device = k, 0; }
int cuDeviceGetName(char *name, int capacity, int device) { return snprintf(name, (size_t)capacity, "Fake %d", device), 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  int arch = (int)number("FAKE_ARCH", 90);
  *value = attribute == 75 ? arch / 10 : arch % 10;
  return device < 0;
}

static __thread void *current;
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)(size_t)(device + 1), 0; }
int cuCtxGetCurrent(void **context) { return *context = current, 0; }
int cuCtxSetCurrent(void *context) { return current = context, 0; }
int cuStreamCreate(void **stream, unsigned flags) { return *stream = malloc(1), flags != 1; }
int cuStreamDestroy_v2(void *stream) { return free(stream), 0; }
int cuStreamSynchronize(void *stream) { return stream == NULL; }

/* The size stands in front. */
int cuMemAlloc_v2(address *p, size_t bytes) {
  int failure = (int)number("FAKE_ALLOC", 0);
  if (failure) return failure;
  if (used + bytes > (size_t)number("FAKE_MEMORY", (long long)1 << 40)) return 2;
  size_t *block = aligned_alloc(256, ((bytes + 255) & ~(size_t)255) + 256);
  if (!block) return 2;
  *block = bytes;
  used += bytes;
  *p = (address)(block + 32);
  return 0;
}
int cuMemFree_v2(address p) {
  size_t *block = (size_t *)p - 32;
  used -= *block;
  free(block);
  return 0;
}
int cuMemHostAlloc(void **p, size_t bytes, unsigned flags) { return *p = calloc(1, bytes), flags != 3; }
int cuMemFreeHost(void *p) { return free(p), 0; }
int cuMemHostGetDevicePointer_v2(address *p, void *host, unsigned flags) { return *p = (address)host, (int)flags; }
int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t n, void *stream) { return memcpy((void *)to, from, n), stream == NULL; }
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t n, void *stream) { return memcpy(to, (void *)from, n), stream == NULL; }
int cuMemcpyDtoDAsync_v2(address to, address from, size_t n, void *stream) { return memcpy((void *)to, (void *)from, n), stream == NULL; }
int cuMemcpyPeerAsync(address to, void *to_context, address from, void *from_context, size_t n, void *stream) {
  return memcpy((void *)to, (void *)from, n), stream == NULL || to_context == from_context;
}

int cuLibraryLoadData(void **library, const void *code, int *o, void **v, unsigned n, int *lo, void **lv, unsigned ln) {
  note("load", code);
  return *library = malloc(1), (o || v || lo || lv || n || ln) ? 1 : 0;
}
int cuLibraryUnload(void *library) { return free(library), 0; }
int cuLibraryGetKernel(void **kernel, void *library, const char *name) { return *kernel = strdup(name), library == NULL; }
int cuLaunchKernel(void *kernel, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared, void *stream,
                   void **arguments, void **extra) {
  note("launch", kernel);
  if (!x || y != 1 || z != 1 || !tx || ty != 1 || tz != 1 || shared || !stream || !arguments || extra) return 1;
  return (int)number("FAKE_LAUNCH", 0);
}
