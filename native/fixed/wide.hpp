// 128-bit integers, and the tape that random truncations draw from.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cipherformer::fixed {

using u64 = std::uint64_t;
using i64 = std::int64_t;
__extension__ typedef __int128 i128;
__extension__ typedef unsigned __int128 u128;

// An element of an array of wide integers, as numpy holds it.
struct Pair {
    u64 low;
    i64 high;
};

inline i128 join(Pair p) { return static_cast<i128>((static_cast<u128>(static_cast<u64>(p.high)) << 64) | p.low); }
inline Pair split(i128 v) { return {static_cast<u64>(v), static_cast<i64>(v >> 64)}; }

inline u128 magnitude(i128 v) { return v < 0 ? u128{0} - static_cast<u128>(v) : static_cast<u128>(v); }

inline int bit_length(u64 v) { return v == 0 ? 0 : 64 - __builtin_clzll(v); }
inline int bit_length(u128 v) {
    const u64 high = static_cast<u64>(v >> 64);
    return high != 0 ? 64 + bit_length(high) : bit_length(static_cast<u64>(v));
}

// Word `index` of the stream of `key` (SplitMix64: Steele, Lea and Flood 2014). Not for secrets.
inline u64 draw(u64 key, u64 index) {
    u64 z = key + (index + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

// Uniform below 2^bits, 1 <= bits <= 127. Above 64 bits a second stream gives the high part.
inline u128 draw_below(u64 key, u64 index, unsigned bits) {
    const u64 word = draw(key, index);
    if (bits <= 64) return word >> (64 - bits);
    return (static_cast<u128>(draw(~key, index) >> (128 - bits)) << 64) | word;
}

}  // namespace cipherformer::fixed
