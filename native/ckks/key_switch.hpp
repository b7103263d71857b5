// Hybrid key switching (Han, Ki 2020): decompose into digits, raise to QP, multiply with the key, divide by P.
#pragma once

#include <array>
#include <span>

#include "ckks/keys.hpp"

namespace cipherformer {

// Consecutive limbs.
struct LimbRange {
    std::size_t first;
    std::size_t count;
};

// Limbs first .. first + count in pieces for tasks: small enough for the cache, evenly many for each thread.
std::vector<LimbRange> limb_ranges(const Context& context, std::size_t first, std::size_t count);

// Some limbs over QP of all digits, transformed. A digit's own limbs are left undefined: they are those of the input.
struct RaisedDigits {
    Poly poly;
    LimbRange range;

    u64* limb(std::size_t digit, std::size_t j) { return poly.limb(digit * range.count + j - range.first); }
    const u64* limb(std::size_t digit, std::size_t j) const { return poly.limb(digit * range.count + j - range.first); }
};

// The digits of a polynomial over QP, for any number of keys (hoisting). Each digit is the residue of the input modulo the
// product of its limbs, plus a small multiple of that product (see BaseConverter).
class Decomposition {
public:
    // `input` (transformed, limbs 0 .. level) must outlive this object: a digit's own limbs are read from there.
    Decomposition(const Context& context, const Poly& input, std::size_t level);

    std::size_t level() const { return level_; }
    // Raises the digits where they are needed: for one pass over the limbs by ranges, so that nothing but a range ever
    // leaves the cache, or once for several passes.
    RaisedDigits raise(LimbRange range) const;
    RaisedDigits raise_all() const;
    // out0, out1 = sum over digits of digit * (b, a) at limb j over QP, before division by P.
    void multiply(u64* out0, u64* out1, const RaisedDigits& raised, const SwitchingKey& key, std::size_t j) const;

private:
    bool owns(std::size_t digit, std::size_t j) const {
        return j <= level_ && j / context_.parameters().digit_size() == digit;
    }
    void raise_into(RaisedDigits& out, LimbRange range) const;

    const Context& context_;
    const Poly& input_;
    std::size_t level_;
    std::size_t digits_;
    std::size_t limbs_;  // over QP
    Poly own_;           // coefficients of the input, scaled and prepared for conversion
};

// One polynomial to be divided. `in` (over QP) is destroyed; `out` must be another polynomial.
struct Division {
    Poly& out;
    Poly& in;
};

// out = round(in / P) on limbs 0 .. level of each; with `rescale` round(in / (P q_level)) on limbs 0 .. level - 1. The
// rounding is off by at most half the number of primes divided by.
void divide_by_special(const Context& context, std::span<const Division> divisions, std::size_t level, bool rescale);

// What becomes of a switched polynomial: out = phi(round(sum / P) + add), where sum is that of
// Decomposition::multiply, or with `rescale` out = round((sum + P add) / (P q_level)).
struct Switch {
    std::array<Poly*, 2> out;
    std::array<const Poly*, 2> add;              // null: nothing
    const std::uint32_t* permutation = nullptr;  // of phi; null: none, as it must be with `rescale`
    bool rescale = false;
};

// Applies a key and divides by P by ranges of limbs, so that digits and sums stay in the cache. `raised` are all digits,
// for several keys; null: they are raised on the way.
void switch_key(const Context& context, const Decomposition& digits, const RaisedDigits* raised, const SwitchingKey& key,
                const Switch& to);

}  // namespace cipherformer
