#include "mpc/bits.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "ring/modulus.hpp"

namespace cipherformer::mpc {
namespace {

static_assert(std::endian::native == std::endian::little, "the byte order of the packed form is that of memory");

std::uint64_t mask(unsigned width) { return width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1; }

}  // namespace

std::size_t packed_bytes(std::size_t count, unsigned width) { return (count * width + 7) / 8; }

void pack(std::uint8_t* out, const std::uint64_t* values, std::size_t count, unsigned width) {
    const std::uint64_t kept = mask(width);
    std::uint8_t* const end = out + packed_bytes(count, width);
    u128 held = 0;
    unsigned bits = 0;
    for (std::size_t i = 0; i < count; ++i) {
        held |= static_cast<u128>(values[i] & kept) << bits;
        bits += width;
        if (bits >= 64) {
            const auto word = static_cast<std::uint64_t>(held);
            std::memcpy(out, &word, 8);
            out += 8;
            held >>= 64;
            bits -= 64;
        }
    }
    const auto word = static_cast<std::uint64_t>(held);
    std::memcpy(out, &word, static_cast<std::size_t>(end - out));
}

void unpack(std::uint64_t* values, const std::uint8_t* bytes, std::size_t count, unsigned width) {
    const std::uint64_t kept = mask(width);
    const std::uint8_t* const end = bytes + packed_bytes(count, width);
    u128 held = 0;
    unsigned bits = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (bits < width) {
            std::uint64_t word = 0;
            const auto left = static_cast<std::size_t>(end - bytes);
            const std::size_t take = std::min<std::size_t>(8, left);
            std::memcpy(&word, bytes, take);
            bytes += take;
            held |= static_cast<u128>(word) << bits;
            bits += 64;
        }
        values[i] = static_cast<std::uint64_t>(held) & kept;
        held >>= width;
        bits -= width;
    }
}

}  // namespace cipherformer::mpc
