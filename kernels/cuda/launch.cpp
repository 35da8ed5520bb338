/* launch.cpp - from a functor to its kernel on the device: found among those of this process, or made from its program, and launched. */
#include "driver.h"
#include "program.h"

#include <map>
#include <mutex>
#include <tuple>

namespace {

struct key {
  const std::type_info *type;
  ln_fixed fixed;
  int shape, architecture;
  bool operator==(const key &other) const {
    return type == other.type && shape == other.shape && architecture == other.architecture && !memcmp(&fixed, &other.fixed, sizeof fixed);
  }
  bool operator<(const key &other) const {
    if (type != other.type) return type < other.type;
    if (shape != other.shape || architecture != other.architecture) return std::tie(shape, architecture) < std::tie(other.shape, other.architecture);
    return memcmp(&fixed, &other.fixed, sizeof fixed) < 0;
  }
};

struct known {
  key of;
  ln_kernel kernel;
};

std::mutex lock;
std::map<key, ln_kernel> kernels;

/* The thread's latest kernels, by hash, so that a launch takes no lock. */
const size_t LATEST = 512;
thread_local known latest[LATEST];

size_t slot_of(const key &k) {
  uint64_t hash = (uint64_t)(uintptr_t)k.type >> 4, words[sizeof k.fixed / 8];
  memcpy(words, &k.fixed, sizeof words);
  for (uint64_t word : words) hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
  return (size_t)(hash >> 40) % LATEST;
}

/* All of the program's kernels become known. */
const char *make(const key &k, const ln_launch &launch) {
  ln_program program;
  std::vector<const std::type_info *> types;
  std::string binary;
  ln_binary loaded;
  for (const std::type_info *const *f = launch.family; f && *f; f++) types.push_back(*f);
  if (types.empty()) types.push_back(k.type);
  for (const std::type_info *type : types) program.entries.push_back({launch.shape, ln_type_name(*type)});
  program.fixed = k.fixed;
  LN_GPU_TRY(ln_program_binary(program, k.architecture, &binary));
  LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.load(&loaded, binary.c_str(), NULL, NULL, 0, NULL, NULL, 0)));
  for (size_t j = 0; j < types.size(); j++) {
    ln_kernel kernel;
    LN_GPU_TRY(ln_gpu_failure(ln_gpu_driver.kernel(&kernel, loaded, ("ln_entry_" + std::to_string(j)).c_str())));
    kernels[key{types[j], k.fixed, k.shape, k.architecture}] = kernel;
  }
  return NULL;
}

const char *find(int device, const ln_launch &launch, ln_kernel *out) {
  key k = {launch.type, *launch.fixed, launch.shape, 0};
  LN_GPU_TRY(ln_gpu_architecture(device, &k.architecture));
  known *mine = &latest[slot_of(k)];
  if (!mine->kernel || !(mine->of == k)) {
    std::lock_guard<std::mutex> hold(lock);
    auto at = kernels.find(k);
    if (at == kernels.end()) {
      LN_GPU_TRY(make(k, launch));
      at = kernels.find(k);
    }
    *mine = known{k, at->second};
  }
  *out = mine->kernel;
  return NULL;
}

} // namespace

const char *ln_gpu_launch(int device, const ln_launch &launch) {
  ln_kernel kernel;
  int64_t blocks = launch.shape == LN_TEAM ? launch.n : (launch.n + launch.threads - 1) / launch.threads, n = launch.n;
  if (blocks > INT32_MAX) {
    if (launch.shape != LN_TEAM) return "more elements than one launch takes";
    blocks = INT32_MAX; /* a team then takes several rows */
  }
  void *arguments[2] = {&n, (void *)launch.functor};
  LN_GPU_TRY(find(device, launch, &kernel));
  return ln_gpu_failure(ln_gpu_driver.launch(kernel, (unsigned)blocks, 1, 1, launch.threads, 1, 1, 0, ln_gpu_stream(device), arguments, NULL));
}
