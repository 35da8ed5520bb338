/* table.cpp - the table of kernels that the plug-in hands to the core, and what it takes from there. */
#include "kernels.h"

#include <atomic>
#include <stdarg.h>
#include <stdio.h>

static const ln_kernels *core;

const char *ln_gpu_text(const char *format, ...) {
  static thread_local char text[4096];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

bool ln_gpu_allow_tf32(int set) {
  static std::atomic<bool> allowed(false);
  if (set >= 0) allowed = set != 0;
  return allowed;
}

void ln_gpu_warn(const char *text) { core->warn(text); }

ln_scratch::ln_scratch(int device, size_t bytes) : failure(NULL), memory(NULL), device_(device), bytes_(bytes) {
  if (bytes) failure = core->block_alloc(device, bytes, &memory);
}

ln_scratch::~ln_scratch() {
  if (memory) core->block_free(device_, memory, bytes_);
}

const char *ln_gpu_pointwise(const ln_pointwise *p, int device) {
  if (p->dtype == LN_FLOAT64) return ln_gpu_pointwise_f64(p, device);
  if (p->dtype == LN_INT64) return ln_gpu_pointwise_i64(p, device);
  return ln_gpu_pointwise_f32(p, device);
}

extern "C" __attribute__((visibility("default"))) const char *ln_plugin_init(ln_kernels *table, int *device_count) {
  if (table->version != LN_KERNELS_VERSION || table->size != sizeof *table) return "the plug-in belongs to another version of Lunette";
  const char *failure = ln_gpu_count(device_count);
  if (failure) return failure;
  core = table;
  table->alloc = ln_gpu_alloc;
  table->free = ln_gpu_free;
  table->copy = ln_gpu_copy;
  table->synchronize = ln_gpu_synchronize;
  table->violation = ln_gpu_violation;
  table->name = ln_gpu_name;
  table->libraries = ln_gpu_libraries;
  table->allow_tf32 = ln_gpu_allow_tf32;
#define KERNEL(name, arguments, types) table->name = ln_gpu_##name;
#include "../kernels.def"
  return NULL;
}
