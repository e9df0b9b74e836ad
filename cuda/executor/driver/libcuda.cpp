// NVIDIA's driver API on top of the executor, as a library by the name of the driver's: the calls of a program that
// wants a GPU run kernels on the CPU. It has what this crate and cudarc call, checks what it is given, and counts what is
// left when the process ends. scripts/gpu/driver.sh builds it.
//
// What a driver does and this one too: a call without a current context fails; a kernel must be in the image that was
// loaded; a graph holds copies of the arguments; memory is used only between its allocation and its release; a fault in a
// kernel makes all later calls fail. What it does not: anything at the same time. A call has done its work when it
// returns.
//
// MAMBA_EXECUTOR_DRIVER_FAIL=FUNCTION:N:STATUS makes the Nth call of a function fail, for tests of what follows.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

struct Device; // the executor's

extern "C" {
Device* mamba_executor_new(int checked, int counting, uint64_t memory_limit);
uint64_t mamba_executor_alloc(Device*, size_t bytes);
int mamba_executor_free(Device*, uint64_t address);
int mamba_executor_zero(Device*, uint64_t address, size_t bytes);
int mamba_executor_upload(Device*, uint64_t address, const void* host, size_t bytes);
int mamba_executor_download(Device*, uint64_t address, void* host, size_t bytes);
int mamba_executor_launch(Device*, const char* name, size_t name_bytes, const uint32_t* grid, const uint32_t* block,
                          uint32_t shared_bytes, const void* args, size_t args_bytes);
const char* mamba_executor_message(const Device*);
int64_t mamba_executor_args_size(const char* name, size_t name_bytes, int checked);
}

namespace {

enum Status : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    STUB_LIBRARY = 34,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
};

constexpr int CHECKED = 1;
constexpr uint64_t MEMORY = 16ull << 30;
constexpr uint32_t USUAL_SHARED = 48 << 10;

struct Module {
    std::string image;
};
struct Function {
    const Module* module;
    std::string name;
    size_t args_bytes;
};
struct Node {
    const Function* function;
    uint32_t grid[3], block[3], shared_bytes;
    std::vector<uint64_t> args; // aligned as the struct is
};
struct Graph {
    std::vector<std::unique_ptr<Node>> nodes;
};
struct Executable {
    std::vector<Node> nodes;
};
struct Stream {};
struct Pool {};
struct Event {
    std::chrono::steady_clock::time_point at;
};

// All objects of one kind that exist.
template <class T> struct Objects {
    std::map<T*, std::unique_ptr<T>> all;
    T* add(T value = T()) {
        auto object = std::make_unique<T>(std::move(value));
        T* const handle = object.get();
        all[handle] = std::move(object);
        return handle;
    }
    bool has(const void* handle) const { return all.count(static_cast<T*>(const_cast<void*>(handle))) != 0; }
    bool remove(const void* handle) { return all.erase(static_cast<T*>(const_cast<void*>(handle))) != 0; }
};

struct Driver {
    std::recursive_mutex lock;
    Device* device = mamba_executor_new(CHECKED, 0, MEMORY);
    int contexts = 0, sticky = SUCCESS;
    std::set<uint64_t> allocations;
    Objects<Module> modules;
    Objects<Function> functions;
    Objects<Graph> graphs;
    Objects<Executable> executables;
    Objects<Stream> streams;
    Objects<Pool> pools;
    Objects<Event> events;
    std::map<std::string, int> calls;
    std::string failing;
    int failing_call = 0, failing_status = 999;

    Driver() {
        const char* const wish = std::getenv("MAMBA_EXECUTOR_DRIVER_FAIL");
        char name[100];
        if (wish != nullptr && std::sscanf(wish, "%99[^:]:%d:%d", name, &failing_call, &failing_status) >= 2) failing = name;
    }
    ~Driver() {
        std::fprintf(stderr, "libcuda of the executor: at the end %zu graphs, %zu executable graphs, %zu modules, %zu streams, %zu pools, "
                             "%zu events, %zu allocations\n",
                     graphs.all.size(), executables.all.size(), modules.all.size(), streams.all.size(), pools.all.size(),
                     events.all.size(), allocations.size());
    }
};

