/* internal.h - what the rooms of lib/ share: storages, nodes, rules. Kernels and Lua never see it. */
#ifndef LUNETTE_INTERNAL_H
#define LUNETTE_INTERNAL_H

#include "../kernels/kernels.h"
#include "lunette.h"

#include <stdarg.h>
#include <string.h>

#define LN_CPU (-1)
#define LN_MAX_EXTRAS 2

/* -- Errors (core/error.c) -- */
/* Sets the thread's error text and returns LN_ERROR. */
int ln_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ln_fail_nomem(int64_t bytes);
/* A kernel's answer as a status: LN_OK for NULL. */
int ln_kernel_status(const char *op, const char *failure);
#define LN_TRY(call)                                  \
  do {                                                \
    int ln_try_status = (call);                       \
    if (ln_try_status != LN_OK) return ln_try_status; \
  } while (0)
/* "{2, 3}" for messages; rotates through a few buffers of the thread. */
const char *ln_shape_text(const int64_t *shape, int ndim);
const char *ln_dtype_name(int dtype);

/* An array that grows by doubling; false when out of memory. */
bool ln_grow(void *array, int *capacity, int want, size_t item);

/* -- Memory (core/memory.c) -- */
/* A cached block of at least `bytes`, 64-byte aligned, on `device`; freed with the same size. NULL when out of memory (text set). */
void *ln_block_alloc(int device, size_t bytes);
void ln_block_free(int device, void *block, size_t bytes);

/* Bytes of this thread's blocks on a device: in use, kept for reuse, the most there were. */
int ln_block_counters(int device, int64_t *live, int64_t *cached, int64_t *peak);
void ln_block_trim(int device); /* cached blocks back to the device */

struct ln_storage {
  uint32_t refs;
  uint32_t version; /* counts in-place changes */
  uint32_t zero_at; /* zero_grad filled it when this was the version: then all of it is 0; 0 when never */
  int32_t device;
  int64_t bytes;
  char *data;
};
int ln_storage_new(int device, int64_t bytes, ln_storage **out);
void ln_storage_retain(ln_storage *s);
void ln_storage_release(ln_storage *s);

/* -- Tensors (core/tensor.c). Inside lib/ every `ln_tensor **out` hands over one reference that the scope does not own. -- */
int ln_new(const int64_t *shape, int ndim, int dtype, int device, ln_tensor **out); /* row-major, uninitialised */
int ln_new_like(const ln_tensor *t, int dtype, ln_tensor **out);                    /* row-major, same shape and device */
int ln_new_strided(const int64_t *shape, const int64_t *stride, int ndim, int dtype, int device, ln_tensor **out);
ln_tensor *ln_alias(const ln_tensor *t);                                                   /* same geometry and storage, no history */
void ln_set_geometry(ln_tensor *t, const int64_t *shape, const int64_t *stride, int ndim); /* and numel */
bool ln_is_dense(const ln_tensor *t);                                                      /* its elements fill one block in some order of dims */
static inline int64_t ln_itemsize(const ln_tensor *t) { return ln_dtype_size(t->dtype); }
static inline bool ln_is_float(int dtype) { return dtype <= LN_BFLOAT16; }
/* A loop, for dims that were just written: a vector load would wait until the narrow stores have left for memory. */
static inline bool ln_same_dims(const int64_t *a, const int64_t *b, int n) {
  for (int i = 0; i < n; i++)
    if (a[i] != b[i]) return false;
  return true;
}
static inline bool ln_same_shape(const ln_tensor *a, const ln_tensor *b) { return a->ndim == b->ndim && ln_same_dims(a->shape, b->shape, a->ndim); }
int64_t ln_numel(const int64_t *shape, int ndim);
/* Registers a handed-out tensor with the current scope, if there is one. */
void ln_hand_out(ln_tensor *t);
int ln_broadcast(const char *op, const ln_tensor *a, const ln_tensor *b, int64_t *shape, int *ndim); /* into shape, which may hold a's so far */
int ln_wrap_dim(const char *op, int64_t dim, int ndim, int *out); /* a negative dim counts from the end; ndim 0 counts as 1 */

/* -- Loops (core/loop.c) -- */
/* Operands broadcast to the shape of operand 0; NULL operands are filled by ln_loop_scalar afterwards. Collapses dimensions. */
void ln_loop_init(ln_loop *loop, ln_tensor *const *operands, int n);
void ln_loop_scalar(ln_loop *loop, int operand, int dtype, const void *value);
/* Splits x into reduced and kept dims (mask bit per dim); y: the result with kept dims only, or with all when keepdim. */
void ln_fold_init(ln_fold *fold, int kind, const ln_tensor *x, uint32_t mask, const ln_tensor *y, bool keepdim);

/* -- Devices (core/device.c) -- */
const ln_kernels *ln_kernels_of(int device); /* cpu: always; cuda: the plug-in's, which a tensor on it proves to be loaded */

