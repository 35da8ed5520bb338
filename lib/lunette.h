/* lunette.h - the ABI of liblunette, the one public header.
 *
 * The region between the two "cdef" marks holds declarations only: C compilers read it as it stands, and the Lua loader cuts it out
 * and hands it to ffi.cdef. No macro may stand inside it.
 *
 * Contracts that hold for every function:
 * - A function that can fail returns an ln_status; on anything but LN_OK the text is ln_error(), per thread, valid until the next failure.
 * - A tensor that a function hands out through an `out` parameter carries one reference, which belongs to the caller; inside ln_scope
 *   it belongs to the scope.
 * - Tensors, storages, nodes, grad mode, scopes and error text belong to the OS thread that made them. Two threads may each run a Lua
 *   state; they do not exchange tensors.
 */
#ifndef LUNETTE_H
#define LUNETTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* cdef begin */

enum { LN_ABI = 2, LN_MAX_DIMS = 16, LN_MAX_INPUTS = 64, LN_MAX_OUTPUTS = 8, LN_ATTR_SLOTS = 32, LN_ATTR_POOL = 128 };

enum ln_status {
  LN_OK,
  LN_ERROR,    /* a wrong argument or a failed resource: ln_error() says which */
  LN_NOMEM,    /* out of memory: collecting garbage and calling again may help */
  LN_NEEDS_LUA /* the autograd engine met a callback, which only Lua can run */
};

enum ln_dtype { LN_FLOAT32, LN_FLOAT64, LN_FLOAT16, LN_BFLOAT16, LN_INT8, LN_INT16, LN_INT32, LN_INT64, LN_UINT8, LN_BOOL, LN_DTYPES };

enum ln_tensor_flags {
  LN_REQUIRES_GRAD = 1,        /* a leaf that wants a gradient, or an output with a node */
  LN_RETAIN_GRAD = 2,          /* a non-leaf whose gradient is kept */
  LN_PARAMETER = 4,            /* an nn.Parameter */
  LN_VIEW_WITHOUT_HISTORY = 8, /* a view made while gradients were off */
  LN_BUFFER = 16,              /* an nn.Buffer */
  LN_TRANSIENT = 32,           /* an nn.Buffer that state dicts leave out */
  LN_COALESCED = 64,           /* a row-sparse gradient whose rows differ and ascend */
  LN_UNINITIALIZED = 128       /* a parameter or buffer of a lazy module that has no shape yet; operators refuse it */
};

typedef struct ln_storage ln_storage;
typedef struct ln_node ln_node;
typedef struct ln_engine ln_engine;
typedef struct ln_generator ln_generator;
typedef struct ln_safetensors ln_safetensors;
typedef struct ln_file ln_file;
typedef struct ln_writer ln_writer;

/* A strided view of a storage. Read-only for everybody outside lib/. Headers live in slabs that are never unmapped; `generation` changes
 * when a header is released, so that a stale handle is noticed. Strides count elements. */
typedef struct ln_tensor {
  uint64_t generation;
  int64_t id;
  int32_t dtype;
  int32_t ndim;
  int32_t device; /* -1: cpu; n >= 0: cuda:n */
  int32_t flags;
  int64_t numel;
  char *data; /* the first element */
  ln_storage *storage;
  ln_node *node; /* the node that made it; NULL for a leaf */
  struct ln_tensor *grad;
  ln_node *accumulator;   /* the leaf's entrance into the graph, not owned */
  struct ln_tensor *base; /* for a differentiable view: the tensor it looks at */
  struct ln_tensor *rows; /* of a row-sparse gradient, which holds values [n, width]: the rows that they are for, int64 [n]; else NULL */
  int64_t n_rows;         /* and how many rows the table has */
  uint32_t base_version;  /* version of the storage when `node` was derived from `base` */
  uint32_t refs;
  int64_t hook;       /* callback of a leaf's hooks, 0 when none */
  int32_t output;     /* which output of `node` this is */
  int32_t scope_slot; /* position in the innermost scope, -1 when none owns it */
  int64_t shape[16];
  int64_t stride[16];
} ln_tensor;

/* What Lua holds: a tensor and the generation it was made in. */
typedef struct ln_handle {
  ln_tensor *_p;
  uint64_t _gen;
} ln_handle;

