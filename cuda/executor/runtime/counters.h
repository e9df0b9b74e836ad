// Counts what the accesses of a warp cost: sectors of global memory, conflicts between banks of shared
// memory.
//
// The lanes of a warp run one after another here and at once on a GPU. The k-th execution of an access in one
// lane since the warp was last together belongs to the k-th in the others. The warp is together at barriers,
// and at operations of the warp in which all its lanes take part.
#pragma once
#include <cstdint>
#include <vector>

#include "memory.h"

namespace executor {

// The counters of one launch. The order of the fields is that of `LaunchCounters` in src/cuda/driver/executor.
struct Totals {
    uint64_t global_loads;               // accesses of a warp
    uint64_t global_load_sectors;        // sectors of 32 bytes that they touch
    uint64_t global_load_sectors_least;  // that the bytes would fill, packed
    uint64_t global_stores;
    uint64_t global_store_sectors;
    uint64_t global_store_sectors_least;
    uint64_t shared_accesses;  // of a warp
    uint64_t bank_conflicts;   // turns of shared memory beyond the fewest for accesses of their size
    uint64_t barriers;         // of blocks
    uint64_t atomics;          // of threads
};

class AccessCounter {
   public:
    Totals totals{};

    void begin_launch(bool counting, uintptr_t shared_base);

    // One lane's part of an access by the instruction at `pc`. `existing` are the lanes that the warp has.
    void record(const void* pc, unsigned lane, uint32_t existing, uintptr_t address, unsigned bytes,
                Space space, bool store);

    // 16-byte rows of shared memory that eight lanes read at once.
    void record_rows(const uintptr_t (&rows)[8]);

    // The warp is together: accesses in which only some lanes took part are complete too.
    void flush();

   private:
    struct Group {
        uint32_t lanes;
        uintptr_t address[32];
    };
    struct Site {
        uintptr_t key;
        unsigned bytes;
        Space space;
        bool store;
        bool pending;
        uint32_t seen[32];  // executions per lane since the warp was together
        std::vector<Group> groups;
    };

    unsigned site_of(uintptr_t key);
    void grow();
    void count(const Site& site, const Group& group);
    void count_global(const Group& group, unsigned bytes, bool store);
    void count_shared(const Group& group, unsigned bytes);

    bool counting_ = false;
    uintptr_t shared_base_ = 0;
    std::vector<Site> sites_;
    std::vector<unsigned> slots_;    // open addressing: index of a site plus 1, or 0
    std::vector<unsigned> pending_;  // sites with groups
};

}  // namespace executor
