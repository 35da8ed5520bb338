/* table.c - the operator table: the rows of ops.def, and what is derived from them once. */
#include "../ops/rules.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { COST_CHEAP, COST_DEAR };
enum {
  VIEW = LN_FLAG_VIEW,
  INPLACE = LN_FLAG_INPLACE,
  MIXED_DEVICES = LN_FLAG_MIXED_DEVICES,
  CONDITION = LN_FLAG_CONDITION,
  BOOL_COUNTS = LN_FLAG_BOOL_COUNTS,
  BOUNDS = LN_FLAG_BOUNDS,
  NO_BOOL = LN_FLAG_NO_BOOL,
  DIVISOR = LN_FLAG_DIVISOR,
  WHOLE_POWER = LN_FLAG_WHOLE_POWER
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
            .grad = 3,                                                                          \
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

#define GRAD_NOGRAD 0
#define GRAD_COMPOSED 1
#define GRAD_FUSED 2
#define GRAD_COMPOSITE LN_GRAD_COMPOSITE
#define BACKWARD_NOGRAD(name) .backward = NULL
#define BACKWARD_COMPOSITE(name) .backward = NULL
#define BACKWARD_COMPOSED(name) .backward = name##_backward, .backward_any = name##_backward
#define BACKWARD_FUSED(name) .backward = name##_backward, .backward_any = name##_backward_any
#define TEXT_TENSOR(name) ", " #name
#define TEXT_OPTIONAL(name) ", " #name "?"
#define TEXT_LIST(name) ", " #name "[]"
#define TEXT_OPERAND(name) ", " #name ":operand"
#define TEXT_ATTRIBUTE(name, kind, default) ", " #name ":" #kind #default
#define SIGNATURE(name) SIG_##name(TEXT_TENSOR, TEXT_OPTIONAL, TEXT_LIST, TEXT_OPERAND, TEXT_ATTRIBUTE)
#define ROW_OP(name_, outputs, grad_, flags_, doc_)                                    \
  {.info = {.name = #name_,                                                            \
            .signature = SIGNATURE(name_) + 2, /* the first argument needs no comma */ \
            .doc = doc_,                                                               \
            .kind = LN_STRUCTURED,                                                     \
            .n_outputs = outputs,                                                      \
            .grad = GRAD_##grad_,                                                      \
            .flags = flags_},                                                          \
   .forward = name_##_forward,                                                         \
   BACKWARD_##grad_(name_)},

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

/* -- What is derived from the rows once -- */

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

/* Does the formula mention the one-letter name? */
static bool mentions(const char *text, char name) {
  for (const char *p = text; *p; p++)
    if (*p == name && !is_word(p[1]) && (p == text || !is_word(p[-1]))) return true;
  return false;
}

static uint32_t kept_by(const char *text, int kind) {
  const char *names = kind == LN_UNARY ? "x" : "abc";
  uint32_t keep = mentions(text, 'y') ? 8 : 0;
  for (int i = 0; names[i]; i++) keep |= mentions(text, names[i]) ? 1u << i : 0;
  return keep;
}

/* The slots of a signature: what stands behind a name and a colon. */
static int count_slots(const char *signature) {
  int n = 0;
  for (const char *p = signature; *p; p++) n += *p == ':';
  return n;
}

/* The defaults of an elementwise row's attributes, which are numbers or INFINITY. */
static void parse_defaults(ln_op_row *r) {
  const char *p = r->info.signature;
  for (int i = 0; (p = strchr(p, '=')); i++) {
    p++;
    bool infinite = strncmp(p + (*p == '-'), "INFINITY", 8) == 0;
    r->defaults[i] = infinite ? (*p == '-' ? -INFINITY : INFINITY) : strtod(p, NULL);
  }
}

static void init_elementwise(ln_op_row *r) {
  parse_defaults(r);
  r->first_attr = r->info.kind == LN_UNARY ? 0 : r->info.kind + 1;
  for (int i = 0; i < 3 && r->info.derivative[i]; i++) {
    if (strcmp(r->info.derivative[i], "NONE") == 0)
      r->info.derivative[i] = NULL;
    else
      r->passes[i] = strcmp(r->info.derivative[i], "g") == 0, r->keep[i] = kept_by(r->info.derivative[i], r->info.kind);
  }
  const char *const *d = r->info.derivative;
  if (!d[0] && !d[1] && !d[2]) r->info.grad = 0;
}

static ln_op_row *find(const char *name, size_t n) {
  for (int op = 0; op < LN_OP_COUNT; op++)
    if (strncmp(rows[op].info.name, name, n) == 0 && !rows[op].info.name[n]) return &rows[op];
  return NULL;
}

/* Forms called name_something exist under the overload's name alone. */
static void name_forms(const ln_overload *o) {
  size_t length = strlen(o->name);
  for (const char *p = o->forms; *p; p += strspn(p, ", ")) {
    size_t n = strcspn(p, ", ");
    ln_op_row *r = find(p, n);
    if (r && strncmp(p, o->name, length) == 0 && p[length] == '_') r->info.public_name = o->name;
    p += n;
  }
}

static void rows_init(void) {
  int pointwise = 0;
  for (int op = 0; op < LN_OP_COUNT; op++) {
    ln_op_row *r = &rows[op];
    r->info.public_name = r->info.name;
    r->n_slots = count_slots(r->info.signature);
    r->pointwise = r->info.kind == LN_STRUCTURED ? -1 : pointwise++;
    if (r->pointwise >= 0) init_elementwise(r);
  }
  for (int i = 0; i < N_OVERLOADS; i++) name_forms(&overloads[i]);
}

const ln_op_row *ln_row(int op) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, rows_init);
  return &rows[op];
}

int ln_op_count(void) { return LN_OP_COUNT; }

const ln_op_info *ln_op_at(int op) { return op >= 0 && op < LN_OP_COUNT ? &ln_row(op)->info : NULL; }

int ln_overload_count(void) { return N_OVERLOADS; }

const ln_overload *ln_overload_at(int i) { return i >= 0 && i < N_OVERLOADS ? &overloads[i] : NULL; }
