#!/usr/bin/env bash
# The number of crates that a build of mamba-kernels compiles beside itself, against the budget that README.md states.
# A new dependency that exceeds it is a decision, not an accident: raise the number here and there together.
set -euo pipefail
cd "$(dirname "$0")/.."

# crates FEATURES...: distinct crates below this one, on this platform, build dependencies and macros included
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
