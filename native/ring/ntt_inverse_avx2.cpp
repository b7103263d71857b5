#if defined(__AVX2__) && defined(__FMA__)
// The inverse transform on doubles, four lanes: the passes of ntt_avx2.cpp backwards, with butterflies
// (x, y) -> (x + y, (y - x) w'), w' the mirrored twiddle (NttTables), so sums grow instead of products.
#include "ring/ntt_avx2.hpp"

namespace cipherformer::avx2 {
namespace {

// (x, y) -> (x + y, (y - x) w)
template <typename Factor>
inline void butterfly(Real& x, Real& y, const Factor& w, const Field& f) {
    const Real difference = sub(y, x);
    x = add(x, y);
    y = mul(difference, w, f);
}

// How the last pass leaves the array: times `scale`, in integers.
struct Finish {
    Twiddle scale;
    u64 factor;
};

// The twiddle of the last level with the final factor inside.
inline Twiddle scaled(std::size_t at, const Finish& finish, const Plan& plan) {
    const u64 w = plan.modulus.from_signed(static_cast<std::int64_t>(plan.roots[at]));
    return {plan.modulus.mul(w, finish.factor), plan.modulus};
}

template <bool last>
void put(u64* x, Real value, const Field& f) {
    if constexpr (last)
        store_residue(x, value, f);
    else
        write(x, value);
}

// Residues in [0, p) to doubles, four rows of four to columns; lanes hold the blocks in the order 1, 3, 0, 2.
void inverse_start(u64* x, std::size_t length) {
    for (const u64* const end = x + length; x != end; x += 16) {
        Real x0 = load_real(x + 4), x1 = load_real(x + 12), x2 = load_real(x), x3 = load_real(x + 8);
        transpose(x0, x1, x2, x3);
        write(x + 4, x0), write(x + 12, x1), write(x, x2), write(x + 8, x3);
    }
}

// The first two levels, inside vectors, from B = 1. `at` is the mirrored twiddle index of the first of
// `blocks` blocks of four. Outputs are at most 1 + 4 * 3/16 = 1.75.
void inverse_first(u64* x, std::size_t at, std::size_t blocks, const Plan& plan) {
    const Field f = plan.field;
    for (std::size_t block = 0; block < blocks; block += 4, at -= 4, x += 16) {
        const Real low = _mm256_loadu_pd(plan.roots + 2 * at - 6), high = _mm256_loadu_pd(plan.roots + 2 * at - 2);
        const Real w1 = _mm256_permute4x64_pd(_mm256_loadu_pd(plan.roots + at - 3), 0x72);
        const Real w3 = _mm256_unpacklo_pd(high, low), w2 = _mm256_unpackhi_pd(high, low);
        Real x0 = read<Form::real>(x + 4), x1 = read<Form::real>(x + 12), x2 = read<Form::real>(x), x3 = read<Form::real>(x + 8);
        butterfly(x0, x1, w2, f), butterfly(x2, x3, w3, f);
        butterfly(x0, x2, w1, f), butterfly(x1, x3, w1, f);
        x0 = reduce(x0, f);
        transpose(x0, x1, x2, x3);
        write(x + 4, x0), write(x + 12, x1), write(x, x2), write(x + 8, x3);
    }
}

// Two levels. Inputs at most B <= 2: x0 sums to 4B <= 8 and is reduced, x1 is at most 2 (1/2 + 2B/8) <= 2, the
// products at most 1/2 + 4B/8 <= 3/2. So B <= 2 holds from pass to pass.
template <bool last>
void inverse4(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan, const Finish& finish) {
    const Field f = plan.field;
    const std::size_t gap = length / 4;
    for (std::size_t block = 0; block < blocks; ++block, --at, x += length) {
        const Twiddle w1 = last ? scaled(at, finish, plan) : plan.twiddle(at);
        const Twiddle w2 = plan.twiddle(2 * at + 1), w3 = plan.twiddle(2 * at);
        for (std::size_t i = 0; i < gap; i += 4) {
            Real x0 = read<Form::real>(x + i), x1 = read<Form::real>(x + i + gap);
            Real x2 = read<Form::real>(x + i + 2 * gap), x3 = read<Form::real>(x + i + 3 * gap);
            butterfly(x0, x1, w2, f), butterfly(x2, x3, w3, f);
            butterfly(x0, x2, w1, f), butterfly(x1, x3, w1, f);
            x0 = last ? mul(x0, finish.scale, f) : reduce(x0, f);
            if constexpr (last) x1 = mul(x1, finish.scale, f);
            put<last>(x + i, x0, f), put<last>(x + i + gap, x1, f);
            put<last>(x + i + 2 * gap, x2, f), put<last>(x + i + 3 * gap, x3, f);
        }
    }
}

// Three levels from B <= 2. After two: v0 and v4 are at most 8 and reduced to 1/2, v1 and v5 at most 2, the products
// at most 3/2 (v2, v6) and 3/4 (v3, v7). The last sums are at most 1, 4, 3 and 3/2, of which the second and third
// are reduced, and the products at most 1/2 + 4/8 = 1.
template <bool last>
void inverse8(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan, const Finish& finish) {
    const Field f = plan.field;
    const std::size_t gap = length / 8;
    for (std::size_t block = 0; block < blocks; ++block, --at, x += length) {
        const Twiddle w1 = last ? scaled(at, finish, plan) : plan.twiddle(at);
        const Twiddle w2 = plan.twiddle(2 * at + 1), w3 = plan.twiddle(2 * at);
        const Twiddle w4 = plan.twiddle(4 * at + 3), w5 = plan.twiddle(4 * at + 2), w6 = plan.twiddle(4 * at + 1),
                      w7 = plan.twiddle(4 * at);
        for (std::size_t i = 0; i < gap; i += 4) {
            Real v[8];
            for (std::size_t k = 0; k < 8; ++k) v[k] = read<Form::real>(x + i + k * gap);
            butterfly(v[0], v[1], w4, f), butterfly(v[2], v[3], w5, f);
            butterfly(v[4], v[5], w6, f), butterfly(v[6], v[7], w7, f);
            butterfly(v[0], v[2], w2, f), butterfly(v[1], v[3], w2, f);
            butterfly(v[4], v[6], w3, f), butterfly(v[5], v[7], w3, f);
            v[0] = reduce(v[0], f), v[4] = reduce(v[4], f);
            for (std::size_t k = 0; k < 4; ++k) butterfly(v[k], v[k + 4], w1, f);
            if constexpr (last)
                for (std::size_t k = 0; k < 4; ++k) v[k] = mul(v[k], finish.scale, f);
            else
                v[1] = reduce(v[1], f), v[2] = reduce(v[2], f);
            for (std::size_t k = 0; k < 8; ++k) put<last>(x + i + k * gap, v[k], f);
        }
    }
}

// All levels of one block, `at` the mirrored twiddle index of its widest butterflies; `length` >= 16.
template <bool last>
void inverse_block(u64* x, std::size_t length, std::size_t at, const Plan& plan, const Finish& finish) {
    if (length > kCacheBlock) {
        for (std::size_t i = 0; i < 4; ++i)
            inverse_block<false>(x + i * (length / 4), length / 4, 4 * at + 3 - i, plan, finish);
        inverse4<last>(x, length, at, 1, plan, finish);
        return;
    }
    const bool odd = __builtin_ctzll(length) % 2 != 0;
    std::size_t blocks = length / 4;
    inverse_start(x, length);
    inverse_first(x, (at + 1) * blocks - 1, blocks, plan);
    for (blocks /= 4; blocks > (odd ? 2U : 1U); blocks /= 4)
        inverse4<false>(x, length / blocks, (at + 1) * blocks - 1, blocks, plan, finish);
    odd ? inverse8<last>(x, length, at, 1, plan, finish) : inverse4<last>(x, length, at, 1, plan, finish);
}

// Transforms of fewer than 16 residues, in integers.
void inverse_short(u64* a, std::size_t n, u64 factor, const Plan& plan) {
    const Modulus& q = plan.modulus;
    for (std::size_t m = n / 2, gap = 1; m >= 1; m /= 2, gap *= 2)
        for (std::size_t j = 0; j < m; ++j) {
            const u64 w = q.from_signed(static_cast<std::int64_t>(plan.roots[2 * m - 1 - j]));
            u64* const x = a + 2 * gap * j;
            for (std::size_t i = 0; i < gap; ++i) {
                const u64 difference = q.sub(x[i + gap], x[i]);
                x[i] = q.add(x[i], x[i + gap]);
                x[i + gap] = q.mul(difference, w);
            }
        }
    for (std::size_t i = 0; i < n; ++i) a[i] = q.mul(a[i], factor);
}

}  // namespace

void ntt_inverse(u64* a, unsigned log_n, u64 factor, const NttTables& tables) {
    const Plan plan(tables);
    const std::size_t n = std::size_t{1} << log_n;
    if (n < 16) return inverse_short(a, n, factor, plan);
    inverse_block<true>(a, n, 1, plan, {Twiddle(factor, tables.modulus), factor});
}

}  // namespace cipherformer::avx2
#endif
