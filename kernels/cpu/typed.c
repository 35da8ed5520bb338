/* typed.c - the kernels of one compute type and instruction set, collected into a table. */
#include "cpu.h"

#define DECLARE(name, ...) const char *LN_FN(name)(__VA_ARGS__);
DECLARE(pointwise, int row, int pass, const ln_loop *loop, const double *attrs)
DECLARE(fold, int kind, const ln_fold *fold, const void *aux, double p)
DECLARE(cumsum, const ln_rows *rows, bool reverse)
DECLARE(scatter_add, const ln_indexed *i)
DECLARE(take_add, const ln_take *t)
DECLARE(gemm, const ln_gemm *g)
#ifndef LN_INTEGER
DECLARE(softmax, const ln_rows *rows, bool log)
DECLARE(softmax_dx, const ln_rows *rows, bool log)
DECLARE(conv, const ln_conv *c)
DECLARE(conv_dx, const ln_conv *c)
DECLARE(conv_dw, const ln_conv *c)
DECLARE(max_pool, const ln_pool *p)
DECLARE(max_pool_dx, const ln_pool *p)
DECLARE(avg_pool, const ln_pool *p)
DECLARE(avg_pool_dx, const ln_pool *p)
DECLARE(batch_norm, const ln_norm *n)
DECLARE(batch_norm_dx, const ln_norm *n)
DECLARE(sgd, const ln_step *s)
DECLARE(adam, const ln_step *s)
#endif

extern const ln_cpu_typed LN_FN(ln_cpu_table);
const ln_cpu_typed LN_FN(ln_cpu_table) = {
  .pointwise = LN_FN(pointwise),
  .load = LN_FN(load),
  .store = LN_FN(store),
  .fold = LN_FN(fold),
  .cumsum = LN_FN(cumsum),
  .scatter_add = LN_FN(scatter_add),
  .take_add = LN_FN(take_add),
  .gemm = LN_FN(gemm),
#ifndef LN_INTEGER
  .softmax = LN_FN(softmax),
  .softmax_dx = LN_FN(softmax_dx),
  .conv = LN_FN(conv),
  .conv_dx = LN_FN(conv_dx),
  .conv_dw = LN_FN(conv_dw),
  .max_pool = LN_FN(max_pool),
  .max_pool_dx = LN_FN(max_pool_dx),
  .avg_pool = LN_FN(avg_pool),
  .avg_pool_dx = LN_FN(avg_pool_dx),
  .batch_norm = LN_FN(batch_norm),
  .batch_norm_dx = LN_FN(batch_norm_dx),
  .sgd = LN_FN(sgd),
  .adam = LN_FN(adam),
#endif
};
