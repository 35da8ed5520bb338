/* cudnn.cpp - convolutions by cuDNN, opened at the first convolution. Its few functions are declared here, as its documentation gives them, so
 * that neither header nor library is needed to build. Of its algorithms the fastest deterministic one is taken whose workspace there is memory for;
 * halves run on tensor cores, float32 uses TF32 where lt.cuda.allow_tf32 was set. It is given operands that are packed, channels first or, where
 * input and output are so, channels last; others are copied before and after. */
#include "driver.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

typedef struct cudnnContext *handle_t;
typedef struct cudnnTensorStruct *tensor_t;
typedef struct cudnnFilterStruct *filter_t;
typedef struct cudnnConvolutionStruct *convolution_t;
enum { DATA_FLOAT = 0, DATA_DOUBLE = 1, DATA_HALF = 2, DATA_BFLOAT16 = 9, NCHW = 0, NHWC = 1, CROSS_CORRELATION = 1 };
enum { DEFAULT_MATH = 0, TENSOR_OP_MATH = 1, FMA_MATH = 3 };

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
  int (*destroy)(handle_t);
  const char *(*error_text)(int);
  int (*set_stream)(handle_t, ln_stream);
  int (*create_tensor)(tensor_t *);
  int (*drop_tensor)(tensor_t);
  int (*set_tensor)(tensor_t, int type, int ndim, const int *shape, const int *stride);
  int (*create_filter)(filter_t *);
  int (*drop_filter)(filter_t);
  int (*set_filter)(filter_t, int type, int format, int ndim, const int *shape);
  int (*create_convolution)(convolution_t *);
  int (*drop_convolution)(convolution_t);
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
  static const int versions[] = {9, 8, 0};
  library l = {};
  int found = 0;
  void *so = ln_library_open("cudnn", versions, &found);
  bool *ok = &l.usable;
  l.usable = so != NULL;
  if (!so) {
    ln_library_missing("cuDNN",
                       "not found (libcudnn.so.9): convolutions run on plain kernels, many times slower; install libcudnn9-cuda-13 from NVIDIA's "
                       "repository or pip install nvidia-cudnn-cu13, and name its folder in LD_LIBRARY_PATH");
    return l;
  }
  ln_library_symbol(so, "cudnnCreate", &l.create, ok);
  ln_library_symbol(so, "cudnnDestroy", &l.destroy, ok);
  ln_library_symbol(so, "cudnnGetErrorString", &l.error_text, ok);
  ln_library_symbol(so, "cudnnSetStream", &l.set_stream, ok);
  ln_library_symbol(so, "cudnnCreateTensorDescriptor", &l.create_tensor, ok);
  ln_library_symbol(so, "cudnnDestroyTensorDescriptor", &l.drop_tensor, ok);
  ln_library_symbol(so, "cudnnSetTensorNdDescriptor", &l.set_tensor, ok);
  ln_library_symbol(so, "cudnnCreateFilterDescriptor", &l.create_filter, ok);
  ln_library_symbol(so, "cudnnDestroyFilterDescriptor", &l.drop_filter, ok);
  ln_library_symbol(so, "cudnnSetFilterNdDescriptor", &l.set_filter, ok);
  ln_library_symbol(so, "cudnnCreateConvolutionDescriptor", &l.create_convolution, ok);
  ln_library_symbol(so, "cudnnDestroyConvolutionDescriptor", &l.drop_convolution, ok);
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
  if (l.usable)
    ln_library_state("cuDNN", "%d", found);
  else
    ln_library_missing("cuDNN", "libcudnn.so.%d cannot be used: functions are missing; convolutions run on plain kernels, many times slower", found);
  return l;
}

const library &the_library() {
  static const library l = open_library();
  return l;
}

const char *failure_of(int status) { return status ? ln_gpu_text("cuDNN: %s", the_library().error_text(status)) : NULL; }

void drop_handle(void *handle) { the_library().destroy((handle_t)handle); }

/* This thread's on the device, on its stream there. */
const char *handle_of(int device, handle_t *out) {
  static thread_local handle_t handles[LN_MAX_GPUS];
  const library &l = the_library();
  LN_GPU_TRY(ln_gpu_enter(device));
  if (!handles[device]) {
    handle_t fresh = NULL;
    LN_GPU_TRY(failure_of(l.create(&fresh)));
    int status = l.set_stream(fresh, ln_gpu_stream(device));
    if (status) {
      l.destroy(fresh);
      return failure_of(status);
    }
    handles[device] = fresh;
    ln_gpu_at_thread_end(drop_handle, fresh);
  }
  *out = handles[device];
  return NULL;
}

