// Times every kernel with CUDA events at the shapes of mamba-130m and mamba-2.8b, with the bandwidth and arithmetic that
// are measured in the same run. scripts/gpu-check.sh compiles it with the machine's nvcc and runs it.
//
// Activations are f32, weights bf16. A line has the median time of a launch, the bytes that must move and the floating
// point operations of the formula, and what that is of the measured ceilings.
#include "../cuda/kernels.cu"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        const cudaError_t status = (call);                                                                             \
        if (status != cudaSuccess) {                                                                                   \
            std::fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(status));                                       \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

__global__ void copy_all(const float4* source, float4* target, size_t count) {
    const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) target[i] = source[i];
}

constexpr int CHAINS = 8, STEPS = 4096;

__global__ void multiply_adds(float* out, float x) {
    float sum[CHAINS];
    for (int i = 0; i < CHAINS; i++) sum[i] = static_cast<float>(threadIdx.x + i);
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int i = 0; i < CHAINS; i++) sum[i] = __fmaf_rn(sum[i], x, x);
    }
    float total = 0.0f;
    for (int i = 0; i < CHAINS; i++) total += sum[i];
    if (total == 1.5f) *out = total; // keeps the loop
}

__global__ void tensor_products(float* out) {
    float d[4][4] = {};
    const uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {4, 5};
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int i = 0; i < 4; i++) matrix_product(BF16{}, d[i], a, b);
    }
    if (d[0][0] + d[1][0] + d[2][0] + d[3][0] == 1.5f) *out = 1.0f;
}

// The median of the times of one run, in microseconds.
static double time_of(const std::function<void()>& launch) {
    constexpr int RUNS = 21;
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < RUNS + 3; i++) {
        CHECK(cudaEventRecord(begin));
        launch();
        CHECK(cudaEventRecord(end));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaGetLastError());
        float milliseconds;
        CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
        if (i >= 3) times.push_back(milliseconds);
    }
    std::sort(times.begin(), times.end());
    return times[RUNS / 2] * 1e3;
}

struct Ceilings {
    double bytes, flops, tensor_flops; // per second
} ceilings;

static void line(const std::string& name, double microseconds, double bytes, double flops, bool tensor = false) {
    const double seconds = microseconds * 1e-6, most = tensor ? ceilings.tensor_flops : ceilings.flops;
    std::printf("%-44s %10.2f us  %9.1f GB/s %5.1f %%  %9.2f TFLOP/s %5.1f %%\n", name.c_str(), microseconds,
                bytes / seconds * 1e-9, 100 * bytes / seconds / ceilings.bytes, flops / seconds * 1e-12,
                100 * flops / seconds / most);
    std::fflush(stdout);
}

// Zeroed memory of the device, never freed: the process ends soon.
static void* memory(size_t bytes) {
    void* address;
    CHECK(cudaMalloc(&address, bytes + 256));
    CHECK(cudaMemset(address, 0, bytes + 256));
    return address;
}

