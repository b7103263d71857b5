// The canonical embedding between s complex slots and the 2s real coefficients of a polynomial in Z[Y]/(Y^2s + 1).
//
// Slot j is the value at eta^(5^j), eta = exp(2 pi i / 4s). With w_k = p_k + i p_(k+s) that is z_j = sum_k w_k
// eta^(5^j k), because eta^(s 5^j) = i. The order of all floating-point operations is fixed (no contraction), so equal
// inputs give equal bits on every code path.
#pragma once

#include <cstddef>
#include <vector>

namespace cipherformer {

class Embedding {
public:
    // For every slot count up to 2^log_slots.
    explicit Embedding(unsigned log_slots);

    // re, im: the 2^log_s slots, overwritten. out: 2^(log_s + 1) coefficients, each times `factor`.
    void to_coefficients(double* out, double* re, double* im, unsigned log_s, double factor) const;
    // in: 2^(log_s + 1) coefficients. re, im: the slots.
    void to_slots(double* re, double* im, const double* in, unsigned log_s) const;

private:
    unsigned log_slots_;
    // Level `len` (a power of two) holds exp(2 pi i (5^j mod 4 len) / (4 len)), j < len / 2, from index len / 2 on.
    std::vector<double> cosine_;
    std::vector<double> sine_;
    std::vector<unsigned> reversed_;  // bit reversal over log_slots_ bits
};

}  // namespace cipherformer
