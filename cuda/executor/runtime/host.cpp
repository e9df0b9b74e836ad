// The functions that the host calls; src/cuda/driver/executor declares them for Rust. A device is used by one caller
// at a time.
#include <cstdlib>
#include <cstring>
#include <new>

#include "float_mode.h"
#include "launch.h"
#include "registry.h"

using executor::Device;
using executor::Dim3;
using executor::Region;

#define API extern "C" __attribute__((visibility("hidden")))

namespace {

enum Status : int { OK = 0, FAILED = 1 };

constexpr unsigned MAX_THREADS = 1024;
constexpr unsigned MAX_GRID_YZ = 65535;
constexpr unsigned MAX_GRID_X = 2147483647;

int fail(Device& device, const std::string& message) {
    device.message = message;
    device.found_at = nullptr;
    return FAILED;
}

Region* find_range(Device& device, uint64_t address, size_t bytes) {
    Region* region = device.global.find(address, bytes);
    if (region == nullptr) {
        fail(device,
             std::to_string(bytes) + " bytes at an address that is outside every array of the device");
    }
    return region;
}

void mark_written(Region& region, uint64_t address, size_t bytes) {
    if (region.states != nullptr) {
        std::memset(region.states + (address - region.begin), executor::WRITTEN, bytes);
    }
}

bool has_threads(Dim3 block) {
    return block.x != 0 && block.y != 0 && block.z != 0 && block.x <= MAX_THREADS && block.y <= MAX_THREADS &&
           block.z <= 64 && uint64_t{block.x} * block.y * block.z <= MAX_THREADS;
}

bool has_blocks(Dim3 grid) {
    return grid.x != 0 && grid.y != 0 && grid.z != 0 && grid.x <= MAX_GRID_X && grid.y <= MAX_GRID_YZ &&
           grid.z <= MAX_GRID_YZ;
}

}  // namespace

API Device* mamba_executor_new(int checked, int counting, uint64_t memory_limit) {
    return new (std::nothrow) Device(checked != 0, counting != 0, memory_limit);
}

API void mamba_executor_delete(Device* device) { delete device; }

API uint64_t mamba_executor_alloc(Device* device, size_t bytes) { return device->global.alloc(bytes); }

API int mamba_executor_free(Device* device, uint64_t address) {
    return device->global.free(address) ? OK
                                        : fail(*device, "freed an address that is not the start of an array");
}

API int mamba_executor_zero(Device* device, uint64_t address, size_t bytes) {
    Region* region = find_range(*device, address, bytes);
    if (region == nullptr) {
        return FAILED;
    }
    std::memset(reinterpret_cast<void*>(address), 0, bytes);
    mark_written(*region, address, bytes);
    return OK;
}

API int mamba_executor_upload(Device* device, uint64_t address, const void* host, size_t bytes) {
    Region* region = find_range(*device, address, bytes);
    if (region == nullptr) {
        return FAILED;
    }
    std::memcpy(reinterpret_cast<void*>(address), host, bytes);
    mark_written(*region, address, bytes);
    return OK;
}

API int mamba_executor_download(Device* device, uint64_t address, void* host, size_t bytes) {
    const Region* region = find_range(*device, address, bytes);
    if (region == nullptr) {
        return FAILED;
    }
    if (region->states != nullptr) {
        const size_t offset = address - region->begin;
        const void* unwritten = std::memchr(region->states + offset, executor::UNWRITTEN, bytes);
        if (unwritten != nullptr) {
            const size_t at = static_cast<const uint8_t*>(unwritten) - region->states;
            return fail(*device, "byte " + std::to_string(at) + " of a global array of " +
                                     std::to_string(region->end - region->begin) +
                                     " bytes, that nothing has written, is read by the host");
        }
    }
    std::memcpy(host, reinterpret_cast<const void*>(address), bytes);
    return OK;
}

API int mamba_executor_launch(Device* device, const char* name, size_t name_bytes, const uint32_t* grid,
                              const uint32_t* block, uint32_t shared_bytes, const void* args,
                              size_t args_bytes) {
    const executor::Kernel* kernel = executor::find_kernel(name, name_bytes, device->checked);
    if (kernel == nullptr) {
        return fail(*device, "there is no such kernel");
    }
    if (kernel->args_size != args_bytes) {
        return fail(*device, "the kernel takes " + std::to_string(kernel->args_size) +
                                 " bytes of arguments, not " + std::to_string(args_bytes));
    }
    device->grid_dim = {grid[0], grid[1], grid[2]};
    device->block_dim = {block[0], block[1], block[2]};
    if (!has_threads(device->block_dim) || !has_blocks(device->grid_dim)) {
        return fail(*device, "a grid of " + executor::describe(device->grid_dim) + " blocks of " +
                                 executor::describe(device->block_dim) + " threads cannot be launched");
    }
    const unsigned threads = block[0] * block[1] * block[2];
    if (!device->stacks.reserve(threads) || !device->shared.begin_launch(shared_bytes)) {
        return fail(*device, "no memory for " + std::to_string(threads) + " threads and " +
                                 std::to_string(shared_bytes) + " bytes of shared memory");
    }
    device->kernel = kernel;
    device->args = args;
    const executor::StandardMode mode;
    return executor::run_grid(*device) ? OK : FAILED;
}

// What the last call that failed has to say, and the place in the kernel's code that it is about, or null.
API const char* mamba_executor_message(const Device* device) { return device->message.c_str(); }
API const void* mamba_executor_found_at(const Device* device) { return device->found_at; }

API void mamba_executor_totals(const Device* device, executor::Totals* totals) {
    *totals = device->counter.totals;
}

// The size of a kernel's argument struct, or -1 if no such kernel exists.
API int64_t mamba_executor_args_size(const char* name, size_t name_bytes, int checked) {
    const executor::Kernel* kernel = executor::find_kernel(name, name_bytes, checked != 0);
    return kernel == nullptr ? -1 : static_cast<int64_t>(kernel->args_size);
}
