/* kernels.h - the table of kernels that a device fills, and what each kernel is given. The kernels themselves are listed in kernels.def.
 *
 * A kernel computes: it never allocates a tensor, never looks at autograd, never decides a shape. What it gets is checked, sized and,
 * where the comment says so, contiguous. It returns NULL on success or a static text that says what failed.
 * The rules in lib/ops are the only callers; kernels/cpu and kernels/cuda the only implementations. */
#ifndef LUNETTE_KERNELS_H
#define LUNETTE_KERNELS_H

#include "../lib/lunette.h"

#define LN_KERNELS_VERSION 6
#define LN_LOOP_OPERANDS 6

/* A nest of loops over operands of one broadcast shape. Dimensions are collapsed where all operands allow; the last is the innermost.
 * Operand 0 is written, the others are read; `convert` writes operand 1 into operand 0 and converts its dtype. A scalar operand (bit k of `scalars`) has stride 0 everywhere and points into the caller's memory. */
typedef struct ln_loop {
  int n_operands;
  int ndim;
  uint32_t scalars;
  int64_t numel;
  int64_t shape[16];
  int dtype[LN_LOOP_OPERANDS];
  char *data[LN_LOOP_OPERANDS];
  int64_t stride[LN_LOOP_OPERANDS][16]; /* in bytes */
} ln_loop;

/* The elementwise row `row` of ops.def, counted among the pointwise rows. Pass 0 is the formula (operand 0 = y), pass 1 + i the derivative of
 * input i (operands: dx, g, then x or a, b[, c], then y). */
typedef struct ln_pointwise {
  int row, pass;
  int dtype;           /* the compute type: LN_FLOAT32, LN_FLOAT64 or LN_INT64, LN_BOOL for a test of nothing but bool */
  const double *attrs; /* the row's, three */
  ln_loop loop;
} ln_pointwise;

enum ln_random_kind { LN_RANDOM_UNIFORM, LN_RANDOM_NORMAL, LN_RANDOM_INTEGER, LN_RANDOM_BERNOULLI, LN_RANDOM_DROPOUT };

/* Random numbers into operand 0 of the loop: element i of the logical order is made of the words that belong to i, counted from block `offset` of
 * the stream of `seed` (docs/random.md). */
typedef struct ln_random {
  int kind;
  int dtype; /* the compute type: LN_INT64 for whole numbers, else operand 0's */
  uint64_t seed, offset;
  double a, b; /* uniform: from, to; normal: mean, standard deviation; Bernoulli: probability; dropout: probability to keep, factor of what is kept */
  double top;  /* uniform: the largest number of operand 0's dtype that is below b */
  int digits;  /* uniform: significant bits of operand 0's dtype */
  int64_t from; /* integer: [from, from + range), a range of 0 standing for 2^64 */
  uint64_t range;
  ln_loop loop; /* dropout: operand 1 is what is scaled */
} ln_random;

/* Numbers of the binomial distribution of count[i] trials and probability rate[i], or without count of the Poisson distribution of rate[i]: y[i] is made
 * of block offset + i of the stream and of what belongs to that block. */
typedef struct ln_counts {
  uint64_t seed, offset;
  int64_t n;
  const double *count, *rate;
  double *y;
} ln_counts;

/* Elements that share a block of four words. */
static inline int ln_random_per_block(const ln_random *r) {
  if (r->kind == LN_RANDOM_INTEGER) return r->range <= (uint64_t)1 << 32 ? 2 : 1;
  return r->loop.dtype[0] == LN_FLOAT64 && r->kind <= LN_RANDOM_NORMAL ? 2 : 4;
}

/* y[i] = start + i * step, contiguous. */
typedef struct ln_arange {
  int dtype;
  int64_t n;
  double start, step;
  char *y;
} ln_arange;

enum ln_fold_kind {
  LN_FOLD_SUM,
  LN_FOLD_PROD,
  LN_FOLD_MAX, /* NaN wins */
  LN_FOLD_MIN,
  LN_FOLD_ARGMAX, /* first of equals; NaN wins; y is int64 */
  LN_FOLD_ARGMIN,
  LN_FOLD_ALL, /* y is bool */
  LN_FOLD_ANY,
  LN_FOLD_COUNT_NONZERO, /* y is int64 */
  LN_FOLD_KINDS
};

