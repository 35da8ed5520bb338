/* library.cpp - where NVIDIA's libraries are looked for, and what is known of them. */
#include "driver.h"

#include <dlfcn.h>
#include <map>
#include <mutex>
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>

namespace {

const size_t MOST_REFUSALS = 64;

struct record {
  std::string state;
  std::set<std::string> refused;
};

std::mutex lock;
std::map<std::string, record> records;

std::string formatted(const char *format, va_list arguments) {
  char text[512];
  vsnprintf(text, sizeof text, format, arguments);
  return text;
}

} // namespace

void *ln_library_open_name(const char *file) {
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  const char *const homes[3] = {getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  for (int k = 0; k < 3 && !library; k++)
    if (homes[k] && *homes[k]) library = dlopen((std::string(homes[k]) + "/lib64/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  return library;
}

void *ln_library_open(const char *name, const int *versions, int *found) {
  for (; *versions; versions++) {
    void *library = ln_library_open_name((std::string("lib") + name + ".so." + std::to_string(*versions)).c_str());
    *found = *versions;
    if (library) return library;
  }
  *found = 0;
  return NULL;
}

void *ln_library_find(void *library, const char *name) { return dlsym(library, name); }

void ln_library_state(const char *name, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text = formatted(format, arguments);
  va_end(arguments);
  std::lock_guard<std::mutex> hold(lock);
  records[name].state = text;
}

void ln_library_missing(const char *name, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text = formatted(format, arguments);
  va_end(arguments);
  ln_library_state(name, "%s", text.c_str());
  ln_gpu_warn((std::string(name) + ": " + text).c_str());
}

void ln_library_refused(const char *name, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text = formatted(format, arguments);
  va_end(arguments);
  {
    std::lock_guard<std::mutex> hold(lock);
    std::set<std::string> &refused = records[name].refused;
    if (refused.size() >= MOST_REFUSALS || !refused.insert(text).second) return;
  }
  ln_gpu_warn((std::string(name) + " did not take " + text + "; a plain kernel computes it, many times slower").c_str());
}

int ln_gpu_libraries(char *text, int capacity) {
  std::lock_guard<std::mutex> hold(lock);
  std::string all;
  for (const auto &one : records) {
    all += one.first + ": " + one.second.state + "\n";
    for (const std::string &refusal : one.second.refused) all += one.first + " did not take " + refusal + "\n";
  }
  return snprintf(text, (size_t)capacity, "%s", all.c_str());
}
