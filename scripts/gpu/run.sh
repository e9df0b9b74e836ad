#!/usr/bin/env bash
# Everything that a machine with a GPU can show, in one command of 560 seconds at most, in order of value.
#   bash scripts/gpu/run.sh              needs an NVIDIA driver and what scripts/gpu/build.sh has put into .gpu/;
#                                        nvcc, PyTorch, compute-sanitizer and ncu are used if they exist
#   bash scripts/gpu/run.sh --dry-run    no GPU: the same programs with small sizes, on the executor behind NVIDIA's
#                                        driver API (.gpu/driver)
# Results go to the folder that OUT names (.gpu/results by default): results.jsonl, one JSON object per line, written as
# they come; log.txt; clocks.csv; ncu.csv; and README.md, the report, whose table is printed last. Each part has a limit
# of its own; one that fails or is too slow is recorded and does not stop the rest. The exit status is 1 if any has.
set -uo pipefail
cd "$(dirname "$0")/../.."
DRY=; [ "${1:-}" != --dry-run ] || DRY=1
TOTAL=560
GPU=$PWD/.gpu
OUT=${OUT:-$GPU/results}
mkdir -p "$OUT"
export RESULTS=$OUT/results.jsonl
LOG=$OUT/log.txt
rm -f "$RESULTS" "$LOG"
export MAMBA_KERNELS_CUDA_TARGETS=cuda MAMBA_KERNELS_REQUIRE=cuda PROPTEST_CASES=64
if [ -n "$DRY" ]; then
  PROPTEST_CASES=4
  export LD_LIBRARY_PATH=$GPU/driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export PATH=$PATH:/usr/local/cuda/bin
# where NVRTC may be: beside PyTorch
[ -n "${VIRTUAL_ENV:-}" ] || ! command -v python3 > /dev/null || VIRTUAL_ENV=$(python3 -c 'import sys; print(sys.prefix)')
export VIRTUAL_ENV
THREADS=$(nproc) && [ "$THREADS" -le 12 ] || THREADS=12
CHECK=("$GPU/gpu_check" ${DRY:+--small})

fact() { python3 -c 'import json, sys; print(json.dumps({"part": "facts", "name": sys.argv[1], "value": sys.argv[2]}))' "$@" >> "$RESULTS"; }
record() { # record NAME STATUS SECONDS DETAIL
  python3 -c '
import json, sys
name, status, seconds, detail = sys.argv[1:]
print(json.dumps({"part": "check", "name": name, "status": status, "seconds": float(seconds), "detail": detail}))
' "$@" >> "$RESULTS"
}
missing() { # a missing tool fails a real run
  if [ -n "$DRY" ]; then record "$1" skipped 0 "$2"; else record "$1" failed 0 "$2"; fi
}
# part NAME LIMIT COMMAND...: runs it within its limit and what is left of all time. Its output goes to the log
part() {
  local name=$1 limit=$2 start=$SECONDS status left=$((TOTAL - SECONDS)) output; shift 2
  [ "$left" -ge "$limit" ] || limit=$left
  if [ "$limit" -le 0 ]; then record "$name" failed 0 "no time was left"; return 1; fi
  output=$(mktemp)
  timeout -k 5 "$limit" "$@" > "$output" 2>&1; status=$?
  { echo "== $name, status $status, $((SECONDS - start)) s: $*"; cat "$output"; } >> "$LOG"
  case $status in
    0) record "$name" ok $((SECONDS - start)) "" ;;
    124 | 137) record "$name" failed $((SECONDS - start)) "stopped after $limit s" ;;
    *) record "$name" failed $((SECONDS - start)) "status $status: $(grep -v '^$' "$output" | tail -n 2 | cut -c 1-200 | tr '\n' ' ')" ;;
  esac
  rm -f "$output"
  echo "$name: status $status, $((SECONDS - start)) s"
  return $status
}