/* A shape as Lua sees it. */
typedef struct ln_size {
  int32_t _n;
  int64_t _v[16];
} ln_size;

/* The attributes of one operator call, a preallocated block. Slot k belongs to the k-th argument of the signature that has a kind:
 * int, bool, dtype, enum: `i`; float: `d`; scalar, and operand when it is a number: `d`, or `i` when bit k of `integer` is set; ints: offset and
 * length in the pool, packed as offset * 256 + length. Bit k of `present` says that the slot was given; for a number, that it is true or false. */
typedef union ln_slot {
  int64_t i;
  double d;
} ln_slot;
typedef struct ln_attrs {
  uint32_t present;
  uint32_t integer;
  int32_t pool_used;
  int32_t reserved;
  ln_slot slot[32];
  int64_t pool[128];
} ln_attrs;

enum ln_op_kind { LN_UNARY, LN_BINARY, LN_TERNARY, LN_STRUCTURED };

enum ln_op_flags {
  LN_FLAG_VIEW = 1,          /* the result shares the elements of the first input; never in place */
  LN_FLAG_INPLACE = 2,       /* ln_apply_inplace takes it; all elementwise rows have it */
  LN_FLAG_MIXED_DEVICES = 4, /* inputs may live on different devices */
  LN_FLAG_CONDITION = 8,     /* elementwise: the first operand is a condition and does not count in the dtype of the result */
  LN_FLAG_BOOL_COUNTS = 16,  /* elementwise: bool becomes int64 */
  LN_FLAG_BOUNDS = 32,       /* elementwise: attributes that are no whole numbers turn whole numbers into float32 */
  LN_FLAG_NO_BOOL = 64,      /* elementwise: not defined for bool */
  LN_FLAG_DIVISOR = 128,     /* elementwise: a whole second operand must not be 0 */
  LN_FLAG_WHOLE_POWER = 256, /* elementwise: a whole number as second operand must not be negative */
  LN_FLAG_FLOATING = 512,    /* the first input must be of a floating dtype */
  LN_FLAG_PART = 1024,       /* a view of some of the elements: its gradient is added into that part of the input's */
  LN_FLAG_LINKED = 2048      /* the gradient counts as a function of the inputs, though its derivatives by them are 0 */
};

/* One row of ops.def as the program sees it. */
typedef struct ln_op_info {
  const char *name;
  const char *public_name; /* what errors call it: that of the overload where it exists under that name alone */
  const char *signature;   /* "input, other:operand, tensors[], bias?, dim:int=-1, size:ints, dtype:dtype?": name, `:kind` unless it is a tensor,
                              `?` when it may be absent, `[]` for a list of tensors, `=` before a default; operand: a tensor or a number.
                              Tensors, lists and operands are the inputs in this order; what has a kind has a slot in this order. */
  const char *doc;
  const char *forward; /* text of the formula; NULL for structured operators */
  const char *derivative[3];
  const char *classname; /* FLOAT, SAME, TEST, WHOLE; NULL for structured operators */
  double low, high;      /* range of inputs in which the specs sample */
  int32_t kind;
  int32_t n_outputs;
  int32_t
    grad; /* 0 none, 1 made of operators, 2 fused, with a text in terms of operators beside it, 3 formula, 4 the operators inside are recorded */
  int32_t flags;
} ln_op_info;

/* A public name that stands for several rows. */
typedef struct ln_overload {
  const char *name;
  const char *forms; /* names of rows, "max_dim, maximum, max_all", in the order in which they are tried */
} ln_overload;

/* -- Errors, versions, threads -- */
const char *ln_error(void);
const char *ln_version(void);
const char *ln_build_info(void); /* libraries and instruction set in use, one a line */
void ln_set_num_threads(int n);
int ln_get_num_threads(void);

/* -- Interrupts, for a prompt --
 * While one is wanted, operators, backward passes and long kernels end with the error "interrupted"; what they were writing is not valid. */
void ln_interrupt(void); /* wants one: from any thread, also in a signal handler */
bool ln_interrupted(void);
void ln_interrupt_clear(void);
/* From now on SIGINT wants one, and calls sethook(lua, hook, mask, count), which is lua_sethook, unless it is NULL. When patience is not 0, a second SIGINT
 * before ln_interrupt_clear, or so many seconds without that, end the process as the system would. */
