/* embedding.c - rows of a table by id, and the gradient of the table. */
#include "index.h"

static int take(ln_call *c, ln_tensor *from, ln_tensor *ids, ln_take *job, bool add) {
  ln_tensor *dense, *rows;
  LN_TRY(ln_dense(ids, LN_INT64, &dense));
  int status = ln_dense(from, from->dtype, &rows);
  if (status == LN_OK) {
    job->dtype = from->dtype;
    job->n = dense->numel;
    job->ids = (const int64_t *)dense->data;
    job->in = rows->data;
    job->out = c->out[0]->data;
    const ln_kernels *k = ln_kernels_of(from->device);
    status = ln_kernel_status(c->name, (add ? k->take_add : k->take)(job, from->device));
    ln_tensor_release(rows);
  }
  ln_tensor_release(dense);
  return status;
}

static int check_ids(const ln_call *c, ln_tensor *ids, int64_t rows) {
  if (ids->dtype != LN_INT64 && ids->dtype != LN_INT32)
    return ln_fail("%s: ids must be int64, got %s (make them with lt.LongTensor or :long())", c->name, ln_dtype_name(ids->dtype));
  ln_tensor *wide;
  LN_TRY(ln_dense(ids, LN_INT64, &wide));
  int status = ln_check_index(c->name, wide, 0, rows, 0);
  ln_tensor_release(wide);
  return status;
}

int embedding_forward(ln_call *c) {
  ln_tensor *weight = c->in[0], *ids = c->in[1];
  int64_t shape[16];
  if (c->target) return ln_fail("embedding: there is no in-place form");
  LN_TRY(ln_check_dim(c->name, "weight", weight, 2));
  LN_TRY(check_ids(c, ids, weight->shape[0]));
  if (ids->ndim == LN_MAX_DIMS) return ln_fail("embedding: ids have too many dimensions");
  memcpy(shape, ids->shape, sizeof(int64_t) * (size_t)ids->ndim);
  shape[ids->ndim] = weight->shape[1];
  LN_TRY(ln_call_out(c, 0, shape, ids->ndim + 1, weight->dtype));
  ln_take job = {.width = weight->shape[1], .rows = weight->shape[0], .skip = -1};
  c->keep_in = 2;
  return take(c, weight, ids, &job, false);
}

void embedding_backward(ln_back *b) {
  ln_tensor *const in[2] = {b->g[0], b->in[1]};
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, ln_int(b->attrs, 0));
  ln_attrs_int(&attrs, 1, b->shape[0][0]);
  ln_give(b, 0, ln_do(b, LN_OP_embedding_dw, in, 2, &attrs));
}

int embedding_dw_forward(ln_call *c) {
  ln_tensor *dy = c->in[0], *ids = c->in[1];
  int64_t rows = ln_int(c->attrs, 1), width = dy->ndim ? dy->shape[dy->ndim - 1] : 0;
  if (c->target) return ln_fail("embedding_dw: there is no in-place form");
  if (dy->ndim != ids->ndim + 1 || !ln_same_dims(dy->shape, ids->shape, ids->ndim))
    return ln_fail("embedding_dw: dy %s does not go with ids %s", ln_shape_text(dy->shape, dy->ndim), ln_shape_text(ids->shape, ids->ndim));
  LN_TRY(check_ids(c, ids, rows));
  LN_TRY(ln_call_out(c, 0, (int64_t[]){rows, width}, 2, dy->dtype));
  LN_TRY(ln_zero(c->out[0]));
  ln_take job = {.width = width, .rows = rows, .skip = ln_int(c->attrs, 0)};
  c->keep_in = 2;
  return take(c, dy, ids, &job, true);
}

/* The row padding_idx never received anything. */
void embedding_dw_backward(ln_back *b) {
  ln_tensor *const in[2] = {b->g[0], b->in[1]};
  int64_t padding = ln_int(b->attrs, 0);
  ln_attrs attrs = {0};
  ln_attrs_int(&attrs, 0, padding);
  ln_tensor *ddy = ln_do(b, LN_OP_embedding, in, 2, &attrs);
  if (padding >= 0) {
    ln_tensor *padded = ln_do_compare(b, LN_OP_eq, b->in[1], (double)padding);
    ddy = padded && ddy ? ln_do_where(b, ln_do_unsqueeze_mask(b, padded, 1u << padded->ndim, padded->ndim + 1), NULL, 0, ddy, 0) : NULL;
  }
  ln_give(b, 0, ddy);
}
