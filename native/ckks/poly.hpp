// A polynomial in residue form: limb-major, each limb 64-byte aligned.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "ring/buffer.hpp"
#include "ring/modulus.hpp"
#include "ring/prng.hpp"

namespace cipherformer {

class Poly {
public:
    Poly() = default;
    // Undefined contents.
    Poly(BufferPool& pool, std::size_t limbs, std::size_t width)
        : limbs_(limbs), width_(width), stride_(std::max<std::size_t>(width, 8)), words_(pool.take(limbs * stride_)) {}

    u64* limb(std::size_t i) { return words_.data() + i * stride_; }
    const u64* limb(std::size_t i) const { return words_.data() + i * stride_; }
    std::size_t limbs() const { return limbs_; }
    std::size_t width() const { return width_; }  // residues in a limb
    std::size_t bytes() const { return words_.size() * sizeof(u64); }
    bool empty() const { return words_.empty(); }
    void wipe() {
        if (!words_.empty()) secure_zero(words_.data(), bytes());
    }

private:
    std::size_t limbs_ = 0;
    std::size_t width_ = 0;
    std::size_t stride_ = 0;
    Buffer words_;
};

// A polynomial that depends on a secret: overwritten before its memory is reused.
class SecretPoly : public Poly {
public:
    using Poly::Poly;
    SecretPoly(SecretPoly&&) = default;
    SecretPoly& operator=(SecretPoly&&) = delete;
    ~SecretPoly() { wipe(); }
};

using PolyPtr = std::shared_ptr<const Poly>;

}  // namespace cipherformer
