/* ctc.cu - connectionist temporal classification: a team a sequence, whose threads share the states of a step and wait for each other between steps. */
#include "cuda.h"

namespace cuda::ctc {

/* log(exp(a) + exp(b) + exp(c)) */
template <class T> LN_DEVICE T log_sum(T a, T b, T c) {
  const ln_larger larger;
  const T top = larger(a, larger(b, c));
  return top == (T)-INFINITY ? top : log(exp(a - top) + exp(b - top) + exp(c - top)) + top;
}

/* One sequence; the places are those of kernels.h. A label outside the classes, which a check before reports later, is taken as 0. */
template <class T> struct sequence {
  const ln_ctc &w;
  int64_t b, steps, states;
  const int64_t *target;
  const T *x;
  T *alpha;
  LN_DEVICE sequence(const ln_ctc &job, int64_t i) : w(job), b(i), steps(job.input_lengths[i]), states(2 * job.target_lengths[i] + 1) {
    target = w.targets + w.first[b];
    x = (const T *)w.x + b * w.x_batch;
    alpha = (T *)w.alpha + b * w.steps * w.width + LN_CTC_MARGIN;
  }
  LN_DEVICE int64_t label(int64_t s) const {
    const int64_t own = s % 2 ? target[s / 2] : w.blank;
    return own < 0 || own >= w.classes ? 0 : own;
  }
  LN_DEVICE T emitted(int64_t t, int64_t s) const { return x[t * w.x_step + label(s)]; }
  /* Can a path go on to state s from two states before? */
  LN_DEVICE bool skips(int64_t s) const { return s > 1 && s < states && label(s) != label(s - 2); }
  LN_DEVICE T loss() const {
    if (steps == 0) return states > 1 ? (T)INFINITY : (T)0;
    const T *end = alpha + (steps - 1) * w.width + states - 1;
    return -log_sum<T>(end[0], end[-1], (T)-INFINITY);
  }
};

template <class T> struct forward {
  ln_ctc w;
  template <class Team> LN_DEVICE void operator()(int64_t b, const Team &team) const {
    const sequence<T> q(w, b);
    for (int64_t t = 0; t < q.steps; t++) {
      T *row = q.alpha + t * w.width;
      const T *before = row - w.width;
      if (team.rank() == 0)
        for (int j = 1; j <= LN_CTC_MARGIN; j++) row[-j] = (T)-INFINITY;
      for (int64_t s = team.rank(); s < q.states; s += team.size()) {
        if (t == 0)
          row[s] = s < 2 ? q.emitted(t, s) : (T)-INFINITY;
        else
          row[s] = q.emitted(t, s) + log_sum<T>(before[s], before[s - 1], q.skips(s) ? before[s - 2] : (T)-INFINITY);
      }
      team.wait();
    }
    if (team.rank()) return;
    const T loss = q.loss();
    ((T *)w.loss)[b] = w.zero_infinity && loss == (T)INFINITY ? (T)0 : loss;
  }
};

/* In the room: the ways on of two steps, by turns; the share of each state; for each label the next one like it, and whether it is the first. */
template <class T> struct backward {
  ln_ctc w;

  LN_DEVICE T *ways(int64_t b, int64_t t) const { return (T *)(w.room + (b * LN_CTC_ROOM + t % 2) * w.width); }
  LN_DEVICE T *shares(int64_t b) const { return (T *)(w.room + (b * LN_CTC_ROOM + 2) * w.width); }
  LN_DEVICE int64_t *next(int64_t b) const { return (int64_t *)(w.room + (b * LN_CTC_ROOM + 3) * w.width); }
  LN_DEVICE int64_t *is_first(int64_t b) const { return (int64_t *)(w.room + (b * LN_CTC_ROOM + 4) * w.width); }

  template <class Team> LN_DEVICE void link(const sequence<T> &q, const Team &team) const {
    for (int64_t s = 1 + 2 * team.rank(); s < q.states; s += 2 * team.size()) {
      int64_t later = s + 2, earlier = s - 2;
      while (later < q.states && q.label(later) != q.label(s)) later += 2;
      while (earlier > 0 && q.label(earlier) != q.label(s)) earlier -= 2;
      next(q.b)[s] = later;
      is_first(q.b)[s] = earlier < 0;
    }
  }

  LN_DEVICE T way_on(const sequence<T> &q, int64_t t, int64_t s) const {
    const T *after = ways(q.b, t + 1), none = (T)-INFINITY;
    if (t == q.steps - 1) return s >= q.states - 2 ? (T)0 : none;
    return log_sum<T>(after[s], s + 1 < q.states ? after[s + 1] : none, q.skips(s + 2) ? after[s + 2] : none);
  }

  /* dx of a step: one thread adds up what belongs to a class. */
  template <class Team> LN_DEVICE void write(const sequence<T> &q, int64_t t, T g, const Team &team) const {
    T *dx = (T *)w.dx + q.b * w.dx_batch + t * w.dx_step;
    const T *x = q.x + t * w.x_step, *share = shares(q.b);
    T blank = 0;
    for (int64_t c = team.rank(); c < w.classes; c += team.size()) dx[c] = exp(x[c]) * g;
    for (int64_t s = 2 * team.rank(); s < q.states; s += 2 * team.size()) blank += share[s];
    blank = team.all(blank, ln_add());
    for (int64_t s = 1 + 2 * team.rank(); s < q.states; s += 2 * team.size()) {
      if (!is_first(q.b)[s]) continue;
      T sum = 0;
      for (int64_t k = s; k < q.states; k = next(q.b)[k]) sum += share[k];
      dx[q.label(s)] -= sum * g;
    }
    team.wait();
    if (team.rank() == 0) dx[w.blank] -= blank * g;
    team.wait();
  }

  template <class Team> LN_DEVICE void operator()(int64_t b, const Team &team) const {
    const sequence<T> q(w, b);
    const T loss = q.loss(), g = ((const T *)w.dloss)[b];
    const bool possible = loss < (T)INFINITY;
    for (int64_t t = possible ? q.steps : 0; t < w.steps; t++) {
      const T value = t >= q.steps || (w.zero_infinity && loss == (T)INFINITY) ? (T)0 : (T)NAN;
      for (int64_t c = team.rank(); c < w.classes; c += team.size()) ((T *)w.dx)[b * w.dx_batch + t * w.dx_step + c] = value;
    }
    if (!possible) return;
    link(q, team);
    for (int64_t t = q.steps - 1; t >= 0; t--) {
      for (int64_t s = team.rank(); s < q.states; s += team.size()) {
        const T way = way_on(q, t, s);
        shares(b)[s] = exp(q.alpha[t * w.width + s] + way + loss);
        ways(b, t)[s] = way + q.emitted(t, s);
      }
      team.wait();
      write(q, t, g, team);
    }
  }
};

} // namespace cuda::ctc

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::ctc;

const char *ln_gpu_ctc(const ln_ctc *w, int device) {
#define CTC(T) ln_teams(device, w->batch, w->width, false, forward<T>{*w})
  LN_BY_FLOAT(w->dtype, CTC);
}

const char *ln_gpu_ctc_dx(const ln_ctc *w, int device) {
#define CTC_DX(T) ln_teams(device, w->batch, w->width > w->classes ? w->width : w->classes, false, backward<T>{*w})
  LN_BY_FLOAT(w->dtype, CTC_DX);
}
#endif
