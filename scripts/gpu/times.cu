// What this GPU can do: bandwidth and arithmetic that the times of kernels are compared with.
//
//   gpu_times           measures; appends JSON lines to the file that RESULTS names, or writes them to the output
//   gpu_times --list    the lines without values; needs no GPU
//   nvcc -std=c++17 -O2 --fmad=false -gencode arch=compute_90,code=sm_90 -cudart static -Icuda -o gpu_times           \
//     scripts/gpu/times.cu
//
// Data are random, since a GPU is faster on zeros. A ceiling is the median of 15 replays of a graph of four launches.
#include "ptx.cuh"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>
#include <functional>
#include <vector>

constexpr int REPLAYS = 15, THREADS = 256;
constexpr size_t BUFFER_BYTES = size_t(1) << 29; // two of them: far more than any L2 cache

static FILE* results = stdout;

static void write_ceiling(const char* name, const char* unit, double value) {
    std::fprintf(results, "{\"part\":\"ceiling\",\"name\":\"%s\",\"value\":", name);
    if (value > 0) std::fprintf(results, "%.2f", value);
    else std::fprintf(results, "null");
    std::fprintf(results, ",\"unit\":\"%s\"}\n", unit);
    std::fflush(results);
}

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        const cudaError_t status = (call);                                                                             \
        if (status != cudaSuccess) {                                                                                   \
            std::fprintf(results,                                                                                      \
                         "{\"part\":\"check\",\"name\":\"ceilings\",\"status\":\"failed\","                            \
                         "\"detail\":\"line %d: %s\"}\n",                                                              \
                         __LINE__, cudaGetErrorString(status));                                                        \
            std::fflush(results);                                                                                      \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

// Floats in -2..-1 and 1..2 with random signs and mantissas. Read as pairs of bf16, they are finite too: the lower half
// has its exponent's highest bit cleared.
__global__ void fill(uint32_t* target, size_t count) {
    const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        uint32_t bits = static_cast<uint32_t>(i) * 0x9e3779b9u + static_cast<uint32_t>(i >> 32);
        bits = (bits ^ bits >> 16) * 0x85ebca6bu;
        bits = (bits ^ bits >> 13) * 0xc2b2ae35u;
        bits ^= bits >> 16;
        target[i] = (bits & 0x807fbfffu) | 0x3f800000u;
    }
}

__global__ void copy(const float4* source, float4* target, size_t count) {
    const size_t step = static_cast<size_t>(gridDim.x) * THREADS * 4;
    for (size_t i = static_cast<size_t>(blockIdx.x) * THREADS * 4 + threadIdx.x; i < count; i += step) {
        float4 four[4]; // count is a multiple of THREADS * 4
#pragma unroll
        for (int j = 0; j < 4; j++) four[j] = source[i + j * THREADS];
#pragma unroll
        for (int j = 0; j < 4; j++) target[i + j * THREADS] = four[j];
    }
}

__global__ void read(const float4* source, float* out, size_t count) {
    const size_t step = static_cast<size_t>(gridDim.x) * THREADS * 4;
    float sum = 0.0f;
    for (size_t i = static_cast<size_t>(blockIdx.x) * THREADS * 4 + threadIdx.x; i < count; i += step) {
        float4 four[4];
#pragma unroll
        for (int j = 0; j < 4; j++) four[j] = source[i + j * THREADS];
#pragma unroll
        for (int j = 0; j < 4; j++) sum += (four[j].x + four[j].y) + (four[j].z + four[j].w);
    }
    if (sum == 1e30f) *out = sum; // keeps the loop
}

// The inner loop of a matrix product: 8 x 8 sums of a thread in registers.
constexpr int SIDE = 8, FMA_STEPS = 256, FMA_UNROLL = 4;

__global__ void __launch_bounds__(THREADS, 2) multiply_adds(const float* source, float* out) {
    float x[SIDE], w[SIDE], sums[SIDE][SIDE];
#pragma unroll
    for (int i = 0; i < SIDE; i++) {
        x[i] = source[i * THREADS + threadIdx.x];
        w[i] = source[(SIDE + i) * THREADS + threadIdx.x];
#pragma unroll
        for (int j = 0; j < SIDE; j++) sums[i][j] = 0.0f;
    }
#pragma unroll 1
    for (int step = 0; step < FMA_STEPS; step++) {
#pragma unroll
        for (int u = 0; u < FMA_UNROLL; u++) {
#pragma unroll
            for (int i = 0; i < SIDE; i++) {
#pragma unroll
                for (int j = 0; j < SIDE; j++) sums[i][j] = __fmaf_rn(x[(i + u) % SIDE], w[j], sums[i][j]);
            }
        }
    }
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < SIDE; i++) {
#pragma unroll
        for (int j = 0; j < SIDE; j++) total += sums[i][j];
    }
    if (total == 1e30f) *out = total;
}

