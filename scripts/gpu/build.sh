#!/usr/bin/env bash
# Makes the folder .gpu/ (ignored by git, below 40 MiB): all that scripts/gpu/run.sh needs on a machine that has a GPU,
# but neither cargo nor a network. No GPU is needed here.
#   scripts/gpu/build.sh              optimised, and without the executor: for a machine with a GPU
#   scripts/gpu/build.sh --quick      as `cargo test` builds, with the executor's driver and without the peers: for a dry run
#   gpu_check, backends, cuda         the check, and the suites that it runs, stripped
#   gpu_times                         ceilings, by the pinned nvcc for sm_90
#   kernels.sm_90.cubin               the kernels, for MAMBA_KERNELS_CUBIN
#   driver/libcuda.so.1               with --quick: the driver of a dry run, the executor
#   peers/                            sources of the peers, from the package registry
set -euo pipefail
cd "$(dirname "$0")/../.."
PROFILE=(--release) QUICK=
if [ "${1:-}" = --quick ]; then PROFILE=() QUICK=1
else
  export CXX=false # no compiler, no executor: it would be half of each program
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/gpu
fi
FOLDER=.gpu
rm -rf "$FOLDER/driver" "$FOLDER/peers"
mkdir -p "$FOLDER"

cargo test "${PROFILE[@]}" --no-run --features cli,cuda --test backends --test cuda --test gpu_check --message-format json |
  python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["test"]:
        print(message["target"]["name"], message["executable"])
    if message["reason"] == "build-script-executed" and message["out_dir"].split("/")[-2].startswith("mamba-kernels-"):
        print("out", message["out_dir"])
' |
  while read -r name path; do
    if [ "$name" != out ]; then strip -o "$FOLDER/$name" "$path"
    elif [ -n "$QUICK" ]; then scripts/gpu/driver.sh "$path/libmamba_executor.a" "$FOLDER/driver"; fi
  done

scripts/cuda-kernels.sh --cubin 90 "$FOLDER/kernels.sm_90.cubin"
NVCC=$(scripts/cuda-kernels.sh --nvcc)
"$NVCC" -std=c++17 -O2 --fmad=false -gencode arch=compute_90,code=sm_90 -cudart static \
  -L"$(dirname "$NVCC")/../lib" -Icuda -o "$FOLDER/gpu_times" scripts/gpu/times.cu
[ -n "$QUICK" ] || python3 scripts/gpu/fetch_peers.py "$FOLDER/peers"

for name in gpu_check backends cuda gpu_times kernels.sm_90.cubin ${QUICK:+driver/libcuda.so.1}; do
  [ -s "$FOLDER/$name" ] || { echo "$FOLDER/$name was not made"; exit 1; }
done
size=$(du -sm --exclude=results "$FOLDER" | cut -f1)
ls -l "$FOLDER"
echo "$FOLDER: $size MiB"
[ -n "$QUICK" ] || [ "$size" -lt 40 ] || { echo "more than 40 MiB"; exit 1; }
