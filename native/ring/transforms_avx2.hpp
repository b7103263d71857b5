// The transforms of the AVX2 path, for its table of kernels.
#pragma once

#include "ring/kernels.hpp"

namespace cipherformer::avx2 {

void ntt_forward(u64* a, unsigned log_n, const NttTables& tables);
void ntt_inverse(u64* a, unsigned log_n, u64 factor, const NttTables& tables);

}  // namespace cipherformer::avx2