/* -- Geometry: packed tensors, at least two spatial dims; a missing one goes in front, of size 1 -- */

struct geometry {
  int device, pass, dtype, groups, ndim, last, math; /* ndim counts n and c; last: channels last */
  int x[5], w[5], y[5], padding[3], stride[3], dilation[3];
};

bool fits(int64_t v) { return v >= 0 && v <= INT32_MAX; }

/* false where a number is beyond what cuDNN takes. */
bool geometry_of(const ln_conv *c, int pass, int device, bool last, geometry *g) {
  int spatial = c->spatial < 2 ? 2 : c->spatial, lead = spatial - c->spatial;
  bool all = fits(c->n) && fits(c->c) && fits(c->o);
  memset(g, 0, sizeof *g);
  g->device = device;
  g->pass = pass;
  g->dtype = c->dtype;
  g->groups = c->groups;
  g->ndim = spatial + 2;
  g->last = last;
  g->math = c->dtype == LN_FLOAT16 || c->dtype == LN_BFLOAT16 ? TENSOR_OP_MATH
            : c->dtype == LN_FLOAT32 && ln_gpu_allow_tf32(-1) ? DEFAULT_MATH
                                                              : FMA_MATH;
  g->x[0] = g->y[0] = (int)c->n;
  g->x[1] = (int)c->c;
  g->y[1] = g->w[0] = (int)c->o;
  g->w[1] = (int)(c->c / c->groups);
  for (int d = 0; d < spatial; d++) {
    int from = d - lead;
    g->x[2 + d] = g->y[2 + d] = g->w[2 + d] = g->stride[d] = g->dilation[d] = 1;
    if (from < 0) continue;
    all = all && fits(c->in[from]) && fits(c->out[from]) && fits(c->kernel[from]) && fits(c->padding[from]) && fits(c->stride[from]) &&
          fits(c->dilation[from]);
    g->x[2 + d] = (int)c->in[from];
    g->y[2 + d] = (int)c->out[from];
    g->w[2 + d] = (int)c->kernel[from];
    g->padding[d] = (int)c->padding[from];
    g->stride[d] = (int)c->stride[from];
    g->dilation[d] = (int)c->dilation[from];
  }
  return all;
}

/* Strides of a packed tensor, in elements. */
template <class Size, class Stride> Size packed(int ndim, const Size *shape, bool last, Stride *stride) {
  Size n = 1;
  for (int k = 0; k < ndim; k++) {
    int d = !last ? ndim - 1 - k : k == 0 ? 1 : k == ndim - 1 ? 0 : ndim - k;
    stride[d] = (Stride)n;
    n *= shape[d];
  }
  return n;
}

/* -- Plans: what a geometry needs at every call. They are kept, and dropped all together when there are many -- */

const size_t MOST_PLANS = 256;

struct algorithm {
  int number, math;
  size_t workspace;
};

struct plan {
  tensor_t x, y;
  filter_t w;
  convolution_t convolution;
  std::vector<algorithm> algorithms; /* the fastest first; none: cuDNN does not take this geometry */
  plan() : x(NULL), y(NULL), w(NULL), convolution(NULL) {}
  ~plan() {
    const library &l = the_library();
    if (x) l.drop_tensor(x);
    if (y) l.drop_tensor(y);
    if (w) l.drop_filter(w);
    if (convolution) l.drop_convolution(convolution);
  }
};

bool describe(const library &l, const geometry &g, plan *p) {
  static const int types[4] = {DATA_FLOAT, DATA_DOUBLE, DATA_HALF, DATA_BFLOAT16};
  int type = types[g.dtype], compute = g.dtype == LN_FLOAT64 ? DATA_DOUBLE : DATA_FLOAT, xs[5], ys[5];
  packed(g.ndim, g.x, g.last, xs);
  packed(g.ndim, g.y, g.last, ys);
  return !l.create_tensor(&p->x) && !l.set_tensor(p->x, type, g.ndim, g.x, xs) && !l.create_tensor(&p->y) &&
         !l.set_tensor(p->y, type, g.ndim, g.y, ys) && !l.create_filter(&p->w) && !l.set_filter(p->w, type, g.last ? NHWC : NCHW, g.ndim, g.w) &&
         !l.create_convolution(&p->convolution) &&
         !l.set_convolution(p->convolution, g.ndim - 2, g.padding, g.stride, g.dilation, CROSS_CORRELATION, compute) &&
         !l.set_groups(p->convolution, g.groups) && !l.set_math(p->convolution, g.math);
}

