/* threads.c - OS threads that each open a Lua state, use Lunette, close the state and end; argument: the Lua text. Prints "all ended". */
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>

enum { THREADS = 4, ROUNDS = 3 };

static const char *text;

static void *run(void *failed) {
  for (int i = 0; i < ROUNDS; i++) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_dostring(L, text)) {
      fprintf(stderr, "%s\n", lua_tostring(L, -1));
      *(int *)failed = 1;
    }
    lua_close(L);
  }
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  int failed[THREADS] = {0}, any = argc < 2;
  text = argv[1];
  for (int i = 0; i < THREADS && !any; i++) pthread_create(&threads[i], NULL, run, &failed[i]);
  for (int i = 0; i < THREADS && argc > 1; i++) {
    pthread_join(threads[i], NULL);
    any |= failed[i];
  }
  if (!any) puts("all ended");
  return any;
}
