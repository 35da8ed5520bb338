/* threads.h - the walk over a nest of loops. */
#ifndef LUNETTE_CPU_THREADS_H
#define LUNETTE_CPU_THREADS_H

#include "cpu.h"

/* n elements of the innermost loop; p[k] is operand k's first, its stride the loop's last. */
typedef void (*ln_run_fn)(void *context, int64_t n, char *const *p);
/* `rows` whole runs of the two innermost loops, or one run or a part of it. */
typedef void (*ln_rows_fn)(void *context, int64_t rows, int64_t n, char *const *p);
/* Runs over the whole nest, on several threads where `grain` elements a thread pay. */
void ln_cpu_walk(const ln_loop *loop, int64_t grain, ln_run_fn run, void *context);
void ln_cpu_walk_rows(const ln_loop *loop, int64_t grain, ln_rows_fn run, void *context);
/* The stride of operand k from one run to the next. */
static inline int64_t ln_row_stride(const ln_loop *loop, int k) { return loop->ndim > 1 ? loop->stride[k][loop->ndim - 2] : 0; }

#endif
