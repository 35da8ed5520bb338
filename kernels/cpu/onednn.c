/* onednn.c - everything that oneDNN computes: mid-size products and float32 convolutions. The only file that knows the library; without
 * LN_HAVE_ONEDNN, and where the library is missing at run time, every function declines.
 *
 * Making a primitive costs 100 us and more, so those in use are kept by geometry, a bounded number in each thread. Activations meet the
 * primitives channels-last, weights in the library's own blocked order; operands that lie otherwise are reordered on the way in or out. */
#include "cpu.h"

#ifdef LN_HAVE_ONEDNN
#include "library.h"

#include <dnnl.h>
#include <pthread.h>
#include <stdlib.h>

#define ENTRIES 128 /* primitives kept in a thread */
#define KEY_WORDS 42
#define DECLINED ((dnnl_primitive_t)1) /* the library has nothing good for this geometry */
#define DIMS_MOST 5

/* -- The library -- */

static struct {
#define FUNCTION(name) LN_LIBRARY_POINTER(name)
#include "onednn.def"
} api;
static bool opened;
static char failure_to_open[LN_LIBRARY_TEXT];

static void open_library(void) {
  static const char *const names[] = {
#define FUNCTION(name) LN_LIBRARY_NAME(name)
#include "onednn.def"
    NULL};
  void **const functions[] = {
#define FUNCTION(name) LN_LIBRARY_SLOT(name)
#include "onednn.def"
    NULL};
  opened = ln_library_open(LN_ONEDNN_PATH, "libdnnl2", names, functions, failure_to_open);
}

const char *ln_onednn_failure(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_library);
  return opened ? NULL : failure_to_open;
}

enum { CONV_FORWARD, CONV_DX, CONV_DW };

/* One operand: where the caller has it and, when the primitive wants it otherwise, where it is reordered to. */
typedef struct operand {
  dnnl_memory_t outside, inside; /* the same when no reorder is needed */
  dnnl_primitive_t reorder;
  size_t at, bytes; /* place of the inside in the arena */
  int arg;
} operand;

typedef struct entry {
  uint64_t hash, used;
  int64_t key[KEY_WORDS];
  dnnl_primitive_t conv;
  operand operands[3]; /* two read, the last written */
  dnnl_memory_t bias, scratch;
  size_t scratch_at, arena;
  const char *base; /* the arena that the memories point into */
} entry;

/* What one thread keeps. */
typedef struct cache {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  char *arena;
  size_t arena_bytes;
  uint64_t clock;
  int n;
  entry *entries[ENTRIES];
  uint64_t hashes[ENTRIES];
} cache;

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static _Thread_local cache *mine;

static void operand_free(operand *o) {
  if (o->reorder) api.dnnl_primitive_destroy(o->reorder);
  if (o->inside && o->inside != o->outside) api.dnnl_memory_destroy(o->inside);
  if (o->outside) api.dnnl_memory_destroy(o->outside);
}

static void entry_free(entry *e) {
  if (e->conv && e->conv != DECLINED) api.dnnl_primitive_destroy(e->conv);
  for (int i = 0; i < 3; i++) operand_free(&e->operands[i]);
  if (e->bias) api.dnnl_memory_destroy(e->bias);
  if (e->scratch) api.dnnl_memory_destroy(e->scratch);
  free(e);
}

static void cache_free(void *p) {
  cache *c = p;
  for (int i = 0; i < c->n; i++) entry_free(c->entries[i]);
  if (c->stream) api.dnnl_stream_destroy(c->stream);
  if (c->engine) api.dnnl_engine_destroy(c->engine);
  free(c->arena);
  free(c);
}

static void make_key(void) { pthread_key_create(&cache_key, cache_free); }

static cache *cache_get(void) {
  if (mine) return mine;
  if (ln_onednn_failure()) return NULL;
  pthread_once(&cache_once, make_key);
  cache *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  if (api.dnnl_engine_create(&c->engine, dnnl_cpu, 0) != dnnl_success ||
      api.dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags) != dnnl_success) {
    cache_free(c);
    return NULL;
  }
  pthread_setspecific(cache_key, c);
  return mine = c;
}

