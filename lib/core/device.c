/* device.c - which kernels compute for a device. The CUDA plug-in is looked for when a cuda device is first named, never before. */
#define _GNU_SOURCE
#include "thread.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static ln_kernels cuda;
static int cuda_devices;
static char why_not[512] = "CUDA has not been asked for yet";
static pid_t opened_by; /* a CUDA context does not survive fork */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* LUNETTE_CUDA_PLUGIN, or the folder of this library, where the plug-in stands too. */
static bool plugin_path(char *path, size_t size) {
  Dl_info info;
  const char *wish = getenv("LUNETTE_CUDA_PLUGIN");
  if (wish && *wish) return snprintf(path, size, "%s", wish) < (int)size;
  if (!dladdr((void *)plugin_path, &info) || !info.dli_fname) return false;
  const char *slash = strrchr(info.dli_fname, '/');
  int folder = slash ? (int)(slash - info.dli_fname) : 1;
  return snprintf(path, size, "%.*s/liblunette_cuda.so", folder, slash ? info.dli_fname : ".") < (int)size;
}

#define MOST_WARNINGS 256

/* A text once in the life of the process. */
static void warn(const char *text) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static uint64_t told[MOST_WARNINGS];
  static int n;
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char *c = text; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
  pthread_mutex_lock(&lock);
  bool fresh = n < MOST_WARNINGS;
  for (int k = 0; k < n; k++) fresh = fresh && told[k] != hash;
  if (fresh) told[n++] = hash;
  pthread_mutex_unlock(&lock);
  if (fresh) fprintf(stderr, "lunette: %s\n", text);
}

static void open_plugin(void) {
  char path[400] = "";
  opened_by = getpid();
  if (!plugin_path(path, sizeof path) || access(path, R_OK) != 0) {
    snprintf(why_not, sizeof why_not, "this Lunette was built without CUDA: %s cannot be read", path);
    return;
  }
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(why_not, sizeof why_not, "the CUDA plug-in could not be opened: %s", dlerror());
    return;
  }
  ln_plugin_init_fn init;
  *(void **)&init = dlsym(library, "ln_plugin_init");
  cuda.version = LN_KERNELS_VERSION;
  cuda.size = sizeof cuda;
  cuda.block_alloc = ln_block_alloc;
  cuda.block_free = ln_block_free;
  cuda.warn = warn;
  const char *failure = init ? init(&cuda, &cuda_devices) : "it has no symbol ln_plugin_init";
  if (!failure && (cuda.version != LN_KERNELS_VERSION || cuda.size != sizeof cuda)) failure = "the plug-in belongs to another version of Lunette";
  if (!failure && cuda_devices == 0) failure = "no CUDA device was found";
  if (failure) cuda_devices = 0;
  snprintf(why_not, sizeof why_not, "%s", failure ? failure : "");
}

static bool usable(void) {
  pthread_once(&once, open_plugin);
  return cuda_devices > 0;
}

const ln_kernels *ln_kernels_of(int device) { return device == LN_CPU ? ln_cpu_kernels() : &cuda; }

int ln_device_check(int device) {
  if (device == LN_CPU) return LN_OK;
  if (!usable()) return ln_fail("device cuda:%d cannot be used: %s", device, why_not);
  if (getpid() != opened_by) return ln_fail("device cuda:%d cannot be used in a process forked after CUDA was first used", device);
  if (device < 0 || device >= cuda_devices || device >= LN_MAX_DEVICES)
    return ln_fail("there is no device cuda:%d: this machine has %d (they count from 0)", device, cuda_devices);
  return LN_OK;
}

/* -- What checks found -- */

int ln_fail_violation(const ln_violation *v, int device) {
  char later[96] = "", class[64] = "";
  if (device != LN_CPU) snprintf(later, sizeof later, "; found when cuda:%d was waited for, what was computed from it is not valid", device);
  if (v->kind == LN_CHECK_DIVISOR) return ln_fail("%s: integer division by zero%s", v->name, later);
  if (v->kind == LN_CHECK_CLASS) snprintf(class, sizeof class, " (a target is a class from 0 to %lld)", (long long)v->size - 1);
  return ln_fail("%s: index %lld is out of bounds for dimension %d with size %lld (indexes start at 0)%s%s", v->name, (long long)v->value, v->dim,
                 (long long)v->size, class, later);
}

int ln_waited(const char *op, int device, const char *failure) {
  ln_violation found;
  const ln_kernels *k = ln_kernels_of(device);
  LN_TRY(ln_kernel_status(op, failure));
  return k->violation && k->violation(device, &found) ? ln_fail_violation(&found, device) : LN_OK;
}

/* -- lt.cuda -- */

/* A number that the public functions below are given. */
static int check_cuda(const char *op, int device) {
  if (device < 0) return ln_fail("%s: there is no device cuda:%d (they count from 0)", op, device);
  return ln_device_check(device);
}

bool ln_cuda_is_available(void) { return usable(); }

int ln_cuda_device_count(void) { return usable() ? cuda_devices : 0; }

const char *ln_cuda_why_not(void) {
  usable();
  return why_not;
}

int ln_cuda_synchronize(int device) {
  LN_TRY(check_cuda("synchronize", device));
  return ln_waited("synchronize", device, cuda.synchronize(device));
}

int ln_cuda_memory(int device, int64_t *allocated, int64_t *reserved, int64_t *peak) {
  int64_t cached;
  LN_TRY(check_cuda("memory", device));
  LN_TRY(ln_block_counters(device, allocated, &cached, peak));
  *reserved = *allocated + cached;
  return LN_OK;
}

int ln_cuda_empty_cache(int device) {
  LN_TRY(check_cuda("empty_cache", device));
  ln_block_trim(device);
  return LN_OK;
}

int ln_cuda_name(int device, char *name, int capacity) {
  LN_TRY(check_cuda("get_device_name", device));
  return ln_kernel_status("get_device_name", cuda.name(device, name, capacity));
}

int ln_cuda_libraries(char *text, int capacity, int *length) {
  LN_TRY(ln_device_check(0));
  *length = cuda.libraries(text, capacity);
  return LN_OK;
}

int ln_cuda_allow_tf32(int set, bool *allowed) {
  LN_TRY(ln_device_check(0));
  *allowed = cuda.allow_tf32(set);
  return LN_OK;
}

/* -- What this build is -- */

const char *ln_version(void) { return LN_VERSION; }

const char *ln_build_info(void) {
  char *text = ln_me()->info;
  const char *blas = ln_openblas_failure(), *onednn = ln_onednn_failure();
  snprintf(text, sizeof ln_me()->info, "Lunette %s\nCPU kernels: %s\nthreads: %d\nOpenBLAS: %s%s\noneDNN: %s%s", LN_VERSION, ln_cpu_isa(),
           ln_get_num_threads(), blas ? "no, " : "yes", blas ? blas : "", onednn ? "no, " : "yes", onednn ? onednn : "");
  return text;
}
