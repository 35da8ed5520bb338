/* region.c - large host blocks on huge pages. A weight matrix of a megabyte spans 256 small pages; how they happen to lie decides how often the
 * processor looks them up and how well its caches take them, and a training step is a fifth slower in half of all runs. So blocks of half a
 * megabyte to 16 are cut from regions that ask the kernel for huge pages. Blocks come from the cache of memory.c and return here only when that
 * lets go of them: their memory then goes back to the system, their addresses wait for a block of the same size. */
#include "thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LEAST ((size_t)512 << 10)
#define MOST ((size_t)16 << 20)
#define REGION ((size_t)64 << 20)
#define HUGE ((size_t)2 << 20)

typedef struct hole {
  struct hole *next;
  void *block;
  size_t size;
} hole;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hole *holes;
static char *at, *end; /* what is left of the newest region */

bool ln_region_serves(size_t size) { return size >= LEAST && size <= MOST; }

/* A child of fork finds the lock free, whichever thread held it. */
static void lock_all(void) { pthread_mutex_lock(&lock); }
static void unlock_all(void) { pthread_mutex_unlock(&lock); }
static void install_fork_handlers(void) { pthread_atfork(lock_all, unlock_all, unlock_all); }

static bool open_region(void) {
  char *p = mmap(NULL, REGION + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  at = (char *)(((uintptr_t)p + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
  end = at + REGION;
  madvise(at, REGION, MADV_HUGEPAGE); /* a wish: without huge pages the blocks are as good as any */
  return true;
}

static void *take_hole(size_t size) {
  for (hole **h = &holes; *h; h = &(*h)->next) {
    if ((*h)->size != size) continue;
    hole *found = *h;
    void *block = found->block;
    *h = found->next;
    free(found);
    return block;
  }
  return NULL;
}

void *ln_region_alloc(size_t size) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install_fork_handlers);
  size = (size + 4095) & ~(size_t)4095;
  pthread_mutex_lock(&lock);
  void *block = take_hole(size);
  if (!block && ((size_t)(end - at) >= size || open_region())) {
    block = at;
    at += size;
  }
  pthread_mutex_unlock(&lock);
  return block;
}

void ln_region_free(void *block, size_t size) {
  hole *h = malloc(sizeof *h);
  size = (size + 4095) & ~(size_t)4095;
  madvise(block, size, MADV_DONTNEED);
  if (!h) return; /* the addresses are lost, the memory is not */
  pthread_mutex_lock(&lock);
  *h = (hole){holes, block, size};
  holes = h;
  pthread_mutex_unlock(&lock);
}
