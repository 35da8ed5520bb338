/* writer.h - a file that is written beside its target and takes its place whole. Included by io/ only. */
#ifndef LUNETTE_WRITER_H
#define LUNETTE_WRITER_H

#include "../internal.h"

#include <signal.h>
#include <stdio.h>

struct ln_writer {
  const char *path;        /* as the caller named it, for messages */
  char *target;            /* the file behind symbolic links */
  char *temporary;         /* in the target's folder; locked as long as it is written */
  FILE *file;              /* NULL when opening failed */
  int error;               /* errno of the first write that failed, else 0 */
  sigset_t former_signals; /* the thread's mask before SIGXFSZ was blocked */
};

/* Every open writer is closed once, also one whose opening failed. Symbolic links are followed; what stands there must be a regular file that may be
 * written, and hands its owner and mode on. Temporary files of the same target that no living process writes are removed. */
int ln_writer_open(ln_writer *w, const char *path);
void ln_write(ln_writer *w, const void *data, size_t size);
/* The elements in row-major order, from any device and layout. */
int ln_write_tensor(ln_writer *w, ln_tensor *t);
/* With LN_OK syncs, renames and syncs the folder; with another status, or when a write failed, leaves the target as it was. */
int ln_writer_close(ln_writer *w, int status);

#endif
