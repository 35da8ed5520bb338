/* ctc.c - connectionist temporal classification, for one float type and instruction set. A sequence is the work of one thread; within a step the states
 * are independent, so that their exponentials and logarithms are vectors. */
#include "../../cpu.h"

#include "../../../formula.h"

/* Exponentials below change nothing beside 1; they are slow. */
#if LN_IS(LN_TYPE) == LN_IS_f32
#define LEAST K(-80)
#else
#define LEAST K(-700)
#endif

/* One sequence. All but x and alpha are in the room that the rule gave. */
typedef struct sequence {
  int64_t steps, states;
  const ln_t *x;      /* of its first step */
  ln_t *alpha;        /* of its first step and state */
  int64_t *label;     /* of each state */
  ln_t *skip;         /* what is added to the way from two states before: 0, or -inf where it would leave out a label or part a repetition */
  ln_t *beta, *share; /* backward */
} sequence;

/* log(exp(a) + exp(b) + exp(c)) */
LN_INLINE ln_t log_sum(ln_t a, ln_t b, ln_t c) {
  ln_t top = maximum(a, maximum(b, c)), shift = where(eq(top, -INFINITY), 0, top);
  ln_t sum = exp(maximum(a - shift, LEAST)) + exp(maximum(b - shift, LEAST)) + exp(maximum(c - shift, LEAST));
  return where(eq(top, -INFINITY), top, log(sum) + shift);
}

static sequence sequence_of(const ln_ctc *w, int64_t b) {
  const int64_t *target = w->targets + w->first[b], labels = w->target_lengths[b];
  double *room = w->room + b * LN_CTC_ROOM * w->width;
  sequence q = {.steps = w->input_lengths[b],
                .states = 2 * labels + 1,
                .x = (const ln_t *)w->x + b * w->x_batch,
                .alpha = (ln_t *)w->alpha + b * w->steps * w->width + LN_CTC_MARGIN,
                .label = (int64_t *)room,
                .skip = (ln_t *)(room + w->width),
                .beta = (ln_t *)(room + 2 * w->width),
                .share = (ln_t *)(room + 4 * w->width)};
  for (int64_t s = 0; s < q.states; s++) {
    q.label[s] = s % 2 ? target[s / 2] : w->blank;
    q.skip[s] = s > 1 && q.label[s] != q.label[s - 2] ? 0 : -INFINITY;
  }
  return q;
}

/* The log-probabilities of the states' labels at a step. */
static void emit(const ln_ctc *w, const sequence *q, int64_t t, ln_t *row) {
  const ln_t *x = q->x + t * w->x_step;
  for (int64_t s = 0; s < q->states; s++) row[s] = x[q->label[s]];
}

/* -- Forward -- */

static void forward_step(const sequence *q, const ln_t *before, ln_t *row) {
  const ln_t *skip = q->skip;
  LN_INDEPENDENT
  for (int64_t s = 0; s < q->states; s++) row[s] += log_sum(before[s], before[s - 1], before[s - 2] + skip[s]);
}

/* -log of the probability of all paths that have read the last label. */
static ln_t loss_of(const ln_ctc *w, const sequence *q) {
  if (q->steps == 0) return q->states > 1 ? INFINITY : 0;
  const ln_t *end = q->alpha + (q->steps - 1) * w->width + q->states - 1;
  return -log_sum(end[0], end[-1], -INFINITY);
}

const char *LN_FN(ctc)(const ln_ctc *w) {
  LN_SHARE(ln_cpu_threads(w->batch * w->steps * w->width, LN_GRAIN_HEAVY / 4), b, w->batch, 1, {
    sequence q = sequence_of(w, b);
    for (int64_t t = 0; t < q.steps; t++) {
      ln_t *row = q.alpha + t * w->width;
      for (int j = 1; j <= LN_CTC_MARGIN; j++) row[-j] = -INFINITY;
      emit(w, &q, t, row);
      for (int64_t s = 2; t == 0 && s < q.states; s++) row[s] = -INFINITY; /* a path begins with a blank or the first label */
      if (t > 0) forward_step(&q, row - w->width, row);
    }
    ln_t loss = loss_of(w, &q);
    ((ln_t *)w->loss)[b] = w->zero_infinity && loss == INFINITY ? 0 : loss;
  });
  return NULL;
}

/* -- Backward -- */

/* beta becomes the logarithm of the probability of all ways on from each state of a step. `next`: what it was for the step behind, with the labels of
 * that step, ended by LN_CTC_MARGIN times -inf. */
static void backward_step(const sequence *q, const ln_t *next, ln_t *beta) {
  const ln_t *skip = q->skip;
  LN_INDEPENDENT
  for (int64_t s = 0; s < q->states; s++) beta[s] = log_sum(next[s], next[s + 1], next[s + 2] + skip[s + 2]);
}

/* dx of a step, from the share that each state has in the probability of the labels. */
static void write_step(const ln_ctc *w, const sequence *q, int64_t t, ln_t g, ln_t *dx) {
  const ln_t *x = q->x + t * w->x_step, *share = q->share;
  ln_t blank = 0;
  LN_INDEPENDENT
  for (int64_t c = 0; c < w->classes; c++) dx[c] = exp(x[c]) * g;
  for (int64_t s = 0; s < q->states; s += 2) blank += share[s];
  for (int64_t s = 1; s < q->states; s += 2) dx[q->label[s]] -= share[s] * g;
  dx[w->blank] -= blank * g;
}

static void fill(ln_t *dx, int64_t n, ln_t value) {
  for (int64_t c = 0; c < n; c++) dx[c] = value;
}

static void backward(const ln_ctc *w, const sequence *q, ln_t loss, ln_t g, ln_t *dx) {
  ln_t *beta = q->beta, *next = q->beta + w->width, *share = q->share;
  q->skip[q->states] = q->skip[q->states + 1] = -INFINITY;
  fill(beta, q->states, -INFINITY);
  fill(next + q->states, LN_CTC_MARGIN, -INFINITY);
  beta[q->states - 1] = 0;
  if (q->states > 1) beta[q->states - 2] = 0;
  for (int64_t t = q->steps - 1; t >= 0; t--) {
    const ln_t *alpha = q->alpha + t * w->width;
    if (t < q->steps - 1) backward_step(q, next, beta);
    LN_INDEPENDENT
    for (int64_t s = 0; s < q->states; s++) share[s] = exp(alpha[s] + beta[s] + loss);
    write_step(w, q, t, g, dx + t * w->dx_step);
    emit(w, q, t, next);
    for (int64_t s = 0; s < q->states; s++) next[s] += beta[s];
  }
}

const char *LN_FN(ctc_dx)(const ln_ctc *w) {
  LN_SHARE(ln_cpu_threads(w->batch * w->steps * (w->width + w->classes), LN_GRAIN_HEAVY / 4), b, w->batch, 1, {
    sequence q = sequence_of(w, b);
    ln_t loss = loss_of(w, &q);
    ln_t *dx = (ln_t *)w->dx + b * w->dx_batch;
    bool possible = loss < INFINITY;
    if (possible) backward(w, &q, loss, ((const ln_t *)w->dloss)[b], dx);
    for (int64_t t = possible ? q.steps : 0; t < w->steps; t++)
      fill(dx + t * w->dx_step, w->classes, t >= q.steps || (w->zero_infinity && loss == INFINITY) ? 0 : NAN);
  });
  return NULL;
}
