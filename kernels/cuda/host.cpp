/* host.cpp - a stand-in for a CUDA device on a machine without one: the plug-in's kernels, compiled for the host, with one device whose memory
 * lies in a region of its own. That region can be touched only while a kernel or a copy runs, so code outside the kernels that reaches for
 * device memory stops at once, as it would fail on a GPU. For specs; it is not installed. */
#include "kernels.h"

#include <algorithm>
#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

namespace {

const size_t REGION = (size_t)1 << 34; /* of addresses, not of memory */
char *region;
int depth;
std::map<size_t, size_t> holes; /* free places: offset and bytes */
std::map<size_t, size_t> taken;
void *scratch;
size_t scratch_bytes;

const size_t GUARDED = (size_t)1 << 18; /* bytes in use up to which they are guarded: changing more pages at every launch takes too long */
size_t opened;                          /* bytes of the region that can be touched now */

size_t end_of_use() { return taken.empty() ? 0 : (taken.rbegin()->first + taken.rbegin()->second + 4095) & ~(size_t)4095; }

} // namespace

void ln_gpu_open(void) {
  size_t end = end_of_use();
  if (depth++ > 0 || end <= opened) return;
  mprotect(region, end, PROT_READ | PROT_WRITE);
  opened = end;
}

void ln_gpu_close(void) {
  if (--depth > 0 || opened == 0 || end_of_use() > GUARDED) return;
  mprotect(region, opened, PROT_NONE);
  opened = 0;
}
const char *ln_gpu_count(int *devices) {
  *devices = 1;
  void *p = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return "no addresses for the stand-in's memory";
  region = (char *)p;
  holes[0] = REGION;
  return NULL;
}

const char *ln_gpu_enter(int) { return NULL; }

const char *ln_gpu_alloc(int, size_t bytes, void **out) {
  size_t size = (bytes + 63) & ~(size_t)63;
  for (auto &hole : holes) {
    if (hole.second < size) continue;
    size_t at = hole.first, left = hole.second - size;
    holes.erase(at);
    if (left) holes[at + size] = left;
    taken[at] = size;
    *out = region + at;
    return NULL;
  }
  return "out of memory";
}

void ln_gpu_free(int, void *p) {
  size_t at = (size_t)((char *)p - region), size = taken[at];
  taken.erase(at);
  auto next = holes.lower_bound(at);
  if (next != holes.end() && at + size == next->first) {
    size += next->second;
    next = holes.erase(next);
  }
  if (next != holes.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == at) {
      before->second += size;
      return;
    }
  }
  holes[at] = size;
}

const char *ln_gpu_scratch(int device, size_t bytes, void **out) {
  if (bytes > scratch_bytes) {
    if (scratch) ln_gpu_free(device, scratch);
    scratch = NULL;
    scratch_bytes = 0;
    LN_GPU_TRY(ln_gpu_alloc(device, bytes * 2, &scratch));
    scratch_bytes = bytes * 2;
  }
  *out = scratch;
  return NULL;
}

const char *ln_gpu_copy(void *dst, int, const void *src, int, size_t bytes) {
  ln_gpu_open();
  memcpy(dst, src, bytes);
  ln_gpu_close();
  return NULL;
}

const char *ln_gpu_synchronize(int) { return NULL; }

const char *ln_gpu_name(int, char *name, int capacity) {
  snprintf(name, (size_t)capacity, "stand-in on the host");
  return NULL;
}

const char *ln_gpu_sort(int, int64_t n, const uint64_t *keys, uint64_t *keys_out, const int64_t *values, int64_t *values_out, int, void *room,
                        size_t *room_bytes) {
  if (!room) {
    *room_bytes = 64;
    return NULL;
  }
  ln_gpu_open();
  std::vector<int64_t> order((size_t)n);
  for (int64_t i = 0; i < n; i++) order[(size_t)i] = i;
  std::stable_sort(order.begin(), order.end(), [keys](int64_t a, int64_t b) { return keys[a] < keys[b]; });
  for (int64_t i = 0; i < n; i++) {
    keys_out[i] = keys[order[(size_t)i]];
    values_out[i] = values[order[(size_t)i]];
  }
  ln_gpu_close();
  return NULL;
}

bool ln_cublas_takes(const ln_gemm *) { return false; }

const char *ln_cublas_gemm(const ln_gemm *, int) { return "there is no library on the host"; }

bool ln_cudnn_conv(const ln_conv *, int, int, const char **) { return false; }
