// a b mod 2^64 with a = a0 + 2^32 a1: a0 b0 + 2^32 (a0 b1 + a1 b0). The first product is one vpmuludq; the two in
// brackets count modulo 2^32 only and are one vpmulld of b with a whose halves are swapped.
#include <immintrin.h>

#include "mpc/gemm.hpp"

namespace cipherformer::mpc {
namespace {

struct Sums {
    __m256i low = _mm256_setzero_si256();
    __m256i cross = _mm256_setzero_si256();

    inline __attribute__((always_inline)) void add(__m256i a, __m256i swapped, __m256i b) {
        low = _mm256_add_epi64(low, _mm256_mul_epu32(a, b));
        cross = _mm256_add_epi32(cross, _mm256_mullo_epi32(swapped, b));
    }
    void store(u64* c) const {
        const __m256i both = _mm256_add_epi32(cross, _mm256_srli_epi64(cross, 32));
        __m256i* out = reinterpret_cast<__m256i*>(c);
        const __m256i sum = _mm256_add_epi64(low, _mm256_slli_epi64(both, 32));
        _mm256_storeu_si256(out, _mm256_add_epi64(_mm256_loadu_si256(out), sum));
    }
};

__m256i broadcast(const u64* a) { return _mm256_set1_epi64x(static_cast<long long>(*a)); }

}  // namespace

void tile_avx2(u64* c, std::size_t stride, std::size_t rows, const u64* a, const u64* b, std::size_t depth) {
    Sums s00, s01, s10, s11;
    for (std::size_t l = 0; l < depth; ++l, a += 2 * kTileRows, b += kColumns) {
        const __m256i b0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
        const __m256i b1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + 4));
        __m256i value = broadcast(a), swapped = broadcast(a + 1);
        s00.add(value, swapped, b0);
        s01.add(value, swapped, b1);
        value = broadcast(a + 2), swapped = broadcast(a + 3);
        s10.add(value, swapped, b0);
        s11.add(value, swapped, b1);
    }
    s00.store(c);
    s01.store(c + 4);
    if (rows < 2) return;
    s10.store(c + stride);
    s11.store(c + stride + 4);
}

}  // namespace cipherformer::mpc
