#!/usr/bin/env bash
# Installs every peer from PyPI and crates.io, in the newest versions at that time, and runs all next to this crate, in
# turns. PEERS_UPDATE=1 installs newer ones.
#   run.sh [SECTION...]    of: products ops model-f32 model-bf16; all without a name
# PEERS_HOME (~/.cache/mamba-kernels-peers) keeps what is built: some gigabytes, half an hour at the first time.
# PEERS_SITE may name a folder of Python packages to share, with PyTorch and transformers in it.
# PEERS_SECONDS (40): no round of a section begins after so long; each has three at least and fifteen at most.
# PEERS_OUT (target of the repository): where peers-SECTION.json go. ../record.sh files them.
# MEASURE may name a command that quiets the machine around what it is given.
set -euo pipefail
cd "$(dirname "$0")"
home=${PEERS_HOME:-$HOME/.cache/mamba-kernels-peers}
out=${PEERS_OUT:-../../target}
python=$home/venv/bin/python
ggml="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF"
mkdir -p "$home"
if [ ! -x "$python" ]; then python3 -m venv "$home/venv"; fi
if [ -n "${PEERS_SITE:-}" ]; then echo "$PEERS_SITE" > "$("$python" -c 'import site; print(site.getsitepackages()[0])')/shared.pth"; fi
"$python" -c 'import torch, transformers, safetensors, numpy' 2>/dev/null ||
  "$python" -m pip install torch transformers safetensors numpy
"$python" -c 'import llama_cpp, gguf' 2>/dev/null || {
  CMAKE_ARGS="$ggml" \
    "$python" -m pip install --no-binary llama-cpp-python llama-cpp-python gguf
}
if [ -n "${PEERS_UPDATE:-}" ]; then
  CMAKE_ARGS="$ggml" "$python" -m pip install --upgrade --no-binary llama-cpp-python \
    torch transformers safetensors numpy gguf llama-cpp-python
fi
[ -e "$home/model/done" ] || "$python" make_model.py "$home/model"
export CARGO_TARGET_DIR=${PEERS_TARGET:-$home/target}
(cd rust && RUSTFLAGS="-C target-cpu=native" cargo build --release --locked --ignore-rust-version)
# what PyTorch compiles it keeps here, before anything is timed
export TORCHINDUCTOR_CACHE_DIR=$home/inductor
for section in "${@:-products ops model-f32 model-bf16}"; do
  for name in $section; do
    case $name in model-*)
      "$python" worker_torch.py compiled --threads "$(nproc --all)" --model "$home/model/${name#model-}" < /dev/null ;;
    esac
    ${MEASURE:-} "$python" drive.py "$name" --rust "$CARGO_TARGET_DIR/release" --model "$home/model" \
      --out "$out/peers-$name.json" --seconds "${PEERS_SECONDS:-40}"
  done
done
