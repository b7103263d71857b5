#include <algorithm>

#include "ring/basis.hpp"
#include "ring/chacha.hpp"
#include "ring/gaussian.hpp"
#include "ring/ntt.hpp"
#include "ring/paths.hpp"
#include "ring/portable.hpp"

namespace cipherformer {
namespace portable {
namespace {

// Sums of products stay in registers and first-level cache for this many residues at a time.
constexpr std::size_t kBlock = 128;

void store_sums(u64* out, const u128* sums, std::size_t n, bool accumulate, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) {
        const u64 sum = q.reduce_wide(sums[i]);
        out[i] = accumulate ? q.add(out[i], sum) : sum;
    }
}

}  // namespace

void add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.add(a[i], b[i]);
}

void sub(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.sub(a[i], b[i]);
}

void neg(u64* out, const u64* a, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.neg(a[i]);
}

void mul(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.mul(a[i], b[i]);
}

void add_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.add(a[i], c);
}

void mul_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Shoup w = q.shoup(c);
    for (std::size_t i = 0; i < n; ++i) out[i] = q.mul(a[i], w);
}

void mul_scalar_add(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Shoup w = q.shoup(c);
    for (std::size_t i = 0; i < n; ++i) out[i] = q.add(out[i], q.mul(a[i], w));
}

void sub_mul_scalar(u64* out, const u64* a, const u64* b, u64 c, std::size_t n, const Modulus& q) {
    const Shoup w = q.shoup(c);
    for (std::size_t i = 0; i < n; ++i) out[i] = q.mul(a[i] + q.value - b[i], w);
}

void sub_mul_scalar_add(u64* out, const u64* a, const u64* b, u64 c, const u64* d, std::size_t n, const Modulus& q) {
    const Shoup w = q.shoup(c);
    for (std::size_t i = 0; i < n; ++i) out[i] = q.add(q.mul(a[i] + q.value - b[i], w), d[i]);
}

void tensor(u64* out0, u64* out1, u64* out2, const u64* const* a, const u64* const* b, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) {
        const u64 a0 = a[0][i], a1 = a[1][i], b0 = b[0][i], b1 = b[1][i];
        out0[i] = q.mul(a0, b0);
        out1[i] = q.add(q.mul(a0, b1), q.mul(a1, b0));
        out2[i] = q.mul(a1, b1);
    }
}

void mul_add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.add(out[i], q.mul(a[i], b[i]));
}

// A product is below 2^100, so 2^28 of them fit the 128-bit sums.
void dot(u64* out, const u64* const* a, const u64* const* b, std::size_t count, bool accumulate, std::size_t n,
         const Modulus& q) {
    for (std::size_t start = 0; start < n; start += kBlock) {
        const std::size_t length = std::min(kBlock, n - start);
        u128 sums[kBlock] = {};
        for (std::size_t d = 0; d < count; ++d)
            for (std::size_t i = 0; i < length; ++i) sums[i] += static_cast<u128>(a[d][start + i]) * b[d][start + i];
        store_sums(out + start, sums, length, accumulate, q);
    }
}

void dot_pair(u64* out0, u64* out1, const u64* const* a, const u64* const* b0, const u64* const* b1, std::size_t count,
              std::size_t n, const Modulus& q) {
    dot(out0, a, b0, count, false, n, q);
    dot(out1, a, b1, count, false, n, q);
}

void mix(u64* const* out, const u64* const* in, const double* weights, std::size_t rows, std::size_t count, u64 factor,
         std::size_t n, const Modulus& q) {
    const Shoup whole = q.shoup(factor), high_part = q.shoup(q.mul(factor, q.reduce(u64{1} << kMixedBits)));
    for (std::size_t begin = 0; begin < n; begin += kBlock)
        for (std::size_t r = 0; r < rows; ++r) {
            std::array<std::int64_t, kBlock> low{}, high{};
            const std::size_t length = std::min(kBlock, n - begin);
            for (std::size_t k = 0; k < count; ++k) {
                const auto weight = static_cast<std::int64_t>(weights[r * count + k]);
                for (std::size_t i = 0; i < length; ++i) {
                    const auto x = static_cast<std::int64_t>(in[k][begin + i]);
                    low[i] += weight * (x & ((std::int64_t{1} << kMixedBits) - 1));
                    high[i] += weight * (x >> kMixedBits);
                }
            }
            for (std::size_t i = 0; i < length; ++i)
                out[r][begin + i] = q.add(q.mul(q.from_signed(high[i]), high_part), q.mul(q.from_signed(low[i]), whole));
        }
}

void dot_repeated(u64* out, const u64* const* a, const u64* const* b, unsigned shift, std::size_t count,
                  bool accumulate, std::size_t n, const Modulus& q) {
    for (std::size_t start = 0; start < n; start += kBlock) {
        const std::size_t length = std::min(kBlock, n - start);
        u128 sums[kBlock] = {};
        for (std::size_t d = 0; d < count; ++d)
            for (std::size_t i = 0; i < length; ++i)
                sums[i] += static_cast<u128>(a[d][start + i]) * b[d][(start + i) >> shift];
        store_sums(out + start, sums, length, accumulate, q);
    }
}

void reduce(u64* out, const u64* a, std::size_t n, const Modulus&, const Modulus& to) {
    for (std::size_t i = 0; i < n; ++i) out[i] = to.reduce(a[i]);
}

