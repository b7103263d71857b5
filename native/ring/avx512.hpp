// The parts of the AVX-512 path that stand in files of their own, for its table of kernels.
#pragma once

#include <cstddef>

#include "ring/kernels.hpp"

namespace cipherformer::avx512 {

void ntt_forward(u64* a, unsigned log_n, const NttTables& tables);
void ntt_inverse(u64* a, unsigned log_n, u64 factor, const NttTables& tables);
void dot(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
         const Modulus& q);
void dot_repeated(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                  bool accumulate, std::size_t n, const Modulus& q);
void convert(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants);

}  // namespace cipherformer::avx512
