#include "ckks/embedding.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

#include "ring/modulus.hpp"

namespace cipherformer {
namespace {

// exp(2 pi i e / m) for e < m, m a power of two >= 8, from an angle in the first octant: exact symmetries.
std::pair<double, double> root_of_unity(std::uint64_t e, std::uint64_t m) {
    const std::uint64_t quarter = m / 4;
    const std::uint64_t quadrant = e / quarter;
    std::uint64_t rest = e % quarter;
    const bool mirrored = rest > quarter / 2;
    if (mirrored) rest = quarter - rest;
    const double angle = 2 * std::numbers::pi * (static_cast<double>(rest) / static_cast<double>(m));
    double c = std::cos(angle);
    double s = std::sin(angle);
    if (2 * rest == quarter) c = s = std::numbers::sqrt2 / 2;
    if (mirrored) std::swap(c, s);
    switch (quadrant) {
        case 0: return {c, s};
        case 1: return {-s, c};
        case 2: return {-c, -s};
        default: return {s, -c};
    }
}

// One butterfly level of the inverse transform: (u, v) -> (u + v, (u - v) conj(w)).
void inverse_level(double* __restrict re, double* __restrict im, const double* __restrict c, const double* __restrict s,
                   std::size_t half) {
    double* __restrict re2 = re + half;
    double* __restrict im2 = im + half;
    for (std::size_t j = 0; j < half; ++j) {
        const double dr = re[j] - re2[j];
        const double di = im[j] - im2[j];
        re[j] = re[j] + re2[j];
        im[j] = im[j] + im2[j];
        re2[j] = dr * c[j] + di * s[j];
        im2[j] = di * c[j] - dr * s[j];
    }
}

// One butterfly level of the forward transform: (u, v) -> (u + v w, u - v w).
void forward_level(double* __restrict re, double* __restrict im, const double* __restrict c, const double* __restrict s,
                   std::size_t half) {
    double* __restrict re2 = re + half;
    double* __restrict im2 = im + half;
    for (std::size_t j = 0; j < half; ++j) {
        const double vr = re2[j] * c[j] - im2[j] * s[j];
        const double vi = re2[j] * s[j] + im2[j] * c[j];
        re2[j] = re[j] - vr;
        im2[j] = im[j] - vi;
        re[j] = re[j] + vr;
        im[j] = im[j] + vi;
    }
}

}  // namespace

Embedding::Embedding(unsigned log_slots)
    : log_slots_(log_slots), cosine_(std::size_t{1} << log_slots), sine_(std::size_t{1} << log_slots),
      reversed_(std::size_t{1} << log_slots) {
    for (std::size_t len = 2; len <= reversed_.size(); len *= 2) {
        std::uint64_t power = 1;
        for (std::size_t j = 0; j < len / 2; ++j, power = power * 5 % (4 * len)) {
            const auto [c, s] = root_of_unity(power, 4 * len);
            cosine_[len / 2 + j] = c;
            sine_[len / 2 + j] = s;
        }
    }
    for (std::size_t i = 0; i < reversed_.size(); ++i) reversed_[i] = static_cast<unsigned>(reverse_bits(i, log_slots));
}

void Embedding::to_coefficients(double* out, double* re, double* im, unsigned log_s, double factor) const {
    const std::size_t s = std::size_t{1} << log_s;
    for (std::size_t len = s; len >= 2; len /= 2)
        for (std::size_t start = 0; start < s; start += len)
            inverse_level(re + start, im + start, &cosine_[len / 2], &sine_[len / 2], len / 2);
    const double scaled = factor / static_cast<double>(s);  // exact: s is a power of two
    const unsigned shift = log_slots_ - log_s;
    for (std::size_t k = 0; k < s; ++k) {
        const std::size_t source = reversed_[k] >> shift;
        out[k] = re[source] * scaled;
        out[k + s] = im[source] * scaled;
    }
}

void Embedding::to_slots(double* re, double* im, const double* in, unsigned log_s) const {
    const std::size_t s = std::size_t{1} << log_s;
    const unsigned shift = log_slots_ - log_s;
    for (std::size_t k = 0; k < s; ++k) {
        const std::size_t source = reversed_[k] >> shift;
        re[k] = in[source];
        im[k] = in[source + s];
    }
    for (std::size_t len = 2; len <= s; len *= 2)
        for (std::size_t start = 0; start < s; start += len)
            forward_level(re + start, im + start, &cosine_[len / 2], &sine_[len / 2], len / 2);
}

}  // namespace cipherformer