Driver& driver() {
    static Driver instance;
    return instance;
}

int primary; // its address is the handle of the primary context
thread_local void* current = nullptr;

// Begins each function: the lock, the failure that was asked for, the failure before, and the context.
struct Call {
    Driver& d = driver();
    std::lock_guard<std::recursive_mutex> guard{d.lock};
    int status = SUCCESS;
    Call(const char* name, bool needs_context) {
        if (++d.calls[name] == d.failing_call && d.failing == name) status = d.failing_status;
        else if (d.sticky != SUCCESS) status = d.sticky;
        else if (needs_context && (current == nullptr || d.contexts == 0)) status = INVALID_CONTEXT;
        if (status != SUCCESS && d.sticky == SUCCESS) std::fprintf(stderr, "libcuda of the executor: %s gives %d\n", name, status);
    }
};

#define CALL(needs_context)                 \
    Call call(__func__, needs_context);     \
    Driver& d = call.d;                     \
    (void)d;                                \
    if (call.status != SUCCESS) return call.status

int refused(const char* what) {
    std::fprintf(stderr, "libcuda of the executor: %s\n", what);
    return INVALID_VALUE;
}

int executor_failed(Driver& d) {
    std::fprintf(stderr, "libcuda of the executor: %s\n", mamba_executor_message(d.device));
    return INVALID_VALUE;
}

int run(Driver& d, const Function& function, const uint32_t* grid, const uint32_t* block, uint32_t shared_bytes,
        const void* args) {
    if (shared_bytes > USUAL_SHARED) return refused("more than 48 KiB of shared memory");
    if (mamba_executor_launch(d.device, function.name.data(), function.name.size(), grid, block, shared_bytes, args,
                              function.args_bytes) != 0) {
        std::fprintf(stderr, "libcuda of the executor: %s: %s\n", function.name.c_str(), mamba_executor_message(d.device));
        d.sticky = LAUNCH_FAILED;
        return LAUNCH_FAILED;
    }
    return SUCCESS;
}

bool is_stream(const Driver& d, const void* stream) {
    const auto handle = reinterpret_cast<uintptr_t>(stream);
    return handle <= 2 || d.streams.has(stream); // the default streams have the handles 0, 1 and 2
}

// The bytes of an image that is given without its size: machine code says it, PTX ends with a zero.
size_t image_bytes(const char* image) {
    if (std::memcmp(image, "\x7f" "ELF", 4) != 0) return std::strlen(image);
    uint64_t sections;
    uint16_t size, count;
    std::memcpy(&sections, image + 40, 8);
    std::memcpy(&size, image + 58, 2);
    std::memcpy(&count, image + 60, 2);
    return sections + size_t{size} * count;
}

int attribute_of_device(int attribute) {
    switch (attribute) {
        case 16: return 132;  // multiprocessors, as an H100 has
        case 75: return 9;    // compute capability
        case 76: return 0;
        case 115: return 1;   // memory pools
        default: return 0;
    }
}

} // namespace

#define API extern "C" __attribute__((visibility("default")))
using Handle = void*;

