/* check.cu - elements that may not be what they are: an index outside its dimension, a divisor that is 0. The host does not wait: the first one that a
 * thread's checks find is written where the host looks when it next waits for the device (ln_gpu_violation). */
#include "cuda.h"

namespace cuda::check {

struct elements {
  ln_nest<1> nest;
  const char *data;
  int dtype;
  bool divisor;
  int64_t numel, low, high;

  LN_DEVICE int64_t at(int64_t i) const { return ln_load<int64_t>(data + nest.offset(i), LN_FIXED(DTYPE_0, dtype)); }
  LN_DEVICE bool wrong(int64_t i) const {
    const int64_t v = at(i);
    return LN_FIXED(KIND, divisor) ? v == 0 : v < low || v >= high;
  }
};

struct smaller {
  LN_DEVICE int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

/* One thread of the stream's one running kernel does this. What stands there already was found earlier. */
LN_DEVICE void report(const elements &x, int64_t first, ln_violation what, ln_violation *record) {
  if (first >= x.numel || record->kind) return;
  what.value = x.at(first);
  *record = what;
}

/* Few elements: one team looks at them and reports. */
struct few {
  elements x;
  ln_violation what, *record;
  template <class Team> LN_DEVICE void operator()(int64_t, const Team &team) const {
    int64_t first = INT64_MAX;
    for (int64_t i = team.rank(); i < x.numel && first == INT64_MAX; i += team.size())
      if (x.wrong(i)) first = i;
    first = team.all(first, smaller());
    if (team.rank() == 0) report(x, first, what, record);
  }
};

struct first_of_part {
  elements x;
  int64_t *out;
  template <class Team> LN_DEVICE void operator()(int64_t part, const Team &team) const {
    const int64_t end = (part + 1) * LN_PART < x.numel ? (part + 1) * LN_PART : x.numel;
    int64_t first = INT64_MAX;
    for (int64_t i = part * LN_PART + team.rank(); i < end && first == INT64_MAX; i += team.size())
      if (x.wrong(i)) first = i;
    first = team.all(first, smaller());
    if (team.rank() == 0) out[part] = first;
  }
};

struct first_of_all {
  elements x;
  const int64_t *parts;
  int64_t n;
  ln_violation what, *record;
  template <class Team> LN_DEVICE void operator()(int64_t, const Team &team) const {
    int64_t first = INT64_MAX;
    for (int64_t i = team.rank(); i < n; i += team.size())
      if (parts[i] < first) first = parts[i];
    first = team.all(first, smaller());
    if (team.rank() == 0) report(x, first, what, record);
  }
};

} // namespace cuda::check

#ifdef LN_HOST_CODE
#include "kernels.h"

const char *ln_gpu_check(const ln_check *job, int device) {
  using namespace cuda::check;
  const int64_t n = job->loop.numel, parts = (n + LN_PART - 1) / LN_PART;
  elements x = {ln_nest_of<1>(&job->loop, 1), job->loop.data[1], job->loop.dtype[1], job->what.kind == LN_CHECK_DIVISOR, n, job->low, job->high};
  ln_violation *record;
  ln_fixed fixed = ln_fixed::dtype(x.dtype).with(LN_FIX_KIND, x.divisor);
  ln_fix_nest(&fixed, x.nest);
  LN_GPU_TRY(ln_gpu_record(device, &record));
  if (parts <= 16) return ln_teams(device, 1, n, false, few{x, job->what, record}, fixed);
  ln_scratch scratch(device, (size_t)parts * sizeof(int64_t));
  LN_GPU_TRY(scratch.failure);
  int64_t *first = (int64_t *)scratch.memory;
  LN_GPU_TRY(ln_teams(device, parts, LN_PART, false, first_of_part{x, first}, fixed));
  return ln_teams(device, 1, parts, false, first_of_all{x, first, parts, job->what, record}, fixed);
}
#endif
