/* label_margin.cu - what multilabel_margin_loss makes of each row, a team a row. A label outside the classes, which a check before reports later, is taken
 * as 0. */
#include "cuda.h"

namespace cuda::label_margin {

struct smaller {
  LN_DEVICE int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

template <class T> struct row_of {
  const ln_label_margin &w;
  const T *x;
  const int64_t *target;
  uint8_t *others;
  LN_DEVICE row_of(const ln_label_margin &job, int64_t row)
      : w(job), x((const T *)job.x + row * job.classes), target(job.targets + row * job.classes), others(job.others + row * job.classes) {}
  LN_DEVICE int64_t label(int64_t t) const { return target[t] < w.classes ? target[t] : 0; }
  LN_DEVICE T margin(int64_t t, int64_t k) const { return 1 - x[label(t)] + x[k]; }
  template <class Team> LN_DEVICE int64_t labels(const Team &team) const {
    int64_t first = w.classes;
    for (int64_t t = team.rank(); t < w.classes && first == w.classes; t += team.size())
      if (target[t] < 0) first = t;
    return team.all(first, smaller());
  }
};

template <class T> struct forward {
  ln_label_margin w;
  template <class Team> LN_DEVICE void operator()(int64_t i, const Team &team) const {
    const row_of<T> row(w, i);
    const int64_t labels = row.labels(team);
    double sum = 0;
    for (int64_t k = team.rank(); k < w.classes; k += team.size()) row.others[k] = 1;
    team.wait();
    for (int64_t t = team.rank(); t < labels; t += team.size()) row.others[row.label(t)] = 0;
    team.wait();
    for (int64_t k = team.rank(); k < w.classes; k += team.size())
      for (int64_t t = 0; t < labels && row.others[k]; t++) {
        const T margin = row.margin(t, k);
        sum += margin <= 0 ? (T)0 : margin;
      }
    sum = team.all(sum, ln_add());
    if (team.rank() == 0) ((T *)w.y)[i] = (T)(sum / (double)w.classes);
  }
};

/* A thread writes the gradients of its classes: a label loses what the others gain by it. */
template <class T> struct gradient {
  ln_label_margin w;
  LN_DEVICE int64_t gained(const row_of<T> &row, int64_t t) const {
    int64_t hits = 0;
    for (int64_t k = 0; k < w.classes; k++) hits += row.others[k] && row.margin(t, k) > 0;
    return hits;
  }
  template <class Team> LN_DEVICE void operator()(int64_t i, const Team &team) const {
    const row_of<T> row(w, i);
    const int64_t labels = row.labels(team);
    const T g = ((const T *)w.dy)[i] / (T)w.classes;
    for (int64_t k = team.rank(); k < w.classes; k += team.size()) {
      int64_t hits = 0;
      for (int64_t t = 0; t < labels; t++) {
        if (row.others[k])
          hits += row.margin(t, k) > 0;
        else if (row.label(t) == k)
          hits -= gained(row, t);
      }
      ((T *)w.dx)[i * w.classes + k] = (T)hits * g;
    }
  }
};

} // namespace cuda::label_margin

#ifdef LN_HOST_CODE
#include "kernels.h"

using namespace cuda::label_margin;

const char *ln_gpu_label_margin(const ln_label_margin *w, int device) {
#define MARGIN(T) ln_teams(device, w->rows, w->classes, false, forward<T>{*w})
  LN_BY_FLOAT(w->dtype, MARGIN);
}

const char *ln_gpu_label_margin_dx(const ln_label_margin *w, int device) {
#define MARGIN_DX(T) ln_teams(device, w->rows, w->classes, false, gradient<T>{*w})
  LN_BY_FLOAT(w->dtype, MARGIN_DX);
}
#endif