API int cuInit(unsigned) {
    CALL(false);
    return SUCCESS;
}
API int cuDriverGetVersion(int* version) {
    CALL(false);
    *version = 13000;
    return SUCCESS;
}
API int cuGetErrorName(int status, const char** text) {
    static thread_local std::string name;
    name = "CUDA_ERROR_" + std::to_string(status);
    *text = name.c_str();
    return SUCCESS;
}
API int cuGetErrorString(int status, const char** text) {
    static thread_local std::string message;
    message = "status " + std::to_string(status) + " of the executor's driver";
    *text = message.c_str();
    return SUCCESS;
}
// NVIDIA's own libraries look for tables of functions here, NVRTC 13 among them: each begins with its size, and these are
// empty.
API int cuGetExportTable(const void** table, const void*) {
    static const size_t empty = sizeof(size_t);
    *table = &empty;
    return SUCCESS;
}
API int cuDeviceGetCount(int* count) {
    CALL(false);
    *count = 1;
    return SUCCESS;
}
API int cuDeviceGet(int* device, int ordinal) {
    CALL(false);
    if (ordinal != 0) return INVALID_DEVICE;
    *device = 0;
    return SUCCESS;
}
API int cuDeviceGetName(char* name, int bytes, int) {
    CALL(false);
    std::snprintf(name, bytes, "the executor as a device");
    return SUCCESS;
}
API int cuDeviceGetAttribute(int* value, int attribute, int) {
    CALL(false);
    *value = attribute_of_device(attribute);
    return SUCCESS;
}
API int cuDeviceTotalMem_v2(size_t* bytes, int) {
    CALL(false);
    *bytes = MEMORY;
    return SUCCESS;
}
API int cuDevicePrimaryCtxRetain(Handle* context, int) {
    CALL(false);
    d.contexts++;
    *context = &primary;
    return SUCCESS;
}
API int cuDevicePrimaryCtxRelease_v2(int) {
    CALL(false);
    if (d.contexts == 0) return refused("a context is released once too often");
    if (--d.contexts == 0 && (!d.modules.all.empty() || !d.executables.all.empty())) {
        return refused("the last user of the context has left something in it");
    }
    return SUCCESS;
}
API int cuCtxSetCurrent(Handle context) {
    CALL(false);
    current = context;
    return SUCCESS;
}
API int cuCtxGetCurrent(Handle* context) {
    CALL(false);
    *context = current;
    return SUCCESS;
}
API int cuCtxSynchronize() {
    CALL(true);
    return SUCCESS;
}
API int cuStreamCreate(Handle* stream, unsigned) {
    CALL(true);
    *stream = d.streams.add();
    return SUCCESS;
}
API int cuStreamDestroy_v2(Handle stream) {
    CALL(true);
    return d.streams.remove(stream) ? SUCCESS : INVALID_HANDLE;
}
API int cuStreamSynchronize(Handle stream) {
    CALL(true);
    return is_stream(d, stream) ? SUCCESS : INVALID_HANDLE;
}
API int cuStreamWaitEvent(Handle stream, Handle event, unsigned) {
    CALL(true);
    return is_stream(d, stream) && d.events.has(event) ? SUCCESS : INVALID_HANDLE;
}
API int cuEventCreate(Handle* event, unsigned) {
    CALL(true);
    *event = d.events.add();
    return SUCCESS;
}
API int cuEventDestroy_v2(Handle event) {
    CALL(true);
    return d.events.remove(event) ? SUCCESS : INVALID_HANDLE;
}
API int cuEventRecord(Handle event, Handle stream) {
    CALL(true);
    if (!d.events.has(event) || !is_stream(d, stream)) return INVALID_HANDLE;
    static_cast<Event*>(event)->at = std::chrono::steady_clock::now();
    return SUCCESS;
}
API int cuEventSynchronize(Handle event) {
    CALL(true);
    return d.events.has(event) ? SUCCESS : INVALID_HANDLE;
}
API int cuEventElapsedTime(float* milliseconds, Handle begin, Handle end) {
    CALL(true);
    if (!d.events.has(begin) || !d.events.has(end)) return INVALID_HANDLE;
    const auto time = static_cast<Event*>(end)->at - static_cast<Event*>(begin)->at;
    *milliseconds = std::chrono::duration<float, std::milli>(time).count();
    return SUCCESS;
}

