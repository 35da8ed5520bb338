/* tensor.h - storages, tensors and their geometry, loops over them, devices, random numbers. Nothing here knows an operator or a gradient. */
#ifndef LUNETTE_TENSOR_H
#define LUNETTE_TENSOR_H

#include "../kernels/interrupt.h"
#include "../kernels/kernels.h"
#include "base.h"

/* -- Memory (core/memory.c) -- */
/* A cached block of at least `bytes`, 64-byte aligned, on `device`; freed with the same size. NULL, or what failed. */
const char *ln_block_alloc(int device, size_t bytes, void **out);
int ln_block_status(const char *failure, size_t bytes); /* its answer as a status, with the error's text */
void ln_block_free(int device, void *block, size_t bytes);

/* Bytes of this thread's blocks on a device: in use, kept for reuse, the most there were. */
int ln_block_counters(int device, int64_t *live, int64_t *cached, int64_t *peak);
void ln_block_trim(int device); /* cached blocks back to the device */

typedef struct ln_map ln_map;

struct ln_storage {
  uint32_t refs;
  uint32_t version; /* counts in-place changes */
  uint32_t zero_at; /* zero_grad filled it when this was the version: then all of it is 0; 0 when never */
  int32_t device;
  int64_t bytes;
  char *data;
  ln_map *map; /* the mapped file that data lies in; NULL for a block of its own */
};
int ln_storage_new(int device, int64_t bytes, ln_storage **out);
int ln_storage_over(ln_map *map, char *data, int64_t bytes, ln_storage **out); /* on the host; holds the map, and counts as no memory */
void ln_storage_retain(ln_storage *s);
void ln_storage_release(ln_storage *s);

/* -- Tensors (core/tensor.c). Inside lib/ every `ln_tensor **out` hands over one reference that the scope does not own. -- */
int ln_new(const int64_t *shape, int ndim, int dtype, int device, ln_tensor **out); /* row-major, uninitialised */
int ln_new_like(const ln_tensor *t, int dtype, ln_tensor **out);                    /* row-major, same shape and device */
int ln_new_strided(const int64_t *shape, const int64_t *stride, int ndim, int dtype, int device, ln_tensor **out);
/* The same over a storage of which it takes the caller's reference, its first element at data. */
int ln_new_over(ln_storage *storage, char *data, const int64_t *shape, const int64_t *stride, int ndim, int dtype, ln_tensor **out);
ln_tensor *ln_alias(const ln_tensor *t);                                                   /* same geometry and storage, no history */
void ln_set_geometry(ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim); /* and numel */
bool ln_is_dense(const ln_tensor *t);                                                      /* its elements fill one block in some order of dims */
static inline int64_t ln_itemsize(const ln_tensor *t) { return ln_dtype_size(t->dtype); }
static inline bool ln_is_float(int dtype) { return dtype <= LN_BFLOAT16; }
/* A loop, for dims that were just written: a vector load would wait until the narrow stores have left for memory. */
static inline bool ln_same_dims(const int64_t *a, const int64_t *b, int n) {
  for (int i = 0; i < n; i++)
    if (a[i] != b[i]) return false;
  return true;
}
static inline bool ln_same_shape(const ln_tensor *a, const ln_tensor *b) { return a->ndim == b->ndim && ln_same_dims(a->shape, b->shape, a->ndim); }
int64_t ln_numel(const int64_t *shape, int ndim);
/* Registers a handed-out tensor with the current scope, if there is one. */
void ln_hand_out(ln_tensor *t);
int ln_broadcast(const char *op, const ln_tensor *a, const ln_tensor *b, int64_t *shape, int *ndim); /* into shape, which may hold a's so far */
int ln_wrap_dim(const char *op, int64_t dim, int ndim, int *out); /* a negative dim counts from the end; ndim 0 counts as 1 */

/* -- Loops (core/loop.c) -- */
/* Operands broadcast to the shape of operand 0; NULL operands are filled by ln_loop_scalar afterwards. Collapses dimensions. The loop runs in
 * logical order, or in that of operand 0's memory, for kernels to which the order is all one (pointwise, convert). */
void ln_loop_init(ln_loop *loop, ln_tensor *const *operands, int n);
void ln_loop_init_any_order(ln_loop *loop, ln_tensor *const *operands, int n);
void ln_loop_scalar(ln_loop *loop, int operand, int dtype, const void *value);
/* Splits x into reduced and kept dims (mask bit per dim); y: the result with kept dims only, or with all when keepdim. */
void ln_fold_init(ln_fold *fold, int kind, const ln_tensor *x, uint32_t mask, const ln_tensor *y, bool keepdim);

/* -- Devices (core/device.c) -- */
/* The status of a call of the device after which it has done all that was asked of it: its failure, or what checks found meanwhile. */
int ln_waited(const char *op, int device, const char *failure);
int ln_fail_violation(const ln_violation *v, int device); /* LN_CPU: found at once */
const ln_kernels *ln_kernels_of(int device);              /* cpu: always; cuda: the plug-in's, which a tensor on it proves to be loaded */

/* -- Mapped files (io/map.c) -- */
void ln_map_retain(ln_map *m);
void ln_map_release(ln_map *m);

/* -- Random numbers (core/random.c) -- */
/* Takes blocks of the generator in use. */
void ln_random_reserve(uint64_t blocks, uint64_t *seed, uint64_t *offset);
/* Takes the blocks that r's loop needs: sets seed and offset. */
void ln_random_draw(ln_random *r);

/* -- Values moved between layouts, dtypes and devices (core/copy.c) -- */
/* t as row-major memory of a dtype: t itself, retained, or a converted copy. No history. */
int ln_dense(ln_tensor *t, int dtype, ln_tensor **out);
/* y = x with conversion and broadcasting; any strides. */
int ln_copy_into(ln_tensor *y, ln_tensor *x);
int ln_zero(ln_tensor *y);
/* Every element of y becomes a number: the int64 or double at `value`. */
int ln_fill_number(ln_tensor *y, bool whole, const void *value);

#endif