int ln_interrupt_catch(void *sethook, void *lua, void *hook, int mask, int count, double patience);
void ln_interrupt_release(void); /* SIGINT does what it did before */

/* -- Operators -- */
int ln_op_count(void);
const ln_op_info *ln_op_at(int op); /* NULL past the end */
int ln_overload_count(void);
const ln_overload *ln_overload_at(int i); /* NULL past the end */
int ln_apply(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs, ln_tensor **outputs);
/* The same, written into inputs[0], whose shape and dtype stay. */
int ln_apply_inplace(int op, ln_tensor *const *inputs, int n, const ln_attrs *attrs);

/* -- Tensors -- */
int ln_tensor_empty(const int64_t *shape, int ndim, int dtype, int device, ln_tensor **out);
/* A leaf that shares the storage and has no history: detach(), .data */
int ln_tensor_alias(ln_tensor *t, ln_tensor **out);
/* All bytes of t's storage, as a vector of uint8 that shares it. */
int ln_tensor_storage(const ln_tensor *t, ln_tensor **out);
/* A leaf of another dtype and layout over t's storage; offset: of its first element, in elements from the storage's start */
int ln_tensor_over(ln_tensor *t, int dtype, const int64_t *shape, const int64_t *stride, int ndim, int64_t offset, ln_tensor **out);
void ln_tensor_retain(ln_tensor *t);
void ln_tensor_release(ln_tensor *t);
void ln_handle_release(ln_handle *h);                                              /* finalizer of a handle */
int ln_tensor_item(const ln_tensor *t, double *number, int64_t *integer);          /* one element; both views of its value */
int ln_tensor_read(const ln_tensor *t, double *numbers, int64_t *integers);        /* every element in logical order, either may be NULL */
int ln_tensor_write(ln_tensor *t, const double *numbers, const int64_t *integers); /* the inverse; integers when not NULL */
bool ln_tensor_is_contiguous(const ln_tensor *t);
bool ln_tensor_equal(const ln_tensor *a, const ln_tensor *b); /* same shape, dtype and values; cpu */
uint32_t ln_tensor_version(const ln_tensor *t);
uint64_t ln_tensor_storage_id(const ln_tensor *t);
int64_t ln_tensor_storage_offset(const ln_tensor *t); /* of the first element, in elements */
/* dst.data now looks at src's storage (`t.data = src`); dtype may change, history must be empty */
int ln_tensor_set_data(ln_tensor *dst, ln_tensor *src);
int ln_dtype_size(int dtype);
int ln_promote_types(int a, int b);

/* -- Gradients -- */
int ln_tensor_set_requires_grad(ln_tensor *t, bool on);
bool ln_tensor_requires_grad(const ln_tensor *t);
bool ln_tensor_is_leaf(const ln_tensor *t);
int ln_tensor_retain_grad(ln_tensor *t);
int ln_tensor_grad(ln_tensor *t, ln_tensor **out); /* *out is NULL when there is none */
int ln_tensor_set_grad(ln_tensor *t, ln_tensor *grad);
const char *ln_tensor_grad_fn(ln_tensor *t); /* "MulBackward", NULL for a leaf */
/* Bits: 1 grad mode, 2 anomaly mode. Returns the former mode. */
int ln_mode_set(int mode);
int ln_mode_get(void);
/* zero_grad of many at once: fills with zeros, or drops the gradients */
int ln_zero_grad(ln_tensor *const *params, int n, bool set_to_none);

/* -- Row-sparse gradients: the rows of a table that are not 0, of which one may come several times; they are gradients alone, no operand -- */
int ln_sparse_new(ln_tensor *values, ln_tensor *rows, int64_t n_rows, bool coalesced, ln_tensor **out); /* shares the elements of both */
int ln_sparse_rows(ln_tensor *sparse, ln_tensor **out);                                                 /* an alias of the rows */
int ln_sparse_coalesce(ln_tensor *sparse, ln_tensor **out); /* each row once, in order, its values added up */
int ln_sparse_to_dense(ln_tensor *sparse, ln_tensor **out);

/* -- The engine --
 * start, then run until it says LN_OK; on LN_NEEDS_LUA look at ln_engine_stop, do it, run again; free in any case. */
