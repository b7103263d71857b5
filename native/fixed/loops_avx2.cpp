#if defined(__AVX2__)

// The loops on four lanes.
#include <immintrin.h>

#include "fixed/scalar_loops.hpp"

namespace cipherformer::fixed {
namespace {

using Real = __m256d;
using Word = __m256i;

constexpr std::size_t whole(std::size_t n) { return n & ~std::size_t{3}; }
constexpr std::size_t few_thresholds = 48;  // above, a binary search by the element is faster

Real size_of(Real v) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), v); }
Word sign_of(Word v) { return _mm256_cmpgt_epi64(_mm256_setzero_si256(), v); }
Word size_of(Word v) {
    const Word sign = sign_of(v);
    return _mm256_sub_epi64(_mm256_xor_si256(v, sign), sign);
}
Word load(const i64* p) { return _mm256_loadu_si256(reinterpret_cast<const Word*>(p)); }
void store(i64* p, Word v) { _mm256_storeu_si256(reinterpret_cast<Word*>(p), v); }

double highest(Real v) {
    alignas(32) double lanes[4];
    _mm256_store_pd(lanes, v);
    return std::max(std::max(lanes[0], lanes[1]), std::max(lanes[2], lanes[3]));
}
u64 any(Word v) {
    alignas(32) u64 lanes[4];
    _mm256_store_si256(reinterpret_cast<Word*>(lanes), v);
    return lanes[0] | lanes[1] | lanes[2] | lanes[3];
}

template <typename Function>
double reals(double* out, std::size_t n, const Function& function) {
    Real peak = _mm256_setzero_pd();
    for (std::size_t i = 0; i < whole(n); i += 4) {
        const Real v = function(i);
        _mm256_storeu_pd(out + i, v);
        peak = _mm256_max_pd(peak, size_of(v));
    }
    return highest(peak);
}

template <typename Function>
u64 words(i64* out, std::size_t n, const Function& function) {
    Word seen = _mm256_setzero_si256();
    for (std::size_t i = 0; i < whole(n); i += 4) {
        const Word v = function(i);
        store(out + i, v);
        seen = _mm256_or_si256(seen, size_of(v));
    }
    return any(seen);
}

double add(double* out, const double* a, const double* b, std::size_t n) {
    const std::size_t end = whole(n);
    const double peak = reals(
        out, n, [&](std::size_t i) { return _mm256_add_pd(_mm256_loadu_pd(a + i), _mm256_loadu_pd(b + i)); });
    return std::max(peak, scalar::add(out + end, a + end, b + end, n - end));
}
double sub(double* out, const double* a, const double* b, std::size_t n) {
    const std::size_t end = whole(n);
    const double peak = reals(
        out, n, [&](std::size_t i) { return _mm256_sub_pd(_mm256_loadu_pd(a + i), _mm256_loadu_pd(b + i)); });
    return std::max(peak, scalar::sub(out + end, a + end, b + end, n - end));
}
double mul(double* out, const double* a, const double* b, std::size_t n) {
    const std::size_t end = whole(n);
    const double peak = reals(
        out, n, [&](std::size_t i) { return _mm256_mul_pd(_mm256_loadu_pd(a + i), _mm256_loadu_pd(b + i)); });
    return std::max(peak, scalar::mul(out + end, a + end, b + end, n - end));
}
double scale(double* out, const double* a, double factor, std::size_t n) {
    const std::size_t end = whole(n);
    const Real f = _mm256_set1_pd(factor);
    const double peak = reals(out, n, [&](std::size_t i) { return _mm256_mul_pd(_mm256_loadu_pd(a + i), f); });
    return std::max(peak, scalar::scale(out + end, a + end, factor, n - end));
}
double round(double* out, const double* a, double factor, const double* offset, std::size_t n) {
    const std::size_t end = whole(n);
    const Real f = _mm256_set1_pd(factor), half = _mm256_set1_pd(0.5);
    const double peak = reals(out, n, [&](std::size_t i) {
        const Real by = offset ? _mm256_loadu_pd(offset + i) : half;
        return _mm256_floor_pd(_mm256_add_pd(_mm256_mul_pd(_mm256_loadu_pd(a + i), f), by));
    });
    return std::max(peak, scalar::round(out + end, a + end, factor, offset ? offset + end : nullptr, n - end));
}

// Four 64-bit counts to four 32-bit ones.
void store_counts(std::int32_t* out, Word counts) {
    const Word packed = _mm256_permutevar8x32_epi32(counts, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(packed));
}

