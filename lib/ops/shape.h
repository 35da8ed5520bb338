/* shape.h - shapes and layouts that several families of rules share. */
#ifndef LUNETTE_SHAPE_H
#define LUNETTE_SHAPE_H

#include "rules.h"

/* The shape that is left when the masked dims are folded; its length. */
int ln_kept_shape(const ln_tensor *x, uint32_t mask, bool keepdim, int64_t *shape);
/* How many elements the masked dims hold. */
int64_t ln_count_dims(const ln_tensor *x, uint32_t mask);
/* x [outer, size, inner] around a dim, for kernels over rows; x must be row-major. */
ln_rows ln_rows_along(const ln_tensor *x, int dim);
/* A borrowed look at t with another geometry; stride NULL is row-major. */
ln_tensor ln_look(const ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim);
/* t [N, C, spatial] or without N, without gaps: an alias that has the batch dimension. */
ln_tensor *r_with_batch(ln_rule *r, ln_tensor *t, int spatial);
/* Output i in the shape [N, C, spatial], N left out when it is not batched; channels-last where that is asked for. The look with a batch dimension. */
ln_tensor *r_out_spatial(ln_rule *r, int i, const int64_t *shape, int spatial, bool batched, bool channels_last, int dtype);
bool ln_is_channels_last(const ln_tensor *t, int spatial);
/* Dims from the largest stride to the smallest: in that order a dense tensor is row-major. */
void ln_memory_order(const ln_tensor *t, int *order);
/* Strides of a shape without gaps whose dims lie in an order. */
void ln_strides_in_order(const int64_t *shape, int ndim, const int *order, int64_t *stride);
/* A borrowed look at length[d] elements from start[d] on, in each dim. */
ln_tensor ln_part(const ln_tensor *t, const int64_t *start, const int64_t *length);
/* to += from, which is of the same shape; both may be looks, converted where they differ. */
bool r_add_into(ln_rule *r, ln_tensor *to, ln_tensor *from);

/* -- Checks of inputs (check.c) -- */
bool r_check_float(ln_rule *r, const char *what, const ln_tensor *t);
bool r_check_spatial(ln_rule *r, const ln_tensor *x, int spatial); /* "input", with `spatial` dims behind its channels, batched or not */
bool r_check_ndim(ln_rule *r, const char *what, const ln_tensor *t, int ndim);
bool r_check_same_dtype(ln_rule *r, const ln_tensor *a, const ln_tensor *b);
bool r_check_vector(ln_rule *r, const char *what, const ln_tensor *t, int64_t n, const char *unit); /* or NULL; "one number for each of n unit" */

#endif
