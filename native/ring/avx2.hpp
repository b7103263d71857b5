// The parts of the AVX2 path that stand in files of their own, for its table of kernels.
#pragma once

#include <cstddef>

#include "ring/kernels.hpp"

namespace cipherformer::avx2 {

void ntt_forward(u64* a, unsigned log_n, const NttTables& tables);
void ntt_inverse(u64* a, unsigned log_n, u64 factor, const NttTables& tables);
void dot(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
         const Modulus& q);
void dot_pair(u64* out0, u64* out1, const u64* const* a, const u64* const* b0, const u64* const* b1, std::size_t count,
              std::size_t n, const Modulus& q);
void dot_repeated(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                  bool accumulate, std::size_t n, const Modulus& q);
void mix(u64* const* out, const u64* const* in, const double* weights, std::size_t rows, std::size_t count, u64 factor,
         std::size_t n, const Modulus& q);
void prepare(u64* out, const u64* in, std::size_t n, std::size_t i, const BasisConstants& constants);
void convert(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants, std::size_t first,
             std::size_t count);

void lift_forward(u64* out, const std::int32_t* a, unsigned log_n, const NttTables& tables);
void lift_real_forward(u64* out, const double* a, unsigned log_n, const NttTables& tables);
void ntt_inverse_prepare(u64* out, const u64* in, unsigned log_n, u64 factor, const NttTables& tables, std::size_t i,
                         const BasisConstants& constants);

}  // namespace cipherformer::avx2
