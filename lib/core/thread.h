/* thread.h - what belongs to one OS thread: error text, modes, scopes, caches of blocks and headers. Included by core/ and autograd/ only.
 * It lies on the heap behind one thread-local pointer: the loader has room for little more in a library that a running program opens. */
#ifndef LUNETTE_THREAD_H
#define LUNETTE_THREAD_H

#include "../internal.h"

#define LN_MAX_DEVICES 16
#define LN_SIZE_CLASSES 352 /* eight a doubling, up to 2^48 bytes */

typedef struct ln_block {
  struct ln_block *next;
} ln_block;

typedef struct ln_cache {
  ln_block *free[LN_SIZE_CLASSES]; /* host blocks hold the link; a block of another device has an entry */
  int64_t live, cached, peak;
} ln_cache;

typedef struct ln_scope {
  ln_tensor **made;
  int n, capacity;
} ln_scope;

typedef struct ln_thread {
  char error[1024];
  ln_memory memory;
  int mode;            /* LN_MODE_* */
  const char *running; /* the public name of the operator whose rule runs; NULL outside of rules */
  uint64_t next_sequence;
  int64_t next_id;
  ln_tensor *free_headers;
  ln_storage *free_storages;
  ln_cache host;
  ln_cache *device[LN_MAX_DEVICES];
  ln_scope *scopes;
  int scope_depth, scope_capacity;
  int64_t last_callback;
  int64_t *dead; /* callbacks that are no longer needed */
  int n_dead, dead_capacity;
  char shapes[4][256]; /* ln_shape_text's */
  unsigned next_shape;
  char info[1536];    /* ln_build_info's */
  char location[256]; /* anomaly mode: the Lua line of the call that runs */
  uint64_t engine_count;
  ln_engine *engines;      /* that have not ended, the latest first */
  ln_engine *spare_engine; /* with its arrays, for the next backward */
} ln_thread;

/* Large host blocks (core/region.c), of the sizes it serves; NULL when there is no memory. */
bool ln_region_serves(size_t size);
void *ln_region_alloc(size_t size);
void ln_region_free(void *block, size_t size);

extern _Thread_local ln_thread *ln_thread_current __attribute__((tls_model("initial-exec")));
ln_thread *ln_thread_new(void);
static inline ln_thread *ln_me(void) {
  ln_thread *t = ln_thread_current;
  return __builtin_expect(t != NULL, 1) ? t : ln_thread_new();
}

#endif
