// Encrypted messages and the arithmetic labels they carry. Values: nothing changes a ciphertext once it is made.
#pragma once

#include <optional>
#include <vector>

#include "ckks/context.hpp"

namespace cipherformer {

// parts[0] + parts[1] s (+ parts[2] s^2) = scale * message + error, over limbs 0 .. level, in transformed form. A part
// may hold more limbs than that; only the first level + 1 count.
struct Ciphertext {
    ContextPtr context;
    std::vector<PolyPtr> parts;  // 2 or 3
    std::size_t level = 0;
    double scale = 1;
    std::optional<Seed> seed;  // of parts[1], when it is a fresh uniform polynomial

    Bytes to_bytes() const;
    // Checks everything; throws std::invalid_argument.
    static Ciphertext from_bytes(const ContextPtr& context, std::span<const std::uint8_t> bytes);
};

}  // namespace cipherformer
