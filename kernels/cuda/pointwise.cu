/* pointwise.cu - the elementwise rows of ops.def, for one compute type (LN_TYPE: f32, f64, i64). */
#include "cuda.h"
#include "typed.h"

#include "../formula.h"

/* A body of one element: `operands` declares the names of the formula. */
#define BLOCK(function, count, attrs, operands, formula)          \
  struct function {                                               \
    enum { inputs = count };                                      \
    static LN_BODY ln_t value(const ln_t *in, const double *at) { \
      (void)in;                                                   \
      (void)at;                                                   \
      attrs operands return (ln_t)(formula);                      \
    }                                                             \
  };
#define INPUT(k) in[k]
#define ENTRY(function) run<function>
#define ROW(cost, ...) {__VA_ARGS__},

namespace {

#include "../rows.h"

struct attributes {
  double at[3];
};

/* Row-major memory of the compute type, or a number: operand k is p[k][i], or number[k] where p[k] is NULL. */
template <class F> struct flat {
  ln_t *y;
  const ln_t *p[F::inputs];
  ln_t number[F::inputs];
  attributes attrs;
  LN_BODY void operator()(int64_t i) const {
    ln_t in[F::inputs];
    for (int k = 0; k < F::inputs; k++) in[k] = p[k] ? p[k][i] : number[k];
    y[i] = F::value(in, attrs.at);
  }
};

/* Any layout and dtype. */
template <class F> struct strided {
  ln_loop loop;
  ln_t number[F::inputs];
  attributes attrs;
  LN_BODY void operator()(int64_t i) const {
    ln_t in[F::inputs];
    for (int k = 0; k < F::inputs; k++) in[k] = loop.scalars >> (k + 1) & 1 ? number[k] : ln_load<ln_t>(ln_place(loop, k + 1, i), loop.dtype[k + 1]);
    ln_store<ln_t>(ln_place(loop, 0, i), loop.dtype[0], F::value(in, attrs.at));
  }
};

/* The caller's number in compute type; it lies in host memory. */
ln_t number_of(const ln_loop *loop, int k) {
  if (!(loop->scalars >> k & 1)) return 0;
  if (loop->dtype[k] == LN_INT64) return (ln_t) * (const int64_t *)loop->data[k];
  double v = *(const double *)loop->data[k];
  return ln_attr(v);
}

bool is_flat(const ln_loop *loop) {
  if (loop->ndim != 1) return false;
  for (int k = 0; k < loop->n_operands; k++)
    if (!(loop->scalars >> k & 1) && (loop->dtype[k] != LN_T_DTYPE || loop->stride[k][0] != (int64_t)sizeof(ln_t))) return false;
  return true;
}

template <class F> const char *run(const ln_loop *loop, const double *at, int device) {
  attributes attrs = {{at[0], at[1], at[2]}};
  if (is_flat(loop)) {
    flat<F> body;
    body.y = (ln_t *)loop->data[0];
    body.attrs = attrs;
    for (int k = 0; k < F::inputs; k++) {
      body.p[k] = loop->scalars >> (k + 1) & 1 ? NULL : (const ln_t *)loop->data[k + 1];
      body.number[k] = number_of(loop, k + 1);
    }
    return ln_each(device, loop->numel, body);
  }
  strided<F> body;
  body.loop = *loop;
  body.attrs = attrs;
  for (int k = 0; k < F::inputs; k++) body.number[k] = number_of(loop, k + 1);
  return ln_each(device, loop->numel, body);
}

typedef const char *(*run_fn)(const ln_loop *loop, const double *at, int device);

const run_fn rows[][4] = {
#include "../../lib/ops.def"
};

} // namespace

const char *LN_FN(ln_gpu_pointwise)(const ln_pointwise *p, int device) {
  run_fn fn = rows[p->row][p->pass];
  return fn ? fn(&p->loop, p->attrs, device) : "not defined for this dtype";
}
