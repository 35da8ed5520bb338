/* pointwise.cu - the elementwise rows of ops.def, for one compute type (LN_TYPE: f32, f64, i64). */
#include "elementwise.h"

#include "../type.h"

#include "../formula.h"

/* A function of one element: `operands` declares the names of the formula. */
#define BLOCK(function, count, attrs, operands, formula)            \
  struct function {                                                 \
    enum { inputs = count };                                        \
    static LN_DEVICE ln_t value(const ln_t *in, const double *at) { \
      (void)in;                                                     \
      (void)at;                                                     \
      attrs operands return (ln_t)(formula);                        \
    }                                                               \
  };
#define INPUT(k) in[k]
#define ENTRY(function) entry_of<function>
#define ROW(cost, ...) {__VA_ARGS__},

namespace cuda::pointwise {
namespace LN_TYPE {

#include "../rows.h"

template <class F> struct apply : ln_elementwise<ln_t, F> {};

#ifdef LN_HOST_CODE

typedef const char *(*run_fn)(const ln_loop *loop, const double *at, int device, const std::type_info *const *family);

struct entry {
  run_fn run;
  const std::type_info *type;
};

/* The caller's number in compute type; it lies in host memory. */
ln_t number_of(const ln_loop *loop, int k) {
  if (!(loop->scalars >> k & 1)) return 0;
  if (loop->dtype[k] == LN_INT64) return (ln_t) * (const int64_t *)loop->data[k];
  double v = *(const double *)loop->data[k];
  return ln_attr(v);
}

template <class F> const char *run(const ln_loop *loop, const double *at, int device, const std::type_info *const *family) {
  ln_t number[F::inputs];
  for (int k = 0; k < F::inputs; k++) number[k] = number_of(loop, k + 1);
  return ln_elementwise_run<apply<F>>(loop, number, at, device, family);
}

template <class F> entry entry_of() { return entry{run<F>, &typeid(apply<F>)}; }

typedef entry (*entry_fn)();

const entry_fn rows[][4] = {
#include "../../lib/ops.def"
};

#endif
} // namespace LN_TYPE
} // namespace cuda::pointwise

#ifdef LN_HOST_CODE

#define LN_PASTE_(name, type) name##_##type
#define LN_PASTE(name, type) LN_PASTE_(name, type)

/* The formula and its derivatives of a dtype are compiled together. */
const char *LN_PASTE(ln_gpu_pointwise, LN_TYPE)(const ln_pointwise *p, int device) {
  using namespace cuda::pointwise::LN_TYPE;
  const std::type_info *family[5] = {NULL};
  int n = 0;
  if (!rows[p->row][p->pass]) return "not defined for this dtype";
  for (int k = 0; k < 4; k++)
    if (rows[p->row][k]) family[n++] = rows[p->row][k]().type;
  return rows[p->row][p->pass]().run(&p->loop, p->attrs, device, family);
}

#endif