static int allocate(Driver& d, uint64_t* address, size_t bytes) {
    if (bytes == 0) return INVALID_VALUE;
    *address = bytes > MEMORY ? 0 : mamba_executor_alloc(d.device, bytes);
    if (*address == 0) return OUT_OF_MEMORY;
    d.allocations.insert(*address);
    return SUCCESS;
}
static int release(Driver& d, uint64_t address) {
    if (d.allocations.erase(address) == 0) return refused("memory that does not exist is freed");
    return mamba_executor_free(d.device, address) == 0 ? SUCCESS : executor_failed(d);
}
API int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    CALL(true);
    return allocate(d, address, bytes);
}
API int cuMemFree_v2(uint64_t address) {
    CALL(true);
    return release(d, address);
}
API int cuMemPoolCreate(Handle* pool, const int* properties) {
    CALL(true);
    // pinned memory without handles to share, on device 0
    if (properties[0] != 1 || properties[1] != 0 || properties[2] != 1 || properties[3] != 0) return INVALID_VALUE;
    *pool = d.pools.add();
    return SUCCESS;
}
API int cuMemPoolDestroy(Handle pool) {
    CALL(true);
    return d.pools.remove(pool) ? SUCCESS : INVALID_HANDLE;
}
API int cuMemPoolSetAttribute(Handle pool, int attribute, const uint64_t* value) {
    CALL(true);
    return d.pools.has(pool) && attribute == 4 && *value == UINT64_MAX ? SUCCESS : INVALID_VALUE;
}
API int cuMemAllocFromPoolAsync(uint64_t* address, size_t bytes, Handle pool, Handle stream) {
    CALL(true);
    if (!d.pools.has(pool) || !is_stream(d, stream)) return INVALID_HANDLE;
    return allocate(d, address, bytes);
}
API int cuMemFreeAsync(uint64_t address, Handle stream) {
    CALL(true);
    return is_stream(d, stream) ? release(d, address) : INVALID_HANDLE;
}
API int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, Handle stream) {
    CALL(true);
    if (value != 0 || !is_stream(d, stream)) return INVALID_VALUE;
    return mamba_executor_zero(d.device, address, bytes) == 0 ? SUCCESS : executor_failed(d);
}
API int cuMemcpyHtoDAsync_v2(uint64_t address, const void* host, size_t bytes, Handle stream) {
    CALL(true);
    if (!is_stream(d, stream)) return INVALID_HANDLE;
    return mamba_executor_upload(d.device, address, host, bytes) == 0 ? SUCCESS : executor_failed(d);
}
API int cuMemcpyDtoHAsync_v2(void* host, uint64_t address, size_t bytes, Handle stream) {
    CALL(true);
    if (!is_stream(d, stream)) return INVALID_HANDLE;
    return mamba_executor_download(d.device, address, host, bytes) == 0 ? SUCCESS : executor_failed(d);
}

API int cuModuleLoadData(Handle* module, const char* image) {
    CALL(true);
    const bool is_code = std::memcmp(image, "\x7f" "ELF", 4) == 0;
    Module loaded{std::string(image, image_bytes(image))};
    if (!is_code && loaded.image.find(".version") == std::string::npos) return INVALID_IMAGE;
    *module = d.modules.add(std::move(loaded));
    return SUCCESS;
}
API int cuModuleUnload(Handle module) {
    CALL(true);
    for (auto function = d.functions.all.begin(); function != d.functions.all.end();) {
        if (function->first->module == module) function = d.functions.all.erase(function);
        else ++function;
    }
    return d.modules.remove(module) ? SUCCESS : INVALID_HANDLE;
}
API int cuModuleGetFunction(Handle* function, Handle module, const char* name) {
    CALL(true);
    if (!d.modules.has(module)) return INVALID_HANDLE;
    const int64_t args_bytes = mamba_executor_args_size(name, std::strlen(name), CHECKED);
    const auto* const loaded = static_cast<Module*>(module);
    if (args_bytes < 0 || loaded->image.find(name) == std::string::npos) return NOT_FOUND;
    *function = d.functions.add({loaded, name, static_cast<size_t>(args_bytes)});
    return SUCCESS;
}
API int cuFuncGetAttribute(int* value, int attribute, Handle function) {
    CALL(true);
    if (!d.functions.has(function)) return INVALID_HANDLE;
    *value = attribute == 4 ? 1 : 0; // registers, of which the executor knows nothing; shared and local memory
    return SUCCESS;
}
API int cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, Handle stream, void** parameters,
                       void** extra) {
    CALL(true);
    if (!d.functions.has(function) || !is_stream(d, stream)) return INVALID_HANDLE;
    if (parameters == nullptr || extra != nullptr) return INVALID_VALUE;
    const uint32_t grid[3] = {grid_x, grid_y, grid_z}, block[3] = {block_x, block_y, block_z};
    const auto& launched = *static_cast<Function*>(function);
    std::vector<uint64_t> args((launched.args_bytes + 7) / 8); // aligned as the struct is
    std::memcpy(args.data(), parameters[0], launched.args_bytes);
    return run(d, launched, grid, block, shared_bytes, args.data());
}

