/* program.c - the texts of ops.def compiled to postfix: derivatives and compositions in terms of operators.
 *
 *     text        statement; statement; ...       the last one may have no newline
 *     statement   name = expression               d_input, d_weight ...: the gradient of an argument; y, y0, y1: an output; extra0, extra1: kept
 *                                                 for backward; any other name: a value for the statements that follow
 *     expression  numbers, names, + - * / and unary minus, comparisons of numbers or tensors, condition ? this : that (of which only one is computed),
 *                 calls of operators and of the functions in program.h, by position or by name: sum(g * y, dim, keepdim = true), lists [0, 2]
 *
 * Names are the arguments of the row, in an elementwise row x or a, b, c and its attributes; y, g and extra0 with a number behind them where there are
 * several; true, false, none, INFINITY. */
#include "program.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct parser {
  const ln_op_row *row;
  ln_program *p;
  const char *at;
  const char *failure; /* NULL: none so far */
  bool geometry;       /* only shapes of what is named are looked at */
  struct {
    const char *name;
    int length;
  } locals[LN_MAX_LOCALS];
} parser;

static void expression(parser *s);

static void give_up(parser *s, const char *why) {
  if (!s->failure) s->failure = why;
}

/* -- Words -- */

static void skip(parser *s) { s->at += strspn(s->at, " \n"); }

static bool take(parser *s, const char *sign) {
  skip(s);
  size_t n = strlen(sign);
  if (strncmp(s->at, sign, n) != 0) return false;
  s->at += n;
  return true;
}

