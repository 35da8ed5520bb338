/* device.cpp - devices, their memory and streams. Every thread has a stream of its own on every device; what it frees is reused in the order of
 * that stream. */
#include "driver.h"

#include <mutex>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

ln_driver ln_gpu_driver;

namespace {

struct device_state {
  std::once_flag once;
  ln_context context;
  int handle, architecture;
  const char *failure;
};

/* What a thread has; it goes with the thread. In the thread that ends the process the driver may be gone already. */
struct thread_state {
  ln_stream stream[LN_MAX_GPUS];
  ln_violation *record[LN_MAX_GPUS]; /* memory of the host that kernels write */
  struct ending {
    void (*run)(void *);
    void *argument;
  };
  std::vector<ending> endings;
  ~thread_state() {
    if (syscall(SYS_gettid) == getpid()) return;
    for (size_t k = endings.size(); k > 0; k--) endings[k - 1].run(endings[k - 1].argument);
  }
};

device_state devices[LN_MAX_GPUS];
thread_local thread_state mine;
int driver_version;
volatile bool forked;

void after_fork() { forked = true; }

void open_device(device_state *d, int device) {
  int major = 0, minor = 0;
  int error = ln_gpu_driver.device(&d->handle, device);
  if (!error) error = ln_gpu_driver.attribute(&major, LN_CUDA_MAJOR, d->handle);
  if (!error) error = ln_gpu_driver.attribute(&minor, LN_CUDA_MINOR, d->handle);
  if (!error) error = ln_gpu_driver.retain(&d->context, d->handle);
  d->architecture = major * 10 + minor;
  d->failure = ln_gpu_failure(error);
}

const char *opened(int device, device_state **out) {
  device_state *d = &devices[device];
  if (forked) return "CUDA cannot be used in a process that was forked after its first use";
  std::call_once(d->once, open_device, d, device);
  *out = d;
  return d->failure;
}

/* Makes the device's context current, whatever another library left there. */
const char *set_current(int device) {
  device_state *d;
  ln_context now = NULL;
  LN_GPU_TRY(opened(device, &d));
  if (!ln_gpu_driver.current(&now) && now == d->context) return NULL;
  return ln_gpu_failure(ln_gpu_driver.set_current(d->context));
}

void drop_stream(void *stream) { ln_gpu_driver.stream_drop((ln_stream)stream); }

bool open_driver(const char **failure) {
  void *library = ln_library_open_name("libcuda.so.1");
  bool whole = true;
  *failure = "no NVIDIA driver was found (libcuda.so.1 cannot be opened)";
  if (!library) return false;
#define FIND(name, symbol, arguments) ln_library_symbol(library, symbol, &ln_gpu_driver.name, &whole);
  LN_DRIVER(FIND)
#undef FIND
  if (ln_gpu_driver.version) ln_gpu_driver.version(&driver_version);
  *failure =
    ln_gpu_text("the NVIDIA driver is too old: it is for CUDA %d.%d, and Lunette needs 12.0", driver_version / 1000, driver_version % 1000 / 10);
  return whole && driver_version >= LN_CUDA_LEAST;
}

} // namespace

const char *ln_gpu_failure(int error) {
  const char *text = NULL;
  if (error == 0) return NULL;
  if (error == LN_CUDA_OUT_OF_MEMORY) return LN_OUT_OF_MEMORY;
  if (ln_gpu_driver.error_text(error, &text) || !text) return "an unknown CUDA error";
  return text;
}

const char *ln_gpu_count(int *count) {
  const char *failure;
  *count = 0;
  if (!open_driver(&failure)) return failure;
  int error = ln_gpu_driver.init(0);
  if (error == LN_CUDA_NO_DEVICE) return "no CUDA device was found";
  LN_GPU_TRY(ln_gpu_failure(error));
  LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.count(count)));
  if (*count == 0) return "no CUDA device was found";
  pthread_atfork(NULL, NULL, after_fork);
  return NULL;
}

int ln_gpu_driver_version(void) { return driver_version; }

const char *ln_gpu_architecture(int device, int *architecture) {
  device_state *d;
  LN_GPU_TRY(opened(device, &d));
  *architecture = d->architecture;
  return NULL;
}

