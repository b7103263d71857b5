#if defined(__AVX2__) && defined(__FMA__)

// The kernels that go element by element, four lanes, and the table of the path.
#include "ring/avx2.hpp"
#include "ring/chacha.hpp"
#include "ring/gaussian.hpp"
#include "ring/paths.hpp"
#include "ring/portable.hpp"
#include "ring/real_avx2.hpp"

namespace cipherformer {
namespace avx2 {
namespace {

// How much of n residues whole vectors cover; the portable kernels take the rest.
constexpr std::size_t whole(std::size_t n) { return n & ~std::size_t{3}; }

Word broadcast(u64 x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }

void add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Word p = broadcast(q.value);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) {
        const Word sum = _mm256_add_epi64(load(a + i), load(b + i));
        store(out + i, _mm256_sub_epi64(sum, _mm256_andnot_si256(_mm256_cmpgt_epi64(p, sum), p)));
    }
    portable::add(out + end, a + end, b + end, n - end, q);
}

void add_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Word p = broadcast(q.value), term = broadcast(c);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) {
        const Word sum = _mm256_add_epi64(load(a + i), term);
        store(out + i, _mm256_sub_epi64(sum, _mm256_andnot_si256(_mm256_cmpgt_epi64(p, sum), p)));
    }
    portable::add_scalar(out + end, a + end, c, n - end, q);
}

void sub(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Word p = broadcast(q.value), zero = _mm256_setzero_si256();
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) {
        const Word difference = _mm256_sub_epi64(load(a + i), load(b + i));
        store(out + i, _mm256_add_epi64(difference, _mm256_and_si256(_mm256_cmpgt_epi64(zero, difference), p)));
    }
    portable::sub(out + end, a + end, b + end, n - end, q);
}

void neg(u64* out, const u64* a, std::size_t n, const Modulus& q) {
    const Word p = broadcast(q.value), zero = _mm256_setzero_si256();
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) {
        const Word x = load(a + i);
        store(out + i, _mm256_andnot_si256(_mm256_cmpeq_epi64(x, zero), _mm256_sub_epi64(p, x)));
    }
    portable::neg(out + end, a + end, n - end, q);
}

// |product| <= (1/2 + 3/8) p.
void mul(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4)
        store(out + i, from_centred(mul(load_real(a + i), load_real(b + i), f), f));
    portable::mul(out + end, a + end, b + end, n - end, q);
}

void mul_add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4)
        store_residue(out + i, add(mul(load_real(a + i), load_real(b + i), f), load_real(out + i)), f);
    portable::mul_add(out + end, a + end, b + end, n - end, q);
}

void mul_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) store(out + i, from_centred(mul(load_real(a + i), factor, f), f));
    portable::mul_scalar(out + end, a + end, c, n - end, q);
}

void mul_scalar_add(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4)
        store_residue(out + i, add(mul(load_real(a + i), factor, f), load_real(out + i)), f);
    portable::mul_scalar_add(out + end, a + end, c, n - end, q);
}

Real difference(const u64* a, const u64* b) {
    const Real magic = _mm256_set1_pd(0x1.8p52);  // holds signed integers below 2^51 in its low mantissa bits
    const Word held = _mm256_add_epi64(_mm256_sub_epi64(load(a), load(b)), _mm256_castpd_si256(magic));
    return sub(_mm256_castsi256_pd(held), magic);
}

void sub_mul_scalar(u64* out, const u64* a, const u64* b, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4)
        store(out + i, from_centred(mul(difference(a + i, b + i), factor, f), f));
    portable::sub_mul_scalar(out + end, a + end, b + end, c, n - end, q);
}

// At most (1/2 + 1/8 + 1) p before the reduction.
void sub_mul_scalar_add(u64* out, const u64* a, const u64* b, u64 c, const u64* d, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4)
        store_residue(out + i, add(mul(difference(a + i, b + i), factor, f), load_real(d + i)), f);
    portable::sub_mul_scalar_add(out + end, a + end, b + end, c, d + end, n - end, q);
}

