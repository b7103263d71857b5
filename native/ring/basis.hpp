// Change of residue basis: from the residues modulo q_0 ... q_{k-1} of an integer to residues modulo other primes.
#pragma once

#include <cstddef>
#include <vector>

#include "ring/kernels.hpp"
#include "ring/modulus.hpp"
#include "ring/ntt.hpp"

namespace cipherformer {

// With Q = q_0 ... q_{k-1}; row-major tables are indexed [j * k + i].
struct BasisConstants {
    std::vector<Modulus> from;
    std::vector<Modulus> to;
    std::vector<u64> inverse;     // [i]: (Q / q_i)^-1 mod q_i
    std::vector<u64> factor;      // [j, i]: Q / q_i mod p_j
    std::vector<double> centred;  // [j, i]: the same in [-p_j/2, p_j/2]
    std::vector<u64> offset;      // [j]: minus the sum over i of (q_i - 1)/2 * (Q / q_i), mod p_j
    bool scaled;                  // the input already carries the factors `inverse`
};

class BaseConverter {
public:
    // The moduli of `from` must be distinct and none of `to` may be among them. `scaled_input` says that the caller
    // has multiplied limb i by scale(i), for instance inside NttTable::inverse_scaled.
    BaseConverter(const std::vector<Modulus>& from, const std::vector<Modulus>& to, bool scaled_input = false);

    // Fast base conversion (Halevi, Polyakov, Shoup 2019, section 2): with y_i = x_i (Q/q_i)^-1 mod q_i taken in
    // [-(q_i - 1)/2, (q_i - 1)/2], out_j = sum_i y_i (Q/q_i) mod p_j. That is x + e Q for the centred x and an integer
    // |e| <= k/2; exact for k = 1. Limbs of n residues in coefficient order; out must not overlap in.
    void convert(u64* const* out, const u64* const* in, std::size_t n, const Kernels& kernels) const;

    // The same in two steps, for callers that reuse the first: source i in the form of the path (in place or not), then
    // destinations first .. first + count from prepared sources.
    void prepare(u64* out, const u64* in, std::size_t n, std::size_t i, const Kernels& kernels) const {
        kernels.prepare(out, in, n, i, constants_);
    }
    void convert_prepared(u64* const* out, const u64* const* in, std::size_t n, std::size_t first, std::size_t count,
                          const Kernels& kernels) const {
        kernels.convert(out, in, n, constants_, first, count);
    }

    // For scaled input: source i from its transform (which may be `out`), scaled and prepared.
    void prepare_transformed(u64* out, const u64* in, const NttTable& ntt, std::size_t i, const Kernels& kernels) const;

    u64 scale(std::size_t i) const { return constants_.inverse[i]; }  // (Q / q_i)^-1 mod q_i
    const std::vector<Modulus>& from() const { return constants_.from; }
    const std::vector<Modulus>& to() const { return constants_.to; }

private:
    BasisConstants constants_;
};

}  // namespace cipherformer
