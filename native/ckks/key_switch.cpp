#include "ckks/key_switch.hpp"

#include <cstring>

namespace cipherformer {
namespace {

using Pointers = std::array<const u64*, Parameters::kMaxLimbs>;
using OutPointers = std::array<u64*, Parameters::kMaxLimbs>;

}  // namespace

Decomposition::Decomposition(const Context& context, const Poly& input, std::size_t level)
    : context_(context), input_(input), level_(level), digits_(context.parameters().digits(level)),
      limbs_(context.qp_limbs(level)), raised_(context.poly(digits_ * limbs_)) {
    const std::size_t digit_size = context.parameters().digit_size();
    context.parallel(level + 1, [&](std::size_t j) {
        const std::size_t digit = j / digit_size;
        u64* own = raised_.limb(digit * limbs_ + j);
        std::memcpy(own, input_.limb(j), context_.n() * sizeof(u64));
        context_.ntt(j).inverse_scaled(own, context_.digit_converter(level_, digit).scale(j - digit * digit_size));
    });
    context.parallel_chunks([&](std::size_t start, std::size_t count) {
        for (std::size_t digit = 0; digit < digits_; ++digit) {
            Pointers in{};
            OutPointers out{};
            std::size_t ins = 0;
            std::size_t outs = 0;
            for (std::size_t j = 0; j < limbs_; ++j) {
                u64* limb = raised_.limb(digit * limbs_ + j) + start;
                if (owns(digit, j))
                    in[ins++] = limb;
                else
                    out[outs++] = limb;
            }
            context_.digit_converter(level_, digit).convert(out.data(), in.data(), count, context_.kernels());
        }
    });
}

void Decomposition::transform(std::size_t j) {
    for (std::size_t digit = 0; digit < digits_; ++digit)
        if (!owns(digit, j)) context_.ntt(context_.index(level_, j)).forward(raised_.limb(digit * limbs_ + j));
}

void Decomposition::transform_all() {
    context_.parallel(limbs_, [&](std::size_t j) { transform(j); });
}

void Decomposition::multiply(u64* out0, u64* out1, const SwitchingKey& key, std::size_t j) const {
    const std::size_t key_limb = j <= level_ ? j : j - level_ + key.level;
    Pointers values{};
    Pointers b{};
    Pointers a{};
    for (std::size_t digit = 0; digit < digits_; ++digit) {
        values[digit] = owns(digit, j) ? input_.limb(j) : raised_.limb(digit * limbs_ + j);
        b[digit] = key.b[digit].limb(key_limb);
        a[digit] = key.a[digit].limb(key_limb);
    }
    const Modulus& q = context_.modulus(context_.index(level_, j));
    context_.kernels().dot(out0, values.data(), b.data(), digits_, false, context_.n(), q);
    context_.kernels().dot(out1, values.data(), a.data(), digits_, false, context_.n(), q);
}

namespace {

// out of each division = the conversion of limbs first, first + 1, ... of `in`, in coefficient form.
void convert_divisors(const Context& context, std::span<const Division> divisions, std::size_t level, std::size_t first,
                      const BaseConverter& converter) {
    const std::size_t divisors = converter.from().size();
    context.parallel(divisions.size() * divisors, [&](std::size_t task) {
        const std::size_t k = task % divisors;
        u64* limb = divisions[task / divisors].in.limb(first + k);
        context.ntt(context.index(level, first + k)).inverse_scaled(limb, converter.scale(k));
    });
    context.parallel_chunks([&](std::size_t start, std::size_t count) {
        for (const Division& division : divisions) {
            Pointers source{};
            OutPointers target{};
            for (std::size_t k = 0; k < divisors; ++k) source[k] = division.in.limb(first + k) + start;
            for (std::size_t j = 0; j < converter.to().size(); ++j) target[j] = division.out.limb(j) + start;
            converter.convert(target.data(), source.data(), count, context.kernels());
        }
    });
}

}  // namespace

void divide_by_special(const Context& context, std::span<const Division> divisions, std::size_t level,
                       const std::uint32_t* permutation) {
    convert_divisors(context, divisions, level, level + 1, context.special_converter(level));
    context.parallel(divisions.size() * (level + 1), [&](std::size_t task) {
        const Division& division = divisions[task / (level + 1)];
        const std::size_t j = task % (level + 1);
        const Modulus& q = context.modulus(j);
        const Kernels& k = context.kernels();
        u64* out = division.out.limb(j);
        u64* in = division.in.limb(j);
        u64* quotient = permutation == nullptr ? out : in;
        context.ntt(j).forward(out);
        k.sub_mul_scalar(quotient, in, out, context.special_inverse(j), context.n(), q);
        if (division.add != nullptr) k.add(quotient, quotient, division.add->limb(j), context.n(), q);
        if (permutation != nullptr) k.permute(out, quotient, permutation, context.n());
    });
}

void divide_by_special_and_last(const Context& context, std::span<const Division> divisions, std::size_t level) {
    convert_divisors(context, divisions, level, level, context.rescale_converter(level));
    context.parallel(divisions.size() * level, [&](std::size_t task) {
        const Division& division = divisions[task / level];
        const std::size_t j = task % level;
        const Modulus& q = context.modulus(j);
        u64* out = division.out.limb(j);
        const u64 factor = q.mul(context.special_inverse(j), context.last_inverse(level, j));
        context.ntt(j).forward(out);
        context.kernels().sub_mul_scalar(out, division.in.limb(j), out, factor, context.n(), q);
    });
}

void switch_key(Decomposition& digits, const Context& context, const SwitchingKey& key, Poly& out0, Poly& out1) {
    context.parallel(context.qp_limbs(digits.level()), [&](std::size_t j) {
        digits.transform(j);
        digits.multiply(out0.limb(j), out1.limb(j), key, j);
    });
}

}  // namespace cipherformer
