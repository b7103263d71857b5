#if defined(__AVX2__) && defined(__FMA__)

// Small integer matrices times limbs, on doubles: the residues are cut into two parts of kMixedBits bits, so that every
// sum is an integer below 2^53 and exact in any order.
#include <algorithm>
#include <vector>

#include "ring/avx2.hpp"
#include "ring/portable.hpp"
#include "ring/real_avx2.hpp"

namespace cipherformer::avx2 {
namespace {

constexpr std::size_t kRows = 6;     // of the matrix, and
constexpr std::size_t kColumns = 8;  // residues: their twelve sums stay in registers

struct Sums {
    Real of[kRows][2];
};

// weights [count][kRows], values [count][kColumns]
inline Sums sums_of(const double* weights, const double* values, std::size_t count) {
    Sums sums;
    for (auto& row : sums.of) row[0] = row[1] = _mm256_setzero_pd();
    for (std::size_t k = 0; k < count; ++k) {
        const Real first = _mm256_load_pd(values + k * kColumns), second = _mm256_load_pd(values + k * kColumns + 4);
        for (std::size_t r = 0; r < kRows; ++r) {
            const Real weight = _mm256_broadcast_sd(weights + k * kRows + r);
            sums.of[r][0] = _mm256_fmadd_pd(weight, first, sums.of[r][0]);
            sums.of[r][1] = _mm256_fmadd_pd(weight, second, sums.of[r][1]);
        }
    }
    return sums;
}

// Strips of kRows rows, [strip][count][kRows], the last one filled up with zeros.
std::vector<double> strips_of(const double* weights, std::size_t rows, std::size_t count) {
    std::vector<double> strips((rows + kRows - 1) / kRows * kRows * count);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t k = 0; k < count; ++k)
            strips[(r / kRows * count + k) * kRows + r % kRows] = weights[r * count + k];
    return strips;
}

}  // namespace

void mix(u64* const* out, const u64* const* in, const double* weights, std::size_t rows, std::size_t count, u64 factor,
         std::size_t n, const Modulus& q) {
    if (n % kColumns != 0) return portable::mix(out, in, weights, rows, count, factor, n, q);
    const Field f(q);
    const Twiddle whole(factor, q), high_part(q.mul(factor, q.reduce(u64{1} << kMixedBits)), q);
    const Word mask = _mm256_set1_epi64x((1LL << kMixedBits) - 1);
    const std::vector<double> strips = strips_of(weights, rows, count);
    struct alignas(64) Block {
        double at[kColumns];
    };
    std::vector<Block> low(count), high(count);
    for (std::size_t i = 0; i < n; i += kColumns) {
        for (std::size_t k = 0; k < count; ++k)
            for (std::size_t v = 0; v < kColumns; v += 4) {
                const Word x = load(in[k] + i + v);
                _mm256_store_pd(low[k].at + v, to_real(_mm256_and_si256(x, mask)));
                _mm256_store_pd(high[k].at + v, to_real(_mm256_srli_epi64(x, kMixedBits)));
            }
        for (std::size_t start = 0; start < rows; start += kRows) {
            const double* strip = strips.data() + start * count;
            const Sums lows = sums_of(strip, low[0].at, count), highs = sums_of(strip, high[0].at, count);
            // Both products are at most (1/2 + 1/8) p.
            for (std::size_t r = 0; r < std::min(kRows, rows - start); ++r)
                for (std::size_t v = 0; v < 2; ++v)
                    store_residue(out[start + r] + i + 4 * v,
                                  add(mul(reduce(highs.of[r][v], f), high_part, f), mul(reduce(lows.of[r][v], f), whole, f)),
                                  f);
        }
    }
}

}  // namespace cipherformer::avx2

#endif
