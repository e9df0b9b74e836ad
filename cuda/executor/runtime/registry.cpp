#include <cstring>

#include "registry.h"

// The table that build.rs writes. Naming it makes the linker take all units of kernels from the archive.
extern "C" const char* mamba_executor_units[];

namespace executor {

namespace {

Kernel* first = nullptr;  // set before main by the constructors of the compiled kernels

}  // namespace

void register_kernel(Kernel* kernel) {
    kernel->next = first;
    first = kernel;
}

const Kernel* find_kernel(const char* name, size_t length, bool checked) {
    if (mamba_executor_units[0] == nullptr) {
        return nullptr;
    }
    for (const Kernel* kernel = first; kernel != nullptr; kernel = kernel->next) {
        if (kernel->checked == checked && std::strlen(kernel->name) == length &&
            std::memcmp(kernel->name, name, length) == 0) {
            return kernel;
        }
    }
    return nullptr;
}

}  // namespace executor
