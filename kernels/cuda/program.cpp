/* program.cpp - the text of a program, and NVRTC, opened when the first one is needed. */
#include "program.h"

#include "driver.h"

#include <algorithm>
#include <cxxabi.h>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>

namespace {

typedef struct _nvrtcProgram *handle_t;

struct library {
  int (*version)(int *, int *);
  int (*count)(int *);
  int (*architectures)(int *);
  const char *(*error_text)(int);
  int (*create)(handle_t *, const char *, const char *, int, const char *const *, const char *const *);
  int (*compile)(handle_t, int, const char *const *);
  int (*destroy)(handle_t *);
  int (*log_size)(handle_t, size_t *);
  int (*log)(handle_t, char *);
  int (*cubin_size)(handle_t, size_t *);
  int (*cubin)(handle_t, char *);
  int (*ptx_size)(handle_t, size_t *);
  int (*ptx)(handle_t, char *);
  bool usable;
  int major, minor;
  std::vector<int> supported;
};

const char *const MISSING = "CUDA kernels are compiled at run time by NVRTC, and it was not found: install it (Debian package cuda-nvrtc-13-0 from "
                            "NVIDIA's repository, or pip install nvidia-cuda-nvrtc) and name its folder in LD_LIBRARY_PATH or CUDA_HOME";

library open_library() {
  const int all[3] = {13, 12, 0}, *versions = all + (ln_gpu_driver_version() && ln_gpu_driver_version() < 13000);
  library l = {};
  int found = 0, n = 0;
  void *so = ln_library_open("nvrtc", versions, &found);
  bool *ok = &l.usable;
  *ok = so != NULL;
  if (!so) {
    ln_library_state("NVRTC", "not found; no kernel can be compiled");
    return l;
  }
  ln_library_symbol(so, "nvrtcVersion", &l.version, ok);
  ln_library_symbol(so, "nvrtcGetNumSupportedArchs", &l.count, ok);
  ln_library_symbol(so, "nvrtcGetSupportedArchs", &l.architectures, ok);
  ln_library_symbol(so, "nvrtcGetErrorString", &l.error_text, ok);
  ln_library_symbol(so, "nvrtcCreateProgram", &l.create, ok);
  ln_library_symbol(so, "nvrtcCompileProgram", &l.compile, ok);
  ln_library_symbol(so, "nvrtcDestroyProgram", &l.destroy, ok);
  ln_library_symbol(so, "nvrtcGetProgramLogSize", &l.log_size, ok);
  ln_library_symbol(so, "nvrtcGetProgramLog", &l.log, ok);
  ln_library_symbol(so, "nvrtcGetCUBINSize", &l.cubin_size, ok);
  ln_library_symbol(so, "nvrtcGetCUBIN", &l.cubin, ok);
  ln_library_symbol(so, "nvrtcGetPTXSize", &l.ptx_size, ok);
  ln_library_symbol(so, "nvrtcGetPTX", &l.ptx, ok);
  if (*ok) *ok = !l.version(&l.major, &l.minor) && !l.count(&n) && n > 0;
  l.supported.resize((size_t)n);
  if (*ok) *ok = !l.architectures(l.supported.data());
  ln_library_state("NVRTC", *ok ? "%d.%d" : "libnvrtc.so.%d cannot be used: functions are missing", *ok ? l.major : found, l.minor);
  return l;
}

const library &the_library() {
  static const library l = open_library();
  return l;
}

/* "cuda::move::gather": its second part is the source, and a third part that is a compute type is given to the source. */
std::string part_of(const std::string &type, int part) {
  size_t at = 0;
  for (; part > 0; part--) at = type.find("::", at) + 2;
  return type.substr(at, type.find("::", at) - at);
}

std::string text_of(const ln_program &program) {
  static const char *const shapes[] = {"EACH", "ALONE", "TEAM"};
  std::string text = "#include \"" + part_of(program.entries[0].type, 1) + ".cu\"\n";
  for (size_t k = 0; k < program.entries.size(); k++)
    text += std::string("LN_ENTRY_") + shapes[program.entries[k].shape] + "(ln_entry_" + std::to_string(k) + ", " + program.entries[k].type + ")\n";
  return text;
}

/* Results that must be the CPU's bit by bit must not depend on where a compiler finds a multiply-add. */
bool is_exact(const std::string &source) { return source == "pointwise" || source == "random" || source == "optim"; }

std::vector<std::string> options_of(const ln_program &program, const std::string &architecture) {
  static const char *const names[] = {
#define NAME(name) #name,
    LN_FIXED_NAMES(NAME)
#undef NAME
  };
  const std::string &type = program.entries[0].type, third = part_of(type, 2);
  std::vector<std::string> options = {"--gpu-architecture=" + architecture, "--std=c++17", "--device-as-default-execution-space",
                                      "--diag-suppress=161"};
  if (is_exact(part_of(type, 1))) options.push_back("--fmad=false");
  if (third == "f32" || third == "f64" || third == "i64") options.push_back("-DLN_TYPE=" + third);
  for (int k = 0; k < LN_FIX_COUNT; k++)
    options.push_back("-DLN_FIX_" + std::string(names[k]) + "=" + std::to_string((int)program.fixed.value[k] - 1));
  return options;
}

/* Everything that an #include may name: the sources under the names that they call each other, and C's headers. */
struct headers {
  std::vector<std::string> names;
  std::vector<const char *> texts, name_texts;
  std::string hash;
  void add(const std::string &name, const char *text) {
    names.push_back(name);
    texts.push_back(text);
  }
};

headers all_headers() {
  headers h;
  std::string all;
  for (const ln_source *s = ln_sources; s->name; s++) {
    const std::string name = s->name, base = name.substr(name.rfind('/') + 1);
    all += name + s->text;
    if (name == "kernels/cuda/rtc.h") {
      for (const char *c : {"stdint.h", "stddef.h", "stdbool.h", "string.h", "math.h"}) h.add(c, s->text);
    } else if (name.compare(0, 4, "lib/") == 0) {
      h.add("../lib/" + base, s->text);
      h.add("../../lib/" + base, s->text);
    } else {
      h.add(base, s->text);
      if (name.compare(0, 13, "kernels/cuda/")) h.add("../" + base, s->text);
    }
  }
  for (const std::string &name : h.names) h.name_texts.push_back(name.c_str());
  h.hash = ln_hash(all);
  return h;
}

const headers &the_headers() {
  static const headers *h = new headers(all_headers()); /* name_texts points into names: never moved */
  return *h;
}

/* "sm_90" where NVRTC knows the architecture; for a newer one "compute_<highest known>", which the driver translates on. */
std::string target_of(const library &l, int architecture) {
  int best = l.supported[0];
  for (int known : l.supported)
    if (known <= architecture && known > best) best = known;
  return (best == architecture ? "sm_" : "compute_") + std::to_string(best);
}

std::string cache_folder(const library &l, const std::string &target) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  std::string root = cache && *cache == '/' ? cache : home && *home == '/' ? std::string(home) + "/.cache" : "";
  if (root.empty()) return root;
  return root + "/lunette/" + std::to_string(l.major) + "." + std::to_string(l.minor) + "-" + target;
}

