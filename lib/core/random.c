/* random.c - generators: a seed and how many numbers were taken. The numbers themselves are the kernels' (kernels/philox.h). */
#include "../internal.h"

#include <stdlib.h>

struct ln_generator {
  uint64_t seed, offset;
};

static _Thread_local ln_generator standard = {.seed = 67280421310721u};
static _Thread_local ln_generator *in_use;

int ln_generator_new(ln_generator **out) {
  *out = malloc(sizeof **out);
  if (!*out) return ln_fail_nomem(sizeof **out);
  **out = (ln_generator){.seed = 67280421310721u};
  return LN_OK;
}

void ln_generator_free(ln_generator *g) {
  if (in_use == g) in_use = NULL;
  if (g != &standard) free(g);
}

ln_generator *ln_generator_default(void) { return &standard; }

void ln_generator_seed(ln_generator *g, uint64_t seed) { *g = (ln_generator){.seed = seed}; }

void ln_generator_get(const ln_generator *g, uint64_t *seed, uint64_t *offset) {
  *seed = g->seed;
  *offset = g->offset;
}

void ln_generator_set(ln_generator *g, uint64_t seed, uint64_t offset) { *g = (ln_generator){seed, offset}; }

void ln_generator_use(ln_generator *g) { in_use = g; }

void ln_random_reserve(uint64_t count, uint64_t *seed, uint64_t *offset) {
  ln_generator *g = in_use ? in_use : &standard;
  *seed = g->seed;
  *offset = g->offset;
  g->offset += count;
}
