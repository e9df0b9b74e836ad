#!/usr/bin/env bash
# check-inlining.sh PROGRAM...: fails where a vector intrinsic, or a function over vectors, is a function of its own in a
# program. Such a call loses the registers and the target features of the kernel around it.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 PROGRAM..." >&2; exit 2; }
status=0
for program in "$@"; do
  symbols=$(nm -C "$program")
  grep -q 'mamba_kernels::cpu::machine::isa::run_' <<<"$symbols" || { echo "$program: no kernels, or no symbols"; status=1; continue; }
  # the one thing that a kernel calls is the tile of the matrix product, compiled once per instruction set
  found=$(grep -E 'core_arch::|mamba_kernels::cpu::(simd|math)::' <<<"$symbols" |
    grep -vE '_xgetbv|simd::(avx2|avx512|portable|neon)::compiled' || true)
  if [ -n "$found" ]; then echo "$program: not inlined:"; echo "$found"; status=1
  else echo "$program: every intrinsic is inlined"; fi
done
exit $status
