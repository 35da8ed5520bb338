/* rows.h - the elementwise rows of ops.def, expanded alike for every device. Include it once, after formula.h and these four:
 *
 *     BLOCK(function, inputs, attributes, operands, formula)   defines a function of one formula; `attributes` declares its attributes from
 *                                                              at[0 .. 2], `operands` the names it mentions
 *     INPUT(k)                                                 input k of the element at hand
 *     ENTRY(function)                                          how the table names a function
 *     ROW(cost, f, d0, d1, d2)                                 an entry of the table: the formula and its derivatives, NULL where there is none
 *
 * It defines all functions, and leaves the rows' names such that including ops.def again gives the table's entries. Integers have no rows of
 * class FLOAT and no derivatives, bytes (bool) only those of class TEST, floats none of class WHOLE. */
#ifndef LUNETTE_ROWS_H
#define LUNETTE_ROWS_H

#define A0
#define A1(n0, d0)                \
  const ln_t n0 = ln_attr(at[0]); \
  (void)n0;
#define A2(n0, d0, n1, d1)                   \
  A1(n0, d0) const ln_t n1 = ln_attr(at[1]); \
  (void)n1;
#define A3(n0, d0, n1, d1, n2, d2)                   \
  A2(n0, d0, n1, d1) const ln_t n2 = ln_attr(at[2]); \
  (void)n2;

#define USE(name, k)          \
  const ln_t name = INPUT(k); \
  (void)name;
#define IN_UNARY USE(x, 0)
#define IN_BINARY USE(a, 0) USE(b, 1)
#define IN_TERNARY USE(a, 0) USE(b, 1) USE(c, 2)
#define GRAD_UNARY USE(g, 0) USE(x, 1) USE(y, 2)
#define GRAD_BINARY USE(g, 0) USE(a, 1) USE(b, 2) USE(y, 3)
#define GRAD_TERNARY USE(g, 0) USE(a, 1) USE(b, 2) USE(c, 3) USE(y, 4)

#define OP(...)
#define OVERLOAD(...)
#ifdef LN_BYTE
#define KEEP_SAME(...)
#define SLOT_SAME(f) NULL
#else
#define KEEP_SAME(...) __VA_ARGS__
#define SLOT_SAME(f) ENTRY(f)
#endif
#if defined(LN_INTEGER) && !defined(LN_BYTE)
#define KEEP_WHOLE(...) __VA_ARGS__
#define SLOT_WHOLE(f) ENTRY(f)
#else
#define KEEP_WHOLE(...)
#define SLOT_WHOLE(f) NULL
#endif
#define KEEP_TEST(...) __VA_ARGS__
#define SLOT_TEST(f) ENTRY(f)
#ifdef LN_INTEGER
#define KEEP_FLOAT(...)
#define SLOT_FLOAT(f) NULL
#define DERIVATIVE(...)
#define SLOT_D(f) NULL
#else
#define NONE K(0)
#define KEEP_FLOAT(...) __VA_ARGS__
#define SLOT_FLOAT(f) ENTRY(f)
#define DERIVATIVE(...) BLOCK(__VA_ARGS__)
#define SLOT_D(f) ENTRY(f)
#endif

#define SLOT_D_FLOAT(f) SLOT_D(f)
#define SLOT_D_SAME(f) SLOT_D(f)
#define SLOT_D_TEST(f) SLOT_D(f)
#define SLOT_D_WHOLE(f) NULL
#define UNARY(name, class, cost, flags, attrs, doc, f, dx, low, high) \
  KEEP_##class(BLOCK(name##_f, 1, attrs, IN_UNARY, f) DERIVATIVE(name##_d0, 3, attrs, GRAD_UNARY, dx))
#define BINARY(name, class, cost, flags, names, attrs, doc, f, da, db, low, high)                       \
  KEEP_##class(BLOCK(name##_f, 2, attrs, IN_BINARY, f) DERIVATIVE(name##_d0, 4, attrs, GRAD_BINARY, da) \
                 DERIVATIVE(name##_d1, 4, attrs, GRAD_BINARY, db))
#define TERNARY(name, class, cost, flags, names, attrs, doc, f, da, db, dc, low, high)                    \
  KEEP_##class(BLOCK(name##_f, 3, attrs, IN_TERNARY, f) DERIVATIVE(name##_d0, 5, attrs, GRAD_TERNARY, da) \
                 DERIVATIVE(name##_d1, 5, attrs, GRAD_TERNARY, db) DERIVATIVE(name##_d2, 5, attrs, GRAD_TERNARY, dc))
#include "../lib/ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY

#define UNARY(name, class, cost, ...) ROW(cost, SLOT_##class(name##_f), SLOT_D_##class(name##_d0), NULL, NULL)
#define BINARY(name, class, cost, ...) ROW(cost, SLOT_##class(name##_f), SLOT_D_##class(name##_d0), SLOT_D_##class(name##_d1), NULL)
#define TERNARY(name, class, cost, ...) \
  ROW(cost, SLOT_##class(name##_f), SLOT_D_##class(name##_d0), SLOT_D_##class(name##_d1), SLOT_D_##class(name##_d2))

#endif
