/* scope.c - lt.scope: tensors handed to Lua inside a scope belong to it and are released at its end, unless kept. */
#include "thread.h"

void ln_hand_out(ln_tensor *t) {
  ln_thread *me = ln_me();
  if (me->scope_depth == 0) return;
  ln_scope *s = &me->scopes[me->scope_depth - 1];
  if (!ln_grow(&s->made, &s->capacity, s->n + 1, sizeof *s->made)) return; /* lives until the process ends, harmless */
  if (t->scope_slot < 0) t->scope_slot = s->n;
  s->made[s->n++] = t;
}

int ln_scope_begin(void) {
  ln_thread *me = ln_me();
  if (!ln_grow(&me->scopes, &me->scope_capacity, me->scope_depth + 1, sizeof *me->scopes)) return ln_fail_nomem(sizeof *me->scopes);
  me->scopes[me->scope_depth++].n = 0;
  return LN_OK;
}

/* A tensor handed out several times stands in several slots; one of them is given up. */
int ln_scope_keep(ln_tensor *t) {
  ln_thread *me = ln_me();
  if (me->scope_depth == 0) return LN_OK;
  ln_scope *s = &me->scopes[me->scope_depth - 1];
  int at = t->scope_slot;
  if (at < 0 || at >= s->n || s->made[at] != t)
    for (at = s->n - 1; at >= 0 && s->made[at] != t; at--) {}
  if (at < 0) return ln_fail("scope: the tensor was not made in it");
  s->made[at] = NULL;
  t->scope_slot = -1;
  if (me->scope_depth > 1) {
    me->scope_depth--;
    ln_hand_out(t);
    me->scope_depth++;
  }
  return LN_OK;
}

void ln_scope_end(void) {
  ln_thread *me = ln_me();
  if (me->scope_depth == 0) return;
  ln_scope *s = &me->scopes[--me->scope_depth];
  for (int i = s->n - 1; i >= 0; i--) {
    ln_tensor *t = s->made[i];
    if (!t) continue;
    if (t->scope_slot == i) t->scope_slot = -1;
    ln_tensor_release(t);
  }
  s->n = 0;
}

int ln_scope_depth(void) { return ln_me()->scope_depth; }
