/* activation.c - activations that look at a dim: prelu, glu. All others are rows of the table. */
#include "rules.h"

void prelu_forward(ln_rule *r) {
  ARGS(prelu);
  int64_t shape[LN_MAX_DIMS], channels = input->ndim > 1 ? input->shape[1] : 1;
  if (!r_require(r, weight->ndim <= 1 && (weight->numel == 1 || weight->numel == channels),
                 "weight must be one number or a vector of one for each of the %lld channels, got shape %s for an input of shape %s",
                 (long long)channels, ln_shape_text(weight->shape, weight->ndim), ln_shape_text(input->shape, input->ndim)) ||
      !r_require(r, weight->dtype == input->dtype, "input and weight must have one dtype, got %s and %s", ln_dtype_name(input->dtype),
                 ln_dtype_name(weight->dtype)))
    return;
  for (int i = 0; i < input->ndim; i++) shape[i] = i == 1 ? weight->numel : 1;
  r_result(r, 0, r_do2(r, LN_OP_leaky, input, r_reshape(r, weight, shape, input->ndim > 1 ? input->ndim : 0)));
}

void glu_forward(ln_rule *r) {
  ARGS(glu);
  int dim = r_dim(r, a_dim, input->ndim);
  if (!r_require(r, input->ndim > 0, "a tensor with dimensions is needed, to be halved along one")) return;
  int64_t n = input->shape[dim];
  if (!r_require(r, n % 2 == 0, "the size along dim must be even, dimension %d of shape %s is %lld", dim, ln_shape_text(input->shape, input->ndim),
                 (long long)n))
    return;
  r_result(r, 0, r_do2(r, LN_OP_mul, r_narrow(r, input, dim, 0, n / 2), r_do1(r, LN_OP_sigmoid, r_narrow(r, input, dim, n / 2, n / 2))));
}