void choose(const library &l, handle_t handle, const geometry &g, plan *p) {
  candidate found[16];
  int n = 0;
  if (!describe(l, g, p)) return;
  const void *const operands[3][3] = {{p->x, p->w, p->y}, {p->w, p->y, p->x}, {p->x, p->y, p->w}};
  const void *const *o = operands[g.pass];
  if (l.choose[g.pass](handle, o[0], o[1], p->convolution, o[2], 16, &n, found)) return;
  for (int k = 0; k < n; k++) {
    algorithm a = {found[k].algo, found[k].math, 0};
    if (found[k].status || found[k].deterministic != 1 || l.set_math(p->convolution, a.math)) continue;
    if (!l.workspace[g.pass](handle, o[0], o[1], p->convolution, o[2], a.number, &a.workspace)) p->algorithms.push_back(a);
  }
}

const plan &plan_of(const library &l, handle_t handle, const geometry &g) {
  static thread_local std::map<std::string, std::unique_ptr<plan>> plans;
  std::string key((const char *)&g, sizeof g);
  auto at = plans.find(key);
  if (at != plans.end()) return *at->second;
  if (plans.size() >= MOST_PLANS) plans.clear();
  plan *fresh = new plan;
  plans[key].reset(fresh);
  choose(l, handle, g, fresh);
  return *fresh;
}

/* -- Running -- */

/* Operands as cuDNN is given them. */
struct operands {
  const char *x, *w, *dy;
  char *y;
};

const char *call(const library &l, handle_t handle, const geometry &g, const plan &p, const algorithm &a, const operands &o, void *room, bool add) {
  const float one_f = 1, zero_f = 0;
  const double one_d = 1, zero_d = 0;
  const bool wide = g.dtype == LN_FLOAT64;
  const void *one = wide ? (const void *)&one_d : &one_f, *zero = wide ? (const void *)&zero_d : &zero_f, *beta = add ? one : zero;
  LN_GPU_TRY(failure_of(l.set_math(p.convolution, a.math)));
  switch (g.pass) {
  case 0: return failure_of(l.forward(handle, one, p.x, o.x, p.w, o.w, p.convolution, a.number, room, a.workspace, beta, p.y, o.y));
  case 1: return failure_of(l.dx(handle, one, p.w, o.w, p.y, o.dy, p.convolution, a.number, room, a.workspace, beta, p.x, o.y));
  default: return failure_of(l.dw(handle, one, p.x, o.x, p.y, o.dy, p.convolution, a.number, room, a.workspace, beta, p.w, o.y));
  }
}

/* False where cuDNN has no deterministic algorithm for the geometry, or no memory for any of them. */
bool run_some(handle_t handle, const geometry &g, const operands &o, bool add, const char **failure) {
  const library &l = the_library();
  const plan &p = plan_of(l, handle, g);
  for (const algorithm &a : p.algorithms) {
    ln_scratch room(g.device, a.workspace);
    if (room.failure) continue;
    *failure = call(l, handle, g, p, a, o, room.memory, add);
    return true;
  }
  return false;
}

/* The batch in pieces of which no tensor has more elements than cuDNN counts. */
bool run_all(const ln_conv *c, handle_t handle, geometry g, const operands &o, const char **failure) {
  const int item = ln_gpu_size_of(c->dtype);
  int64_t x = c->c, y = c->o, left = c->n;
  for (int d = 0; d < c->spatial; d++) {
    x *= c->in[d];
    y *= c->out[d];
  }
  int64_t most = INT32_MAX / (x > y ? x : y);
  if (most == 0) return false;
  operands at = o;
  for (bool first = true; left > 0 && !*failure; left -= g.x[0], first = false) {
    g.x[0] = g.y[0] = (int)(left < most ? left : most);
    if (!run_some(handle, g, at, c->dy && g.pass == 2 && !first, failure)) return false;
    if (at.x) at.x += g.x[0] * x * item;
    if (at.dy) at.dy += g.x[0] * y * item;
    if (g.pass == 0) at.y += g.x[0] * y * item;
    if (g.pass == 1) at.y += g.x[0] * x * item;
  }
  return true;
}

