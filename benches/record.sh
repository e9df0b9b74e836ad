#!/usr/bin/env bash
# Records what this machine can do, files it under docs/benchmarks in the folder of its CPU model, and writes the pages.
#   record.sh [--quick] [PART...]    of: roofline pathologies scaling peers; all without a name
# --quick tries everything with short runs, and files nothing.
# About fifteen minutes on two cores, and half an hour more where the peers are installed for the first time; the time of
# each part is printed. Let nothing else run. PEERS_HOME and the other variables of comparisons/run.sh apply to the peers.
set -euo pipefail
cd "$(dirname "$0")/.."
quick=
if [ "${1:-}" = --quick ]; then quick=--quick; shift; fi
parts=("$@")
[ $# -gt 0 ] || parts=(roofline pathologies scaling peers)
records=docs/benchmarks
if [ -r /proc/loadavg ]; then
  read -r load _ < /proc/loadavg
  case $load in 0.*) ;; *) echo "record.sh: something else runs: a load of $load" >&2 ;; esac
fi
target=${CARGO_TARGET_DIR:-target}
for part in "${parts[@]}"; do
  case $part in
    roofline) files=(roofline.json ceilings.json works.json) ;;
    pathologies) files=(pathologies.json) ;;
    scaling) files=(scaling.json scaling.svg) ;;
    peers) files=(peers-products.json peers-ops.json peers-model-f32.json peers-model-bf16.json) ;;
    *) echo "record.sh: no part is called $part" >&2; exit 2 ;;
  esac
  start=$SECONDS
  if [ "$part" = peers ]; then
    PEERS_OUT=$(realpath "$target") PEERS_SECONDS=${PEERS_SECONDS:-${quick:+1}} benches/comparisons/run.sh
  else
    rm -f "${files[@]/#/$target/}"
    cargo bench --bench "$part" -- ${quick:+"$quick"}
  fi
  echo "$part: $((SECONDS - start)) s"
  [ -n "$quick" ] || python3 benches/comparisons/machine.py "$records" "$part" "${files[@]/#/$target/}"
done
[ -n "$quick" ] || python3 benches/comparisons/report.py "$records"