/* A reduction: for every index of the outer nest, the inner nest of x is folded into one element. Both nests keep the logical order. */
typedef struct ln_fold {
  int kind;
  int dtype, y_dtype; /* of x and y */
  int outer_ndim, inner_ndim;
  int64_t outer_numel, inner_numel;
  int64_t outer_shape[16], inner_shape[16];
  int64_t x_outer_stride[16], x_inner_stride[16]; /* in bytes */
  int64_t y_stride[16];                           /* in bytes, over the outer nest */
  const char *x;
  char *y;
} ln_fold;

/* C[m,n] = alpha * op(A)[m,k] op(B)[k,n] + beta * C for each of `batch`. Strides count elements; rows or columns of A and B are
 * contiguous (one of the two strides is 1 or the dimension is 1), C is row-major with leading dimension c_row. A bias, n elements or NULL, is added
 * to every row of C. */
typedef struct ln_gemm {
  int dtype;
  int64_t batch, m, n, k;
  const char *a, *b, *bias;
  char *c;
  int64_t a_row, a_col, a_batch;
  int64_t b_row, b_col, b_batch;
  int64_t c_row, c_batch;
  double alpha, beta;
} ln_gemm;

/* Convolution geometry for 1 to 3 spatial dimensions, x [N, C, spatial], w [O, C / groups, kernel], y [N, O, spatial]; strides in elements, all
 * dims given, so channels-last is a stride pattern. conv: x, w, bias -> y; conv_dx: dy, w -> y = dx with x_stride; conv_dw: x, dy -> y = dw with
 * w_stride. */
typedef struct ln_conv {
  int dtype, spatial, groups;
  int64_t n, c, o;
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
  const char *x, *w, *bias; /* bias may be NULL */
  const char *dy;
  char *y;
  int64_t x_stride[5], w_stride[5], y_stride[5];
} ln_conv;

/* Pooling. The gradients read dy, with y_stride, as x and write dx, with x_stride, as y, which they zero first. */
typedef struct ln_pool {
  int dtype, spatial;
  int64_t n, c;
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
  int64_t x_stride[5], y_stride[5]; /* elements; y_stride serves indices too */
  const char *x;
  char *y;
  int64_t *indices; /* max: flat index into the input plane */
  bool count_include_pad;
  int64_t divisor; /* 0: the count */
} ln_pool;

/* The largest element of windows given by tables, over x [N, C, three dims]: window o of dim d covers low[d][o] to high[d][o] - 1, which are inside x.
 * `planes`: the tables have out[d] entries for each of the N C planes; else the same entries serve all. */
typedef struct ln_windows {
  int dtype;
  bool planes;
  int64_t n, c;
  int64_t in[3], out[3];
  int64_t x_stride[5], y_stride[5]; /* elements; y_stride serves indices too */
  const char *x;
  char *y;
  int64_t *indices; /* flat index into the input plane */
  const int64_t *low[3], *high[3];
} ln_windows;

/* A band matrix applied along the middle of contiguous [outer, in, inner] -> [outer, out, inner], of float or double: element o is the sum of `count[o]`
 * elements from start[o] on, each by its weight [out, taps], which are of the same dtype. */
typedef struct ln_band {
  int dtype;
  int64_t outer, in, out, inner, taps;
  const char *x;
  char *y;
  const int64_t *start, *count;
  const void *weight;
} ln_band;

enum { LN_GRID_BILINEAR, LN_GRID_NEAREST, LN_GRID_BICUBIC };
enum { LN_GRID_ZEROS, LN_GRID_BORDER, LN_GRID_REFLECTION };

/* Images [N, C, three dims] sampled at `points` positions of each image: x -> y [N, C, points], contiguous. The adjoint reads dy, which is like y, as x
 * and adds into dx, with x_stride, as y. float or double alone, the grid [N, points, spatial] too. kernels/grid.h says what the options mean. */
typedef struct ln_grid {
  int dtype, spatial;
  int mode, padding, order[3];
  bool align;
  int64_t n, c, points;
  int64_t in[3];
  int64_t x_stride[3]; /* elements, of n, c and the elements of a plane in order */
  const char *x, *grid;
  char *y;
} ln_grid;

/* A number a channel that a batch is mixed into: old * (1 - momentum) + new * momentum. */
typedef struct ln_running {
  char *data; /* NULL: there is none */
  int64_t stride;
  int dtype;
} ln_running;

