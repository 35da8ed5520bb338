/* special.h - functions that no C library has, in double: the formulas of ops.def reach them through formula.h, in C and in CUDA C++. */
#ifndef LUNETTE_SPECIAL_H
#define LUNETTE_SPECIAL_H

#include "inline.h"

#include <math.h>
#include <stdint.h>

#define LN_PI 3.141592653589793

/* -- The gamma function's logarithmic derivatives -- */

/* digamma by its asymptotic series from 10 on, below by recurrence, below 0 by reflection; at the poles -copysign(inf, 0) and NaN. */
LN_INLINE double ln_digamma(double x) {
  const double series[8] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12, -3617.0 / 8160};
  double y = 0, z, sum = 0;
  if (x == 0) return copysign((double)INFINITY, -x);
  if (x < 0) {
    double part = x - floor(x);
    if (part == 0 || part != part) return NAN;
    y = -LN_PI / tan(LN_PI * part);
    x = 1 - x;
  }
  for (; x < 10; x += 1) y -= 1 / x;
  z = 1 / (x * x);
  for (int k = 7; k >= 0; k--) sum = (sum + series[k]) * z;
  return y + log(x) - 0.5 / x - sum;
}

/* The sum of (x + k)^-s over k = 0, 1, ..., x > 0, s > 1: ten terms one by one, the others by Euler and Maclaurin. */
LN_INLINE double ln_zeta_above(double s, double x) {
  const double series[12] = {8.3333333333333329e-2,  -1.3888888888888889e-3, 3.3068783068783071e-5,  -8.2671957671957675e-7,
                             2.08767569878681e-8,    -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
                             8.5860620562778452e-15, -2.174868698558062e-16, 5.5090028283602295e-18, -1.3954464685812522e-19};
  double sum = 0;
  for (int k = 0; k < 10; k++, x += 1) {
    double term = pow(x, -s);
    sum += term;
    if (!(term > sum * 1e-17)) return sum; /* nothing more to come, or infinite */
  }
  double power = pow(x, -s), factor = s / x, square = 1 / (x * x);
  sum += power * (x / (s - 1) + 0.5);
  for (int k = 0; k < 12; k++) {
    sum += power * factor * series[k];
    factor *= (s + 2 * k + 1) * (s + 2 * k + 2) * square;
  }
  return sum;
}

/* The same for any x and whole s: below 0 the terms on both sides of it are sums of their own. */
LN_INLINE double ln_zeta(double s, double x) {
  if (x > 0) return ln_zeta_above(s, x);
  double part = x - floor(x);
  if (part == 0) return INFINITY;
  if (part != part) return NAN;
  double below = ln_zeta_above(s, 1 - part) - ln_zeta_above(s, 1 - x);
  return ln_zeta_above(s, part) + (fmod(s, 2) == 0 ? below : -below);
}

/* The derivative of order n of digamma; NaN for a negative n. */
LN_INLINE double ln_polygamma(double n, double x) {
  if (n == 0) return ln_digamma(x);
  if (!(n > 0)) return NAN;
  double y = tgamma(n + 1) * ln_zeta(n + 1, x);
  return fmod(n, 2) == 0 ? -y : y;
}

/* -- Modified Bessel functions of the first kind, of order 0 and 1 -- */

/* The power series up to 8; above, sqrt(x) exp(-x) I(x) is a polynomial in 16 / x - 1, fitted with mpmath; both within a few units of the last place. */
LN_INLINE double ln_bessel(double x, int order, const double *far) {
  double size = fabs(x), t = size * size * 0.25, near = 1, sum = 0, end = size < 8 ? 8 : size > 1e4 ? 1e4 : size, v = 16 / end - 1;
  for (int k = 23; k > 0; k--) near = 1 + near * t * (1.0 / (k * (k + order)));
  for (int k = 20; k >= 0; k--) sum = sum * v + far[k];
  double half = exp(end * 0.5), high = half * sum / sqrt(end) * half, low = order ? near * size * 0.5 : near;
  double y = size <= 8 ? low : size > 8 ? high : x;
  return order && x < 0 ? -y : y;
}

