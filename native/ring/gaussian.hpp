// The discrete Gaussian of parameter sigma = 3.2 from uniform words, in constant time. Included by each path's file, so
// that the compiler vectorises it for that instruction set.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ring/modulus.hpp"
#include "ring/prng.hpp"

namespace cipherformer {
namespace {

// Entry k is 2^63 P(|x| <= k), rounded to nearest.
inline constexpr std::int64_t kGaussianCumulative[29] = {
    0x0ff52b4064a1f258, 0x2e5a25d4026fff6e, 0x489ae2682e3db9bb, 0x5d2bc20de6f95106, 0x6bc8694a862fcdcf,
    0x7532d898e9d195da, 0x7ab396c980f5facb, 0x7d9e4e8f6717ea70, 0x7f054956150a592b, 0x7fa1ce99f8dbf691,
    0x7fdfb3f00a8f3398, 0x7ff5e6f7c97d68d9, 0x7ffd1f95b372bd36, 0x7fff40f7f7aedc64, 0x7fffd2e62d057ef0,
    0x7ffff6503aaa2875, 0x7ffffe1bab99a744, 0x7fffffaa0140ce53, 0x7ffffff21f8a3a77, 0x7ffffffdf72301f4,
    0x7fffffffba9fd472, 0x7ffffffff79b78ce, 0x7fffffffff13f6f9, 0x7fffffffffe8748a, 0x7ffffffffffdde24,
    0x7fffffffffffd320, 0x7ffffffffffffca7, 0x7fffffffffffffc6, 0x7ffffffffffffffc};

// The lowest bit of a word is the sign; the magnitude is how many table entries the other 63 bits reach.
inline void gaussian(std::int32_t* out, const u64* words, std::size_t n) {
    constexpr std::size_t kBlock = 64;
    for (std::size_t start = 0; start < n; start += kBlock) {
        const std::size_t length = std::min(kBlock, n - start);
        std::int64_t magnitudes[kBlock] = {};
        std::int64_t uniform[kBlock] = {};
        for (std::size_t i = 0; i < length; ++i) uniform[i] = static_cast<std::int64_t>(words[start + i] >> 1);
        for (const std::int64_t bound : kGaussianCumulative)
            for (std::size_t i = 0; i < kBlock; ++i) magnitudes[i] += uniform[i] >= bound ? 1 : 0;
        for (std::size_t i = 0; i < length; ++i) {
            const std::int64_t sign = -static_cast<std::int64_t>(words[start + i] & 1U);  // 0 or -1
            out[start + i] = static_cast<std::int32_t>((magnitudes[i] ^ sign) - sign);
        }
        secure_zero(magnitudes, sizeof magnitudes);
        secure_zero(uniform, sizeof uniform);
    }
}

}  // namespace
}  // namespace cipherformer
