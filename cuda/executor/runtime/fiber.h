// A CUDA thread as a fiber: a stack of its own, and a switch between it and the scheduler on one host thread.
#pragma once
#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#define EXECUTOR_UCONTEXT 1
#endif

namespace executor {

// A place to switch to.
struct Context {
#ifdef EXECUTOR_UCONTEXT
    ucontext_t registers;
#else
    void* stack_pointer;
#endif
};

// Makes `context` start `entry` on the stack that ends at `stack_end`, 16-byte aligned. `entry` must not
// return.
void prepare(Context& context, void* stack_begin, void* stack_end, void (*entry)());

// Saves the running code in `from` and goes on at `to`.
void switch_context(Context& from, Context& to);

// Stacks of equal size, each with an inaccessible page below.
class Stacks {
   public:
    static constexpr size_t BYTES = 64 * 1024;

    Stacks() = default;
    Stacks(const Stacks&) = delete;
    Stacks& operator=(const Stacks&) = delete;
    ~Stacks();

    // Makes sure that there are `count` of them; false if memory for them cannot be allocated.
    bool reserve(size_t count);
    char* begin(size_t index) const { return memory_ + index * stride_ + (stride_ - BYTES); }

   private:
    void release();

    char* memory_ = nullptr;
    size_t stride_ = 0;
    size_t count_ = 0;
};

}  // namespace executor
