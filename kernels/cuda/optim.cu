/* optim.cu - one optimizer step over one tensor. The order of operations is PyTorch's. */
#include "cuda.h"

namespace cuda::optim {

template <class T> struct sgd {
  ln_step s;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, s.dtype), item = ln_gpu_size_of(type);
    T p = ln_load<T>(s.p + i * item, type), g = ln_load<T>(s.g + i * item, type);
    if (s.maximize) g = -g;
    g += (T)s.weight_decay * p;
    if (s.m) {
      T m = s.first ? g : (T)s.momentum * ln_load<T>(s.m + i * item, type) + (T)(1 - s.dampening) * g;
      ln_store<T>(s.m + i * item, type, m);
      g = s.nesterov ? g + (T)s.momentum * m : m;
    }
    ln_store<T>(s.p + i * item, type, p - (T)s.lr * g);
  }
};

template <class T> struct adam {
  ln_step s;
  T shrink, size, root2;
  LN_DEVICE void operator()(int64_t i) const {
    const int type = LN_FIXED(DTYPE_0, s.dtype), item = ln_gpu_size_of(type);
    T p = ln_load<T>(s.p + i * item, type), g = ln_load<T>(s.g + i * item, type);
    T m = ln_load<T>(s.m + i * item, type), v = ln_load<T>(s.v + i * item, type);
    if (s.maximize) g = -g;
    if (s.decoupled)
      p *= shrink;
    else
      g += (T)s.weight_decay * p;
    m += (T)(1 - s.beta1) * (g - m);
    v = (T)s.beta2 * v + (T)(1 - s.beta2) * g * g;
    ln_store<T>(s.m + i * item, type, m);
    ln_store<T>(s.v + i * item, type, v);
    if (s.vmax) {
      T top = ln_load<T>(s.vmax + i * item, type);
      v = top > v ? top : v;
      ln_store<T>(s.vmax + i * item, type, v);
    }
    ln_store<T>(s.p + i * item, type, p - size * (m / (sqrt(v) / root2 + (T)s.eps)));
  }
};

} // namespace cuda::optim

#ifdef LN_HOST_CODE
#include "cuda.h"

template <class T> static const char *adam_run(const ln_step *s, int device) {
  T shrink = (T)(1 - s->lr * s->weight_decay), size = (T)(s->lr / s->correction1), root2 = (T)sqrt(s->correction2);
  return ln_each(device, s->n, cuda::optim::adam<T>{*s, shrink, size, root2}, ln_fixed::dtype(s->dtype));
}

const char *ln_gpu_sgd(const ln_step *s, int device) {
#define SGD(T) ln_each(device, s->n, cuda::optim::sgd<T>{*s}, ln_fixed::dtype(s->dtype))
  LN_BY_FLOAT(s->dtype, SGD);
}

const char *ln_gpu_adam(const ln_step *s, int device) {
#define ADAM(T) adam_run<T>(s, device)
  LN_BY_FLOAT(s->dtype, ADAM);
}
#endif
