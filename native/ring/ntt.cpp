#include "ring/ntt.hpp"

#include <stdexcept>
#include <string>

namespace cipherformer {
namespace {

constexpr unsigned kMaxLogN = 17;

void fill_real_tables(NttTables& tables, const std::vector<u64>& roots) {
    const std::size_t n = roots.size();
    std::vector<double>& w = tables.centred;
    for (u64 root : roots) w.push_back(static_cast<double>(tables.modulus.centred(root)));
    for (std::size_t i = 0; i < n / 4; ++i) tables.ratios.push_back(w[i] / tables.modulus.real);
    for (std::size_t i = n / 4; n >= 16 && i < n / 2; i += 4) {
        for (std::size_t lane = 0; lane < 4; ++lane) tables.last.push_back(w[i + lane]);
        for (std::size_t lane = 0; lane < 4; ++lane) tables.last.push_back(w[2 * (i + lane)]);
        for (std::size_t lane = 0; lane < 4; ++lane) tables.last.push_back(w[2 * (i + lane) + 1]);
    }
}

NttTables build_tables(unsigned log_n, const Modulus& q, Path path, u64 psi) {
    NttTables tables{q, log_n, {}, {}, {}, {}, {}};
    const std::size_t n = std::size_t{1} << log_n;
    std::vector<u64> roots(n);
    roots[0] = 1;
    // Entry m + j is psi^brv(m + j), the index reversed over log_n bits: for index m + j < 2m the reversal is
    // N/(2m) (2 brv(j) + 1). Walking the powers in order fills the table.
    u64 power = 1;
    for (std::size_t i = 0; i < n; ++i, power = q.mul(power, psi)) roots[reverse_bits(i, log_n)] = power;

    if (path == Path::avx2) {
        fill_real_tables(tables, roots);
        return tables;
    }
    const unsigned shift = path == Path::avx512 ? 52 : 64;
    tables.quotients.resize(n);
    for (std::size_t i = 0; i < n; ++i)
        tables.quotients[i] = static_cast<u64>((static_cast<u128>(roots[i]) << shift) / q.value);
    tables.roots = std::move(roots);
    return tables;
}

unsigned checked_log_n(unsigned log_n) {
    if (log_n < 1 || log_n > kMaxLogN)
        throw std::invalid_argument("transform size 2^" + std::to_string(log_n) + ": the exponent must be 1 to 17");
    return log_n;
}

}  // namespace

NttTable::NttTable(unsigned log_n, const Modulus& modulus, const Kernels& kernels)
    : kernels_(&kernels),
      root_(primitive_root(modulus, checked_log_n(log_n) + 1)),
      tables_(build_tables(log_n, modulus, kernels.path, root_)) {
    const u64 inverse_two = modulus.half + 1;
    inverse_size_.push_back(1);
    for (unsigned i = 0; i < log_n; ++i) inverse_size_.push_back(modulus.mul(inverse_size_.back(), inverse_two));
}

void NttTable::forward_integers(u64* out, const std::int32_t* a, unsigned log_m) const {
    if (kernels_->lift_forward != nullptr) return kernels_->lift_forward(out, a, log_m, tables_);
    kernels_->lift(out, a, std::size_t{1} << log_m, modulus());
    forward_small(out, log_m);
}

void NttTable::forward_integers(u64* out, const double* a, unsigned log_m) const {
    if (kernels_->lift_real_forward != nullptr) return kernels_->lift_real_forward(out, a, log_m, tables_);
    kernels_->lift_real(out, a, std::size_t{1} << log_m, modulus());
    forward_small(out, log_m);
}

u64 galois_rotation(unsigned log_n, std::int64_t steps) {
    const u64 order = (u64{1} << log_n) / 2;  // of 5 modulo 2N
    const u64 mask = (u64{2} << log_n) - 1;
    u64 remaining = order == 0 ? 0 : static_cast<u64>(steps) & (order - 1);
    u64 result = 1;
    for (u64 base = 5; remaining != 0; remaining >>= 1, base = base * base & mask)
        if (remaining & 1U) result = result * base & mask;
    return result;
}

u64 galois_conjugation(unsigned log_n) { return (u64{2} << log_n) - 1; }

std::vector<std::uint32_t> galois_permutation(unsigned log_n, u64 exponent) {
    const std::size_t n = std::size_t{1} << log_n;
    const u64 mask = 2 * n - 1;
    std::vector<std::uint32_t> index(n);
    for (std::size_t i = 0; i < n; ++i) {
        const u64 source = (exponent * (2 * reverse_bits(i, log_n) + 1)) & mask;
        index[i] = static_cast<std::uint32_t>(reverse_bits((source - 1) / 2, log_n));
    }
    return index;
}

void galois_coefficients(u64* out, const u64* in, unsigned log_n, u64 exponent, const Modulus& q) {
    const std::size_t n = std::size_t{1} << log_n;
    const u64 mask = 2 * n - 1;
    for (std::size_t i = 0; i < n; ++i) {
        const u64 target = (exponent * i) & mask;
        out[target & (n - 1)] = target < n ? in[i] : q.neg(in[i]);
    }
}

}  // namespace cipherformer
