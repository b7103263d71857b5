// Arithmetic modulo one odd prime of at most 50 bits, and the search for primes and roots of unity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cipherformer {

using u64 = std::uint64_t;
__extension__ typedef unsigned __int128 u128;
__extension__ using u128 = unsigned __int128;

inline constexpr unsigned kMaxModulusBits = 50;

// A factor w of repeated products: quotient = floor(w * 2^64 / q) makes a product two multiplications (Shoup).
struct Shoup {
    u64 value;
    u64 quotient;
};

// An odd prime q < 2^50 with the constants that its reductions need. All operands and results are in [0, q).
struct Modulus {
    u64 value;       // q
    u64 half;        // (q - 1) / 2, the largest centred residue
    unsigned bits;   // bit length of q
    u64 barrett;     // floor(2^(2 * bits) / q)
    u64 ratio;       // floor(2^64 / q)
    double real;     // q, exact
    double inverse;  // 1 / q, rounded to nearest

    // Throws std::invalid_argument unless q is an odd prime below 2^50.
    explicit Modulus(u64 q);

    u64 add(u64 a, u64 b) const {
        const u64 sum = a + b;
        return sum >= value ? sum - value : sum;
    }
    u64 sub(u64 a, u64 b) const { return a >= b ? a - b : a + value - b; }
    u64 neg(u64 a) const { return a == 0 ? 0 : value - a; }

    // Any x < 2^64.
    u64 reduce(u64 x) const {
        const u64 estimate = static_cast<u64>((static_cast<u128>(x) * ratio) >> 64);
        const u64 rest = x - estimate * value;  // the estimate is at most one short
        return rest >= value ? rest - value : rest;
    }
    // Any x < q * 2^bits, so any product (Barrett; Menezes et al., Handbook of Applied Cryptography, 14.42).
    u64 reduce_product(u128 x) const {
        const u64 high = static_cast<u64>(x >> (bits - 1));
        const u64 estimate = static_cast<u64>((static_cast<u128>(high) * barrett) >> (bits + 1));
        u64 rest = static_cast<u64>(x) - estimate * value;  // at most two short
        rest = rest >= 2 * value ? rest - 2 * value : rest;
        return rest >= value ? rest - value : rest;
    }
    // Any x < 2^128.
    u64 reduce_wide(u128 x) const {
        const u64 wrap = u64{0} - ratio * value;  // 2^64 mod q
        return add(reduce_product(static_cast<u128>(reduce(static_cast<u64>(x >> 64))) * wrap),
                   reduce(static_cast<u64>(x)));
    }
    // A signed integer of any size.
    u64 from_signed(std::int64_t x) const {
        const u64 magnitude = reduce(x < 0 ? u64{0} - static_cast<u64>(x) : static_cast<u64>(x));
        return x < 0 ? neg(magnitude) : magnitude;
    }
    // The representative of a in [-half, half].
    std::int64_t centred(u64 a) const {
        return a > half ? static_cast<std::int64_t>(a) - static_cast<std::int64_t>(value)
                        : static_cast<std::int64_t>(a);
    }

    u64 mul(u64 a, u64 b) const { return reduce_product(static_cast<u128>(a) * b); }
    Shoup shoup(u64 w) const { return {w, static_cast<u64>((static_cast<u128>(w) << 64) / value)}; }
    // a * w modulo q in [0, 2q), for any a < 2^64.
    u64 mul_lazy(u64 a, Shoup w) const {
        const u64 estimate = static_cast<u64>((static_cast<u128>(a) * w.quotient) >> 64);
        return a * w.value - estimate * value;
    }
    u64 mul(u64 a, Shoup w) const {
        const u64 rest = mul_lazy(a, w);
        return rest >= value ? rest - value : rest;
    }
    u64 pow(u64 base, u64 exponent) const;
    // Throws std::invalid_argument for zero.
    u64 invert(u64 a) const;

    friend bool operator==(const Modulus& a, const Modulus& b) { return a.value == b.value; }
};

// Deterministic for every 64-bit integer (Miller-Rabin with the first twelve primes).
bool is_prime(u64 candidate);

// Distinct primes = 1 mod 2^(log_n + 1), one per entry of `bits` (each at most 50). Primes of one size are the
// nearest to 2^bits, taken alternately above and below it, so that their product stays close to a power of two;
// at 50 bits only below. Throws std::invalid_argument when a size has too few primes.
std::vector<u64> generate_primes(unsigned log_n, const std::vector<unsigned>& bits);

// psi with psi^(2^log_order / 2) = -1: the first power x^((q - 1) / 2^log_order), x = 2, 3, ..., that is one.
// Throws std::invalid_argument unless 2^log_order divides q - 1.
u64 primitive_root(const Modulus& modulus, unsigned log_order);

// The low `width` bits of x in reverse.
constexpr u64 reverse_bits(u64 x, unsigned width) {
    u64 reversed = 0;
    for (unsigned i = 0; i < width; ++i) reversed |= ((x >> i) & 1U) << (width - 1 - i);
    return reversed;
}

}  // namespace cipherformer
