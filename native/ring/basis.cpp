#include "ring/basis.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace cipherformer {
namespace {

void check_moduli(const std::vector<Modulus>& from, const std::vector<Modulus>& to) {
    if (from.empty()) throw std::invalid_argument("base conversion from no modulus");
    for (std::size_t i = 0; i < from.size(); ++i) {
        const bool repeated =
            std::find(from.begin() + static_cast<std::ptrdiff_t>(i) + 1, from.end(), from[i]) != from.end();
        const bool shared = std::find(to.begin(), to.end(), from[i]) != to.end();
        if (repeated || shared)
            throw std::invalid_argument("base conversion: modulus " + std::to_string(from[i].value) + " stands twice");
    }
}

// The product of all moduli but one, modulo another prime.
u64 product_without(const std::vector<Modulus>& moduli, std::size_t skip, const Modulus& p) {
    u64 product = 1;
    for (std::size_t i = 0; i < moduli.size(); ++i)
        if (i != skip) product = p.mul(product, p.reduce(moduli[i].value));
    return product;
}

}  // namespace

BaseConverter::BaseConverter(const std::vector<Modulus>& from, const std::vector<Modulus>& to, bool scaled_input)
    : constants_{from, to, {}, {}, {}, {}, scaled_input} {
    check_moduli(from, to);
    for (std::size_t i = 0; i < from.size(); ++i)
        constants_.inverse.push_back(from[i].invert(product_without(from, i, from[i])));
    for (const Modulus& p : to) {
        u64 offset = 0;
        for (std::size_t i = 0; i < from.size(); ++i) {
            const u64 factor = product_without(from, i, p);
            constants_.factor.push_back(factor);
            constants_.centred.push_back(static_cast<double>(p.centred(factor)));
            offset = p.sub(offset, p.mul(p.reduce(from[i].half), factor));
        }
        constants_.offset.push_back(offset);
    }
}

void BaseConverter::convert(u64* const* out, const u64* const* in, std::size_t n, const Kernels& kernels) const {
    std::vector<std::vector<u64>> prepared(from().size(), std::vector<u64>(n));
    std::vector<const u64*> rows;
    for (std::size_t i = 0; i < prepared.size(); ++i) {
        prepare(prepared[i].data(), in[i], n, i, kernels);
        rows.push_back(prepared[i].data());
    }
    convert_prepared(out, rows.data(), n, 0, to().size(), kernels);
}

void BaseConverter::prepare_transformed(u64* out, const u64* in, const NttTable& ntt, std::size_t i,
                                        const Kernels& kernels) const {
    const u64 factor = ntt.modulus().mul(scale(i), ntt.inverse_size());
    if (kernels.ntt_inverse_prepare != nullptr)
        return kernels.ntt_inverse_prepare(out, in, ntt.log_n(), factor, ntt.tables(), i, constants_);
    if (out != in) std::copy(in, in + ntt.size(), out);
    kernels.ntt_inverse(out, ntt.log_n(), factor, ntt.tables());
    prepare(out, out, ntt.size(), i, kernels);
}

}  // namespace cipherformer
