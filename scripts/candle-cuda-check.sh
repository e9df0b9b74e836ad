#!/usr/bin/env bash
# Type-checks the feature cuda of bindings/candle with clippy, on a machine without NVIDIA's toolkit. candle's build script
# compiles candle's own kernels with nvcc: a stand-in script takes its place that writes empty files, since no type depends
# on a kernel. The build is useful for this check only, and has its own target folder. With a toolkit, run
# `cargo build --manifest-path bindings/candle/Cargo.toml --features cuda` instead.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/bindings/candle/target}/cuda-check
mkdir -p "$target/toolkit/bin" "$target/toolkit/include" "$target/toolkit/lib64"
cat > "$target/toolkit/bin/nvcc" <<'STAND_IN'
#!/usr/bin/env bash
# the version is on the fourth line, as in nvcc; outputs are empty
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
exec cargo clippy --locked --manifest-path bindings/candle/Cargo.toml --lib --example candle_cuda --features cuda -- -D warnings
