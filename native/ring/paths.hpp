// The kernel tables of each path; callers go through kernels(Path), which checks the processor.
#pragma once

#include "ring/kernels.hpp"

namespace cipherformer {

const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();

}  // namespace cipherformer
