#include "ring/modulus.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <stdexcept>
#include <string>

namespace cipherformer {
namespace {

u64 mul_plain(u64 a, u64 b, u64 q) { return static_cast<u64>(static_cast<u128>(a) * b % q); }

u64 pow_plain(u64 base, u64 exponent, u64 q) {
    u64 result = 1 % q;
    for (base %= q; exponent != 0; exponent >>= 1) {
        if (exponent & 1U) result = mul_plain(result, base, q);
        base = mul_plain(base, base, q);
    }
    return result;
}

// One Miller-Rabin round: candidate - 1 = odd * 2^twos.
bool passes(u64 candidate, u64 witness, u64 odd, int twos) {
    u64 x = pow_plain(witness, odd, candidate);
    if (x == 1 || x == candidate - 1) return true;
    for (int i = 1; i < twos; ++i) {
        x = mul_plain(x, x, candidate);
        if (x == candidate - 1) return true;
    }
    return false;
}

// The primes = 1 mod `step` nearest to 2^bits, in turn above and below.
class PrimeSearch {
public:
    PrimeSearch(u64 step, unsigned bits)
        : step_(step), bits_(bits), above_((u64{1} << bits) + 1), below_(above_ - step) {}

    u64 next() {
        const bool up = next_above_ && bits_ < kMaxModulusBits;
        next_above_ = !next_above_;
        u64& cursor = up ? above_ : below_;
        for (;;) {
            const u64 candidate = cursor;
            const unsigned width = static_cast<unsigned>(std::bit_width(candidate));
            if (width < bits_ || width > bits_ + 1 || candidate <= step_)
                throw std::invalid_argument("generate_primes: too few primes of " + std::to_string(bits_) +
                                            " bits that are 1 modulo " + std::to_string(step_) +
                                            "; ask for larger primes or a smaller ring");
            cursor = up ? cursor + step_ : cursor - step_;
            if (is_prime(candidate)) return candidate;
        }
    }

private:
    u64 step_;
    unsigned bits_;
    u64 above_;
    u64 below_;
    bool next_above_ = true;
};

}  // namespace

Modulus::Modulus(u64 q)
    : value(q),
      half((q - 1) / 2),
      bits(static_cast<unsigned>(std::bit_width(q))),
      barrett(0),
      ratio(0),
      real(static_cast<double>(q)),
      inverse(1.0 / static_cast<double>(q)) {
    if (q < 3 || bits > kMaxModulusBits || !is_prime(q))
        throw std::invalid_argument("modulus " + std::to_string(q) + " is not an odd prime of at most 50 bits");
    barrett = static_cast<u64>((static_cast<u128>(1) << (2 * bits)) / q);
    ratio = static_cast<u64>((static_cast<u128>(1) << 64) / q);
}

u64 Modulus::pow(u64 base, u64 exponent) const {
    u64 result = 1;
    for (; exponent != 0; exponent >>= 1) {
        if (exponent & 1U) result = mul(result, base);
        base = mul(base, base);
    }
    return result;
}

u64 Modulus::invert(u64 a) const {
    if (a == 0) throw std::invalid_argument("zero has no inverse modulo " + std::to_string(value));
    return pow(a, value - 2);
}

bool is_prime(u64 candidate) {
    constexpr std::array<u64, 12> witnesses{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
    if (candidate < 2) return false;
    for (u64 small : witnesses)
        if (candidate % small == 0) return candidate == small;
    const int twos = std::countr_zero(candidate - 1);
    const u64 odd = (candidate - 1) >> twos;
    return std::all_of(witnesses.begin(), witnesses.end(), [&](u64 w) { return passes(candidate, w, odd, twos); });
}

std::vector<u64> generate_primes(unsigned log_n, const std::vector<unsigned>& bits) {
    std::map<unsigned, PrimeSearch> searches;
    std::vector<u64> primes;
    for (unsigned size : bits) {
        if (size < log_n + 2 || size > kMaxModulusBits)
            throw std::invalid_argument("generate_primes: " + std::to_string(size) + " bits; a prime for a ring of 2^" +
                                        std::to_string(log_n) + " coefficients has " + std::to_string(log_n + 2) +
                                        " to 50");
        PrimeSearch& search = searches.try_emplace(size, u64{2} << log_n, size).first->second;
        u64 prime = search.next();
        while (std::find(primes.begin(), primes.end(), prime) != primes.end()) prime = search.next();
        primes.push_back(prime);
    }
    return primes;
}

u64 primitive_root(const Modulus& modulus, unsigned log_order) {
    const u64 order = u64{1} << log_order;
    if (log_order == 0 || (modulus.value - 1) % order != 0)
        throw std::invalid_argument("modulus " + std::to_string(modulus.value) + " has no root of unity of order 2^" +
                                    std::to_string(log_order));
    for (u64 x = 2;; ++x) {
        const u64 root = modulus.pow(x, (modulus.value - 1) / order);
        if (modulus.pow(root, order / 2) == modulus.value - 1) return root;
    }
}

}  // namespace cipherformer
