#!/usr/bin/env bash
# The C interface: its unit tests, the header against the source, the examples in C and Python, and the code blocks of
# docs/linking/c.md; the C programs under valgrind, and handles in children of fork. Needs a C compiler; cbindgen and numpy
# are installed below the target folder. If one cannot be installed, or valgrind or Python are missing, its part is skipped,
# or fails if CI_REQUIRE names it (cbindgen, numpy, valgrind, python3).
set -euo pipefail
cd "$(dirname "$0")/.."
CBINDGEN=0.29.4 NUMPY=2.4.6
target=${CARGO_TARGET_DIR:-$PWD/bindings/c/target}
export CARGO_TARGET_DIR=$target
work=$target/capi-test
mkdir -p "$work"
manifest=bindings/c/Cargo.toml

retry() { local i; for i in 1 2 3; do "$@" && return; echo "try $i failed: $*"; sleep $((i * 10)); done; return 1; }
missing() {
  echo "skipped: $1: $2"
  case ",${CI_REQUIRE:-}," in *,"$1",*) exit 1 ;; esac
}

cargo test --locked --manifest-path "$manifest"
cargo build --locked --manifest-path "$manifest"
library=$target/debug/libmamba_kernels.so
[ "$(uname -s)" != Darwin ] || library=$target/debug/libmamba_kernels.dylib

# the header is what cbindgen generates, and valid C and C++
tools=$target/tools
if [ "$("$tools/bin/cbindgen" --version 2>/dev/null)" = "cbindgen $CBINDGEN" ] ||
  retry cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" --version "$CBINDGEN" cbindgen; then
  "$tools/bin/cbindgen" --config bindings/c/cbindgen.toml --output "$work/mamba_kernels.h" bindings/c
  diff -u bindings/c/include/mamba_kernels.h "$work/mamba_kernels.h" || { echo "the header differs from what cbindgen generates"; exit 1; }
else missing cbindgen "it cannot be installed"; fi
echo '#include "mamba_kernels.h"' | cc -std=c11 -Wall -Wextra -Werror -pedantic -Ibindings/c/include -fsyntax-only -xc -
echo '#include "mamba_kernels.h"' | c++ -std=c++11 -Wall -Wextra -Werror -pedantic -Ibindings/c/include -fsyntax-only -xc++ -

compile_and_run() { # SOURCE: compiles it as C and links it with the shared library
  cc -std=c11 -Wall -Wextra -Werror -pedantic -Ibindings/c/include "$1" -o "$work/program" \
    -L"$target/debug" -lmamba_kernels -lm -Wl,-rpath,"$target/debug"
  "$work/program"
  # on AVX2 at most: valgrind does not know AVX-512, and tells the program so
  [ -z "$valgrind" ] || valgrind --quiet --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite \
    --fair-sched=yes "$work/program" > /dev/null
}
valgrind=$(command -v valgrind || true)
[ -n "$valgrind" ] || missing valgrind "it is not installed"
compile_and_run bindings/c/examples/scan.c
# linked with the static library
if [ "$(uname -s)" = Linux ]; then
  cc -Ibindings/c/include bindings/c/examples/scan.c "$target/debug/libmamba_kernels.a" -lm -lpthread -ldl -o "$work/static"
  "$work/static"
fi
soname=$(readelf -d "$library" 2>/dev/null | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$(uname -s)" = Darwin ] || [ "$soname" = libmamba_kernels.so ] || { echo "the SONAME is '$soname'"; exit 1; }

# every code block of the guide
rm -f "$work"/block-*
awk -v to="$work/block-" '/^```(c|python)$/ { n++; ext = substr($0, 4); sub("python", "py", ext); out = to n "." ext; next }
  /^```$/ { out = "" } out { print > out }' docs/linking/c.md
for block in "$work"/block-*.c; do compile_and_run "$block"; done

if python3 --version > /dev/null 2>&1; then python3 bindings/c/tests/fork.py "$library"
else missing python3 "it is not installed"; fi
python=$work/venv/bin/python
if "$python" -c "import numpy; assert numpy.__version__ == '$NUMPY'" 2>/dev/null ||
  { python3 -m venv "$work/venv" && retry "$python" -m pip install --quiet "numpy==$NUMPY"; }; then
  "$python" bindings/c/examples/scan.py "$library"
  for block in "$work"/block-*.py; do MAMBA_KERNELS_LIBRARY=$library "$python" "$block"; done
else missing numpy "it cannot be installed"; fi