/* -- Products -- */

/* Leading dimension of an operand of which rows or columns are contiguous; true when it is stored transposed. */
static char layout_of(int64_t row, int64_t col, int64_t rows, int64_t cols, dnnl_dim_t *leading) {
  bool transposed = !(col == 1 || cols == 1);
  int64_t least = transposed ? rows : cols, stride = transposed ? col : row;
  if ((transposed ? cols : rows) == 1 || stride < least) stride = least;
  *leading = stride;
  return transposed ? 'T' : 'N';
}

bool ln_onednn_sgemm(const ln_gemm *g) {
  if (ln_onednn_failure()) return false;
  dnnl_dim_t lda, ldb;
  char ta = layout_of(g->a_row, g->a_col, g->m, g->k, &lda), tb = layout_of(g->b_row, g->b_col, g->k, g->n, &ldb);
  for (int64_t i = 0; i < g->batch; i++) {
    const float *a = (const float *)g->a + i * g->a_batch, *b = (const float *)g->b + i * g->b_batch;
    float *c = (float *)g->c + i * g->c_batch;
    if (api.dnnl_sgemm(ta, tb, g->m, g->n, g->k, (float)g->alpha, a, lda, b, ldb, (float)g->beta, c, g->c_row) != dnnl_success) return false;
  }
  return true;
}

/* -- Geometry -- */

/* Everything that a primitive depends on; the number of threads is fixed when it is made. */
static uint64_t fill_key(const ln_conv *c, int pass, int64_t *key) {
  int64_t head[9] = {pass, omp_get_max_threads(), c->spatial, c->groups, c->n, c->c, c->o, c->bias != NULL, 0};
  memcpy(key, head, sizeof head);
  int64_t *at = key + 9;
  const int64_t *const each[6] = {c->in, c->out, c->kernel, c->stride, c->padding, c->dilation};
  for (int k = 0; k < 6; k++)
    for (int d = 0; d < 3; d++) *at++ = d < c->spatial ? each[k][d] : 0;
  const int64_t *const strides[3] = {c->x_stride, c->w_stride, c->y_stride};
  for (int k = 0; k < 3; k++)
    for (int d = 0; d < DIMS_MOST; d++) *at++ = d < c->spatial + 2 ? strides[k][d] : 0;
  uint64_t hash = 1469598103934665603u;
  for (int i = 0; i < KEY_WORDS; i++) hash = (hash ^ (uint64_t)key[i]) * 1099511628211u;
  return hash;
}

static bool is_channels_last(const dnnl_dim_t *shape, const int64_t *stride, int ndim) {
  int64_t want = 1;
  for (int k = 0; k < ndim; k++) {
    int d = k == 0 ? 1 : k == ndim - 1 ? 0 : ndim - k;
    if (shape[d] != 1 && stride[d] != want) return false;
    want *= shape[d];
  }
  return true;
}

static dnnl_format_tag_t channels_last(int spatial) { return spatial == 1 ? dnnl_nwc : spatial == 2 ? dnnl_nhwc : dnnl_ndhwc; }

/* Descriptions of an activation [n, c, spatial]: as the caller has it and as the primitive gets it. */
static bool describe_data(int64_t n, int64_t c, const int64_t *spatial, int count, const int64_t *stride, dnnl_memory_desc_t *outside,
                          dnnl_memory_desc_t *inside) {
  dnnl_dims_t shape = {n, c};
  for (int d = 0; d < count; d++) shape[2 + d] = spatial[d];
  if (api.dnnl_memory_desc_init_by_tag(inside, count + 2, shape, dnnl_f32, channels_last(count)) != dnnl_success) return false;
  if (is_channels_last(shape, stride, count + 2)) {
    *outside = *inside;
    return true;
  }
  return api.dnnl_memory_desc_init_by_strides(outside, count + 2, shape, dnnl_f32, stride) == dnnl_success;
}