static unsigned ceil_div(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

static Span* spans_of(int64_t sequences, int64_t length, int64_t cut, unsigned& count) {
    std::vector<Span> spans;
    for (int64_t i = 0; i < sequences; i++) {
        for (int64_t t = 0; t < length; t += cut) {
            spans.push_back({i * length + t, i * length + std::min(length, t + cut), i * length, (i + 1) * length,
                             static_cast<uint32_t>(i), 0});
        }
    }
    count = static_cast<unsigned>(spans.size());
    auto* const table = static_cast<Span*>(memory(spans.size() * sizeof(Span)));
    CHECK(cudaMemcpy(table, spans.data(), spans.size() * sizeof(Span), cudaMemcpyHostToDevice));
    return table;
}

static void linear(const std::string& name, int64_t tokens, int64_t k, int64_t n, int multiprocessors) {
    LinearArgs args{};
    const int64_t stride = (k + 15) / 16 * 16;
    args.weight = memory(n * stride * 2);
    args.input = memory(tokens * stride * 4);
    args.output = memory(tokens * n * 4);
    args.weight_stride = stride;
    args.input_stride = k;
    args.output_stride = n;
    args.tokens = tokens;
    args.in_features = k;
    args.out_features = args.split = n;
    args.weight_type = MK_BF16;
    const double flops = 2.0 * tokens * n * k, bytes = 2.0 * n * k + 4.0 * tokens * (n + k);
    const std::string shape = name + "/m" + std::to_string(tokens) + "_k" + std::to_string(k) + "_n" + std::to_string(n);
    if (tokens <= 8) {
        const dim3 grid(ceil_div(n, 16), ceil_div(tokens, 8));
        line(shape + "/few_rows", time_of([&] { mk_linear_few_rows_bf16<<<grid, 128>>>(args); }), bytes, flops);
        return;
    }
    const dim3 large(ceil_div(tokens, 128), ceil_div(n, 128)), small(ceil_div(tokens, 64), ceil_div(n, 64));
    if (large.x * large.y >= static_cast<unsigned>(multiprocessors)) {
        line(shape + "/exact_128", time_of([&] { mk_linear_exact_128<<<large, 256, 32768>>>(args); }), bytes, flops);
    } else {
        line(shape + "/exact_64", time_of([&] { mk_linear_exact_64<<<small, 256, 16384>>>(args); }), bytes, flops);
    }
    LinearArgs aligned = args;
    void* const converted = memory(tokens * stride * 2);
    ConvertArgs convert{args.input, converted, k, stride, tokens, k, MK_F32, MK_BF16};
    aligned.input = converted;
    aligned.input_stride = stride;
    aligned.input_type = MK_BF16;
    const dim3 rows(ceil_div(k, 1024), static_cast<unsigned>(std::min<int64_t>(tokens, 65535)));
    const double time = time_of([&] {
        mk_convert<<<rows, 256>>>(convert);
        mk_linear_tensor_cores_bf16<<<large, 256, 49152>>>(aligned);
    });
    line(shape + "/tensor_cores", time, bytes + 4.0 * tokens * k, flops, true);
}

static void conv_and_scan(int64_t sequences, int64_t length, int64_t channels) {
    const int64_t tokens = sequences * length, states = 16;
    const double wide = 4.0 * tokens * channels;
    const std::string shape = "/b" + std::to_string(sequences) + "_l" + std::to_string(length) + "_d" + std::to_string(channels);
    unsigned count;
    ConvArgs conv{};
    conv.input = memory(wide);
    conv.weight = static_cast<float*>(memory(4 * channels * 4));
    conv.bias = static_cast<float*>(memory(channels * 4));
    conv.state = static_cast<float*>(memory(sequences * 3 * channels * 4));
    conv.output = memory(wide);
    conv.spans = spans_of(sequences, length, MK_CONV_CUT, count);
    conv.input_stride = conv.output_stride = conv.channels = channels;
    conv.d_conv = 4;
    conv.silu = 1;
    conv.vector = 4;
    const dim3 conv_grid(count, ceil_div(channels, 512)), state_grid(count, ceil_div(channels, 128));
    const double conv_bytes = 2 * wide + (length > 64 ? 1 : 2) * 4.0 * sequences * 3 * channels;
    line("causal_conv1d" + shape, time_of([&] {
             mk_causal_conv1d_f32<<<conv_grid, 128>>>(conv);
             if (length > MK_CONV_CUT) mk_causal_conv1d_state<<<state_grid, 128>>>(conv);
         }), conv_bytes, 8.0 * tokens * channels);

    ScanArgs scan{};
    scan.u = conv.input;
    scan.delta = memory(wide);
    scan.z = memory(wide);
    scan.b = memory(tokens * states * 4);
    scan.c = memory(tokens * states * 4);
    scan.a = static_cast<float*>(memory(states * channels * 4));
    scan.d = conv.bias;
    scan.delta_bias = conv.bias;
    scan.state_out = static_cast<float*>(memory(sequences * states * channels * 4));
    scan.state_in = scan.state_out;
    scan.output = conv.output;
    scan.spans = spans_of(sequences, length, length, count);
    scan.u_stride = scan.delta_stride = scan.z_stride = scan.output_stride = scan.channels = channels;
    scan.b_stride = scan.c_stride = scan.d_state = states;
    scan.n_groups = scan.delta_softplus = 1;
    scan.span_count = count;
    const unsigned columns = ceil_div(channels, 16);
    const double bytes = 4 * wide + 8.0 * tokens * states + 4.0 * states * channels * (1 + 2 * sequences);
    const double flops = (19.0 * states + 100) * tokens * channels; // 7 fused, 5 other per state; softplus and gate
    line("selective_scan" + shape + "/exact", time_of([&] { mk_scan_exact_4<<<dim3(count, columns), 64>>>(scan); }), bytes,
         flops);
    if (length <= MK_CHUNK_CUT) return;
    ScanArgs chunks = scan;
    chunks.spans = spans_of(sequences, length, MK_CHUNK_CUT, count);
    chunks.span_count = count;
    chunks.chunk_state = static_cast<float*>(memory(count * states * channels * 4));
    chunks.chunk_delta = static_cast<float*>(memory(count * channels * 4));
    ScanArgs apply = chunks;
    apply.chunked = 1;
    line("selective_scan" + shape + "/chunked", time_of([&] {
             mk_scan_chunk_4<<<dim3(count, columns), 64>>>(chunks);
             mk_scan_combine<<<dim3(count, ceil_div(channels, 128), states), 128>>>(chunks);
             mk_scan_exact_4<<<dim3(count, columns), 64>>>(apply);
         }), bytes, flops);
}

static void norm(int64_t tokens, int64_t channels) {
    NormArgs args{memory(4 * tokens * channels), nullptr, static_cast<float*>(memory(4 * channels)),
                  memory(4 * tokens * channels), channels, 0, channels, channels, 1e-5f, MK_F32, MK_F32,
                  static_cast<uint32_t>((channels + 15) / 16 * 16)};
    const double time = time_of([&] { mk_rms_norm<<<static_cast<unsigned>(tokens), 128, args.tile * 4>>>(args); });
    line("rms_norm/m" + std::to_string(tokens) + "_d" + std::to_string(channels), time, 8.0 * tokens * channels,
         4.0 * tokens * channels);
}

int main() {
    cudaDeviceProp device;
    CHECK(cudaGetDeviceProperties(&device, 0));
    const int multiprocessors = device.multiProcessorCount;
    std::printf("%s, sm_%d%d, %d multiprocessors\n", device.name, device.major, device.minor, multiprocessors);

    const size_t bytes = size_t(1) << 29;
    auto* const source = static_cast<float4*>(memory(bytes));
    auto* const target = static_cast<float4*>(memory(bytes));
    auto* const out = static_cast<float*>(memory(4));
    const double copy = time_of([&] { copy_all<<<multiprocessors * 8, 256>>>(source, target, bytes / 16); });
    const double fma = time_of([&] { multiply_adds<<<multiprocessors * 8, 256>>>(out, 0.5f); });
    const double mma = time_of([&] { tensor_products<<<multiprocessors * 8, 256>>>(out); });
    ceilings.bytes = 2.0 * bytes / (copy * 1e-6);
    ceilings.flops = 2.0 * CHAINS * STEPS * multiprocessors * 8 * 256 / (fma * 1e-6);
    ceilings.tensor_flops = 2.0 * 16 * 8 * 16 * 4 * STEPS * multiprocessors * 8 * 8 / (mma * 1e-6);
    std::printf("measured: copy %.0f GB/s, f32 multiply-adds %.1f TFLOP/s, mma.sync bf16 %.0f TFLOP/s\n",
                ceilings.bytes * 1e-9, ceilings.flops * 1e-12, ceilings.tensor_flops * 1e-12);

    const struct {
        int64_t d_model, d_inner, dt_rank;
    } models[] = {{768, 1536, 48}, {2560, 5120, 160}};
    for (const auto& model : models) {
        for (const int64_t tokens : {int64_t(2048), int64_t(8), int64_t(1)}) {
            linear("in_proj", tokens, model.d_model, 2 * model.d_inner, multiprocessors);
            linear("x_proj", tokens, model.d_inner, model.dt_rank + 32, multiprocessors);
            linear("dt_proj", tokens, model.dt_rank, model.d_inner, multiprocessors);
            linear("out_proj", tokens, model.d_inner, model.d_model, multiprocessors);
            if (tokens == 1) linear("lm_head", tokens, model.d_model, 50280, multiprocessors);
        }
        norm(2048, model.d_model);
        conv_and_scan(1, 2048, model.d_inner);
        conv_and_scan(8, 2048, model.d_inner);
        conv_and_scan(64, 1, model.d_inner);
        conv_and_scan(1, 1, model.d_inner);
    }
    return 0;
}
