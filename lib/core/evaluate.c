/* evaluate.c - runs the programs of program.c. A value goes as soon as the last instruction that reads it has run, so that what is composed in a text
 * holds no more memory than the same calls written by hand. */
#include "../ops/rules.h"
#include "program.h"

enum { V_NONE, V_TENSOR, V_NUMBER, V_BOOL, V_LIST };

typedef struct value {
  uint8_t kind;
  bool whole; /* a number that is in i */
  bool owned; /* the tensor's reference is the value's */
  uint8_t n;
  union {
    ln_tensor *t;
    double d;
    int64_t i; /* also of a bool */
    int64_t list[16];
  };
} value;

typedef struct machine {
  ln_rule *r;
  const ln_program *p;
  value stack[LN_MAX_STACK];
  int top;
  value locals[LN_MAX_LOCALS];
  int16_t last[LN_MAX_LOCALS]; /* the instruction that reads a local for the last time; -1: none */
} machine;

static void let_go(value *v) {
  if (v->kind == V_TENSOR && v->owned) ln_tensor_release(v->t);
  v->kind = V_NONE;
}

static value *push(machine *m, int kind) {
  if (m->top == LN_MAX_STACK) {
    r_fail(m->r, "its text in ops.def is too deep");
    m->top--;
    let_go(&m->stack[m->top]);
  }
  value *v = &m->stack[m->top++];
  v->kind = (uint8_t)kind;
  v->whole = v->owned = false;
  return v;
}

static void push_tensor(machine *m, ln_tensor *t, bool owned) {
  value *v = push(m, t ? V_TENSOR : V_NONE);
  v->t = t;
  v->owned = owned;
}

static void push_whole(machine *m, int64_t i) {
  value *v = push(m, V_NUMBER);
  v->whole = true;
  v->i = i;
}

static double as_number(const value *v) { return v->kind == V_BOOL || v->whole ? (double)v->i : v->d; }

static int64_t as_whole(const value *v) { return v->kind == V_BOOL || v->whole ? v->i : (int64_t)v->d; }

static bool is_number(const value *v) { return v->kind == V_NUMBER || v->kind == V_BOOL; }

/* -- Arguments of the row -- */

static void push_number_of(machine *m, const ln_attrs *a, int slot) {
  bool whole = (a->integer >> slot) & 1, truth = whole && ((a->present >> slot) & 1);
  value *v = push(m, truth ? V_BOOL : V_NUMBER);
  v->whole = whole;
  if (whole)
    v->i = a->slot[slot].i;
  else
    v->d = a->slot[slot].d;
}

static void push_input(machine *m, int i) {
  const ln_rule *r = m->r;
  if (i >= r->n_in || !r->in[i]) {
    const ln_param *param = i < r->row->n_params ? &r->row->params[i] : NULL; /* operands stand in front */
    if (param && param->kind == LN_KIND_OPERAND)
      push_number_of(m, r->attrs, param->slot);
    else
      push(m, V_NONE);
    return;
  }
  push_tensor(m, r->in[i], false);
}

static void push_attribute(machine *m, const ln_param *param) {
  ln_rule *r = m->r;
  const int64_t *list;
  if (!r_has(r, param->slot) && !param->has_default && param->kind != LN_KIND_SCALAR) {
    push(m, V_NONE);
    return;
  }
  switch (param->kind) {
  case LN_KIND_FLOAT: push(m, V_NUMBER)->d = r_float(r, param->slot); break;
  case LN_KIND_BOOL: push(m, V_BOOL)->i = r_bool(r, param->slot); break;
  case LN_KIND_SCALAR: push_number_of(m, r->attrs, param->slot); break;
  case LN_KIND_INTS: {
    int n = r_list(r, param->slot, &list);
    value *v = push(m, V_LIST);
    v->n = (uint8_t)n;
    memcpy(v->list, list, sizeof *list * (size_t)n);
    break;
  }
  default: push_whole(m, r_int(r, param->slot));
  }
}