enum ln_stop {
  LN_STOP_HOOKS = 1, /* hooks of one gradient: gradient 0 in, answer 0 out */
  LN_STOP_FUNCTION   /* backward of a custom Function: gradients of its outputs in, of its inputs out */
};
/* inputs: NULL with n_inputs 0 accumulates into all leaves; else gradients of those alone. accumulate: into .grad; else kept for ln_engine_result. */
int ln_engine_start(ln_tensor *const *roots, ln_tensor *const *grads, int n, bool retain_graph, bool create_graph, ln_tensor *const *inputs,
                    int n_inputs, bool accumulate, ln_engine **out);
int ln_engine_run(ln_engine *e);
int ln_engine_stop(ln_engine *e, int64_t *callback, int *n_in, int *n_out); /* an ln_stop; what waits: its callback, its counts */
int ln_engine_gradient(ln_engine *e, int i, ln_tensor **out);               /* of output i of the node that waits; may be NULL */
int ln_engine_saved(ln_engine *e, int i, ln_tensor **out);                  /* saved value i of the Function that waits; may be NULL */
bool ln_engine_needs(ln_engine *e, int i);                                  /* does input i want a gradient? */
int ln_engine_answer(ln_engine *e, int i, ln_tensor *grad);                 /* grad may be NULL */
int ln_engine_result(ln_engine *e, int i, ln_tensor **out);                 /* gradient of inputs[i]; may be NULL */
void ln_engine_free(ln_engine *e);
/* The usual pass: from one root, into all leaves, the graph freed. grad may be NULL for a single number. LN_NEEDS_LUA: the engine waits in *waiting. */
int ln_backward(ln_tensor *root, ln_tensor *grad, ln_engine **waiting);

/* -- Callbacks of the graph --
 * A number names what Lua keeps in a table: the hooks of a tensor, a call of a custom Function. */
int64_t ln_callback_number(void); /* one that was never given out before in this thread, above all others */
/* A tensor has one callback, its list of hooks, which lives in Lua: one that is there stays. LN_ERROR when no gradient is wanted. */
int ln_hook_attach(ln_tensor *t, int64_t callback);
int64_t ln_hook_callback(const ln_tensor *t); /* 0 when none */
int ln_function_record(int64_t callback, const char *name, ln_tensor *const *inputs, int n_in, ln_tensor *const *outputs, int n_out,
                       ln_tensor *const *saved, int n_saved);
int ln_dead_callbacks(int64_t *numbers, int capacity); /* moves up to capacity numbers of freed nodes and tensors out; returns how many */
/* anomaly mode: where the next nodes are made */
void ln_anomaly_locate(const char *location);

/* -- Memory -- */
int ln_scope_begin(void);        /* after an error there is no scope to be ended */
int ln_scope_keep(ln_tensor *t); /* t outlives the innermost scope: it moves to the next outer one, or to nobody */
void ln_scope_end(void);
int ln_scope_depth(void);
typedef struct ln_memory {
  int64_t live;   /* bytes in use by storages of this thread */
  int64_t cached; /* bytes kept for reuse */
  int64_t peak;
  int64_t tensors; /* headers in use */
  int64_t nodes;
} ln_memory;
ln_memory *ln_memory_counters(void); /* this thread's, at a fixed address */
void ln_memory_trim(void);           /* gives cached blocks back to the system */

/* -- Random numbers: Philox 4x32-10 -- */
int ln_generator_new(ln_generator **out);
void ln_generator_free(ln_generator *g);
ln_generator *ln_generator_default(void);
void ln_generator_seed(ln_generator *g, uint64_t seed);
void ln_generator_get(const ln_generator *g, uint64_t *seed, uint64_t *offset);
void ln_generator_set(ln_generator *g, uint64_t seed, uint64_t offset);
/* The generator that random operators of this thread draw from until the next call; NULL is the default one. */
void ln_generator_use(ln_generator *g);

/* -- Optimizers: one call a step for all parameters; parameters without gradient are passed over -- */
typedef struct ln_step_rule { /* a row of kernels/optim.def; names are separated by spaces, in the order of their indices */
  const char *name;
  const char *states;
  const char *scalars;
} ln_step_rule;
const ln_step_rule *ln_step_rule_at(int index); /* NULL behind the last */
/* states: an array of n tensors for each state, NULL for one that is not used; there are 3. scalars: those of parameter i begin at i * stride, which
 * is 0 where all parameters have the same; there are 10. */
