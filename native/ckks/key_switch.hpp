// Hybrid key switching (Han, Ki 2020): decompose into digits, raise to QP, multiply with the key, divide by P.
#pragma once

#include "ckks/keys.hpp"

namespace cipherformer {

// The digits of a polynomial over QP, made once and used for any number of keys (hoisting). Each digit is the residue
// of the input modulo the product of its limbs, plus a small multiple of that product (see BaseConverter).
class Decomposition {
public:
    // `input` (transformed, limbs 0 .. level) must outlive this object: a digit's own limbs are read from there.
    Decomposition(const Context& context, const Poly& input, std::size_t level);

    std::size_t level() const { return level_; }
    // Brings limb j over QP of every digit into transformed form; once for each j, before it is used.
    void transform(std::size_t j);
    void transform_all();
    // out0, out1 = sum over digits of digit * (b, a) at limb j over QP, before division by P.
    void multiply(u64* out0, u64* out1, const SwitchingKey& key, std::size_t j) const;

private:
    bool owns(std::size_t digit, std::size_t j) const {
        return j <= level_ && j / context_.parameters().digit_size() == digit;
    }

    const Context& context_;
    const Poly& input_;
    std::size_t level_;
    std::size_t digits_;
    std::size_t limbs_;   // over QP
    Poly raised_;         // limb digit * limbs_ + j; a digit's own limbs hold its scaled coefficients
};

// out_j = round(in_j / P) + add_j for limbs 0 .. level (add may be null; out may be add); the special limbs of `in` are
// destroyed. The rounding is off by at most half the number of special limbs.
void divide_by_special(const Context& context, Poly& out, Poly& in, std::size_t level, const Poly* add);

// As above, and also by q_level: the result has limbs 0 .. level - 1. The last limb of `in` is destroyed, too.
void divide_by_special_and_last(const Context& context, Poly& out, Poly& in, std::size_t level);

// (out0, out1) over QP = key applied to all digits.
void switch_key(Decomposition& digits, const Context& context, const SwitchingKey& key, Poly& out0, Poly& out1);

}  // namespace cipherformer
