/* optim.c - optimizer steps over all parameters in one call. Parameters without a gradient are passed over. */
#include "index.h"

#include <assert.h>
#include <string.h>

/* A gradient as the kernels want it: dense, of the parameter's dtype. */
static int ready_gradient(const ln_tensor *p, ln_tensor **out) { return ln_dense(p->grad, p->dtype, out); }

static int check_gradient(const char *op, const ln_tensor *p) {
  const ln_tensor *g = p->grad;
  if (!ln_is_float(p->dtype)) return ln_fail("%s: a parameter is %s; only floating dtypes can be optimized", op, ln_dtype_name(p->dtype));
  if (!ln_gradient_fits(p, g) || g->device != p->device)
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
static int run(const char *op, ln_tensor *p, ln_step *s) {
  ln_tensor *g, *dense;
  LN_TRY(ready_gradient(p, &g));
  int status = ln_dense(p, p->dtype, &dense);
  if (status == LN_OK) {
    s->dtype = p->dtype;
    s->n = p->numel;
    s->p = dense->data;
    s->g = g->data;
    status = ln_kernel_status(op, ln_kernels_of(p->device)->optim_step(s, p->device));
    if (status == LN_OK && dense != p) status = ln_copy_into(p, dense);
    p->storage->version++;
    ln_tensor_release(dense);
  }
  ln_tensor_release(g);
  return status;
}

/* -- Row-sparse gradients: the step is done on the rows that have one, taken out and put back -- */

static ln_tensor *rows_at(ln_rule *r, ln_tensor *t, ln_tensor *rows) { return r_indexed(r, LN_OP_index_select, t, 0, rows, NULL); }

static bool put_rows(ln_rule *r, ln_tensor *t, ln_tensor *values, ln_tensor *rows) {
  return r_ok(r) && r_status(r, ln_run(LN_OP_index_put, (ln_tensor *const[3]){t, values, rows}, 3, NULL, true, NULL));
}

/* states: those of the parameter, NULL where the rule has none. */
static void step_rows(ln_rule *r, ln_tensor *p, ln_step *s, ln_tensor *const *states) {
  ln_tensor *sparse, *taken[LN_STEP_STATES];
  if (!r_status(r, ln_sparse_compact(p->grad, &sparse))) return;
  r_own(r, sparse);
  ln_tensor *g = r_dense(r, sparse, p->dtype), *values = rows_at(r, p, sparse->rows);
  for (int k = 0; k < LN_STEP_STATES; k++) {
    taken[k] = states[k] ? rows_at(r, states[k], sparse->rows) : NULL;
    s->states[k] = taken[k] ? taken[k]->data : NULL;
  }
  if (!r_ok(r)) return;
  s->dtype = p->dtype;
  s->n = values->numel;
  s->p = values->data;
  s->g = g->data;
  KERNEL(r, optim_step, s);
  put_rows(r, p, values, sparse->rows);
  for (int k = 0; k < LN_STEP_STATES; k++)
    if (taken[k]) put_rows(r, states[k], taken[k], sparse->rows);
}

static int run_on_rows(const char *op, ln_tensor *p, ln_step *s, ln_tensor *const *states) {
  ln_rule r = {.row = ln_row(LN_OP_index_put), .name = op, .op = LN_OP_index_put, .device = p->device};
  int former = ln_mode_set(ln_mode_get() & ~LN_MODE_GRAD);
  r_begin(&r);
  step_rows(&r, p, s, states);
  r_end(&r);
  ln_mode_set(former);
  return r.status;
}

/* -- The rules -- */

#define NAME_OF(i, name) #name " "
#define INDEX_FITS_STATES(i, name) static_assert((i) < LN_STEP_STATES, #name);
#define INDEX_FITS_SCALARS(i, name) static_assert((i) < LN_STEP_SCALARS, #name);
#define RULE(rule, STATES, SCALARS, ...) STATES(INDEX_FITS_STATES) SCALARS(INDEX_FITS_SCALARS)
#include "../../kernels/optim.def"

static const ln_step_rule rules[LN_RULES] = {
#define RULE(rule, STATES, SCALARS, ...) [LN_RULE_##rule] = {#rule, STATES(NAME_OF), SCALARS(NAME_OF)},
#include "../../kernels/optim.def"
};

const ln_step_rule *ln_step_rule_at(int index) { return index >= 0 && index < LN_RULES ? &rules[index] : NULL; }

int ln_optim_step(const char *op, int rule, ln_tensor *const *params, ln_tensor *const *const *states, int n, const double *scalars, int stride) {
  if (ln_interrupted()) return ln_fail_interrupted(); /* a step that has begun is done whole */
  LN_TRY(check_all(op, params, n, states, LN_STEP_STATES));
  for (int i = 0; i < n; i++) {
    if (!params[i]->grad) continue;
    ln_step s = {.rule = rule};
    ln_tensor *own[LN_STEP_STATES];
    for (int k = 0; k < LN_STEP_STATES; k++) {
      own[k] = states[k] ? states[k][i] : NULL;
      if (own[k]) s.states[k] = own[k]->data;
    }
    memcpy(s.scalars, scalars + (int64_t)i * stride, sizeof s.scalars);
    LN_TRY(params[i]->grad->rows ? run_on_rows(op, params[i], &s, own) : run(op, params[i], &s));
  }
  return LN_OK;
}
