/* optim.c - optimizer steps over all parameters in one call. Parameters without a gradient are passed over. */
#include "../tensor.h"

#include <math.h>

/* A gradient as the kernels want it: dense, of the parameter's dtype. */
static int ready_gradient(const ln_tensor *p, ln_tensor **out) { return ln_dense(p->grad, p->dtype, out); }

static int check_gradient(const char *op, const ln_tensor *p) {
  const ln_tensor *g = p->grad;
  if (!ln_is_float(p->dtype)) return ln_fail("%s: a parameter is %s; only floating dtypes can be optimized", op, ln_dtype_name(p->dtype));
  if (!ln_same_shape(p, g) || g->device != p->device)
    return ln_fail("%s: a parameter of shape %s has a gradient of shape %s or on another device (was its data replaced? set grad = nil then)", op,
                   ln_shape_text(p->shape, p->ndim), ln_shape_text(g->shape, g->ndim));
  return LN_OK;
}

static int check_state(const char *op, const ln_tensor *p, const ln_tensor *state) {
  if (!state) return ln_fail("%s: the state of a parameter of shape %s is missing", op, ln_shape_text(p->shape, p->ndim));
  if (!ln_same_shape(p, state) || state->dtype != p->dtype || state->device != p->device)
    return ln_fail("%s: the state of a parameter does not match it: shape %s and %s, dtype %s and %s%s (was its data replaced?)", op,
                   ln_shape_text(state->shape, state->ndim), ln_shape_text(p->shape, p->ndim), ln_dtype_name(state->dtype), ln_dtype_name(p->dtype),
                   state->device == p->device ? "" : ", on different devices");
  if (!ln_tensor_is_contiguous(state))
    return ln_fail("%s: the state of a parameter must be contiguous (shape %s, stride %s)", op, ln_shape_text(state->shape, state->ndim),
                   ln_shape_text(state->stride, state->ndim));
  return LN_OK;
}

/* Every parameter that has a gradient, with its states (a NULL array is one that the rule does not use), before the first is changed. */
static int check_all(const char *op, ln_tensor *const *params, int n, ln_tensor *const *const *states, int n_states) {
  for (int i = 0; i < n; i++) {
    if (!params[i]->grad) continue;
    LN_TRY(check_gradient(op, params[i]));
    for (int k = 0; k < n_states; k++)
      if (states[k]) LN_TRY(check_state(op, params[i], states[k][i]));
  }
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
  if (momentum == 0) momentum_buffers = NULL;
  LN_TRY(check_all("SGD", params, n, &momentum_buffers, 1));
  for (int i = 0; i < n; i++) {
    if (!params[i]->grad) continue;
    ln_tensor *m = momentum_buffers ? momentum_buffers[i] : NULL;
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
  const char *op = decoupled ? "AdamW" : "Adam";
  LN_TRY(check_all(op, params, n, (ln_tensor *const *const[]){exp_avgs, exp_avg_sqs, max_exp_avg_sqs}, 3));
  for (int i = 0; i < n; i++) {
    if (!params[i]->grad) continue;
    ln_tensor *top = max_exp_avg_sqs ? max_exp_avg_sqs[i] : NULL;
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
    LN_TRY(run(op, params[i], &s, true));
  }
  return LN_OK;
}
