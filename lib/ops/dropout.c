/* dropout.c - elements zeroed at random, the rest scaled up (Srivastava et al., 2014). The mask is never stored: it is drawn again, from the seed
 * and block where it began, whenever a gradient of any order needs it. */
#include "rules.h"

static bool check(ln_rule *r, double p) { return r_require(r, p >= 0 && p <= 1, "p must lie between 0 and 1, got %g", p); }

static void apply(ln_rule *r, double p, uint64_t seed, uint64_t offset) {
  SLOTS(seeded_dropout);
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, a_p, p);
  ln_attrs_int(&attrs, a_seed, (int64_t)seed);
  ln_attrs_int(&attrs, a_offset, (int64_t)offset);
  r_status(r, ln_run(LN_OP_seeded_dropout, r->in, 1, &attrs, r->target != NULL, r->out));
}

void dropout_forward(ln_rule *r) {
  ARGS(dropout);
  double p = r_float(r, a_p);
  uint64_t seed, offset;
  if (!check(r, p)) return;
  if (r_bool(r, a_training) && p > 0) {
    ln_random_reserve(((uint64_t)input->numel + 3) / 4, &seed, &offset);
    apply(r, p, seed, offset);
  } else if (!r->target) {
    r_result(r, 0, r_do1(r, LN_OP_to, input)); /* nothing changes: a view, which goes on with the history of input */
  }
}

void seeded_dropout_forward(ln_rule *r) {
  ARGS(seeded_dropout);
  double p = r_float(r, a_p), keep = 1 - p;
  ln_tensor *y = check(r, p) ? r_out_like(r, 0, input, input->dtype) : NULL;
  if (!y) return;
  ln_random work = {.kind = LN_RANDOM_DROPOUT, .dtype = input->dtype, .a = keep, .b = keep > 0 ? 1 / keep : 0};
  work.seed = (uint64_t)r_int(r, a_seed);
  work.offset = (uint64_t)r_int(r, a_offset);
  ln_tensor *const operands[2] = {y, input};
  ln_loop_init(&work.loop, operands, 2);
  KERNEL(r, random, &work);
}