/* Batch normalisation over x [N, C, M]: channel stride and the rest as given. float statistics for half types. */
typedef struct ln_norm {
  int dtype;
  int64_t n, c, m;
  int64_t x_stride[3], y_stride[3], dy_stride[3], dx_stride[3]; /* elements of n, c, m */
  const char *x, *dy;
  char *y, *dx;
  const void *weight, *bias; /* compute dtype (float or double), may be NULL */
  void *mean, *rstd;         /* compute dtype, [C] */
  void *dweight, *dbias;
  bool training;                        /* statistics are the batch's; in forward mean and rstd are written, and mixed into the running ones: */
  ln_running running_mean, running_var; /* the variance over count - 1 */
  double eps, momentum;
} ln_norm;

/* Normalisation of contiguous rows x [rows, size]; float statistics for half types. Row r is one of `groups` kinds, r modulo groups, and a weight and a
 * bias belong to `inner` neighbouring elements of the rows of a kind. In layer normalisation groups and inner are 1. */
typedef struct ln_row_norm {
  int dtype;
  int64_t rows, size, groups, inner;
  double eps;
  const char *x, *dy;
  char *y, *dx;
  const void *weight, *bias; /* compute dtype (float or double), [groups * size / inner], may be NULL */
  void *mean, *rstd;         /* compute dtype, [rows]; written forward */
  void *dweight, *dbias;     /* compute dtype, as weight and bias, may be NULL, as dx may */
} ln_row_norm;

/* Distances (sum over k of |x1[i, k] - x2[k, j]|^p)^(1 / p) of rows of x1 [batch, n, size] and columns of x2 [batch, size, m], all of dtype float32 or
 * float64, contiguous. p may be 0, the number of differences that are not 0, and infinite, the largest one.
 *
 * distance_dx reads dy and y, whose row and column strides count elements, and x2 as rows [batch, m, size], and writes the gradient of x1. */
typedef struct ln_distance {
  int dtype;
  double p;
  int64_t batch, n, m, size;
  const char *x1, *x2, *dy;
  char *y, *dx;
  int64_t y_row, y_column;
} ln_distance;

/* For each row of x [rows, classes] the sum, over its labels t and the classes k that are none of them, of max(0, 1 - x[t] + x[k]), over the number of
 * classes. A negative label ends a row of targets [rows, classes]. label_margin notes in `others` [rows, classes] which classes are no label;
 * label_margin_dx reads that. All of dtype float32 or float64, contiguous. */
typedef struct ln_label_margin {
  int dtype;
  int64_t rows, classes;
  const char *x, *dy; /* dy: [rows] */
  const int64_t *targets;
  uint8_t *others;
  char *y, *dx; /* [rows], as x */
} ln_label_margin;

/* Attention of queries [n, heads, l, e] over keys [n, groups, s, e] and values [n, groups, s, ev], head h using group h / (heads / groups); all of
 * dtype float32 or float64, the last dim contiguous, the strides of the other dims in elements. Of a bool mask [n, heads, l, s] true allows; any
 * other is added. Where no key is allowed the result is 0.
 *
 * attention writes out and lse, the logarithm of the sum of exponentials of each row, -inf where there is none.
 * attention_dx reads them and dout, which lies like out or otherwise, writes dq and adds to dk and dv, which are zeros. */
typedef struct ln_attention {
  int dtype;
  bool causal; /* query i sees the keys up to i */
  int64_t n, heads, groups, l, s, e, ev;
  double scale, keep;           /* keep: the probability that dropout keeps an element; 1: without */
  uint64_t seed, offset;        /* of dropout: element ((n * heads + head) * l + row) * s + column of its stream */
  const char *q, *k, *v, *mask; /* mask: NULL for none */
  int mask_dtype;
  int64_t mask_stride[4]; /* in bytes */
  char *out, *lse;        /* lse: [n, heads, l] */
  const char *dout;
  char *dq, *dk, *dv;
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3], dout_stride[3], dq_stride[3], dk_stride[3], dv_stride[3];
} ln_attention;

enum ln_recurrent_mode { LN_RNN_TANH, LN_RNN_RELU, LN_LSTM, LN_GRU };

