// The kernels that are linked in.
#pragma once
#include "../interface.h"

namespace executor {

// Null if none has that name.
const Kernel* find_kernel(const char* name, size_t length, bool checked);

}  // namespace executor
