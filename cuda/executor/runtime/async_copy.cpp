// cp.async: a copy is issued, committed to a group, and lands at the wait for its group.
//
// The bytes are read when it is issued and written when it is waited for. In between the target is in flight:
// any access of it is an error. A wait makes it visible to the thread that waits; other threads need a
// barrier after that wait.
#include <cstring>

#include "shadow.h"

namespace executor {

namespace {

void land(Device& device, const AsyncCopy& copy) {
    if (device.checked) {
        Region* region = device.shared.find(copy.shared);
        std::memset(region->states + (copy.shared - region->begin), WRITTEN, copy.bytes);
        if (!check_access(device, *device.running, copy.shared, copy.bytes, Access::write, copy.issued_at)) {
            suspend_for_good(device);
        }
    }
    std::memcpy(reinterpret_cast<void*>(copy.shared), copy.data, copy.bytes);
}

}  // namespace

void async_copy(void* shared, const void* global, unsigned bytes, unsigned source_bytes) {
    Device& device = *current;
    const void* pc = __builtin_return_address(0);
    const uintptr_t target = reinterpret_cast<uintptr_t>(shared);
    const uintptr_t source = reinterpret_cast<uintptr_t>(global);
    if (!device.shared.holds(target)) {
        stop_thread(device, "out of bounds: asynchronous copy to what is not shared memory", pc);
    }
    if (source_bytes > bytes) {
        stop_thread(device,
                    "asynchronous copy of " + std::to_string(source_bytes) + " of " + std::to_string(bytes) +
                        " bytes",
                    pc);
    }
    if (source % bytes != 0 || target % bytes != 0) {
        stop_thread(device, "misaligned: asynchronous copy of " + std::to_string(bytes) + " bytes", pc);
    }
    if (device.checked) {
        observe_prefix(source, source_bytes, pc);
        observe_access(target, bytes, Access::async_issue, pc);
    }
    AsyncCopy copy{target, bytes, device.running->open_group, pc, {}};
    std::memcpy(copy.data, global, source_bytes);
    device.running->copies.push_back(copy);
}

void async_commit() { current->running->open_group++; }

void async_wait(unsigned groups_left) {
    Device& device = *current;
    Thread& thread = *device.running;
    size_t landed = 0;
    for (; landed < thread.copies.size(); landed++) {
        const AsyncCopy copy = thread.copies[landed];
        if (copy.group + groups_left >= thread.open_group) {
            break;
        }
        land(device, copy);
    }
    thread.copies.erase(thread.copies.begin(), thread.copies.begin() + landed);
}

}  // namespace executor
