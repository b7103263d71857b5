#include "ckks/key_switch.hpp"

#include <algorithm>
#include <array>

namespace cipherformer {
namespace {

using Pointers = std::array<const u64*, Parameters::kMaxLimbs>;
using OutPointers = std::array<u64*, Parameters::kMaxLimbs>;

}  // namespace

std::vector<LimbRange> limb_ranges(const Context& context, std::size_t first, std::size_t count) {
    constexpr std::size_t kLimbs = 8;  // whose digits share one reading of the sources
    const std::size_t threads = context.threads();
    const std::size_t pieces = std::min(count, ((count + kLimbs - 1) / kLimbs + threads - 1) / threads * threads);
    std::vector<LimbRange> out;
    for (std::size_t i = 0; i < pieces; ++i) {
        const std::size_t begin = i * count / pieces;
        out.push_back({first + begin, (i + 1) * count / pieces - begin});
    }
    return out;
}

Decomposition::Decomposition(const Context& context, const Poly& input, std::size_t level)
    : context_(context), input_(input), level_(level), digits_(context.parameters().digits(level)),
      limbs_(context.qp_limbs(level)), own_(context.poly(level + 1)) {
    const std::size_t digit_size = context.parameters().digit_size();
    context.parallel(level + 1, [&](std::size_t j) {
        const BaseConverter& converter = context_.digit_converter(level_, j / digit_size);
        converter.prepare_transformed(own_.limb(j), input_.limb(j), context_.ntt(j), j % digit_size, context_.kernels());
    });
}

void Decomposition::raise_into(RaisedDigits& out, LimbRange range) const {
    const std::size_t digit_size = context_.parameters().digit_size();
    for (std::size_t digit = 0; digit < digits_; ++digit) {
        const std::size_t start = digit * digit_size;
        const std::size_t size = std::min(digit_size, level_ + 1 - start);
        Pointers in{};
        OutPointers limbs{};
        std::size_t count = 0;
        for (std::size_t i = 0; i < size; ++i) in[i] = own_.limb(start + i);
        for (std::size_t j = range.first; j < range.first + range.count; ++j)
            if (!owns(digit, j)) limbs[count++] = out.limb(digit, j);
        if (count == 0) continue;
        // The converter numbers its destinations without the digit's own limbs.
        const std::size_t skipped = std::min(size, range.first > start ? range.first - start : 0);
        context_.digit_converter(level_, digit)
            .convert_prepared(limbs.data(), in.data(), context_.n(), range.first - skipped, count, context_.kernels());
        for (std::size_t j = range.first; j < range.first + range.count; ++j)
            if (!owns(digit, j)) context_.ntt(context_.index(level_, j)).forward(out.limb(digit, j));
    }
}

RaisedDigits Decomposition::raise(LimbRange range) const {
    RaisedDigits out{context_.poly(digits_ * range.count), range};
    raise_into(out, range);
    return out;
}

RaisedDigits Decomposition::raise_all() const {
    RaisedDigits out{context_.poly(digits_ * limbs_), {0, limbs_}};
    const std::vector<LimbRange> ranges = limb_ranges(context_, 0, limbs_);
    context_.parallel(ranges.size(), [&](std::size_t i) { raise_into(out, ranges[i]); });
    return out;
}

void Decomposition::multiply(u64* out0, u64* out1, const RaisedDigits& raised, const SwitchingKey& key,
                             std::size_t j) const {
    const std::size_t key_limb = j <= level_ ? j : j - level_ + key.level;
    Pointers values{};
    Pointers b{};
    Pointers a{};
    for (std::size_t digit = 0; digit < digits_; ++digit) {
        values[digit] = owns(digit, j) ? input_.limb(j) : raised.limb(digit, j);
        b[digit] = key.b[digit].limb(key_limb);
        a[digit] = key.a[digit].limb(key_limb);
    }
    const Modulus& q = context_.modulus(context_.index(level_, j));
    context_.kernels().dot_pair(out0, out1, values.data(), b.data(), a.data(), digits_, context_.n(), q);
}

namespace {

// Limbs of `out` in a range = the conversion of prepared limbs first, first + 1, ... of `in`, in coefficient form.
void convert_limbs(const Context& context, const BaseConverter& converter, Poly& out, const Poly& in, std::size_t first,
                   LimbRange range) {
    Pointers source{};
    OutPointers target{};
    for (std::size_t k = 0; k < converter.from().size(); ++k) source[k] = in.limb(first + k);
    for (std::size_t j = 0; j < range.count; ++j) target[j] = out.limb(range.first + j);
    converter.convert_prepared(target.data(), source.data(), context.n(), range.first, range.count, context.kernels());
}

// The last steps of a division: out = phi((in - out) / P + add), with `out` in coefficient form and `in` destroyed.
void finish_limb(const Context& context, std::size_t j, u64* out, u64* in, const u64* add,
                 const std::uint32_t* permutation) {
    const Modulus& q = context.modulus(j);
    const Kernels& k = context.kernels();
    u64* quotient = permutation == nullptr ? out : in;
    context.ntt(j).forward(out);
    const u64 factor = context.special_inverse(j);
    if (add == nullptr)
        k.sub_mul_scalar(quotient, in, out, factor, context.n(), q);
    else
        k.sub_mul_scalar_add(quotient, in, out, factor, add, context.n(), q);
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
        converter.prepare_transformed(limb, limb, context.ntt(context.index(level, first + k)), k, context.kernels());
    });
    const std::vector<LimbRange> ranges = limb_ranges(context, 0, first);
    context.parallel(divisions.size() * ranges.size(), [&](std::size_t task) {
        const Division& division = divisions[task / ranges.size()];
        const LimbRange range = ranges[task % ranges.size()];
        convert_limbs(context, converter, division.out, division.in, first, range);
        for (std::size_t j = range.first; j < range.first + range.count; ++j)
            if (rescale)
                finish_rescaled_limb(context, level, j, division.out.limb(j), division.in.limb(j));
            else
                finish_limb(context, j, division.out.limb(j), division.in.limb(j), nullptr, nullptr);
    });
}

