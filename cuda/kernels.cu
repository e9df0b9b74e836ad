// All kernels as one program: what NVRTC, nvcc and the embedded images compile. The executor takes the files one by one.
#ifndef MAMBA_EXECUTOR
#include "argmax.cu"
#include "causal_conv1d.cu"
#include "convert.cu"
#include "embedding.cu"
#include "linear_exact.cu"
#include "linear_fast.cu"
#include "linear_few.cu"
#include "rms_norm.cu"
#include "selective_scan.cu"
#endif
