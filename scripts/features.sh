#!/usr/bin/env bash
# Checks that each feature compiles alone, and none and all of them together, with a pinned cargo-hack that is installed
# below the target folder. If it cannot be installed, the script lists the features itself. cuda-linked is excluded: it
# links NVIDIA's libraries, and scripts/candle-cuda-check.sh checks its types.
set -euo pipefail
cd "$(dirname "$0")/.."
HACK=0.6.46
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools

retry() { local i; for i in 1 2 3; do "$@" && return; echo "try $i failed: $*"; sleep $((i * 10)); done; return 1; }

if [ -x "$tools/bin/cargo-hack" ] ||
  retry cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" --version "$HACK" cargo-hack; then
  export PATH=$tools/bin:$PATH
  cargo hack check --locked --lib --bins --each-feature --exclude-features cuda-linked --exclude-all-features
  cargo check --locked --lib --bins --features model,demo,cuda,cli
else
  echo "cargo-hack $HACK cannot be installed: checking a fixed list of features"
  for features in "" model demo cuda cli "model demo cuda cli"; do
    cargo check --locked --lib --bins --no-default-features --features "$features"
  done
fi