void count(std::int32_t* out, const double* x, const double* thresholds, std::size_t size, std::size_t n) {
    const std::size_t end = size <= few_thresholds ? whole(n) : 0;
    for (std::size_t i = 0; i < end; i += 4) {
        const Real v = _mm256_loadu_pd(x + i);
        Word found = _mm256_setzero_si256();
        for (std::size_t j = 0; j < size; ++j) {
            const Real above = _mm256_cmp_pd(v, _mm256_set1_pd(thresholds[j]), _CMP_GE_OQ);
            found = _mm256_sub_epi64(found, _mm256_castpd_si256(above));
        }
        store_counts(out + i, found);
    }
    scalar::count(out + end, x + end, thresholds, size, n - end);
}

void count_words(std::int32_t* out, const i64* x, const i64* thresholds, std::size_t size, std::size_t n) {
    const std::size_t end = size <= few_thresholds ? whole(n) : 0;
    for (std::size_t i = 0; i < end; i += 4) {
        const Word v = load(x + i);
        Word below = _mm256_setzero_si256();
        for (std::size_t j = 0; j < size; ++j)
            below = _mm256_add_epi64(below, _mm256_cmpgt_epi64(_mm256_set1_epi64x(thresholds[j]), v));
        store_counts(out + i, _mm256_add_epi64(below, _mm256_set1_epi64x(static_cast<i64>(size))));
    }
    scalar::count_words(out + end, x + end, thresholds, size, n - end);
}

u64 add_words(i64* out, const i64* a, const i64* b, std::size_t n) {
    const std::size_t end = whole(n);
    const u64 seen = words(out, n, [&](std::size_t i) { return _mm256_add_epi64(load(a + i), load(b + i)); });
    return seen | scalar::add_words(out + end, a + end, b + end, n - end);
}
u64 sub_words(i64* out, const i64* a, const i64* b, std::size_t n) {
    const std::size_t end = whole(n);
    const u64 seen = words(out, n, [&](std::size_t i) { return _mm256_sub_epi64(load(a + i), load(b + i)); });
    return seen | scalar::sub_words(out + end, a + end, b + end, n - end);
}

// Low words of products: low low + 2^32 (high low + low high).
Word times(Word a, Word b) {
    const Word cross = _mm256_mullo_epi32(a, _mm256_shuffle_epi32(b, 0xB1));
    const Word high = _mm256_slli_epi64(_mm256_add_epi32(cross, _mm256_srli_epi64(cross, 32)), 32);
    return _mm256_add_epi64(_mm256_mul_epu32(a, b), high);
}

u64 mul_words(i64* out, const i64* a, const i64* b, bool narrow, std::size_t n) {
    const std::size_t end = whole(n);
    const u64 seen =
        narrow ? words(out, n, [&](std::size_t i) { return _mm256_mul_epi32(load(a + i), load(b + i)); })
               : words(out, n, [&](std::size_t i) { return times(load(a + i), load(b + i)); });
    return seen | scalar::mul_words(out + end, a + end, b + end, narrow, n - end);
}
u64 scale_words(i64* out, const i64* a, int bits, std::size_t n) {
    const std::size_t end = whole(n);
    const u64 seen = words(out, n, [&](std::size_t i) { return _mm256_slli_epi64(load(a + i), bits); });
    return seen | scalar::scale_words(out + end, a + end, bits, n - end);
}
u64 round_words(i64* out, const i64* a, int bits, const i64* offset, std::size_t n) {
    const std::size_t end = whole(n);
    const Word half = _mm256_set1_epi64x(i64{1} << (bits - 1));
    // A logical shift of v + 2^63, less 2^(63-bits), is the arithmetic shift of v.
    const Word bias = _mm256_set1_epi64x(static_cast<i64>(u64{1} << 63));
    const Word back = _mm256_set1_epi64x(static_cast<i64>(u64{1} << (63 - bits)));
    const u64 seen = words(out, n, [&](std::size_t i) {
        const Word sum = _mm256_add_epi64(load(a + i), offset ? load(offset + i) : half);
        return _mm256_sub_epi64(_mm256_srli_epi64(_mm256_add_epi64(sum, bias), bits), back);
    });
    return seen | scalar::round_words(out + end, a + end, bits, offset ? offset + end : nullptr, n - end);
}

}  // namespace

const Loops& avx2_loops() {
    static const Loops table{"avx2", add, sub, mul, scale, round, count, add_words, sub_words, mul_words, scale_words,
                             round_words, count_words};
    return table;
}

}  // namespace cipherformer::fixed

#endif
