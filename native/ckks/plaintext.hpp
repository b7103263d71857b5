// Encoded messages: polynomials in transformed (NTT) form with a scale.
#pragma once

#include <complex>
#include <span>

#include "ckks/context.hpp"

namespace cipherformer {

// The residues of m(X) at limbs 0 .. level, then at the special limbs if `extended`. A vector of period s < slots is kept
// as the polynomial in X^(N/2s) that it is: 2s values per limb, each of which stands for N/2s equal ones in a row.
struct Plaintext {
    ContextPtr context;
    PolyPtr poly;
    std::size_t level = 0;
    double scale = 1;
    std::size_t period = 0;  // in slots
    bool extended = false;

    // log2 of how often each stored value repeats.
    unsigned shift() const;
};

// Rounds every coefficient of scale * values to the nearest integer (exactly, for the double that the embedding gives).
// values: length a power of two that divides the slots; tiled. Throws std::invalid_argument for other lengths, for NaN
// or infinity, and when a coefficient reaches half the modulus or 2^100.
Plaintext encode(const ContextPtr& context, std::span<const std::complex<double>> values, std::size_t level, double scale,
                 bool extended = false);
Plaintext encode(const ContextPtr& context, std::span<const double> values, std::size_t level, double scale,
                 bool extended = false);

// All slots. The coefficients are taken from all limbs, so no assumption is made on their size.
std::vector<std::complex<double>> decode(const Plaintext& plaintext);

// x (an integer, |x| < 2^100) modulo q.
u64 residue_of_integer(double x, const Modulus& q);

// Throws std::invalid_argument unless 0 < scale < 2^1000 (finite).
void check_scale(double scale, const char* what);

// `limb` (of modulus number `index`) of a plaintext, one value per coefficient; `scratch` has room for n values.
const u64* expanded_limb(const Plaintext& plaintext, std::size_t limb, u64* scratch);

}  // namespace cipherformer
