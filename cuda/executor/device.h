// The CUDA C++ that kernels may use, on the host. It is included before a .cu file, in place of nvcc's own
// declarations.
//
// Everything with a body is in an unnamed namespace or is a template of types from one, so the plain and
// the checked build of the same code stay apart when they are linked together.
#pragma once
#define MAMBA_EXECUTOR 1

#include <cmath>
#include <cstdint>
#include <cstring>

#include "interface.h"

#include "device/qualifiers.h"
#include "device/arithmetic.h"
#include "device/vectors.h"
#include "device/collectives.h"
#include "device/atomics.h"
#include "device/tensor.h"