/* Weights [o, c / groups, kernel]; with groups the library counts them as a dimension of their own. */
static bool describe_weights(const ln_conv *c, dnnl_memory_desc_t *outside, dnnl_memory_desc_t *inside) {
  dnnl_dims_t shape, stride;
  int n = 0;
  if (c->groups > 1) shape[n] = c->groups, stride[n++] = c->o / c->groups * c->w_stride[0];
  shape[n] = c->o / c->groups, stride[n++] = c->w_stride[0];
  shape[n] = c->c / c->groups, stride[n++] = c->w_stride[1];
  for (int d = 0; d < c->spatial; d++) shape[n] = c->kernel[d], stride[n++] = c->w_stride[2 + d];
  return api.dnnl_memory_desc_init_by_strides(outside, n, shape, dnnl_f32, stride) == dnnl_success &&
         api.dnnl_memory_desc_init_by_tag(inside, n, shape, dnnl_f32, dnnl_format_tag_any) == dnnl_success;
}

typedef struct shapes {
  dnnl_memory_desc_t x[2], w[2], y[2], bias; /* outside, inside */
  dnnl_dims_t stride, dilation, before, after;
} shapes;

static bool describe(const ln_conv *c, shapes *s) {
  for (int d = 0; d < c->spatial; d++) {
    int64_t reach = (c->kernel[d] - 1) * c->dilation[d] + 1;
    s->stride[d] = c->stride[d];
    s->dilation[d] = c->dilation[d] - 1;
    s->before[d] = c->padding[d];
    s->after[d] = (c->out[d] - 1) * c->stride[d] + reach - c->in[d] - c->padding[d]; /* negative: the last elements are not reached */
  }
  const dnnl_dims_t o = {c->o};
  return describe_data(c->n, c->c, c->in, c->spatial, c->x_stride, &s->x[0], &s->x[1]) &&
         describe_data(c->n, c->o, c->out, c->spatial, c->y_stride, &s->y[0], &s->y[1]) && describe_weights(c, &s->w[0], &s->w[1]) &&
         api.dnnl_memory_desc_init_by_tag(&s->bias, 1, o, dnnl_f32, dnnl_x) == dnnl_success;
}

/* -- Making a primitive -- */

static bool forward_desc(const shapes *s, bool bias, dnnl_convolution_desc_t *desc) {
  return api.dnnl_dilated_convolution_forward_desc_init(desc, dnnl_forward_training, dnnl_convolution_direct, &s->x[1], &s->w[1],
                                                        bias ? &s->bias : NULL, &s->y[1], s->stride, s->dilation, s->before,
                                                        s->after) == dnnl_success;
}

static bool backward_desc(const shapes *s, int pass, dnnl_convolution_desc_t *desc) {
  if (pass == CONV_DX)
    return api.dnnl_dilated_convolution_backward_data_desc_init(desc, dnnl_convolution_direct, &s->x[1], &s->w[1], &s->y[1], s->stride, s->dilation,
                                                                s->before, s->after) == dnnl_success;
  return api.dnnl_dilated_convolution_backward_weights_desc_init(desc, dnnl_convolution_direct, &s->x[1], &s->w[1], NULL, &s->y[1], s->stride,
                                                                 s->dilation, s->before, s->after) == dnnl_success;
}

