/* optim.cu - one step of a rule of optim.def over one tensor. */
#include "cuda.h"

namespace cuda::optim {

template <class T> LN_DEVICE T larger(T a, T b) { return a > b ? a : b; }

#define ROOT(x) ((ln_t)sqrt((ln_t)(x)))
#define SIZE(x) ((ln_t)fabs((ln_t)(x)))
#define LARGER(a, b) larger<ln_t>(a, b)
#define HAS(state) (state##_given)
#define SCALAR(i, name) const ln_t name = (ln_t)s.scalars[i];
#define LOAD(i, name)                            \
  const bool name##_given = s.states[i] != NULL; \
  ln_t name = name##_given ? ln_load<ln_t>(s.states[i] + at, type) : (ln_t)0;
#define STORE(i, name) \
  if (name##_given) ln_store<ln_t>(s.states[i] + at, type, name);

#define RULE(rule, STATES, SCALARS, ...)                                                        \
  template <class ln_t> struct rule {                                                           \
    ln_step s;                                                                                  \
    LN_DEVICE void operator()(int64_t i) const {                                                \
      const int type = LN_FIXED(DTYPE_0, s.dtype);                                              \
      const int64_t at = i * ln_gpu_size_of(type);                                              \
      ln_t p = ln_load<ln_t>(s.p + at, type), g = ln_load<ln_t>(s.g + at, type);                \
      STATES(LOAD) SCALARS(SCALAR) __VA_ARGS__ STATES(STORE) ln_store<ln_t>(s.p + at, type, p); \
    }                                                                                           \
  };
#include "../optim.def"

} // namespace cuda::optim

#ifdef LN_HOST_CODE
#include "cuda.h"

template <class F> static const char *launch(const ln_step *s, int device) { return ln_each(device, s->n, F{*s}, ln_fixed::dtype(s->dtype)); }

template <class T> static const char *step(const ln_step *s, int device) {
  static const char *(*const rules[])(const ln_step *, int) = {
#define RULE(rule, STATES, SCALARS, ...) launch<cuda::optim::rule<T>>,
#include "../optim.def"
  };
  return rules[s->rule](s, device);
}

const char *ln_gpu_optim_step(const ln_step *s, int device) {
#define STEP(T) step<T>(s, device)
  LN_BY_FLOAT(s->dtype, STEP);
}
#endif
