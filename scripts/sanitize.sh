#!/usr/bin/env bash
# The tests under Rust's sanitizers, which only the nightly toolchain has.
#   address   the library and the suite on every instruction set of this machine: accesses out of bounds, after free, leaks
#   thread    the team of threads, with several callers at once: accesses without synchronisation
# scripts/sanitize.sh [address] [thread]    both if none is named; NIGHTLY names the toolchain
set -euo pipefail
cd "$(dirname "$0")/.."
nightly=${NIGHTLY:-nightly}
host=$(rustc "+$nightly" -vV | sed -n 's/^host: //p')
# apart from other builds: every object is compiled with the sanitizer
target=${CARGO_TARGET_DIR:-$PWD/target}/sanitize
export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0

# with SANITIZER COMMAND...: cargo's command with everything compiled for the sanitizer
with() {
  local sanitizer=$1; shift
  # the standard library has no sanitizer here, which the compiler otherwise refuses
  RUSTFLAGS="-Zsanitizer=$sanitizer -Cunsafe-allow-abi-mismatch=sanitizer" \
    CARGO_TARGET_DIR=$target/$sanitizer cargo "+$nightly" "$@" --target "$host"
}

[ $# -gt 0 ] || set -- address thread
for sanitizer in "$@"; do
  case $sanitizer in
    address)
      # fewer cases of each property: a case takes several times as long
      ASAN_OPTIONS=detect_stack_use_after_return=1 PROPTEST_CASES=${PROPTEST_CASES:-16} \
        with address test --no-default-features --lib --test backends ;;
    thread)
      # Code that is compiled with the standard library is not watched: `Arc` orders the last drop by a fence, which the
      # sanitizer does not know
      mkdir -p "$target"
      echo 'race:alloc::sync::Arc*drop_slow' > "$target/suppressions"
      TSAN_OPTIONS="suppressions=$target/suppressions halt_on_error=1" \
        with thread test --no-default-features --lib -- cpu::machine ;;
    *) echo "no sanitizer $sanitizer: address or thread"; exit 2 ;;
  esac
done
