/* table.cu - the table of kernels that the plug-in hands to the core. */
#include "kernels.h"
#include "typed.h"

const char *ln_gpu_pointwise(const ln_pointwise *p, int device) {
  if (p->dtype == LN_FLOAT64) return ln_gpu_pointwise_f64(p, device);
  if (p->dtype == LN_INT64) return ln_gpu_pointwise_i64(p, device);
  return ln_gpu_pointwise_f32(p, device);
}

extern "C" __attribute__((visibility("default"))) const char *ln_plugin_init(ln_kernels *table, int *device_count) {
  if (table->version != LN_KERNELS_VERSION || table->size != sizeof *table) return "the plug-in belongs to another version of Lunette";
  const char *failure = ln_gpu_count(device_count);
  if (failure) return failure;
  table->alloc = ln_gpu_alloc;
  table->free = ln_gpu_free;
  table->copy = ln_gpu_copy;
  table->synchronize = ln_gpu_synchronize;
  table->name = ln_gpu_name;
#define KERNEL(name, arguments, types) table->name = ln_gpu_##name;
#include "../kernels.def"
  return NULL;
}
