/* scan.cu - sums before each of many counts. */
#include "cuda.h"

namespace cuda::scan {

/* counts[0 .. n) become the sums before each, counts[n] the sum of all; one row. */
struct sums_before {
  int64_t *counts, n;
  template <class Team> LN_DEVICE void operator()(int64_t, const Team &team) const {
    int64_t sum = 0;
    for (int64_t first = 0; first < n; first += team.size()) {
      int64_t i = first + team.rank(), total, before = team.before(i < n ? counts[i] : 0, sum, ln_add(), &total);
      if (i < n) counts[i] = before;
      sum = total;
    }
    if (team.rank() == 0) counts[n] = sum;
  }
};

} // namespace cuda::scan

#ifdef LN_HOST_CODE
#include "kernels.h"

const char *ln_gpu_sums_before(int device, int64_t *counts, int64_t n) { return ln_teams(device, 1, n, false, cuda::scan::sums_before{counts, n}); }
#endif
