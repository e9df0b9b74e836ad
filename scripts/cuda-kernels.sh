#!/usr/bin/env bash
# Compiles every CUDA kernel for every architecture and writes the files that are committed:
#   docs/cuda-report.md   registers, spills, shared memory, occupancy, the scan's instructions
#   cuda/ptx/*.ptx        the images that the crate embeds
# scripts/cuda-kernels.sh                       writes them
# scripts/cuda-kernels.sh --check               compares them with what the sources produce; fails if they differ
# scripts/cuda-kernels.sh --cubin SM FILE       machine code for one compute capability, such as 90, in a file that
#                                               MAMBA_KERNELS_CUBIN can name: it holds a fingerprint of the sources
# scripts/cuda-kernels.sh --setup               installs the compilers, and that is all
# scripts/cuda-kernels.sh --nvcc                prints the nvcc that makes such files
# Needs Python 3 with venv on x86-64 Linux, no GPU, no driver and no toolkit: pinned compilers come from PyPI, once, into
# folders below MAMBA_KERNELS_CUDA_TOOLS or ~/.cache. The report is by the newest nvcc; one column, and the files of
# --cubin, are by that of CUDA 13.0, whose machine code drivers from 580 on load.
set -euo pipefail
cd "$(dirname "$0")/.."
CUDA=13.5.37 NVRTC=12.0.76 OLDER=13.0.88 OLDER_RUNTIME=13.0.96
CACHE=${MAMBA_KERNELS_CUDA_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}}
TOOLS=$CACHE/mamba-kernels-cuda-$CUDA-$NVRTC OLDER_TOOLS=$CACHE/mamba-kernels-cuda-$OLDER

install() { # install FOLDER PACKAGE...
  local folder=$1; shift
  [ ! -e "$folder/complete" ] || return 0
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install -q --disable-pip-version-check "$@"
  touch "$folder/complete"
}
install "$TOOLS" nvidia-cuda-nvcc==$CUDA nvidia-nvvm==$CUDA nvidia-cuda-crt==$CUDA nvidia-cuda-runtime==$CUDA \
  nvidia-cuda-nvdisasm==$CUDA nvidia-cuda-nvrtc-cu12==$NVRTC
install "$OLDER_TOOLS" nvidia-cuda-nvcc==$OLDER nvidia-nvvm==$OLDER nvidia-cuda-crt==$OLDER \
  nvidia-cuda-runtime==$OLDER_RUNTIME nvidia-cuda-nvrtc==$OLDER
OLDER_NVCC=$(echo "$OLDER_TOOLS"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)
case ${1:-} in
  --setup) exit ;;
  --nvcc) echo "$OLDER_NVCC"; exit ;;
esac
export PYTHONIOENCODING=utf-8 OLDER_NVCC
exec "$TOOLS/bin/python" scripts/cuda_kernels.py "$@"
