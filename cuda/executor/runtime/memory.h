// Device memory and shared memory, with what the checks know of each byte.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "../interface.h"

namespace executor {

enum class Space : uint8_t { global, shared };

// What a byte holds.
enum ByteState : uint8_t { UNWRITTEN = 0, WRITTEN = 1, IN_FLIGHT = 2 };

// The last write and the last reads of a pair of bytes; see shadow.h.
struct Cell {
    uint64_t write;
    uint64_t read;
};

// One array. `states` and `cells` are null in memory that is not checked.
struct Region {
    uintptr_t begin;
    uintptr_t end;
    Space space;
    const char* name;  // of a shared array
    uint8_t* states;   // one per byte
    Cell* cells;       // one per two bytes

    bool contains(uintptr_t address) const { return address >= begin && address < end; }
};

// The arrays of a device that kernels may touch.
class GlobalMemory {
   public:
    GlobalMemory(bool checked, size_t limit) : checked_(checked), limit_(limit) {}
    GlobalMemory(const GlobalMemory&) = delete;
    GlobalMemory& operator=(const GlobalMemory&) = delete;
    ~GlobalMemory();

    // Memory at a multiple of 256, filled with bytes 0xff; 0 if it cannot be allocated.
    uintptr_t alloc(size_t bytes);
    // False if `address` is not the start of an array.
    bool free(uintptr_t address);

    // The array that holds `address`, or null.
    Region* find(uintptr_t address);
    // The array that holds all of the range, or null.
    Region* find(uintptr_t address, size_t bytes);
    // The array that begins last before `address`, or null.
    const Region* before(uintptr_t address) const;

   private:
    std::map<uintptr_t, Region> regions_;
    bool checked_;
    size_t limit_;
    size_t used_ = 0;
};

// The shared memory of the block that runs. Arrays are laid out at their first use in a launch, apart from
// each other, so an access past the end of one does not hit the next.
class SharedMemory {
   public:
    static constexpr size_t LIMIT = 227 * 1024;  // of the GPUs that have the most

    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;
    explicit SharedMemory(bool checked) : checked_(checked) {}
    ~SharedMemory();

    // False if memory for it cannot be allocated.
    bool begin_launch(size_t dynamic_bytes);
    void begin_block();

    void* dynamic() const { return reinterpret_cast<void*>(arrays_[0].region.begin); }
    // Null if shared memory is used up.
    void* array(const SharedSite* site, size_t bytes);

    bool holds(uintptr_t address) const { return address >= base_ && address < base_ + CAPACITY; }
    // The array that holds `address`, or null.
    Region* find(uintptr_t address);
    // The array that begins last before `address`, or null.
    const Region* before(uintptr_t address) const;
    uintptr_t base() const { return base_; }

   private:
    static constexpr size_t ALIGNMENT = 128;  // all banks
    static constexpr size_t CAPACITY = 512 * 1024;

    struct Array {
        const SharedSite* site;
        Region region;
    };

    void* add(const SharedSite* site, size_t bytes);

    std::vector<Array> arrays_;
    bool checked_;
    uintptr_t base_ = 0;
    uint8_t* states_ = nullptr;
    Cell* cells_ = nullptr;
    size_t used_ = 0;   // bytes of the area, gaps included
    size_t asked_ = 0;  // bytes of the arrays
};

}  // namespace executor
