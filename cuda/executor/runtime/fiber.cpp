#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

// mamba_executor_switch(void** save, void* load): saves the registers that a function must preserve on the
// stack, the stack pointer in *save, and restores those of the stack `load`.
#if defined(__x86_64__)
asm(R"(
    .text
    .p2align 4
    .globl mamba_executor_switch
    .hidden mamba_executor_switch
    .type mamba_executor_switch, @function
mamba_executor_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size mamba_executor_switch, . - mamba_executor_switch
)");
#elif defined(__aarch64__)
asm(R"(
    .text
    .p2align 4
    .globl mamba_executor_switch
    .hidden mamba_executor_switch
    .type mamba_executor_switch, %function
mamba_executor_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size mamba_executor_switch, . - mamba_executor_switch
)");
#endif

#ifndef EXECUTOR_UCONTEXT
extern "C" void mamba_executor_switch(void** save, void* load);
#endif

namespace executor {

#if defined(EXECUTOR_UCONTEXT)

void prepare(Context& context, void* stack_begin, void* stack_end, void (*entry)()) {
    getcontext(&context.registers);
    context.registers.uc_stack.ss_sp = stack_begin;
    context.registers.uc_stack.ss_size = static_cast<char*>(stack_end) - static_cast<char*>(stack_begin);
    context.registers.uc_link = nullptr;
    makecontext(&context.registers, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from.registers, &to.registers); }

#else

void prepare(Context& context, void*, void* stack_end, void (*entry)()) {
    void** top = static_cast<void**>(stack_end);
#if defined(__x86_64__)
    *--top = nullptr;  // where a return address would be: `entry` has none
    *--top = reinterpret_cast<void*>(entry);
    constexpr int SAVED = 6;
#else
    constexpr int SAVED = 20;
#endif
    for (int i = 0; i < SAVED; i++) {
        *--top = nullptr;
    }
#if defined(__aarch64__)
    top[11] = reinterpret_cast<void*>(entry);  // x30, the return address
#endif
    context.stack_pointer = top;
}

void switch_context(Context& from, Context& to) {
    mamba_executor_switch(&from.stack_pointer, to.stack_pointer);
}

#endif

Stacks::~Stacks() { release(); }

void Stacks::release() {
    if (memory_ != nullptr) {
        munmap(memory_, stride_ * count_);
        memory_ = nullptr;
        count_ = 0;
    }
}

bool Stacks::reserve(size_t count) {
    if (count <= count_) {
        return true;
    }
    release();
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    stride_ = (BYTES + page - 1) / page * page + page;
    void* memory = mmap(nullptr, stride_ * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return false;
    }
    memory_ = static_cast<char*>(memory);
    count_ = count;
    for (size_t i = 0; i < count; i++) {
        if (mprotect(memory_ + i * stride_, page, PROT_NONE) != 0) {
            release();
            return false;
        }
    }
    return true;
}

}  // namespace executor
