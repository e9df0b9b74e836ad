// The selective scan from C: a whole sequence in one call, and the same sequence token by token, give the same bits.
#include "mamba_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 37, CHANNELS = 24, D_STATE = 16 };

static int failures = 0;

static void expect(int condition, const char *what) {
  if (!condition) {
    fprintf(stderr, "FAILED: %s (last error: %s)\n", what, mamba_last_error());
    failures++;
  }
}

static MambaRows rows(const float *data, size_t count, size_t cols, size_t stride) {
  return (MambaRows){.data = data, .rows = count, .cols = cols, .stride = stride};
}

// numbers in [-1, 1) that are the same everywhere
static void fill(float *values, size_t count, unsigned seed) {
  for (size_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    values[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
  }
}

int main(void) {
  static float u[TOKENS * CHANNELS], delta[TOKENS * CHANNELS], z[TOKENS * CHANNELS];
  static float bc[TOKENS * 2 * D_STATE], a[D_STATE * CHANNELS], d[CHANNELS];
  static float whole[TOKENS * CHANNELS], stepped[TOKENS * CHANNELS];
  static float state[D_STATE * CHANNELS], step_state[D_STATE * CHANNELS];
  fill(u, TOKENS * CHANNELS, 1);
  fill(delta, TOKENS * CHANNELS, 2);
  fill(z, TOKENS * CHANNELS, 3);
  fill(bc, TOKENS * 2 * D_STATE, 4);
  fill(d, CHANNELS, 5);
  for (size_t n = 0; n < D_STATE; n++)
    for (size_t c = 0; c < CHANNELS; c++) a[n * CHANNELS + c] = -(float)(n + 1);

  if (mamba_abi_version() != MAMBA_ABI_VERSION) {
    fprintf(stderr, "header of ABI %d, library of ABI %u\n", MAMBA_ABI_VERSION, (unsigned)mamba_abi_version());
    return 1;
  }
  MambaCpu *cpu = NULL;
  expect(mamba_cpu_new(NULL, 0, &cpu) == MAMBA_STATUS_OK, "a backend");
  printf("mamba-kernels %s: %s\n", mamba_version(), mamba_cpu_description(cpu));

  // one sequence of TOKENS tokens in slot 0
  MambaBatch *prefill = NULL, *decode = NULL;
  expect(mamba_batch_new((size_t[]){0, TOKENS}, (uint32_t[]){0}, 1, &prefill) == MAMBA_STATUS_OK, "a batch");
  expect(mamba_batch_new((size_t[]){0, 1}, (uint32_t[]){0}, 1, &decode) == MAMBA_STATUS_OK, "a step");

  MambaSelectiveScan scan = {
      .dtype = MAMBA_DTYPE_F32,
      .delta_softplus = 1,
      .n_groups = 1,
      .u = rows(u, TOKENS, CHANNELS, CHANNELS),
      .delta = rows(delta, TOKENS, CHANNELS, CHANNELS),
      .a = {a, D_STATE * CHANNELS},
      .b = rows(bc, TOKENS, D_STATE, 2 * D_STATE),            // two column slices of one array,
      .c = rows(bc + D_STATE, TOKENS, D_STATE, 2 * D_STATE),  // as x_proj makes them
      .d = {d, CHANNELS},
      .z = rows(z, TOKENS, CHANNELS, CHANNELS),
      .state = {state, D_STATE * CHANNELS},
      .output = {whole, TOKENS, CHANNELS, CHANNELS},
  };
  expect(mamba_selective_scan(cpu, prefill, &scan) == MAMBA_STATUS_OK, "the whole sequence");

  for (size_t t = 0; t < TOKENS; t++) {
    MambaSelectiveScan step = scan;
    step.u = rows(u + t * CHANNELS, 1, CHANNELS, CHANNELS);
    step.delta = rows(delta + t * CHANNELS, 1, CHANNELS, CHANNELS);
    step.z = rows(z + t * CHANNELS, 1, CHANNELS, CHANNELS);
    step.b = rows(bc + t * 2 * D_STATE, 1, D_STATE, D_STATE);
    step.c = rows(bc + t * 2 * D_STATE + D_STATE, 1, D_STATE, D_STATE);
    step.state = (MambaFloatsMut){step_state, D_STATE * CHANNELS};
    step.output = (MambaRowsMut){stepped + t * CHANNELS, 1, CHANNELS, CHANNELS};
    expect(mamba_selective_scan(cpu, decode, &step) == MAMBA_STATUS_OK, "a step");
  }
  expect(memcmp(whole, stepped, sizeof whole) == 0, "the same bits token by token");
  expect(memcmp(state, step_state, sizeof state) == 0, "the same state token by token");

  // the first token by hand: h = delta u b, y = sum c h + d u
  for (size_t c = 0; c < CHANNELS; c++) {
    double dt = log1p(exp(delta[c])), y = d[c] * u[c];
    for (size_t n = 0; n < D_STATE; n++) y += bc[D_STATE + n] * dt * u[c] * bc[n];
    expect(fabs(whole[c] - y * z[c] / (1 + exp(-z[c]))) < 1e-5, "the first token");
  }

  // an error is a code and a message
  MambaSelectiveScan wrong = scan;
  wrong.d.len = CHANNELS - 1;
  expect(mamba_selective_scan(cpu, prefill, &wrong) == MAMBA_STATUS_ARGUMENT, "a short array is refused");
  expect(strcmp(mamba_last_error(), "selective_scan: argument `d`: expected channels = 24, found 23") == 0, "why");
  wrong = scan;
  wrong.output.data = u;
  expect(mamba_selective_scan(cpu, prefill, &wrong) == MAMBA_STATUS_ARGUMENT, "an overlap is refused");
  wrong = scan;
  wrong.u.data = NULL;
  expect(mamba_selective_scan(cpu, prefill, &wrong) == MAMBA_STATUS_ARGUMENT, "null is refused");
  wrong = scan;
  wrong.dtype = 99;
  expect(mamba_selective_scan(cpu, prefill, &wrong) == MAMBA_STATUS_ARGUMENT, "an unknown type is refused");
  expect(mamba_selective_scan(NULL, prefill, &scan) == MAMBA_STATUS_ARGUMENT, "no backend is refused");
  expect(mamba_selective_scan(cpu, prefill, NULL) == MAMBA_STATUS_ARGUMENT, "no arguments are refused");
  MambaCpu *none = cpu;
  expect(mamba_cpu_new("mmx", 0, &none) == MAMBA_STATUS_ARGUMENT && none == NULL, "an unknown instruction set");

  mamba_batch_free(prefill);
  mamba_batch_free(decode);
  mamba_cpu_free(cpu);
  mamba_cpu_free(NULL);
  if (failures == 0) printf("ok: %d tokens at once and one by one give the same bits\n", TOKENS);
  return failures != 0;
}