/* One layer of a recurrent network in one direction, all operands of dtype float32 or float64. Steps have rows: sequence b of step t is row
 * start[t] + b * apart of gates, cells, y and the like, for b below count[t], which never grows with t. Within a row of gates a quantity takes
 * `hidden` columns: RNN h; LSTM i f g o; GRU n r z q, q being what r multiplies. What of it the last h is multiplied to begins at column
 * ln_recurrent_column, the rows of w_hh in the same order.
 *
 * recurrent: gates hold what the input and the biases give (q: nothing), h and c the states before the first step; it leaves the values of all
 * gates, cells, y, and in h and c the states after the last step.
 * recurrent_dx: dh and dc hold the gradients of the last states and become those of the first; it writes the gradients of all gates before their
 * functions (q: of what it was added up from), the h that each row began with and, with a projection, the h before and the gradient after it. */
typedef struct ln_recurrent {
  int dtype, mode;
  bool reverse;                 /* from the last step to the first */
  int64_t steps, batch;         /* batch: sequences in all, some of which may have no step */
  int64_t hidden, size;         /* size: of h, which is smaller where it is projected */
  const int64_t *start, *count; /* [steps], on the host */
  int64_t apart;
  const char *w_hh, *w_hr; /* [rows, size]; [size, hidden] or NULL */
  const char *bias;        /* of q, [hidden] or NULL */
  char *gates, *cells, *y; /* [rows, width], [rows, hidden], [rows, size] */
  char *h, *c;             /* [batch, size], [batch, hidden] */
  char *full;              /* what w_hr projects: forward [batch, hidden], backward [rows, hidden] */
  const char *dy;          /* as y, or NULL */
  const char *h0, *c0;     /* the first states */
  char *dgates, *before;   /* [rows, width], [rows, size] */
  char *dh, *dc;           /* as h and c */
  char *dout, *dfull;      /* with a projection: [rows, size], [batch, hidden] */
} ln_recurrent;

/* Connectionist temporal classification (Graves et al., 2006): the loss of a sequence is -log of the probability of all paths through its steps that
 * read as its labels, where repetitions and then blanks are left out. State s of a sequence is label s / 2 where s is odd, else a blank. All of dtype
 * float32 or float64; x holds log-probabilities, its classes one after another, the other strides in elements.
 *
 * ctc writes alpha, the logarithm of the probability of all paths from the first step that are in a state after a step, a row of `width` a step whose
 * first LN_CTC_MARGIN numbers are -inf, and the losses. ctc_dx reads alpha and writes dx for all steps: that of a loss of log_softmax, which makes the
 * gradients of a step's classes sum to 0. */
enum { LN_CTC_MARGIN = 2, LN_CTC_ROOM = 5 };

typedef struct ln_ctc {
  int dtype;
  bool zero_infinity; /* a loss that is infinite is 0, and its gradient */
  int64_t steps, batch, classes, blank;
  int64_t width;                                         /* LN_CTC_MARGIN + 2 * most labels + 1 */
  const int64_t *targets;                                /* labels of all sequences */
  const int64_t *input_lengths, *target_lengths, *first; /* [batch], on the device: steps, labels, where the labels begin */
  const char *x;
  int64_t x_step, x_batch;
  double *room;       /* [batch, LN_CTC_ROOM * width], to work in */
  char *alpha, *loss; /* [batch, steps, width], [batch] */
  const char *dloss;  /* [batch] */
  char *dx;
  int64_t dx_step, dx_batch;
} ln_ctc;

/* Work along `size` of [outer, size, inner], contiguous: x -> out, and for softmax_dx y, dy -> out. */
typedef struct ln_rows {
  int dtype;
  bool is_log;  /* softmax: its logarithm */
  bool reverse; /* cumsum: from the end */
  int64_t outer, size, inner;
  const char *x, *y, *dy;
  char *out;
} ln_rows;

/* Rows of a contiguous x [outer, size, inner] in order: NaN counts as the largest, equal elements stay in theirs. Of a sorted row the elements from place
 * `from` on, `count` of them, are written to values, of x's dtype, and where they stood in the row to indices; both [outer, count, inner] or NULL. */
typedef struct ln_order {
  int dtype;
  bool descending;
  int64_t outer, size, inner, from, count;
  const char *x;
  char *values;
  int64_t *indices;
} ln_order;

/* For each of the m values of a row the number of elements of a sorted row of n that are below it, or with `right` not above it; all of dtype and
 * contiguous. With `shared` there is one sorted row for all. sorter: where the elements of the sorted row lie in it, or NULL. */
typedef struct ln_search {
  int dtype;
  bool right, shared;
  int64_t rows, n, m;
  const char *sorted, *values;
  const int64_t *sorter;
  int64_t *y;
} ln_search;

