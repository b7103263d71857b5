#if defined(__AVX2__) && defined(__FMA__)
// The forward transform on doubles, four lanes.
#include "ring/ntt_avx2.hpp"
#include "ring/paths.hpp"

namespace cipherformer::avx2 {
namespace {

// (x, y) -> (x + w y, x - w y)
inline void butterfly(Real& x, Real& y, const Twiddle& w, const Field& f) {
    const Real product = mul(y, w, f);
    y = sub(x, product);
    x = add(x, product);
}
template <std::size_t count>
inline void butterflies(Real* x, Real* y, const Real* w, const Field& f) {
    mul_each<count>(y, w, f);
    for (std::size_t i = 0; i < count; ++i) {
        const Real product = y[i];
        y[i] = sub(x[i], product);
        x[i] = add(x[i], product);
    }
}

// The operand that no product brings back below p: it is reduced, unless it still stands within p.
template <Form form>
inline Real first(const u64* x, const Field& f) {
    const Real value = read<form>(x);
    return form == Form::residue ? value : reduce(value, f);
}

// Two levels of the columns i < width of a block whose quarters are `gap` apart; source(k, i) reads from quarter k.
// Inputs at most B, of quarter 0 at most 1: every output is at most 1/2 + (1/2 + B/8) + (1/2 + (9B/8 + 1/2)/8)
// <= 1.57 + 0.27 B, or 2.33 from residues: B stays below 2.4 from pass to pass.
template <typename Source>
[[gnu::always_inline]] inline void columns(u64* x, std::size_t gap, std::size_t width, std::size_t at, const Plan& plan,
                                           const Source& source) {
    const Field f = plan.field;
    const Twiddle w1 = plan.twiddle(at), w2 = plan.twiddle(2 * at), w3 = plan.twiddle(2 * at + 1);
    for (std::size_t i = 0; i < width; i += 4) {
        Real x1 = source(1, i), x3 = source(3, i);  // the longest chain starts first
        butterfly(x1, x3, w1, f);
        const Real product1 = mul(x1, w2, f);
        Real x0 = source(0, i), x2 = source(2, i);
        butterfly(x0, x2, w1, f);
        const Real product3 = mul(x3, w3, f);
        write(x + i, add(x0, product1)), write(x + i + gap, sub(x0, product1));
        write(x + i + 2 * gap, add(x2, product3)), write(x + i + 3 * gap, sub(x2, product3));
    }
}

// The same on `blocks` consecutive blocks of `length` in place, the first with twiddle index `at`.
template <Form form>
void forward4(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan) {
    const std::size_t gap = length / 4;
    const Field f = plan.field;
    for (std::size_t block = 0; block < blocks; ++block, ++at, x += length)
        columns(x, gap, gap, at, plan, [=](std::size_t k, std::size_t i) {
            return k == 0 ? first<form>(x + i, f) : read<form>(x + i + k * gap);
        });
}

// Three levels. Outputs are at most 1/2 + 3/2 + (B + A + A')/8 with A = 9B/8 + 1/2 and A' = 9A/8 + 1/2, that is
// 2.2 + 0.43 B, or 3.2 from residues: B stays below 3.9 and A' below 6.
template <Form form>
void forward8(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan) {
    const Field f = plan.field;
    const std::size_t gap = length / 8;
    for (std::size_t block = 0; block < blocks; ++block, ++at, x += length) {
        const Twiddle w1 = plan.twiddle(at), w2 = plan.twiddle(2 * at), w3 = plan.twiddle(2 * at + 1);
        const Twiddle w4 = plan.twiddle(4 * at), w5 = plan.twiddle(4 * at + 1), w6 = plan.twiddle(4 * at + 2),
                      w7 = plan.twiddle(4 * at + 3);
        for (std::size_t i = 0; i < gap; i += 4) {
            Real v[8] = {first<form>(x + i, f)};
            for (std::size_t k = 1; k < 8; ++k) v[k] = read<form>(x + i + k * gap);
            for (std::size_t k = 0; k < 4; ++k) butterfly(v[k], v[k + 4], w1, f);
            butterfly(v[0], v[2], w2, f), butterfly(v[1], v[3], w2, f);
            butterfly(v[4], v[6], w3, f), butterfly(v[5], v[7], w3, f);
            butterfly(v[0], v[1], w4, f), butterfly(v[2], v[3], w5, f);
            butterfly(v[4], v[5], w6, f), butterfly(v[6], v[7], w7, f);
            for (std::size_t k = 0; k < 8; ++k) write(x + i + k * gap, v[k]);
        }
    }
}

// The last two levels, on `count` groups of four transposed blocks from twiddle index `at` on, side by side so that
// their latencies overlap. Bounds as forward4 with 3/16 for 1/8: below 4.
template <bool arranged, std::size_t count>
void forward_last(u64* x, std::size_t at, std::size_t quarter, const Plan& plan) {
    const Field f = plan.field;
    LastTwiddles<count> w;
    Real x0[count], x1[count], x2[count], x3[count];
    for (std::size_t g = 0; g < count; ++g) {
        w.template load<arranged>(g, at + 4 * g, quarter, plan);
        const u64* const row = x + 16 * g;
        x0[g] = reduce(read<Form::real>(row), f), x1[g] = read<Form::real>(row + 4);
        x2[g] = read<Form::real>(row + 8), x3[g] = read<Form::real>(row + 12);
    }
    butterflies<count>(x1, x3, w.wide, f), butterflies<count>(x0, x2, w.wide, f);
    butterflies<count>(x0, x1, w.first, f), butterflies<count>(x2, x3, w.second, f);
    for (std::size_t g = 0; g < count; ++g) {
        u64* const row = x + 16 * g;
        write(row, x0[g]), write(row + 4, x1[g]), write(row + 8, x2[g]), write(row + 12, x3[g]);
    }
}

// All `length` residues. Transposing before and after in loops of their own keeps each loop's chain of operations
// short.
template <bool arranged>
void forward_tail(u64* x, std::size_t length, std::size_t at, std::size_t quarter, const Plan& plan) {
    transpose_all(x, length);
    std::size_t i = 0;
    for (; i + 32 <= length; i += 32) forward_last<arranged, 2>(x + i, at + i / 4, quarter, plan);
    if (i != length) forward_last<arranged, 1>(x + i, at + i / 4, quarter, plan);
    for (i = 0; i < length; i += 16) {
        Real a = read<Form::real>(x + i), b = read<Form::real>(x + i + 4);
        Real c = read<Form::real>(x + i + 8), d = read<Form::real>(x + i + 12);
        transpose(a, b, c, d);
        store_residue(x + i, a, plan.field), store_residue(x + i + 4, b, plan.field);
        store_residue(x + i + 8, c, plan.field), store_residue(x + i + 12, d, plan.field);
    }
}

// All levels of one block from twiddle index `at` on; `length` >= 16.
template <Form form>
void forward_block(u64* x, std::size_t length, std::size_t at, std::size_t quarter, const Plan& plan) {
    if (length > kCacheBlock) {
        forward4<form>(x, length, at, 1, plan);
        for (std::size_t i = 0; i < 4; ++i)
            forward_block<Form::real>(x + i * (length / 4), length / 4, 4 * at + i, quarter, plan);
        return;
    }
    const bool odd = __builtin_ctzll(length) % 2 != 0;
    odd ? forward8<form>(x, length, at, 1, plan) : forward4<form>(x, length, at, 1, plan);
    std::size_t blocks = odd ? 8 : 4;
    for (; length / blocks > 4; blocks *= 4) forward4<Form::real>(x, length / blocks, at * blocks, blocks, plan);
    const auto tail = plan.last != nullptr ? forward_tail<true> : forward_tail<false>;
    tail(x, length, at * blocks, quarter, plan);
}

// Transforms of fewer than 16 residues, in integers.
void forward_short(u64* a, std::size_t n, const Plan& plan) {
    const Modulus& q = plan.modulus;
    for (std::size_t m = 1, gap = n / 2; m < n; m *= 2, gap /= 2)
        for (std::size_t j = 0; j < m; ++j) {
            const u64 w = q.from_signed(static_cast<std::int64_t>(plan.roots[m + j]));
            u64* const x = a + 2 * gap * j;
            for (std::size_t i = 0; i < gap; ++i) {
                const u64 product = q.mul(x[i + gap], w);
                x[i + gap] = q.sub(x[i], product);
                x[i] = q.add(x[i], product);
            }
        }
}

// All levels but the first two.
void rest(u64* x, std::size_t n, const Plan& plan) {
    for (std::size_t i = 0; i < 4; ++i) forward_block<Form::real>(x + i * (n / 4), n / 4, 4 + i, n / 4, plan);
}

constexpr bool fusable(unsigned log_n) { return (std::size_t{1} << log_n) > kCacheBlock; }

// The transform of integers: read(i) gives four of them, at most 2^53.
template <typename Read>
void forward_of(u64* out, unsigned log_n, const NttTables& tables, const Read& read) {
    const Plan plan(tables, log_n);
    const std::size_t n = std::size_t{1} << log_n, gap = n / 4;
    const Field f = plan.field;
    columns(out, gap, gap, 1, plan, [=](std::size_t k, std::size_t i) { return reduce(read(i + k * gap), f); });
    rest(out, n, plan);
}

}  // namespace

void lift_forward(u64* out, const std::int32_t* a, unsigned log_n, const NttTables& tables) {
    if (fusable(log_n))
        return forward_of(out, log_n, tables, [a](std::size_t i) {
            return _mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
        });
    avx2_kernels().lift(out, a, std::size_t{1} << log_n, tables.modulus);
    ntt_forward(out, log_n, tables);
}

void lift_real_forward(u64* out, const double* a, unsigned log_n, const NttTables& tables) {
    if (fusable(log_n)) return forward_of(out, log_n, tables, [a](std::size_t i) { return _mm256_loadu_pd(a + i); });
    avx2_kernels().lift_real(out, a, std::size_t{1} << log_n, tables.modulus);
    ntt_forward(out, log_n, tables);
}

void ntt_forward(u64* a, unsigned log_n, const NttTables& tables) {
    const Plan plan(tables, log_n);
    const std::size_t n = std::size_t{1} << log_n;
    n < 16 ? forward_short(a, n, plan) : forward_block<Form::residue>(a, n, 1, n / 4, plan);
}

}  // namespace cipherformer::avx2
#endif
