#include "engine_kernel.h"

std::unique_ptr<potstill::Engine> potstill::single_engine(const StudentFile& file) {
    return std::unique_ptr<Engine>(new kernel_single::KernelEngine(file));
}
