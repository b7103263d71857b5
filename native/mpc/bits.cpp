#include "mpc/bits.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "ring/modulus.hpp"

namespace cipherformer::mpc {
namespace {

static_assert(std::endian::native == std::endian::little, "the byte order of the packed form is that of memory");

std::uint64_t mask(unsigned width) { return width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1; }

// Values that, moved by up to 7 bits, still fit a word.
constexpr unsigned kWordBits = 56;
constexpr std::size_t kGroup = 8;

// Eight values, in `width` bytes; up to 8 bytes behind them are overwritten.
void pack_group(std::uint8_t* out, const std::uint64_t* values, unsigned width, std::uint64_t kept) {
    std::uint64_t held = 0;
    unsigned bits = 0;
    for (std::size_t i = 0; i < kGroup; ++i) {
        held |= (values[i] & kept) << bits;
        std::memcpy(out, &held, 8);
        bits += width;
        out += bits / 8;
        held >>= bits & ~7u;
        bits &= 7u;
    }
}

}  // namespace

std::size_t packed_bytes(std::size_t count, unsigned width) { return (count * width + 7) / 8; }

void pack(std::uint8_t* out, const std::uint64_t* values, std::size_t count, unsigned width) {
    const std::uint64_t kept = mask(width);
    std::uint8_t* const end = out + packed_bytes(count, width);
    if (width <= kWordBits) {  // groups of eight values begin at a byte, and need not wait for each other
        for (; count >= kGroup && end - out >= width + 8; count -= kGroup, values += kGroup, out += width)
            pack_group(out, values, width, kept);
    }
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

void unpack(std::uint64_t* values, const std::uint8_t* bytes, std::size_t size, std::size_t first, std::size_t count,
            unsigned width) {
    const std::uint64_t kept = mask(width);
    std::size_t position = first * width, i = 0;
    const auto inside = [&](std::size_t length) { return i < count && position / 8 + length <= size; };
    if (width <= kWordBits) {
        for (; inside(8); ++i, position += width) {
            std::uint64_t word;
            std::memcpy(&word, bytes + position / 8, 8);
            values[i] = (word >> (position % 8)) & kept;
        }
    }
    for (; i < count; ++i, position += width) {
        u128 words = 0;
        std::memcpy(&words, bytes + position / 8, std::min<std::size_t>(sizeof(words), size - position / 8));
        values[i] = static_cast<std::uint64_t>(words >> (position % 8)) & kept;
    }
}

void complete(std::uint8_t* shares, const std::uint64_t* values, std::size_t count, unsigned width, bool exclusive) {
    constexpr std::size_t kBlock = 32 * kGroup;
    std::uint64_t block[kBlock];
    for (std::size_t at = 0; at < count; at += kBlock) {
        const std::size_t some = std::min(kBlock, count - at);
        std::uint8_t* const place = shares + at / 8 * width;
        unpack(block, place, packed_bytes(some, width), 0, some, width);
        for (std::size_t i = 0; i < some; ++i)
            block[i] = exclusive ? values[at + i] ^ block[i] : values[at + i] - block[i];
        pack(place, block, some, width);
    }
}

}  // namespace cipherformer::mpc