const char *ln_gpu_enter(int device) {
  LN_GPU_TRY(set_current(device));
  if (mine.stream[device]) return NULL;
  LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.stream_new(&mine.stream[device], LN_CUDA_NON_BLOCKING)));
  ln_gpu_at_thread_end(drop_stream, mine.stream[device]);
  return NULL;
}

ln_stream ln_gpu_stream(int device) { return mine.stream[device]; }

void ln_gpu_at_thread_end(void (*run)(void *), void *argument) { mine.endings.push_back({run, argument}); }

/* -- Memory -- */

const char *ln_gpu_alloc(int device, size_t bytes, void **out) {
  ln_address address = 0;
  LN_GPU_TRY(set_current(device));
  LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.alloc(&address, bytes)));
  *out = (void *)address;
  return NULL;
}

/* Also called when the thread's streams are gone. */
void ln_gpu_free(int device, void *p) {
  if (!set_current(device)) ln_gpu_driver.free((ln_address)p);
}

const char *ln_gpu_synchronize(int device) {
  LN_GPU_TRY(ln_gpu_enter(device));
  return ln_gpu_failure(ln_gpu_driver.stream_wait(mine.stream[device]));
}

/* -- What checks found -- */

static void drop_record(void *record) {
  const ln_violation *found = (const ln_violation *)record;
  for (int d = 0; d < LN_MAX_GPUS; d++)
    if (mine.record[d] == found) ln_gpu_driver.stream_wait(mine.stream[d]);
  if (found->kind)
    ln_gpu_warn(ln_gpu_text("%s was given a wrong index or divisor, and its thread ended without waiting for the device", found->name));
  ln_gpu_driver.free_host(record);
}

const char *ln_gpu_record(int device, ln_violation **record) {
  ln_violation *&own = mine.record[device];
  ln_address there = 0;
  LN_GPU_TRY(ln_gpu_enter(device));
  if (!own) {
    void *memory = NULL;
    LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.alloc_host(&memory, sizeof *own, LN_CUDA_HOST_MAPPED)));
    own = new (memory) ln_violation();
    ln_gpu_at_thread_end(drop_record, own);
  }
  LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.host_address(&there, own, 0)));
  *record = (ln_violation *)there;
  return NULL;
}

bool ln_gpu_violation(int device, ln_violation *found) {
  ln_violation *own = mine.record[device];
  if (!own || own->kind == LN_CHECK_NOTHING) return false;
  *found = *own;
  *own = ln_violation();
  return true;
}

/* -- Copies -- */

static const char *copy_between(void *dst, int dst_device, const void *src, int src_device, size_t bytes) {
  LN_GPU_TRY(ln_gpu_synchronize(src_device));
  LN_GPU_TRY(ln_gpu_enter(dst_device));
  LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.copy_peer((ln_address)dst, devices[dst_device].context, (ln_address)src, devices[src_device].context, bytes,
                                                    mine.stream[dst_device])));
  return ln_gpu_synchronize(dst_device); /* src may be reused by its own stream from now on */
}

/* The host's end of a copy is safe to use when this returns. */
const char *ln_gpu_copy(void *dst, int dst_device, const void *src, int src_device, size_t bytes) {
  const ln_driver &d = ln_gpu_driver;
  if (bytes == 0) return NULL;
  if (dst_device != LN_HOST && src_device != LN_HOST && dst_device != src_device) return copy_between(dst, dst_device, src, src_device, bytes);
  int device = dst_device == LN_HOST ? src_device : dst_device;
  LN_GPU_TRY(ln_gpu_enter(device));
  ln_stream stream = mine.stream[device];
  if (dst_device == src_device) return ln_gpu_failure(d.copy((ln_address)dst, (ln_address)src, bytes, stream));
  LN_GPU_TRY(
    ln_gpu_failure(dst_device == LN_HOST ? d.to_host(dst, (ln_address)src, bytes, stream) : d.to_device((ln_address)dst, src, bytes, stream)));
  return ln_gpu_synchronize(device);
}

const char *ln_gpu_name(int device, char *name, int capacity) {
  device_state *d;
  LN_GPU_TRY(opened(device, &d));
  return ln_gpu_failure(ln_gpu_driver.name(name, capacity, d->handle));
}
