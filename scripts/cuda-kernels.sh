#!/usr/bin/env bash
# Compiles every CUDA kernel for every architecture and writes the files that are committed:
#   docs/cuda-report.md   registers, spills, shared memory, occupancy, the scan's instructions
#   cuda/ptx/*.ptx        the images that the crate embeds
# scripts/cuda-kernels.sh           writes them
# scripts/cuda-kernels.sh --check   compares them with what the sources produce; fails if they differ
# Needs Python 3 with venv on x86-64 Linux, no GPU, no driver and no toolkit: pinned compilers come from PyPI, once, into
# MAMBA_KERNELS_CUDA_TOOLS or ~/.cache.
set -euo pipefail
cd "$(dirname "$0")/.."
CUDA=13.5.37 NVRTC=12.0.76
TOOLS=${MAMBA_KERNELS_CUDA_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/mamba-kernels-cuda-$CUDA-$NVRTC}
if [ ! -e "$TOOLS/complete" ]; then
  rm -rf "$TOOLS"
  python3 -m venv "$TOOLS"
  "$TOOLS/bin/pip" install -q --disable-pip-version-check \
    nvidia-cuda-nvcc==$CUDA nvidia-nvvm==$CUDA nvidia-cuda-crt==$CUDA nvidia-cuda-runtime==$CUDA \
    nvidia-cuda-nvdisasm==$CUDA nvidia-cuda-nvrtc-cu12==$NVRTC
  touch "$TOOLS/complete"
fi
[ "${1:-}" = --setup ] && exit
export PYTHONIOENCODING=utf-8
exec "$TOOLS/bin/python" scripts/cuda_kernels.py "$@"
