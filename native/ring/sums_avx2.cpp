#if defined(__AVX2__) && defined(__FMA__)

// Sums of products on doubles, four lanes, with one reduction for up to eight terms.
//
// A sum is kept as high + low. `high` starts at a power of two so large that its unit in the last place is U = 2^51
// (or 2^50) all the way; adding a product in one FMA rounds it to a multiple d of U, the new high minus the old, exact,
// and the rest a b - d, at most U/2, is exact in a second FMA. Limits for eight terms:
//   operands in [0, p), p < 2^50: high from 2^103 to at most 2^103 + 8 * 2^100 = 2^104, low at most 8 * 2^50 = 2^53;
//   operands centred, at most 2^49: high 1.5 * 2^102 +- 8 * 2^98, within [2^102, 2^103), low at most 8 * 2^49 = 2^52.
// The high sum H, a multiple of U, is then reduced by c = round(H / p). |H / p| <= 8 p (p' for centred operands modulo
// another prime p'), so the quotient is off by at most 8 * 2^50 * 2^-52 = 2 before rounding and |H - c p| <= 2.5 p, an
// integer below 2^53 and exact in one FMA.
#include <algorithm>
#include <vector>

#include "ring/avx2.hpp"
#include "ring/basis.hpp"
#include "ring/portable.hpp"
#include "ring/real_avx2.hpp"

namespace cipherformer::avx2 {
namespace {

constexpr std::size_t kTerms = 8;
constexpr std::size_t kRoomyTerms = 5;  // (5 + 1.75 + 1) 2^50 < 2^53: low and high part and one more residue
constexpr std::size_t kChunk = 256;     // residues of one sum that stay in first-level cache over groups of terms
constexpr std::size_t kTile = 4;        // vectors of one sum in registers
constexpr double kPlainStart = 0x1p103;
constexpr double kCentredStart = 0x1.8p102;

struct Sum {
    Real high, low;
    Sum() = default;
    explicit Sum(double start) : high(_mm256_set1_pd(start)), low(_mm256_setzero_pd()) {}

    void add_product(Real a, Real b) {
        const Real next = _mm256_fmadd_pd(a, b, high);
        low = add(low, _mm256_fmsub_pd(a, b, sub(next, high)));
        high = next;
    }
    // The sum modulo p. The high part, H - c p, is at most 2.5 p. When the low part leaves room (`roomy`: at most
    // 5 * 2^50, then H - c p is at most 1.75 p; or 2^52) it is just added; otherwise it is reduced first.
    template <bool roomy>
    Real value(double start, const Field& f) const {
        const Real rest = reduce(sub(high, _mm256_set1_pd(start)), f);
        return add(rest, roomy ? low : reduce(low, f));
    }
};

// How b[d] is read: one value per lane, or each value for 2, 4 or 8, or at least 16 lanes.
enum class Repeat { none, pairs, vectors, tiles };

template <Repeat repeat>
Real second(const u64* b, std::size_t tile, std::size_t vector, unsigned shift) {
    const std::size_t at = tile + 4 * vector;
    if constexpr (repeat == Repeat::none) return load_real(b + at);
    if constexpr (repeat == Repeat::pairs) {
        const __m128i two = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + (at >> 1)));
        return to_real(_mm256_permute4x64_epi64(_mm256_castsi128_si256(two), 0x50));
    }
    const std::size_t index = (repeat == Repeat::vectors ? at : tile) >> shift;
    return to_real(_mm256_set1_epi64x(static_cast<long long>(b[index])));
}

// The two parts of the sums of one chunk, on their way from the loop that adds to the loop that reduces. The processor
// overlaps iterations of each loop, but its window is too short to overlap the end of one sum with the start of the next.
struct alignas(64) Parts {
    double high[kChunk], low[kChunk];

    void put(std::size_t at, const Sum& sum) {
        _mm256_store_pd(high + at, sum.high);
        _mm256_store_pd(low + at, sum.low);
    }
    Sum get(std::size_t at) const {
        Sum sum;
        sum.high = _mm256_load_pd(high + at), sum.low = _mm256_load_pd(low + at);
        return sum;
    }
};

