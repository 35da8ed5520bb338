/* optim.c - optimizer steps over all parameters in one call. Parameters without a gradient are passed over. */
#include "../internal.h"

#include <math.h>

/* A gradient as the kernels want it: dense, of the parameter's dtype. */
static int ready_gradient(const ln_tensor *p, ln_tensor **out) { return ln_dense(p->grad, p->dtype, out); }

static int check(const char *op, const ln_tensor *p, const ln_tensor *state) {
  if (!ln_is_float(p->dtype)) return ln_fail("%s: a parameter is %s; only floating dtypes can be optimized", op, ln_dtype_name(p->dtype));
  if (state && (!ln_same_shape(p, state) || state->dtype != p->dtype || state->device != p->device || !ln_tensor_is_contiguous(state)))
    return ln_fail("%s: the state of a parameter of shape %s does not match it (was its dtype or device changed?)", op,
                   ln_shape_text(p->shape, p->ndim));
  return LN_OK;
}

/* Runs the step on the parameter's own memory, or on a dense copy that is written back. */
static int run(const char *op, ln_tensor *p, ln_step *s, bool adam) {
  ln_tensor *g, *dense;
  LN_TRY(ready_gradient(p, &g));
  int status = ln_dense(p, p->dtype, &dense);
  if (status == LN_OK) {
    s->dtype = p->dtype;
    s->n = p->numel;
    s->p = dense->data;
    s->g = g->data;
    const ln_kernels *k = ln_kernels_of(p->device);
    status = ln_kernel_status(op, (adam ? k->adam : k->sgd)(s, p->device));
    if (status == LN_OK && dense != p) status = ln_copy_into(p, dense);
    p->storage->version++;
    ln_tensor_release(dense);
  }
  ln_tensor_release(g);
  return status;
}

int ln_sgd_step(ln_tensor *const *params, ln_tensor *const *momentum_buffers, const bool *first, int n, double lr, double momentum, double dampening,
                double weight_decay, bool nesterov, bool maximize) {
  for (int i = 0; i < n; i++) {
    if (!params[i]->grad) continue;
    ln_tensor *m = momentum_buffers && momentum != 0 ? momentum_buffers[i] : NULL;
    LN_TRY(check("SGD", params[i], m));
    ln_step s = {.m = m ? m->data : NULL,
                 .first = m && first[i],
                 .nesterov = nesterov,
                 .maximize = maximize,
                 .lr = lr,
                 .momentum = momentum,
                 .dampening = dampening,
                 .weight_decay = weight_decay};
    LN_TRY(run("SGD", params[i], &s, false));
  }
  return LN_OK;
}

int ln_adam_step(ln_tensor *const *params, ln_tensor *const *exp_avgs, ln_tensor *const *exp_avg_sqs, ln_tensor *const *max_exp_avg_sqs, int n,
                 const int64_t *step, double lr, double beta1, double beta2, double eps, double weight_decay, bool decoupled, bool maximize) {
  for (int i = 0; i < n; i++) {
    if (!params[i]->grad) continue;
    ln_tensor *top = max_exp_avg_sqs ? max_exp_avg_sqs[i] : NULL;
    LN_TRY(check("Adam", params[i], exp_avgs[i]));
    LN_TRY(check("Adam", params[i], exp_avg_sqs[i]));
    LN_TRY(check("Adam", params[i], top));
    ln_step s = {.m = exp_avgs[i]->data,
                 .v = exp_avg_sqs[i]->data,
                 .vmax = top ? top->data : NULL,
                 .maximize = maximize,
                 .decoupled = decoupled,
                 .lr = lr,
                 .beta1 = beta1,
                 .beta2 = beta2,
                 .eps = eps,
                 .weight_decay = weight_decay,
                 .correction1 = 1 - pow(beta1, (double)step[i]),
                 .correction2 = 1 - pow(beta2, (double)step[i])};
    LN_TRY(run("Adam", params[i], &s, true));
  }
  return LN_OK;
}
