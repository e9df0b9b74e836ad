// Races are found by time. The clock of a device counts the events that order accesses, and each pair of
// bytes has a record of its last write and of its last reads: when, and by which thread. An earlier access
// and the present one, of which at least one writes, are ordered if
//   - the earlier one was in a launch before, or
//   - both are of one thread, or
//   - they are of one block and a barrier of the block lies between, or
//   - they are of one warp and a __syncwarp in which both take part lies between.
// Blocks are never ordered. Of several reads the record keeps the last, and whether other lanes, warps or
// blocks have read too. Threads that write the two bytes of one pair do not hide each other's race, but the
// record of one is lost.
#include "shadow.h"

namespace executor {

namespace {

// A record: time in 48 bits, thread in 10, flags in 6.
constexpr unsigned TIME_SHIFT = 16;
constexpr unsigned THREAD_SHIFT = 6;
constexpr uint64_t BYTES = 3;          // which of the two bytes
constexpr uint64_t ATOMIC = 4;         // writes
constexpr uint64_t OTHER_LANES = 8;    // reads: lanes of the same warp have read too
constexpr uint64_t OTHER_WARPS = 16;   // reads: other warps of the block
constexpr uint64_t OTHER_BLOCKS = 32;  // reads: other blocks of the launch

uint64_t time_of(uint64_t record) { return record >> TIME_SHIFT; }
unsigned thread_of(uint64_t record) { return record >> THREAD_SHIFT & 1023; }

uint64_t make_record(const Device& device, const Thread& thread, uint64_t flags) {
    return device.clock << TIME_SHIFT | uint64_t{thread.linear} << THREAD_SHIFT | flags;
}

// Whether what `record` tells of happened before what `thread` does now.
bool is_ordered(const Device& device, const Thread& thread, uint64_t record, Space space) {
    const uint64_t time = time_of(record);
    if (time < device.launch_begin) {
        return true;
    }
    if (space == Space::global && (record & OTHER_BLOCKS) != 0) {
        return false;
    }
    if (time < device.block_begin) {
        return space == Space::shared;
    }
    if (time < device.barrier_time) {
        return true;
    }
    if ((record & OTHER_WARPS) != 0) {
        return false;
    }
    const unsigned other = thread_of(record);
    const bool one_reader = (record & OTHER_LANES) == 0;
    if (one_reader && other == thread.linear) {
        return true;
    }
    if (other / 32 != thread.warp || time >= thread.sync_time) {
        return false;
    }
    return one_reader ? (thread.sync_mask >> other % 32 & 1) != 0
                      : thread.sync_mask == device.warps[thread.warp].existing;
}

// The record of reads after one more.
uint64_t add_read(const Device& device, const Thread& thread, uint64_t old, uint64_t bytes, Space space) {
    const uint64_t time = time_of(old);
    uint64_t flags = bytes;
    if (time >= device.launch_begin) {
        const bool other_block = time < device.block_begin;
        if (space == Space::global && ((old & OTHER_BLOCKS) != 0 || other_block)) {
            flags |= OTHER_BLOCKS;
        }
        if (!other_block && time >= device.barrier_time) {
            const unsigned other = thread_of(old);
            flags |= old & (OTHER_LANES | OTHER_WARPS | BYTES);
            if (other / 32 != thread.warp) {
                flags |= OTHER_WARPS;
            } else if (other != thread.linear) {
                flags |= OTHER_LANES;
            }
        }
    }
    return make_record(device, thread, flags);
}

const char* name_of(Space space) { return space == Space::shared ? "shared" : "global"; }

const char* name_of(Access access) {
    switch (access) {
        case Access::read: return "read";
        case Access::write: return "write";
        case Access::atomic: return "atomic operation";
        case Access::async_issue: return "asynchronous copy";
    }
    return "";
}

std::string describe(Access access, unsigned bytes) {
    return std::string(name_of(access)) + " of " + std::to_string(bytes) + " bytes";
}

std::string describe(const Region& region) {
    const std::string size = std::to_string(region.end - region.begin) + " bytes";
    return region.space == Space::shared ? std::string("shared array `") + region.name + "` of " + size
                                         : "global array of " + size;
}

void find_out_of_bounds(Device& device, const Thread& thread, uintptr_t address, unsigned bytes,
                        Access access, const Region* near, const void* pc) {
    std::string what = "out of bounds: " + describe(access, bytes);
    if (near != nullptr) {
        what += " at byte " + std::to_string(address - near->begin) + " of a " + describe(*near);
    } else {
        what += " at an address before every array";
    }
    find_fault(device, thread, what, pc);
}

void find_race(Device& device, const Thread& thread, const Region& region, uintptr_t at, Access access,
               bool earlier_wrote, uint64_t record, const void* pc) {
    std::string what = std::string("race on ") + name_of(region.space) + " memory: " + name_of(access) +
                       " at byte " + std::to_string(at - region.begin) + " of a " + describe(region) +
                       " after a " + (earlier_wrote ? "write" : "read") + " by ";
    if (region.space == Space::global &&
        (time_of(record) < device.block_begin || (record & OTHER_BLOCKS) != 0)) {
        what += "another block";
    } else {
        what += "thread " + executor::describe(device.threads[thread_of(record)].index) +
                ", nothing orders the two";
    }
    find_fault(device, thread, what, pc);
}

Region* find_region(Device& device, uintptr_t address, const void* pc) {
    if (device.shared.holds(address)) {
        return device.shared.find(address);
    }
    Region*& recent = device.recent[(reinterpret_cast<uintptr_t>(pc) >> 2) % Device::RECENT];
    if (recent == nullptr || !recent->contains(address)) {
        Region* found = device.global.find(address);
        if (found == nullptr) {
            return nullptr;
        }
        recent = found;
    }
    return recent;
}

const Region* find_near(Device& device, uintptr_t address) {
    return device.shared.holds(address) ? device.shared.before(address) : device.global.before(address);
}

// The first byte that may not be accessed so for the state that it is in; null if none exists.
const char* find_state(const uint8_t* states, unsigned bytes, Access access) {
    for (unsigned i = 0; i < bytes; i++) {
        if (states[i] == IN_FLIGHT) {
            return ", into which an asynchronous copy has not been waited for";
        }
        if (states[i] == UNWRITTEN && (access == Access::read || access == Access::atomic)) {
            return " that nothing has written";
        }
    }
    return nullptr;
}

}  // namespace

bool check_access(Device& device, const Thread& thread, uintptr_t address, unsigned bytes, Access access,
                  const void* pc) {
    Region* region = find_region(device, address, pc);
    if (region == nullptr || bytes > region->end - address) {
        const Region* near = region == nullptr ? find_near(device, address) : region;
        find_out_of_bounds(device, thread, address, bytes, access, near, pc);
        return false;
    }
    const uintptr_t offset = address - region->begin;
    const char* fault =
        address % bytes != 0 ? ", which is misaligned" : find_state(region->states + offset, bytes, access);
    if (fault != nullptr) {
        find_fault(device, thread,
                   describe(access, bytes) + " at byte " + std::to_string(offset) + " of a " +
                       describe(*region) + fault,
                   pc);
        return false;
    }
    const Space space = region->space;
    const uint64_t touched = bytes > 1 ? BYTES : uint64_t{1} << offset % 2;
    for (uintptr_t pair = offset / 2; pair <= (offset + bytes - 1) / 2; pair++) {
        Cell& cell = region->cells[pair];
        const bool atomics = access == Access::atomic && (cell.write & ATOMIC) != 0;
        if (!atomics && (cell.write & touched) != 0 && !is_ordered(device, thread, cell.write, space)) {
            find_race(device, thread, *region, region->begin + pair * 2, access, true, cell.write, pc);
            return false;
        }
        if (access == Access::read) {
            cell.read = add_read(device, thread, cell.read, touched, space);
            continue;
        }
        if ((cell.read & touched) != 0 && !is_ordered(device, thread, cell.read, space)) {
            find_race(device, thread, *region, region->begin + pair * 2, access, false, cell.read, pc);
            return false;
        }
        cell.write = make_record(device, thread, touched | (access == Access::atomic ? ATOMIC : 0));
    }
    if (access != Access::read) {
        __builtin_memset(region->states + offset, access == Access::async_issue ? IN_FLIGHT : WRITTEN, bytes);
    }
    return true;
}

void observe_access(uintptr_t address, unsigned bytes, Access access, const void* pc) {
    Device* device = current;
    if (device == nullptr || !device->checked) {
        return;
    }
    const Thread& thread = *device->running;
    if (address - reinterpret_cast<uintptr_t>(thread.stack) < Stacks::BYTES) {
        return;
    }
    if (!check_access(*device, thread, address, bytes, access, pc)) {
        suspend_for_good(*device);
    }
    if (access == Access::atomic) {
        device->counter.totals.atomics++;
        return;
    }
    const Space space = device->shared.holds(address) ? Space::shared : Space::global;
    const bool store = access != Access::read;
    device->counter.record(pc, thread.lane, device->warps[thread.warp].existing, address, bytes, space,
                           store);
}

void observe_prefix(uintptr_t address, unsigned bytes, const void* pc) {
    Device& device = *current;
    const Thread& thread = *device.running;
    for (unsigned done = 0; done < bytes;) {
        unsigned piece = 16;
        while (piece > bytes - done || (address + done) % piece != 0) {
            piece /= 2;
        }
        if (!check_access(device, thread, address + done, piece, Access::read, pc)) {
            suspend_for_good(device);
        }
        done += piece;
    }
    if (bytes != 0) {
        const uint32_t existing = device.warps[thread.warp].existing;
        device.counter.record(pc, thread.lane, existing, address, bytes, Space::global, false);
    }
}

}  // namespace executor
