/* arithmetic.c - elementwise operators that choose a row by an argument or by the dtype, and what tells numbers that are close. */
#include "rules.h"

#include <float.h>

/* The result of another row of the same operands and attributes; in place it is written there, and recorded if this row is. */
static void as(ln_rule *r, int op, ln_tensor *const *in, int n, const ln_attrs *attrs) {
  r_status(r, ln_run(op, in, n, attrs, r->target != NULL, r->out));
  if (r->target && r_ok(r)) {
    ln_tensor_retain(r->target);
    r->out[0] = r->target;
  }
}

void bitwise_not_forward(ln_rule *r) {
  ln_tensor *const in[2] = {r->in[0], NULL};
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_whole(&attrs, 1, in[0]->dtype == LN_BOOL ? 1 : -1);
  if (in[0]->dtype == LN_BOOL) attrs.present |= 2; /* true rather than 1 */
  as(r, LN_OP_bitwise_xor, in, 2, &attrs);
}

/* -- Neighbours -- */

void nextafter_forward(ln_rule *r) {
  static const struct {
    int digits, least;
  } of[] = {[LN_FLOAT32] = {24, -125}, [LN_FLOAT64] = {53, -1021}, [LN_FLOAT16] = {11, -13}, [LN_BFLOAT16] = {8, -125}};
  const ln_tensor *a = r->in[0], *b = r->in[1];
  int dtype = ln_promote_types(a->dtype, b->dtype), first = ln_row(LN_OP_towards)->first_attr;
  ln_attrs attrs;
  if (ln_is_float(a->dtype) && ln_is_float(b->dtype) && !a->ndim != !b->ndim) dtype = a->ndim ? a->dtype : b->dtype; /* the 0-dim one gives way */
  if (!r_require(r, ln_is_float(dtype), "input or other must be of a floating dtype, got %s and %s", ln_dtype_name(a->dtype),
                 ln_dtype_name(b->dtype)))
    return;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, first, of[dtype].digits);
  ln_attrs_float(&attrs, first + 1, of[dtype].least);
  as(r, LN_OP_towards, r->in, 2, &attrs);
}

/* -- Rounding -- */

void div_rounding_forward(ln_rule *r) {
  SLOTS(div_rounding);
  enum { FLOOR };
  as(r, r_int(r, a_rounding_mode) == FLOOR ? LN_OP_floor_divide : LN_OP_div_trunc, r->in, 2, r->attrs);
}

void round_decimals_forward(ln_rule *r) {
  ARGS(round_decimals);
  int64_t decimals = r_int(r, a_decimals);
  double factor = 1;
  if (!r_require(r, ln_is_float(input->dtype), "a floating dtype is rounded to decimals, not %s", ln_dtype_name(input->dtype))) return;
  for (int64_t i = 0; i < (decimals < 0 ? -decimals : decimals) && factor < DBL_MAX; i++) factor *= 10;
  int out = decimals < 0 ? LN_OP_div : LN_OP_mul, back = decimals < 0 ? LN_OP_mul : LN_OP_div;
  r_result(r, 0, r_number(r, back, r_do1(r, LN_OP_round, r_number(r, out, input, factor)), factor));
}

/* -- Bounds -- */

void clamp_tensor_forward(ln_rule *r) {
  ARGS(clamp_tensor);
  if (!r_require(r, min || max, "min or max is needed")) return;
  if (r->target) {
    ln_tensor *const low[2] = {input, min}, *const high[2] = {input, max};
    if (min) r_status(r, ln_run(LN_OP_clamp_min, low, 2, NULL, true, NULL));
    if (max && r_ok(r)) r_status(r, ln_run(LN_OP_clamp_max, high, 2, NULL, true, NULL));
    return;
  }
  ln_tensor *low = min ? r_do2(r, LN_OP_clamp_min, input, min) : input;
  r_result(r, 0, max ? r_do2(r, LN_OP_clamp_max, low, max) : low);
}

void nan_to_num_forward(ln_rule *r) {
  ARGS(nan_to_num);
  static const double most[] = {[LN_FLOAT32] = FLT_MAX, [LN_FLOAT64] = DBL_MAX, [LN_FLOAT16] = 65504, [LN_BFLOAT16] = 0x1.fep127};
  double largest = ln_is_float(input->dtype) ? most[input->dtype] : 0;
  int first = ln_row(LN_OP_nan_to_num_by)->first_attr;
  ln_attrs attrs;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, first, r_float(r, a_nan));
  ln_attrs_float(&attrs, first + 1, r_has(r, a_posinf) ? r_float(r, a_posinf) : largest);
  ln_attrs_float(&attrs, first + 2, r_has(r, a_neginf) ? r_float(r, a_neginf) : -largest);
  as(r, LN_OP_nan_to_num_by, r->in, 1, &attrs);
}

/* -- Powers and derivatives by order -- */

void float_power_forward(ln_rule *r) {
  ln_tensor *wide[2];
  if (r->target &&
      !r_require(r, r->target->dtype == LN_FLOAT64, "the result is float64 and cannot be written in place into %s", ln_dtype_name(r->target->dtype)))
    return;
  for (int i = 0; i < 2; i++) wide[i] = r->in[i] ? r_to(r, r->in[i], LN_FLOAT64) : NULL;
  if (r_ok(r)) as(r, LN_OP_pow, wide, 2, r->attrs);
}

void polygamma_forward(ln_rule *r) {
  ARGS(polygamma);
  int64_t n = r_int(r, a_n);
  ln_attrs attrs;
  if (!r_require(r, n >= 0, "n must not be negative, got %lld", (long long)n)) return;
  ln_attrs_begin(&attrs);
  ln_attrs_float(&attrs, ln_row(LN_OP_polygamma_of)->first_attr, (double)n);
  as(r, LN_OP_polygamma_of, &input, 1, &attrs);
}

/* -- What is close -- */

void isclose_forward(ln_rule *r) {
  ARGS(isclose);
  double rtol = r_float(r, a_rtol), atol = r_float(r, a_atol);
  if (!r_require(r, input->dtype == other->dtype, "input and other must have one dtype, got %s and %s", ln_dtype_name(input->dtype),
                 ln_dtype_name(other->dtype)) ||
      !r_require(r, rtol >= 0 && atol >= 0, "rtol and atol must not be negative, got %g and %g", rtol, atol))
    return;
  ln_tensor *close = r_do2(r, LN_OP_eq, input, other);
  if (input->dtype != LN_BOOL) {
    int dtype = input->dtype == LN_FLOAT32 ? LN_FLOAT32 : LN_FLOAT64;
    ln_tensor *x = r_to(r, input, dtype), *y = r_to(r, other, dtype);
    ln_tensor *allowed = r_number(r, LN_OP_add, r_number(r, LN_OP_mul, r_do1(r, LN_OP_abs, y), rtol), atol);
    ln_tensor *apart = r_do1(r, LN_OP_abs, r_do2(r, LN_OP_sub, x, y));
    ln_tensor *near = r_do2(r, LN_OP_logical_and, r_do1(r, LN_OP_isfinite, apart), r_do2(r, LN_OP_le, apart, allowed));
    close = r_do2(r, LN_OP_logical_or, close, near);
  }
  if (r_bool(r, a_equal_nan))
    close = r_do2(r, LN_OP_logical_or, close, r_do2(r, LN_OP_logical_and, r_do1(r, LN_OP_isnan, input), r_do1(r, LN_OP_isnan, other)));
  r_result(r, 0, close);
}
