/* error.c - the thread's error text and the state of a thread. */
#include "thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

_Thread_local ln_thread *ln_thread_current __attribute__((tls_model("initial-exec")));

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static ln_thread fallback = {.mode = LN_MODE_GRAD}; /* when not even the state of a thread can be had */

static void thread_end(void *state) {
  ln_thread_current = state;
  ln_memory_trim();
  ln_thread_current = NULL;
  ln_thread *t = state;
  if (t->memory.tensors == 0 && t->memory.nodes == 0) {
    for (int i = 0; i < t->scope_capacity; i++) free(t->scopes[i].made);
    free(t->scopes);
    free(t->dead);
    ln_engine_drop(t->spare_engine);
    free(t);
  }
}

static void thread_key_make(void) { pthread_key_create(&thread_key, thread_end); }

ln_thread *ln_thread_new(void) {
  pthread_once(&thread_once, thread_key_make);
  ln_thread *t = calloc(1, sizeof *t);
  if (!t) return &fallback;
  t->mode = LN_MODE_GRAD;
  ln_thread_current = t;
  pthread_setspecific(thread_key, t);
  return t;
}

const char *ln_error(void) { return ln_me()->error; }

int ln_fail(const char *format, ...) {
  char text[sizeof ln_me()->error]; /* an argument may be the text that stands there */
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  memcpy(ln_me()->error, text, sizeof text);
  return LN_ERROR;
}

int ln_fail_nomem(int64_t bytes) {
  ln_fail("out of memory: %lld bytes could not be allocated", (long long)bytes);
  return LN_NOMEM;
}

int ln_fail_interrupted(void) { return ln_fail("interrupted"); }

int ln_kernel_status(const char *op, const char *failure) {
  if (!failure) return ln_interrupt_from(LN_CUT_SHORT) ? ln_fail_interrupted() : LN_OK;
  ln_fail("%s: %s", op, failure);
  return strcmp(failure, LN_OUT_OF_MEMORY) == 0 ? LN_NOMEM : LN_ERROR;
}

const char *ln_shape_text(const int64_t *shape, int ndim) {
  ln_thread *me = ln_me();
  char *text = me->shapes[me->next_shape++ % 4];
  int at = snprintf(text, 256, "{");
  for (int i = 0; i < ndim && at < 240; i++) at += snprintf(text + at, (size_t)(256 - at), i ? ", %lld" : "%lld", (long long)shape[i]);
  if (at > 254) at = 254;
  snprintf(text + at, (size_t)(256 - at), "}");
  return text;
}

const char *ln_dtype_name(int dtype) {
  static const char *const names[LN_DTYPES] = {"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"};
  return dtype >= 0 && dtype < LN_DTYPES ? names[dtype] : "no dtype";
}

bool ln_grow(void *array, int *capacity, int want, size_t item) {
  if (want <= *capacity) return true;
  int grown = *capacity ? *capacity * 2 : 16;
  if (grown < want) grown = want;
  void **slot = array;
  void *more = realloc(*slot, (size_t)grown * item);
  if (!more) return false;
  memset((char *)more + (size_t)*capacity * item, 0, (size_t)(grown - *capacity) * item);
  *slot = more;
  *capacity = grown;
  return true;
}
