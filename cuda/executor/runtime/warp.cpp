// Shuffles, votes and __syncwarp: what a warp does together.
//
// As the PTX ISA has it, an operation waits for all lanes of its mask that have not exited. All of them must
// come to the same operation with the same mask.
#include "launch.h"

namespace executor {

std::string describe_lanes(uint32_t lanes) {
    std::string text;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (lanes >> lane & 1) {
            text += (text.empty() ? "" : ",") + std::to_string(lane);
        }
    }
    return text;
}

namespace {

const char* name_of(WarpOperation operation) {
    switch (operation) {
        case WarpOperation::sync: return "__syncwarp";
        case WarpOperation::shuffle: return "__shfl_sync";
        case WarpOperation::shuffle_up: return "__shfl_up_sync";
        case WarpOperation::shuffle_down: return "__shfl_down_sync";
        case WarpOperation::shuffle_xor: return "__shfl_xor_sync";
        case WarpOperation::ballot: return "a vote";
        case WarpOperation::mma: return "mma";
        case WarpOperation::ldmatrix: return "ldmatrix";
    }
    return "";
}

std::string describe(const WarpCall& call) {
    return std::string(name_of(call.operation)) + " at " + executor::describe(call.at);
}

bool is_same(const WarpCall& a, const WarpCall& b, uint32_t existing) {
    return a.operation == b.operation && (a.mask & existing) == (b.mask & existing) && a.width == b.width &&
           a.at.line == b.at.line;
}

// The lane that `lane` reads from.
unsigned source_lane(const WarpCall& call, unsigned lane) {
    const unsigned segment = lane & ~(call.width - 1);
    const unsigned end = segment + call.width;
    switch (call.operation) {
        case WarpOperation::shuffle: return segment + (call.parameter & (call.width - 1));
        case WarpOperation::shuffle_up: return call.parameter > lane - segment ? lane : lane - call.parameter;
        case WarpOperation::shuffle_down: return call.parameter >= end - lane ? lane : lane + call.parameter;
        default: {
            const unsigned source = lane ^ call.parameter;
            return source >= end ? lane : source;
        }
    }
}

bool run_shuffle(Device& device, Warp& warp, uint32_t lanes) {
    for (unsigned lane = 0; lane < 32; lane++) {
        if ((lanes >> lane & 1) == 0) {
            continue;
        }
        Thread& thread = device.lane(warp, lane);
        const unsigned source = source_lane(thread.call, lane);
        if (source >= 32 || (lanes >> source & 1) == 0) {
            find_fault(device, thread,
                       describe(thread.call) + " reads from lane " + std::to_string(source) +
                           ", which is not active in it (active: " + describe_lanes(lanes) + ")");
            return false;
        }
        thread.result = device.lane(warp, source).call.value;
    }
    return true;
}

void run_ballot(Device& device, Warp& warp, uint32_t lanes) {
    uint32_t votes = 0;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (lanes >> lane & 1 && device.lane(warp, lane).call.value != 0) {
            votes |= uint32_t{1} << lane;
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        if (lanes >> lane & 1) {
            device.lane(warp, lane).result = votes;
        }
    }
}

void run_sync(Device& device, Warp& warp, uint32_t lanes) {
    device.clock++;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (lanes >> lane & 1) {
            device.lane(warp, lane).sync_time = device.clock;
            device.lane(warp, lane).sync_mask = lanes | warp.exited;
        }
    }
}

}  // namespace

bool try_collective(Device& device, Warp& warp, const Thread& thread) {
    const WarpCall& call = thread.call;
    const uint32_t lanes = call.mask & warp.existing & ~warp.exited;
    if ((warp.in_collective & lanes) != lanes) {
        return false;
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        if (lanes >> lane & 1 && !is_same(device.lane(warp, lane).call, call, warp.existing)) {
            const Thread& other = device.lane(warp, lane);
            find_fault(device, thread,
                       describe(call) + ": lane " + std::to_string(lane) +
                           " of its mask is at another operation, " + describe(other.call));
            return false;
        }
    }
    const bool whole = call.operation == WarpOperation::mma || call.operation == WarpOperation::ldmatrix;
    if (whole && lanes != 0xffffffff) {
        find_fault(device, thread, describe(call) + " needs all 32 lanes; active: " + describe_lanes(lanes));
        return false;
    }
    switch (call.operation) {
        case WarpOperation::sync: run_sync(device, warp, lanes); break;
        case WarpOperation::ballot: run_ballot(device, warp, lanes); break;
        case WarpOperation::mma: run_mma(device, warp); break;
        case WarpOperation::ldmatrix: run_ldmatrix(device, warp); break;
        default:
            if (!run_shuffle(device, warp, lanes)) {
                return false;
            }
    }
    if (device.failed) {
        return false;
    }
    if (lanes == (warp.existing & ~warp.exited)) {
        device.counter.flush();
    }
    warp.in_collective &= ~lanes;
    warp.ready |= lanes;
    return true;
}

void find_stuck_warp(Device& device, const Warp& warp) {
    const Thread& thread = device.lane(warp, __builtin_ctz(warp.in_collective));
    const uint32_t missing = thread.call.mask & warp.at_barrier;
    const uint32_t elsewhere = thread.call.mask & warp.in_collective & ~(uint32_t{1} << thread.lane);
    std::string what = describe(thread.call) + " waits for lanes that do not come";
    if (missing != 0) {
        what += "; at a barrier of the block: " + describe_lanes(missing);
    }
    if (elsewhere != 0) {
        what += "; in an operation of the warp: " + describe_lanes(elsewhere);
    }
    find_fault(device, thread, what);
}

uint64_t warp_collective(const WarpCall& call) {
    Device& device = *current;
    Thread& thread = *device.running;
    Warp& warp = device.warp_of(thread);
    const uint32_t bit = uint32_t{1} << thread.lane;
    if ((call.mask & bit) == 0) {
        stop_thread(device, describe(call) + ": the calling lane " + std::to_string(thread.lane) +
                                " is not in its own mask");
    }
    if (call.width == 0 || call.width > 32 || (call.width & (call.width - 1)) != 0) {
        stop_thread(device, describe(call) + ": a width of " + std::to_string(call.width) +
                                " is not a power of two up to 32");
    }
    thread.call = call;
    warp.ready &= ~bit;
    warp.in_collective |= bit;
    if (!try_collective(device, warp, thread)) {
        suspend(device);
    }
    return thread.result;
}

}  // namespace executor
