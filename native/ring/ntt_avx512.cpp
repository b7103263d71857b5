#if defined(__AVX512IFMA__) || defined(CIPHERFORMER_EMULATE_AVX512)

// The transforms on eight 52-bit lanes. Passes of up to three levels recurse depth first until a block fits the
// first-level cache; the last three levels, whose butterflies lie inside a vector, shuffle two vectors at a time.
#include "ring/avx512.hpp"
#include "ring/ntt.hpp"
#include "ring/residue_avx512.hpp"

namespace cipherformer::avx512 {
namespace {

constexpr std::size_t kCacheBlock = 2048;  // residues that stay in first-level cache with their twiddles

struct Plan {
    const Modulus& modulus;
    Field field;
    const u64* roots;
    const u64* quotients;
    explicit Plan(const NttTables& tables)
        : modulus(tables.modulus),
          field(tables.modulus),
          roots(tables.roots.data()),
          quotients(tables.quotients.data()) {}

    Twiddle one(std::size_t at) const { return {broadcast(roots[at]), broadcast(quotients[at])}; }
    // The eight entries from `at` on, or of those the ones that `index` names.
    Twiddle eight(std::size_t at) const { return {load(roots + at), load(quotients + at)}; }
    Twiddle some(std::size_t at, Word index) const {
        return {permute(load(roots + at), index), permute(load(quotients + at), index)};
    }
};

// How the last inverse pass leaves the array: times `scale`.
struct Finish {
    Twiddle scale;
    u64 factor;
};

// Forward, on [0, 4p): x to [0, 2p), then (x + w y, x - w y + 2p).
inline void forward_butterfly(Word& x, Word& y, const Twiddle& w, const Field& f) {
    const Word low = fold(x, f.twice);
    const Word product = mul_lazy(y, w, f);
    x = add(low, product);
    y = sub(add(low, f.twice), product);
}

// Inverse, on [0, 2p): (x + y, (y - x) w), the first folded, the second from an argument in [0, 4p).
inline void inverse_butterfly(Word& x, Word& y, const Twiddle& w, const Field& f) {
    const Word difference = sub(add(y, f.twice), x);
    x = fold(add(x, y), f.twice);
    y = mul_lazy(difference, w, f);
}

// `levels` levels on `blocks` consecutive blocks of `length`, the first with twiddle index `at`.
template <unsigned levels>
void forward_pass(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan) {
    constexpr std::size_t size = std::size_t{1} << levels;
    const Field f = plan.field;
    const std::size_t gap = length / size;
    for (std::size_t block = 0; block < blocks; ++block, ++at, x += length) {
        Twiddle w[size];  // w[groups + g] for group g of the level with so many groups
        for (std::size_t groups = 1; groups < size; groups *= 2)
            for (std::size_t g = 0; g < groups; ++g) w[groups + g] = plan.one(groups * at + g);
        for (std::size_t i = 0; i < gap; i += 8) {
            Word v[size];
            for (std::size_t k = 0; k < size; ++k) v[k] = load(x + i + k * gap);
            for (std::size_t groups = 1, half = size / 2; half >= 1; groups *= 2, half /= 2)
                for (std::size_t g = 0; g < groups; ++g)
                    for (std::size_t k = 2 * half * g; k < 2 * half * g + half; ++k)
                        forward_butterfly(v[k], v[k + half], w[groups + g], f);
            for (std::size_t k = 0; k < size; ++k) store(x + i + k * gap, v[k]);
        }
    }
}

// The same backwards; `at` is the mirrored index of the widest level, falling from block to block. The last pass of a
// transform puts the factor into the twiddle of its last level and multiplies the other half by it.
template <unsigned levels, bool last>
void inverse_pass(u64* x, std::size_t length, std::size_t at, std::size_t blocks, const Plan& plan,
                  const Finish& finish) {
    constexpr std::size_t size = std::size_t{1} << levels;
    const Field f = plan.field;
    const std::size_t gap = length / size;
    for (std::size_t block = 0; block < blocks; ++block, --at, x += length) {
        Twiddle w[size];
        for (std::size_t groups = 1; groups < size; groups *= 2)
            for (std::size_t g = 0; g < groups; ++g) w[groups + g] = plan.one(groups * at + groups - 1 - g);
        if constexpr (last) w[1] = Twiddle(plan.modulus.mul(plan.roots[at], finish.factor), plan.modulus);
        for (std::size_t i = 0; i < gap; i += 8) {
            Word v[size];
            for (std::size_t k = 0; k < size; ++k) v[k] = load(x + i + k * gap);
            for (std::size_t groups = size / 2, half = 1; groups >= 1; groups /= 2, half *= 2)
                for (std::size_t g = 0; g < groups; ++g)
                    for (std::size_t k = 2 * half * g; k < 2 * half * g + half; ++k)
                        inverse_butterfly(v[k], v[k + half], w[groups + g], f);
            if constexpr (last) {
                for (std::size_t k = 0; k < size / 2; ++k) v[k] = mul(v[k], finish.scale, f);
                for (std::size_t k = size / 2; k < size; ++k) v[k] = fold(v[k], f.p);
            }
            for (std::size_t k = 0; k < size; ++k) store(x + i + k * gap, v[k]);
        }
    }
}

// Sixteen consecutive residues as two vectors x, y of butterfly operands with a distance of 4, 2 or 1, in rising order
// of the butterflies. Bit 3 of an index chooses the second vector.
struct Shuffles {
    Word low4 = lanes(0, 1, 2, 3, 8, 9, 10, 11), high4 = lanes(4, 5, 6, 7, 12, 13, 14, 15);  // in order <-> 4
    Word low2 = lanes(0, 1, 8, 9, 4, 5, 12, 13), high2 = lanes(2, 3, 10, 11, 6, 7, 14, 15);  // 4 <-> 2
    Word low1 = lanes(0, 8, 2, 10, 4, 12, 6, 14), high1 = lanes(1, 9, 3, 11, 5, 13, 7, 15);  // 2 <-> 1
    Word low0 = lanes(0, 8, 1, 9, 2, 10, 3, 11), high0 = lanes(4, 12, 5, 13, 6, 14, 7, 15);  // 1 -> in order
    Word even = lanes(0, 2, 4, 6, 8, 10, 12, 14), odd = lanes(1, 3, 5, 7, 9, 11, 13, 15);    // in order -> 1
};

inline void shuffle(Word& x, Word& y, Word low, Word high) {
    const Word first = permute(x, y, low);
    y = permute(x, y, high);
    x = first;
}

// The last three levels of `length` residues, `at` the twiddle index of the first block of eight; to [0, p).
void forward_last(u64* x, std::size_t length, std::size_t at, const Plan& plan) {
    const Field f = plan.field;
    const Shuffles s;
    const Word index4 = lanes(0, 0, 0, 0, 1, 1, 1, 1), index2 = lanes(0, 0, 1, 1, 2, 2, 3, 3);
    for (const u64* const end = x + length; x != end; x += 16, at += 2) {
        Word a = load(x), b = load(x + 8);
        shuffle(a, b, s.low4, s.high4);
        forward_butterfly(a, b, plan.some(at, index4), f);
        shuffle(a, b, s.low2, s.high2);
        forward_butterfly(a, b, plan.some(2 * at, index2), f);
        shuffle(a, b, s.low1, s.high1);
        forward_butterfly(a, b, plan.eight(4 * at), f);
        shuffle(a, b, s.low0, s.high0);
        store(x, canonical(a, f)), store(x + 8, canonical(b, f));
    }
}

// The first three levels, `at` the mirrored twiddle index of the first block of eight.
void inverse_first(u64* x, std::size_t length, std::size_t at, const Plan& plan) {
    const Field f = plan.field;
    const Shuffles s;
    const Word index4 = lanes(1, 1, 1, 1, 0, 0, 0, 0), index2 = lanes(3, 3, 2, 2, 1, 1, 0, 0);
    const Word index1 = lanes(7, 6, 5, 4, 3, 2, 1, 0);
    for (const u64* const end = x + length; x != end; x += 16, at -= 2) {
        Word a = load(x), b = load(x + 8);
        shuffle(a, b, s.even, s.odd);
        inverse_butterfly(a, b, plan.some(4 * at + 3 - 7, index1), f);
        shuffle(a, b, s.low1, s.high1);
        inverse_butterfly(a, b, plan.some(2 * at + 1 - 3, index2), f);
        shuffle(a, b, s.low2, s.high2);
        inverse_butterfly(a, b, plan.some(at - 1, index4), f);
        shuffle(a, b, s.low4, s.high4);
        store(x, a), store(x + 8, b);
    }
}

// All levels of one block; `length` >= 16.
void forward_block(u64* x, std::size_t length, std::size_t at, const Plan& plan) {
    if (length > kCacheBlock) {
        forward_pass<2>(x, length, at, 1, plan);
        for (std::size_t i = 0; i < 4; ++i) forward_block(x + i * (length / 4), length / 4, 4 * at + i, plan);
        return;
    }
    std::size_t blocks = 1;
    for (; length / blocks >= 64; blocks *= 8) forward_pass<3>(x, length / blocks, at * blocks, blocks, plan);
    if (length / blocks == 32) forward_pass<2>(x, 32, at * blocks, blocks, plan), blocks *= 4;
    if (length / blocks == 16) forward_pass<1>(x, 16, at * blocks, blocks, plan), blocks *= 2;
    forward_last(x, length, at * blocks, plan);
}

template <bool last>
void inverse_block(u64* x, std::size_t length, std::size_t at, const Plan& plan, const Finish& finish) {
    if (length > kCacheBlock) {
        for (std::size_t i = 0; i < 4; ++i)
            inverse_block<false>(x + i * (length / 4), length / 4, 4 * at + 3 - i, plan, finish);
        return inverse_pass<2, last>(x, length, at, 1, plan, finish);
    }
    std::size_t blocks = length / 8;
    const auto mirrored = [&] { return (at + 1) * blocks - 1; };
    inverse_first(x, length, mirrored(), plan);
    while (blocks > 8) blocks /= 8, inverse_pass<3, false>(x, length / blocks, mirrored(), blocks, plan, finish);
    if (blocks == 8) inverse_pass<3, last>(x, length, at, 1, plan, finish);
    if (blocks == 4) inverse_pass<2, last>(x, length, at, 1, plan, finish);
    if (blocks == 2) inverse_pass<1, last>(x, length, at, 1, plan, finish);
}

// Transforms of fewer than 16 residues, one at a time.
void forward_short(u64* a, std::size_t n, const Plan& plan) {
    const Modulus& q = plan.modulus;
    for (std::size_t m = 1, gap = n / 2; m < n; m *= 2, gap /= 2)
        for (std::size_t i = 0; i < n / 2; ++i) {
            u64* const x = a + 2 * gap * (i / gap) + i % gap;
            const u64 product = q.mul(x[gap], plan.roots[m + i / gap]);
            x[gap] = q.sub(x[0], product);
            x[0] = q.add(x[0], product);
        }
}

void inverse_short(u64* a, std::size_t n, u64 factor, const Plan& plan) {
    const Modulus& q = plan.modulus;
    for (std::size_t m = n / 2, gap = 1; m >= 1; m /= 2, gap *= 2)
        for (std::size_t i = 0; i < n / 2; ++i) {
            u64* const x = a + 2 * gap * (i / gap) + i % gap;
            const u64 difference = q.sub(x[gap], x[0]);
            x[0] = q.add(x[0], x[gap]);
            x[gap] = q.mul(difference, plan.roots[2 * m - 1 - i / gap]);
        }
    for (std::size_t i = 0; i < n; ++i) a[i] = q.mul(a[i], factor);
}

}  // namespace

void ntt_forward(u64* a, unsigned log_n, const NttTables& tables) {
    const Plan plan(tables);
    const std::size_t n = std::size_t{1} << log_n;
    n < 16 ? forward_short(a, n, plan) : forward_block(a, n, 1, plan);
}

void ntt_inverse(u64* a, unsigned log_n, u64 factor, const NttTables& tables) {
    const Plan plan(tables);
    const std::size_t n = std::size_t{1} << log_n;
    if (n < 16) return inverse_short(a, n, factor, plan);
    inverse_block<true>(a, n, 1, plan, {Twiddle(factor, tables.modulus), factor});
}

}  // namespace cipherformer::avx512

#endif
