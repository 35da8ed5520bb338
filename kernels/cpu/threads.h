/* threads.h - the walk over a nest of loops. */
#ifndef LUNETTE_CPU_THREADS_H
#define LUNETTE_CPU_THREADS_H

#include "cpu.h"

/* n elements of the innermost loop; p[k] is operand k's first, its stride the loop's last. May move nothing but what p points to. */
typedef void (*ln_run_fn)(void *context, int64_t n, char *const *p);
/* Runs over the whole nest, on several threads where `grain` elements a thread pay. */
void ln_cpu_walk(const ln_loop *loop, int64_t grain, ln_run_fn run, void *context);

#endif
