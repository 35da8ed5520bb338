/* program.h - a text of ops.def, compiled: what program.c makes and evaluate.c runs. */
#ifndef LUNETTE_PROGRAM_H
#define LUNETTE_PROGRAM_H

#include "../graph.h"

enum { LN_MAX_LOCALS = 24, LN_MAX_STACK = 24, LN_MAX_STATEMENTS = 32, LN_MAX_ARGUMENTS = 16 };

enum ln_code {
  LN_PUSH_NUMBER, /* number, whole when `whole` */
  LN_PUSH_BOOL,   /* a */
  LN_PUSH_NONE,
  LN_PUSH_INPUT,    /* input a */
  LN_PUSH_OUTPUT,   /* output a */
  LN_PUSH_GRADIENT, /* gradient of output a */
  LN_PUSH_EXTRA,
  LN_PUSH_ATTRIBUTE, /* parameter a of the row */
  LN_PUSH_LOCAL,
  LN_MAKE_LIST,   /* of the n topmost numbers */
  LN_CALL,        /* row a, n arguments; binds[b + i]: the parameter that argument i is for */
  LN_BUILTIN,     /* function a, n arguments */
  LN_JUMP_UNLESS, /* to a */
  LN_JUMP
};

typedef struct ln_instruction {
  uint8_t code, n;
  bool whole;
  int16_t a, b;
  double number;
} ln_instruction;

enum ln_target { LN_TO_LOCAL, LN_TO_GRADIENT, LN_TO_OUTPUT, LN_TO_EXTRA };

typedef struct ln_statement {
  int first, end; /* instructions */
  int target, index;
  uint32_t locals;   /* that it reads */
  uint64_t in;       /* inputs whose elements it reads; the last bit stands for all beyond */
  uint32_t out;      /* outputs that it reads */
  uint32_t gradient; /* gradients that it reads */
} ln_statement;

struct ln_program {
  ln_instruction *code;
  int n_code, code_capacity;
  uint8_t *binds;
  int n_binds, bind_capacity;
  ln_statement statements[LN_MAX_STATEMENTS];
  int n_statements, n_locals;
  uint64_t keep_in[LN_MAX_ARGUMENTS]; /* what the gradient of input i looks at: inputs, a bit each, the last for all beyond */
  uint32_t keep_out[LN_MAX_ARGUMENTS];
};

/* Functions of a text that are no operators. Those marked with x look at its geometry alone. */
enum ln_builtin {
  LN_FN_SHAPE,       /* shape(x): a list */
  LN_FN_NDIM,        /* ndim(x) */
  LN_FN_SIZE,        /* size(x, dim) */
  LN_FN_COUNT,       /* count(x, dims): how many elements the dims hold; dims absent or empty: all */
  LN_FN_DTYPE,       /* dtype(x) */
  LN_FN_ZEROS,       /* zeros(x) */
  LN_FN_HAS,         /* has(x): is an optional argument there? */
  LN_FN_SPREAD,      /* spread(t, x, dims): t, of which the dims of x were reduced, with these dims back, as 1 */
  LN_FN_WIDE,        /* wide(t): half types and whole numbers as float32 */
  LN_FN_CORNER,      /* corner(t, x): zeros in the shape of x with t in the corner at the origin */
  LN_FN_DIMS_BUT,    /* dims_but(x, dim): all dims of x but one */
  LN_FN_IS_FLOATING, /* is_floating(x) */
  LN_FN_LAST_DIMS,   /* last_dims(x, list): as many dims from the end as the list is long */
  LN_FN_CONSTANT,    /* constant(t): t as if it did not depend on anything */
  LN_FN_NUMBER,      /* K(n): n */
  LN_FN_FILLED,      /* filled(g1, y1): the gradient of an output, zeros where none came */
  LN_FN_COUNT_OF_ALL
};

/* The statements that are needed for the inputs of a mask, or, without one, for all outputs. */
uint32_t ln_program_live(const ln_program *p, const bool *needs, int n);

/* The formula of an elementwise row over numbers (core/numbers.c). */
double ln_formula_of_numbers(const ln_op_row *row, const double *operands, const double *attributes);

#endif