void switch_key(const Context& context, const Decomposition& digits, const RaisedDigits* raised, const SwitchingKey& key,
                const Switch& to) {
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
    const auto in_ranges = [&](std::size_t begin, std::size_t count, const auto& task) {
        const std::vector<LimbRange> ranges = limb_ranges(context, begin, count);
        context.parallel(ranges.size(), [&](std::size_t i) {
            if (raised != nullptr)
                task(*raised, ranges[i]);
            else
                task(digits.raise(ranges[i]), ranges[i]);
        });
    };
    in_ranges(first, divisors, [&](const RaisedDigits& values, LimbRange range) {
        for (std::size_t j = range.first; j < range.first + range.count; ++j) {
            const std::size_t k = j - first;
            digits.multiply(sums[0].limb(k), sums[1].limb(k), values, key, j);
            for (std::size_t part = 0; part < 2; ++part) {
                u64* limb = sums[part].limb(k);
                add_before(limb, to.add[part], j);
                converter.prepare_transformed(limb, limb, context.ntt(context.index(level, j)), k, context.kernels());
            }
        }
    });
    in_ranges(0, first, [&](const RaisedDigits& values, LimbRange range) {
        Poly work(context.pool(), 2, context.n());
        for (std::size_t part = 0; part < 2; ++part)
            convert_limbs(context, converter, *to.out[part], sums[part], 0, range);
        for (std::size_t j = range.first; j < range.first + range.count; ++j) {
            digits.multiply(work.limb(0), work.limb(1), values, key, j);
            for (std::size_t part = 0; part < 2; ++part) {
                add_before(work.limb(part), to.add[part], j);
                u64* out = to.out[part]->limb(j);
                if (to.rescale)
                    finish_rescaled_limb(context, level, j, out, work.limb(part));
                else
                    finish_limb(context, j, out, work.limb(part),
                                to.add[part] == nullptr ? nullptr : to.add[part]->limb(j), to.permutation);
            }
        }
    });
}

}  // namespace cipherformer
