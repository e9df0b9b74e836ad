#!/usr/bin/env bash
# Each guide for Rust in docs/linking, word for word: a fresh folder with its TOML as Cargo.toml and its programs, which are
# built and run (`no_run`: built only). Beside them is what the guides expect there, this checkout as `mamba-kernels`; it
# also stands for the crate on crates.io. docs/linking/c.md is in scripts/capi-test.sh.
# scripts/guides-test.sh [GUIDE...]
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD work=${CARGO_TARGET_DIR:-$PWD/target}/guides
export CARGO_TARGET_DIR=$work/build CARGO_INCREMENTAL=0 # of all guides

retry() { local i; for i in 1 2 3; do "$@" && return; echo "try $i failed: $*"; sleep $((i * 10)); done; return 1; }

guides=("$@")
[ ${#guides[@]} -gt 0 ] || for guide in docs/linking/*.md; do
  # the others have no TOML
  ! grep -q '^```toml' "$guide" || guides+=("$(basename "$guide" .md)")
done
for guide in "${guides[@]}"; do
  folder=$work/$guide
  rm -rf "$folder"
  mkdir -p "$folder/src/bin"
  ln -s "$root" "$folder/mamba-kernels"
  { printf '[package]\nname = "guide-%s"\nversion = "0.0.0"\nedition = "2024"\n\n' "$guide"
    awk '/^```toml$/ { on = 1; next } /^```$/ { on = 0 } on' "docs/linking/$guide.md"
    printf '\n[patch.crates-io]\nmamba-kernels = { path = "mamba-kernels" }\n'; } > "$folder/Cargo.toml"
  awk -v to="$folder/src/bin/$guide-" '
    /^```rust(,no_run)?$/ { n++; out = to n (/no_run/ ? "-no-run" : "") ".rs"; next }
    /^```$/ { out = "" } out { print > out }' "docs/linking/$guide.md"
  echo "== docs/linking/$guide.md: $(ls "$folder/src/bin" | tr '\n' ' ')"
  retry cargo fetch --quiet --manifest-path "$folder/Cargo.toml"
  # what the guide's profile says is read, but the kernels are compiled quickly: minutes less for each guide
  cargo build --quiet --manifest-path "$folder/Cargo.toml" --bins \
    --config 'profile.dev.package.mamba-kernels.opt-level = 1' --config 'profile.dev.debug = 0'
  for program in "$folder"/src/bin/*.rs; do
    name=$(basename "$program" .rs)
    case $name in *-no-run) ;; *) "$CARGO_TARGET_DIR/debug/$name" ;; esac
  done
  rm -rf "$folder"
done
echo "guides built and run: ${guides[*]}"
