#include <algorithm>
#include <bit>
#include <cstring>

#include "ckks/plaintext.hpp"

namespace cipherformer {
namespace {

// The integers with the given residues (coefficient form, destroyed), centred, as the nearest doubles: x + (Q - 1) / 2 has
// mixed-radix digits (Garner) d_i, and x = sum_i (d_i - (q_i - 1) / 2) q_0 ... q_(i-1), because (Q - 1) / 2 has the digits
// (q_i - 1) / 2. All terms above a small x are 0, so nothing is lost to cancellation.
class Composer {
public:
    Composer(const Context& context, std::size_t limbs) : context_(context), inverse_(limbs) {
        for (std::size_t i = 0; i < limbs; ++i) {
            const Modulus& q = context.modulus(i);
            u64 half = 0;
            u64 radix = 1;
            for (std::size_t j = 0; j < limbs; ++j) {
                const Modulus& other = context.modulus(j);
                half = q.add(half, q.mul(q.reduce(other.half), radix));
                radix = q.mul(radix, q.reduce(other.value));
                if (j < i) inverse_[i].push_back(q.invert(q.reduce(other.value)));
            }
            half_.push_back(half);
        }
    }

    // Coefficients start .. start + count.
    void compose(double* out, Poly& residues, std::size_t start, std::size_t count) const {
        const Kernels& k = context_.kernels();
        Poly scratch(context_.pool(), 1, count);
        u64* reduced = scratch.limb(0);
        for (std::size_t i = 0; i < inverse_.size(); ++i) {
            const Modulus& q = context_.modulus(i);
            u64* digit = residues.limb(i) + start;
            k.add_scalar(digit, digit, half_[i], count, q);
            for (std::size_t j = 0; j < i; ++j) {
                k.reduce(reduced, residues.limb(j) + start, count, context_.modulus(j), q);
                k.sub_mul_scalar(digit, digit, reduced, inverse_[i][j], count, q);
            }
        }
        std::fill_n(out, count, 0.0);
        for (std::size_t i = inverse_.size(); i-- > 0;) {
            const Modulus& q = context_.modulus(i);
            const u64* digit = residues.limb(i) + start;
            for (std::size_t n = 0; n < count; ++n)
                out[n] = out[n] * q.real + static_cast<double>(static_cast<std::int64_t>(digit[n] - q.half));
        }
    }

private:
    const Context& context_;
    std::vector<std::vector<u64>> inverse_;  // [i][j]: q_j^-1 mod q_i
    std::vector<u64> half_;                  // (Q - 1) / 2 mod q_i
};

}  // namespace

std::vector<std::complex<double>> decode(const Plaintext& plaintext) {
    const Context& context = *plaintext.context;
    const std::size_t width = 2 * plaintext.period;
    const auto log_s = static_cast<unsigned>(std::countr_zero(plaintext.period));
    const std::size_t limbs = plaintext.level + 1;
    Poly work(context.pool(), limbs, width);
    context.parallel(limbs, [&](std::size_t i) {
        const u64* values = plaintext.values(i, i, work.limb(i));
        if (values != work.limb(i)) std::memcpy(work.limb(i), values, width * sizeof(u64));
        context.ntt(i).inverse_small(work.limb(i), log_s + 1);
    });
    const Composer composer(context, limbs);
    std::vector<double> coefficients(width);
    const std::size_t piece = std::min<std::size_t>(width, 1024);
    context.parallel(width / piece,
                     [&](std::size_t i) { composer.compose(&coefficients[i * piece], work, i * piece, piece); });
    std::vector<double> re(plaintext.period);
    std::vector<double> im(plaintext.period);
    context.embedding().to_slots(re.data(), im.data(), coefficients.data(), log_s);
    std::vector<std::complex<double>> slots(context.parameters().slots());
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::size_t source = i & (plaintext.period - 1);
        slots[i] = {re[source] / plaintext.scale, im[source] / plaintext.scale};
    }
    return slots;
}

}  // namespace cipherformer
