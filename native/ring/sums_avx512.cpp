#if defined(__AVX512IFMA__) || defined(CIPHERFORMER_EMULATE_AVX512)

// Sums of products and base conversion, eight lanes: two instructions a term, one reduction a sum.
#include <algorithm>
#include <vector>

#include "ring/avx512.hpp"
#include "ring/basis.hpp"
#include "ring/portable.hpp"
#include "ring/residue_avx512.hpp"

namespace cipherformer::avx512 {
namespace {

constexpr std::size_t kMaxTerms = 4000;  // below the 4095 of Sum, one of which is the starting value
constexpr std::size_t kChunk = 256;      // residues of one sum that stay in first-level cache over groups of terms
constexpr std::size_t kGroup = 8;        // terms read side by side
constexpr std::size_t kTile = 4;         // vectors of one sum in registers

// How b[d] is read: one value per lane, or each value for 2 or 4 lanes, or for at least 8.
enum class Repeat { none, lanes, vectors };

template <Repeat repeat>
Word second(const u64* b, std::size_t at, unsigned shift) {
    if constexpr (repeat == Repeat::none) return load(b + at);
    const std::size_t from = at >> shift;
    if constexpr (repeat == Repeat::vectors) return broadcast(b[from]);
    const Word index = shift == 1 ? lanes(0, 0, 1, 1, 2, 2, 3, 3) : lanes(0, 0, 0, 0, 1, 1, 1, 1);
    return permute(load(b + (from & ~std::size_t{7})), add(index, broadcast(from & 7)));
}

// One chunk from `start` on. Terms go in groups of eight streams, between which the two halves of the sums wait.
template <Repeat repeat>
void dot_chunk(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count, bool accumulate,
               std::size_t start, std::size_t length, const Modulus& q) {
    const Field f(q);
    const Reduction reduction(q);
    const bool few = count <= kFewProducts;
    alignas(64) u64 low[kChunk], high[kChunk];
    for (std::size_t group = 0; group < count; group += kGroup) {
        const std::size_t end = std::min(count, group + kGroup);
        for (std::size_t i = 0; i < length; i += 8 * kTile) {
            Sum sums[kTile] = {Sum(broadcast(0)), Sum(broadcast(0)), Sum(broadcast(0)), Sum(broadcast(0))};
            for (std::size_t v = 0; v < kTile; ++v) {
                const std::size_t at = i + 8 * v;
                if (group != 0)
                    sums[v].low = load(low + at), sums[v].high = load(high + at);
                else if (accumulate)
                    sums[v].low = load(out + start + at);
            }
            for (std::size_t d = group; d < end; ++d)
                for (std::size_t v = 0; v < kTile; ++v) {
                    const std::size_t at = start + i + 8 * v;
                    sums[v].add_product(load(a[d] + at), second<repeat>(b[d], at, shift));
                }
            for (std::size_t v = 0; v < kTile; ++v) {
                const std::size_t at = i + 8 * v;
                if (end == count)
                    store(out + start + at, few ? reduction.few(sums[v], f) : reduction.many(sums[v], f));
                else
                    store(low + at, sums[v].low), store(high + at, sums[v].high);
            }
        }
    }
}

constexpr bool tiled(std::size_t n) { return n != 0 && n % (8 * kTile) == 0; }

template <Repeat repeat>
void dot_any(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count, bool accumulate,
             std::size_t n, const Modulus& q) {
    for (std::size_t begin = 0; begin < count; begin += kMaxTerms)
        for (std::size_t start = 0; start < n; start += kChunk)
            dot_chunk<repeat>(out, a + begin, b + begin, shift, std::min(kMaxTerms, count - begin),
                              accumulate || begin != 0, start, std::min(kChunk, n - start), q);
}

struct alignas(64) Row {
    u64 values[kChunk];
};

// The sums over i for one destination modulus, one chunk.
void combine(u64* out, const Row* y, const u64* factors, u64 offset, std::size_t k, std::size_t length,
             const Modulus& p) {
    const Field f(p);
    const Reduction reduction(p);
    const bool few = k <= kFewProducts;
    for (std::size_t t = 0; t < length; t += 8 * kTile) {
        const Word begin = broadcast(offset);
        Sum sums[kTile] = {Sum(begin), Sum(begin), Sum(begin), Sum(begin)};
        for (std::size_t i = 0; i < k; ++i) {
            const Word factor = broadcast(factors[i]);
            for (std::size_t v = 0; v < kTile; ++v) sums[v].add_product(load(y[i].values + t + 8 * v), factor);
        }
        for (std::size_t v = 0; v < kTile; ++v)
            store(out + t + 8 * v, few ? reduction.few(sums[v], f) : reduction.many(sums[v], f));
    }
}

}  // namespace

void dot(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
         const Modulus& q) {
    if (!tiled(n) || count == 0) return portable::dot(out, a, b, count, accumulate, n, q);
    dot_any<Repeat::none>(out, a, b, 0, count, accumulate, n, q);
}

// By pieces that stay in first-level cache between the two sums.
void dot_pair(u64* out0, u64* out1, const u64* const* a, const u64* const* b0, const u64* const* b1, std::size_t count,
              std::size_t n, const Modulus& q) {
    if (!tiled(n) || count == 0 || count > kGroup) return portable::dot_pair(out0, out1, a, b0, b1, count, n, q);
    for (std::size_t start = 0; start < n; start += kChunk) {
        const std::size_t length = std::min(kChunk, n - start);
        dot_chunk<Repeat::none>(out0, a, b0, 0, count, false, start, length, q);
        dot_chunk<Repeat::none>(out1, a, b1, 0, count, false, start, length, q);
    }
}

void dot_repeated(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                  bool accumulate, std::size_t n, const Modulus& q) {
    if (!tiled(n) || count == 0) return portable::dot_repeated(out, a, b, shift, count, accumulate, n, q);
    if (shift == 0) return dot_any<Repeat::none>(out, a, b, 0, count, accumulate, n, q);
    const auto run = shift > 2 ? dot_any<Repeat::vectors> : dot_any<Repeat::lanes>;
    run(out, a, b, shift, count, accumulate, n, q);
}

// (y_i + (q_i - 1)/2) mod q_i, as the portable path; BasisConstants::offset takes the shift off again.
void prepare(u64* out, const u64* in, std::size_t n, std::size_t i, const BasisConstants& constants) {
    if (!tiled(n)) return portable::prepare(out, in, n, i, constants);
    const Modulus& q = constants.from[i];
    const Field f(q);
    const Twiddle scale(constants.inverse[i], q);
    const Word half = broadcast(q.half);
    for (std::size_t t = 0; t < n; t += 8) {
        const Word x = load(in + t);
        store(out + t, fold(add(constants.scaled ? x : mul(x, scale, f), half), f.p));
    }
}

void convert(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants, std::size_t first,
             std::size_t count) {
    const std::size_t k = constants.from.size();
    if (!tiled(n) || k > kMaxTerms) return portable::convert(out, in, n, constants, first, count);
    std::vector<Row> y(k);  // rows of their own: limbs would fall on the same lines of the cache
    for (std::size_t start = 0; start < n; start += kChunk) {
        const std::size_t length = std::min(kChunk, n - start);
        for (std::size_t i = 0; i < k; ++i) std::copy_n(in[i] + start, length, y[i].values);
        for (std::size_t j = first; j < first + count; ++j)
            combine(out[j - first] + start, y.data(), constants.factor.data() + j * k, constants.offset[j], k, length,
                    constants.to[j]);
    }
}

}  // namespace cipherformer::avx512

#endif
