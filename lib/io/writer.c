/* writer.c - files are written to a temporary one in the same folder that is synced and renamed: whoever reads the target, at whatever moment a
 * process is killed or a disk is full, finds the old file or the new one. */
#include "writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINKS 40
#define BASE_KEPT 200 /* bytes of the target's name in that of the temporary file: a name has at most 255 */
#define SUFFIX_DIGITS 16

/* -- Names -- */

/* The length of the folder's part of a path, with its slash; 0 for none. */
static size_t folder_length(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? (size_t)(slash - path) + 1 : 0;
}

/* The path that a symbolic link holds, seen from the folder of the link; NULL (errno set) when `at` is no link. */
static char *link_target(const char *at) {
  char text[PATH_MAX], *joined = NULL;
  ssize_t n = readlink(at, text, sizeof text - 1);
  if (n < 0) return NULL;
  text[n] = 0;
  size_t folder = text[0] == '/' ? 0 : folder_length(at);
  joined = malloc(folder + (size_t)n + 1);
  if (joined) {
    memcpy(joined, at, folder);
    memcpy(joined + folder, text, (size_t)n + 1);
  }
  return joined;
}

/* The file that opening `path` for writing would reach, there or not yet; NULL (errno set) when there can be none. */
static char *resolve(const char *path) {
  char *at = realpath(path, NULL);
  if (at || errno != ENOENT) return at;
  at = strdup(path);
  for (int hops = 0; at && hops < MAX_LINKS; hops++) {
    errno = 0;
    char *next = link_target(at);
    if (!next && errno != ENOMEM) return at;
    free(at);
    at = next;
  }
  if (at) errno = ELOOP;
  free(at);
  return NULL;
}

/* -- Abandoned files -- */

/* Is `name` that of a temporary file for `base`? */
static bool is_temporary(const char *name, const char *base) {
  size_t kept = strnlen(base, BASE_KEPT);
  if (strncmp(name, base, kept) != 0 || name[kept] != '.') return false;
  const char *suffix = name + kept + 1;
  return strspn(suffix, "0123456789abcdef") == SUFFIX_DIGITS && strcmp(suffix + SUFFIX_DIGITS, ".tmp") == 0;
}

/* A writer holds a lock, which the system drops when its process ends: what can be locked is nobody's. */
static void remove_abandoned(int folder, const char *name) {
  struct stat opened, named;
  int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
      fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
    unlinkat(folder, name, 0);
  close(fd);
}

static void sweep(const char *target) {
  size_t length = folder_length(target);
  char *folder = length ? strndup(target, length) : strdup(".");
  DIR *entries = folder ? opendir(folder) : NULL;
  const struct dirent *e;
  while (entries && (e = readdir(entries)))
    if (is_temporary(e->d_name, target + length)) remove_abandoned(dirfd(entries), e->d_name);
  if (entries) closedir(entries);
  free(folder);
}

/* -- Opening -- */

/* A new file with a name of its own, locked. Between its making and the lock another process may take it for abandoned: then once more. */
static int make_temporary(ln_writer *w, mode_t mode) {
  size_t folder = folder_length(w->target), size = folder + BASE_KEPT + SUFFIX_DIGITS + 8;
  w->temporary = malloc(size);
  if (!w->temporary) return -1;
  for (;;) {
    uint64_t suffix;
    struct stat info;
    if (getrandom(&suffix, sizeof suffix, 0) != sizeof suffix) return -1;
    snprintf(w->temporary, size, "%.*s%.*s.%016llx.tmp", (int)folder, w->target, BASE_KEPT, w->target + folder, (unsigned long long)suffix);
    int fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX) != 0 || (fstat(fd, &info) == 0 && info.st_nlink > 0)) return fd; /* some file systems have no locks */
    close(fd);
  }
}

/* Owner and mode of the file that will be replaced. Only root may give files away, so a failure leaves the writer's own. */
static void take_over(int fd, const struct stat *old) {
  struct stat own;
  if (fstat(fd, &own) == 0 && (own.st_uid != old->st_uid || own.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) != 0) errno = 0;
  fchmod(fd, old->st_mode & 07777);
}

/* A limit on the size of files would end the process; blocked, it makes write fail. */
static void block_size_signal(ln_writer *w) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &set, &w->former_signals);
}

