/* malloc.c - preloaded by spec/faults_spec.lua: the n-th allocation that liblunette asks for fails. Everybody else's succeed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static _Thread_local long countdown; /* 0: none fails */
static _Thread_local bool asking;    /* dladdr may allocate */

void fault_arm(long n) { countdown = n; }

/* Did the fault that was armed happen? */
bool fault_disarm(void) {
  bool happened = countdown == 0;
  countdown = 0;
  return happened;
}

static bool fails(const void *caller) {
  Dl_info info;
  if (countdown == 0 || asking) return false;
  asking = true;
  bool ours = dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "/liblunette.so");
  asking = false;
  if (!ours || --countdown > 0) return false;
  errno = ENOMEM;
  return true;
}

#define UNLESS_FAULT(call) (fails(__builtin_return_address(0)) ? NULL : (call))

void *malloc(size_t size) { return UNLESS_FAULT(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return UNLESS_FAULT(__libc_calloc(n, size)); }
void *realloc(void *block, size_t size) { return UNLESS_FAULT(__libc_realloc(block, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return UNLESS_FAULT(__libc_memalign(alignment, size)); }
