/* standin.cpp - a stand-in for CUDA devices on a machine without one: the plug-in's kernels, compiled for the host, with devices whose memory lies
 * in regions of their own. A region can be touched only while a kernel of its device or a copy runs, so code outside the kernels that reaches for
 * device memory, or a kernel that is given another device's, stops at once, as it would fail on a GPU. For specs; it is not installed.
 *
 *     LUNETTE_STANDIN_DEVICES    how many devices there are (2)
 *     LUNETTE_STANDIN_THREADS    threads of a team, a power of two up to 256 (1)
 *     LUNETTE_STANDIN_LOG        a file to which the kernels that ran are added, for .ci/kernels */
#include "kernels.h"

#include <algorithm>
#include <atomic>
#include <cxxabi.h>
#include <map>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>

namespace {

int number_of(const char *name, int otherwise, int most) {
  const char *text = getenv(name);
  int n = text ? atoi(text) : otherwise;
  return n < 1 ? 1 : n > most ? most : n;
}

/* -- Memory -- */

const size_t REGION = (size_t)1 << 34;  /* of addresses, not of memory */
const size_t GUARDED = (size_t)1 << 18; /* bytes in use up to which they are guarded: changing more pages at every launch takes too long */

struct memory {
  char *base;
  int depth;
  size_t opened;                         /* bytes that can be touched now */
  std::map<size_t, size_t> holes, taken; /* offset and bytes */

  size_t end() const { return taken.empty() ? 0 : (taken.rbegin()->first + taken.rbegin()->second + 4095) & ~(size_t)4095; }
  void open() {
    if (depth++ > 0 || end() <= opened) return;
    opened = end();
    mprotect(base, opened, PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--depth > 0 || opened == 0 || end() > GUARDED) return;
    mprotect(base, opened, PROT_NONE);
    opened = 0;
  }
};

memory memories[LN_MAX_GPUS];
int device_count, running;
std::atomic<long long> waits; /* a copy to or from the host, and a synchronisation, would wait on a GPU */

/* -- Teams: the threads take turns, each until it waits for the others -- */

const size_t STACK = (size_t)1 << 17;

struct fiber {
  ucontext_t context;
  char *stack;
  bool ended;
};

fiber fibers[LN_TEAM_THREADS];
ucontext_t scheduler;
int team_size = 1, team_rank;
void (*team_run)(void *);
void *team_argument;

void fiber_main() {
  team_run(team_argument);
  fibers[team_rank].ended = true;
  swapcontext(&fibers[team_rank].context, &scheduler);
}

void begin_fiber(fiber *f) {
  if (!f->stack) f->stack = (char *)malloc(STACK);
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = STACK;
  f->context.uc_link = NULL;
  f->ended = false;
  makecontext(&f->context, fiber_main, 0);
}

/* -- What ran -- */

struct log {
  std::string path;
  std::set<std::string> lines;
  ~log() {
    FILE *file = path.empty() ? NULL : fopen(path.c_str(), "a");
    if (!file) return;
    for (const std::string &line : lines) fputs(line.c_str(), file);
    fclose(file);
  }
  void add(const ln_launch &launch) {
    std::string line;
    char *type = abi::__cxa_demangle(launch.type->name(), NULL, NULL, NULL);
    for (int k = 0; k < LN_FIX_COUNT; k++) line += std::to_string(launch.fixed->value[k]) + " ";
    lines.insert(line + "\t" + std::to_string(launch.shape) + " " + (type ? type : "") + "\n");
    free(type);
  }
};

log the_log;

} // namespace

const char *ln_gpu_count(int *devices) {
  const char *path = getenv("LUNETTE_STANDIN_LOG");
  if (path) the_log.path = path;
  device_count = *devices = number_of("LUNETTE_STANDIN_DEVICES", 2, 16);
  team_size = number_of("LUNETTE_STANDIN_THREADS", 1, LN_TEAM_THREADS);
  for (int d = 0; d < device_count; d++) {
    void *p = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return "no addresses for the stand-in's memory";
    memories[d].base = (char *)p;
    memories[d].holes[0] = REGION;
  }
  return NULL;
}

