#include "counters.h"

#include <algorithm>
#include <cstring>

namespace executor {

namespace {

constexpr uintptr_t SECTOR_BYTES = 32;
constexpr unsigned BANKS = 32;
constexpr unsigned BANK_BYTES = 4;
constexpr unsigned TURN_BYTES = BANKS * BANK_BYTES;  // what shared memory gives in one turn

size_t slot_hash(uintptr_t key) { return (key * 0x9e3779b97f4a7c15u) >> 40; }

// The turns that shared memory needs for a set of 4-byte words: the most different words in one bank.
unsigned turns(uintptr_t* words, unsigned count) {
    std::sort(words, words + count);
    count = static_cast<unsigned>(std::unique(words, words + count) - words);
    unsigned in_bank[BANKS] = {};
    unsigned most = 0;
    for (unsigned i = 0; i < count; i++) {
        most = std::max(most, ++in_bank[words[i] % BANKS]);
    }
    return most;
}

}  // namespace

void AccessCounter::begin_launch(bool counting, uintptr_t shared_base) {
    totals = Totals{};
    counting_ = counting;
    shared_base_ = shared_base;
    sites_.clear();
    pending_.clear();
    slots_.assign(256, 0);
}

unsigned AccessCounter::site_of(uintptr_t key) {
    const size_t mask = slots_.size() - 1;
    for (size_t slot = slot_hash(key) & mask;; slot = (slot + 1) & mask) {
        if (slots_[slot] == 0) {
            Site site{};
            site.key = key;
            sites_.push_back(site);
            slots_[slot] = static_cast<unsigned>(sites_.size());
            if (sites_.size() * 2 > slots_.size()) {
                grow();
            }
            return static_cast<unsigned>(sites_.size() - 1);
        }
        if (sites_[slots_[slot] - 1].key == key) {
            return slots_[slot] - 1;
        }
    }
}

void AccessCounter::grow() {
    slots_.assign(slots_.size() * 2, 0);
    const size_t mask = slots_.size() - 1;
    for (unsigned i = 0; i < sites_.size(); i++) {
        size_t slot = slot_hash(sites_[i].key) & mask;
        while (slots_[slot] != 0) {
            slot = (slot + 1) & mask;
        }
        slots_[slot] = i + 1;
    }
}

void AccessCounter::record(const void* pc, unsigned lane, uint32_t existing, uintptr_t address,
                           unsigned bytes, Space space, bool store) {
    if (!counting_) {
        return;
    }
    const uintptr_t kind = (space == Space::shared ? 1 : 0) + (store ? 2 : 0);
    const unsigned index = site_of(reinterpret_cast<uintptr_t>(pc) * 4 + kind);
    Site& site = sites_[index];
    if (!site.pending) {
        site.pending = true;
        site.bytes = bytes;
        site.space = space;
        site.store = store;
        pending_.push_back(index);
    }
    const uint32_t execution = site.seen[lane]++;
    if (execution >= site.groups.size()) {
        site.groups.emplace_back();
        site.groups.back().lanes = 0;
    }
    Group& group = site.groups[execution];
    group.lanes |= uint32_t{1} << lane;
    group.address[lane] = address;
    if (group.lanes == existing) {
        count(site, group);
        group.lanes = 0;
    }
}

void AccessCounter::flush() {
    for (const unsigned index : pending_) {
        Site& site = sites_[index];
        for (const Group& group : site.groups) {
            if (group.lanes != 0) {
                count(site, group);
            }
        }
        site.groups.clear();
        site.pending = false;
        std::memset(site.seen, 0, sizeof site.seen);
    }
    pending_.clear();
}

void AccessCounter::count(const Site& site, const Group& group) {
    if (site.space == Space::shared) {
        count_shared(group, site.bytes);
    } else {
        count_global(group, site.bytes, site.store);
    }
}

void AccessCounter::count_global(const Group& group, unsigned bytes, bool store) {
    uintptr_t addresses[32];
    unsigned count = 0;
    bool sorted = true;
    for (uint32_t lanes = group.lanes; lanes != 0; lanes &= lanes - 1) {
        addresses[count] = group.address[__builtin_ctz(lanes)];
        sorted = sorted && (count == 0 || addresses[count - 1] <= addresses[count]);
        count++;
    }
    if (!sorted) {
        std::sort(addresses, addresses + count);
    }
    uintptr_t next_sector = 0;  // sectors below are counted
    uintptr_t next_byte = 0;    // bytes below are counted
    uint64_t sectors = 0;
    uint64_t distinct = 0;
    for (unsigned i = 0; i < count; i++) {
        const uintptr_t begin = addresses[i];
        const uintptr_t end = begin + bytes;
        const uintptr_t first = std::max(begin / SECTOR_BYTES, next_sector);
        const uintptr_t past = (end - 1) / SECTOR_BYTES + 1;
        if (past > first) {
            sectors += past - first;
            next_sector = past;
        }
        if (end > next_byte) {
            distinct += end - std::max(begin, next_byte);
            next_byte = end;
        }
    }
    const uint64_t least = (distinct + SECTOR_BYTES - 1) / SECTOR_BYTES;
    if (store) {
        totals.global_stores++;
        totals.global_store_sectors += sectors;
        totals.global_store_sectors_least += least;
    } else {
        totals.global_loads++;
        totals.global_load_sectors += sectors;
        totals.global_load_sectors_least += least;
    }
}

// An access of 8 or 16 bytes a lane takes two or four turns: half or a quarter of the warp in each.
void AccessCounter::count_shared(const Group& group, unsigned bytes) {
    totals.shared_accesses++;
    const unsigned words_per_lane = std::max(1u, bytes / BANK_BYTES);
    const unsigned lanes_per_turn = BANKS / words_per_lane;
    for (unsigned first = 0; first < 32; first += lanes_per_turn) {
        uintptr_t words[BANKS];
        unsigned count = 0;
        for (unsigned lane = first; lane < first + lanes_per_turn; lane++) {
            if (group.lanes >> lane & 1) {
                const uintptr_t word = (group.address[lane] - shared_base_) / BANK_BYTES;
                for (unsigned i = 0; i < words_per_lane; i++) {
                    words[count++] = word + i;
                }
            }
        }
        if (count != 0) {
            totals.bank_conflicts += turns(words, count) - 1;
        }
    }
}

void AccessCounter::record_rows(const uintptr_t (&rows)[8]) {
    if (!counting_) {
        return;
    }
    uintptr_t words[BANKS];
    for (unsigned row = 0; row < 8; row++) {
        for (unsigned i = 0; i < 4; i++) {
            words[row * 4 + i] = (rows[row] - shared_base_) / BANK_BYTES + i;
        }
    }
    totals.shared_accesses++;
    totals.bank_conflicts += turns(words, BANKS) - 1;
}

static_assert(TURN_BYTES == 8 * 16, "eight rows of a matrix fill one turn");

}  // namespace executor
