/* copy.c - values in another layout, dtype or device: clone, contiguous, to, copy, sum_to_size. */
#include "rules.h"

void clone_forward(ln_rule *r) {
  ARGS(clone);
  r_copy(r, r_out_like(r, 0, input, input->dtype), input);
}

void contiguous_forward(ln_rule *r) {
  ARGS(contiguous);
  if (ln_tensor_is_contiguous(input))
    r_pass(r);
  else
    r_copy(r, r_out(r, 0, input->shape, input->ndim, input->dtype), input);
}

void to_forward(ln_rule *r) {
  ARGS(to);
  int dtype = r_dtype(r, a_dtype, input->dtype), device = r_dtype(r, a_device, input->device);
  if (!r_status(r, ln_device_check(device))) return;
  if (dtype == input->dtype && device == input->device && !r_bool(r, a_copy)) {
    r_pass(r);
    return;
  }
  r->device = device;
  r->recording = r->recording && ln_is_float(dtype);
  r_copy(r, r_out_like(r, 0, input, dtype), input);
}

void copy_forward(ln_rule *r) {
  ARGS(copy);
  int64_t shape[16];
  int ndim = 0;
  if (!r_status(r, ln_broadcast(r->name, input, src, shape, &ndim))) return;
  if (ndim != input->ndim || !ln_same_dims(shape, input->shape, ndim)) {
    r_status(
      r, ln_fail("copy_: a source of shape %s does not fit into %s", ln_shape_text(src->shape, src->ndim), ln_shape_text(input->shape, input->ndim)));
    return;
  }
  r_copy(r, r_out(r, 0, input->shape, input->ndim, input->dtype), src);
}

void sum_to_size_forward(ln_rule *r) {
  ARGS(sum_to_size);
  const int64_t *size;
  int n = r_list(r, a_size, &size), lead = input->ndim - n;
  uint32_t mask = 0;
  if (!r_require(r, lead >= 0, "shape %s has fewer dimensions than size %s", ln_shape_text(input->shape, input->ndim), ln_shape_text(size, n)))
    return;
  for (int i = 0; i < input->ndim; i++) {
    if (i >= lead && size[i - lead] == input->shape[i]) continue;
    if (!r_require(r, i < lead || size[i - lead] == 1, "shape %s cannot be summed to %s", ln_shape_text(input->shape, input->ndim),
                   ln_shape_text(size, n)))
      return;
    mask |= 1u << i;
  }
  if (mask)
    r_result(r, 0, r_reshape(r, r_to(r, r_sum(r, input, mask, true), input->dtype), size, n));
  else
    r_pass(r);
}
