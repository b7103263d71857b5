// Loops over blocks of exact integers held in doubles or in 64-bit words. Every loop on doubles returns the largest
// |result|: as long as that is below 2^53 the results are exact, because rounding is monotone. Every loop on words
// returns the bitwise or of all |result|, which has the bit length of the largest; callers know beforehand, from the
// operands' bit lengths, that nothing overflows.
#pragma once

#include "fixed/wide.hpp"

namespace cipherformer::fixed {

struct Loops {
    const char* name;
    double (*add)(double* out, const double* a, const double* b, std::size_t n);
    double (*sub)(double* out, const double* a, const double* b, std::size_t n);
    double (*mul)(double* out, const double* a, const double* b, std::size_t n);
    double (*scale)(double* out, const double* a, double factor, std::size_t n);
    // floor(a factor + offset), offset an array or, if null, 1/2. factor = 2^-t with 1 <= t <= 53, |a| < 2^53 and offsets
    // in [0, 1) that are multiples of 2^-t: the floor is right even where the sum is rounded, since that happens
    // above 2^(53-t) only, and never across an integer.
    double (*round)(double* out, const double* a, double factor, const double* offset, std::size_t n);
    // Number of thresholds <= x.
    void (*count)(std::int32_t* out, const double* x, const double* thresholds, std::size_t thresholds_size,
                  std::size_t n);

    u64 (*add_words)(i64* out, const i64* a, const i64* b, std::size_t n);
    u64 (*sub_words)(i64* out, const i64* a, const i64* b, std::size_t n);
    // `narrow`: every factor lies in [-2^31, 2^31).
    u64 (*mul_words)(i64* out, const i64* a, const i64* b, bool narrow, std::size_t n);
    u64 (*scale_words)(i64* out, const i64* a, int bits, std::size_t n);
    // (a + offset) >> bits, offset an array or, if null, 2^(bits-1).
    u64 (*round_words)(i64* out, const i64* a, int bits, const i64* offset, std::size_t n);
    void (*count_words)(std::int32_t* out, const i64* x, const i64* thresholds, std::size_t thresholds_size,
                        std::size_t n);
};

const Loops& portable_loops();
const Loops& avx2_loops();

// "auto", "portable" or "avx2"; throws std::invalid_argument for others and for what this machine cannot run.
const Loops& loops(const char* name);

}  // namespace cipherformer::fixed
