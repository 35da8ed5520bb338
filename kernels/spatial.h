/* spatial.h - the geometry of convolution and pooling with three spatial dims, the missing ones in front and of size 1, so that every kernel is
 * written once for 1 to 3 of them. C, C++ and CUDA C++. */
#ifndef LUNETTE_SPATIAL_H
#define LUNETTE_SPATIAL_H

#include "inline.h"
#include "kernels.h"

/* xs and ys: strides in elements of n, c and the dims. */
typedef struct ln_spatial {
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3], xs[5], ys[5];
} ln_spatial;

LN_INLINE void ln_spatial_dims(int spatial, const int64_t *from, int64_t missing, int64_t *to) {
  for (int d = 0; d < 3; d++) to[d] = d < 3 - spatial ? missing : from[d - (3 - spatial)];
}

LN_INLINE void ln_spatial_strides(int spatial, const int64_t *from, int64_t *to) {
  to[0] = from[0];
  to[1] = from[1];
  ln_spatial_dims(spatial, from + 2, 0, to + 2);
}

/* Of an ln_conv or ln_pool. */
#define LN_SPATIAL_OF(s, p)                                         \
  do {                                                              \
    ln_spatial_dims((p)->spatial, (p)->in, 1, (s)->in);             \
    ln_spatial_dims((p)->spatial, (p)->out, 1, (s)->out);           \
    ln_spatial_dims((p)->spatial, (p)->kernel, 1, (s)->kernel);     \
    ln_spatial_dims((p)->spatial, (p)->stride, 1, (s)->stride);     \
    ln_spatial_dims((p)->spatial, (p)->padding, 0, (s)->padding);   \
    ln_spatial_dims((p)->spatial, (p)->dilation, 1, (s)->dilation); \
    ln_spatial_strides((p)->spatial, (p)->x_stride, (s)->xs);       \
    ln_spatial_strides((p)->spatial, (p)->y_stride, (s)->ys);       \
  } while (0)

#endif
