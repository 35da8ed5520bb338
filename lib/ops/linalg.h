/* linalg.h - what the rules of linear algebra share. They work on the host, on copies of the matrices that lie by columns: a tensor [..., n, m] there is
 * a batch of m by n matrices. What they give goes back to the device of the inputs. */
#ifndef LUNETTE_LINALG_H
#define LUNETTE_LINALG_H

#include "shape.h"

/* -- Checks -- */
bool r_check_matrices(ln_rule *r, const char *what, const ln_tensor *t); /* of 2 dims and more, of float32 or float64 */
bool r_check_square(ln_rule *r, const char *what, const ln_tensor *t);   /* and as many rows as columns */

/* -- Memory by columns -- */
ln_tensor *r_columns(ln_rule *r, ln_tensor *x);                                                        /* a copy of x */
ln_tensor *r_new_columns(ln_rule *r, const ln_tensor *like, int64_t rows, int64_t columns, bool zero); /* in the batch and dtype of another */
ln_tensor *r_new_vectors(ln_rule *r, const ln_tensor *like, int64_t n, int dtype);                     /* on the host, a vector for each matrix */
ln_tensor *r_by_rows(ln_rule *r, ln_tensor *columns);                                                  /* a look at the matrices */
ln_tensor *r_from_host(ln_rule *r, ln_tensor *t);                                                      /* on the device of the inputs */

/* -- LAPACK -- */
/* Work over the matrices of `a`, m and n being theirs. */
ln_lapack r_lapack(const ln_tensor *a, int kind);
/* Runs it. */
bool r_run_lapack(ln_rule *r, ln_lapack *work);
/* Has every matrix its result? Else an error with the text, in front of which stands the number of the matrix where a has several. */
bool r_succeeded(ln_rule *r, const ln_lapack *work, const ln_tensor *a, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The factors of A by columns, and which rows were exchanged; work is what LAPACK was asked and said. NULL when something failed, but not for a
 * singular matrix. */
ln_tensor *r_lu(ln_rule *r, ln_tensor *a, ln_tensor **pivots, ln_lapack *work);

/* -- Operators -- */
ln_tensor *r_eye(ln_rule *r, int64_t n, int dtype); /* on the device of the inputs */
ln_tensor *r_triangle(ln_rule *r, int op, ln_tensor *x, int64_t diagonal);
ln_tensor *r_identities(ln_rule *r, const ln_tensor *x, int64_t n); /* in the batch of x */
/* a and b with one batch, broadcast. */
bool r_same_batch(ln_rule *r, ln_tensor **a, ln_tensor **b);

#endif