# 1. facts
fact run "$([ -n "$DRY" ] && echo "dry run on the executor" || echo "on a GPU")"
fact date "$(date -u +%F)"
fact cpu "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | xargs), $(nproc) threads"
CLOCKS=
if [ -z "$DRY" ]; then
  for field in name driver_version memory.total clocks.max.sm clocks.max.mem power.limit; do
    fact "$field" "$(nvidia-smi --query-gpu="$field" --format=csv,noheader 2>&1 | head -n 1)"
  done
  command -v nvcc > /dev/null && fact nvcc "$(nvcc --version | grep -o 'V[0-9.]*' | tail -n 1)"
  fact torch "$(python3 -c 'import torch; print(torch.__version__)' 2>&1 | tail -n 1)"
  nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active \
    --format=csv,noheader -lms 200 > "$OUT/clocks.csv" 2>&1 & CLOCKS=$!
fi
stop() { [ -z "$CLOCKS" ] || kill "$CLOCKS" 2> /dev/null; }
trap stop EXIT

# 2. one op with the kernels from each origin; each checks that nothing spills
export MAMBA_KERNELS_CUBIN=$GPU/kernels.sm_90.cubin
part smoke/cubin 60 "${CHECK[@]}" smoke
ORIGINS=(nvrtc nvcc embedded)
# a dry run has the compilers that the environment names
[ -z "$DRY" ] || [ -n "${CUDA_HOME:-}" ] || ORIGINS=(embedded)
WAIT=()
for origin in "${ORIGINS[@]}"; do
  ( XDG_CACHE_HOME=$(mktemp -d); export XDG_CACHE_HOME; unset MAMBA_KERNELS_CUBIN
    part "smoke/$origin" 90 env MAMBA_KERNELS_CUDA_COMPILER="$origin" "${CHECK[@]}" smoke ) & WAIT+=($!)
done
wait "${WAIT[@]}"

# 3. bits
part suite 100 "$GPU/backends" cuda:: --test-threads "$THREADS"
part "suite of CUDA" 60 "$GPU/cuda" --test-threads "$THREADS"
part bits 120 "${CHECK[@]}" bits --threads "$THREADS"
part model 90 "${CHECK[@]}" model

# 4. times: ceilings, our kernels, peers, whole models
if [ -n "$DRY" ]; then part ceilings 10 "$GPU/gpu_times" --list; else part ceilings 30 "$GPU/gpu_times"; fi
part times 90 "${CHECK[@]}" times
if [ -d "$GPU/peers" ] || [ -n "$DRY" ]; then
  part peers 100 python3 scripts/gpu/peers.py --folder "$GPU/peers" --build-seconds 70 ${DRY:+--quick}
else missing peers "there is no .gpu/peers"; fi
part speed 60 "${CHECK[@]}" speed

# 5. compute-sanitizer
if [ -n "$DRY" ]; then part sanitize 120 "${CHECK[@]}" sanitize
elif command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    part "sanitize/$tool" 60 compute-sanitizer --tool $tool --error-exitcode 9 "${CHECK[@]}" sanitize
  done
else missing sanitize "compute-sanitizer is not installed"; fi

# 6. a profiler: launches of the exact mode, then of the other, the first 48
METRICS=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
METRICS+=,lts__throughput.avg.pct_of_peak_sustained_elapsed,l1tex__throughput.avg.pct_of_peak_sustained_elapsed
METRICS+=,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__inst_issued.avg.pct_of_peak_sustained_active
METRICS+=,sm__warps_active.avg.pct_of_peak_sustained_active,launch__registers_per_thread,launch__waves_per_multiprocessor
if [ -n "$DRY" ]; then part profile 60 "${CHECK[@]}" profile
elif command -v ncu > /dev/null; then
  part profile 60 ncu --clock-control none --launch-count 48 --csv --metrics $METRICS --log-file "$OUT/ncu.csv" "${CHECK[@]}" profile
else missing profile "ncu is not installed"; fi

fact seconds "$SECONDS"
stop
python3 scripts/gpu/report.py "$RESULTS" "$OUT"; STATUS=$?
echo "$SECONDS s; results are in $OUT"
exit $STATUS
