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
#define A0
#define A1(n0, d0)                \
  const ln_t n0 = ln_attr(at[0]); \
  (void)n0;
#define A2(n0, d0, n1, d1)                   \
  A1(n0, d0) const ln_t n1 = ln_attr(at[1]); \
  (void)n1;
#define A3(n0, d0, n1, d1, n2, d2)                   \
  A2(n0, d0, n1, d1) const ln_t n2 = ln_attr(at[2]); \
  (void)n2;
#define USE(name, k)       \
  const ln_t name = in[k]; \
  (void)name;
#define IN_UNARY USE(x, 0)
#define IN_BINARY USE(a, 0) USE(b, 1)
#define IN_TERNARY USE(a, 0) USE(b, 1) USE(c, 2)
#define GRAD_UNARY USE(g, 0) USE(x, 1) USE(y, 2)
#define GRAD_BINARY USE(g, 0) USE(a, 1) USE(b, 2) USE(y, 3)
#define GRAD_TERNARY USE(g, 0) USE(a, 1) USE(b, 2) USE(c, 3) USE(y, 4)
#define OP(...)
#define VIEW(...)

#ifdef LN_INTEGER
#define KEEP_FLOAT(...)
#define KEEP_SAME(...) __VA_ARGS__
#define KEEP_TEST(...) __VA_ARGS__
#define DERIVATIVE(...)
#else
#define KEEP_FLOAT(...) __VA_ARGS__
#define KEEP_SAME(...) __VA_ARGS__
#define KEEP_TEST(...) __VA_ARGS__
#define NONE K(0)
#define DERIVATIVE(...) BLOCK(__VA_ARGS__)
#endif

namespace {

#define UNARY(name, class, cost, attrs, doc, f, dx, low, high) \
  KEEP_##class(BLOCK(name##_f, 1, attrs, IN_UNARY, f) DERIVATIVE(name##_d0, 3, attrs, GRAD_UNARY, dx))
#define BINARY(name, class, cost, attrs, doc, f, da, db, low, high)                                     \
  KEEP_##class(BLOCK(name##_f, 2, attrs, IN_BINARY, f) DERIVATIVE(name##_d0, 4, attrs, GRAD_BINARY, da) \
                 DERIVATIVE(name##_d1, 4, attrs, GRAD_BINARY, db))
#define TERNARY(name, class, cost, attrs, doc, f, da, db, dc, low, high)                                  \
  KEEP_##class(BLOCK(name##_f, 3, attrs, IN_TERNARY, f) DERIVATIVE(name##_d0, 5, attrs, GRAD_TERNARY, da) \
                 DERIVATIVE(name##_d1, 5, attrs, GRAD_TERNARY, db) DERIVATIVE(name##_d2, 5, attrs, GRAD_TERNARY, dc))
#include "../../lib/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY

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

#ifdef LN_INTEGER
#define SLOT_FLOAT(f) NULL
#define SLOT_SAME(f) run<f>
#define SLOT_TEST(f) run<f>
#define SLOT_D(f) NULL
#else
#define SLOT_FLOAT(f) run<f>
#define SLOT_SAME(f) run<f>
#define SLOT_TEST(f) run<f>
#define SLOT_D(f) run<f>
#endif
#define UNARY(name, class, ...) {SLOT_##class(name##_f), SLOT_D(name##_d0), NULL, NULL},
#define BINARY(name, class, ...) {SLOT_##class(name##_f), SLOT_D(name##_d0), SLOT_D(name##_d1), NULL},
#define TERNARY(name, class, ...) {SLOT_##class(name##_f), SLOT_D(name##_d0), SLOT_D(name##_d1), SLOT_D(name##_d2)},
const run_fn rows[][4] = {
#include "../../lib/ops.def"
};

} // namespace

const char *LN_FN(ln_gpu_pointwise)(int row, int pass, const ln_loop *loop, const double *attrs, int device) {
  run_fn fn = rows[row][pass];
  return fn ? fn(loop, attrs, device) : "not defined for this dtype";
}