// The two products of out1 are at most (1/2 + 3/16) p each.
void tensor(u64* out0, u64* out1, u64* out2, const u64* const* a, const u64* const* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) {
        const Real a0 = load_real(a[0] + i), a1 = load_real(a[1] + i), b0 = load_real(b[0] + i), b1 = load_real(b[1] + i);
        store(out0 + i, from_centred(mul(a0, b0, f), f));
        store_residue(out1 + i, add(mul(a0, b1, f), mul(a1, b0, f)), f);
        store(out2 + i, from_centred(mul(a1, b1, f), f));
    }
    const u64* const rest_a[] = {a[0] + end, a[1] + end};
    const u64* const rest_b[] = {b[0] + end, b[1] + end};
    portable::tensor(out0 + end, out1 + end, out2 + end, rest_a, rest_b, n - end, q);
}

void reduce(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to) {
    const Field f(to);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) store_residue(out + i, load_real(a + i), f);
    portable::reduce(out + end, a + end, n - end, from, to);
}

void reduce_centred(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to) {
    const Field source(from), f(to);
    const Real half = _mm256_set1_pd(static_cast<double>(from.half));
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) {
        const Real x = load_real(a + i);
        store_residue(out + i, sub(x, _mm256_and_pd(_mm256_cmp_pd(x, half, _CMP_GT_OQ), source.p)), f);
    }
    portable::reduce_centred(out + end, a + end, n - end, from, to);
}

void lift(u64* out, const std::int32_t* a, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4)
        store_residue(out + i, _mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i))), f);
    portable::lift(out + end, a + end, n - end, q);
}

void lift_real(u64* out, const double* a, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 4) store_residue(out + i, _mm256_loadu_pd(a + i), f);
    portable::lift_real(out + end, a + end, n - end, q);
}

// Every aligned group of four goes to one: within it the lanes change places, two halves of 32 bits each.
void permute(u64* out, const u64* in, const std::uint32_t* index, std::size_t n) {
    if (n < 8) return portable::permute(out, in, index, n);
    const Word mask = broadcast(3), upper = broadcast(u64{1} << 32);
    for (std::size_t i = 0; i < n; i += 4) {
        const Word lane =
            _mm256_and_si256(_mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(index + i))), mask);
        const Word low = _mm256_slli_epi64(lane, 1);
        const Word halves = _mm256_or_si256(low, _mm256_or_si256(_mm256_slli_epi64(low, 32), upper));
        store(out + i, _mm256_permutevar8x32_epi32(load(in + (index[i] & ~std::uint32_t{3})), halves));
    }
}

// A word is high 2^32 + low; high (2^32 mod q) reduced, plus low, stays below 2^51.
std::size_t uniform_words(u64* out, const u64* words, u64 limit, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle shift(q.reduce(u64{1} << 32), q);
    const Word sign = broadcast(u64{1} << 63);
    const Word last = _mm256_xor_si256(broadcast(limit - 1), sign);
    const std::size_t end = whole(n);
    std::size_t written = 0;
    for (std::size_t i = 0; i < end; i += 4) {
        const Word x = load(words + i);
        const Word beyond = _mm256_cmpgt_epi64(_mm256_xor_si256(x, sign), last);
        if (!_mm256_testz_si256(beyond, beyond)) {  // a rejected word, about once in 2^14
            written += portable::uniform_words(out + written, words + i, limit, 4, q);
            continue;
        }
        const Real high = to_real(_mm256_srli_epi64(x, 32));
        const Real low = to_real(_mm256_and_si256(x, broadcast(0xffffffff)));
        store_residue(out + written, add(mul(high, shift, f), low), f);
        written += 4;
    }
    return written + portable::uniform_words(out + written, words + end, limit, n - end, q);
}

}  // namespace
}  // namespace avx2

const Kernels& avx2_kernels() {
    static constexpr Kernels table{
        Path::avx2,
        "avx2",
        avx2::add,
        avx2::sub,
        avx2::neg,
        avx2::mul,
        avx2::add_scalar,
        avx2::mul_scalar,
        avx2::mul_scalar_add,
        avx2::sub_mul_scalar,
        avx2::sub_mul_scalar_add,
        avx2::tensor,
        avx2::mul_add,
        avx2::dot,
        avx2::dot_pair,
        avx2::dot_repeated,
        avx2::reduce,
        avx2::reduce_centred,
        avx2::lift,
        avx2::lift_real,
        avx2::prepare,
        avx2::convert,
        avx2::permute,
        avx2::ntt_forward,
        avx2::ntt_inverse,
        chacha_blocks,
        avx2::uniform_words,
        gaussian,
        avx2::mix,
        avx2::lift_forward,
        avx2::lift_real_forward,
        avx2::ntt_inverse_prepare,
    };
    return table;
}

}  // namespace cipherformer

#endif