static dnnl_primitive_desc_t find_primitive(cache *k, const shapes *s, const ln_conv *c, int pass) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t hint = NULL, found = NULL;
  dnnl_convolution_desc_t desc;
  if (api.dnnl_primitive_attr_create(&attr) != dnnl_success) return NULL;
  api.dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  bool forward = pass == CONV_FORWARD;
  if (forward_desc(s, forward && c->bias, &desc) && api.dnnl_primitive_desc_create(&hint, &desc, attr, k->engine, NULL) != dnnl_success) hint = NULL;
  if (forward) {
    found = hint;
  } else if (hint) {
    if (!backward_desc(s, pass, &desc) || api.dnnl_primitive_desc_create(&found, &desc, attr, k->engine, hint) != dnnl_success) found = NULL;
    api.dnnl_primitive_desc_destroy(hint);
  }
  api.dnnl_primitive_attr_destroy(attr);
  const char *name = "";
  if (found) api.dnnl_primitive_desc_query(found, dnnl_query_impl_info_str, 0, &name);
  if (found && strncmp(name, "ref", 3) == 0) { /* plain loops: ours are faster */
    api.dnnl_primitive_desc_destroy(found);
    found = NULL;
  }
  return found;
}

static size_t reserve(entry *e, size_t bytes) {
  size_t at = e->arena;
  e->arena += (bytes + 63) & ~(size_t)63;
  return at;
}

