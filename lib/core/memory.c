/* memory.c - blocks cached by size on every device, storages, and the byte counters that pace Lua's collector.
 *
 * Blocks are 64-byte aligned and carry no header: who frees one says its size. Classes stand eight to a doubling, so at most 12.5 % is
 * wasted. LN_NO_CACHE=1 hands every block and storage back at once, for the sanitizers; otherwise cached blocks are poisoned. */
#include "thread.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((char *)(p) + sizeof(ln_block), (n) - sizeof(ln_block))
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#endif

#define CACHE_FLOOR ((int64_t)256 << 20) /* bytes always worth keeping */
#define MAX_BLOCK ((size_t)1 << 46)

/* The bytes of a block of a class. */
static size_t size_of(int class) {
  if (class == 0) return 64;
  int e = 6 + (class - 1) / 8;
  size_t size = (size_t)(8 + (class - 1) % 8 + 1) << (e - 3);
  return (size + 63) & ~(size_t)63;
}

/* Rounds bytes up to the size of its class and says which one that is. */
static size_t class_of(size_t bytes, int *class) {
  size_t n = bytes ? ((bytes + 63) & ~(size_t)63) : 64;
  if (n == 64) {
    *class = 0;
    return n;
  }
  int e = 63 - __builtin_clzll(n - 1);
  size_t m = ((n - 1) >> (e - 3)) & 7;
  *class = 1 + (e - 6) * 8 + (int)m;
  return size_of(*class);
}

static bool cache_off(void) {
  static int off = -1;
  if (off < 0) {
    const char *text = getenv("LN_NO_CACHE");
    off = text && *text && *text != '0';
  }
  return off;
}

static ln_cache *cache_of(int device) {
  ln_thread *me = ln_me();
  if (device == LN_CPU) return &me->host;
  if (!me->device[device]) me->device[device] = calloc(1, sizeof(ln_cache));
  return me->device[device];
}

/* A list entry of a cuda block: it cannot hold the link itself. */
typedef struct remote {
  ln_block link;
  void *block;
} remote;

static bool in_region(int device, size_t size) { return device == LN_CPU && ln_region_serves(size) && !cache_off(); }

static const char *system_alloc(int device, size_t size, void **out) {
  if (device != LN_CPU) return ln_kernels_of(device)->alloc(device, size, out);
  *out = in_region(device, size) ? ln_region_alloc(size) : aligned_alloc(64, size);
  return *out ? NULL : LN_OUT_OF_MEMORY;
}

static void system_free(int device, void *block, size_t size) {
  if (in_region(device, size))
    ln_region_free(block, size);
  else if (device == LN_CPU)
    free(block);
  else
    ln_kernels_of(device)->free(device, block);
}

static void *cache_take(ln_cache *cache, int device, int class, size_t size) {
  ln_block *head = cache->free[class];
  if (!head) return NULL;
  cache->free[class] = head->next;
  cache->cached -= (int64_t)size;
  if (device == LN_CPU) {
    UNPOISON(head, size);
    return head;
  }
  void *block = ((remote *)head)->block;
  free(head);
  return block;
}

static bool cache_put(ln_cache *cache, int device, int class, size_t size, void *block) {
  int64_t limit = cache->peak > CACHE_FLOOR ? cache->peak : CACHE_FLOOR;
  if (cache_off() || cache->cached + (int64_t)size > limit) return false;
  ln_block *entry = block;
  if (device != LN_CPU) {
    remote *r = malloc(sizeof *r);
    if (!r) return false;
    r->block = block;
    entry = &r->link;
  }
  entry->next = cache->free[class];
  cache->free[class] = entry;
  cache->cached += (int64_t)size;
  if (device == LN_CPU) POISON(block, size);
  return true;
}

static void cache_trim(int device, ln_cache *cache) {
  for (int class = 0; class < LN_SIZE_CLASSES; class ++) {
    size_t size = size_of(class);
    while (cache->free[class]) system_free(device, cache_take(cache, device, class, size), size);
  }
  cache->cached = 0;
}

void ln_block_trim(int device) {
  ln_cache *cache = cache_of(device);
  if (cache) cache_trim(device, cache);
}

