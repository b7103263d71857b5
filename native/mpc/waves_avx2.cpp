// Waves fit 32 bits, so vpmuldq multiplies them whatever stands in the upper halves, and a logical shift keeps the 32
// bits that count. f s mod 2^64 with s = s0 + 2^32 s1, s0 signed: f s0 + 2^32 (f s1), the second in sums of its own.
#include <immintrin.h>

#include "mpc/waves.hpp"

namespace cipherformer::mpc {
namespace {

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
void store(void* p, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(p), value); }
__m256i all(i64 value) { return _mm256_set1_epi64x(value); }

inline __attribute__((always_inline)) __m256i factor(const i64* wave) {
    constexpr int drop = kTableBits - kFactorBits;
    return _mm256_srai_epi32(_mm256_add_epi32(load(wave), _mm256_set1_epi32(1 << (drop - 1))), drop);
}

void weigh(u64* total, u64* high, const WaveState& state, const u64* cosine_row, const u64* sine_row) {
    const __m256i carry = all(i64{1} << 31);
    for (std::size_t i = 0; i < kWaveBlock; i += 4) {
        const __m256i c = factor(state.cosine + i), s = factor(state.sine + i);
        const __m256i a = load(cosine_row + i), b = load(sine_row + i);
        const __m256i a1 = _mm256_srli_epi64(_mm256_add_epi64(a, carry), 32);
        const __m256i b1 = _mm256_srli_epi64(_mm256_add_epi64(b, carry), 32);
        const __m256i lower = _mm256_add_epi64(_mm256_mul_epi32(c, a), _mm256_mul_epi32(s, b));
        const __m256i upper = _mm256_add_epi64(_mm256_mul_epi32(c, a1), _mm256_mul_epi32(s, b1));
        store(total + i, _mm256_add_epi64(load(total + i), lower));
        store(high + i, _mm256_add_epi64(load(high + i), upper));
    }
}

void finish(u64* total, const u64* high) {
    for (std::size_t i = 0; i < kWaveBlock; i += 4)
        store(total + i, _mm256_add_epi64(load(total + i), _mm256_slli_epi64(load(high + i), 32)));
}

// (x + 2^29) >> 30 for |x| < 2^62
inline __attribute__((always_inline)) __m256i rounded(__m256i x) {
    const __m256i moved = _mm256_add_epi64(x, all((i64{1} << 62) + (i64{1} << (kTableBits - 1))));
    return _mm256_sub_epi64(_mm256_srli_epi64(moved, kTableBits), all(i64{1} << (62 - kTableBits)));
}

void mix(u64* cosine_row, u64* sine_row, const WaveState& state, i64 u, i64 v) {
    const __m256i first = all(u), second = all(v);
    for (std::size_t i = 0; i < kWaveBlock; i += 4) {
        const __m256i c = load(state.cosine + i), s = load(state.sine + i);
        store(cosine_row + i, rounded(_mm256_sub_epi64(_mm256_mul_epi32(first, c), _mm256_mul_epi32(second, s))));
        store(sine_row + i, rounded(_mm256_add_epi64(_mm256_mul_epi32(first, s), _mm256_mul_epi32(second, c))));
    }
}

inline __attribute__((always_inline)) void step(i64* now, i64* old, __m256i first) {
    const __m256i wave = load(now);
    const __m256i twice = _mm256_add_epi64(_mm256_mul_epi32(first, wave), all(i64{1} << (kTableBits - 2)));
    store(now, _mm256_sub_epi32(_mm256_srli_epi64(twice, kTableBits - 1), load(old)));
    store(old, wave);
}

void advance(WaveState& state) {
    for (std::size_t i = 0; i < kWaveBlock; i += 4) {
        const __m256i first = load(state.first + i);
        step(state.cosine + i, state.old_cosine + i, first);
        step(state.sine + i, state.old_sine + i, first);
    }
}

}  // namespace

const WaveLoops kAvx2Waves{weigh, finish, mix, advance};

}  // namespace cipherformer::mpc