LN_INLINE double ln_i0(double x) {
  const double far[21] = {0.40217650944500816,    3.3605519836670235e-3,  1.3621607437904054e-4,  1.1143033854011811e-5,  1.4838480973971801e-6,
                          2.9735845331509648e-7,  8.8713600387547075e-8,  3.9340297511352995e-8,  2.1620199017859248e-8,  7.4722687049004151e-9,
                          -7.1010934904762744e-9, -1.312290013299317e-8,  -4.3057274269883612e-9, 6.9191599461531431e-9,  5.1919580836693993e-9,
                          -2.5947610525034172e-9, -2.9337366286377844e-9, 6.7633829293190931e-10, 9.7357766250852424e-10, -8.979705022846649e-11,
                          -1.4824893214970786e-10};
  return ln_bessel(x, 0, far);
}

LN_INLINE double ln_i1(double x) {
  const double far[21] = {0.38939845902587228,    -9.7495771932349599e-3, -2.1923576382047057e-4,  -1.5038547258928557e-5, -1.8349106860450982e-6,
                          -3.4838427618706061e-7, -1.0000393426323456e-7, -4.3142539389023042e-8,  -2.3448682413065369e-8, -8.3516098212162734e-9,
                          7.1023061012586319e-9,  1.3770132829371482e-8,  4.8307021641857403e-9,   -7.057942662808609e-9,  -5.5590753458538014e-9,
                          2.5862787485621739e-9,  3.1008802702394666e-9,  -6.6191277838740821e-10, -1.0230972770946493e-9, 8.6722538659405589e-11,
                          1.5532708319177999e-10};
  return ln_bessel(x, 1, far);
}

/* -- The inverse of erf -- */

/* Giles, "Approximating the erfinv function" (2010): good to float for |x| up to 1 - 2^-24. */
#define LN_INVERSE_ERF(name, real, log, sqrt)                                   \
  LN_INLINE real name(real x) {                                                 \
    const real w = -log((1 - x) * (1 + x)), a = w - (real)2.5, b = sqrt(w) - 3; \
    real p = (real)2.81022636e-08, q = (real)-0.000200214257;                   \
    p = p * a + (real)3.43273939e-07, q = q * b + (real)0.000100950558;         \
    p = p * a + (real)-3.5233877e-06, q = q * b + (real)0.00134934322;          \
    p = p * a + (real)-4.39150654e-06, q = q * b + (real)-0.00367342844;        \
    p = p * a + (real)0.00021858087, q = q * b + (real)0.00573950773;           \
    p = p * a + (real)-0.00125372503, q = q * b + (real)-0.0076224613;          \
    p = p * a + (real)-0.00417768164, q = q * b + (real)0.00943887047;          \
    p = p * a + (real)0.246640727, q = q * b + (real)1.00167406;                \
    p = p * a + (real)1.50140941, q = q * b + (real)2.83297682;                 \
    return x * (x == 1 || x == -1 ? (real)INFINITY : w < 5 ? p : q);            \
  }

LN_INVERSE_ERF(ln_erfinv_f32, float, logf, sqrtf)
LN_INVERSE_ERF(ln_erfinv_guess, double, log, sqrt)

/* A step of Halley's method more. In the tails, where the guess ends, another one is coarser and takes three. */
LN_INLINE double ln_erfinv(double x) {
  double size = fabs(x);
  if (!(size < 1)) return size == 1 ? copysign((double)INFINITY, x) : NAN;
  double w = -log((1 - size) * (1 + size)), y = w > 16 ? sqrt(w - 0.5 * log(LN_PI * w) + 0.6931471805599453) : ln_erfinv_guess(size);
  for (int k = w > 16 ? 0 : 2; k < 3; k++) {
    double off = (size < 0.5 ? erf(y) - size : 1 - size - erfc(y)) * (0.8862269254527580 * exp(y * y));
    y -= off / (1 + y * off);
  }
  return copysign(y, x);
}

/* -- Neighbours -- */

/* The number next to a in the direction of b, in a type with so many significant bits whose smallest normal number has the exponent `least`, as frexp
 * counts it; in the type itself from 24 bits on. */
LN_INLINE float ln_towards_f32(float a, float b, int digits, int least) {
  int exponent = 0;
  if (digits >= 24 || !(a < b || a > b) || fabsf(a) > 3.4e38f) return nextafterf(a, b);
  if (a == 0) return copysignf(ldexpf(1, least - digits), b);
  float part = fabsf(frexpf(a, &exponent));
  int inwards = (a > 0) == (b < a) && part == 0.5f && exponent > least;
  float step = ldexpf(1, (exponent > least ? exponent : least) - digits - inwards);
  return a < b ? a + step : a - step;
}

#endif
