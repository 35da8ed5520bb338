/* nvrtc.c - a libnvrtc.so that compiles nothing, for specs of the CUDA plug-in: a program becomes a line with its name and its architecture.
 *
 *     FAKE_REFUSE   compiling fails, with this as the compiler's log      FAKE_LOG   a file that gets a line for each program */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct program {
  char name[256], result[512];
} program;

int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, 0; }
int nvrtcGetNumSupportedArchs(int *n) { return *n = 3, 0; }
int nvrtcGetSupportedArchs(int *list) { return list[0] = 75, list[1] = 90, list[2] = 120, 0; }
const char *nvrtcGetErrorString(int error) { return error == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
int nvrtcCreateProgram(program **out, const char *text, const char *name, int n, const char *const *headers, const char *const *names) {
  program *p = calloc(1, sizeof *p);
  snprintf(p->name, sizeof p->name, "%s", name);
  *out = p;
  return !text || n <= 0 || !headers || !names;
}
int nvrtcCompileProgram(program *p, int n, const char *const *options) {
  const char *architecture = "?", *path = getenv("FAKE_LOG");
  for (int k = 0; k < n; k++)
    if (!strncmp(options[k], "--gpu-architecture=", 19)) architecture = options[k] + 19;
  snprintf(p->result, sizeof p->result, "%s for %s", p->name, architecture);
  FILE *file = path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "compile %s\n", p->result);
    fclose(file);
  }
  return getenv("FAKE_REFUSE") ? 6 : 0;
}
int nvrtcDestroyProgram(program **p) { return free(*p), *p = NULL, 0; }
static const char *log_text(void) { return getenv("FAKE_REFUSE") ? getenv("FAKE_REFUSE") : ""; }
int nvrtcGetProgramLogSize(program *p, size_t *size) { return *size = strlen(log_text()) + 1, p == NULL; }
int nvrtcGetProgramLog(program *p, char *text) { return strcpy(text, log_text()), p == NULL; }
int nvrtcGetCUBINSize(program *p, size_t *size) { return *size = strlen(p->result) + 1, 0; }
int nvrtcGetCUBIN(program *p, char *to) { return strcpy(to, p->result), 0; }
int nvrtcGetPTXSize(program *p, size_t *size) { return nvrtcGetCUBINSize(p, size); }
int nvrtcGetPTX(program *p, char *to) { return nvrtcGetCUBIN(p, to); }
