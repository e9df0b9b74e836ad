#!/usr/bin/env bash
# Every feature alone, none and all of them compile, with a pinned cargo-hack that is installed below the target folder.
# Where it cannot be installed the features are listed here by hand. Not candle-cuda: it builds with NVIDIA's nvcc only,
# and takes all features with it; scripts/candle-cuda-check.sh checks its types.
set -euo pipefail
cd "$(dirname "$0")/.."
HACK=0.6.46
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools

retry() { local i; for i in 1 2 3; do "$@" && return; echo "try $i failed: $*"; sleep $((i * 10)); done; return 1; }

if [ -x "$tools/bin/cargo-hack" ] ||
  retry cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" --version "$HACK" cargo-hack; then
  export PATH=$tools/bin:$PATH
  cargo hack check --locked --lib --bins --each-feature --exclude-features candle-cuda --exclude-all-features
  cargo check --locked --lib --bins --features model,demo,cuda,cli,candle
else
  echo "cargo-hack $HACK cannot be installed: the features by hand"
  for features in "" model demo cli candle "model demo cli candle"; do
    cargo check --locked --lib --bins --no-default-features --features "$features"
  done
fi