const char *ln_block_alloc(int device, size_t bytes, void **out) {
  int class;
  ln_cache *cache = cache_of(device);
  if (bytes > MAX_BLOCK || !cache) return LN_OUT_OF_MEMORY;
  size_t size = class_of(bytes, &class);
  const char *failure = NULL;
  *out = cache_take(cache, device, class, size);
  if (!*out) failure = system_alloc(device, size, out);
  if (failure && cache->cached > 0 && strcmp(failure, LN_OUT_OF_MEMORY) == 0) {
    cache_trim(device, cache);
    failure = system_alloc(device, size, out);
  }
  if (failure) return failure;
  cache->live += (int64_t)size;
  if (cache->live > cache->peak) cache->peak = cache->live;
  return NULL;
}

int ln_block_status(const char *failure, size_t bytes) {
  if (!failure) return LN_OK;
  return strcmp(failure, LN_OUT_OF_MEMORY) == 0 ? ln_fail_nomem((int64_t)bytes)
                                                : ln_fail("%lld bytes could not be allocated: %s", (long long)bytes, failure);
}

void ln_block_free(int device, void *block, size_t bytes) {
  if (!block) return;
  int class;
  size_t size = class_of(bytes, &class);
  ln_cache *cache = cache_of(device);
  cache->live -= (int64_t)size;
  if (!cache_put(cache, device, class, size, block)) system_free(device, block, size);
}

int ln_block_counters(int device, int64_t *live, int64_t *cached, int64_t *peak) {
  ln_cache *cache = cache_of(device);
  if (!cache) return ln_fail_nomem(sizeof *cache);
  *live = cache->live;
  *cached = cache->cached;
  *peak = cache->peak;
  return LN_OK;
}

/* -- Storages -- */

static void header_free(ln_thread *me, ln_storage *s) {
  if (cache_off()) {
    free(s);
    return;
  }
  *(ln_storage **)s = me->free_storages;
  me->free_storages = s;
}

static ln_storage *header_new(ln_thread *me) {
  ln_storage *s = me->free_storages;
  if (!s) return malloc(sizeof *s);
  me->free_storages = *(ln_storage **)s;
  return s;
}

int ln_storage_new(int device, int64_t bytes, ln_storage **out) {
  ln_thread *me = ln_me();
  ln_storage *s = header_new(me);
  if (!s) return ln_fail_nomem(bytes);
  void *data = NULL;
  int status = ln_block_status(ln_block_alloc(device, (size_t)bytes, &data), (size_t)bytes);
  if (status != LN_OK) {
    header_free(me, s);
    return status;
  }
  *s = (ln_storage){.refs = 1, .device = device, .bytes = bytes, .data = data};
  ln_memory *m = &me->memory;
  m->live += bytes;
  if (m->live > m->peak) m->peak = m->live;
  *out = s;
  return LN_OK;
}

int ln_storage_over(ln_map *map, char *data, int64_t bytes, ln_storage **out) {
  ln_storage *s = header_new(ln_me());
  if (!s) return ln_fail_nomem((int64_t)sizeof *s);
  ln_map_retain(map);
  *s = (ln_storage){.refs = 1, .device = LN_CPU, .bytes = bytes, .data = data, .map = map};
  *out = s;
  return LN_OK;
}

void ln_storage_retain(ln_storage *s) { s->refs++; }

void ln_storage_release(ln_storage *s) {
  if (--s->refs) return;
  ln_thread *me = ln_me();
  if (s->map) {
    ln_map_release(s->map);
  } else {
    me->memory.live -= s->bytes;
    ln_block_free(s->device, s->data, (size_t)s->bytes);
  }
  header_free(me, s);
}

/* -- Counters -- */

ln_memory *ln_memory_counters(void) {
  ln_thread *me = ln_me();
  me->memory.cached = me->host.cached;
  return &me->memory;
}

void ln_memory_trim(void) {
  ln_thread *me = ln_me();
  cache_trim(LN_CPU, &me->host);
  for (int d = 0; d < LN_MAX_DEVICES; d++)
    if (me->device[d]) cache_trim(d, me->device[d]);
  while (me->free_storages) {
    ln_storage *s = me->free_storages;
    me->free_storages = *(ln_storage **)s;
    free(s);
  }
}
