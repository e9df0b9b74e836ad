// Runs a grid: block after block, in each block warp after warp, in each warp the lowest lane that is ready.
#include <cstdlib>

#include "launch.h"
#include "shadow.h"

namespace executor {

__thread Device* current = nullptr;

Device::Device(bool checked, bool counting, size_t memory_limit)
    : checked(checked), counting(counting), global(checked, memory_limit), shared(checked) {}

std::string describe(Dim3 index) {
    return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) +
           ")";
}

std::string describe(Location at) {
    const std::string path = at.file;
    const size_t slash = path.rfind('/');
    return (slash == std::string::npos ? path : path.substr(slash + 1)) + ":" + std::to_string(at.line);
}

void find_fault(Device& device, const Thread& thread, const std::string& what, const void* found_at) {
    if (device.failed) {
        return;
    }
    device.failed = true;
    device.found_at = found_at;
    device.message = "block " + describe(device.block) + ", thread " + describe(thread.index) + ": " + what;
}

void suspend(Device& device) { switch_context(device.running->context, device.scheduler); }

void suspend_for_good(Device& device) {
    suspend(device);
    std::abort();  // the scheduler resumes no thread of a failed launch
}

void stop_thread(Device& device, const std::string& what, const void* found_at) {
    find_fault(device, *device.running, what, found_at);
    suspend_for_good(device);
}

Dim3 thread_index() { return current->running->index; }
Dim3 block_index() { return current->block; }
Dim3 block_size() { return current->block_dim; }
Dim3 grid_size() { return current->grid_dim; }

void trap(Location at) { stop_thread(*current, "__trap() at " + describe(at)); }

void* dynamic_shared() { return current->shared.dynamic(); }

void* static_shared(const SharedSite* site, size_t bytes) {
    void* array = current->shared.array(site, bytes);
    if (array == nullptr) {
        stop_thread(*current, std::string("shared array `") + site->name + "` of " + std::to_string(bytes) +
                                  " bytes: more shared memory than a block can have");
    }
    return array;
}

unsigned block_collective(BlockOperation operation, unsigned value, Location at) {
    Device& device = *current;
    Thread& thread = *device.running;
    Warp& warp = device.warp_of(thread);
    const uint32_t bit = uint32_t{1} << thread.lane;
    thread.call.at = at;
    thread.call.value = value;
    thread.call.parameter = static_cast<uint32_t>(operation);
    warp.ready &= ~bit;
    warp.at_barrier |= bit;
    suspend(device);
    return device.barrier_result;
}

namespace {

void thread_main() {
    Device& device = *current;
    device.kernel->run(device.args);
    Warp& warp = device.warp_of(*device.running);
    const uint32_t bit = uint32_t{1} << device.running->lane;
    warp.ready &= ~bit;
    warp.exited |= bit;
    suspend(device);
    std::abort();  // an exited thread is never resumed
}

void set_up_block(Device& device) {
    device.block_begin = device.barrier_time = ++device.clock;
    device.shared.begin_block();
    for (Thread& thread : device.threads) {
        thread.sync_time = 0;
        thread.copies.clear();
        thread.open_group = 0;
        prepare(thread.context, thread.stack, thread.stack + Stacks::BYTES, thread_main);
    }
    for (Warp& warp : device.warps) {
        warp.ready = warp.existing;
        warp.in_collective = warp.at_barrier = warp.exited = 0;
    }
}

// Runs a warp until every lane has exited or waits at a barrier of the block.
bool run_warp(Device& device, Warp& warp) {
    while (warp.ready != 0 || warp.in_collective != 0) {
        while (warp.ready != 0) {
            device.running = &device.lane(warp, __builtin_ctz(warp.ready));
            switch_context(device.scheduler, device.running->context);
            if (device.failed) {
                return false;
            }
        }
        // A lane that exits may have been the last that the others waited for.
        uint32_t waiting = warp.in_collective;
        while (waiting != 0 && warp.ready == 0 && !device.failed) {
            const Thread& thread = device.lane(warp, __builtin_ctz(waiting));
            waiting &= waiting - 1;
            try_collective(device, warp, thread);
        }
        if (warp.ready == 0 && warp.in_collective != 0) {
            find_stuck_warp(device, warp);
        }
        if (device.failed) {
            return false;
        }
    }
    device.counter.flush();
    return true;
}

// All warps stand still: lets the threads go on from their barrier. `exited` says that the block is done.
bool pass_barrier(Device& device, bool& exited) {
    const Thread* first = nullptr;
    const Thread* gone = nullptr;
    unsigned count = 0;
    for (Thread& thread : device.threads) {
        if (device.warp_of(thread).exited >> thread.lane & 1) {
            gone = gone == nullptr ? &thread : gone;
            continue;
        }
        if (first == nullptr) {
            first = &thread;
        }
        if (thread.call.at.line != first->call.at.line || thread.call.parameter != first->call.parameter) {
            find_fault(device, thread,
                       "barrier not reached by all threads: this one waits at " + describe(thread.call.at) +
                           ", thread " + describe(first->index) + " at " + describe(first->call.at));
            return false;
        }
        count += thread.call.value != 0;
    }
    exited = first == nullptr;
    if (exited) {
        return true;
    }
    if (gone != nullptr) {
        find_fault(device, *first,
                   "barrier not reached by all threads: this one waits at " + describe(first->call.at) +
                       ", thread " + describe(gone->index) + " has exited");
        return false;
    }
    device.barrier_result = count;
    device.barrier_time = ++device.clock;
    device.counter.totals.barriers++;
    for (Warp& warp : device.warps) {
        warp.ready = warp.at_barrier;
        warp.at_barrier = 0;
    }
    return true;
}

bool run_block(Device& device) {
    set_up_block(device);
    for (bool exited = false; !exited;) {
        for (Warp& warp : device.warps) {
            if (!run_warp(device, warp)) {
                return false;
            }
        }
        if (!pass_barrier(device, exited)) {
            return false;
        }
    }
    return true;
}

void set_up_threads(Device& device) {
    const Dim3 dim = device.block_dim;
    const unsigned count = dim.x * dim.y * dim.z;
    device.threads.resize(count);
    device.warps.assign((count + 31) / 32, Warp{});
    for (unsigned i = 0; i < count; i++) {
        Thread& thread = device.threads[i];
        thread.index = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
        thread.linear = i;
        thread.warp = i / 32;
        thread.lane = i % 32;
        thread.stack = device.stacks.begin(i);
        device.warps[i / 32].first = i / 32 * 32;
        device.warps[i / 32].existing |= uint32_t{1} << i % 32;
    }
}

}  // namespace

bool run_grid(Device& device) {
    set_up_threads(device);
    device.failed = false;
    device.found_at = nullptr;
    device.launch_begin = ++device.clock;
    for (Region*& region : device.recent) {
        region = nullptr;
    }
    device.counter.begin_launch(device.counting, device.shared.base());
    current = &device;
    const Dim3 grid = device.grid_dim;
    bool passed = true;
    for (unsigned z = 0; z < grid.z && passed; z++) {
        for (unsigned y = 0; y < grid.y && passed; y++) {
            for (unsigned x = 0; x < grid.x && passed; x++) {
                device.block = {x, y, z};
                passed = run_block(device);
            }
        }
    }
    current = nullptr;
    device.running = nullptr;
    return passed;
}

}  // namespace executor
