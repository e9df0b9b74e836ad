#!/usr/bin/env bash
# Everything that needs a GPU, in one command of less than ten minutes, on a machine with an NVIDIA driver and CUDA 12.8
# or later. Results go to a file.
#   scripts/gpu-check.sh [RESULTS]            RESULTS: gpu-check.txt by default
#   scripts/gpu-check.sh --build FOLDER       no GPU needed: builds the Rust binaries for a machine without cargo;
#                                             there, MAMBA_KERNELS_BINARIES=FOLDER scripts/gpu-check.sh
# 1. the suite of all backends and the CUDA tests, the device required; the same text from the demo model as on the CPU
# 2. the suite, with few cases, under compute-sanitizer: memory accesses, and races in shared memory
# 3. the time of each kernel by CUDA events, with ceilings measured in the same run (scripts/gpu-times.cu)
# 4. the times of PyTorch for the same matrix products, if it is installed
# A step that fails is counted and does not stop the rest; a missing tool is named.
set -uo pipefail
cd "$(dirname "$0")/.."
FEATURES=cli,demo,cuda

if [ "${1:-}" = --build ]; then
  folder=${2:?a folder}; mkdir -p "$folder"
  cargo build --release --features $FEATURES --bin mamba && cp "${CARGO_TARGET_DIR:-target}/release/mamba" "$folder/"
  cargo test --release --no-run --features $FEATURES --test backends --test cuda 2>&1 | tee /dev/stderr |
    sed -nE 's/.*Executable tests\/([a-z]+)\/main.rs \((.*)\)/\1 \2/p' |
    while read -r name path; do cp "$path" "$folder/$name"; done
  ls -l "$folder"
  [ -x "$folder/mamba" ] && [ -x "$folder/backends" ] && [ -x "$folder/cuda" ]
  exit
fi

RESULTS=${1:-gpu-check.txt} PASSED=0 FAILED=0
exec > >(tee "$RESULTS") 2>&1
step() { # step NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS; shift 2
  echo "== $name: $*"
  if timeout "$limit" "$@"; then PASSED=$((PASSED + 1)); echo "== ok: $name ($((SECONDS - start)) s)"
  else FAILED=$((FAILED + 1)); echo "== FAILED: $name (status $?, $((SECONDS - start)) s)"; fi
}
missing() { FAILED=$((FAILED + 1)); echo "== FAILED: $1"; }

date -u
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv || missing "nvidia-smi"
BINARIES=${MAMBA_KERNELS_BINARIES:-}
if [ -z "$BINARIES" ]; then
  BINARIES=$(mktemp -d); trap 'rm -rf "$BINARIES"' EXIT
  step "build" 400 bash scripts/gpu-check.sh --build "$BINARIES"
fi
export MAMBA_KERNELS_REQUIRE=cuda

# 1. tests
step "suite on the device" 120 "$BINARIES/backends" cuda
step "CUDA tests" 60 "$BINARIES/cuda"
same_text() {
  local cpu cuda
  cpu=$("$BINARIES/mamba" generate --backend cpu --prompt "It was a" --max-tokens 100 --temperature 0) || return
  cuda=$("$BINARIES/mamba" generate --backend cuda --prompt "It was a" --max-tokens 100 --temperature 0) || return
  echo "$cuda"; [ "$cpu" = "$cuda" ]
}
export BINARIES; export -f same_text
step "the same text as on the CPU" 60 bash -c same_text

# 2. compute-sanitizer
PATH=$PATH:/usr/local/cuda/bin
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "compute-sanitizer $tool" 60 env PROPTEST_CASES=2 \
      compute-sanitizer --tool $tool --error-exitcode 1 "$BINARIES/backends" --test-threads 1 cuda::
  done
else missing "compute-sanitizer is not installed"; fi

# 3. timings
times() {
  local program; program=$(mktemp)
  nvcc -std=c++17 -O2 --fmad=false -arch=native -Icuda -o "$program" scripts/gpu-times.cu && "$program"
  local status=$?; rm -f "$program"; return $status
}
export -f times
if command -v nvcc >/dev/null; then step "timings" 120 bash -c times; else missing "nvcc is not installed"; fi

# 4. PyTorch
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  step "PyTorch" 60 python3 - <<'PYTHON'
import torch

print("torch", torch.__version__)
torch.backends.cuda.matmul.allow_tf32 = False


def microseconds(call):
    times = []
    for i in range(24):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end) * 1e3)
    return sorted(times)[len(times) // 2]


for d_model, d_inner, dt_rank in [(768, 1536, 48), (2560, 5120, 160)]:
    shapes = [("in_proj", d_model, 2 * d_inner), ("x_proj", d_inner, dt_rank + 32), ("dt_proj", dt_rank, d_inner),
              ("out_proj", d_inner, d_model)]
    for tokens in (2048, 8, 1):
        for name, k, n in shapes:
            for dtype in (torch.float32, torch.bfloat16):
                x, w = torch.zeros(tokens, k, dtype=dtype, device="cuda"), torch.zeros(n, k, dtype=dtype, device="cuda")
                time = microseconds(lambda: torch.nn.functional.linear(x, w))
                print(f"torch linear {name}/m{tokens}_k{k}_n{n}/{str(dtype)[6:]:9} {time:10.2f} us")
    x = torch.zeros(1, d_inner, 2048, device="cuda")
    w, b = torch.zeros(d_inner, 1, 4, device="cuda"), torch.zeros(d_inner, device="cuda")
    conv = lambda: torch.nn.functional.silu(torch.nn.functional.conv1d(x, w, b, padding=3, groups=d_inner)[..., :2048])
    print(f"torch conv1d and silu/l2048_d{d_inner}/float32 {microseconds(conv):10.2f} us")
PYTHON
else echo "== PyTorch with CUDA is not installed: no comparison"; fi

echo "$PASSED passed, $FAILED failed, $SECONDS s"
[ "$FAILED" = 0 ]
