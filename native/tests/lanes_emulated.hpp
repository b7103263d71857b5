// The operations of ring/lanes_avx512.hpp in plain C++, to run the AVX-512 kernels on any machine.
#pragma once

#include <algorithm>
#include <array>

#include "ring/modulus.hpp"

namespace cipherformer::avx512 {
namespace {

struct Word {
    std::array<u64, 8> lane;
};
using Mask = std::uint8_t;

template <typename Function>
inline Word each(const Function& function) {
    Word result;
    for (unsigned i = 0; i < 8; ++i) result.lane[i] = function(i);
    return result;
}

constexpr u64 kLow52 = (u64{1} << 52) - 1;

inline Word load(const u64* x) {
    return each([&](unsigned i) { return x[i]; });
}
inline void store(u64* x, const Word& value) { std::copy(value.lane.begin(), value.lane.end(), x); }
inline Word broadcast(u64 x) {
    return each([&](unsigned) { return x; });
}
inline Word lanes(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h) { return {{a, b, c, d, e, f, g, h}}; }
inline Word widen_signed(const std::int32_t* x) {
    return each([&](unsigned i) { return static_cast<u64>(static_cast<std::int64_t>(x[i])); });
}
inline Word widen(const std::uint32_t* x) {
    return each([&](unsigned i) { return u64{x[i]}; });
}

inline Word add(const Word& a, const Word& b) {
    return each([&](unsigned i) { return a.lane[i] + b.lane[i]; });
}
inline Word sub(const Word& a, const Word& b) {
    return each([&](unsigned i) { return a.lane[i] - b.lane[i]; });
}
inline Word least(const Word& a, const Word& b) {
    return each([&](unsigned i) { return std::min(a.lane[i], b.lane[i]); });
}
inline Word both(const Word& a, const Word& b) {
    return each([&](unsigned i) { return a.lane[i] & b.lane[i]; });
}
inline Word either(const Word& a, const Word& b) {
    return each([&](unsigned i) { return a.lane[i] | b.lane[i]; });
}
inline Word left(const Word& a, unsigned count) {
    return each([&](unsigned i) { return a.lane[i] << count; });
}
inline Word right(const Word& a, unsigned count) {
    return each([&](unsigned i) { return a.lane[i] >> count; });
}

inline u128 product52(u64 a, u64 b) { return static_cast<u128>(a & kLow52) * (b & kLow52); }
inline Word multiply_low(const Word& sum, const Word& a, const Word& b) {
    return each([&](unsigned i) { return sum.lane[i] + (static_cast<u64>(product52(a.lane[i], b.lane[i])) & kLow52); });
}
inline Word multiply_high(const Word& sum, const Word& a, const Word& b) {
    return each([&](unsigned i) { return sum.lane[i] + static_cast<u64>(product52(a.lane[i], b.lane[i]) >> 52); });
}

inline Mask above(const Word& a, const Word& b) {
    unsigned mask = 0;
    for (unsigned i = 0; i < 8; ++i) mask |= static_cast<unsigned>(a.lane[i] > b.lane[i]) << i;
    return static_cast<Mask>(mask);
}
inline Word keep(Mask mask, const Word& a) {
    return each([&](unsigned i) { return (mask >> i & 1) != 0 ? a.lane[i] : 0; });
}

inline Word permute(const Word& a, const Word& index) {
    return each([&](unsigned i) { return a.lane[index.lane[i] & 7]; });
}
inline Word permute(const Word& a, const Word& b, const Word& index) {
    return each([&](unsigned i) { return (index.lane[i] & 8 ? b : a).lane[index.lane[i] & 7]; });
}

}  // namespace
}  // namespace cipherformer::avx512
