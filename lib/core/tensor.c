/* tensor.c - tensor headers: made, aliased, released, read and written. What an operator does to them is in lib/ops. */
#include "thread.h"

#include <math.h>
#include <stdlib.h>

#define SLAB 64 /* headers taken from the system at once; never given back, so that a stale handle can be told */

int ln_dtype_size(int dtype) {
  static const uint8_t size[LN_DTYPES] = {4, 8, 2, 2, 1, 2, 4, 8, 1, 1};
  return dtype >= 0 && dtype < LN_DTYPES ? size[dtype] : 0;
}

/* PyTorch's table: floats win over integers, integers over bool; uint8 with a signed type needs the next wider one. */
int ln_promote_types(int a, int b) {
  static const int rank[LN_DTYPES] = {3, 4, 2, 2, 1, 2, 3, 4, 1, 0};
  if (a == b) return a;
  bool fa = ln_is_float(a), fb = ln_is_float(b);
  if (fa && fb) {
    if (rank[a] == rank[b]) return LN_FLOAT32; /* float16 with bfloat16 */
    return rank[a] > rank[b] ? a : b;
  }
  if (fa || fb) return fa ? a : b;
  if ((a == LN_UINT8 && b == LN_INT8) || (a == LN_INT8 && b == LN_UINT8)) return LN_INT16;
  return rank[a] >= rank[b] ? a : b;
}

int64_t ln_numel(const int64_t *shape, int ndim) {
  int64_t n = 1;
  for (int i = 0; i < ndim; i++) n *= shape[i];
  return n;
}

static ln_tensor *header_new(ln_thread *me) {
  if (!me->free_headers) {
    ln_tensor *slab = aligned_alloc(64, (sizeof(ln_tensor) * SLAB + 63) & ~(size_t)63);
    if (!slab) return NULL;
    for (int i = SLAB - 1; i >= 0; i--) {
      slab[i].generation = 1;
      slab[i].base = me->free_headers;
      me->free_headers = slab + i;
    }
  }
  ln_tensor *t = me->free_headers;
  me->free_headers = t->base;
  t->id = ++me->next_id;
  t->flags = 0;
  t->node = t->accumulator = NULL;
  t->grad = t->base = t->rows = NULL;
  t->base_version = 0;
  t->refs = 1;
  t->output = t->hook = 0;
  t->scope_slot = -1;
  me->memory.tensors++;
  return t;
}

static void header_free(ln_thread *me, ln_tensor *t) {
  t->generation++;
  t->base = me->free_headers;
  me->free_headers = t;
  me->memory.tensors--;
}

void ln_set_geometry(ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim) {
  int64_t n = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    t->shape[i] = shape[i];
    t->stride[i] = stride ? stride[i] : n;
    n *= shape[i] > 1 || stride ? shape[i] : 1;
  }
  t->ndim = ndim;
  t->numel = ln_numel(shape, ndim);
}

static int check_shape(const int64_t *shape, int ndim, int dtype, int64_t *bytes) {
  if (ndim < 0 || ndim > LN_MAX_DIMS) return ln_fail("a tensor has at most %d dimensions, %d were asked for", LN_MAX_DIMS, ndim);
  if (dtype < 0 || dtype >= LN_DTYPES) return ln_fail("there is no dtype number %d", dtype);
  int64_t n = ln_dtype_size(dtype);
  bool empty = false;
  for (int i = 0; i < ndim; i++) {
    if (shape[i] < 0) return ln_fail("a tensor cannot have the negative size %lld (shape %s)", (long long)shape[i], ln_shape_text(shape, ndim));
    if (shape[i] == 0) empty = true;
  }
  for (int i = 0; i < ndim && !empty; i++)
    if (__builtin_mul_overflow(n, shape[i], &n)) return ln_fail("a tensor of shape %s is larger than memory can be", ln_shape_text(shape, ndim));
  *bytes = empty ? 0 : n;
  return LN_OK;
}

