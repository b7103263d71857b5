// ChaCha20 (RFC 8439), eight blocks at a time. Included by each path's file, so the compiler vectorises it for that
// instruction set; `static` keeps the versions apart.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cipherformer {
namespace {

inline constexpr std::size_t kChachaBlock = 64;
inline constexpr std::size_t kChachaLanes = 8;

// One 32-bit word of eight blocks.
using ChachaLanes = std::uint32_t __attribute__((vector_size(32)));

inline void quarter_round(ChachaLanes& a, ChachaLanes& b, ChachaLanes& c, ChachaLanes& d) {
    a += b, d ^= a, d = (d << 16) | (d >> 16);
    c += d, b ^= c, b = (b << 12) | (b >> 20);
    a += b, d ^= a, d = (d << 8) | (d >> 24);
    c += d, b ^= c, b = (b << 7) | (b >> 25);
}

// Writes kChachaLanes consecutive blocks.
inline void chacha_eight(std::uint8_t* out, const std::uint32_t* state, std::uint32_t counter) {
    ChachaLanes start[16];
    ChachaLanes x[16];
    for (unsigned i = 0; i < 16; ++i) start[i] = ChachaLanes{} + state[i];
    start[12] = ChachaLanes{0, 1, 2, 3, 4, 5, 6, 7} + counter;
    std::copy(start, start + 16, x);
    for (unsigned round = 0; round < 10; ++round) {
        for (unsigned i = 0; i < 4; ++i) quarter_round(x[i], x[4 + i], x[8 + i], x[12 + i]);
        for (unsigned i = 0; i < 4; ++i) quarter_round(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
    for (unsigned i = 0; i < 16; ++i) x[i] += start[i];
    for (unsigned lane = 0; lane < kChachaLanes; ++lane) {
        std::uint32_t words[16];
        for (unsigned i = 0; i < 16; ++i) {
            words[i] = x[i][lane];
            if constexpr (std::endian::native == std::endian::big) words[i] = __builtin_bswap32(words[i]);
        }
        std::memcpy(out + lane * kChachaBlock, words, kChachaBlock);
    }
}

inline void chacha_blocks(std::uint8_t* out, const std::uint32_t* state, std::uint32_t counter, std::size_t count) {
    for (; count >= kChachaLanes; count -= kChachaLanes, counter += kChachaLanes, out += kChachaLanes * kChachaBlock)
        chacha_eight(out, state, counter);
    if (count == 0) return;
    std::uint8_t last[kChachaLanes * kChachaBlock];
    chacha_eight(last, state, counter);
    std::memcpy(out, last, count * kChachaBlock);
}

}  // namespace
}  // namespace cipherformer
