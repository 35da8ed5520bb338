/* dropout.c - elements zeroed at random, the rest scaled up (Srivastava et al., 2014). */
#include "rules.h"

/* A tensor of the dtype's 0 and 1 / (1 - p), in the layout of x. */
static int draw_mask(const char *op, const ln_tensor *x, double p, ln_tensor **out) {
  ln_random draw = {.kind = LN_RANDOM_BERNOULLI, .a = 1 - p};
  ln_tensor *mask;
  LN_TRY(ln_new_like(x, x->dtype, &mask));
  ln_random_reserve((uint64_t)x->numel, &draw.seed, &draw.offset);
  ln_loop_init(&draw.loop, &mask, 1);
  int status = x->numel ? ln_kernel_status(op, ln_kernels_of(x->device)->random(&draw, x->device)) : LN_OK;
  ln_tensor *const in[2] = {mask, NULL};
  ln_attrs attrs = {0};
  attrs.slot[1].d = p < 1 ? 1 / (1 - p) : 0;
  if (status == LN_OK) status = ln_run(LN_OP_mul, in, 2, &attrs, true, NULL);
  if (status != LN_OK) {
    ln_tensor_release(mask);
    return status;
  }
  *out = mask;
  return LN_OK;
}

int dropout_forward(ln_call *c) {
  ln_tensor *x = c->in[0];
  double p = ln_float(c->attrs, 0);
  if (!(p >= 0 && p <= 1)) return ln_fail("dropout: p must lie between 0 and 1, got %g", p);
  LN_TRY(ln_check_float(c->name, "input", x));
  if (!ln_int(c->attrs, 1) || p == 0) {
    if (!c->target) return ln_call_alias(c, x->shape, x->stride, x->ndim, 0);
    ln_tensor_retain(c->out[0] = c->target);
    return LN_OK;
  }
  LN_TRY(draw_mask(c->name, x, p, &c->extra[0]));
  ln_compose compose;
  ln_tensor *y = NULL;
  ln_back *b = ln_compose_begin(&compose, c->name);
  ln_tensor *product = ln_do2(b, LN_OP_mul, x, c->extra[0]);
  if (!c->target) return ln_compose_end(&compose, product, &c->out[0]);
  LN_TRY(ln_compose_end(&compose, product, &y));
  ln_tensor_retain(c->out[0] = c->target);
  int status = ln_copy_into(c->target, y);
  ln_tensor_release(y);
  return status;
}

void dropout_backward(ln_back *b) { ln_give(b, 0, b->extra[0] ? ln_do2(b, LN_OP_mul, b->g[0], b->extra[0]) : b->g[0]); }
