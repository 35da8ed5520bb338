/* numbers.c - the elementwise rows of ops.def over plain numbers: what a text computes before it meets a tensor. */
#define LN_TYPE f64
#include "../../kernels/type.h"

#include "program.h"

#include "../../kernels/formula.h"

/* A formula as a function of its operands and its attributes. */
#define A0
#define A1(n0, d0)         \
  const double n0 = at[0]; \
  (void)n0;
#define A2(n0, d0, n1, d1)            \
  A1(n0, d0) const double n1 = at[1]; \
  (void)n1;
#define A3(n0, d0, n1, d1, n2, d2)            \
  A2(n0, d0, n1, d1) const double n2 = at[2]; \
  (void)n2;
#define FORMULA(name, attributes, operands, formula)                    \
  static double name##_of_numbers(const double *in, const double *at) { \
    (void)at;                                                           \
    attributes operands return (double)(formula);                       \
  }
/* No text computes with the bits of plain numbers. */
#define FORMULA_FLOAT FORMULA
#define FORMULA_SAME FORMULA
#define FORMULA_TEST FORMULA
#define FORMULA_WHOLE(...)
#define ENTRY_FLOAT(name) name##_of_numbers
#define ENTRY_SAME ENTRY_FLOAT
#define ENTRY_TEST ENTRY_FLOAT
#define ENTRY_WHOLE(name) NULL
#define OP(...)
#define OVERLOAD(...)
#define UNARY(name, class, cost, flags, attributes, doc, f, ...) FORMULA(name, attributes, const double x = in[0];, f)
#define BINARY(name, class, cost, flags, names, attributes, doc, f, ...) \
  FORMULA_##class(name, attributes, const double a = in[0]; const double b = in[1];, f)
#define TERNARY(name, class, cost, flags, names, attributes, doc, f, ...) \
  FORMULA(name, attributes, const double a = in[0]; const double b = in[1]; const double c = in[2];, f)
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY

static double (*const formulas[])(const double *, const double *) = {
#define UNARY(name, class, ...) ENTRY_##class(name),
#define BINARY UNARY
#define TERNARY UNARY
#include "../ops.def"
};

double ln_formula_of_numbers(const ln_op_row *row, const double *operands, const double *attributes) {
  return formulas[row->pointwise](operands, attributes);
}
