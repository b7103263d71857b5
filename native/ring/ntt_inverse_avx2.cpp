#if defined(__AVX2__) && defined(__FMA__)
// The inverse transform on doubles, four lanes: the passes of ntt_avx2.cpp backwards, with butterflies
// (x, y) -> (x + y, (y - x) w'), w' the mirrored twiddle (NttTables), so sums grow instead of products.
#include <algorithm>

#include "ring/basis.hpp"
#include "ring/ntt_avx2.hpp"

namespace cipherformer::avx2 {
namespace {

// (x, y) -> (x + y, (y - x) w)
inline void butterfly(Real& x, Real& y, const Twiddle& w, const Field& f) {
    const Real difference = sub(y, x);
    x = add(x, y);
    y = mul(difference, w, f);
}
template <std::size_t count>
inline void butterflies(Real* x, Real* y, const Real* w, const Field& f) {
    for (std::size_t i = 0; i < count; ++i) {
        const Real difference = sub(y[i], x[i]);
        x[i] = add(x[i], y[i]);
        y[i] = difference;
    }
    mul_each<count>(y, w, f);
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

// What a pass writes: doubles for the next one; or, the last, integers in [0, p) or centred doubles. Those are exact
// after one reduction: its quotient is off by |x / p| 2^-52, and no x / p is within 1 / (2 p) of a half, so every
// |x| < 2^51 comes out centred; here |x| <= 3/2 p.
enum class Out { passing, residue, centred };

template <Out form>
void put(u64* x, Real value, const Field& f) {
    if constexpr (form == Out::residue)
        store_residue(x, value, f);
    else
        write(x, form == Out::centred ? reduce(value, f) : value);
}

// The first two levels, on `count` groups of four transposed blocks; `at` is the lowest of the mirrored twiddle indices
// of the first group, and falls by four a group. From B = 1 outputs are at most 1 + 4 * 3/16 = 1.75.
template <bool arranged, std::size_t count>
void inverse_first(u64* x, std::size_t at, std::size_t quarter, const Plan& plan) {
    const Field f = plan.field;
    LastTwiddles<count> w;
    Real x0[count], x1[count], x2[count], x3[count];
    for (std::size_t g = 0; g < count; ++g) {
        w.template load<arranged>(g, at - 4 * g, quarter, plan);
        const u64* const row = x + 16 * g;
        x0[g] = read<Form::real>(row), x1[g] = read<Form::real>(row + 4);
        x2[g] = read<Form::real>(row + 8), x3[g] = read<Form::real>(row + 12);
    }
    butterflies<count>(x0, x1, w.second, f), butterflies<count>(x2, x3, w.first, f);
    butterflies<count>(x0, x2, w.wide, f), butterflies<count>(x1, x3, w.wide, f);
    for (std::size_t g = 0; g < count; ++g) {
        u64* const row = x + 16 * g;
        write(row, reduce(x0[g], f)), write(row + 4, x1[g]), write(row + 8, x2[g]), write(row + 12, x3[g]);
    }
}

// All `length` residues from [0, p), `at` the mirrored twiddle index of the first block of four. Mirrored indices fall
// from block to block, so the rows are taken from last to first for the lanes to stand like those of the twiddles.
template <bool arranged>
void inverse_head(u64* x, const u64* in, std::size_t length, std::size_t at, std::size_t quarter, const Plan& plan) {
    for (std::size_t i = 0; i < length; i += 16) {
        Real a = load_real(in + i + 12), b = load_real(in + i + 8), c = load_real(in + i + 4), d = load_real(in + i);
        transpose(a, b, c, d);
        write(x + i, a), write(x + i + 4, b), write(x + i + 8, c), write(x + i + 12, d);
    }
    std::size_t i = 0;
    for (; i + 32 <= length; i += 32) inverse_first<arranged, 2>(x + i, at - 3 - i / 4, quarter, plan);
    if (i != length) inverse_first<arranged, 1>(x + i, at - 3 - i / 4, quarter, plan);
    for (i = 0; i < length; i += 16) {
        Real a = read<Form::real>(x + i), b = read<Form::real>(x + i + 4);
        Real c = read<Form::real>(x + i + 8), d = read<Form::real>(x + i + 12);
        transpose(a, b, c, d);
        write(x + i + 12, a), write(x + i + 8, b), write(x + i + 4, c), write(x + i, d);
    }
}

// Two levels. Inputs at most B <= 2: x0 sums to 4B <= 8 and is reduced, x1 is at most 2 (1/2 + 2B/8) <= 2, the
// products at most 1/2 + 4B/8 <= 3/2. So B <= 2 holds from pass to pass.
template <Out form>
void inverse4(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan, const Finish& finish) {
    constexpr bool last = form != Out::passing;
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
            put<form>(x + i, x0, f), put<form>(x + i + gap, x1, f);
            put<form>(x + i + 2 * gap, x2, f), put<form>(x + i + 3 * gap, x3, f);
        }
    }
}

// Three levels from B <= 2. After two: v0 and v4 are at most 8 and reduced to 1/2, v1 and v5 at most 2, the products
// at most 3/2 (v2, v6) and 3/4 (v3, v7). The last sums are at most 1, 4, 3 and 3/2, of which the second and third
// are reduced, and the products at most 1/2 + 4/8 = 1.
template <Out form>
void inverse8(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan, const Finish& finish) {
    constexpr bool last = form != Out::passing;
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
            for (std::size_t k = 0; k < 8; ++k) put<form>(x + i + k * gap, v[k], f);
        }
    }
}