static void push_local(machine *m, int i, int at) {
  value *v = push(m, V_NONE), *from = &m->locals[i];
  *v = *from;
  if (m->last[i] == at)
    from->kind = V_NONE; /* moved */
  else if (v->kind == V_TENSOR)
    ln_tensor_retain(v->t);
}

/* -- Numbers -- */

/* An elementwise row of numbers alone: what is whole stays so where a tensor's dtype would. */
static value formula_of(machine *m, const ln_instruction *i, const value *args) {
  const ln_op_row *row = ln_row(i->a);
  double operands[3] = {0}, attributes[3] = {0};
  bool whole = row->result == LN_CLASS_SAME, truth = row->result == LN_CLASS_TEST;
  for (int slot = row->first_attr; slot < row->n_slots; slot++) attributes[slot - row->first_attr] = row->defaults[slot].d;
  for (int k = 0; k < i->n; k++) {
    const ln_param *param = &row->params[m->p->binds[i->b + k]];
    double *at = param->input >= 0 ? &operands[param->input] : &attributes[param->slot - row->first_attr];
    *at = as_number(&args[k]);
    whole = whole && (args[k].whole || args[k].kind == V_BOOL);
  }
  double result = ln_formula_of_numbers(row, operands, attributes);
  value y = {.kind = truth ? V_BOOL : V_NUMBER, .whole = whole};
  if (truth || whole)
    y.i = (int64_t)result;
  else
    y.d = result;
  return y;
}

/* -- Calls -- */

static bool set_list(machine *m, ln_attrs *a, int slot, const value *v) {
  int64_t one = v->kind == V_LIST ? 0 : as_whole(v);
  int n = v->kind == V_LIST ? v->n : 1;
  if (a->pool_used + n > LN_ATTR_POOL) return r_fail(m->r, "its text in ops.def has too many lists");
  ln_attrs_ints(a, slot, v->kind == V_LIST ? v->list : &one, n);
  return true;
}

static void set_number(ln_attrs *a, int slot, const value *v) {
  if (v->kind == V_BOOL) a->present |= 1u << slot;
  if (v->kind == V_BOOL || v->whole)
    ln_attrs_whole(a, slot, v->i);
  else
    ln_attrs_number(a, slot, v->d);
}

typedef struct call {
  ln_tensor *in[LN_MAX_ARGUMENTS];
  int n_in;
  ln_attrs attrs;
} call;

static bool bind(machine *m, call *c, const ln_param *param, const value *v) {
  bool attribute = param->kind > LN_KIND_SCALAR;
  if (v->kind == V_NONE) /* absent */
    return param->optional || param->has_default || r_fail(m->r, "its text in ops.def gives nothing for '%.*s'", param->length, param->name);
  if ((param->kind == LN_KIND_TENSOR || param->kind == LN_KIND_LIST) && v->kind == V_TENSOR) {
    int at = param->kind == LN_KIND_LIST ? c->n_in++ : param->input;
    c->in[at] = v->t;
  } else if (param->kind == LN_KIND_OPERAND && v->kind == V_TENSOR) {
    c->in[param->input] = v->t;
  } else if (param->kind <= LN_KIND_SCALAR && param->kind >= LN_KIND_OPERAND && is_number(v)) {
    set_number(&c->attrs, param->slot, v);
  } else if (param->kind == LN_KIND_INTS && (v->kind == V_LIST || is_number(v))) {
    return set_list(m, &c->attrs, param->slot, v);
  } else if (param->kind == LN_KIND_FLOAT && is_number(v)) {
    ln_attrs_float(&c->attrs, param->slot, as_number(v));
  } else if (attribute && is_number(v)) {
    ln_attrs_int(&c->attrs, param->slot, as_whole(v));
  } else {
    return r_fail(m->r, "its text in ops.def gives a wrong value for '%.*s'", param->length, param->name);
  }
  return true;
}

static void drop_arguments(machine *m, int n) {
  for (int i = 0; i < n; i++) let_go(&m->stack[--m->top]);
}