static bool make_reorder(cache *k, operand *o, const dnnl_memory_desc_t *outside, const dnnl_memory_desc_t *inside, bool written) {
  dnnl_primitive_desc_t pd;
  const dnnl_memory_desc_t *from = written ? inside : outside, *to = written ? outside : inside;
  if (api.dnnl_reorder_primitive_desc_create(&pd, from, k->engine, to, k->engine, NULL) != dnnl_success) return false;
  bool made = api.dnnl_primitive_create(&o->reorder, pd) == dnnl_success;
  api.dnnl_primitive_desc_destroy(pd);
  return made && api.dnnl_memory_create(&o->inside, inside, k->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

static bool make_operand(cache *k, entry *e, int i, int arg, const dnnl_memory_desc_t *outside, const dnnl_memory_desc_t *inside) {
  operand *o = &e->operands[i];
  o->arg = arg;
  if (api.dnnl_memory_create(&o->outside, outside, k->engine, DNNL_MEMORY_NONE) != dnnl_success) return false;
  o->inside = o->outside;
  if (api.dnnl_memory_desc_equal(outside, inside)) return true;
  o->bytes = api.dnnl_memory_desc_get_size(inside);
  o->at = reserve(e, o->bytes);
  o->inside = NULL;
  return make_reorder(k, o, outside, inside, i == 2);
}

static bool make_operands(cache *k, entry *e, const shapes *s, int pass, dnnl_primitive_desc_t pd) {
  bool dw = pass == CONV_DW, forward = pass == CONV_FORWARD;
  const dnnl_memory_desc_t *w = api.dnnl_primitive_desc_query_md(pd, dw ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
  int x_arg = pass == CONV_DX ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, y_arg = forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST;
  int x_at = pass == CONV_DX ? 2 : 0, w_at = dw ? 2 : 1, y_at = forward ? 2 : dw ? 1 : 0;
  return make_operand(k, e, x_at, x_arg, &s->x[0], &s->x[1]) && make_operand(k, e, y_at, y_arg, &s->y[0], &s->y[1]) &&
         make_operand(k, e, w_at, dw ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, &s->w[0], w);
}

static bool make_conv(cache *k, entry *e, const ln_conv *c, int pass) {
  shapes s;
  if (!describe(c, &s)) return false;
  dnnl_primitive_desc_t pd = find_primitive(k, &s, c, pass);
  if (!pd) return false;
  const dnnl_memory_desc_t *scratch = api.dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  e->scratch_at = reserve(e, api.dnnl_memory_desc_get_size(scratch));
  bool made = make_operands(k, e, &s, pass, pd) && api.dnnl_memory_create(&e->scratch, scratch, k->engine, DNNL_MEMORY_NONE) == dnnl_success &&
              (!c->bias || api.dnnl_memory_create(&e->bias, &s.bias, k->engine, DNNL_MEMORY_NONE) == dnnl_success) &&
              api.dnnl_primitive_create(&e->conv, pd) == dnnl_success;
  api.dnnl_primitive_desc_destroy(pd);
  return made;
}

/* Where a new entry goes: a free place, or that of the entry unused for longest. */
static int place_for(cache *k) {
  if (k->n < ENTRIES) return k->n++;
  int oldest = 0;
  for (int i = 1; i < k->n; i++)
    if (k->entries[i]->used < k->entries[oldest]->used) oldest = i;
  entry_free(k->entries[oldest]);
  return oldest;
}

static entry *find(cache *k, const ln_conv *c, int pass) {
  int64_t key[KEY_WORDS];
  uint64_t hash = fill_key(c, pass, key);
  for (int i = 0; i < k->n; i++)
    if (k->hashes[i] == hash && memcmp(k->entries[i]->key, key, sizeof key) == 0) return k->entries[i];
  entry *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  memcpy(e->key, key, sizeof key);
  if (!make_conv(k, e, c, pass)) e->conv = DECLINED;
  int at = place_for(k);
  k->hashes[at] = hash;
  return k->entries[at] = e;
}

/* -- Running -- */

/* Memory for the insides and the scratchpad, shared by all primitives of the thread. */
static bool arena_for(cache *k, entry *e) {
  if (k->arena_bytes < e->arena) {
    free(k->arena);
    k->arena_bytes = 0;
    k->arena = aligned_alloc(64, e->arena);
    if (!k->arena) return false;
    k->arena_bytes = e->arena;
  }
  if (e->base == k->arena) return true;
  e->base = k->arena;
  if (e->scratch) api.dnnl_memory_set_data_handle(e->scratch, k->arena + e->scratch_at);
  for (int i = 0; i < 3; i++)
    if (e->operands[i].reorder) api.dnnl_memory_set_data_handle(e->operands[i].inside, k->arena + e->operands[i].at);
  return true;
}

static bool run_reorder(cache *k, operand *o, bool written) {
  dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, written ? o->inside : o->outside}, {DNNL_ARG_TO, written ? o->outside : o->inside}};
  return api.dnnl_primitive_execute(o->reorder, k->stream, 2, args) == dnnl_success;
}

static bool run_conv(cache *k, entry *e, const void *const *data, const void *bias) {
  dnnl_exec_arg_t args[5];
  int n = 0;
  for (int i = 0; i < 3; i++) {
    operand *o = &e->operands[i];
    if (api.dnnl_memory_set_data_handle(o->outside, (void *)data[i]) != dnnl_success) return false;
    if (o->reorder && i < 2 && !run_reorder(k, o, false)) return false;
    args[n++] = (dnnl_exec_arg_t){o->arg, o->inside};
  }
  args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, e->scratch};
  if (e->bias) {
    api.dnnl_memory_set_data_handle(e->bias, (void *)bias);
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, e->bias};
  }
  if (api.dnnl_primitive_execute(e->conv, k->stream, n, args) != dnnl_success) return false;
  return !e->operands[2].reorder || run_reorder(k, &e->operands[2], true);
}

bool ln_onednn_conv(const ln_conv *c, int pass, const char **failure) {
  cache *k = c->dtype == LN_FLOAT32 ? cache_get() : NULL;
  entry *e = k ? find(k, c, pass) : NULL;
  if (!e || e->conv == DECLINED) return false;
  e->used = ++k->clock;
  const void *data[3] = {pass == CONV_DX ? c->dy : c->x, pass == CONV_DW ? c->dy : c->w, c->y};
  if (!arena_for(k, e))
    *failure = "out of memory for a convolution's scratch";
  else if (!run_conv(k, e, data, c->bias))
    *failure = "oneDNN could not run the convolution";
  return true;
}

#else

const char *ln_onednn_failure(void) { return "this build is without it"; }

bool ln_onednn_sgemm(const ln_gemm *g) {
  (void)g;
  return false;
}

bool ln_onednn_conv(const ln_conv *c, int pass, const char **failure) {
  (void)c, (void)pass, (void)failure;
  return false;
}

#endif