int ln_new_over(ln_storage *storage, char *data, const int64_t *shape, const int64_t *stride, int ndim, int dtype, ln_tensor **out) {
  ln_tensor *t = header_new(ln_me());
  if (!t) {
    ln_storage_release(storage);
    return ln_fail_nomem((int64_t)sizeof *t);
  }
  t->dtype = dtype;
  t->device = storage->device;
  t->storage = storage;
  t->data = data;
  ln_set_geometry(t, shape, stride, ndim);
  *out = t;
  return LN_OK;
}

int ln_new_strided(const int64_t *shape, const int64_t *stride, int ndim, int dtype, int device, ln_tensor **out) {
  int64_t bytes = 0;
  LN_TRY(check_shape(shape, ndim, dtype, &bytes));
  ln_storage *storage;
  LN_TRY(ln_storage_new(device, bytes, &storage));
  return ln_new_over(storage, storage->data, shape, stride, ndim, dtype, out);
}

int ln_new(const int64_t *shape, int ndim, int dtype, int device, ln_tensor **out) { return ln_new_strided(shape, NULL, ndim, dtype, device, out); }

int ln_new_like(const ln_tensor *t, int dtype, ln_tensor **out) { return ln_new(t->shape, t->ndim, dtype, t->device, out); }

ln_tensor *ln_alias(const ln_tensor *t) {
  ln_tensor *a = header_new(ln_me());
  if (!a) {
    ln_fail_nomem((int64_t)sizeof *a);
    return NULL;
  }
  a->dtype = t->dtype;
  a->device = t->device;
  a->ndim = t->ndim;
  a->numel = t->numel;
  memcpy(a->shape, t->shape, sizeof(int64_t) * (size_t)t->ndim);
  memcpy(a->stride, t->stride, sizeof(int64_t) * (size_t)t->ndim);
  a->storage = t->storage;
  a->data = t->data;
  ln_storage_retain(t->storage);
  return a;
}

bool ln_tensor_is_contiguous(const ln_tensor *t) {
  int64_t want = 1;
  if (t->numel == 0) return true;
  for (int i = t->ndim - 1; i >= 0; i--) {
    if (t->shape[i] != 1 && t->stride[i] != want) return false;
    want *= t->shape[i];
  }
  return true;
}

