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

// out[i] is element index[i] of a, then b. GCC has a builtin; other compilers see through the loop.
template <typename V>
inline void pick(V& out, const V& a, const V& b, const V& index) {
#if defined(__GNUC__) && !defined(__clang__)
    out = __builtin_shuffle(a, b, index);
#else
    constexpr std::size_t count = sizeof(V) / sizeof(index[0]);
    V result{};
    for (std::size_t i = 0; i < count; ++i) result[i] = index[i] < count ? a[index[i]] : b[index[i] - count];
    out = result;
#endif
}

// Rotations by whole bytes are one shuffle where the instruction set has it.
template <int count>
inline void rotate(ChachaLanes& x) {
#if defined(__AVX2__) && !defined(__AVX512VL__)
    if constexpr (count % 8 == 0) {
        using Bytes = std::uint8_t __attribute__((vector_size(32)));
        Bytes index;
        for (int i = 0; i < 32; ++i) index[i] = static_cast<std::uint8_t>((i & ~3) | ((i - count / 8) & 3));
        const auto bytes = reinterpret_cast<Bytes>(x);
        Bytes rotated;
        pick(rotated, bytes, bytes, index);
        x = reinterpret_cast<ChachaLanes>(rotated);
        return;
    }
#endif
    x = (x << count) | (x >> (32 - count));
}

inline void quarter_round(ChachaLanes& a, ChachaLanes& b, ChachaLanes& c, ChachaLanes& d) {
    a += b, d ^= a, rotate<16>(d);
    c += d, b ^= c, rotate<12>(b);
    a += b, d ^= a, rotate<8>(d);
    c += d, b ^= c, rotate<7>(b);
}

// Eight words of eight blocks to eight blocks of eight words: rows to columns in place.
inline void transpose(ChachaLanes* x) {
    constexpr ChachaLanes low1{0, 8, 2, 10, 4, 12, 6, 14}, high1{1, 9, 3, 11, 5, 13, 7, 15};
    constexpr ChachaLanes low2{0, 1, 8, 9, 4, 5, 12, 13}, high2{2, 3, 10, 11, 6, 7, 14, 15};
    constexpr ChachaLanes low4{0, 1, 2, 3, 8, 9, 10, 11}, high4{4, 5, 6, 7, 12, 13, 14, 15};
    const auto exchange = [x](unsigned distance, const ChachaLanes& low, const ChachaLanes& high) {
        for (unsigned i = 0; i < 8; ++i) {
            if (i & distance) continue;
            const ChachaLanes first = x[i];
            pick(x[i], first, x[i + distance], low);
            pick(x[i + distance], first, x[i + distance], high);
        }
    };
    exchange(1, low1, high1);
    exchange(2, low2, high2);
    exchange(4, low4, high4);
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
        for (unsigned i = 0; i < 4; ++i)
            quarter_round(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
    for (unsigned i = 0; i < 16; ++i) x[i] += start[i];
    transpose(x), transpose(x + 8);
    if constexpr (std::endian::native == std::endian::big)
        for (ChachaLanes& row : x)
            for (unsigned i = 0; i < 8; ++i) row[i] = __builtin_bswap32(row[i]);
    for (unsigned lane = 0; lane < kChachaLanes; ++lane) {
        std::memcpy(out + lane * kChachaBlock, &x[lane], sizeof x[lane]);
        std::memcpy(out + lane * kChachaBlock + sizeof x[lane], &x[8 + lane], sizeof x[lane]);
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
