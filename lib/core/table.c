/* table.c - the operator table: the rows of ops.def, and what is derived from them once. */
#include "../ops/rules.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { COST_LIGHT, COST_HEAVY };
enum {
  VIEW = LN_FLAG_VIEW,
  INPLACE = LN_FLAG_INPLACE,
  MIXED_DEVICES = LN_FLAG_MIXED_DEVICES,
  CONDITION = LN_FLAG_CONDITION,
  BOOL_COUNTS = LN_FLAG_BOOL_COUNTS,
  BOUNDS = LN_FLAG_BOUNDS,
  NO_BOOL = LN_FLAG_NO_BOOL,
  DIVISOR = LN_FLAG_DIVISOR,
  WHOLE_POWER = LN_FLAG_WHOLE_POWER,
  FLOATING = LN_FLAG_FLOATING,
  PART = LN_FLAG_PART,
  LINKED = LN_FLAG_LINKED
};

/* -- Elementwise rows. A derivative is its text; NONE means no gradient. -- */

#define A0 ""
#define A1(n0, d0) ", " #n0 ":float=" #d0
#define A2(n0, d0, n1, d1) ", " #n0 ":float=" #d0 ", " #n1 ":float=" #d1
#define A3(n0, d0, n1, d1, n2, d2) ", " #n0 ":float=" #d0 ", " #n1 ":float=" #d1 ", " #n2 ":float=" #d2
#define OPERANDS2(a, b) #a ":operand, " #b ":operand"
#define OPERANDS3(a, b, c) OPERANDS2(a, b) ", " #c ":operand"
#define ELEMENTWISE(name_, class_, cost_, flags_, kind_, signature_, doc_, f, low_, high_, ...) \
  {.info = {.name = name_,                                                                      \
            .signature = signature_,                                                            \
            .doc = doc_,                                                                        \
            .forward = f,                                                                       \
            .derivative = {__VA_ARGS__},                                                        \
            .classname = #class_,                                                               \
            .low = low_,                                                                        \
            .high = high_,                                                                      \
            .kind = kind_,                                                                      \
            .n_outputs = 1,                                                                     \
            .flags = (flags_) | INPLACE},                                                       \
   .forward = ln_pointwise_forward,                                                             \
   .backward = ln_pointwise_backward,                                                           \
   .cost = COST_##cost_,                                                                        \
   .result = LN_CLASS_##class_},
#define ROW_UNARY(name, class, cost, flags, attrs, doc, f, dx, low, high) \
  ELEMENTWISE(#name, class, cost, flags, LN_UNARY, "input" attrs, doc, #f, low, high, #dx)
#define ROW_BINARY(name, class, cost, flags, names, attrs, doc, f, da, db, low, high) \
  ELEMENTWISE(#name, class, cost, flags, LN_BINARY, OPERANDS2 names attrs, doc, #f, low, high, #da, #db)
#define ROW_TERNARY(name, class, cost, flags, names, attrs, doc, f, da, db, dc, low, high) \
  ELEMENTWISE(#name, class, cost, flags, LN_TERNARY, OPERANDS3 names attrs, doc, #f, low, high, #da, #db, #dc)

/* -- Structured rows -- */

#define TEXT_TENSOR(name) ", " #name
#define TEXT_OPTIONAL(name) ", " #name "?"
#define TEXT_LIST(name) ", " #name "[]"
#define TEXT_OPERAND(name) ", " #name ":operand"
#define TEXT_ATTRIBUTE(name, kind, default) ", " #name ":" #kind #default
#define SIGNATURE(name) SIG_##name(TEXT_TENSOR, TEXT_OPTIONAL, TEXT_LIST, TEXT_OPERAND, TEXT_ATTRIBUTE)
/* Each takes the name behind it: FORWARD_RULE(softmax), FORWARD_TEXT("...")(softmax). */
#define IGNORE(name)
#define FORWARD_RULE(name) .forward = name##_forward
#define FORWARD_TEXT(text) .forward = ln_text_forward, .forward_text = text IGNORE
#define GRADIENT_NOGRAD(name) .backward = NULL
#define GRADIENT_RECORDED(name) .info.grad = LN_GRAD_RECORDED
#define GRADIENT_RULE(name) .backward = name##_backward
#define GRADIENT_TEXT(text) .gradient_text = text IGNORE
#define GRADIENT_FUSED(text) .gradient_text = text, GRADIENT_RULE
#define ROW_OP(name_, outputs_, flags_, forward_, gradient_, doc_) \
  {.info.name = #name_,                                            \
   .info.signature = SIGNATURE(name_) + 2, /* without a comma */   \
   .info.doc = doc_,                                               \
   .info.kind = LN_STRUCTURED,                                     \
   .info.n_outputs = outputs_,                                     \
   .info.flags = flags_,                                           \
   FORWARD_##forward_(name_),                                      \
   GRADIENT_##gradient_(name_)},

static ln_op_row rows[LN_OP_COUNT + 1] = {
#define UNARY ROW_UNARY
#define BINARY ROW_BINARY
#define TERNARY ROW_TERNARY
#define OP ROW_OP
#define OVERLOAD(...)
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef OVERLOAD
};

static const ln_overload overloads[] = {
#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define OP(...)
#define OVERLOAD(name, ...) {#name, #__VA_ARGS__},
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OP
#undef OVERLOAD
};

enum { N_OVERLOADS = sizeof overloads / sizeof *overloads };

/* -- Reading a signature -- */

/* Where the argument at p ends: at a comma outside parentheses. */
static const char *argument_end(const char *p) {
  for (int depth = 0; *p && (*p != ',' || depth); p++) depth += (*p == '(') - (*p == ')');
  return p;
}

static int dtype_named(const char *name, size_t n) {
  for (int i = 0; i < LN_DTYPES; i++)
    if (strlen(ln_dtype_name(i)) == n && strncmp(ln_dtype_name(i), name, n) == 0) return i;
  return LN_FLOAT32;
}

int ln_choice(const ln_param *param, const char *name, int length) {
  const char *p = param->choices;
  for (int i = 0; *p != ')'; i++) {
    int n = (int)strcspn(p, "|)");
    if (n == length && strncmp(p, name, (size_t)n) == 0) return i;
    p += n + (p[n] == '|');
  }
  return -1;
}

static int kind_of(const char *p) {
  static const char *const names[] = {"", "", "operand", "scalar", "int", "float", "bool", "ints", "dtype", "device", "enum", "generator"};
  size_t n = strcspn(p, "=?(,");
  for (int i = LN_KIND_OPERAND; i <= LN_KIND_GENERATOR; i++)
    if (strlen(names[i]) == n && strncmp(p, names[i], n) == 0) return i;
  return LN_KIND_TENSOR;
}

static void read_default(ln_param *param, const char *p, size_t n) {
  bool infinite = strncmp(p + (*p == '-'), "INFINITY", 8) == 0;
  param->has_default = true;
  switch (param->kind) {
  case LN_KIND_FLOAT: param->value.d = infinite ? (*p == '-' ? -INFINITY : INFINITY) : strtod(p, NULL); break;
  case LN_KIND_BOOL: param->value.i = *p == 't'; break;
  case LN_KIND_DTYPE: param->value.i = dtype_named(p, n); break;
  case LN_KIND_DEVICE: param->value.i = LN_CPU; break;
  case LN_KIND_ENUM: param->value.i = ln_choice(param, p, (int)n); break;
  default: param->value.i = strtoll(p, NULL, 10);
  }
}

/* One argument, from p to end; counts inputs and slots on. */
static ln_param read_argument(const char *p, const char *end, int *inputs, int *slots) {
  size_t length = strcspn(p, ":?[,");
  ln_param param = {.name = p, .length = (uint8_t)length, .input = -1, .slot = -1};
  const char *colon = p[length] == ':' ? p + length + 1 : NULL;
  if (colon) param.kind = (uint8_t)kind_of(colon);
  if (!colon && p[length] == '[') param.kind = LN_KIND_LIST;
  if (param.kind <= LN_KIND_OPERAND) param.input = (int8_t)(*inputs)++;
  if (colon) param.slot = (int8_t)(*slots)++;
  if (param.kind == LN_KIND_ENUM) param.choices = strchr(colon, '(') + 1;
  param.optional = end[-1] == '?';
  const char *equals = memchr(p, '=', (size_t)(end - p));
  if (equals) read_default(&param, equals + 1, (size_t)(end - equals - 1));
  return param;
}

static void read_signature(ln_op_row *r) {
  ln_param params[LN_MAX_INPUTS + LN_ATTR_SLOTS];
  int inputs = 0;
  for (const char *p = r->info.signature; *p;) {
    const char *end = argument_end(p);
    params[r->n_params] = read_argument(p, end, &inputs, &r->n_slots);
    const ln_param *param = &params[r->n_params++];
    if (param->has_default) r->defaults[param->slot] = param->value;
    p = end + strspn(end, ", ");
  }
  r->params = malloc(sizeof *params * (size_t)(r->n_params + 1));
  if (r->params) memcpy(r->params, params, sizeof *params * (size_t)r->n_params);
}

/* -- What is derived from the rows once -- */

static void init_elementwise(ln_op_row *r) {
  bool some = false;
  r->first_attr = r->info.kind == LN_UNARY ? 0 : r->info.kind + 1;
  for (int i = 0; i < 3 && r->info.derivative[i]; i++) {
    if (strcmp(r->info.derivative[i], "NONE") == 0) r->info.derivative[i] = NULL;
    some = some || r->info.derivative[i];
    r->passes[i] = r->info.derivative[i] && strcmp(r->info.derivative[i], "g") == 0;
  }
  r->info.grad = some ? LN_GRAD_FORMULA : LN_GRAD_NONE;
}

static void init_structured(ln_op_row *r) {
  if (r->info.grad == LN_GRAD_RECORDED) return;
  r->info.grad = r->backward && r->gradient_text ? LN_GRAD_FUSED : r->backward || r->gradient_text ? LN_GRAD_COMPOSED : LN_GRAD_NONE;
}

static ln_op_row *find(const char *name, size_t n) {
  for (int op = 0; op < LN_OP_COUNT; op++)
    if (strncmp(rows[op].info.name, name, n) == 0 && !rows[op].info.name[n]) return &rows[op];
  return NULL;
}

/* Does the form say what the overload is called, package_name of package.name or name_something of name? */
static bool is_called_after(const char *form, size_t n, const ln_overload *o) {
  size_t length = strlen(o->name), package = strcspn(o->name, ".");
  if (package == length) return n > length && strncmp(form, o->name, length) == 0 && form[length] == '_';
  return n == length && strncmp(form, o->name, package) == 0 && form[package] == '_' &&
         strncmp(form + package + 1, o->name + package + 1, n - package - 1) == 0;
}

/* Such forms exist under the overload's name alone. */
static void name_forms(const ln_overload *o) {
  for (const char *p = o->forms; *p; p += strspn(p, ", ")) {
    size_t n = strcspn(p, ", ");
    ln_op_row *r = find(p, n);
    if (r && is_called_after(p, n, o)) r->info.public_name = o->name;
    p += n;
  }
}

static void rows_init(void) {
  int pointwise = 0;
  for (int op = 0; op < LN_OP_COUNT; op++) {
    ln_op_row *r = &rows[op];
    bool structured = r->info.kind == LN_STRUCTURED;
    r->info.public_name = r->info.name;
    r->pointwise = structured ? -1 : pointwise++;
    read_signature(r);
    (structured ? init_structured : init_elementwise)(r);
  }
  for (int i = 0; i < N_OVERLOADS; i++) name_forms(&overloads[i]);
}

const ln_op_row *ln_row(int op) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, rows_init);
  return &rows[op];
}

const ln_op_row *ln_row_named(const char *name, int length) {
  ln_row(0);
  return find(name, (size_t)length);
}

int ln_op_count(void) { return LN_OP_COUNT; }

const ln_op_info *ln_op_at(int op) { return op >= 0 && op < LN_OP_COUNT ? &ln_row(op)->info : NULL; }

int ln_overload_count(void) { return N_OVERLOADS; }

const ln_overload *ln_overload_at(int i) { return i >= 0 && i < N_OVERLOADS ? &overloads[i] : NULL; }
