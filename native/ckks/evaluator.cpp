#include "ckks/evaluator.hpp"

#include <cmath>
#include <cstring>

#include "ckks/key_switch.hpp"

namespace cipherformer {
namespace {

constexpr double kScaleTolerance = 0x1p-30;

void check_scales(double a, double b, const char* operation) {
    if (std::fabs(a - b) <= kScaleTolerance * a) return;
    refuse(operation, "the scales " + std::to_string(a) + " and " + std::to_string(b) + " differ by more than 2^-30",
           "rescale one operand, or relabel with set_scale if the difference is accounted for");
}

// A ciphertext of fresh, undefined parts.
struct Draft {
    Draft(const ContextPtr& context, std::size_t parts, std::size_t level, double scale)
        : result{context, {}, level, scale, std::nullopt} {
        for (std::size_t i = 0; i < parts; ++i) {
            polys.push_back(std::make_shared<Poly>(context->poly(level + 1)));
            result.parts.push_back(polys.back());
        }
    }
    std::vector<std::shared_ptr<Poly>> polys;
    Ciphertext result;
};

}  // namespace

void Evaluator::check(const Ciphertext& a) const { check_same_parameters(*context_, *a.context, "ciphertext"); }

void Evaluator::check_two_parts(const Ciphertext& a, const char* operation) const {
    check(a);
    if (a.parts.size() != 2) refuse(operation, "the ciphertext has 3 parts", "relinearise it first");
}

std::size_t Evaluator::common_level(const Ciphertext& a, const Ciphertext& b) const {
    check(a);
    check(b);
    return std::min(a.level, b.level);
}

void Evaluator::check_product(double scale, std::size_t level) const {
    if (std::log2(scale) >= context_->log_q(level))
        refuse("multiply",
               "the product's scale 2^" + std::to_string(std::log2(scale)) + " reaches the modulus 2^" +
                   std::to_string(context_->log_q(level)) + " of level " + std::to_string(level),
               "rescale the operands first, or plan for more levels");
}

Ciphertext Evaluator::add_or_sub(const Ciphertext& a, const Ciphertext& b, bool subtract) const {
    const std::size_t level = common_level(a, b);
    check_scales(a.scale, b.scale, subtract ? "sub" : "add");
    const std::size_t shared = std::min(a.parts.size(), b.parts.size());
    Draft out(context_, std::max(a.parts.size(), b.parts.size()), level, a.scale);
    const bool longer_b = b.parts.size() > shared;
    context_->parallel(level + 1, [&](std::size_t j) {
        const Modulus& q = context_->modulus(j);
        const auto operation = subtract ? context_->kernels().sub : context_->kernels().add;
        for (std::size_t part = 0; part < out.polys.size(); ++part) {
            u64* to = out.polys[part]->limb(j);
            if (part < shared)
                operation(to, a.parts[part]->limb(j), b.parts[part]->limb(j), context_->n(), q);
            else if (longer_b && subtract)
                context_->kernels().neg(to, b.parts[part]->limb(j), context_->n(), q);
            else
                std::memcpy(to, (longer_b ? b : a).parts[part]->limb(j), context_->n() * sizeof(u64));
        }
    });
    return out.result;
}

Ciphertext Evaluator::add(const Ciphertext& a, const Ciphertext& b) const { return add_or_sub(a, b, false); }
Ciphertext Evaluator::sub(const Ciphertext& a, const Ciphertext& b) const { return add_or_sub(a, b, true); }

Ciphertext Evaluator::add_many(const std::vector<Ciphertext>& terms) const {
    if (terms.empty()) refuse("add_many", "there is nothing to add", "give at least one ciphertext");
    std::size_t level = terms.front().level;
    std::size_t parts = 0;
    for (const Ciphertext& term : terms) {
        check(term);
        check_scales(terms.front().scale, term.scale, "add_many");
        level = std::min(level, term.level);
        parts = std::max(parts, term.parts.size());
    }
    Draft out(context_, parts, level, terms.front().scale);
    context_->parallel((level + 1) * parts, [&](std::size_t task) {
        const std::size_t j = task / parts;
        const std::size_t part = task % parts;
        u64* to = out.polys[part]->limb(j);
        bool first = true;
        for (const Ciphertext& term : terms) {
            if (part >= term.parts.size()) continue;
            if (first)
                std::memcpy(to, term.parts[part]->limb(j), context_->n() * sizeof(u64));
            else
                context_->kernels().add(to, to, term.parts[part]->limb(j), context_->n(), context_->modulus(j));
            first = false;
        }
    });
    return out.result;
}

Ciphertext Evaluator::negate(const Ciphertext& a) const {
    check(a);
    Draft out(context_, a.parts.size(), a.level, a.scale);
    context_->parallel(a.level + 1, [&](std::size_t j) {
        for (std::size_t part = 0; part < a.parts.size(); ++part)
            context_->kernels().neg(out.polys[part]->limb(j), a.parts[part]->limb(j), context_->n(), context_->modulus(j));
    });
    return out.result;
}

Ciphertext Evaluator::add_or_sub_plain(const Ciphertext& a, const Plaintext& b, bool subtract) const {
    check(a);
    check_same_parameters(*context_, *b.context, "plaintext");
    check_scales(a.scale, b.scale, subtract ? "sub_plain" : "add_plain");
    const std::size_t level = std::min(a.level, b.level);
    Draft out(context_, 1, level, a.scale);
    out.result.parts.insert(out.result.parts.end(), a.parts.begin() + 1, a.parts.end());
    context_->parallel(level + 1, [&](std::size_t j) {
        const auto operation = subtract ? context_->kernels().sub : context_->kernels().add;
        Buffer scratch = context_->scratch(b.shift() == 0 && !b.compact() ? 0 : context_->n());
        u64* to = out.polys[0]->limb(j);
        operation(to, a.parts[0]->limb(j), expanded_limb(b, j, scratch.data()), context_->n(), context_->modulus(j));
    });
    return out.result;
}

Ciphertext Evaluator::add_plain(const Ciphertext& a, const Plaintext& b) const { return add_or_sub_plain(a, b, false); }
Ciphertext Evaluator::sub_plain(const Ciphertext& a, const Plaintext& b) const { return add_or_sub_plain(a, b, true); }

Ciphertext Evaluator::add_scalar(const Ciphertext& a, double x) const {
    check(a);
    const double integer = std::nearbyint(x * a.scale);
    if (!(std::fabs(integer) < 0x1p100) || std::log2(std::fabs(integer) + 1) + 1 >= context_->log_q(a.level))
        refuse("add_scalar", "the value " + std::to_string(x) + " does not fit at this scale and level",
               "use a smaller value or a higher level");
    Draft out(context_, 1, a.level, a.scale);
    out.result.parts.insert(out.result.parts.end(), a.parts.begin() + 1, a.parts.end());
    context_->parallel(a.level + 1, [&](std::size_t j) {
        const Modulus& q = context_->modulus(j);
        context_->kernels().add_scalar(out.polys[0]->limb(j), a.parts[0]->limb(j), residue_of_integer(integer, q),
                                       context_->n(), q);
    });
    return out.result;
}

Ciphertext Evaluator::mul_plain(const Ciphertext& a, const Plaintext& b) const {
    check(a);
    check_same_parameters(*context_, *b.context, "plaintext");
    const std::size_t level = std::min(a.level, b.level);
    check_product(a.scale * b.scale, level);
    Draft out(context_, a.parts.size(), level, a.scale * b.scale);
    const unsigned shift = b.shift();
    context_->parallel(level + 1, [&](std::size_t j) {
        Buffer scratch = context_->scratch(b.compact() ? context_->n() : 0);
        const u64* values = b.values(j, j, scratch.data());
        for (std::size_t part = 0; part < a.parts.size(); ++part) {
            const u64* from = a.parts[part]->limb(j);
            u64* to = out.polys[part]->limb(j);
            if (shift == 0)
                context_->kernels().mul(to, from, values, context_->n(), context_->modulus(j));
            else
                context_->kernels().dot_repeated(to, &from, &values, shift, 1, false, context_->n(), context_->modulus(j));
        }
    });
    return out.result;
}

Ciphertext Evaluator::mul_scalar_int(const Ciphertext& a, std::int64_t x) const {
    check(a);
    Draft out(context_, a.parts.size(), a.level, a.scale);
    context_->parallel(a.level + 1, [&](std::size_t j) {
        const Modulus& q = context_->modulus(j);
        for (std::size_t part = 0; part < a.parts.size(); ++part)
            context_->kernels().mul_scalar(out.polys[part]->limb(j), a.parts[part]->limb(j), q.from_signed(x),
                                           context_->n(), q);
    });
    return out.result;
}

Ciphertext Evaluator::mul_scalar(const Ciphertext& a, double x, double scale) const {
    check(a);
    check_scale(scale, "mul_scalar");
    const double integer = std::nearbyint(x * scale);
    if (!(std::fabs(integer) < 0x1p100))
        refuse("mul_scalar", "the value " + std::to_string(x) + " at scale " + std::to_string(scale) + " exceeds 2^100",
               "use a smaller value or scale");
    check_product(a.scale * scale, a.level);
    Draft out(context_, a.parts.size(), a.level, a.scale * scale);
    context_->parallel(a.level + 1, [&](std::size_t j) {
        const Modulus& q = context_->modulus(j);
        for (std::size_t part = 0; part < a.parts.size(); ++part)
            context_->kernels().mul_scalar(out.polys[part]->limb(j), a.parts[part]->limb(j), residue_of_integer(integer, q),
                                           context_->n(), q);
    });
    return out.result;
}

Ciphertext Evaluator::finish_product(Ciphertext product, bool relinearise_result, bool rescale_result) const {
    if (relinearise_result) return relinearise(product, rescale_result);
    return rescale_result ? rescale(product) : product;
}

Ciphertext Evaluator::multiply(const Ciphertext& a, const Ciphertext& b, bool relinearise_result,
                               bool rescale_result) const {
    check_two_parts(a, "multiply");
    check_two_parts(b, "multiply");
    const std::size_t level = common_level(a, b);
    check_product(a.scale * b.scale, level);
    Draft out(context_, 3, level, a.scale * b.scale);
    context_->parallel(level + 1, [&](std::size_t j) {
        const std::array<const u64*, 2> left{a.parts[0]->limb(j), a.parts[1]->limb(j)};
        const std::array<const u64*, 2> right{b.parts[0]->limb(j), b.parts[1]->limb(j)};
        context_->kernels().tensor(out.polys[0]->limb(j), out.polys[1]->limb(j), out.polys[2]->limb(j), left.data(),
                                   right.data(), context_->n(), context_->modulus(j));
    });
    return finish_product(std::move(out.result), relinearise_result, rescale_result);
}

Ciphertext Evaluator::square(const Ciphertext& a, bool relinearise_result, bool rescale_result) const {
    return multiply(a, a, relinearise_result, rescale_result);
}

Ciphertext Evaluator::relinearise(const Ciphertext& a, bool rescale_result) const {
    check(a);
    if (a.parts.size() == 2) return rescale_result ? rescale(a) : a;
    if (rescale_result && a.level == 0) refuse("rescale", "the ciphertext is at level 0", "plan for one more level");
    const SwitchingKeyPtr key = keys_->require(KeyKind::relinearise, 0, a.level);
    const double scale = rescale_result ? a.scale / context_->modulus(a.level).real : a.scale;
    Draft out(context_, 2, rescale_result ? a.level - 1 : a.level, scale);
    Decomposition digits(*context_, *a.parts[2], a.level);
    switch_key(*context_, digits, nullptr, *key,
               {{out.polys[0].get(), out.polys[1].get()}, {a.parts[0].get(), a.parts[1].get()}, nullptr, rescale_result});
    return out.result;
}

Ciphertext Evaluator::rescale(const Ciphertext& a) const {
    check(a);
    if (a.level == 0) refuse("rescale", "the ciphertext is at level 0", "plan for one more level");
    const Modulus& last = context_->modulus(a.level);
    Draft out(context_, a.parts.size(), a.level - 1, a.scale / last.real);
    Poly rest = context_->poly(a.parts.size());
    context_->parallel(a.parts.size(), [&](std::size_t part) {
        std::memcpy(rest.limb(part), a.parts[part]->limb(a.level), context_->n() * sizeof(u64));
        context_->ntt(a.level).inverse(rest.limb(part));
    });
    context_->parallel(a.level * a.parts.size(), [&](std::size_t task) {
        const std::size_t part = task / a.level;
        const std::size_t j = task % a.level;
        const Modulus& q = context_->modulus(j);
        u64* to = out.polys[part]->limb(j);
        context_->kernels().reduce_centred(to, rest.limb(part), context_->n(), last, q);
        context_->ntt(j).forward(to);
        context_->kernels().sub_mul_scalar(to, a.parts[part]->limb(j), to, context_->last_inverse(a.level, j),
                                           context_->n(), q);
    });
    return out.result;
}

Ciphertext Evaluator::drop_level(const Ciphertext& a, std::size_t level) const {
    check(a);
    if (level > a.level)
        refuse("drop_level", "level " + std::to_string(level) + " is above the ciphertext's " + std::to_string(a.level),
               "levels can only go down");
    Ciphertext out = a;
    out.level = level;
    return out;
}

Ciphertext Evaluator::with_scale(const Ciphertext& a, double scale) {
    check_scale(scale, "set_scale");
    Ciphertext out = a;
    out.scale = scale;
    return out;
}

}  // namespace cipherformer