void ln_standin_begin(int device, const ln_launch &launch) {
  running = device;
  if (!the_log.path.empty()) the_log.add(launch);
  memories[device].open();
}

void ln_standin_end(void) { memories[running].close(); }

void ln_standin_team(void (*run)(void *), void *argument) {
  if (team_size == 1) return run(argument);
  team_run = run;
  team_argument = argument;
  for (int k = 0; k < team_size; k++) begin_fiber(&fibers[k]);
  for (int ended = 0; ended < team_size;) {
    ended = 0;
    for (team_rank = 0; team_rank < team_size; team_rank++) {
      if (!fibers[team_rank].ended) swapcontext(&scheduler, &fibers[team_rank].context);
      ended += fibers[team_rank].ended;
    }
    if (ended > 0 && ended < team_size) {
      fprintf(stderr, "a thread of a team ended while others wait for it\n");
      abort();
    }
  }
  team_rank = 0;
}

int ln_standin_rank(void) { return team_rank; }
int ln_standin_size(void) { return team_size; }

void ln_standin_wait(void) {
  if (team_size > 1) swapcontext(&fibers[team_rank].context, &scheduler);
}

const char *ln_gpu_enter(int) { return NULL; }

const char *ln_gpu_alloc(int device, size_t bytes, void **out) {
  memory &m = memories[device];
  size_t size = (bytes + 63) & ~(size_t)63;
  for (auto &hole : m.holes) {
    if (hole.second < size) continue;
    size_t at = hole.first, left = hole.second - size;
    m.holes.erase(at);
    if (left) m.holes[at + size] = left;
    m.taken[at] = size;
    *out = m.base + at;
    return NULL;
  }
  return LN_OUT_OF_MEMORY;
}

void ln_gpu_free(int device, void *p) {
  memory &m = memories[device];
  size_t at = (size_t)((char *)p - m.base), size = m.taken[at];
  m.taken.erase(at);
  auto next = m.holes.lower_bound(at);
  if (next != m.holes.end() && at + size == next->first) {
    size += next->second;
    next = m.holes.erase(next);
  }
  if (next != m.holes.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == at) {
      before->second += size;
      return;
    }
  }
  m.holes[at] = size;
}

const char *ln_gpu_copy(void *dst, int dst_device, const void *src, int src_device, size_t bytes) {
  if (dst_device != src_device) waits++;
  if (dst_device != LN_HOST) memories[dst_device].open();
  if (src_device != LN_HOST) memories[src_device].open();
  memcpy(dst, src, bytes);
  if (src_device != LN_HOST) memories[src_device].close();
  if (dst_device != LN_HOST) memories[dst_device].close();
  return NULL;
}

const char *ln_gpu_synchronize(int) {
  waits++;
  return NULL;
}

static thread_local ln_violation records[LN_MAX_GPUS];

const char *ln_gpu_record(int device, ln_violation **record) {
  *record = &records[device];
  return NULL;
}

bool ln_gpu_violation(int device, ln_violation *found) {
  *found = records[device];
  records[device] = ln_violation{};
  return found->kind != LN_CHECK_NOTHING;
}

const char *ln_gpu_name(int, char *name, int capacity) {
  snprintf(name, (size_t)capacity, "stand-in on the host");
  return NULL;
}

int ln_gpu_libraries(char *text, int capacity) {
  return snprintf(text, (size_t)capacity, "no library is used by the stand-in, which was waited for %lld times\n", waits.load());
}

bool ln_cublas_gemm(const ln_gemm *, int, const char **) { return false; }
bool ln_cudnn_conv(const ln_conv *, int, int, const char **) { return false; }