// CUDA_KERNEL_NODE_PARAMS_v2
struct KernelNode {
    Handle function;
    unsigned grid[3], block[3], shared_bytes;
    void** parameters;
    void** extra;
    Handle kernel, context;
};

API int cuGraphCreate(Handle* graph, unsigned flags) {
    CALL(true);
    if (flags != 0) return INVALID_VALUE;
    *graph = d.graphs.add();
    return SUCCESS;
}
API int cuGraphDestroy(Handle graph) {
    CALL(true);
    return d.graphs.remove(graph) ? SUCCESS : INVALID_HANDLE;
}
API int cuGraphAddKernelNode_v2(Handle* node, Handle graph, const Handle* before, size_t count, const KernelNode* kernel) {
    CALL(true);
    if (!d.graphs.has(graph) || !d.functions.has(kernel->function)) return INVALID_HANDLE;
    if (kernel->parameters == nullptr || kernel->extra != nullptr || kernel->shared_bytes > USUAL_SHARED) return INVALID_VALUE;
    auto& nodes = static_cast<Graph*>(graph)->nodes;
    const bool is_next = nodes.empty() ? count == 0 : count == 1 && before[0] == nodes.back().get();
    if (!is_next) return refused("a node that does not follow the last one of its graph");
    const auto* const function = static_cast<Function*>(kernel->function);
    auto added = std::make_unique<Node>();
    added->function = function;
    std::copy_n(kernel->grid, 3, added->grid);
    std::copy_n(kernel->block, 3, added->block);
    added->shared_bytes = kernel->shared_bytes;
    added->args.resize((function->args_bytes + 7) / 8);
    std::memcpy(added->args.data(), kernel->parameters[0], function->args_bytes);
    *node = added.get();
    nodes.push_back(std::move(added));
    return SUCCESS;
}
API int cuGraphInstantiateWithFlags(Handle* executable, Handle graph, unsigned long long flags) {
    CALL(true);
    if (!d.graphs.has(graph) || flags != 0) return INVALID_VALUE;
    Executable made;
    for (const auto& node : static_cast<Graph*>(graph)->nodes) made.nodes.push_back(*node);
    *executable = d.executables.add(std::move(made));
    return SUCCESS;
}
API int cuGraphExecDestroy(Handle executable) {
    CALL(true);
    return d.executables.remove(executable) ? SUCCESS : INVALID_HANDLE;
}
API int cuGraphLaunch(Handle executable, Handle stream) {
    CALL(true);
    if (!d.executables.has(executable) || !is_stream(d, stream)) return INVALID_HANDLE;
    for (const Node& node : static_cast<Executable*>(executable)->nodes) {
        if (!d.functions.has(node.function)) return refused("a graph whose kernels are unloaded");
        const int status = run(d, *node.function, node.grid, node.block, node.shared_bytes, node.args.data());
        if (status != SUCCESS) return status;
    }
    return SUCCESS;
}