// One chunk of `length` residues from `start` on. Terms beyond eight go in groups; between groups the sums wait in
// `partial`, within (1/2 + 2^-48) p.
template <Repeat repeat, bool roomy>
void dot_chunk(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count, bool accumulate,
               std::size_t start, std::size_t length, const Modulus& q) {
    const Field f(q);
    alignas(64) double partial[kChunk];
    Parts parts;
    for (std::size_t group = 0; group < count; group += kTerms) {
        const std::size_t end = std::min(count, group + kTerms);
        for (std::size_t i = 0; i < length; i += 4 * kTile) {
            Sum sums[kTile] = {Sum(kPlainStart), Sum(kPlainStart), Sum(kPlainStart), Sum(kPlainStart)};
            for (std::size_t d = group; d < end; ++d)
                for (std::size_t v = 0; v < kTile; ++v)
                    sums[v].add_product(load_real(a[d] + start + i + 4 * v), second<repeat>(b[d], start + i, v, shift));
            for (std::size_t v = 0; v < kTile; ++v) parts.put(i + 4 * v, sums[v]);
        }
        for (std::size_t at = 0; at < length; at += 4) {
            Real sum = parts.get(at).template value<roomy>(kPlainStart, f);
            if (group != 0)
                sum = add(sum, _mm256_load_pd(partial + at));
            else if (accumulate)
                sum = add(sum, load_real(out + start + at));
            if (end == count)
                store_residue(out + start + at, sum, f);
            else
                _mm256_store_pd(partial + at, reduce(sum, f));
        }
    }
}

template <Repeat repeat>
void dot_chunks(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count, bool accumulate,
                std::size_t n, const Modulus& q) {
    const auto run = count <= kRoomyTerms ? dot_chunk<repeat, true> : dot_chunk<repeat, false>;
    for (std::size_t start = 0; start < n; start += kChunk)
        run(out, a, b, shift, count, accumulate, start, std::min(kChunk, n - start), q);
}

// The sum of k terms from both of its parts by one quotient c. H / p is at most k p for operands in [0, p) and k 2^(a - 2)
// for centred ones of a bits, so c is off by less than 3 * 2^-53 times that before rounding. Below 0.47 (`exact`) the rest
// is a centred residue; otherwise, k <= 5 in the first case and k <= 11, a <= 50 in the second, it is below 2.4 p and is
// reduced again. H - c p is at most that and |low|, below 2^53 and exact.
template <bool exact>
Word residue(Real high, Real low, const Field& f) {
    const Real quotient = round_even(_mm256_fmadd_pd(low, f.inverse, _mm256_mul_pd(high, f.inverse)));
    const Real rest = add(_mm256_fnmadd_pd(quotient, f.p, high), low);
    return from_centred(exact ? rest : reduce(rest, f), f);
}

// Both sums of a pair, at most kRoomyTerms products each, chunk by chunk. The key is asked for early: it comes from memory.
template <bool exact>
void pair_chunk(u64* const* out, const u64* const* a, const u64* const* const* b, std::size_t count, std::size_t start,
                std::size_t length, const Modulus& q) {
    constexpr std::size_t kVectors = 2, kAhead = 128;
    const Field f(q);
    Parts parts[2];
    for (std::size_t i = 0; i < length; i += 4 * kVectors) {
        const std::size_t at = start + i;
        Sum sums[2][kVectors] = {{Sum(kPlainStart), Sum(kPlainStart)}, {Sum(kPlainStart), Sum(kPlainStart)}};
        for (std::size_t d = 0; d < count; ++d) {
            Real factor[kVectors];
            for (std::size_t v = 0; v < kVectors; ++v) factor[v] = load_real(a[d] + at + 4 * v);
            for (std::size_t half = 0; half < 2; ++half) {
                _mm_prefetch(reinterpret_cast<const char*>(b[half][d] + at + kAhead), _MM_HINT_T0);
                for (std::size_t v = 0; v < kVectors; ++v)
                    sums[half][v].add_product(factor[v], load_real(b[half][d] + at + 4 * v));
            }
        }
        for (std::size_t half = 0; half < 2; ++half)
            for (std::size_t v = 0; v < kVectors; ++v) parts[half].put(i + 4 * v, sums[half][v]);
    }
    for (std::size_t half = 0; half < 2; ++half)
        for (std::size_t i = 0; i < length; i += 4) {
            const Sum sum = parts[half].get(i);
            store(out[half] + start + i, residue<exact>(sub(sum.high, _mm256_set1_pd(kPlainStart)), sum.low, f));
        }
}

