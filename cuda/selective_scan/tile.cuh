// The tile of the selective scan: which thread has what, and how shared memory is laid out.
#ifndef MAMBA_KERNELS_SELECTIVE_SCAN_TILE_CUH
#define MAMBA_KERNELS_SELECTIVE_SCAN_TILE_CUH

#include "math.cuh"

#define SCAN_THREADS 64
#define SCAN_CHANNELS 16
#define SCAN_LANES 4
#define MK_QUIET 7.888609052210118e-31f // 2^-100: delta * u counts as 0 below, and then so does a state

// How a tile is shared out.
template <int S> struct ScanTile {
    static constexpr int ROWS = S == 4 ? 32 : S == 16 ? 16 : 8;
    static constexpr int STEP = SCAN_THREADS / SCAN_CHANNELS; // a thread has every STEP-th row of [rows, channels]
    static constexpr int COUNT = ROWS / STEP;
};

// The shared memory of a block.
struct ScanShared {
    float2* delta_du; // [ROWS][16]
    float* u;         // [ROWS][16]; null without outputs
    float* y;         // [ROWS][16], see y_at; null without outputs
    float* b;         // [ROWS][4 * S], see state_at
    float* c;         // the same; null without outputs
    float4* a;        // [S / 4][64]: a * log2 e of each lane's states, four together; null if registers hold them
    float* lowest;    // [16]: the least a * log2 e of each channel
    float* highest;   // [16]
};

// Where state n lies in a row: the four states 4 i + j, i ascending, of lane j next to each other, for one 16-byte
// load.
DEVICE int state_at(int n) { return n / 16 * 16 + n % 4 * 4 + n / 4 % 4; }

// Where y of a channel lies: two rows in four are permuted, so four rows of eight channels use all banks.
DEVICE int y_at(int row, int channel) { return row * SCAN_CHANNELS + (channel ^ (row & 2) << 2); }

// The channels and states of this block.
struct ScanBlock {
    int64_t first;       // the first channel
    int count;           // 1 to 16
    int64_t first_state; // 0, except in blocks of the chunk kernel that have later states
    int states;          // 1 to 4 * S
    int64_t parameters;  // of b and c: where the states begin in a row
    __device__ __forceinline__ ScanBlock(const ScanArgs& args, int64_t first_state, int most_states)
        : first_state(first_state) {
        const int64_t in_group = args.channels / args.n_groups;
        const int64_t per_group = (in_group + SCAN_CHANNELS - 1) / SCAN_CHANNELS;
        const int64_t index = blockIdx.y % per_group, owner = blockIdx.y / per_group;
        first = owner * in_group + index * SCAN_CHANNELS;
        const int64_t left = in_group - index * SCAN_CHANNELS;
        count = left < SCAN_CHANNELS ? static_cast<int>(left) : SCAN_CHANNELS;
        const int64_t states_left = args.d_state - first_state;
        states = states_left < most_states ? static_cast<int>(states_left) : most_states;
        parameters = owner * args.d_state + first_state;
    }
};


// The column that a thread loads and stores of the [rows, channels] arrays: every STEP-th row of one channel.
template <int S> struct ScanColumn {
    using Tile = ScanTile<S>;
    int channel;   // of the block
    int first_row; // of the tile
    bool exists;   // whether the block has this channel
    int64_t at;    // the channel, of all channels
    __device__ __forceinline__ explicit ScanColumn(const ScanBlock& block)
        : channel(static_cast<int>(threadIdx.x) % SCAN_CHANNELS),
          first_row(static_cast<int>(threadIdx.x) / SCAN_CHANNELS), exists(channel < block.count),
          at(block.first + channel) {}

    // How many of the column's elements lie in the first `rows` rows.
    __device__ __forceinline__ int present(int rows) const {
        return exists ? (rows - first_row + Tile::STEP - 1) / Tile::STEP : 0;
    }
};

#endif