static void restore_signals(const ln_writer *w) {
  sigset_t set;
  int code = errno;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  if (!sigismember(&w->former_signals, SIGXFSZ)) sigtimedwait(&set, NULL, &(struct timespec){0});
  pthread_sigmask(SIG_SETMASK, &w->former_signals, NULL);
  errno = code;
}

static int check_target(const ln_writer *w, struct stat *info, bool *exists) {
  *exists = stat(w->target, info) == 0;
  if (*exists && !S_ISREG(info->st_mode)) return ln_fail("%s: not a regular file", w->path);
  if (*exists && faccessat(AT_FDCWD, w->target, W_OK, AT_EACCESS) != 0) return ln_fail("%s: %s", w->path, strerror(errno));
  return LN_OK;
}

int ln_writer_open(ln_writer *w, const char *path) {
  struct stat old;
  bool exists;
  *w = (ln_writer){.path = path, .target = resolve(path)};
  block_size_signal(w);
  if (!w->target) return ln_fail("%s: %s", path, strerror(errno));
  LN_TRY(check_target(w, &old, &exists));
  sweep(w->target);
  int fd = make_temporary(w, exists ? 0600 : 0666);
  if (fd < 0) return ln_fail("%s: no file can be made in its folder: %s", path, strerror(errno));
  if (exists) take_over(fd, &old);
  w->file = fdopen(fd, "wb");
  if (w->file) return LN_OK;
  unlink(w->temporary);
  close(fd);
  return ln_fail_nomem(BUFSIZ);
}

/* -- Writing -- */

void ln_write(ln_writer *w, const void *data, size_t size) {
  if (w->error == 0 && fwrite(data, 1, size, w->file) != size) w->error = errno ? errno : EIO;
}

int ln_write_tensor(ln_writer *w, ln_tensor *t) {
  ln_tensor *host = t, *dense;
  int status = LN_OK;
  if (t->device != LN_CPU) {
    LN_TRY(ln_new(t->shape, t->ndim, t->dtype, LN_CPU, &host));
    status = ln_copy_into(host, t);
  } else {
    ln_tensor_retain(host);
  }
  if (status == LN_OK) status = ln_dense(host, t->dtype, &dense);
  if (status == LN_OK) {
    ln_write(w, dense->data, (size_t)(t->numel * ln_itemsize(t)));
    ln_tensor_release(dense);
  }
  ln_tensor_release(host);
  return status;
}

/* -- Closing -- */

/* The rename is durable once its folder is synced. */
static void sync_folder(const char *path) {
  size_t length = folder_length(path);
  char *folder = length ? strndup(path, length) : strdup(".");
  int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
  free(folder);
}

int ln_writer_close(ln_writer *w, int status) {
  if (w->file) {
    if (status == LN_OK && w->error == 0 && (fflush(w->file) != 0 || fsync(fileno(w->file)) != 0)) w->error = errno;
    if (status == LN_OK && w->error) status = ln_fail("%s: writing failed: %s", w->path, strerror(w->error));
    if (status == LN_OK && rename(w->temporary, w->target) != 0) status = ln_fail("%s: %s", w->path, strerror(errno));
    if (status == LN_OK)
      sync_folder(w->target);
    else
      unlink(w->temporary);
    fclose(w->file); /* only now: it holds the lock */
  }
  restore_signals(w);
  free(w->temporary);
  free(w->target);
  return status;
}

/* -- For Lua, which cannot hold the struct -- */

int ln_writer_new(const char *path, ln_writer **out) {
  size_t length = strlen(path) + 1;
  ln_writer *w = malloc(sizeof *w + length);
  if (!w) return ln_fail_nomem((int64_t)sizeof *w);
  int status = ln_writer_open(w, memcpy(w + 1, path, length));
  if (status == LN_OK) {
    *out = w;
  } else {
    ln_writer_close(w, status);
    free(w);
  }
  return status;
}

void ln_writer_bytes(ln_writer *w, const void *data, int64_t n) { ln_write(w, data, (size_t)n); }

int ln_writer_tensor(ln_writer *w, ln_tensor *t) { return ln_write_tensor(w, t); }

int ln_writer_end(ln_writer *w, bool good) {
  int status = ln_writer_close(w, good ? LN_OK : LN_ERROR);
  free(w);
  return status;
}