// 32 x 32 sums of a warp in registers.
constexpr int ROWS = 2, COLUMNS = 4, MMA_STEPS = 2048, MMA_UNROLL = 2;

__global__ void __launch_bounds__(THREADS, 2) tensor_products(const uint32_t* source, float* out) {
    uint32_t a[ROWS][4], b[COLUMNS][2];
    float sums[ROWS][COLUMNS][4] = {};
    source += threadIdx.x;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int k = 0; k < 4; k++, source += THREADS) a[i][k] = *source;
    }
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
#pragma unroll
        for (int k = 0; k < 2; k++, source += THREADS) b[j][k] = *source;
    }
#pragma unroll 1
    for (int step = 0; step < MMA_STEPS; step++) {
#pragma unroll
        for (int u = 0; u < MMA_UNROLL; u++) {
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) {
                    matrix_product(BF16{}, sums[i][j], a[(i + u) % ROWS], b[j]);
                }
            }
        }
    }
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) total += (sums[i][j][0] + sums[i][j][1]) + (sums[i][j][2] + sums[i][j][3]);
    }
    if (total == 1e30f) *out = total;
}

// The median time of a graph that `launches` records, in seconds.
static double seconds_of(cudaStream_t stream, const std::function<void()>& launches) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launches();
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < REPLAYS + 3; i++) {
        CHECK(cudaEventRecord(begin, stream));
        CHECK(cudaGraphLaunch(exec, stream));
        CHECK(cudaEventRecord(end, stream));
        CHECK(cudaEventSynchronize(end));
        float milliseconds;
        CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
        if (i >= 3) times.push_back(milliseconds);
    }
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    std::sort(times.begin(), times.end());
    return times[REPLAYS / 2] * 1e-3;
}

int main(int count, char** arguments) {
    const char* const path = std::getenv("RESULTS");
    if (path != nullptr && *path != '\0') {
        results = std::fopen(path, "a");
        if (results == nullptr) {
            std::perror(path);
            return 1;
        }
    }
    if (count > 1 && std::strcmp(arguments[1], "--list") == 0) {
        write_ceiling("copy", "GB/s", 0);
        write_ceiling("read", "GB/s", 0);
        write_ceiling("fma_f32", "TFLOP/s", 0);
        write_ceiling("mma_bf16", "TFLOP/s", 0);
        return 0;
    }
    cudaDeviceProp device;
    CHECK(cudaGetDeviceProperties(&device, 0));
    const int blocks = device.multiProcessorCount * 8;
    cudaStream_t stream;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    uint32_t* words; // one gibibyte, used as two halves
    float* out;
    CHECK(cudaMalloc(&words, 2 * BUFFER_BYTES));
    CHECK(cudaMalloc(&out, sizeof(float)));
    fill<<<blocks, THREADS, 0, stream>>>(words, 2 * BUFFER_BYTES / 4);
    CHECK(cudaGetLastError());
    const auto* const floats = reinterpret_cast<const float*>(words);
    auto* const half = reinterpret_cast<float4*>(words);
    float4* const other = half + BUFFER_BYTES / 16;

    double seconds = seconds_of(stream, [&] {
        for (int i = 0; i < 4; i++) {
            copy<<<blocks, THREADS, 0, stream>>>(i % 2 ? other : half, i % 2 ? half : other, BUFFER_BYTES / 16);
        }
    });
    write_ceiling("copy", "GB/s", 4 * 2.0 * BUFFER_BYTES / seconds * 1e-9);

    seconds = seconds_of(stream, [&] {
        for (int i = 0; i < 4; i++) read<<<blocks, THREADS, 0, stream>>>(half, out, 2 * BUFFER_BYTES / 16);
    });
    write_ceiling("read", "GB/s", 4 * 2.0 * BUFFER_BYTES / seconds * 1e-9);

    const double threads = static_cast<double>(blocks) * THREADS;
    seconds = seconds_of(stream, [&] {
        for (int i = 0; i < 4; i++) multiply_adds<<<blocks, THREADS, 0, stream>>>(floats, out);
    });
    write_ceiling("fma_f32", "TFLOP/s", 4 * threads * 2.0 * SIDE * SIDE * FMA_UNROLL * FMA_STEPS / seconds * 1e-12);

    seconds = seconds_of(stream, [&] {
        for (int i = 0; i < 4; i++) tensor_products<<<blocks, THREADS, 0, stream>>>(words, out);
    });
    const double product = 2.0 * 16 * 8 * 16; // operations of one mma.sync
    write_ceiling("mma_bf16", "TFLOP/s",
                  4 * threads / 32 * product * ROWS * COLUMNS * MMA_UNROLL * MMA_STEPS / seconds * 1e-12);
    return 0;
}