static void run_call(machine *m, const ln_instruction *i) {
  const ln_op_row *row = ln_row(i->a);
  value *args = m->stack + m->top - i->n;
  call c;
  ln_tensor *out[LN_MAX_OUTPUTS] = {NULL};
  c.n_in = 0;
  ln_attrs_begin(&c.attrs);
  memset(c.in, 0, sizeof c.in);
  for (int k = 0; k < row->n_params; k++) c.n_in += row->params[k].input >= 0 && row->params[k].kind != LN_KIND_LIST;
  for (int k = 0; k < i->n && r_ok(m->r); k++) bind(m, &c, &row->params[m->p->binds[i->b + k]], &args[k]);
  if (r_ok(m->r)) r_status(m->r, ln_run(i->a, c.in, c.n_in, &c.attrs, false, out));
  drop_arguments(m, i->n);
  for (int k = 1; k < row->info.n_outputs; k++)
    if (out[k]) ln_tensor_release(out[k]);
  push_tensor(m, out[0], true);
}

static void map_list(const ln_op_row *row, value *list) {
  for (int k = 0; k < list->n; k++) {
    double x = (double)list->list[k];
    list->list[k] = (int64_t)ln_formula_of_numbers(row, &x, NULL);
  }
}

/* Numbers alone give a number, a list the list of its entries' results, and `where` with a number for its condition one of its values. */
static bool run_on_numbers(machine *m, const ln_instruction *i) {
  const ln_op_row *row = ln_row(i->a);
  value *args = m->stack + m->top - i->n, y;
  if (row->info.kind == LN_STRUCTURED) return false;
  if (row->info.kind == LN_UNARY && i->n == 1 && args[0].kind == V_LIST) {
    map_list(row, &args[0]);
    return true;
  }
  if ((row->info.flags & LN_FLAG_CONDITION) && is_number(&args[0])) {
    value *chosen = as_number(&args[0]) != 0 ? &args[1] : &args[2];
    y = *chosen;
    chosen->kind = V_NONE;
  } else {
    for (int k = 0; k < i->n; k++)
      if (!is_number(&args[k])) return false;
    y = formula_of(m, i, args);
  }
  drop_arguments(m, i->n);
  *push(m, V_NONE) = y;
  return true;
}

/* -- Functions -- */

static uint32_t dims_mask(machine *m, const value *v, int ndim) {
  int64_t one = is_number(v) ? as_whole(v) : 0;
  const int64_t *list = v->kind == V_LIST ? v->list : &one;
  int n = v->kind == V_LIST ? v->n : is_number(v), dim;
  uint32_t mask = n || ndim == 0 ? 0 : (1u << ndim) - 1;
  for (int i = 0; i < n; i++)
    if (r_status(m->r, ln_wrap_dim(m->r->name, list[i], ndim, &dim)) && ndim) mask |= 1u << dim;
  return mask;
}

static double count_of(const ln_tensor *x, uint32_t mask) {
  double n = 1;
  for (int i = 0; i < x->ndim; i++)
    if ((mask >> i) & 1) n *= (double)x->shape[i];
  return n;
}

/* A result that the rule owns becomes the value's. */
static void push_owned(machine *m, ln_tensor *t) {
  if (t) ln_tensor_retain(t);
  push_tensor(m, t, true);
  r_drop(m->r, t);
}

static void push_shape(machine *m, const ln_tensor *x) {
  value *v = push(m, V_LIST);
  v->n = (uint8_t)x->ndim;
  memcpy(v->list, x->shape, sizeof *x->shape * (size_t)x->ndim);
}

/* The dims from `first` on, without one. */
static void push_dims(machine *m, int first, int ndim, int without) {
  value *v = push(m, V_LIST);
  v->n = 0;
  for (int i = first < 0 ? 0 : first; i < ndim; i++)
    if (i != without) v->list[v->n++] = i;
}

