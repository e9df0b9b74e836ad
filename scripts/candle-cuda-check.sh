#!/usr/bin/env bash
# Type-checks the feature candle-cuda with clippy, on a machine without NVIDIA's toolkit. candle's build script compiles
# candle's own kernels with nvcc: a script takes its place that writes empty files, since no type depends on a kernel.
# What is built here is of no use but for this check, and has a target folder of its own. Where there is a toolkit, build
# with `cargo build --features candle-cuda` instead.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}/candle-cuda-check
mkdir -p "$target/toolkit/bin" "$target/toolkit/include" "$target/toolkit/lib64"
cat > "$target/toolkit/bin/nvcc" <<'STAND_IN'
#!/usr/bin/env bash
# the version's line is the fourth, as nvcc has it; outputs are empty
case " $* " in
  *" --version "*) printf '%s\n' "stand-in for nvcc" "" "" "Cuda compilation tools, release 12.8, V12.8.0"; exit ;;
  *" --list-gpu-code "*) echo sm_80; exit ;;
esac
output= folder=. previous= sources=()
for argument in "$@"; do
  case $previous in -o | --output-file) output=$argument ;; -odir | --output-directory) folder=$argument ;; esac
  case $argument in *.cu) sources+=("$argument") ;; esac
  previous=$argument
done
if [ -n "$output" ]; then : > "$output"
else for source in "${sources[@]}"; do : > "$folder/$(basename "$source" .cu).ptx"; done; fi
STAND_IN
chmod +x "$target/toolkit/bin/nvcc"
export CARGO_TARGET_DIR=$target NVCC=$target/toolkit/bin/nvcc PATH=$target/toolkit/bin:$PATH CUDA_COMPUTE_CAP=80
exec cargo clippy --locked --lib --example candle_cuda --features candle-cuda -- -D warnings
