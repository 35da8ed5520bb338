/* optim.cu - one optimizer step over one tensor. The order of operations is PyTorch's. */
#include "kernels.h"

namespace {

template <class T> struct sgd_body {
  ln_step s;
  int item;
  LN_BODY void operator()(int64_t i) const {
    T p = ln_load<T>(s.p + i * item, s.dtype), g = ln_load<T>(s.g + i * item, s.dtype);
    if (s.maximize) g = -g;
    g += (T)s.weight_decay * p;
    if (s.m) {
      T m = s.first ? g : (T)s.momentum * ln_load<T>(s.m + i * item, s.dtype) + (T)(1 - s.dampening) * g;
      ln_store<T>(s.m + i * item, s.dtype, m);
      g = s.nesterov ? g + (T)s.momentum * m : m;
    }
    ln_store<T>(s.p + i * item, s.dtype, p - (T)s.lr * g);
  }
};

template <class T> struct adam_body {
  ln_step s;
  int item;
  T shrink, size, root2;
  LN_BODY void operator()(int64_t i) const {
    T p = ln_load<T>(s.p + i * item, s.dtype), g = ln_load<T>(s.g + i * item, s.dtype);
    T m = ln_load<T>(s.m + i * item, s.dtype), v = ln_load<T>(s.v + i * item, s.dtype);
    if (s.maximize) g = -g;
    if (s.decoupled)
      p *= shrink;
    else
      g += (T)s.weight_decay * p;
    m += (T)(1 - s.beta1) * (g - m);
    v = (T)s.beta2 * v + (T)(1 - s.beta2) * g * g;
    ln_store<T>(s.m + i * item, s.dtype, m);
    ln_store<T>(s.v + i * item, s.dtype, v);
    if (s.vmax) {
      T top = ln_load<T>(s.vmax + i * item, s.dtype);
      v = top > v ? top : v;
      ln_store<T>(s.vmax + i * item, s.dtype, v);
    }
    ln_store<T>(s.p + i * item, s.dtype, p - size * (m / (sqrt(v) / root2 + (T)s.eps)));
  }
};

template <class T> const char *adam(const ln_step *s, int device) {
  T shrink = (T)(1 - s->lr * s->weight_decay), size = (T)(s->lr / s->correction1), root2 = (T)sqrt(s->correction2);
  return ln_each(device, s->n, adam_body<T>{*s, ln_gpu_size_of(s->dtype), shrink, size, root2});
}

} // namespace

const char *ln_gpu_sgd(const ln_step *s, int device) {
#define SGD(T) ln_each(device, s->n, sgd_body<T>{*s, ln_gpu_size_of(s->dtype)})
  LN_BY_FLOAT(s->dtype, SGD);
}

const char *ln_gpu_adam(const ln_step *s, int device) {
#define ADAM(T) adam<T>(s, device)
  LN_BY_FLOAT(s->dtype, ADAM);
}
