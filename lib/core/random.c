/* random.c - generators: a seed and how many blocks of its stream were taken (docs/random.md). The numbers are the kernels' (kernels/philox.h). */
#include "../internal.h"

#include <stdlib.h>

struct ln_generator {
  uint64_t seed, offset;
};

#define FIRST_SEED 67280421310721u

static _Thread_local ln_generator *standard, *in_use;

int ln_generator_new(ln_generator **out) {
  *out = malloc(sizeof **out);
  if (!*out) return ln_fail_nomem(sizeof **out);
  **out = (ln_generator){.seed = FIRST_SEED};
  return LN_OK;
}

void ln_generator_free(ln_generator *g) {
  if (in_use == g) in_use = NULL;
  free(g);
}

/* It is never freed: a Lua state may outlive the thread that opened it. */
ln_generator *ln_generator_default(void) {
  static ln_generator spare = {.seed = FIRST_SEED};
  if (!standard && ln_generator_new(&standard) != LN_OK) standard = &spare;
  return standard;
}

void ln_generator_seed(ln_generator *g, uint64_t seed) { *g = (ln_generator){.seed = seed}; }

void ln_generator_get(const ln_generator *g, uint64_t *seed, uint64_t *offset) {
  *seed = g->seed;
  *offset = g->offset;
}

void ln_generator_set(ln_generator *g, uint64_t seed, uint64_t offset) { *g = (ln_generator){seed, offset}; }

void ln_generator_use(ln_generator *g) { in_use = g; }

void ln_random_reserve(uint64_t blocks, uint64_t *seed, uint64_t *offset) {
  ln_generator *g = in_use ? in_use : ln_generator_default();
  *seed = g->seed;
  *offset = g->offset;
  g->offset += blocks;
}

void ln_random_draw(ln_random *r) {
  uint64_t n = (uint64_t)r->loop.numel, per = (uint64_t)ln_random_per_block(r);
  ln_random_reserve((n + per - 1) / per, &r->seed, &r->offset);
}
