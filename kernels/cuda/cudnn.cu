/* cudnn.cu - convolutions by cuDNN, opened at the first convolution. Its few functions are declared here, as its documentation gives them, so
 * that neither header nor library is needed to build. Of its algorithms the fastest deterministic one is taken; float32 without TF32. */
#include "library.h"

#include <map>
#include <string>

namespace {

typedef struct cudnnContext *handle_t;
typedef struct cudnnTensorStruct *tensor_t;
typedef struct cudnnFilterStruct *filter_t;
typedef struct cudnnConvolutionStruct *convolution_t;
enum { DATA_FLOAT = 0, DATA_DOUBLE = 1, DATA_HALF = 2, DATA_BFLOAT16 = 9, NCHW = 0, CROSS_CORRELATION = 1, DEFAULT_MATH = 0, FMA_MATH = 3 };

struct candidate {
  int algo, status;
  float time;
  size_t memory;
  int deterministic, math, reserved[3];
};

typedef int (*choose_fn)(handle_t, const void *, const void *, const void *, const void *, int, int *, candidate *);
typedef int (*workspace_fn)(handle_t, const void *, const void *, const void *, const void *, int, size_t *);

struct library {
  int (*create)(handle_t *);
  int (*set_stream)(handle_t, cudaStream_t);
  int (*create_tensor)(tensor_t *);
  int (*set_tensor)(tensor_t, int type, int ndim, const int *shape, const int *stride);
  int (*create_filter)(filter_t *);
  int (*set_filter)(filter_t, int type, int format, int ndim, const int *shape);
  int (*create_convolution)(convolution_t *);
  int (*set_convolution)(convolution_t, int ndim, const int *padding, const int *stride, const int *dilation, int mode, int type);
  int (*set_groups)(convolution_t, int groups);
  int (*set_math)(convolution_t, int math);
  choose_fn choose[3]; /* of forward, dx, dw */
  workspace_fn workspace[3];
  int (*forward)(handle_t, const void *, tensor_t, const void *, filter_t, const void *, convolution_t, int, void *, size_t, const void *, tensor_t,
                 void *);
  int (*dx)(handle_t, const void *, filter_t, const void *, tensor_t, const void *, convolution_t, int, void *, size_t, const void *, tensor_t,
            void *);
  int (*dw)(handle_t, const void *, tensor_t, const void *, tensor_t, const void *, convolution_t, int, void *, size_t, const void *, filter_t,
            void *);
  bool usable;
};

library open_library() {
  static const char *const names[] = {"libcudnn.so.9", "libcudnn.so.8", "libcudnn.so", NULL};
  library l = {};
  void *so = ln_library_open(names);
  bool *ok = &l.usable;
  l.usable = so != NULL;
  if (!so) return l;
  ln_library_symbol(so, "cudnnCreate", &l.create, ok);
  ln_library_symbol(so, "cudnnSetStream", &l.set_stream, ok);
  ln_library_symbol(so, "cudnnCreateTensorDescriptor", &l.create_tensor, ok);
  ln_library_symbol(so, "cudnnSetTensorNdDescriptor", &l.set_tensor, ok);
  ln_library_symbol(so, "cudnnCreateFilterDescriptor", &l.create_filter, ok);
  ln_library_symbol(so, "cudnnSetFilterNdDescriptor", &l.set_filter, ok);
  ln_library_symbol(so, "cudnnCreateConvolutionDescriptor", &l.create_convolution, ok);
  ln_library_symbol(so, "cudnnSetConvolutionNdDescriptor", &l.set_convolution, ok);
  ln_library_symbol(so, "cudnnSetConvolutionGroupCount", &l.set_groups, ok);
  ln_library_symbol(so, "cudnnSetConvolutionMathType", &l.set_math, ok);
  ln_library_symbol(so, "cudnnGetConvolutionForwardAlgorithm_v7", &l.choose[0], ok);
  ln_library_symbol(so, "cudnnGetConvolutionBackwardDataAlgorithm_v7", &l.choose[1], ok);
  ln_library_symbol(so, "cudnnGetConvolutionBackwardFilterAlgorithm_v7", &l.choose[2], ok);
  ln_library_symbol(so, "cudnnGetConvolutionForwardWorkspaceSize", &l.workspace[0], ok);
  ln_library_symbol(so, "cudnnGetConvolutionBackwardDataWorkspaceSize", &l.workspace[1], ok);
  ln_library_symbol(so, "cudnnGetConvolutionBackwardFilterWorkspaceSize", &l.workspace[2], ok);
  ln_library_symbol(so, "cudnnConvolutionForward", &l.forward, ok);
  ln_library_symbol(so, "cudnnConvolutionBackwardData", &l.dx, ok);
  ln_library_symbol(so, "cudnnConvolutionBackwardFilter", &l.dw, ok);
  return l;
}

const library &the_library() {
  static const library l = open_library();
  return l;
}

const char *handle_of(int device, handle_t *out) {
  static thread_local handle_t handles[LN_MAX_GPUS];
  return ln_library_handle(device, handles, the_library().create, the_library().set_stream, out);
}

/* What a geometry needs at every call: descriptors, the algorithm, its workspace. algo -1: cuDNN does not take this one. */
struct plan {
  tensor_t x, y;
  filter_t w;
  convolution_t convolution;
  int algo;
  size_t workspace;
};

/* cuDNN wants at least two spatial dims: a missing one goes in front, of size 1. */
struct geometry {
  int device, pass, dtype, groups, ndim; /* ndim counts n and c */
  int x[5], xs[5], w[5], y[5], ys[5], padding[3], stride[3], dilation[3];
};

bool fits(int64_t v) { return v >= 0 && v <= INT32_MAX; }

bool geometry_of(const ln_conv *c, int pass, int device, geometry *g) {
  int spatial = c->spatial < 2 ? 2 : c->spatial, lead = spatial - c->spatial;
  memset(g, 0, sizeof *g);
  g->device = device;
  g->pass = pass;
  g->dtype = c->dtype;
  g->groups = c->groups;
  g->ndim = spatial + 2;
  const int64_t shape[3][2] = {{c->n, c->c}, {c->o, c->c / c->groups}, {c->n, c->o}};
  for (int k = 0; k < 2; k++) {
    if (!fits(c->x_stride[k]) || !fits(c->y_stride[k]) || !fits(shape[0][k]) || !fits(shape[1][k]) || !fits(shape[2][k])) return false;
    g->x[k] = (int)shape[0][k];
    g->w[k] = (int)shape[1][k];
    g->y[k] = (int)shape[2][k];
    g->xs[k] = (int)c->x_stride[k];
    g->ys[k] = (int)c->y_stride[k];
  }
  for (int d = 0; d < spatial; d++) {
    int from = d - lead;
    bool real = from >= 0;
    if (real && (!fits(c->in[from]) || !fits(c->out[from]) || !fits(c->x_stride[2 + from]) || !fits(c->y_stride[2 + from]))) return false;
    g->x[2 + d] = real ? (int)c->in[from] : 1;
    g->y[2 + d] = real ? (int)c->out[from] : 1;
    g->w[2 + d] = real ? (int)c->kernel[from] : 1;
    g->xs[2 + d] = real ? (int)c->x_stride[2 + from] : 1;
    g->ys[2 + d] = real ? (int)c->y_stride[2 + from] : 1;
    g->padding[d] = real ? (int)c->padding[from] : 0;
    g->stride[d] = real ? (int)c->stride[from] : 1;
    g->dilation[d] = real ? (int)c->dilation[from] : 1;
  }
  return true;
}

bool describe(const library &l, const geometry &g, plan *p) {
  static const int types[4] = {DATA_FLOAT, DATA_DOUBLE, DATA_HALF, DATA_BFLOAT16};
  int type = types[g.dtype], compute = g.dtype == LN_FLOAT64 ? DATA_DOUBLE : DATA_FLOAT;
  return !l.create_tensor(&p->x) && !l.set_tensor(p->x, type, g.ndim, g.x, g.xs) && !l.create_tensor(&p->y) &&
         !l.set_tensor(p->y, type, g.ndim, g.y, g.ys) && !l.create_filter(&p->w) && !l.set_filter(p->w, type, NCHW, g.ndim, g.w) &&
         !l.create_convolution(&p->convolution) &&
         !l.set_convolution(p->convolution, g.ndim - 2, g.padding, g.stride, g.dilation, CROSS_CORRELATION, compute) &&
         !l.set_groups(p->convolution, g.groups) && !l.set_math(p->convolution, g.dtype <= LN_FLOAT64 ? FMA_MATH : DEFAULT_MATH);
}

plan make_plan(const library &l, handle_t handle, const geometry &g) {
  plan p = {};
  candidate found[16];
  int n = 0;
  p.algo = -1;
  if (!describe(l, g, &p)) return p;
  const void *const operands[3][3] = {{p.x, p.w, p.y}, {p.w, p.y, p.x}, {p.x, p.y, p.w}};
  const void *const *o = operands[g.pass];
  if (l.choose[g.pass](handle, o[0], o[1], p.convolution, o[2], 16, &n, found)) return p;
  for (int k = 0; k < n && p.algo < 0; k++) {
    if (found[k].status || found[k].deterministic != 1) continue;
    if (l.workspace[g.pass](handle, o[0], o[1], p.convolution, o[2], found[k].algo, &p.workspace)) continue;
    p.algo = found[k].algo;
  }
  return p;
}

const plan &plan_of(const library &l, handle_t handle, const geometry &g) {
  static thread_local std::map<std::string, plan> plans;
  std::string key((const char *)&g, sizeof g);
  auto at = plans.find(key);
  if (at == plans.end()) at = plans.emplace(key, make_plan(l, handle, g)).first;
  return at->second;
}

template <class T> struct bias_body {
  char *y;
  const char *bias;
  int dtype, item;
  int64_t channels, plane, shape[3], stride[5];
  LN_BODY void operator()(int64_t i) const {
    int64_t c = i / plane % channels;
    char *at = y + (i / plane / channels * stride[0] + c * stride[1] + ln_offset(i % plane, 3, shape, stride + 2)) * item;
    ln_store<T>(at, dtype, ln_load<T>(at, dtype) + ln_load<T>(bias + c * item, dtype));
  }
};

template <class T> const char *add_bias(const ln_conv *c, int device) {
  bias_body<T> b = {c->y, c->bias, c->dtype, ln_gpu_size_of(c->dtype), c->o, 1, {1, 1, 1}, {c->y_stride[0], c->y_stride[1], 0, 0, 0}};
  for (int d = 0; d < c->spatial; d++) {
    b.plane *= c->out[d];
    b.shape[3 - c->spatial + d] = c->out[d];
    b.stride[5 - c->spatial + d] = c->y_stride[2 + d];
  }
  return ln_each(device, c->n * c->o * b.plane, b);
}

} // namespace