const char *compile_text(const library &l, const std::string &text, const std::string &name, const std::vector<std::string> &options, bool assembly,
                         std::string *binary) {
  const headers &h = the_headers();
  std::vector<const char *> given;
  handle_t program;
  size_t size = 0;
  for (const std::string &option : options) given.push_back(option.c_str());
  int error = l.create(&program, text.c_str(), name.c_str(), (int)h.texts.size(), h.texts.data(), h.name_texts.data());
  if (error) return ln_gpu_text("NVRTC: %s", l.error_text(error));
  error = l.compile(program, (int)given.size(), given.data());
  if (error) {
    std::string log;
    if (!l.log_size(program, &size)) log.resize(size);
    if (size) l.log(program, &log[0]);
    l.destroy(&program);
    return ln_gpu_text("NVRTC could not compile %s: %s\n%s", name.c_str(), l.error_text(error), log.c_str());
  }
  error = assembly ? l.ptx_size(program, &size) : l.cubin_size(program, &size);
  binary->resize(size);
  if (!error) error = assembly ? l.ptx(program, &(*binary)[0]) : l.cubin(program, &(*binary)[0]);
  l.destroy(&program);
  return error ? ln_gpu_text("NVRTC: %s", l.error_text(error)) : NULL;
}

const char *binary_of(const ln_program &program, int architecture, bool cached, std::string *binary) {
  const library &l = the_library();
  if (!l.usable) return MISSING;
  const std::string target = target_of(l, architecture), text = text_of(program), folder = cached ? cache_folder(l, target) : "";
  const std::vector<std::string> options = options_of(program, target);
  std::string made_from = the_headers().hash + text;
  for (const std::string &option : options) made_from += option + "\n";
  const std::string key = ln_hash(made_from);
  if (!folder.empty() && ln_cubin_load(folder, key, binary)) return NULL;
  LN_GPU_TRY(compile_text(l, text, program.entries[0].type, options, target[0] == 'c', binary));
  if (!folder.empty()) ln_cubin_save(folder, key, *binary);
  return NULL;
}

} // namespace

std::string ln_type_name(const std::type_info &type) {
  int status = 0;
  char *text = abi::__cxa_demangle(type.name(), NULL, NULL, &status);
  std::string name = text ? text : type.name();
  free(text);
  return name;
}

const char *ln_program_binary(const ln_program &program, int architecture, std::string *binary) {
  return binary_of(program, architecture, true, binary);
}

const char *ln_program_compile(const ln_program &program, int architecture, std::string *binary) {
  return binary_of(program, architecture, false, binary);
}

/* For .ci/kernels: compiles the entries of a list, "SHAPE type" a line with the fixed values as numbers in the first, for one architecture. The binary goes
 * to `path`, where one is given, and its size to *bytes. NULL, or what failed. */
extern "C" __attribute__((visibility("default"))) const char *ln_plugin_compile(const char *list, int architecture, const char *path,
                                                                                int64_t *bytes) {
  ln_program program;
  std::string binary, text = list;
  size_t at = text.find('\n');
  const char *numbers = text.c_str();
  for (int k = 0; k < LN_FIX_COUNT; k++) program.fixed.value[k] = (uint8_t)strtol(numbers, (char **)&numbers, 10);
  while (at != std::string::npos && at + 1 < text.size()) {
    size_t end = text.find('\n', at + 1), space = text.find(' ', at + 1);
    program.entries.push_back({(ln_shape)atoi(text.c_str() + at + 1), text.substr(space + 1, end == std::string::npos ? end : end - space - 1)});
    at = end;
  }
  if (program.entries.empty()) return "the list has no entries";
  LN_GPU_TRY(ln_program_compile(program, architecture, &binary));
  *bytes = (int64_t)binary.size();
  FILE *file = path ? fopen(path, "wb") : NULL;
  if (path && (!file || fwrite(binary.data(), 1, binary.size(), file) != binary.size() || fclose(file))) return "the binary could not be written";
  return NULL;
}
