// The negacyclic number-theoretic transform over Z_q[X]/(X^N + 1) and Galois automorphisms on its values.
//
// Forward takes coefficients in natural order to values in bit-reversed order: index k holds the polynomial at
// psi^(2 brv(k) + 1), psi the primitive 2N-th root of unity of `primitive_root`. Inverse goes back.
#pragma once

#include <cstdint>
#include <vector>

#include "ring/kernels.hpp"
#include "ring/modulus.hpp"

namespace cipherformer {

// Powers of psi as the kernels of one path read them. The entry at m + j, j < m = 2^level, is the twiddle of block j on
// that level, psi^(N/(2m) (2 brv(j) + 1)). Its inverse is minus the entry at m + (m - 1 - j), so one table serves both
// directions; and the first M entries are the table of the size-M transform with root psi^(N/M).
struct NttTables {
    Modulus modulus;
    unsigned log_n;
    std::vector<u64> roots;       // portable, avx512
    std::vector<u64> quotients;   // portable: floor(w 2^64 / q); avx512: floor(w 2^52 / q)
    std::vector<double> centred;  // avx2: w in [-q/2, q/2]
    std::vector<double> ratios;   // avx2: w / q for the first quarter, those that stand for whole vectors
    std::vector<double> last;  // avx2: the last two levels of the full size, ready for vectors: for four blocks of four
                               // residues each, from index i on, w[i..i+3], w[2i, 2i+2, ..], w[2i+1, 2i+3, ..]
};

class NttTable {
public:
    // Throws std::invalid_argument unless q = 1 mod 2N and 1 <= log_n <= 17.
    NttTable(unsigned log_n, const Modulus& modulus, const Kernels& kernels);
    NttTable(unsigned log_n, const Modulus& modulus, Path path)
        : NttTable(log_n, modulus, cipherformer::kernels(path)) {}

    unsigned log_n() const { return tables_.log_n; }
    std::size_t size() const { return std::size_t{1} << tables_.log_n; }
    const Modulus& modulus() const { return tables_.modulus; }
    u64 root() const { return root_; }  // psi
    const NttTables& tables() const { return tables_; }
    u64 inverse_size() const { return inverse_size_[tables_.log_n]; }

    // In place on size() residues in [0, q), 64-byte aligned; the result is in [0, q).
    void forward(u64* a) const { kernels_->ntt_forward(a, tables_.log_n, tables_); }
    void inverse(u64* a) const { kernels_->ntt_inverse(a, tables_.log_n, inverse_size_[tables_.log_n], tables_); }
    // The inverse transform times a constant, at no extra cost.
    void inverse_scaled(u64* a, u64 factor) const {
        kernels_->ntt_inverse(a, tables_.log_n, modulus().mul(factor, inverse_size_[tables_.log_n]), tables_);
    }

    // The transform of small signed integers, |a| < 2^31, or of integers |a| <= 2^51 held as doubles, of size 2^log_m as
    // in forward_small; out must not overlap a.
    void forward_integers(u64* out, const std::int32_t* a, unsigned log_m) const;
    void forward_integers(u64* out, const double* a, unsigned log_m) const;

    // The size-2^log_m transform with root psi^(N/M), log_m <= log_n. For p(X^(N/M)) the size-N transform is this one
    // of p with each value repeated N/M times in a row.
    void forward_small(u64* a, unsigned log_m) const { kernels_->ntt_forward(a, log_m, tables_); }
    void inverse_small(u64* a, unsigned log_m) const { kernels_->ntt_inverse(a, log_m, inverse_size_[log_m], tables_); }

private:
    const Kernels* kernels_;
    u64 root_;
    NttTables tables_;
    std::vector<u64> inverse_size_;  // 1/2^i mod q
};

// Exponents g of the automorphisms X -> X^g of the ring with N = 2^log_n: rotation of the slots to the left by
// `steps` (any integer, taken modulo N/2) is 5^steps mod 2N; conjugation is 2N - 1.
u64 galois_rotation(unsigned log_n, std::int64_t steps);
u64 galois_conjugation(unsigned log_n);

// index such that the transform of a(X^g) is out[i] = in[index[i]], both in bit-reversed order. g is odd.
std::vector<std::uint32_t> galois_permutation(unsigned log_n, u64 exponent);
// The same automorphism on coefficients (natural order): out = a(X^g) mod X^N + 1. Not in place.
void galois_coefficients(u64* out, const u64* in, unsigned log_n, u64 exponent, const Modulus& q);

}  // namespace cipherformer
