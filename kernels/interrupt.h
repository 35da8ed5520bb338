/* interrupt.h - the state of an interrupt (lib/core/interrupt.c), which rules and the CPU's kernels look at. */
#ifndef LUNETTE_INTERRUPT_H
#define LUNETTE_INTERRUPT_H

#include <stdbool.h>

/* Is an interrupt wanted (ln_interrupt)? A kernel that takes long leaves the rest of its work undone then and notes it here. */
enum ln_interrupt_states { LN_RUNNING, LN_WANTED, LN_CUT_SHORT };
extern int ln_interrupt_state;
static inline bool ln_interrupt_from(int state) { return __builtin_expect(__atomic_load_n(&ln_interrupt_state, __ATOMIC_RELAXED) >= state, 0); }
static inline bool ln_cut_short(void) {
  if (!ln_interrupt_from(LN_WANTED)) return false;
  __atomic_store_n(&ln_interrupt_state, LN_CUT_SHORT, __ATOMIC_RELAXED);
  return true;
}

#endif