bool ln_is_dense(const ln_tensor *t) {
  int order[16], n = 0;
  if (t->numel == 0) return true;
  for (int i = 0; i < t->ndim; i++) {
    if (t->shape[i] == 1) continue;
    int at = n++;
    for (; at > 0 && t->stride[order[at - 1]] > t->stride[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  int64_t want = 1;
  for (int k = 0; k < n; k++) {
    if (t->stride[order[k]] != want) return false;
    want *= t->shape[order[k]];
  }
  return true;
}

/* -- References -- */

void ln_tensor_retain(ln_tensor *t) { t->refs++; }

static void free_tensor(ln_tensor *t) {
  ln_node *node = t->node;
  if (t->hook) ln_dead_push(t->hook);
  if (t->flags & LN_RETAIN_GRAD) ln_node_forget(t);
  t->generation++; /* stale from here on, also for what the calls below reach */
  ln_storage_release(t->storage);
  header_free(ln_me(), t);
  if (node) ln_node_release(node);
}

/* Tensors that own others, a base, a gradient or rows, wait in a list while one is freed: a chain of any length is freed without recursion. */
static void free_owner(ln_tensor *t) {
  static _Thread_local ln_tensor *doomed __attribute__((tls_model("initial-exec")));
  static _Thread_local bool freeing __attribute__((tls_model("initial-exec")));
  t->accumulator = (ln_node *)doomed; /* the link: nothing asks for it any more */
  doomed = t;
  if (freeing) return;
  freeing = true;
  while (doomed) {
    ln_tensor *next = doomed, *base = next->base, *grad = next->grad, *rows = next->rows;
    doomed = (ln_tensor *)next->accumulator;
    free_tensor(next);
    if (grad) ln_tensor_release(grad);
    if (rows) ln_tensor_release(rows);
    if (base) ln_tensor_release(base);
  }
  freeing = false;
}

void ln_tensor_release(ln_tensor *t) {
  if (--t->refs) return;
  if (t->base || t->grad || t->rows)
    free_owner(t);
  else
    free_tensor(t);
}

void ln_handle_release(ln_handle *h) {
  if (h->_p && h->_p->generation == h->_gen) {
    h->_gen = 0;
    ln_tensor_release(h->_p);
  }
}

/* -- From and to Lua -- */

int ln_tensor_empty(const int64_t *shape, int ndim, int dtype, int device, ln_tensor **out) {
  LN_TRY(ln_device_check(device));
  LN_TRY(ln_new(shape, ndim, dtype, device, out));
  ln_hand_out(*out);
  return LN_OK;
}

int ln_tensor_storage(const ln_tensor *t, ln_tensor **out) {
  const int64_t bytes = t->storage->bytes, one = 1;
  ln_storage_retain(t->storage);
  LN_TRY(ln_new_over(t->storage, t->storage->data, &bytes, &one, 1, LN_UINT8, out));
  ln_hand_out(*out);
  return LN_OK;
}

/* The last byte that the layout reaches, counted from the start of the storage; sizes and strides come from files. */
static int reach(const int64_t *shape, const int64_t *stride, int ndim, int64_t offset, int64_t item, int64_t *end) {
  int64_t last = offset, step;
  for (int i = 0; i < ndim; i++) {
    if (stride[i] < 0) return ln_fail("a tensor cannot have the negative stride %lld", (long long)stride[i]);
    if (__builtin_mul_overflow(shape[i] > 0 ? shape[i] - 1 : 0, stride[i], &step) || __builtin_add_overflow(last, step, &last))
      return ln_fail("strides %s of a tensor of shape %s are too large", ln_shape_text(stride, ndim), ln_shape_text(shape, ndim));
  }
  if (__builtin_mul_overflow(last, item, end) || __builtin_add_overflow(*end, item, end))
    return ln_fail("the offset %lld of a tensor is too large", (long long)offset);
  return LN_OK;
}

int ln_tensor_over(ln_tensor *t, int dtype, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset, ln_tensor **out) {
  int64_t bytes = 0, end = 0;
  ln_storage *s = t->storage;
  LN_TRY(check_shape(shape, ndim, dtype, &bytes));
  if (offset < 0) return ln_fail("a tensor cannot begin at the negative offset %lld", (long long)offset);
  LN_TRY(reach(shape, stride, ndim, offset, ln_dtype_size(dtype), &end));
  bool inside = ln_numel(shape, ndim) == 0 ? offset <= s->bytes / ln_dtype_size(dtype) : end <= s->bytes;
  if (!inside)
    return ln_fail("a tensor of shape %s and stride %s at offset %lld leaves its storage of %lld bytes", ln_shape_text(shape, ndim),
                   ln_shape_text(stride, ndim), (long long)offset, (long long)s->bytes);
  ln_storage_retain(s);
  LN_TRY(ln_new_over(s, s->data + offset * ln_dtype_size(dtype), shape, stride, ndim, dtype, out));
  ln_hand_out(*out);
  return LN_OK;
}

int ln_tensor_alias(ln_tensor *t, ln_tensor **out) {
  *out = ln_alias(t);
  if (!*out) return LN_NOMEM;
  ln_hand_out(*out);
  return LN_OK;
}

/* t as row-major host memory of the dtype; the caller releases it. */
static int to_host(const ln_tensor *t, int dtype, ln_tensor **out) {
  if (t->device != LN_CPU) {
    ln_tensor *same, *here;
    LN_TRY(ln_dense((ln_tensor *)t, t->dtype, &same));
    int status = ln_new(t->shape, t->ndim, t->dtype, LN_CPU, &here);
    if (status == LN_OK) {
      const char *failure = ln_kernels_of(t->device)->copy(here->data, LN_CPU, same->data, t->device, (size_t)(t->numel * ln_itemsize(t)));
      status = ln_waited("copy", t->device, failure);
      if (status == LN_OK) status = ln_dense(here, dtype, out);
      ln_tensor_release(here);
    }
    ln_tensor_release(same);
    return status;
  }
  return ln_dense((ln_tensor *)t, dtype, out);
}

/* LuaJIT takes NaNs whose first bits are all ones for values of other types: it must only meet the one that C makes. */
static double for_lua(double x) { return isnan(x) ? NAN : x; }

int ln_tensor_read(const ln_tensor *t, double *numbers, int64_t *integers) {
  ln_tensor *host;
  if (numbers) {
    LN_TRY(to_host(t, LN_FLOAT64, &host));
    for (int64_t i = 0; i < t->numel; i++) numbers[i] = for_lua(((const double *)host->data)[i]);
    ln_tensor_release(host);
  }
  if (integers) {
    LN_TRY(to_host(t, LN_INT64, &host));
    memcpy(integers, host->data, sizeof(int64_t) * (size_t)t->numel);
    ln_tensor_release(host);
  }
  return LN_OK;
}

int ln_tensor_write(ln_tensor *t, const double *numbers, const int64_t *integers) {
  ln_tensor *host;
  LN_TRY(ln_new(t->shape, t->ndim, integers ? LN_INT64 : LN_FLOAT64, LN_CPU, &host));
  memcpy(host->data, integers ? (const void *)integers : (const void *)numbers, 8 * (size_t)t->numel);
  int status = ln_copy_into(t, host);
  ln_tensor_release(host);
  if (status == LN_OK) t->storage->version++;
  return status;
}

int ln_tensor_item(const ln_tensor *t, double *number, int64_t *integer) {
  if (t->numel != 1)
    return ln_fail("item: a tensor of %lld elements cannot be one number (shape %s)", (long long)t->numel, ln_shape_text(t->shape, t->ndim));
  if (t->device == LN_CPU && t->dtype == LN_FLOAT32) {
    *number = for_lua(*(const float *)t->data);
    *integer = 0;
    return LN_OK;
  }
  return ln_is_float(t->dtype) ? ln_tensor_read(t, number, NULL) : ln_tensor_read(t, number, integer);
}

bool ln_tensor_equal(const ln_tensor *a, const ln_tensor *b) {
  if (!ln_same_shape(a, b) || a->dtype != b->dtype || a->device != LN_CPU || b->device != LN_CPU) return false;
  ln_tensor *x = NULL, *y = NULL;
  bool same = false;
  int dtype = ln_is_float(a->dtype) ? LN_FLOAT64 : LN_INT64;
  if (ln_dense((ln_tensor *)a, dtype, &x) == LN_OK && ln_dense((ln_tensor *)b, dtype, &y) == LN_OK) {
    same = true;
    for (int64_t i = 0; same && i < a->numel; i++)
      same = dtype == LN_INT64 ? ((int64_t *)x->data)[i] == ((int64_t *)y->data)[i] : ((double *)x->data)[i] == ((double *)y->data)[i];
  }
  if (x) ln_tensor_release(x);
  if (y) ln_tensor_release(y);
  return same;
}

uint32_t ln_tensor_version(const ln_tensor *t) { return t->storage->version; }

uint64_t ln_tensor_storage_id(const ln_tensor *t) { return (uint64_t)(uintptr_t)t->storage; }

int64_t ln_tensor_storage_offset(const ln_tensor *t) { return (t->data - t->storage->data) / ln_itemsize(t); }

int ln_tensor_set_data(ln_tensor *dst, ln_tensor *src) {
  if (dst->node || dst->base) return ln_fail("data: only a tensor without history can be given other data");
  ln_storage_retain(src->storage);
  ln_storage_release(dst->storage);
  dst->storage = src->storage;
  dst->data = src->data;
  dst->dtype = src->dtype;
  dst->device = src->device;
  ln_set_geometry(dst, src->shape, src->stride, src->ndim);
  return LN_OK;
}
