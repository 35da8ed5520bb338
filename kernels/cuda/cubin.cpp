/* cubin.cpp - compiled programs kept on disk: one file each, named by what it was made from. A file is written under a temporary name and renamed,
 * so that a reader sees all of it or nothing; its head holds the key and a checksum, so that a damaged or foreign one is noticed. */
#include "program.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

const char MAGIC[8] = {'L', 'N', 'C', 'U', 'B', 'I', 'N', '1'};
const size_t KEY = 32, CHECK = 32, HEAD = sizeof MAGIC + KEY + CHECK;
const size_t MOST = (size_t)64 << 20; /* bytes of a file that can be one of ours */

/* FNV-1a, 64 bits, from a start of its own. */
uint64_t fnv(const std::string &text, uint64_t hash) {
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

std::string path_of(const std::string &folder, const std::string &key) { return folder + "/" + key + ".cubin"; }

/* mkdir -p, for this user alone. */
bool make_folder(const std::string &folder) {
  for (size_t end = 0; end != std::string::npos;) {
    end = folder.find('/', end + 1);
    const std::string part = folder.substr(0, end);
    if (mkdir(part.c_str(), 0700) && access(part.c_str(), F_OK)) return false;
  }
  return true;
}

bool read_all(int file, std::string *text) {
  struct stat s;
  if (fstat(file, &s) || !S_ISREG(s.st_mode) || s.st_uid != geteuid() || s.st_size < (off_t)HEAD || (size_t)s.st_size > MOST) return false;
  text->resize((size_t)s.st_size);
  for (size_t at = 0; at < text->size();) {
    ssize_t n = read(file, &(*text)[at], text->size() - at);
    if (n <= 0) return false;
    at += (size_t)n;
  }
  return true;
}

bool write_all(int file, const std::string &text) {
  for (size_t at = 0; at < text.size();) {
    ssize_t n = write(file, text.data() + at, text.size() - at);
    if (n <= 0) return false;
    at += (size_t)n;
  }
  return true;
}

} // namespace

std::string ln_hash(const std::string &text) {
  char hex[33];
  snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)fnv(text, 0xcbf29ce484222325ull),
           (unsigned long long)fnv(text, 0x9e3779b97f4a7c15ull));
  return hex;
}

bool ln_cubin_load(const std::string &folder, const std::string &key, std::string *binary) {
  std::string text;
  int file = open(path_of(folder, key).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  bool whole = read_all(file, &text);
  close(file);
  if (!whole || text.compare(0, sizeof MAGIC, MAGIC, sizeof MAGIC) || text.compare(sizeof MAGIC, KEY, key)) return false;
  *binary = text.substr(HEAD);
  return text.compare(sizeof MAGIC + KEY, CHECK, ln_hash(*binary)) == 0;
}

/* Failing costs no more than time: the program is compiled again by the next process. */
void ln_cubin_save(const std::string &folder, const std::string &key, const std::string &binary) {
  if (!make_folder(folder)) return;
  std::string temporary = folder + "/.XXXXXX";
  int file = mkostemp(&temporary[0], O_CLOEXEC);
  if (file < 0) return;
  bool whole = write_all(file, std::string(MAGIC, sizeof MAGIC) + key + ln_hash(binary) + binary);
  if (close(file)) whole = false;
  if (!whole || rename(temporary.c_str(), path_of(folder, key).c_str())) unlink(temporary.c_str());
}