bool ln_cudnn_conv(const ln_conv *c, int pass, int device, const char **failure) {
  const library &l = the_library();
  geometry g;
  handle_t handle;
  void *room = NULL;
  if (!l.usable || c->n == 0 || !geometry_of(c, pass, device, &g)) return false;
  if ((*failure = handle_of(device, &handle))) return true;
  const plan &p = plan_of(l, handle, g);
  if (p.algo < 0) return false;
  if (p.workspace && (*failure = ln_gpu_scratch(device, p.workspace, &room))) return true;
  const float one_f = 1, zero_f = 0;
  const double one_d = 1, zero_d = 0;
  bool wide = c->dtype == LN_FLOAT64;
  const void *one = wide ? (const void *)&one_d : &one_f, *zero = wide ? (const void *)&zero_d : &zero_f;
  int status = 0;
  switch (pass) {
  case 0: status = l.forward(handle, one, p.x, c->x, p.w, c->w, p.convolution, p.algo, room, p.workspace, zero, p.y, c->y); break;
  case 1: status = l.dx(handle, one, p.w, c->w, p.y, c->dy, p.convolution, p.algo, room, p.workspace, zero, p.x, c->y); break;
  default: status = l.dw(handle, one, p.x, c->x, p.y, c->dy, p.convolution, p.algo, room, p.workspace, zero, p.w, c->y);
  }
  if (status) {
    *failure = "cuDNN refused the convolution";
  } else if (pass == 0 && c->bias) {
#define BIAS(T) add_bias<T>(c, device)
    *failure = wide ? BIAS(double) : BIAS(float);
  }
  return true;
}
