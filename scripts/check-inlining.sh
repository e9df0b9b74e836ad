#!/usr/bin/env bash
# check-inlining.sh PROGRAM...: fails if a vector intrinsic, or a function over vectors, is a function of its own in a
# program. Such a call loses the registers and the target features of the kernel around it.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 PROGRAM..." >&2; exit 2; }
status=0
# the functions that `kernel!` makes, one per instruction set
kernels='mamba_kernels::cpu::.*::(portable|avx2|avx512|avx512_bf16|neon)$'
for program in "$@"; do
  symbols=$(nm -C "$program" | sed 's/^[0-9a-f ]* [A-Za-z] //')
  grep -qE "$kernels" <<<"$symbols" || { echo "$program: no kernels, or no symbols"; status=1; continue; }
  # everything that runs inside a kernel: intrinsics, vectors, elementary functions, steps, bodies
  inside='core_arch::|mamba_kernels::cpu::(simd::|math::elementary::|.*(_body|_of|_from|_to|tile_of_any_size|Strip|::step|::finish)(<|::|$))'
  # except the rare case of the portable multiply-add, which is over plain arrays and out of the way on purpose
  found=$(grep -E "$inside" <<<"$symbols" | grep -vE "_xgetbv|::driver::|simd::fused::rounded_to_odd|$kernels" || true)
  if [ -n "$found" ]; then echo "$program: not inlined:"; echo "$found"; status=1
  else echo "$program: every intrinsic is inlined"; fi
done
exit $status