constexpr bool tiled(std::size_t n) { return n != 0 && n % (4 * kTile) == 0; }

struct alignas(64) Row {
    double values[kChunk];
};

// How many sources one sum may have: a rest is at most 2^49, and `residue` wants k 2^49 + 2.5 p <= 2^53.
constexpr std::size_t kOnce = 11;

// How many products `high` may take before it starts anew. A product is at most 2^(a + b - 2) for sources of a bits and a
// destination p of b, and `high` may move by less than 2^101.
std::size_t run_length(unsigned from_bits, const Modulus& p) { return from_bits + p.bits < 100 ? kOnce : kTerms; }

[[gnu::always_inline]] inline void add_products(Sum* sums, const double* const* y, const double* factors, std::size_t begin, std::size_t end,
                  std::size_t t) {
    for (std::size_t i = begin; i < end; ++i) {
        const Real factor = _mm256_broadcast_sd(factors + i);
        for (std::size_t v = 0; v < kTile; ++v) sums[v].add_product(_mm256_loadu_pd(y[i] + t + 4 * v), factor);
    }
}

// The sums over i < k of y_i times a factor, one chunk.
void sum_sources(Parts& parts, const double* const* y, const double* factors, std::size_t k, std::size_t length) {
    for (std::size_t t = 0; t < length; t += 4 * kTile) {
        Sum sums[kTile] = {Sum(kCentredStart), Sum(kCentredStart), Sum(kCentredStart), Sum(kCentredStart)};
        add_products(sums, y, factors, 0, k, t);
        for (std::size_t v = 0; v < kTile; ++v) parts.put(t + 4 * v, sums[v]);
    }
}

// The sums for one destination modulus, `split` of the k <= kOnce terms first: at most kTerms on either side where
// products are large. The two high parts are multiples of 2^50 of at most 2^101 each, so their sum is exact.
template <bool exact, bool halves>
void combine_once(u64* out, const double* const* y, const double* factors, std::size_t split, std::size_t k,
                  std::size_t length, const Modulus& p) {
    const Field f(p);
    const Real start = _mm256_set1_pd(kCentredStart);
    for (std::size_t t = 0; t < length; t += 4 * kTile) {
        Sum sums[kTile] = {Sum(kCentredStart), Sum(kCentredStart), Sum(kCentredStart), Sum(kCentredStart)};
        Real first[kTile];
        add_products(sums, y, factors, 0, halves ? split : k, t);
        if constexpr (halves) {
            for (std::size_t v = 0; v < kTile; ++v) first[v] = sub(sums[v].high, start), sums[v].high = start;
            add_products(sums, y, factors, split, k, t);
        }
        for (std::size_t v = 0; v < kTile; ++v) {
            const Real high = sub(sums[v].high, start);
            store(out + t + 4 * v, residue<exact>(halves ? add(first[v], high) : high, sums[v].low, f));
        }
    }
}

// The same for any k, by groups. A group adds at most 2.5 p + 8 * 2^49, the ones before it p more.
void combine_groups(u64* out, const double* const* y, const double* factors, std::size_t k, std::size_t length,
                    const Modulus& p) {
    const Field f(p);
    Parts parts;
    alignas(64) double total[kChunk] = {};
    for (std::size_t group = 0; group < k; group += kTerms) {
        sum_sources(parts, y + group, factors + group, std::min(kTerms, k - group), length);
        for (std::size_t t = 0; t < length; t += 4) {
            const Real sum = reduce(parts.get(t).value<true>(kCentredStart, f), f);
            _mm256_store_pd(total + t, reduce(add(_mm256_load_pd(total + t), sum), f));
        }
    }
    for (std::size_t t = 0; t < length; t += 4) store_residue(out + t, _mm256_load_pd(total + t), f);
}

// Limbs fall on the same lines of the first-level cache, which holds eight of each: a few sources are read where they
// are, the others from rows of their own.
constexpr std::size_t kDirect = 6;

