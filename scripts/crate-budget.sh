#!/usr/bin/env bash
# The number of crates that a build of mamba-kernels compiles besides itself, against the budget that README.md states.
# To add a dependency that exceeds it, raise the number here and in README.md together.
set -euo pipefail
cd "$(dirname "$0")/.."

# crates FEATURES...: the number of distinct dependencies on this platform, build dependencies and macros included
crates() {
  cargo tree --locked --edges normal,build --prefix none --format '{p}' "$@" | sed 's/ (.*//' | sort -u |
    grep -vc '^mamba-kernels '
}

failed=0
check() { # NAME BUDGET FEATURES...
  local name=$1 budget=$2 found; shift 2
  found=$(crates "$@")
  echo "$name: $found crates, budget $budget"
  [ "$found" -le "$budget" ] || { echo "over budget"; failed=1; }
  grep -q "$name: at most $budget crates" README.md || { echo "README.md does not state it"; failed=1; }
}
check "kernels alone" 17 --no-default-features
check "default features" 39
exit $failed