/* -- Random numbers (core/random.c) -- */
/* Takes blocks of the generator in use. */
void ln_random_reserve(uint64_t blocks, uint64_t *seed, uint64_t *offset);
/* Takes the blocks that r's loop needs: sets seed and offset. */
void ln_random_draw(ln_random *r);

/* -- Operators (core/op.c) -- */
enum ln_op_id {
#define UNARY(name, ...) LN_OP_##name,
#define BINARY(name, ...) LN_OP_##name,
#define TERNARY(name, ...) LN_OP_##name,
#define OP(name, ...) LN_OP_##name,
#define OVERLOAD(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef OVERLOAD
  LN_OP_COUNT,
  /* nodes that are no operator */
  LN_NODE_ACCUMULATE = LN_OP_COUNT,
  LN_NODE_FUNCTION
};

/* One call of an operator. A rule checks, allocates c->out[], runs kernels and may keep extra tensors for backward. Inputs are borrowed. */
typedef struct ln_call {
  int op;
  const char *name;
  int n_in;
  ln_tensor *const *in;
  const ln_attrs *attrs; /* never NULL */
  ln_tensor *out[LN_MAX_OUTPUTS];
  ln_tensor *target;               /* in place: inputs[0], to be written and put into out[0] by ln_call_out; else NULL */
  ln_tensor *extra[LN_MAX_EXTRAS]; /* kept for backward, owned */
  bool recording;                  /* some input wants a gradient */
  uint32_t keep_in;                /* inputs that backward needs, a bit each, set by the rule */
  uint32_t keep_out;               /* outputs that backward needs */
  bool alias;                      /* out[0] looks at in[0]'s storage */
} ln_call;

typedef int (*ln_forward_fn)(ln_call *c);

/* Attributes by slot number: the k-th typed name of the signature. */
static inline bool ln_has(const ln_attrs *a, int k) { return (a->present >> k) & 1; }
static inline int64_t ln_int(const ln_attrs *a, int k) { return a->slot[k].i; }
static inline double ln_float(const ln_attrs *a, int k) { return a->slot[k].d; }
static inline int ln_list(const ln_attrs *a, int k, const int64_t **list) {
  *list = a->pool + (a->slot[k].i >> 8);
  return (int)(a->slot[k].i & 255);
}
/* A list of `want` entries, or one that stands for all: kernel_size, stride, padding ... */
int ln_list_n(const char *op, const char *what, const ln_attrs *a, int k, int want, int64_t *out);
/* Dims of a reduction as a mask; absent or empty means all. */
int ln_dims_mask(const char *op, const ln_attrs *a, int k, int ndim, uint32_t *mask);
void ln_attrs_ints(ln_attrs *a, int k, const int64_t *list, int n); /* fills slot k */
void ln_attrs_int(ln_attrs *a, int k, int64_t value);
void ln_attrs_float(ln_attrs *a, int k, double value);

/* The output of a call: the target when in place (whose shape and dtype must agree), else a new row-major tensor on the device of in[0]. */
int ln_call_out(ln_call *c, int i, const int64_t *shape, int ndim, int dtype);
/* A result that is in[0] itself, or shares its elements with other geometry (view rules). */
int ln_call_alias(ln_call *c, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset);
/* t as row-major memory of a dtype: t itself, retained, or a converted copy. No history. */
int ln_dense(ln_tensor *t, int dtype, ln_tensor **out);
/* y = x with conversion and broadcasting; any strides. */
int ln_copy_into(ln_tensor *y, ln_tensor *x);
int ln_zero(ln_tensor *y);

/* -- Autograd (autograd/) -- */
/* One backward of an operator. The rule fills b->dx[i] for inputs with b->needs[i]; it composes operators through the ln_do_* functions,
 * whose failures stick: after one, the rest return NULL and NULL arguments pass through. Results of ln_do are released with b;
 * what goes into dx is retained there. */
typedef struct ln_back {
  ln_node *node;
  const char *name;
  const ln_attrs *attrs;
  int n_in, n_out;
  ln_tensor **g;   /* gradients of the outputs; g[i] NULL when none came */
  ln_tensor **in;  /* kept inputs, else NULL */
  ln_tensor **out; /* kept outputs, re-attached, else NULL */
  ln_tensor **extra;
  const int64_t (*shape)[16]; /* shapes of all inputs, kept or not */
  const int64_t (*stride)[16];
  const int32_t *ndim, *dtype; /* ndim -1: no tensor, a number or absent */
  int device;                  /* where the inputs were */
  bool *needs;
  ln_tensor **dx;
  int status;
  ln_tensor *temps[96];
  int n_temps;
} ln_back;
typedef void (*ln_backward_fn)(ln_back *b);

