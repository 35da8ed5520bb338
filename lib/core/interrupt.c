/* interrupt.c - Ctrl-C: the wish that what runs should end, and the handler of SIGINT that has it. Nobody has it before ln_interrupt_catch is called,
 * so programs that carry Lunette keep their own handler. */
#include "../internal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

int ln_interrupt_state;

static struct {
  int (*sethook)(void *lua, void *hook, int mask, int count);
  void *lua, *hook;
  int mask, count;
  double patience;
  timer_t timer;
  bool has_timer, catching;
  struct sigaction former;
} catcher;

void ln_interrupt(void) {
  int expected = LN_RUNNING; /* what a kernel has noted stays */
  __atomic_compare_exchange_n(&ln_interrupt_state, &expected, LN_WANTED, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

bool ln_interrupted(void) { return ln_interrupt_from(LN_WANTED); }

static void set_timer(double seconds) {
  struct itimerspec at = {.it_value = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)}};
  if (catcher.has_timer) timer_settime(catcher.timer, 0, &at, NULL);
}

void ln_interrupt_clear(void) {
  __atomic_store_n(&ln_interrupt_state, LN_RUNNING, __ATOMIC_RELAXED);
  set_timer(0);
}

/* Everything here may be called in a signal handler; lua_sethook is made for it. */
static void on_signal(int number) {
  int kept = errno;
  if (catcher.patience > 0 && ln_interrupted()) { /* a second one, or the timer's: nothing heeds */
    signal(number, SIG_DFL);
    raise(number);
  } else {
    ln_interrupt();
    if (catcher.sethook) catcher.sethook(catcher.lua, catcher.hook, catcher.mask, catcher.count);
    set_timer(catcher.patience);
  }
  errno = kept;
}

/* The handler's stack. oneDNN's products use the stack pointer for other things: a signal that is handled on the stack of the thread writes into the heap
 * there. */
static void own_stack(void) {
  static char memory[1 << 16];
  stack_t former, stack = {.ss_sp = memory, .ss_size = sizeof memory};
  if (sigaltstack(NULL, &former) == 0 && (former.ss_flags & SS_DISABLE)) sigaltstack(&stack, NULL);
}

int ln_interrupt_catch(void *sethook, void *lua, void *hook, int mask, int count, double patience) {
  ln_interrupt_release();
  memcpy(&catcher.sethook, &sethook, sizeof sethook); /* ISO C has no cast from data to functions */
  catcher.lua = lua;
  catcher.hook = hook;
  catcher.mask = mask;
  catcher.count = count;
  catcher.patience = patience;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGINT};
  catcher.has_timer = patience > 0 && timer_create(CLOCK_MONOTONIC, &event, &catcher.timer) == 0;
  own_stack();
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK}; /* without SA_RESTART: reading ends too */
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGINT, &action, &catcher.former) != 0) return ln_fail("interrupt: SIGINT cannot be caught: %s", strerror(errno));
  catcher.catching = true;
  return LN_OK;
}

void ln_interrupt_release(void) {
  if (catcher.catching) sigaction(SIGINT, &catcher.former, NULL);
  if (catcher.has_timer) timer_delete(catcher.timer);
  catcher.catching = catcher.has_timer = false;
  ln_interrupt_clear();
}
