// SHA-256 (FIPS 180-4), for digests of parameters and for deriving one secret from another. Its time and memory
// accesses depend on the length of the message only.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace cipherformer {

using Digest = std::array<std::uint8_t, 32>;

Digest sha256(std::span<const std::uint8_t> message);

}  // namespace cipherformer
