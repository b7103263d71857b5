// The loops element by element: what the vector forms must equal, and what takes their last elements.
#pragma once

#include <algorithm>
#include <cmath>

#include "fixed/loops.hpp"

// Unnamed, so that each path compiles its own: a shared copy could hold another path's instructions.
namespace cipherformer::fixed::scalar {
namespace {

inline u64 size_of(i64 v) { return v < 0 ? u64{0} - static_cast<u64>(v) : static_cast<u64>(v); }

template <typename Function>
double reals(double* out, std::size_t n, const Function& function) {
    double peak = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        out[i] = function(i);
        peak = std::max(peak, std::fabs(out[i]));
    }
    return peak;
}

template <typename Function>
u64 words(i64* out, std::size_t n, const Function& function) {
    u64 seen = 0;
    for (std::size_t i = 0; i < n; ++i) {
        out[i] = static_cast<i64>(function(i));
        seen |= size_of(out[i]);
    }
    return seen;
}

inline double add(double* out, const double* a, const double* b, std::size_t n) {
    return reals(out, n, [&](std::size_t i) { return a[i] + b[i]; });
}
inline double sub(double* out, const double* a, const double* b, std::size_t n) {
    return reals(out, n, [&](std::size_t i) { return a[i] - b[i]; });
}
inline double mul(double* out, const double* a, const double* b, std::size_t n) {
    return reals(out, n, [&](std::size_t i) { return a[i] * b[i]; });
}
inline double scale(double* out, const double* a, double factor, std::size_t n) {
    return reals(out, n, [&](std::size_t i) { return a[i] * factor; });
}
inline double round(double* out, const double* a, double factor, const double* offset, std::size_t n) {
    return reals(out, n, [&](std::size_t i) { return std::floor(a[i] * factor + (offset ? offset[i] : 0.5)); });
}

template <typename T>
void count_any(std::int32_t* out, const T* x, const T* thresholds, std::size_t size, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        out[i] = static_cast<std::int32_t>(std::upper_bound(thresholds, thresholds + size, x[i]) - thresholds);
}
inline void count(std::int32_t* out, const double* x, const double* thresholds, std::size_t size, std::size_t n) {
    count_any(out, x, thresholds, size, n);
}
inline void count_words(std::int32_t* out, const i64* x, const i64* thresholds, std::size_t size, std::size_t n) {
    count_any(out, x, thresholds, size, n);
}

inline u64 add_words(i64* out, const i64* a, const i64* b, std::size_t n) {
    return words(out, n, [&](std::size_t i) { return static_cast<u64>(a[i]) + static_cast<u64>(b[i]); });
}
inline u64 sub_words(i64* out, const i64* a, const i64* b, std::size_t n) {
    return words(out, n, [&](std::size_t i) { return static_cast<u64>(a[i]) - static_cast<u64>(b[i]); });
}
inline u64 mul_words(i64* out, const i64* a, const i64* b, bool, std::size_t n) {
    return words(out, n, [&](std::size_t i) { return static_cast<u64>(a[i]) * static_cast<u64>(b[i]); });
}
inline u64 scale_words(i64* out, const i64* a, int bits, std::size_t n) {
    return words(out, n, [&](std::size_t i) { return static_cast<u64>(a[i]) << bits; });
}
inline u64 round_words(i64* out, const i64* a, int bits, const i64* offset, std::size_t n) {
    const i64 half = i64{1} << (bits - 1);
    return words(out, n, [&](std::size_t i) { return (a[i] + (offset ? offset[i] : half)) >> bits; });
}

}  // namespace
}  // namespace cipherformer::fixed::scalar
