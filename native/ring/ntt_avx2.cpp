#if defined(__AVX2__) && defined(__FMA__)
// The forward transform on doubles, four lanes.
#include "ring/ntt_avx2.hpp"

namespace cipherformer::avx2 {
namespace {

// (x, y) -> (x + w y, x - w y)
template <typename Factor>
inline void butterfly(Real& x, Real& y, const Factor& w, const Field& f) {
    const Real product = mul(y, w, f);
    y = sub(x, product);
    x = add(x, product);
}

// Two levels on `blocks` consecutive blocks of `length`, the first with twiddle index `at`.
// Inputs at most B: after reducing the first, every output is at most 1/2 + (1/2 + B/8) + (1/2 + (9B/8 + 1/2)/8)
// <= 1.57 + 0.27 B, so B stays below 2.2 from pass to pass.
template <Form form>
void forward4(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan) {
    const Field f = plan.field;
    const std::size_t gap = length / 4;
    for (std::size_t block = 0; block < blocks; ++block, ++at, x += length) {
        const Twiddle w1 = plan.twiddle(at), w2 = plan.twiddle(2 * at), w3 = plan.twiddle(2 * at + 1);
        for (std::size_t i = 0; i < gap; i += 4) {
            Real x0 = reduce(read<form>(x + i), f), x1 = read<form>(x + i + gap);
            Real x2 = read<form>(x + i + 2 * gap), x3 = read<form>(x + i + 3 * gap);
            butterfly(x0, x2, w1, f), butterfly(x1, x3, w1, f);
            butterfly(x0, x1, w2, f), butterfly(x2, x3, w3, f);
            write(x + i, x0), write(x + i + gap, x1), write(x + i + 2 * gap, x2), write(x + i + 3 * gap, x3);
        }
    }
}

// Three levels. Outputs are at most 1/2 + 3/2 + (B + A + A')/8 with A = 9B/8 + 1/2 and A' = 9A/8 + 1/2, that is
// 2.2 + 0.43 B: B stays below 3.9 and A' below 6.
template <Form form>
void forward8(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan) {
    const Field f = plan.field;
    const std::size_t gap = length / 8;
    for (std::size_t block = 0; block < blocks; ++block, ++at, x += length) {
        const Twiddle w1 = plan.twiddle(at), w2 = plan.twiddle(2 * at), w3 = plan.twiddle(2 * at + 1);
        const Twiddle w4 = plan.twiddle(4 * at), w5 = plan.twiddle(4 * at + 1), w6 = plan.twiddle(4 * at + 2),
                      w7 = plan.twiddle(4 * at + 3);
        for (std::size_t i = 0; i < gap; i += 4) {
            Real v[8];
            for (std::size_t k = 0; k < 8; ++k) v[k] = read<form>(x + i + k * gap);
            v[0] = reduce(v[0], f);
            for (std::size_t k = 0; k < 4; ++k) butterfly(v[k], v[k + 4], w1, f);
            butterfly(v[0], v[2], w2, f), butterfly(v[1], v[3], w2, f);
            butterfly(v[4], v[6], w3, f), butterfly(v[5], v[7], w3, f);
            butterfly(v[0], v[1], w4, f), butterfly(v[2], v[3], w5, f);
            butterfly(v[4], v[5], w6, f), butterfly(v[6], v[7], w7, f);
            for (std::size_t k = 0; k < 8; ++k) write(x + i + k * gap, v[k]);
        }
    }
}

// The twiddles of four neighbouring blocks of four, lanes in the order 0, 2, 1, 3 in which `unpack` splits pairs.
struct LastTwiddles {
    Real w1, w2, w3;
    LastTwiddles(const double* roots, std::size_t at) {
        const Real low = _mm256_loadu_pd(roots + 2 * at), high = _mm256_loadu_pd(roots + 2 * at + 4);
        w1 = _mm256_permute4x64_pd(_mm256_loadu_pd(roots + at), 0xD8);
        w2 = _mm256_unpacklo_pd(low, high);
        w3 = _mm256_unpackhi_pd(low, high);
    }
};

// The last two levels, inside vectors. Bounds as forward4 with 3/16 for 1/8: below 4. Results stay transposed for
// `forward_finish`: one loop with both steps would be bound by its latency.
void forward_last(u64* x, std::size_t at, std::size_t blocks, const Plan& plan) {
    const Field f = plan.field;
    for (std::size_t block = 0; block < blocks; block += 4, at += 4, x += 16) {
        const LastTwiddles w(plan.roots, at);
        Real x0 = read<Form::real>(x), x1 = read<Form::real>(x + 8), x2 = read<Form::real>(x + 4), x3 = read<Form::real>(x + 12);
        transpose(x0, x1, x2, x3);
        x0 = reduce(x0, f);
        butterfly(x0, x2, w.w1, f), butterfly(x1, x3, w.w1, f);
        butterfly(x0, x1, w.w2, f), butterfly(x2, x3, w.w3, f);
        write(x, x0), write(x + 8, x1), write(x + 4, x2), write(x + 12, x3);
    }
}

// Back to rows and to residues in [0, p).
void forward_finish(u64* x, std::size_t length, const Field f) {
    for (const u64* const end = x + length; x != end; x += 16) {
        Real x0 = read<Form::real>(x), x1 = read<Form::real>(x + 8), x2 = read<Form::real>(x + 4), x3 = read<Form::real>(x + 12);
        transpose(x0, x1, x2, x3);
        store_residue(x, x0, f), store_residue(x + 8, x1, f), store_residue(x + 4, x2, f), store_residue(x + 12, x3, f);
    }
}

// All levels of one block from twiddle index `at` on; `length` >= 16.
template <Form form>
void forward_block(u64* x, std::size_t length, std::size_t at, const Plan& plan) {
    if (length > kCacheBlock) {
        forward4<form>(x, length, at, 1, plan);
        for (std::size_t i = 0; i < 4; ++i) forward_block<Form::real>(x + i * (length / 4), length / 4, 4 * at + i, plan);
        return;
    }
    const bool odd = __builtin_ctzll(length) % 2 != 0;
    odd ? forward8<form>(x, length, at, 1, plan) : forward4<form>(x, length, at, 1, plan);
    std::size_t blocks = odd ? 8 : 4;
    for (; length / blocks > 4; blocks *= 4)
        forward4<Form::real>(x, length / blocks, at * blocks, blocks, plan);
    forward_last(x, at * blocks, blocks, plan);
    forward_finish(x, length, plan.field);
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

}  // namespace

void ntt_forward(u64* a, unsigned log_n, const NttTables& tables) {
    const Plan plan(tables);
    const std::size_t n = std::size_t{1} << log_n;
    n < 16 ? forward_short(a, n, plan) : forward_block<Form::residue>(a, n, 1, plan);
}

}  // namespace cipherformer::avx2
#endif