static ln_tensor *corner(ln_rule *r, ln_tensor *t, const ln_tensor *x) {
  SLOTS(as_strided_scatter);
  ln_tensor *const in[2] = {ln_same_shape(t, x) ? NULL : r_zeros(r, x->shape, x->ndim, t->dtype), t};
  ln_attrs attrs;
  if (ln_same_shape(t, x)) return t;
  if (!in[0]) return NULL;
  ln_attrs_begin(&attrs);
  ln_attrs_ints(&attrs, a_size, t->shape, t->ndim);
  ln_attrs_ints(&attrs, a_stride, in[0]->stride, t->ndim);
  ln_attrs_int(&attrs, a_offset, 0);
  return r_do(r, LN_OP_as_strided_scatter, in, 2, &attrs);
}

static void run_builtin(machine *m, const ln_instruction *i) {
  value args[3];
  ln_rule *r = m->r;
  for (int k = i->n - 1; k >= 0; k--) args[k] = m->stack[--m->top];
  ln_tensor *x = args[0].kind == V_TENSOR ? args[0].t : NULL;
  int dim;
  if (!x && i->a != LN_FN_HAS && i->a != LN_FN_FILLED) {
    r_fail(r, "its text in ops.def asks for the shape of what is no tensor");
    push(m, V_NONE);
  } else {
    switch (i->a) {
    case LN_FN_SHAPE: push_shape(m, x); break;
    case LN_FN_NDIM: push_whole(m, x->ndim); break;
    case LN_FN_SIZE: push_whole(m, r_status(r, ln_wrap_dim(r->name, as_whole(&args[1]), x->ndim, &dim)) && x->ndim ? x->shape[dim] : 1); break;
    case LN_FN_COUNT: push(m, V_NUMBER)->d = count_of(x, dims_mask(m, &args[1], x->ndim)); break;
    case LN_FN_DTYPE: push_whole(m, x->dtype); break;
    case LN_FN_ZEROS: push_owned(m, r_zeros(r, x->shape, x->ndim, x->dtype)); break;
    case LN_FN_HAS: push(m, V_BOOL)->i = args[0].kind != V_NONE; break;
    case LN_FN_IS_FLOATING: push(m, V_BOOL)->i = ln_is_float(x->dtype); break;
    case LN_FN_DIMS_BUT: push_dims(m, 0, x->ndim, r_status(r, ln_wrap_dim(r->name, as_whole(&args[1]), x->ndim, &dim)) ? dim : -1); break;
    case LN_FN_LAST_DIMS: push_dims(m, x->ndim - args[1].n, x->ndim, -1); break;
    case LN_FN_CONSTANT: push_owned(m, r_look(r, x, x->shape, x->stride, x->ndim, 0)); break;
    case LN_FN_CORNER: push_owned(m, corner(r, x, args[1].t)); break;
    case LN_FN_FILLED: push_owned(m, x ? x : r_zeros(r, args[1].t->shape, args[1].t->ndim, args[1].t->dtype)); break;
    case LN_FN_SPREAD: push_owned(m, r_spread(r, x, dims_mask(m, &args[2], args[1].t->ndim), args[1].t->ndim)); break;
    default: push_owned(m, x->dtype == LN_FLOAT64 ? x : r_to(r, x, LN_FLOAT32));
    }
  }
  for (int k = 0; k < i->n; k++) let_go(&args[k]);
}

/* -- Running -- */

static int step(machine *m, int at) {
  const ln_instruction *i = &m->p->code[at];
  const ln_rule *r = m->r;
  value *v;
  switch (i->code) {
  case LN_PUSH_NUMBER:
    v = push(m, V_NUMBER);
    v->whole = i->whole;
    if (i->whole)
      v->i = (int64_t)i->number;
    else
      v->d = i->number;
    break;
  case LN_PUSH_BOOL: push(m, V_BOOL)->i = i->a; break;
  case LN_PUSH_NONE: push(m, V_NONE); break;
  case LN_PUSH_INPUT: push_input(m, i->a); break;
  case LN_PUSH_OUTPUT: push_tensor(m, r->out[i->a], false); break;
  case LN_PUSH_GRADIENT: push_tensor(m, r->g[i->a], false); break;
  case LN_PUSH_EXTRA: push_tensor(m, r->extra[i->a], false); break;
  case LN_PUSH_ATTRIBUTE: push_attribute(m, &r->row->params[i->a]); break;
  case LN_PUSH_LOCAL: push_local(m, i->a, at); break;
  case LN_MAKE_LIST: {
    value all = {.kind = V_LIST, .n = i->n};
    for (int k = i->n - 1; k >= 0; k--) all.list[k] = as_whole(&m->stack[--m->top]);
    *push(m, V_LIST) = all;
    break;
  }
  case LN_CALL:
    if (!run_on_numbers(m, i)) run_call(m, i);
    break;
  case LN_BUILTIN: run_builtin(m, i); break;
  case LN_JUMP_UNLESS: return as_number(&m->stack[--m->top]) != 0 ? at + 1 : i->a;
  default: return i->a; /* LN_JUMP */
  }
  return at + 1;
}