void reduce_centred(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to) {
    const u64 wrap = to.neg(to.reduce(from.value));  // -q_from, what a residue above half stands apart from its centre
    for (std::size_t i = 0; i < n; ++i) out[i] = to.add(to.reduce(a[i]), a[i] > from.half ? wrap : 0);
}

void lift(u64* out, const std::int32_t* a, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.from_signed(a[i]);
}

void lift_real(u64* out, const double* a, std::size_t n, const Modulus& q) {
    for (std::size_t i = 0; i < n; ++i) out[i] = q.from_signed(static_cast<std::int64_t>(a[i]));
}

// With h_i = (q_i - 1)/2, the centred y_i is ((y_i + h_i) mod q_i) - h_i: the first part is what is prepared, the
// constant part is `offset`.
void prepare(u64* out, const u64* in, std::size_t n, std::size_t i, const BasisConstants& constants) {
    const Modulus& q = constants.from[i];
    const Shoup scale = q.shoup(constants.scaled ? 1 : constants.inverse[i]);
    for (std::size_t t = 0; t < n; ++t) out[t] = q.add(q.mul(in[t], scale), q.half);
}

void convert(u64* const* out, const u64* const* in, std::size_t n, const BasisConstants& constants, std::size_t first,
             std::size_t count) {
    const std::size_t k = constants.from.size();
    for (std::size_t start = 0; start < n; start += kBlock) {
        const std::size_t length = std::min(kBlock, n - start);
        for (std::size_t j = first; j < first + count; ++j) {
            u128 sums[kBlock];
            std::fill_n(sums, length, constants.offset[j]);
            for (std::size_t i = 0; i < k; ++i)
                for (std::size_t t = 0; t < length; ++t)
                    sums[t] += static_cast<u128>(in[i][start + t]) * constants.factor[j * k + i];
            store_sums(out[j - first] + start, sums, length, false, constants.to[j]);
        }
    }
}

void permute(u64* out, const u64* in, const std::uint32_t* index, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) out[i] = in[index[i]];
}

std::size_t uniform_words(u64* out, const u64* words, u64 limit, std::size_t n, const Modulus& q) {
    std::size_t written = 0;
    for (std::size_t i = 0; i < n; ++i) {
        out[written] = q.reduce(words[i]);
        written += words[i] < limit;
    }
    return written;
}

namespace {

// Butterflies with operands in [0, 4q) (Harvey 2014): q < 2^50, so every sum stays below 2^53.
void ntt_forward(u64* a, unsigned log_n, const NttTables& tables) {
    const Modulus& q = tables.modulus;
    const u64 twice = 2 * q.value;
    const std::size_t n = std::size_t{1} << log_n;
    for (std::size_t m = 1, gap = n / 2; m < n; m *= 2, gap /= 2)
        for (std::size_t j = 0; j < m; ++j) {
            const Shoup w{tables.roots[m + j], tables.quotients[m + j]};
            u64* const x = a + 2 * gap * j;
            for (std::size_t i = 0; i < gap; ++i) {
                const u64 low = x[i] >= twice ? x[i] - twice : x[i];
                const u64 high = q.mul_lazy(x[i + gap], w);
                x[i] = low + high;
                x[i + gap] = low + twice - high;
            }
        }
    for (std::size_t i = 0; i < n; ++i) {
        const u64 x = a[i] >= twice ? a[i] - twice : a[i];
        a[i] = x >= q.value ? x - q.value : x;
    }
}

// Operands in [0, 2q). The inverse twiddle of block j is minus the forward one of block m - 1 - j.
void ntt_inverse(u64* a, unsigned log_n, u64 factor, const NttTables& tables) {
    const Modulus& q = tables.modulus;
    const u64 twice = 2 * q.value;
    const std::size_t n = std::size_t{1} << log_n;
    for (std::size_t m = n / 2, gap = 1; m >= 1; m /= 2, gap *= 2)
        for (std::size_t j = 0; j < m; ++j) {
            const Shoup w{tables.roots[2 * m - 1 - j], tables.quotients[2 * m - 1 - j]};
            u64* const x = a + 2 * gap * j;
            for (std::size_t i = 0; i < gap; ++i) {
                const u64 sum = x[i] + x[i + gap];
                const u64 difference = x[i + gap] + twice - x[i];
                x[i] = sum >= twice ? sum - twice : sum;
                x[i + gap] = q.mul_lazy(difference, w);
            }
        }
    const Shoup scale = q.shoup(factor);
    for (std::size_t i = 0; i < n; ++i) a[i] = q.mul(a[i], scale);
}

}  // namespace
}  // namespace portable

const Kernels& portable_kernels() {
    static constexpr Kernels table{
        Path::portable,
        "portable",
        portable::add,
        portable::sub,
        portable::neg,
        portable::mul,
        portable::add_scalar,
        portable::mul_scalar,
        portable::mul_scalar_add,
        portable::sub_mul_scalar,
        portable::sub_mul_scalar_add,
        portable::tensor,
        portable::mul_add,
        portable::dot,
        portable::dot_pair,
        portable::dot_repeated,
        portable::reduce,
        portable::reduce_centred,
        portable::lift,
        portable::lift_real,
        portable::prepare,
        portable::convert,
        portable::permute,
        portable::ntt_forward,
        portable::ntt_inverse,
        chacha_blocks,
        portable::uniform_words,
        gaussian,
        portable::mix,
    };
    return table;
}

}  // namespace cipherformer
