/* fork.c - a thread holds the lock of lib/core/region.c while the process forks: the child must still get large blocks. The lock is held as long as
 * the system takes to map a region, which is made long here. Argument: the path of liblunette.so. Prints "the child goes on". */
#define _GNU_SOURCE
#include "../../lib/lunette.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_bool holding;
static _Thread_local bool slow;
static int (*tensor_empty)(const int64_t *, int, int, int, ln_tensor **);

/* In the place of the system's, for the library too. */
void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  if (slow && size > (size_t)64 << 20) {
    holding = true;
    usleep(300000);
  }
  return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

/* A megabyte from a region. */
static bool take_block(void) {
  const int64_t shape[1] = {1 << 18};
  ln_tensor *t;
  return tensor_empty(shape, 1, LN_FLOAT32, -1, &t) == LN_OK;
}

static void *hold(void *unused) {
  slow = true;
  take_block();
  return unused;
}

int main(int argc, char **argv) {
  void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (!library) return 2;
  *(void **)&tensor_empty = dlsym(library, "ln_tensor_empty");
  pthread_t thread;
  pthread_create(&thread, NULL, hold, NULL);
  while (!holding) usleep(1000);
  pid_t child = fork();
  if (child == 0) {
    alarm(5);
    _exit(take_block() ? 0 : 3);
  }
  int status = -1;
  waitpid(child, &status, 0);
  pthread_join(thread, NULL);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) puts("the child goes on");
  return status != 0;
}
