#define POTSTILL_DOUBLE
#include "engine_kernel.h"

std::unique_ptr<potstill::Engine> potstill::double_engine(const StudentFile& file) {
    return std::unique_ptr<Engine>(new kernel_double::KernelEngine(file));
}
