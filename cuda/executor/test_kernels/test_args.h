// What every test kernel takes; `TestArgs` of the tests in src/cuda/driver/executor/tests.
#pragma once

struct TestArgs {
    const float* input;
    float* output;
    uint64_t count;
};
