// Values of `width` bits without gaps between them: what an opening in a narrow ring sends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cipherformer::mpc {

// (count * width + 7) / 8
std::size_t packed_bytes(std::size_t count, unsigned width);

// Value i stands in bits [i width, (i + 1) width) of the output, lowest bit first; higher bits of a value are ignored
// and those behind the last value are 0. 1 <= width <= 64.
void pack(std::uint8_t* out, const std::uint64_t* values, std::size_t count, unsigned width);

// `count` values from value `first` on, of a packed form of `size` bytes that holds them.
void unpack(std::uint64_t* values, const std::uint8_t* bytes, std::size_t size, std::size_t first, std::size_t count,
            unsigned width);

// Packed shares become the packed rest of each value: value - share, or value ^ share.
void complete(std::uint8_t* shares, const std::uint64_t* values, std::size_t count, unsigned width, bool exclusive);

}  // namespace cipherformer::mpc
