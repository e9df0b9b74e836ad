// The state of a launch: its threads, its warps, and what it has found.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../interface.h"
#include "counters.h"
#include "fiber.h"
#include "memory.h"

namespace executor {

// An asynchronous copy that has been issued and not waited for.
struct AsyncCopy {
    uintptr_t shared;
    unsigned bytes;
    unsigned group;
    const void* issued_at;
    unsigned char data[16];
};

struct Thread {
    Context context;
    Dim3 index;
    unsigned linear;
    unsigned warp;
    unsigned lane;
    char* stack;
    // The collective that it waits at, and what it got.
    WarpCall call;
    uint64_t result;
    // The last __syncwarp it took part in: when, and with which lanes.
    uint64_t sync_time;
    uint32_t sync_mask;
    std::vector<AsyncCopy> copies;
    unsigned open_group;
};

// Lanes as bits. Each lane that exists is in exactly one of the four sets below.
struct Warp {
    unsigned first;  // thread
    uint32_t existing;
    uint32_t ready;
    uint32_t in_collective;
    uint32_t at_barrier;
    uint32_t exited;
};

// A device: its memory, and the launch that runs on it. A host thread runs at most one launch at a time.
struct Device {
    // Only a checked device can count.
    Device(bool checked, bool counting, size_t memory_limit);

    bool checked;
    bool counting;
    GlobalMemory global;
    SharedMemory shared;
    Stacks stacks;
    Context scheduler;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    AccessCounter counter;

    // The launch.
    const Kernel* kernel = nullptr;
    const void* args = nullptr;
    Dim3 block{}, block_dim{}, grid_dim{};
    Thread* running = nullptr;
    BlockOperation barrier_operation{};
    unsigned barrier_result = 0;

    // The clock counts events that order accesses; an access happens at the present reading.
    uint64_t clock = 1;
    uint64_t launch_begin = 0;
    uint64_t block_begin = 0;
    uint64_t barrier_time = 0;

    // The array that each access site met last.
    static constexpr size_t RECENT = 64;
    Region* recent[RECENT] = {};

    bool failed = false;
    std::string message;
    const void* found_at = nullptr;  // an address in the kernel's code, or null

    Warp& warp_of(const Thread& thread) { return warps[thread.warp]; }
    Thread& lane(const Warp& warp, unsigned lane) { return threads[warp.first + lane]; }
};

// The device whose launch runs on this host thread.
extern __thread Device* current __attribute__((tls_model("initial-exec")));

// Runs all blocks of the launch that is set up in `device`; false if a fault was found.
bool run_grid(Device& device);

// Leaves the running thread until it is ready again.
void suspend(Device& device);

// Records what was found, with the place of `thread`. The launch ends.
void find_fault(Device& device, const Thread& thread, const std::string& what,
                const void* found_at = nullptr);
// Leaves the running thread of a launch that has failed.
[[noreturn]] void suspend_for_good(Device& device);
// Records what was found in the running thread, which does not go on.
[[noreturn]] void stop_thread(Device& device, const std::string& what, const void* found_at = nullptr);

// Resolves the collective that `thread` waits at, if all lanes of its mask have come. True if it was
// resolved.
bool try_collective(Device& device, Warp& warp, const Thread& thread);
// Says which lanes the waiting lanes of a warp wait for in vain.
void find_stuck_warp(Device& device, const Warp& warp);

void run_mma(Device& device, Warp& warp);
void run_ldmatrix(Device& device, Warp& warp);

std::string describe(Location at);
std::string describe(Dim3 index);
std::string describe_lanes(uint32_t lanes);

}  // namespace executor
