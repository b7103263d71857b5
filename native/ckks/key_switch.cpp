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

void divide_by_special(const Context& context, Poly& out, Poly& in, std::size_t level, const Poly* add) {
    const BaseConverter& converter = context.special_converter(level);
    context.parallel(context.special(), [&](std::size_t k) {
        context.ntt(context.parameters().limbs() + k).inverse_scaled(in.limb(level + 1 + k), converter.scale(k));
    });
    Poly rest = context.poly(level + 1);
    context.parallel_chunks([&](std::size_t start, std::size_t count) {
        Pointers source{};
        OutPointers target{};
        for (std::size_t k = 0; k < context.special(); ++k) source[k] = in.limb(level + 1 + k) + start;
        for (std::size_t j = 0; j <= level; ++j) target[j] = rest.limb(j) + start;
        converter.convert(target.data(), source.data(), count, context.kernels());
    });
    context.parallel(level + 1, [&](std::size_t j) {
        const Modulus& q = context.modulus(j);
        context.ntt(j).forward(rest.limb(j));
        context.kernels().sub_mul_scalar(rest.limb(j), in.limb(j), rest.limb(j), context.special_inverse(j), context.n(), q);
        if (add != nullptr)
            context.kernels().add(out.limb(j), rest.limb(j), add->limb(j), context.n(), q);
        else
            std::memcpy(out.limb(j), rest.limb(j), context.n() * sizeof(u64));
    });
}

void divide_by_special_and_last(const Context& context, Poly& out, Poly& in, std::size_t level) {
    const BaseConverter& converter = context.rescale_converter(level);
    const std::size_t divided = context.special() + 1;
    context.parallel(divided, [&](std::size_t k) {
        const std::size_t j = level + k;  // the last ordinary limb, then the special ones
        context.ntt(context.index(level, j)).inverse_scaled(in.limb(j), converter.scale(k));
    });
    context.parallel_chunks([&](std::size_t start, std::size_t count) {
        Pointers source{};
        OutPointers target{};
        for (std::size_t k = 0; k < divided; ++k) source[k] = in.limb(level + k) + start;
        for (std::size_t j = 0; j < level; ++j) target[j] = out.limb(j) + start;
        converter.convert(target.data(), source.data(), count, context.kernels());
    });
    context.parallel(level, [&](std::size_t j) {
        const Modulus& q = context.modulus(j);
        context.ntt(j).forward(out.limb(j));
        const u64 factor = q.mul(context.special_inverse(j), context.last_inverse(level, j));
        context.kernels().sub_mul_scalar(out.limb(j), in.limb(j), out.limb(j), factor, context.n(), q);
    });
}

void switch_key(Decomposition& digits, const Context& context, const SwitchingKey& key, Poly& out0, Poly& out1) {
    context.parallel(context.qp_limbs(digits.level()), [&](std::size_t j) {
        digits.transform(j);
        digits.multiply(out0.limb(j), out1.limb(j), key, j);
    });
}

}  // namespace cipherformer
