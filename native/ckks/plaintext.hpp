// Encoded messages: polynomials in transformed (NTT) form with a scale.
#pragma once

#include <complex>
#include <span>

#include "ckks/context.hpp"

namespace cipherformer {

// The coefficients of m(X) before reduction: integers, exact, in one word each or half of one.
struct Coefficients {
    Buffer words;       // doubles, or 32-bit integers when all are below 2^31
    std::size_t count;  // 2s
    bool narrow;
    double largest;  // magnitude
};

// Which form a plaintext is kept in: residues of every limb, ready for products, or coefficients, which each use expands
// (a transform per limb) and which take 1 / limbs of the memory, or half of that.
enum class Keep { residues, coefficients };

// The residues of m(X) at limbs 0 .. level, then at the special limbs if `extended`. A vector of period s < slots is kept
// as the polynomial in X^(N/2s) that it is: 2s values per limb, each of which stands for N/2s equal ones in a row.
// Both forms give the same residues.
struct Plaintext {
    ContextPtr context;
    PolyPtr poly;  // null if `coefficients` are kept
    std::shared_ptr<const Coefficients> coefficients;
    std::size_t level = 0;
    double scale = 1;
    std::size_t period = 0;  // in slots
    bool extended = false;

    // log2 of how often each stored value repeats.
    unsigned shift() const;
    bool compact() const { return coefficients != nullptr; }
    std::size_t memory_bytes() const;
    // The 2s values of limb j, of modulus number `index`; `scratch` has room for 2s and is used if compact.
    const u64* values(std::size_t j, std::size_t index, u64* scratch) const;
};

// Rounds every coefficient of scale * values to the nearest integer (exactly, for the double that the embedding gives).
// values: length a power of two that divides the slots; tiled. Throws std::invalid_argument for other lengths, for NaN
// or infinity, and when a coefficient reaches half the modulus or 2^100.
Plaintext encode(const ContextPtr& context, std::span<const std::complex<double>> values, std::size_t level, double scale,
                 bool extended = false, Keep keep = Keep::residues);
Plaintext encode(const ContextPtr& context, std::span<const double> values, std::size_t level, double scale,
                 bool extended = false, Keep keep = Keep::residues);

// All slots. The coefficients are taken from all limbs, so no assumption is made on their size.
std::vector<std::complex<double>> decode(const Plaintext& plaintext);

// x (an integer, |x| < 2^100) modulo q.
u64 residue_of_integer(double x, const Modulus& q);

// Throws std::invalid_argument unless 0 < scale < 2^1000 (finite).
void check_scale(double scale, const char* what);

// Ordinary limb `limb` of a plaintext, one value per coefficient; `scratch` has room for n values.
const u64* expanded_limb(const Plaintext& plaintext, std::size_t limb, u64* scratch);

}  // namespace cipherformer
