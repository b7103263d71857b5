// The kernels in plain integers: the portable path, and what the vector paths do with arrays shorter than a vector.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ring/basis.hpp"
#include "ring/modulus.hpp"

namespace cipherformer::portable {

void add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);
void sub(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);
void neg(u64* out, const u64* a, std::size_t n, const Modulus& q);
void mul(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);
void add_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q);
void mul_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q);
void mul_scalar_add(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q);
void sub_mul_scalar(u64* out, const u64* a, const u64* b, u64 c, std::size_t n, const Modulus& q);
void sub_mul_scalar_add(u64* out, const u64* a, const u64* b, u64 c, const u64* d, std::size_t n, const Modulus& q);
void tensor(u64* out0, u64* out1, u64* out2, const u64* const* a, const u64* const* b, std::size_t n, const Modulus& q);
void mul_add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q);
void dot(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
         const Modulus& q);
void dot_pair(u64* out0, u64* out1, const u64* const* a, const u64* const* b0, const u64* const* b1, std::size_t count,
              std::size_t n, const Modulus& q);
void dot_repeated(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                  bool accumulate, std::size_t n, const Modulus& q);
void mix(u64* const* out, const u64* const* in, const double* weights, std::size_t rows, std::size_t count, u64 factor,
         std::size_t n, const Modulus& q);
void reduce(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to);
void reduce_centred(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to);
void lift(u64* out, const std::int32_t* a, std::size_t n, const Modulus& q);
void lift_real(u64* out, const double* a, std::size_t n, const Modulus& q);
void prepare(u64* out, const u64* in, std::size_t n, std::size_t i, const BasisConstants& constants);
void convert(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants, std::size_t first,
             std::size_t count);
void permute(u64* out, const u64* in, const std::uint32_t* index, std::size_t n);
std::size_t uniform_words(u64* out, const u64* words, u64 limit, std::size_t n, const Modulus& q);

}  // namespace cipherformer::portable