enum { LN_SCAN_PROD, LN_SCAN_LOGSUMEXP, LN_SCAN_MAX, LN_SCAN_MIN };

/* Running products, logarithms of sums of exponentials, or extremes along the middle of a contiguous x [outer, size, inner], of dtype as the results are.
 * `indices`: where the extreme stands, the last of equals; NaN wins. `reverse`: from the end. */
typedef struct ln_scan {
  int dtype, kind;
  bool reverse;
  int64_t outer, size, inner;
  const char *x;
  char *out;
  int64_t *indices;
} ln_scan;

/* Moving elements by an int64 index along one dim. `loop` runs over the index; operands: 0 out, 1 in, 2 index. `indexed` is the operand
 * addressed through the index (0 scatter, 1 gather), its stride along dim in bytes and its size there; the loop's stride for that operand is 0 along
 * dim. scatter_add accumulates in the order of the index. */
typedef struct ln_indexed {
  int dtype;
  int indexed;
  int64_t stride, size;
  ln_loop loop;
} ln_indexed;

/* Rows by index. take: out[i, :] = in[ids[i], :]. add: out[ids[i], :] += scale[i] * in[from[i], :], in order of i: deterministic. dot: out[i] = the
 * product of in[ids[i], :] and with[from[i], :]. Contiguous rows of `width` elements, `rows` of them at ids and `sources` at from; ids and from int64
 * contiguous, checked. */
typedef struct ln_take {
  int dtype;
  int64_t n, width, rows;
  const char *in;
  char *out;
  const int64_t *ids;
  const int64_t *from; /* add, dot: NULL for i */
  int64_t sources;
  const void *scale; /* add, floating types: in compute type; NULL for 1 */
  const char *with;  /* dot */
  int64_t skip;      /* add: this id contributes nothing (padding_idx); -1 none */
} ln_take;

enum ln_bag_mode { LN_BAG_SUM, LN_BAG_MEAN, LN_BAG_MAX };

/* Bags of rows: out[b, :] = the sum, mean or maximum of in[ids[i], :], i from offsets[b] to offsets[b + 1], without offsets a `bag_size` of them each.
 * A bag without rows is 0. */
typedef struct ln_bag {
  int dtype, mode;
  int64_t n, width, rows, bags, bag_size;
  const char *in;
  char *out;
  const int64_t *ids, *offsets; /* checked; offsets bags + 1, from 0 to n */
  const void *scale;            /* sum: factors of the rows, in compute type; NULL for 1 */
  int64_t skip;                 /* this id does not count; -1 none */
  int64_t *bag_of;              /* sum, mean: NULL, or gets the bag of each i */
  void *share;                  /* mean: NULL, or gets what each i counts, in compute type */
  int64_t *best;                /* max: NULL, or gets [bags, width], where in the table the maximum stands; -1 nowhere */
} ln_bag;

enum ln_check_kind { LN_CHECK_NOTHING, LN_CHECK_INDEX, LN_CHECK_CLASS, LN_CHECK_DIVISOR };

/* An element that may not be what it is. */
typedef struct ln_violation {
  int kind;            /* enum ln_check_kind */
  int dim;             /* of an index: where, */
  int64_t size, value; /* how large that dimension is, and the index */
  const char *name;    /* of the operator, for the message; static */
} ln_violation;

/* Looks for an element of operand 1 of the loop that is outside [low, high), int64, or for a divisor that is 0, any whole dtype. The first one in
 * logical order makes *found what `what` is, with its value. A device that works later than it is asked to leaves *found alone and keeps what it
 * found for `violation` (below). */
typedef struct ln_check {
  ln_violation what;
  int64_t low, high;
  ln_violation *found; /* on the host */
  ln_loop loop;
} ln_check;

/* The flat logical positions of what is not zero in operand 1 of the loop; without `out` they are counted. */
typedef struct ln_nonzero {
  int64_t *count; /* on the host */
  int64_t *out;   /* [count] or NULL */
  ln_loop loop;
} ln_nonzero;

/* One step of a rule of optim.def over one parameter; all arrays contiguous, of dtype. */
enum {
#define RULE(name, states, scalars, ...) LN_RULE_##name,
#include "optim.def"
  LN_RULES
};

enum { LN_STEP_STATES = 3, LN_STEP_SCALARS = 10 };

typedef struct ln_step {
  int rule, dtype;
  int64_t n;
  char *p;
  const char *g;
  char *states[LN_STEP_STATES]; /* by the index that the rule gives them; NULL when unused */
  double scalars[LN_STEP_SCALARS];
} ln_step;

