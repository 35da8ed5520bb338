/* table.cu - the table of kernels that the plug-in hands to the core. */
#include "kernels.h"
#include "typed.h"

static const char *pointwise(int row, int pass, int compute, const ln_loop *loop, const double *attrs, int device) {
  if (compute == LN_FLOAT64) return ln_gpu_pointwise_f64(row, pass, loop, attrs, device);
  if (compute == LN_INT64) return ln_gpu_pointwise_i64(row, pass, loop, attrs, device);
  return ln_gpu_pointwise_f32(row, pass, loop, attrs, device);
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
  table->pointwise = pointwise;
  table->convert = ln_gpu_convert;
  table->random = ln_gpu_random;
  table->arange = ln_gpu_arange;
  table->fold = ln_gpu_fold;
  table->cumsum = ln_gpu_cumsum;
  table->softmax = ln_gpu_softmax;
  table->softmax_dx = ln_gpu_softmax_dx;
  table->gemm = ln_gpu_gemm;
  table->conv = ln_gpu_conv;
  table->conv_dx = ln_gpu_conv_dx;
  table->conv_dw = ln_gpu_conv_dw;
  table->max_pool = ln_gpu_max_pool;
  table->max_pool_dx = ln_gpu_max_pool_dx;
  table->avg_pool = ln_gpu_avg_pool;
  table->avg_pool_dx = ln_gpu_avg_pool_dx;
  table->batch_norm = ln_gpu_batch_norm;
  table->batch_norm_dx = ln_gpu_batch_norm_dx;
  table->indexed = ln_gpu_indexed;
  table->take = ln_gpu_take;
  table->take_add = ln_gpu_take_add;
  table->find_outside = ln_gpu_find_outside;
  table->nonzero = ln_gpu_nonzero;
  table->sgd = ln_gpu_sgd;
  table->adam = ln_gpu_adam;
  return NULL;
}
