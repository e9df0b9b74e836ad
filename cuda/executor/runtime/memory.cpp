#include "memory.h"

#include <cstdlib>
#include <cstring>

namespace executor {

namespace {

constexpr size_t ALLOCATION_ALIGNMENT = 256;
constexpr int UNWRITTEN_PATTERN = 0xff;  // a NaN of every type

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

GlobalMemory::~GlobalMemory() {
    while (!regions_.empty()) {
        free(regions_.begin()->first);
    }
}

uintptr_t GlobalMemory::alloc(size_t bytes) {
    if (bytes > limit_ - used_) {
        return 0;
    }
    // One more unit of alignment after each array, so no other array begins right past its end.
    void* memory = std::aligned_alloc(ALLOCATION_ALIGNMENT,
                                      round_up(bytes + 1, ALLOCATION_ALIGNMENT) + ALLOCATION_ALIGNMENT);
    if (memory == nullptr) {
        return 0;
    }
    Region region{};
    region.begin = reinterpret_cast<uintptr_t>(memory);
    region.end = region.begin + bytes;
    region.space = Space::global;
    if (checked_) {
        region.states = static_cast<uint8_t*>(std::calloc(bytes + 1, 1));
        region.cells = static_cast<Cell*>(std::calloc(bytes / 2 + 1, sizeof(Cell)));
        if (region.states == nullptr || region.cells == nullptr) {
            std::free(region.states);
            std::free(region.cells);
            std::free(memory);
            return 0;
        }
    }
    std::memset(memory, UNWRITTEN_PATTERN, bytes);
    used_ += bytes;
    regions_[region.begin] = region;
    return region.begin;
}

bool GlobalMemory::free(uintptr_t address) {
    const auto found = regions_.find(address);
    if (found == regions_.end()) {
        return false;
    }
    const Region& region = found->second;
    used_ -= region.end - region.begin;
    std::free(region.states);
    std::free(region.cells);
    std::free(reinterpret_cast<void*>(region.begin));
    regions_.erase(found);
    return true;
}

const Region* GlobalMemory::before(uintptr_t address) const {
    auto next = regions_.upper_bound(address);
    return next == regions_.begin() ? nullptr : &(--next)->second;
}

Region* GlobalMemory::find(uintptr_t address) {
    Region* region = const_cast<Region*>(before(address));
    return region != nullptr && region->contains(address) ? region : nullptr;
}

Region* GlobalMemory::find(uintptr_t address, size_t bytes) {
    Region* region = const_cast<Region*>(before(address));
    const bool inside = region != nullptr && address <= region->end && bytes <= region->end - address;
    return inside ? region : nullptr;
}

SharedMemory::~SharedMemory() {
    std::free(reinterpret_cast<void*>(base_));
    std::free(states_);
    std::free(cells_);
}

bool SharedMemory::begin_launch(size_t dynamic_bytes) {
    if (base_ == 0) {
        base_ = reinterpret_cast<uintptr_t>(std::aligned_alloc(ALLOCATION_ALIGNMENT, CAPACITY));
        if (base_ == 0) {
            return false;
        }
    }
    if (checked_ && states_ == nullptr) {
        states_ = static_cast<uint8_t*>(std::calloc(CAPACITY, 1));
        cells_ = static_cast<Cell*>(std::calloc(CAPACITY / 2, sizeof(Cell)));
        if (states_ == nullptr || cells_ == nullptr) {
            return false;
        }
    }
    arrays_.clear();
    used_ = 0;
    asked_ = 0;
    return add(nullptr, dynamic_bytes) != nullptr;
}

void SharedMemory::begin_block() {
    std::memset(reinterpret_cast<void*>(base_), UNWRITTEN_PATTERN, used_);
    if (checked_) {
        std::memset(states_, UNWRITTEN, used_);
    }
}

void* SharedMemory::add(const SharedSite* site, size_t bytes) {
    const size_t gap_end = round_up(used_ + bytes, ALIGNMENT) + ALIGNMENT;
    if (bytes > LIMIT - asked_ || gap_end > CAPACITY) {
        return nullptr;
    }
    const uintptr_t begin = base_ + used_;
    Region region{begin,   begin + bytes, Space::shared, site == nullptr ? "dynamic" : site->name,
                  nullptr, nullptr};
    if (checked_) {
        region.states = states_ + used_;
        region.cells = cells_ + used_ / 2;
        std::memset(region.states, UNWRITTEN, bytes);
    }
    std::memset(reinterpret_cast<void*>(begin), UNWRITTEN_PATTERN, bytes);
    arrays_.push_back({site, region});
    used_ = gap_end;
    asked_ += bytes;
    return reinterpret_cast<void*>(begin);
}

void* SharedMemory::array(const SharedSite* site, size_t bytes) {
    for (const Array& array : arrays_) {
        if (array.site == site) {
            return reinterpret_cast<void*>(array.region.begin);
        }
    }
    return add(site, bytes);
}

Region* SharedMemory::find(uintptr_t address) {
    for (Array& array : arrays_) {
        if (array.region.contains(address)) {
            return &array.region;
        }
    }
    return nullptr;
}

const Region* SharedMemory::before(uintptr_t address) const {
    const Region* last = nullptr;
    for (const Array& array : arrays_) {
        if (array.region.begin <= address) {
            last = &array.region;
        }
    }
    return last;
}

}  // namespace executor
