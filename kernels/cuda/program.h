/* program.h - programs for the GPU: their text, compiled at run time by NVRTC for one architecture and kept on disk. */
#ifndef LUNETTE_CUDA_PROGRAM_H
#define LUNETTE_CUDA_PROGRAM_H

#include "kernels.h"

#include <string>
#include <vector>

/* One functor as an entry point; entry k is called ln_entry_<k>. */
struct ln_source_entry {
  ln_shape shape;
  std::string type; /* "cuda::move::gather", from kernels/cuda/move.cu */
};

struct ln_program {
  std::vector<ln_source_entry> entries; /* all of one source */
  ln_fixed fixed;
};

std::string ln_type_name(const std::type_info &type);
/* The binary of a program, from the cache or compiled. Texts of failures are the thread's (ln_gpu_text). */
const char *ln_program_binary(const ln_program &program, int architecture, std::string *binary);
/* Compiled anew; nothing is read or kept. */
const char *ln_program_compile(const ln_program &program, int architecture, std::string *binary);

/* The embedded sources (CMake makes the file that defines them); the end has no name. */
struct ln_source {
  const char *name; /* from the top folder */
  const char *text;
};
extern const ln_source ln_sources[];

/* cubin.cpp - binaries on disk. `folder` is made where it is missing; a file that is damaged, or not this user's, is as good as none. */
bool ln_cubin_load(const std::string &folder, const std::string &key, std::string *binary);
void ln_cubin_save(const std::string &folder, const std::string &key, const std::string &binary);
std::string ln_hash(const std::string &text); /* 128 bits in hexadecimal */

#endif
