#!/usr/bin/env bash
# What the backend does if a call of the driver fails: an error that says which, and nothing left behind. Needs .gpu/ of
# scripts/gpu/build.sh, and no GPU: the calls are those of the executor's driver.
set -uo pipefail
cd "$(dirname "$0")/../.."
export LD_LIBRARY_PATH=$PWD/.gpu/driver MAMBA_KERNELS_CUBIN=$PWD/.gpu/kernels.sm_90.cubin RUST_BACKTRACE=0
FAILED=0
# fails PART FUNCTION:N:STATUS TEXT: the Nth call of FUNCTION fails, an error has the text, and no object is left
fails() {
  local output status
  output=$(MAMBA_EXECUTOR_DRIVER_FAIL=$2 .gpu/gpu_check "$1" --small 2>&1); status=$?
  if [ $status = 1 ] && grep -q -- "$3" <<< "$output" &&
    grep -q "at the end 0 graphs, 0 executable graphs, 0 modules, 0 streams, 0 pools, 0 events, 0 allocations" <<< "$output"; then
    echo "ok: $2: $3"
  else FAILED=1; echo "FAILED: $2, status $status:"; tail -n 12 <<< "$output"; fi
}
fails smoke cuInit:1:34 "a toolkit's stub, not a driver"
fails smoke cuDriverGetVersion:1:34 "a toolkit's stub, not a driver"
fails smoke cuInit:1:100 "no CUDA device can be used"
fails smoke cuModuleLoadData:1:209 "the kernels cannot be loaded: MAMBA_KERNELS_CUBIN: status 209"
fails smoke cuModuleGetFunction:5:500 "mk_causal_conv1d_state: status 500"
fails smoke cuFuncGetAttribute:1:1 "mk_argmax: status 1"
fails smoke cuMemPoolCreate:1:801 "a memory pool"
fails smoke cuMemPoolSetAttribute:1:1 "a memory pool"
fails smoke cuMemAllocFromPoolAsync:1:2 "out of memory\|OutOfMemory"
fails smoke cuLaunchKernel:1:701 "mk_rms_norm"
fails model cuGraphCreate:1:999 "the recording of a graph"
fails model cuGraphAddKernelNode_v2:4:999 "status 999"
fails model cuGraphInstantiateWithFlags:2:999 "the recording of a graph"
fails model cuGraphLaunch:3:999 "the replay of a graph"
fails model cuMemcpyDtoHAsync_v2:3:999 "a copy from the device"
exit $FAILED