/* What LAPACK does with matrices. They lie by columns, one behind the other, of dtype float32 or float64; r is the smaller one of m and n. */
enum ln_lapack_kind {
  LN_LAPACK_LU,         /* a [m, n] becomes its factors, pivots [r] says which rows were exchanged */
  LN_LAPACK_LU_SOLVE,   /* b [n, k] becomes the solution of what LN_LAPACK_LU made of a [n, n] */
  LN_LAPACK_TRIANGULAR, /* b [n, k] becomes the solution of a [n, n], of which one triangle is looked at */
  LN_LAPACK_CHOLESKY,   /* the lower triangle of a [n, n] becomes its factor */
  LN_LAPACK_QR,         /* a [m, n] becomes R and the reflectors, b [r] their factors */
  LN_LAPACK_Q,          /* a [m, n], of which k columns are reflectors with factors b [k], becomes Q */
  LN_LAPACK_SVD,        /* a [m, n] is lost; b [r] the singular values, with `vectors` u [m, r] and v [r, n], where `full` u [m, m] and v [n, n] */
  LN_LAPACK_EIGH, /* a [n, n], of which the lower triangle is looked at, becomes the eigenvectors, with `vectors`; b [n] the eigenvalues; NaN of what is not finite */
  LN_LAPACK_LSTSQ /* a [m, n] is lost; b [m or n, k] becomes the solution of least squares, ranks [1] the rank where singular values, or pivots
                           of R, below rcond times the largest count as 0 */
};

/* Linear algebra on the host, `batch` times: it is no kernel of a device, rules bring the matrices here. The first matrix that has no result is
 * `failed`, -1 for none, and `reason` what LAPACK says about it, or LN_LAPACK_INFINITE. */
enum { LN_LAPACK_INFINITE = -100, LN_LAPACK_NO_MEMORY = -101 };
typedef struct ln_lapack {
  int kind, dtype;
  int64_t batch, m, n, k;
  char *a, *b, *u, *v;
  int32_t *pivots;
  int64_t *ranks;
  bool upper, unit; /* which triangle, with ones on its diagonal */
  bool vectors, full;
  double rcond;
  int64_t failed;
  int reason;
} ln_lapack;

/* The failure that says just that: collecting garbage and trying again may help. */
#define LN_OUT_OF_MEMORY "out of memory"

typedef struct ln_kernels {
  uint32_t version; /* LN_KERNELS_VERSION */
  uint32_t size;    /* sizeof(ln_kernels) */

  /* Given to a plug-in by the core: its cache of blocks on the device, freed with the same size, and a way to tell the user something once. */
  const char *(*block_alloc)(int device, size_t bytes, void **out);
  void (*block_free)(int device, void *block, size_t bytes);
  void (*warn)(const char *text);

  /* Memory of the device, uncached. */
  const char *(*alloc)(int device, size_t bytes, void **out);
  void (*free)(int device, void *p);
  const char *(*copy)(void *dst, int dst_device, const void *src, int src_device, size_t bytes); /* contiguous bytes */
  const char *(*synchronize)(int device);
  /* After synchronize or a copy to the host: the first thing that this thread's checks on the device have found since this was last asked; false when
   * they found nothing. NULL where checks are done at once. */
  bool (*violation)(int device, ln_violation *found);
  const char *(*name)(int device, char *name, int capacity);
  int (*libraries)(char *text, int capacity); /* what is known of the libraries it uses, as snprintf */
  bool (*allow_tf32)(int set);                /* may float32 products use it? 0 or 1 says so, -1 asks */

#define KERNEL(name, arguments, types) const char *(*name)(const arguments *work, int device);
#include "kernels.def"
} ln_kernels;

/* The CPU's table, filled by kernels/cpu/table.c for the instruction set chosen at load. */
const ln_kernels *ln_cpu_kernels(void);
const char *ln_cpu_isa(void);
/* Opens the library unless that is done; NULL, or why it cannot be used. */
const char *ln_openblas_failure(void);
const char *ln_onednn_failure(void);
/* NULL, or why there is no LAPACK. */
const char *ln_cpu_lapack(ln_lapack *work);

/* The one symbol that a device plug-in exports: fills the table and returns NULL, or says why it cannot. */
typedef const char *(*ln_plugin_init_fn)(ln_kernels *table, int *device_count);

#endif
