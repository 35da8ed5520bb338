/* dropout.c - elements zeroed at random, the rest scaled up (Srivastava et al., 2014). The mask is never stored: it is drawn again, from the seed
 * and block where it began, whenever a gradient of any order needs it. */
#include "rules.h"

static int check(ln_call *c, double p) {
  if (!(p >= 0 && p <= 1)) return ln_fail("%s: p must lie between 0 and 1, got %g", c->name, p);
  return ln_check_float(c->name, "input", c->in[0]);
}

static int apply(ln_call *c, double p, uint64_t seed, uint64_t offset) {
  SLOTS(seeded_dropout);
  ln_attrs attrs = {0};
  ln_attrs_float(&attrs, a_p, p);
  ln_attrs_int(&attrs, a_seed, (int64_t)seed);
  ln_attrs_int(&attrs, a_offset, (int64_t)offset);
  return ln_run(LN_OP_seeded_dropout, c->in, 1, &attrs, c->target != NULL, c->out);
}

int dropout_forward(ln_call *c) {
  SLOTS(dropout);
  ln_tensor *x = c->in[0];
  double p = ln_float(c->attrs, a_p);
  uint64_t seed, offset;
  LN_TRY(check(c, p));
  if (!ln_int(c->attrs, a_training) || p == 0) return c->target ? LN_OK : ln_run(LN_OP_to, &x, 1, NULL, false, c->out);
  ln_random_reserve(((uint64_t)x->numel + 3) / 4, &seed, &offset);
  return apply(c, p, seed, offset);
}

int seeded_dropout_forward(ln_call *c) {
  SLOTS(seeded_dropout);
  ln_tensor *x = c->in[0];
  double p = ln_float(c->attrs, a_p), keep = 1 - p;
  LN_TRY(check(c, p));
  if (c->target)
    ln_tensor_retain(c->out[0] = c->target);
  else
    LN_TRY(ln_new_strided(x->shape, ln_is_dense(x) ? x->stride : NULL, x->ndim, x->dtype, x->device, &c->out[0]));
  ln_random r = {.kind = LN_RANDOM_DROPOUT, .dtype = x->dtype, .a = keep, .b = keep > 0 ? 1 / keep : 0};
  r.seed = (uint64_t)ln_int(c->attrs, a_seed);
  r.offset = (uint64_t)ln_int(c->attrs, a_offset);
  ln_tensor *const operands[2] = {c->out[0], x};
  ln_loop_init(&r.loop, operands, 2);
  return ln_kernel_status(c->name, ln_kernels_of(x->device)->random(&r, x->device));
}

void seeded_dropout_backward(ln_back *b) { ln_give(b, 0, ln_do(b, LN_OP_seeded_dropout, &b->g[0], 1, b->attrs)); }
