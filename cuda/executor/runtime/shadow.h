// The checks of memory accesses: bounds, alignment, reads of what nothing wrote, races.
#pragma once
#include "launch.h"

namespace executor {

enum class Access : uint8_t {
    read,
    write,
    atomic,      // a read and a write at once, in no race with another atomic operation
    async_issue  // a write that lands later
};

// Checks an access by `thread` of a checked device; false if it is wrong. `pc` is in the kernel's code.
bool check_access(Device& device, const Thread& thread, uintptr_t address, unsigned bytes, Access access,
                  const void* pc);

// Checks and counts an access by the running thread, which does not continue if it is wrong. Accesses of a
// thread's own stack are neither checked nor counted.
void observe_access(uintptr_t address, unsigned bytes, Access access, const void* pc);

// The same for a read of global memory of any number of bytes up to 16.
void observe_prefix(uintptr_t address, unsigned bytes, const void* pc);

}  // namespace executor
