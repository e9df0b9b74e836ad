// All kernels as one program, which NVRTC, nvcc and the embedded images compile. The executor compiles each file alone.
// Includes are named from this folder.
#ifndef MAMBA_EXECUTOR
#include "argmax/argmax.cu"
#include "causal_conv1d/forward.cu"
#include "linear/convert.cu"
#include "embedding/forward.cu"
#include "linear/exact.cu"
#include "linear/tensor_cores.cu"
#include "linear/few_rows.cu"
#include "rms_norm/forward.cu"
#include "selective_scan/forward.cu"
#include "selective_scan/combine.cu"
#endif

// A prebuilt image says of which sources it was made: src/cuda/driver/sources.rs.
#ifdef MK_FINGERPRINT
extern "C" __device__ unsigned long long mk_fingerprint = MK_FINGERPRINT;
#endif
