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

# with SANITIZER OPTIONS...: cargo's `test` with everything of this crate compiled for the sanitizer
with() {
  local sanitizer=$1; shift
  RUSTFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR=$target/$sanitizer cargo "+$nightly" test --target "$host" "$@"
}
missing() {
  echo "skipped: $1: $2"
  case ",${CI_REQUIRE:-}," in *,"$1",*) exit 1 ;; esac
}

[ $# -gt 0 ] || set -- address thread
for sanitizer in "$@"; do
  case $sanitizer in
    address)
      # fewer cases of each property: a case takes several times as long
      ASAN_OPTIONS=detect_stack_use_after_return=1 PROPTEST_CASES=${PROPTEST_CASES:-16} \
        with address --no-default-features --lib --test backends ;;
    thread)
      # with a standard library that is compiled for it too: what it does not watch, it reports as a race
      if [ -f "$(rustc "+$nightly" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
        TSAN_OPTIONS=halt_on_error=1 with thread -Zbuild-std --no-default-features --lib -- cpu::machine
      else missing rust-src "the nightly toolchain lacks the standard library's sources (rustup component add rust-src)"; fi ;;
    *) echo "no sanitizer $sanitizer: address or thread"; exit 2 ;;
  esac
done
