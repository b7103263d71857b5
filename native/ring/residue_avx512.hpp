// Arithmetic modulo a prime p < 2^50 on eight 52-bit lanes with the integer fused multiply-add. Included by the
// *_avx512.cpp files only.
#pragma once

#include "ring/lanes_avx512.hpp"

namespace cipherformer::avx512 {
namespace {

constexpr u64 kMask52 = (u64{1} << 52) - 1;

struct Field {
    Word p;
    Word twice;     // 2 p
    Word negative;  // 2^52 - p
    Word mask;      // 2^52 - 1
    explicit Field(const Modulus& q)
        : p(broadcast(q.value)),
          twice(broadcast(2 * q.value)),
          negative(broadcast((u64{1} << 52) - q.value)),
          mask(broadcast(kMask52)) {}
};

inline u64 quotient52(u64 w, const Modulus& q) { return static_cast<u64>((static_cast<u128>(w) << 52) / q.value); }

// A factor w in [0, p) and floor(w 2^52 / p), per lane.
struct Twiddle {
    Word w;
    Word quotient;
    Twiddle() = default;
    Twiddle(Word factor, Word ratio) : w(factor), quotient(ratio) {}
    Twiddle(u64 factor, const Modulus& q) : w(broadcast(factor)), quotient(broadcast(quotient52(factor, q))) {}
};

// x w modulo p in [0, 2p) for any x < 2^52: the estimated quotient is at most one short of floor(x w / p), and the
// difference is exact modulo 2^52 > 2p (Harvey 2014, with 2^52 for the word).
inline Word mul_lazy(Word x, const Twiddle& t, const Field& f) {
    const Word zero = broadcast(0);
    const Word estimate = multiply_high(zero, x, t.quotient);
    return both(multiply_low(multiply_low(zero, x, t.w), estimate, f.negative), f.mask);
}

// Off a multiple of p when it is contained; `a` below twice the multiple.
inline Word fold(Word a, Word multiple) { return least(a, sub(a, multiple)); }
// [0, 4p) to [0, p)
inline Word canonical(Word a, const Field& f) { return fold(fold(a, f.twice), f.p); }

inline Word mul(Word x, const Twiddle& t, const Field& f) { return fold(mul_lazy(x, t, f), f.p); }

// Products of two variables (Barrett). With k = bits of p, ab < 2^(2k) and c = floor(ab / 2^(k-2)) < 2^(k+2) <= 2^52;
// floor(c m / 2^52) with m = floor(2^(50+k) / p) <= 2^51 is at most 1/2 + 1 + 1 short of ab / p: the rest is below 3p.
struct Barrett {
    Word factor;  // m
    unsigned shift_right, shift_left;
    explicit Barrett(const Modulus& q)
        : factor(broadcast(static_cast<u64>((static_cast<u128>(1) << (50 + q.bits)) / q.value))),
          shift_right(q.bits - 2),
          shift_left(54 - q.bits) {}
};

// In [0, p).
inline Word mul(Word a, Word b, const Barrett& m, const Field& f) {
    const Word zero = broadcast(0);
    const Word high = multiply_high(zero, a, b), low = multiply_low(zero, a, b);
    const Word estimate = multiply_high(zero, either(left(high, m.shift_left), right(low, m.shift_right)), m.factor);
    return canonical(both(multiply_low(low, estimate, f.negative), f.mask), f);
}

constexpr std::size_t kFewProducts = 15;  // 15 * 2^48 and a carry stay below 2^52

// Sums of up to 4095 products of 50-bit numbers, as high 2^52 + low: a low part adds less than 2^52, a high part less
// than 2^48, so neither lane overflows.
struct Sum {
    Word high, low;
    explicit Sum(Word start) : high(broadcast(0)), low(start) {}
    void add_product(Word a, Word b) {
        low = multiply_low(low, a, b);
        high = multiply_high(high, a, b);
    }
};

// The factors 1, 2^52 and 2^104 that bring a sum back below p.
struct Reduction {
    Twiddle one, middle, top;
    explicit Reduction(const Modulus& q)
        : one(1 % q.value, q),
          middle(q.reduce(u64{1} << 52), q),
          top(q.mul(q.reduce(u64{1} << 52), q.reduce(u64{1} << 52)), q) {}

    // The sum of at most kFewProducts products: its high part, with the carry, stays below 2^52.
    Word few(const Sum& sum, const Field& f) const {
        const Word high = add(sum.high, right(sum.low, 52));
        return canonical(add(mul_lazy(both(sum.low, f.mask), one, f), mul_lazy(high, middle, f)), f);
    }
    // Any sum; the high part is below 2^61.
    Word many(const Sum& sum, const Field& f) const {
        const Word high = add(sum.high, right(sum.low, 52));
        const Word lower = add(mul_lazy(both(sum.low, f.mask), one, f), mul_lazy(both(high, f.mask), middle, f));
        return canonical(add(fold(lower, f.twice), mul_lazy(right(high, 52), top, f)), f);
    }
};

}  // namespace
}  // namespace cipherformer::avx512
