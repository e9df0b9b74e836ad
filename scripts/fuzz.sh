#!/usr/bin/env bash
# The fuzz targets. scripts/fuzz.sh [SECONDS [TARGET...]] runs each for so long, 30 without a number, from seeds that it
# makes of tests/data; RUNS=N stops a target after N executions instead. Needs the nightly toolchain and a C++ compiler;
# installs cargo-fuzz, pinned. What a target fails on lies in fuzz/artifacts/TARGET afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
SECONDS_EACH=${1:-30}
[ $# -eq 0 ] || shift
TARGETS=("$@")
[ ${#TARGETS[@]} -gt 0 ] || TARGETS=(config checkpoint state tokenizer generation_config ops c_interface)
VERSION=0.13.2
TOOLS=${CARGO_TARGET_DIR:-target}/tools/cargo-fuzz
export PATH=$PWD/$TOOLS/bin:$PATH
if ! cargo fuzz --version 2> /dev/null | grep -qw "$VERSION"; then
  cargo install --locked --root "$TOOLS" --target-dir "$TOOLS/build" cargo-fuzz --version "$VERSION"
  rm -rf "$TOOLS/build"
fi
python3 scripts/fuzz_seeds.py tests/data fuzz/corpus
failed=0
for target in "${TARGETS[@]}"; do
  limit=(-max_total_time="$SECONDS_EACH")
  [ -z "${RUNS:-}" ] || limit=(-runs="$RUNS")
  # longer inputs of arguments say nothing more; those of files are whole checkpoints
  case $target in ops | c_interface) length=4096 ;; *) length=262144 ;; esac
  log=$(mktemp)
  if cargo +nightly fuzz run --codegen-units 16 "$target" -- "${limit[@]}" -max_len="$length" -rss_limit_mb=3072 -malloc_limit_mb=2048 \
    -timeout=30 -print_final_stats=1 -verbosity=0 > "$log" 2>&1; then
    echo "$target: $(awk '/number_of_executed_units/ { print $2 }' "$log") executions, $(awk '/peak_rss_mb/ { print $2 }' "$log") MiB"
  else
    echo "$target: FAILED"; tail -40 "$log"; failed=1
  fi
  rm -f "$log"
done
exit $failed