/* Runs an operator inside a backward rule; outputs beyond the first are dropped. */
ln_tensor *ln_do(ln_back *b, int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs);
ln_tensor *ln_do_own(ln_back *b, ln_tensor *t);      /* t's reference now belongs to b */
ln_tensor *ln_do1(ln_back *b, int op, ln_tensor *x); /* without attributes */
ln_tensor *ln_do2(ln_back *b, int op, ln_tensor *x, ln_tensor *y);
ln_tensor *ln_do_scale(ln_back *b, ln_tensor *x, double factor); /* x * factor */
ln_tensor *ln_do_shift(ln_back *b, ln_tensor *x, double term);   /* x + term */
ln_tensor *ln_do_sum(ln_back *b, ln_tensor *x, uint32_t mask, bool keepdim);
ln_tensor *ln_do_view(ln_back *b, ln_tensor *x, const int64_t *shape, int ndim); /* reshape */
ln_tensor *ln_do_expand(ln_back *b, ln_tensor *x, const int64_t *shape, int ndim);
ln_tensor *ln_do_sum_to(ln_back *b, ln_tensor *x, const int64_t *shape, int ndim); /* the inverse of broadcasting */
ln_tensor *ln_do_transpose(ln_back *b, ln_tensor *x, int d0, int d1);
ln_tensor *ln_do_unsqueeze_mask(ln_back *b, ln_tensor *x, uint32_t mask, int ndim); /* puts reduced dims back as 1 */
ln_tensor *ln_do_zeros(ln_back *b, int input);                                      /* zeros in the shape of that input */
ln_tensor *ln_do_to(ln_back *b, ln_tensor *x, int dtype);
void ln_give(ln_back *b, int input, ln_tensor *dx); /* b->dx[input] = dx, retained; NULL is no gradient */

/* Forward rules that are made of operators use the same functions between these two; nothing is recorded. `result`, retained, goes to *out. */
typedef struct ln_compose {
  ln_back b;
  int mode;
} ln_compose;
ln_back *ln_compose_begin(ln_compose *c, const char *name);
ln_back *ln_composite_begin(ln_compose *c, const char *name); /* for COMPOSITE rows: the operators inside are recorded */
int ln_compose_end(ln_compose *c, ln_tensor *result, ln_tensor **out);
ln_tensor *ln_do_where(ln_back *b, ln_tensor *condition, ln_tensor *yes, double yes_number, ln_tensor *no, double no_number); /* NULL: the number */
ln_tensor *ln_do_compare(ln_back *b, int op, ln_tensor *x, double number); /* eq, ne, lt ... against a number */
ln_tensor *ln_do_pow(ln_back *b, ln_tensor *x, double exponent);

typedef struct ln_op_row {
  ln_op_info info;
  ln_forward_fn forward;
  ln_backward_fn backward, backward_any;
  int pointwise; /* position among the pointwise rows, -1 */
  int n_slots;
  int first_attr;     /* pointwise: slot of its first attribute, behind those of its operands */
  int cost;           /* 0 cheap, 1 dear */
  int result;         /* class of a pointwise row: ln_class */
  double defaults[3]; /* pointwise: of its attributes */
  bool passes[3];     /* pointwise: derivative i is g itself */
  uint32_t keep[3];   /* pointwise: what derivative i mentions: bit 0-2 inputs, bit 3 the result */
} ln_op_row;
enum { LN_GRAD_COMPOSITE = 4 }; /* ln_op_info.grad: records itself, its operators do */
enum ln_class { LN_CLASS_FLOAT, LN_CLASS_SAME, LN_CLASS_TEST };
const ln_op_row *ln_row(int op);
int ln_pointwise_forward(ln_call *c);
void ln_pointwise_backward(ln_back *b);

/* ln_apply without the hand-over to a scope: for use inside lib/. */
int ln_run(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, bool inplace, ln_tensor **outputs);
/* Gradient recording: called by ln_run after the rule. */
int ln_record(ln_call *c);
int ln_check_inplace(ln_call *c); /* before the rule: may this tensor be changed in place? */
bool ln_wants_grad(const ln_tensor *t);
int ln_view_refresh(ln_tensor *t); /* a view whose base was changed in place gets its node anew */
/* Grad mode bits of lunette.h, per thread. */
enum { LN_MODE_GRAD = 1, LN_MODE_ANOMALY = 2 };
int ln_node_gradient_source(ln_tensor *t, ln_node **node, int *output); /* the node (or accumulator) that takes t's gradient, retained; NULL */
void ln_dead_push(int lua);                                             /* a Lua part is no longer needed */
void ln_node_forget(ln_tensor *t);                                      /* t, whose gradient was to be retained, goes */
int ln_node_op(const ln_node *n);
void ln_engine_drop(ln_engine *e); /* an engine that does nothing, with its arrays */
void ln_node_retain(ln_node *n);
void ln_node_release(ln_node *n); /* iterative: a chain of any length is freed without recursion */

/* Checks that inputs agree: float, same device ... (ops/check.c) */
int ln_check_device(const char *op, ln_tensor *const *in, int n);
int ln_check_float(const char *op, const char *what, const ln_tensor *t);
int ln_check_dim(const char *op, const char *what, const ln_tensor *t, int ndim);
int ln_check_same_dtype(const char *op, const ln_tensor *a, const ln_tensor *b);

#endif
