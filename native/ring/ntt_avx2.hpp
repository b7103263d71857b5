// What the forward and inverse transforms on doubles share. Included by ntt_avx2.cpp and ntt_inverse_avx2.cpp only.
//
// Data are converted to doubles in the first pass and back to integers in the last, and in between stand as doubles in
// the caller's array. Passes of radix 4 or 8 recurse depth first until a block fits the first-level cache. Bounds
// of residues are in units of p; real_avx2.hpp states those of one product.
#pragma once

#include "ring/ntt.hpp"
#include "ring/real_avx2.hpp"
#include "ring/avx2.hpp"

namespace cipherformer::avx2 {
namespace {

constexpr std::size_t kCacheBlock = 2048;  // doubles that stay in first-level cache with their twiddles

struct Plan {
    const Modulus& modulus;
    Field field;
    const double* roots;   // NttTables::centred
    const double* ratios;  // NttTables::ratios
    const double* last;    // NttTables::last for a transform of the tables' full size, otherwise null
    Plan(const NttTables& tables, unsigned log_n)
        : modulus(tables.modulus),
          field(tables.modulus),
          roots(tables.centred.data()),
          ratios(tables.ratios.data()),
          last(log_n == tables.log_n ? tables.last.data() : nullptr) {}
    Twiddle twiddle(std::size_t i) const { return {roots + i, ratios + i}; }
};

enum class Form { residue, real };  // integers in [0, p) or doubles

template <Form form>
inline Real read(const u64* x) {
    if constexpr (form == Form::residue) return load_real(x);
    return _mm256_load_pd(reinterpret_cast<const double*>(x));
}
inline void write(u64* x, Real value) { _mm256_store_pd(reinterpret_cast<double*>(x), value); }

// Rows to columns. The lanes of a column come in the order of the rows.
inline void transpose(Real& a, Real& b, Real& c, Real& d) {
    const Real ab_low = _mm256_unpacklo_pd(a, b), ab_high = _mm256_unpackhi_pd(a, b);
    const Real cd_low = _mm256_unpacklo_pd(c, d), cd_high = _mm256_unpackhi_pd(c, d);
    a = _mm256_permute2f128_pd(ab_low, cd_low, 0x20);
    b = _mm256_permute2f128_pd(ab_high, cd_high, 0x20);
    c = _mm256_permute2f128_pd(ab_low, cd_low, 0x31);
    d = _mm256_permute2f128_pd(ab_high, cd_high, 0x31);
}

// Sixteen consecutive doubles as a matrix, in memory.
inline void transpose_all(u64* x, std::size_t length) {
    for (const u64* const end = x + length; x != end; x += 16) {
        Real a = read<Form::real>(x), b = read<Form::real>(x + 4), c = read<Form::real>(x + 8),
             d = read<Form::real>(x + 12);
        transpose(a, b, c, d);
        write(x, a), write(x + 4, b), write(x + 8, c), write(x + 12, d);
    }
}

// The twiddles of the two levels inside vectors for `count` groups of four neighbouring blocks of four residues, one
// block a lane: of the wide butterfly, and of the two narrow ones.
template <std::size_t count>
struct LastTwiddles {
    Real wide[count], first[count], second[count];

    // `at` is the lowest twiddle index of the four blocks, `quarter` a fourth of the transform's size.
    template <bool arranged>
    void load(std::size_t group, std::size_t at, std::size_t quarter, const Plan& plan) {
        if constexpr (arranged) {
            const double* w = plan.last + 3 * (at - quarter);
            wide[group] = _mm256_loadu_pd(w), first[group] = _mm256_loadu_pd(w + 4),
            second[group] = _mm256_loadu_pd(w + 8);
        } else {
            const Real low = _mm256_loadu_pd(plan.roots + 2 * at), high = _mm256_loadu_pd(plan.roots + 2 * at + 4);
            wide[group] = _mm256_loadu_pd(plan.roots + at);
            first[group] = _mm256_permute4x64_pd(_mm256_unpacklo_pd(low, high), 0xD8);
            second[group] = _mm256_permute4x64_pd(_mm256_unpackhi_pd(low, high), 0xD8);
        }
    }
};

}  // namespace
}  // namespace cipherformer::avx2