static void expect(parser *s, const char *sign) {
  if (!take(s, sign)) give_up(s, sign);
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

static int word(parser *s, const char **name) {
  skip(s);
  *name = s->at;
  int n = 0;
  while (is_word(s->at[n])) n++;
  return n;
}

static bool same(const char *name, int length, const char *other) { return strncmp(name, other, (size_t)length) == 0 && !other[length]; }

/* -- Code -- */

static ln_instruction *emit(parser *s, int code, int a) {
  static ln_instruction nowhere;
  ln_program *p = s->p;
  if (!ln_grow(&p->code, &p->code_capacity, p->n_code + 1, sizeof *p->code)) {
    give_up(s, "memory");
    return &nowhere;
  }
  ln_instruction *i = &p->code[p->n_code++];
  *i = (ln_instruction){.code = (uint8_t)code, .a = (int16_t)a};
  return i;
}

static ln_statement *statement_at_work(parser *s) { return &s->p->statements[s->p->n_statements]; }

static void emit_call(parser *s, const ln_op_row *row, const int *binds, int n) {
  ln_program *p = s->p;
  ln_instruction *i = emit(s, LN_CALL, (int)(row - ln_row(0)));
  i->n = (uint8_t)n;
  i->b = (int16_t)p->n_binds;
  if (!ln_grow(&p->binds, &p->bind_capacity, p->n_binds + n, 1)) give_up(s, "memory");
  for (int k = 0; k < n && !s->failure; k++) p->binds[p->n_binds++] = (uint8_t)binds[k];
}

/* An operator between two expressions, or in front of one. */
static void emit_sign(parser *s, int op, int n) { emit_call(s, ln_row(op), (const int[]){0, 1}, n); }

/* -- Names -- */

/* "y1": 1 for the name "y"; "y": 0; -1 for anything else. */
static int numbered(const char *name, int length, const char *stem) {
  int n = (int)strlen(stem);
  if (length < n || strncmp(name, stem, (size_t)n) != 0) return -1;
  if (length == n) return 0;
  return length == n + 1 && isdigit((unsigned char)name[n]) ? name[n] - '0' : -1;
}

static const ln_param *param_named(const ln_op_row *row, const char *name, int length) {
  for (int i = 0; i < row->n_params; i++)
    if (row->params[i].length == length && strncmp(row->params[i].name, name, (size_t)length) == 0) return &row->params[i];
  return NULL;
}

/* The operand that a variable of an elementwise formula stands for; -1 for none. */
static int variable(const ln_op_row *row, const char *name, int length) {
  if (row->info.kind == LN_STRUCTURED || length != 1) return -1;
  const char *variables = row->info.kind == LN_UNARY ? "x" : row->info.kind == LN_BINARY ? "ab" : "abc";
  const char *found = strchr(variables, *name);
  return found ? (int)(found - variables) : -1;
}

static void push_input(parser *s, int i) {
  emit(s, LN_PUSH_INPUT, i);
  if (!s->geometry) statement_at_work(s)->in |= (uint64_t)1 << (i < 63 ? i : 63);
}

static int local_named(const parser *s, const char *name, int length) {
  for (int i = 0; i < s->p->n_locals; i++)
    if (s->locals[i].length == length && strncmp(s->locals[i].name, name, (size_t)length) == 0) return i;
  return -1;
}

static bool constant(parser *s, const char *name, int length) {
  if (same(name, length, "true") || same(name, length, "false"))
    emit(s, LN_PUSH_BOOL, *name == 't');
  else if (same(name, length, "none"))
    emit(s, LN_PUSH_NONE, 0);
  else if (same(name, length, "INFINITY"))
    emit(s, LN_PUSH_NUMBER, 0)->number = (double)INFINITY;
  else
    return false;
  return true;
}

/* The word of an enum among the row's arguments: its number. */
static bool choice(parser *s, const char *name, int length) {
  for (int i = 0; i < s->row->n_params; i++) {
    int at = s->row->params[i].kind == LN_KIND_ENUM ? ln_choice(&s->row->params[i], name, length) : -1;
    if (at < 0) continue;
    ln_instruction *number = emit(s, LN_PUSH_NUMBER, 0);
    number->number = at;
    number->whole = true;
    return true;
  }
  return false;
}

static void push_named(parser *s, const char *name, int length) {
  ln_statement *now = statement_at_work(s);
  int i = local_named(s, name, length);
  const ln_param *param = param_named(s->row, name, length);
  if (i >= 0) {
    emit(s, LN_PUSH_LOCAL, i);
    now->locals |= 1u << i;
  } else if ((i = variable(s->row, name, length)) >= 0) {
    push_input(s, i);
  } else if (param && param->input >= 0 && s->row->info.kind == LN_STRUCTURED) {
    push_input(s, param->input);
  } else if (param) {
    emit(s, LN_PUSH_ATTRIBUTE, (int)(param - s->row->params));
  } else if ((i = numbered(name, length, "y")) >= 0) {
    emit(s, LN_PUSH_OUTPUT, i);
    if (!s->geometry) now->out |= 1u << i;
  } else if ((i = numbered(name, length, "g")) >= 0) {
    emit(s, LN_PUSH_GRADIENT, i);
    if (!s->geometry) now->gradient |= 1u << i;
  } else if ((i = numbered(name, length, "extra")) >= 0) {
    emit(s, LN_PUSH_EXTRA, i);
  } else if (!choice(s, name, length) && !constant(s, name, length)) {
    give_up(s, name);
  }
}

/* -- Calls -- */

static const struct {
  const char *name;
  int n;
  uint32_t geometry; /* arguments of which the shape alone counts, a bit each */
} functions[LN_FN_COUNT_OF_ALL] = {
  [LN_FN_SHAPE] = {"shape", 1, 1},
  [LN_FN_NDIM] = {"ndim", 1, 1},
  [LN_FN_SIZE] = {"size", 2, 1},
  [LN_FN_COUNT] = {"count", 2, 1},
  [LN_FN_DTYPE] = {"dtype", 1, 1},
  [LN_FN_ZEROS] = {"zeros", 1, 1},
  [LN_FN_HAS] = {"has", 1, 1},
  [LN_FN_SPREAD] = {"spread", 3, 2},
  [LN_FN_WIDE] = {"wide", 1, 0},
  [LN_FN_NUMBER] = {"K", 1, 0},
  [LN_FN_CORNER] = {"corner", 2, 2},
  [LN_FN_DIMS_BUT] = {"dims_but", 2, 1},
  [LN_FN_IS_FLOATING] = {"is_floating", 1, 1},
  [LN_FN_LAST_DIMS] = {"last_dims", 2, 1},
  [LN_FN_CONSTANT] = {"constant", 1, 0},
  [LN_FN_FILLED] = {"filled", 2, 1},
};

static void call_function(parser *s, int f) {
  bool outer = s->geometry;
  for (int i = 0; i < functions[f].n && !s->failure; i++) {
    if (i > 0) expect(s, ",");
    s->geometry = outer || ((functions[f].geometry >> i) & 1);
    expression(s);
  }
  s->geometry = outer;
  expect(s, ")");
  if (f != LN_FN_NUMBER) emit(s, LN_BUILTIN, f)->n = (uint8_t)functions[f].n;
}

/* The name in front of "name = value"; NULL for an argument by position. */
static const ln_param *argument_name(parser *s, const ln_op_row *row) {
  const char *name;
  int n = word(s, &name);
  const char *behind = name + n + strspn(name + n, " \n");
  if (n == 0 || isdigit((unsigned char)*name) || behind[0] != '=' || behind[1] == '=') return NULL;
  const ln_param *param = param_named(row, name, n);
  if (!param) give_up(s, name);
  s->at = behind + 1;
  return param;
}

static void call_operator(parser *s, const ln_op_row *row) {
  int binds[LN_MAX_ARGUMENTS], n = 0, position = 0;
  while (!s->failure && !take(s, ")")) {
    if (n > 0) expect(s, ",");
    const ln_param *param = argument_name(s, row);
    if (n == LN_MAX_ARGUMENTS || (!param && position >= row->n_params)) {
      give_up(s, row->info.name);
      return;
    }
    binds[n] = param ? (int)(param - row->params) : position;
    if (!param && row->params[position].kind != LN_KIND_LIST) position++;
    n++;
    expression(s);
  }
  if (!s->failure) emit_call(s, row, binds, n);
}

static void call(parser *s, const char *name, int length) {
  static const char *const others[][2] = {{"both", "logical_and"}, {"either", "logical_or"}, {"floordiv", "floor_divide"}, {"modulo", "remainder"}};
  for (int f = 0; f < LN_FN_COUNT_OF_ALL; f++) {
    if (!same(name, length, functions[f].name)) continue;
    call_function(s, f);
    return;
  }
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (same(name, length, others[i][0])) name = others[i][1], length = (int)strlen(name);
  const ln_op_row *row = ln_row_named(name, length);
  if (row)
    call_operator(s, row);
  else
    give_up(s, name);
}

/* -- Expressions -- */

static void list(parser *s) {
  int n = 0;
  while (!s->failure && !take(s, "]")) {
    if (n > 0) expect(s, ",");
    expression(s);
    n++;
  }
  emit(s, LN_MAKE_LIST, 0)->n = (uint8_t)n;
}

static void number(parser *s) {
  char *end;
  double value = strtod(s->at, &end);
  ln_instruction *i = emit(s, LN_PUSH_NUMBER, 0);
  i->number = value;
  i->whole = strcspn(s->at, ".eE") >= (size_t)(end - s->at);
  s->at = end;
}

static void primary(parser *s) {
  const char *name;
  skip(s);
  if (isdigit((unsigned char)*s->at)) {
    number(s);
  } else if (take(s, "(")) {
    expression(s);
    expect(s, ")");
  } else if (take(s, "[")) {
    list(s);
  } else {
    int n = word(s, &name);
    s->at += n;
    if (n == 0)
      give_up(s, s->at);
    else if (take(s, "("))
      call(s, name, n);
    else
      push_named(s, name, n);
  }
}

static void signed_one(parser *s) {
  if (!take(s, "-")) {
    primary(s);
    return;
  }
  signed_one(s);
  emit_sign(s, LN_OP_neg, 1);
}

typedef struct sign {
  const char *text;
  int op;
} sign;

/* Operands of one precedence with the signs between them, from left to right. */
static void chain(parser *s, void (*operand)(parser *s), const sign *signs, int n_signs) {
  operand(s);
  for (int i = 0; i < n_signs && !s->failure; i++) {
    if (!take(s, signs[i].text)) continue;
    operand(s);
    emit_sign(s, signs[i].op, 2);
    i = -1;
  }
}

static void product(parser *s) { chain(s, signed_one, (const sign[]){{"*", LN_OP_mul}, {"/", LN_OP_div}}, 2); }

static void sum(parser *s) { chain(s, product, (const sign[]){{"+", LN_OP_add}, {"-", LN_OP_sub}}, 2); }

static void comparison(parser *s) {
  static const sign signs[] = {{"==", LN_OP_eq}, {"!=", LN_OP_ne}, {"<=", LN_OP_le}, {">=", LN_OP_ge}, {"<", LN_OP_lt}, {">", LN_OP_gt}};
  chain(s, sum, signs, 6);
}

static void expression(parser *s) {
  comparison(s);
  if (s->failure || !take(s, "?")) return;
  int unless = s->p->n_code;
  emit(s, LN_JUMP_UNLESS, 0);
  expression(s);
  expect(s, ":");
  int jump = s->p->n_code;
  emit(s, LN_JUMP, 0);
  if (s->failure) return;
  s->p->code[unless].a = (int16_t)s->p->n_code;
  expression(s);
  if (!s->failure) s->p->code[jump].a = (int16_t)s->p->n_code;
}

/* -- Statements -- */

static void set_target(parser *s, const char *name, int length) {
  ln_statement *now = statement_at_work(s);
  const ln_param *param = length > 2 && strncmp(name, "d_", 2) == 0 ? param_named(s->row, name + 2, length - 2) : NULL;
  if (param && param->input >= 0) {
    now->target = LN_TO_GRADIENT;
    now->index = param->input;
  } else if ((now->index = numbered(name, length, "y")) >= 0) {
    now->target = LN_TO_OUTPUT;
  } else if ((now->index = numbered(name, length, "extra")) >= 0) {
    now->target = LN_TO_EXTRA;
  } else if (s->p->n_locals == LN_MAX_LOCALS) {
    give_up(s, name);
  } else {
    now->target = LN_TO_LOCAL;
    now->index = s->p->n_locals;
    s->locals[s->p->n_locals].name = name;
    s->locals[s->p->n_locals++].length = length;
  }
}

static void begin_statement(parser *s) {
  if (s->p->n_statements == LN_MAX_STATEMENTS) {
    give_up(s, s->at);
    s->p->n_statements--;
  }
  *statement_at_work(s) = (ln_statement){.first = s->p->n_code};
}

static void end_statement(parser *s) {
  statement_at_work(s)->end = s->p->n_code;
  s->p->n_statements++;
}

static void statements(parser *s) {
  for (skip(s); *s->at && !s->failure; skip(s)) {
    const char *name;
    int n = word(s, &name);
    begin_statement(s);
    s->at += n;
    expect(s, "=");
    expression(s);
    set_target(s, name, n); /* behind the expression: a value cannot read itself */
    end_statement(s);
    if (!take(s, ";")) break;
  }
  if (*s->at) give_up(s, s->at);
}

/* The derivatives of an elementwise row: the text of one expression for each operand. */
static void derivatives(parser *s) {
  for (int i = 0; i < 3 && !s->failure; i++) {
    if (!s->row->info.derivative[i]) continue;
    s->at = s->row->info.derivative[i];
    begin_statement(s);
    expression(s);
    statement_at_work(s)->target = LN_TO_GRADIENT;
    statement_at_work(s)->index = i;
    end_statement(s);
    if (*s->at) give_up(s, s->at);
  }
}

/* What the gradient of each input looks at. */
static void note_keeps(ln_program *p) {
  for (int i = 0; i < LN_MAX_ARGUMENTS; i++) {
    bool needs[LN_MAX_ARGUMENTS] = {false};
    needs[i] = true;
    uint32_t live = ln_program_live(p, needs, LN_MAX_ARGUMENTS);
    for (int k = 0; k < p->n_statements; k++) {
      if (!((live >> k) & 1)) continue;
      p->keep_in[i] |= p->statements[k].in;
      p->keep_out[i] |= p->statements[k].out;
    }
  }
}

static ln_program *compile(const ln_op_row *row, const char *text) {
  ln_program *p = calloc(1, sizeof *p);
  if (!p) {
    ln_fail_nomem((int64_t)sizeof *p);
    return NULL;
  }
  parser s = {.row = row, .p = p, .at = text};
  if (text)
    statements(&s);
  else
    derivatives(&s);
  if (!s.failure) {
    note_keeps(p);
    return p;
  }
  ln_fail("%s: its text in ops.def cannot be read at '%.40s'", row->info.name, s.failure);
  free(p->code);
  free(p->binds);
  free(p);
  return NULL;
}

/* Compiled once for all threads. */
static const ln_program *cached(const ln_op_row *row, ln_program *const *slot, const char *text) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  ln_program **to = (ln_program **)slot, *p = __atomic_load_n(to, __ATOMIC_ACQUIRE);
  if (__builtin_expect(p != NULL, 1)) return p;
  pthread_mutex_lock(&lock);
  p = *to ? *to : compile(row, text);
  __atomic_store_n(to, p, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&lock);
  return p;
}

const ln_program *ln_forward_program(const ln_op_row *row) { return cached(row, &row->forward_program, row->forward_text); }

const ln_program *ln_gradient_program(const ln_op_row *row) { return cached(row, &row->gradient_program, row->gradient_text); }

/* -- What is needed -- */

uint32_t ln_program_live(const ln_program *p, const bool *needs, int n) {
  uint32_t live = 0, locals = 0;
  for (int i = p->n_statements - 1; i >= 0; i--) {
    const ln_statement *s = &p->statements[i];
    bool wanted = s->target == LN_TO_LOCAL ? (locals >> s->index) & 1 : s->target != LN_TO_GRADIENT || (s->index < n && needs[s->index]);
    if (!wanted) continue;
    live |= 1u << i;
    locals |= s->locals;
  }
  return live;
}

void ln_program_keeps(const ln_program *p, int input, uint64_t *in, uint32_t *out) {
  if (input >= LN_MAX_ARGUMENTS) return;
  *in |= p->keep_in[input];
  *out |= p->keep_out[input];
}
