// The floating-point mode that kernels assume, while an object lives: a device has it whatever the caller's thread has set.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <cfenv>
#endif

namespace executor {

class StandardMode {
#if defined(__x86_64__)
    const unsigned callers = _mm_getcsr();

  public:
    StandardMode() { _mm_setcsr(0x1f80); }
    ~StandardMode() { _mm_setcsr(callers); }
#else
    std::fenv_t callers;

  public:
    StandardMode() {
        std::fegetenv(&callers);
        std::fesetenv(FE_DFL_ENV);
    }
    ~StandardMode() { std::fesetenv(&callers); }
#endif
    StandardMode(const StandardMode&) = delete;
    StandardMode& operator=(const StandardMode&) = delete;
};

} // namespace executor
