// Checked parameters of leveled RNS-CKKS. Immutable once constructed.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ckks/bytes.hpp"
#include "ring/modulus.hpp"

namespace cipherformer {

// Largest log2(Q P) with 128-bit classical security for an error of sigma 3.2; 0 when the table has no row.
// hamming_weight 0 is a uniform ternary secret (Homomorphic Encryption Security Guidelines, 2024/463, table 5.2);
// from 192 up the limit of weight 192 is used: a denser secret is at least as hard to find.
unsigned max_log_qp(unsigned log_n, unsigned hamming_weight);

// What a user writes down; not checked.
struct ParametersLiteral {
    unsigned log_n = 0;
    std::vector<u64> moduli;          // q_0 .. q_L, the last is divided out first
    std::vector<u64> special_moduli;  // factors of P
    unsigned digit_size = 1;          // limbs per key-switching digit (alpha)
    unsigned hamming_weight = 0;      // of the secret; 0 = uniform ternary
    bool insecure = false;            // allows sets beyond the 128-bit table
};

class Parameters {
public:
    static constexpr unsigned kMinLogN = 10;
    static constexpr unsigned kMinInsecureLogN = 3;
    static constexpr unsigned kMaxLogN = 17;
    static constexpr std::size_t kMaxLimbs = 64;  // ordinary and special together
    static constexpr double kErrorDeviation = 3.2;

    // Throws std::invalid_argument: what, why, fix.
    explicit Parameters(ParametersLiteral literal);

    unsigned log_n() const { return literal_.log_n; }
    std::size_t n() const { return std::size_t{1} << literal_.log_n; }
    std::size_t slots() const { return n() / 2; }
    const std::vector<u64>& moduli() const { return literal_.moduli; }
    const std::vector<u64>& special_moduli() const { return literal_.special_moduli; }
    std::size_t limbs() const { return literal_.moduli.size(); }
    std::size_t special_limbs() const { return literal_.special_moduli.size(); }
    std::size_t max_level() const { return limbs() - 1; }
    unsigned digit_size() const { return literal_.digit_size; }
    // Digits of a polynomial at `level`.
    std::size_t digits(std::size_t level) const { return level / literal_.digit_size + 1; }
    unsigned hamming_weight() const { return literal_.hamming_weight; }
    bool insecure() const { return literal_.insecure; }
    double log_q() const { return log_q_; }
    double log_p() const { return log_p_; }
    double log_qp() const { return log_q_ + log_p_; }
    // 128 within the table; beyond it an estimate that scales with 1 / log2(Q P); 0 without a row in the table.
    unsigned security_bits() const;
    const Digest& digest() const { return digest_; }

    Bytes to_bytes() const;
    static Parameters from_bytes(std::span<const std::uint8_t> bytes);

private:
    void check_moduli() const;
    void check_digits() const;
    void check_security() const;
    Bytes canonical_bytes() const;

    ParametersLiteral literal_;
    double log_q_ = 0;
    double log_p_ = 0;
    Digest digest_{};
};

}  // namespace cipherformer