void gather(Row* y, const u64* const* in, std::size_t k, std::size_t start, std::size_t length) {
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t t = 0; t < length; t += 4)
            _mm256_store_pd(y[i].values + t, _mm256_castsi256_pd(load(in[i] + start + t)));
}

}  // namespace

void dot(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
         const Modulus& q) {
    if (!tiled(n) || count == 0) return portable::dot(out, a, b, count, accumulate, n, q);
    dot_chunks<Repeat::none>(out, a, b, 0, count, accumulate, n, q);
}

void dot_pair(u64* out0, u64* out1, const u64* const* a, const u64* const* b0, const u64* const* b1, std::size_t count,
              std::size_t n, const Modulus& q) {
    constexpr unsigned kExactBits = 47;  // 5 * 2^47 * 3 * 2^-53 < 0.47
    if (!tiled(n) || count == 0) return portable::dot_pair(out0, out1, a, b0, b1, count, n, q);
    if (count > kRoomyTerms) {
        dot(out0, a, b0, count, false, n, q);
        return dot(out1, a, b1, count, false, n, q);
    }
    u64* const out[] = {out0, out1};
    const u64* const* const b[] = {b0, b1};
    for (std::size_t start = 0; start < n; start += kChunk)
        (q.bits <= kExactBits ? pair_chunk<true> : pair_chunk<false>)(out, a, b, count, start, std::min(kChunk, n - start), q);
}

void dot_repeated(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                  bool accumulate, std::size_t n, const Modulus& q) {
    if (!tiled(n) || count == 0) return portable::dot_repeated(out, a, b, shift, count, accumulate, n, q);
    const auto run = shift == 0   ? dot_chunks<Repeat::none>
                     : shift == 1 ? dot_chunks<Repeat::pairs>
                     : shift < 4  ? dot_chunks<Repeat::vectors>
                                  : dot_chunks<Repeat::tiles>;
    run(out, a, b, shift, count, accumulate, n, q);
}

// y_i centred exactly, as doubles: |x| <= 5/8 p before `reduce`.
void prepare(u64* out, const u64* in, std::size_t n, std::size_t i, const BasisConstants& constants) {
    if (!tiled(n)) return portable::prepare(out, in, n, i, constants);
    const Modulus& q = constants.from[i];
    const Field f(q);
    const Twiddle scale(constants.inverse[i], q);
    for (std::size_t t = 0; t < n; t += 4) {
        const Real x = load_real(in + t);
        store(out + t, _mm256_castpd_si256(reduce(constants.scaled ? x : mul(x, scale, f), f)));
    }
}

void convert(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants, std::size_t first,
             std::size_t count) {
    if (!tiled(n)) return portable::convert(out, in, n, constants, first, count);
    const std::size_t k = constants.from.size();
    unsigned bits = 0;
    for (const Modulus& q : constants.from) bits = std::max(bits, q.bits);
    const bool exact = k <= std::size_t{5} << (kMaxModulusBits - bits);
    const auto whole = exact ? combine_once<true, false> : combine_once<false, false>;
    const auto halves = exact ? combine_once<true, true> : combine_once<false, true>;
    const std::size_t direct = std::min(k, kDirect);
    std::vector<Row> rows(k - direct);
    std::vector<const double*> y(k);
    for (std::size_t i = direct; i < k; ++i) y[i] = rows[i - direct].values;
    for (std::size_t start = 0; start < n; start += kChunk) {
        const std::size_t length = std::min(kChunk, n - start);
        for (std::size_t i = 0; i < direct; ++i) y[i] = reinterpret_cast<const double*>(in[i] + start);
        gather(rows.data(), in + direct, k - direct, start, length);
        for (std::size_t j = first; j < first + count; ++j) {
            const Modulus& p = constants.to[j];
            const double* factors = constants.centred.data() + j * k;
            u64* const to = out[j - first] + start;
            if (k > kOnce)
                combine_groups(to, y.data(), factors, k, length, p);
            else
                (k > run_length(bits, p) ? halves : whole)(to, y.data(), factors, k / 2, k, length, p);
        }
    }
}

}  // namespace cipherformer::avx2

#endif