// All levels of one block, `at` the mirrored twiddle index of its widest butterflies; `length` >= 16.
template <Out form>
void inverse_block(u64* x, const u64* in, std::size_t length, std::size_t at, std::size_t quarter, const Plan& plan,
                   const Finish& finish) {
    if (length > kCacheBlock) {
        for (std::size_t i = 0; i < 4; ++i)
            inverse_block<Out::passing>(x + i * (length / 4), in + i * (length / 4), length / 4, 4 * at + 3 - i, quarter, plan, finish);
        inverse4<form>(x, length, at, 1, plan, finish);
        return;
    }
    const bool odd = __builtin_ctzll(length) % 2 != 0;
    std::size_t blocks = length / 4;
    const auto head = plan.last != nullptr ? inverse_head<true> : inverse_head<false>;
    head(x, in, length, (at + 1) * blocks - 1, quarter, plan);
    for (blocks /= 4; blocks > (odd ? 2U : 1U); blocks /= 4)
        inverse4<Out::passing>(x, length / blocks, (at + 1) * blocks - 1, blocks, plan, finish);
    odd ? inverse8<form>(x, length, at, 1, plan, finish) : inverse4<form>(x, length, at, 1, plan, finish);
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
    const Plan plan(tables, log_n);
    const std::size_t n = std::size_t{1} << log_n;
    if (n < 16) return inverse_short(a, n, factor, plan);
    inverse_block<Out::residue>(a, a, n, 1, n / 4, plan, {Twiddle(factor, tables.modulus), factor});
}

void ntt_inverse_prepare(u64* out, const u64* in, unsigned log_n, u64 factor, const NttTables& tables, std::size_t i,
                         const BasisConstants& constants) {
    const std::size_t n = std::size_t{1} << log_n;
    if (n >= 16 && constants.scaled)
        return inverse_block<Out::centred>(out, in, n, 1, n / 4, Plan(tables, log_n),
                                           {Twiddle(factor, tables.modulus), factor});
    if (out != in) std::copy(in, in + n, out);
    ntt_inverse(out, log_n, factor, tables);
    prepare(out, out, n, i, constants);
}

}  // namespace cipherformer::avx2
#endif
