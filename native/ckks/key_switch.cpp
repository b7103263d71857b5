#include "ckks/key_switch.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace cipherformer {
namespace {

using Pointers = std::array<const u64*, Parameters::kMaxLimbs>;
constexpr std::size_t kBlock = 2048;  // residues of each limb that a product with a key handles at a time
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
    if (transformed_) return;
    for (std::size_t digit = 0; digit < digits_; ++digit)
        if (!owns(digit, j)) context_.ntt(context_.index(level_, j)).forward(raised_.limb(digit * limbs_ + j));
}

void Decomposition::transform_all() {
    context_.parallel(limbs_, [&](std::size_t j) { transform(j); });
    transformed_ = true;
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
    const std::size_t block = std::min(kBlock, context_.n());
    for (std::size_t start = 0; start < context_.n(); start += block) {  // the digits are read twice: from the cache
        context_.kernels().dot(out0 + start, values.data(), b.data(), digits_, false, block, q);
        context_.kernels().dot(out1 + start, values.data(), a.data(), digits_, false, block, q);
        for (std::size_t digit = 0; digit < digits_; ++digit) values[digit] += block, b[digit] += block, a[digit] += block;
    }
}

namespace {

// out = the conversion of limbs first, first + 1, ... of each `in`, in coefficient form and scaled.
void convert_limbs(const Context& context, const BaseConverter& converter, std::span<const Division> divisions,
                   std::size_t first) {
    context.parallel_chunks([&](std::size_t start, std::size_t count) {
        for (const Division& division : divisions) {
            Pointers source{};
            OutPointers target{};
            for (std::size_t k = 0; k < converter.from().size(); ++k) source[k] = division.in.limb(first + k) + start;
            for (std::size_t j = 0; j < converter.to().size(); ++j) target[j] = division.out.limb(j) + start;
            converter.convert(target.data(), source.data(), count, context.kernels());
        }
    });
}

// The last steps of a division: out = phi((in - out) / P + add), with `out` in coefficient form and `in` destroyed.
void finish_limb(const Context& context, std::size_t j, u64* out, u64* in, const u64* add,
                 const std::uint32_t* permutation) {
    const Modulus& q = context.modulus(j);
    const Kernels& k = context.kernels();
    u64* quotient = permutation == nullptr ? out : in;
    context.ntt(j).forward(out);
    k.sub_mul_scalar(quotient, in, out, context.special_inverse(j), context.n(), q);
    if (add != nullptr) k.add(quotient, quotient, add, context.n(), q);
    if (permutation != nullptr) k.permute(out, quotient, permutation, context.n());
}

// The same for a division by P q_level, without addition.
void finish_rescaled_limb(const Context& context, std::size_t level, std::size_t j, u64* out, const u64* in) {
    const Modulus& q = context.modulus(j);
    const u64 factor = q.mul(context.special_inverse(j), context.last_inverse(level, j));
    context.ntt(j).forward(out);
    context.kernels().sub_mul_scalar(out, in, out, factor, context.n(), q);
}

}  // namespace

void divide_by_special(const Context& context, std::span<const Division> divisions, std::size_t level, bool rescale) {
    const std::size_t first = rescale ? level : level + 1;
    const BaseConverter& converter = rescale ? context.rescale_converter(level) : context.special_converter(level);
    const std::size_t divisors = converter.from().size();
    context.parallel(divisions.size() * divisors, [&](std::size_t task) {
        const std::size_t k = task % divisors;
        u64* limb = divisions[task / divisors].in.limb(first + k);
        context.ntt(context.index(level, first + k)).inverse_scaled(limb, converter.scale(k));
    });
    convert_limbs(context, converter, divisions, first);
    context.parallel(divisions.size() * first, [&](std::size_t task) {
        const Division& division = divisions[task / first];
        const std::size_t j = task % first;
        if (rescale)
            finish_rescaled_limb(context, level, j, division.out.limb(j), division.in.limb(j));
        else
            finish_limb(context, j, division.out.limb(j), division.in.limb(j), nullptr, nullptr);
    });
}

void switch_key(const Context& context, Decomposition& digits, const SwitchingKey& key, const Switch& to) {
    const std::size_t level = digits.level();
    const std::size_t first = to.rescale ? level : level + 1;
    const BaseConverter& converter = to.rescale ? context.rescale_converter(level) : context.special_converter(level);
    const std::size_t divisors = converter.from().size();
    std::array<Poly, 2> sums{context.poly(divisors), context.poly(divisors)};
    // part += P add over QP, which a division by P q_level cannot leave for later
    const auto add_before = [&](u64* part, const Poly* add, std::size_t j) {
        if (!to.rescale || add == nullptr || j > level) return;
        context.kernels().mul_scalar_add(part, add->limb(j), context.special_product(j), context.n(), context.modulus(j));
    };
    context.parallel(divisors, [&](std::size_t k) {
        const std::size_t j = first + k;
        digits.transform(j);
        digits.multiply(sums[0].limb(k), sums[1].limb(k), key, j);
        for (std::size_t part = 0; part < 2; ++part) {
            add_before(sums[part].limb(k), to.add[part], j);
            context.ntt(context.index(level, j)).inverse_scaled(sums[part].limb(k), converter.scale(k));
        }
    });
    const std::array<Division, 2> divisions{{{*to.out[0], sums[0]}, {*to.out[1], sums[1]}}};
    convert_limbs(context, converter, divisions, 0);
    context.parallel(first, [&](std::size_t j) {
        Poly work(context.pool(), 2, context.n());
        digits.transform(j);
        digits.multiply(work.limb(0), work.limb(1), key, j);
        for (std::size_t part = 0; part < 2; ++part) {
            add_before(work.limb(part), to.add[part], j);
            u64* out = to.out[part]->limb(j);
            if (to.rescale)
                finish_rescaled_limb(context, level, j, out, work.limb(part));
            else
                finish_limb(context, j, out, work.limb(part), to.add[part] == nullptr ? nullptr : to.add[part]->limb(j),
                            to.permutation);
        }
    });
}

}  // namespace cipherformer
