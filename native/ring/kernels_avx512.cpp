#if defined(__AVX512IFMA__) || defined(CIPHERFORMER_EMULATE_AVX512)

// The kernels that go element by element, eight lanes, and the table of the path.
#include "ring/avx2.hpp"
#include "ring/avx512.hpp"
#include "ring/chacha.hpp"
#include "ring/gaussian.hpp"
#include "ring/paths.hpp"
#include "ring/portable.hpp"
#include "ring/residue_avx512.hpp"

namespace cipherformer {
namespace avx512 {
namespace {

// Four lanes serve here: the sums are bound by the loads of the weights. Every machine with this path has AVX2.
#if defined(CIPHERFORMER_EMULATE_AVX512)
constexpr auto mix = portable::mix;
#else
constexpr auto mix = avx2::mix;
#endif

// How much of n residues whole vectors cover; the portable kernels take the rest.
constexpr std::size_t whole(std::size_t n) { return n & ~std::size_t{7}; }

void add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, fold(add(load(a + i), load(b + i)), f.p));
    portable::add(out + end, a + end, b + end, n - end, q);
}

void add_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Word term = broadcast(c);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, fold(add(load(a + i), term), f.p));
    portable::add_scalar(out + end, a + end, c, n - end, q);
}

// A negative difference is a huge unsigned one, above itself plus p.
void sub(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) {
        const Word difference = sub(load(a + i), load(b + i));
        store(out + i, least(difference, add(difference, f.p)));
    }
    portable::sub(out + end, a + end, b + end, n - end, q);
}

void neg(u64* out, const u64* a, std::size_t n, const Modulus& q) {
    const Field f(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, fold(sub(f.p, load(a + i)), f.p));
    portable::neg(out + end, a + end, n - end, q);
}

void mul(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Barrett barrett(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, mul(load(a + i), load(b + i), barrett, f));
    portable::mul(out + end, a + end, b + end, n - end, q);
}

void mul_add(u64* out, const u64* a, const u64* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Barrett barrett(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8)
        store(out + i, fold(add(load(out + i), mul(load(a + i), load(b + i), barrett, f)), f.p));
    portable::mul_add(out + end, a + end, b + end, n - end, q);
}

void mul_scalar(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, mul(load(a + i), factor, f));
    portable::mul_scalar(out + end, a + end, c, n - end, q);
}

void mul_scalar_add(u64* out, const u64* a, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8)
        store(out + i, canonical(add(load(out + i), mul_lazy(load(a + i), factor, f)), f));
    portable::mul_scalar_add(out + end, a + end, c, n - end, q);
}

void sub_mul_scalar(u64* out, const u64* a, const u64* b, u64 c, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, mul(sub(add(load(a + i), f.p), load(b + i)), factor, f));
    portable::sub_mul_scalar(out + end, a + end, b + end, c, n - end, q);
}

void sub_mul_scalar_add(u64* out, const u64* a, const u64* b, u64 c, const u64* d, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle factor(c, q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) {
        const Word product = mul_lazy(sub(add(load(a + i), f.p), load(b + i)), factor, f);
        store(out + i, canonical(add(load(d + i), product), f));
    }
    portable::sub_mul_scalar_add(out + end, a + end, b + end, c, d + end, n - end, q);
}

void tensor(u64* out0, u64* out1, u64* out2, const u64* const* a, const u64* const* b, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Barrett barrett(q);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) {
        const Word a0 = load(a[0] + i), a1 = load(a[1] + i), b0 = load(b[0] + i), b1 = load(b[1] + i);
        store(out0 + i, mul(a0, b0, barrett, f));
        store(out1 + i, fold(add(mul(a0, b1, barrett, f), mul(a1, b0, barrett, f)), f.p));
        store(out2 + i, mul(a1, b1, barrett, f));
    }
    const u64* const rest_a[] = {a[0] + end, a[1] + end};
    const u64* const rest_b[] = {b[0] + end, b[1] + end};
    portable::tensor(out0 + end, out1 + end, out2 + end, rest_a, rest_b, n - end, q);
}

void reduce(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to) {
    const Field f(to);
    const Twiddle one(1, to);
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) store(out + i, mul(load(a + i), one, f));
    portable::reduce(out + end, a + end, n - end, from, to);
}

// A residue above half stands q_from above its centred value.
void reduce_centred(u64* out, const u64* a, std::size_t n, const Modulus& from, const Modulus& to) {
    const Field f(to);
    const Twiddle one(1, to);
    const Word half = broadcast(from.half), wrap = broadcast(to.neg(to.reduce(from.value)));
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8) {
        const Word x = load(a + i);
        store(out + i, canonical(add(mul_lazy(x, one, f), keep(above(x, half), wrap)), f));
    }
    portable::reduce_centred(out + end, a + end, n - end, from, to);
}

// a + 2^31 is not negative; its residue minus that of 2^31.
void lift(u64* out, const std::int32_t* a, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle one(1, q);
    const Word shift = broadcast(u64{1} << 31), back = broadcast(q.neg(q.reduce(u64{1} << 31)));
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8)
        store(out + i, canonical(add(mul_lazy(add(widen_signed(a + i), shift), one, f), back), f));
    portable::lift(out + end, a + end, n - end, q);
}

void permute(u64* out, const u64* in, const std::uint32_t* index, std::size_t n) {
    const std::size_t end = whole(n);
    for (std::size_t i = 0; i < end; i += 8)
        store(out + i, permute(load(in + (index[i] & ~std::uint32_t{7})), widen(index + i)));
    portable::permute(out + end, in, index + end, n - end);
}

// A word is high 2^32 + low.
std::size_t uniform_words(u64* out, const u64* words, u64 limit, std::size_t n, const Modulus& q) {
    const Field f(q);
    const Twiddle one(1, q), shift(q.reduce(u64{1} << 32), q);
    const Word last = broadcast(limit - 1), low_half = broadcast(0xffffffff);
    const std::size_t end = whole(n);
    std::size_t written = 0;
    for (std::size_t i = 0; i < end; i += 8) {
        const Word x = load(words + i);
        if (above(x, last) != 0) {  // a rejected word, about once in 2^14
            written += portable::uniform_words(out + written, words + i, limit, 8, q);
            continue;
        }
        const Word high = mul_lazy(right(x, 32), shift, f), low = mul_lazy(both(x, low_half), one, f);
        store(out + written, canonical(add(high, low), f));
        written += 8;
    }
    return written + portable::uniform_words(out + written, words + end, limit, n - end, q);
}

}  // namespace
}  // namespace avx512

const Kernels& avx512_kernels() {
    static constexpr Kernels table{
        Path::avx512,
        "avx512",
        avx512::add,
        avx512::sub,
        avx512::neg,
        avx512::mul,
        avx512::add_scalar,
        avx512::mul_scalar,
        avx512::mul_scalar_add,
        avx512::sub_mul_scalar,
        avx512::sub_mul_scalar_add,
        avx512::tensor,
        avx512::mul_add,
        avx512::dot,
        avx512::dot_pair,
        avx512::dot_repeated,
        avx512::reduce,
        avx512::reduce_centred,
        avx512::lift,
        portable::lift_real,
        avx512::prepare,
        avx512::convert,
        avx512::permute,
        avx512::ntt_forward,
        avx512::ntt_inverse,
        chacha_blocks,
        avx512::uniform_words,
        gaussian,
        avx512::mix,
    };
    return table;
}

}  // namespace cipherformer

#endif
