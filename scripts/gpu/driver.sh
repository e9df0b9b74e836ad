#!/usr/bin/env bash
# Builds the executor's libcuda: NVIDIA's driver API, with the kernels on the CPU (cuda/executor/driver/libcuda.cpp).
#   scripts/gpu/driver.sh EXECUTOR FOLDER    EXECUTOR: libmamba_executor.a of a build with the feature `cuda`
# A program that finds FOLDER/libcuda.so.1 first, by LD_LIBRARY_PATH, takes it for a GPU of compute capability 9.0.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "$2"
c++ -std=c++17 -O2 -g1 -fPIC -shared -Wall -Wextra -o "$2/libcuda.so.1" cuda/executor/driver/libcuda.cpp \
  -Wl,--whole-archive "$1" -Wl,--no-whole-archive -Wl,--exclude-libs,ALL -Wl,-soname,libcuda.so.1 -lpthread