/* An operand in the layout that cuDNN gets: itself, or a copy. */
struct operand {
  int64_t shape[5], given[5], wanted[5], bytes;
  int ndim, dtype;
  char *data;
  bool same;
  std::unique_ptr<ln_scratch> copy;

  operand(const ln_conv *c, const char *p, int64_t first, int64_t second, const int64_t *dims, const int64_t *stride, bool last)
      : ndim(c->spatial + 2), dtype(c->dtype), data((char *)p), same(true) {
    shape[0] = first;
    shape[1] = second;
    for (int d = 0; d < c->spatial; d++) shape[2 + d] = dims[d];
    bytes = packed(ndim, shape, last, wanted) * ln_gpu_size_of(dtype);
    for (int d = 0; d < ndim; d++) {
      given[d] = stride[d];
      same = same && (shape[d] == 1 || given[d] == wanted[d]);
    }
  }
  const char *move(char *to, const int64_t *to_stride, const char *from, const int64_t *from_stride, int device) const {
    ln_loop loop = {};
    const int item = ln_gpu_size_of(dtype);
    loop.n_operands = 2;
    loop.ndim = ndim;
    loop.numel = bytes / item;
    loop.dtype[0] = loop.dtype[1] = dtype;
    loop.data[0] = to;
    loop.data[1] = (char *)from;
    for (int d = 0; d < ndim; d++) {
      loop.shape[d] = shape[d];
      loop.stride[0][d] = to_stride[d] * item;
      loop.stride[1][d] = from_stride[d] * item;
    }
    return ln_gpu_convert(&loop, device);
  }
  /* `data` becomes what cuDNN is given. */
  const char *begin(bool read, int device) {
    if (!data || same) return NULL;
    copy.reset(new ln_scratch(device, (size_t)bytes));
    if (copy->failure) return copy->failure;
    const char *from = data;
    data = (char *)copy->memory;
    return read ? move(data, wanted, from, given, device) : NULL;
  }
  const char *end(char *to, int device) const { return same ? NULL : move(to, given, data, wanted, device); }
};

bool convolve(const ln_conv *c, int pass, int device, bool last, handle_t handle, const char **failure) {
  geometry g;
  if (!geometry_of(c, pass, device, last, &g)) return false;
  operand x(c, pass == 1 ? c->y : c->x, c->n, c->c, c->in, c->x_stride, last), y(c, pass == 0 ? c->y : c->dy, c->n, c->o, c->out, c->y_stride, last),
    w(c, pass == 2 ? c->y : c->w, c->o, c->c / c->groups, c->kernel, c->w_stride, last);
  operand *result = pass == 0 ? &y : pass == 1 ? &x : &w;
  for (operand *one : {&x, &y, &w})
    if (!*failure) *failure = one->begin(one != result, device);
  if (*failure) return true;
  operands o = {pass == 1 ? NULL : x.data, pass == 2 ? NULL : w.data, pass == 0 ? NULL : y.data, result->data};
  if (!run_all(c, handle, g, o, failure)) return false;
  if (!*failure) *failure = result->end(c->y, device);
  return true;
}

bool is_last(int64_t channels, const int64_t *stride) { return channels > 1 && stride[1] == 1; }

} // namespace

bool ln_cudnn_conv(const ln_conv *c, int pass, int device, const char **failure) {
  static const char *const names[3] = {"a convolution", "the input gradient of a convolution", "the weight gradient of a convolution"};
  handle_t handle = NULL;
  *failure = NULL;
  if (c->n == 0 || !the_library().usable) return false;
  if ((*failure = handle_of(device, &handle))) return true;
  bool last = is_last(c->c, c->x_stride) && is_last(c->o, c->y_stride);
  bool took = convolve(c, pass, device, last, handle, failure) || (last && convolve(c, pass, device, false, handle, failure));
  if (!took)
    ln_library_refused("cuDNN", "%s of dtype %d, %d spatial dims, %lld to %lld channels in %d groups", names[pass], c->dtype, c->spatial,
                       (long long)c->c, (long long)c->o, c->groups);
  else if (!*failure && pass == 0 && c->bias)
    *failure = ln_gpu_conv_bias(c, device);
  return took;
}