int ln_optim_step(const char *op, int rule, ln_tensor *const *params, ln_tensor *const *const *states, int n, const double *scalars, int stride);

/* -- Files --
 * Regular files only. What is saved goes to a temporary file in the same folder, is synced and takes the target's place, so that the target is the
 * old file or the new one at any moment; symbolic links are followed, and a file that stands there hands its mode on. */
int ln_file_open(const char *path, ln_file **out);
int64_t ln_file_size(const ln_file *f);                                     /* when it was opened */
int ln_file_bytes(const ln_file *f, int64_t offset, int64_t n, void *data); /* an error when the file has fewer by now */
/* n bytes as a vector of uint8: mapped, so that they are read when they are looked at and copied when they are changed; or read at once, when not `map`,
 * when the offset suits no dtype, and where the system cannot map. */
int ln_file_tensor(ln_file *f, int64_t offset, int64_t n, bool map, ln_tensor **out);
/* The n bytes that `packed` bytes of raw deflate data hold; an error when they hold another number, or their CRC-32 is another. */
int ln_file_inflate(const ln_file *f, int64_t offset, int64_t packed, int64_t n, uint32_t crc, ln_tensor **out);
void ln_file_close(ln_file *f);
bool ln_is_utf8(const char *text, size_t n);
uint32_t ln_crc32(uint32_t crc, const void *data, int64_t n); /* goes on from crc, 0 at first */
int ln_writer_new(const char *path, ln_writer **out);
void ln_writer_bytes(ln_writer *w, const void *data, int64_t n); /* what fails is said at the end */
int ln_writer_tensor(ln_writer *w, ln_tensor *t);                /* the elements in row-major order, from any device and layout */
/* Ends the writing and frees the writer: with `good` and no failure before, the file takes its place; else nothing has happened. */
int ln_writer_end(ln_writer *w, bool good);
/* A whole file, unpacked when it is gzip, of at most `most` bytes; *data is freed with ln_buffer_free. */
int ln_file_read(const char *path, int64_t most, char **data, size_t *size);
void ln_buffer_free(char *data);
int ln_safetensors_open(ln_file *f, ln_safetensors **out); /* the header is checked whole before anything is allocated by it */
int ln_safetensors_count(const ln_safetensors *s);
int64_t ln_safetensors_data(const ln_safetensors *s); /* where in the file the tensors' bytes begin */
typedef struct ln_entry {                             /* a tensor of a file; its bytes lie from begin to end of the data */
  char *name;
  int dtype, ndim;
  int64_t shape[16], begin, end;
} ln_entry;
const ln_entry *ln_safetensors_entry(const ln_safetensors *s, int i); /* NULL past the end */
int ln_safetensors_metadata_count(const ln_safetensors *s);
const char *ln_safetensors_metadata(const ln_safetensors *s, int i, bool value);
void ln_safetensors_close(ln_safetensors *s);
/* metadata: n_metadata pairs key, value; may be NULL. */
int ln_safetensors_save(const char *path, const char *const *names, ln_tensor *const *tensors, int n, const char *const *metadata, int n_metadata);
/* The float32 numbers that n blocks of 32 of a GGUF file stand for: type 2, Q4_0, of 18 bytes; 8, Q8_0, of 34. packed: a vector of uint8 on the cpu. */
int ln_gguf_unpack(int type, const ln_tensor *packed, ln_tensor **out);
bool ln_is_terminal(int descriptor);
double ln_clock(void); /* seconds, only forward */

/* -- CUDA: looked for when first asked -- */
int ln_device_check(int device); /* may tensors be made there? -1 is the cpu */
bool ln_cuda_is_available(void);
int ln_cuda_device_count(void);
const char *ln_cuda_why_not(void); /* the reason why is_available is false; "" otherwise */
int ln_cuda_synchronize(int device);
int ln_cuda_memory(int device, int64_t *allocated, int64_t *reserved, int64_t *peak);
int ln_cuda_empty_cache(int device);
int ln_cuda_name(int device, char *name, int capacity);
int ln_cuda_libraries(char *text, int capacity, int *length); /* of which the text that did not fit is not written */
int ln_cuda_allow_tf32(int set, bool *allowed);               /* 0 or 1 sets it, -1 only asks */

/* cdef end */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
