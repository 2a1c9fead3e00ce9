// The kernel in single precision as a library for Python: see kernel/kernel.h.

#include "kernel/kernel.h"

using namespace kernel_single;

extern "C" int student_lanes(void) { return LANES; }

// bytes that the calling thread keeps for its next call
extern "C" int64_t student_memory(void) { return (int64_t)memory.bytes(); }

// return 0 if done, 1 if there is no code for the sizes, 2 if memory ran out
extern "C" int student_energy_gradient(const Model* model, const Atoms* atoms, int threads) {
    return run<false>(*model, *atoms, nullptr, threads);
}

// return codes as above; needs no memory for the gradient by the edges
extern "C" int student_weight_gradient(const Model* model, const Atoms* atoms, const Learned* learned, int threads) {
    return run<true>(*model, *atoms, learned, threads);
}