static void store(machine *m, const ln_statement *s) {
  value *v = &m->stack[--m->top];
  ln_rule *r = m->r;
  if (s->target == LN_TO_LOCAL) {
    if (v->kind == V_TENSOR && !v->owned) ln_tensor_retain(v->t);
    v->owned = v->kind == V_TENSOR;
    m->locals[s->index] = *v;
    return;
  }
  ln_tensor *t = v->kind == V_TENSOR ? v->t : NULL;
  if (s->target == LN_TO_GRADIENT)
    r_give(r, s->index, t);
  else if (s->target == LN_TO_OUTPUT)
    r_result(r, s->index, t);
  else
    r_keep(r, s->index, t);
  let_go(v);
}

static void mark_last_uses(machine *m, uint32_t live) {
  for (int i = 0; i < m->p->n_locals; i++) {
    m->last[i] = -1;
    m->locals[i].kind = V_NONE;
  }
  for (int k = 0; k < m->p->n_statements; k++) {
    const ln_statement *s = &m->p->statements[k];
    for (int at = s->first; ((live >> k) & 1) && s->locals && at < s->end; at++)
      if (m->p->code[at].code == LN_PUSH_LOCAL) m->last[m->p->code[at].a] = (int16_t)at;
  }
}

/* Does a gradient that the statement reads, or that a value it reads was made of, not exist? Then it adds nothing. */
static bool lacks_gradient(const ln_rule *r, const ln_statement *s, uint32_t without) {
  if (s->locals & without) return true;
  for (int i = 0; i < r->row->info.n_outputs; i++)
    if (((s->gradient >> i) & 1) && !r->g[i]) return true;
  return false;
}

static void evaluate(ln_rule *r, const ln_program *p, uint32_t live) {
  machine m;
  m.r = r;
  m.p = p;
  m.top = 0;
  uint32_t without = 0; /* locals that no gradient reached */
  mark_last_uses(&m, live);
  for (int k = 0; k < p->n_statements && r_ok(r); k++) {
    const ln_statement *s = &p->statements[k];
    if (!((live >> k) & 1)) continue;
    if (lacks_gradient(r, s, without)) {
      without |= s->target == LN_TO_LOCAL ? 1u << s->index : 0;
      continue;
    }
    for (int at = s->first; at < s->end && r_ok(r);) at = step(&m, at);
    if (r_ok(r)) store(&m, s);
    for (int i = 0; i < p->n_locals; i++)
      if (m.last[i] < s->end && m.locals[i].kind != V_NONE && !(s->target == LN_TO_LOCAL && s->index == i)) let_go(&m.locals[i]);
  }
  while (m.top > 0) let_go(&m.stack[--m.top]);
  for (int i = 0; i < p->n_locals; i++) let_go(&m.locals[i]);
}

void ln_text_forward(ln_rule *r) {
  const ln_program *p = ln_forward_program(r->row);
  if (r_status(r, p ? LN_OK : LN_ERROR)) evaluate(r, p, ln_program_live(p, NULL, 0));
}

void ln_text_backward(ln_rule *r) {
  const ln_program *p = ln_gradient_program(r->row);
  if (r_status(r, p ? LN_OK : LN_ERROR)) evaluate(r, p, ln_program_live(p, r->needs, r->n_in));
}
