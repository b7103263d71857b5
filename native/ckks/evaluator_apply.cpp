// Linear transforms with double hoisting (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux 2021, algorithm 6): the baby
// rotations share one decomposition and stay over QP, products with the diagonals are summed there, and the giant
// rotations are summed over QP before the only final division by P.
#include <array>

#include "ckks/evaluator.hpp"
#include "ckks/key_switch.hpp"
#include "ckks/linear_transform.hpp"

namespace cipherformer {
namespace {

constexpr std::size_t kBlock = 1024;  // residues of each limb that the fused product handles at a time
constexpr std::size_t kExpanded = 8;  // compact diagonals that are expanded side by side

using Keys = std::vector<SwitchingKeyPtr>;  // null for a rotation by 0

// The fused part of a transform: for every limb all baby rotations, then every group's sum of products. The sums are
// over QP and count P times, unless no baby step rotates: then they stay over Q.
class Products {
public:
    Products(const Context& context, const LinearTransform& transform, const Ciphertext& a, std::size_t level, Keys keys)
        : context_(context), transform_(transform), a_(a), level_(level), keys_(std::move(keys)) {
        raised_ = transform.raised();
        const std::size_t limbs = raised_ ? context.qp_limbs(level) : level + 1;
        for (std::size_t g = 0; g < transform.groups.size(); ++g) {
            sums0_.push_back(context.poly(limbs));
            sums1_.push_back(context.poly(limbs));
        }
        std::unique_ptr<Decomposition> digits;
        if (raised_) digits = std::make_unique<Decomposition>(context, *a.parts[1], level);
        const std::vector<LimbRange> ranges = limb_ranges(context, 0, limbs);
        context.parallel(ranges.size(), [&](std::size_t i) {
            const RaisedDigits values = digits ? digits->raise(ranges[i]) : RaisedDigits{};
            for (std::size_t j = ranges[i].first; j < ranges[i].first + ranges[i].count; ++j)
                limb(digits.get(), values, j);
        });
    }

    bool raised() const { return raised_; }
    Poly& part0(std::size_t group) { return sums0_[group]; }
    Poly& part1(std::size_t group) { return sums1_[group]; }

private:
    void limb(const Decomposition* digits, const RaisedDigits& values, std::size_t j) {
        const std::size_t babies = raised_ ? keys_.size() : 0;
        Poly rotated(context_.pool(), 2 * babies + 2, context_.n());  // baby i: limbs 2i, 2i + 1; then scratch
        for (std::size_t i = 0; i < babies; ++i) rotate(*digits, values, j, i, rotated);
        // A block holds at least 8 stored values of a diagonal, so that every pointer stays aligned.
        const std::size_t size = std::min(std::max(kBlock, std::size_t{8} << transform_.shift()), context_.n());
        if (transform_.compact()) return expanded(rotated, j, size);
        for (std::size_t start = 0; start < context_.n(); start += size)
            for (std::size_t g = 0; g < transform_.groups.size(); ++g) block(rotated, j, g, start, size);
    }

    // P times the rotation of (c0, c1) by baby step i at limb j over QP. Without rotation that is 0 at a special limb:
    // such terms are left out of the sums.
    void rotate(const Decomposition& digits, const RaisedDigits& values, std::size_t j, std::size_t i,
                Poly& rotated) const {
        const std::size_t n = context_.n();
        const std::size_t index = context_.index(level_, j);
        const Modulus& q = context_.modulus(index);
        const Kernels& k = context_.kernels();
        const u64 p = context_.special_product(index);
        if (keys_[i] == nullptr) {
            if (j > level_) return;
            k.mul_scalar(rotated.limb(2 * i), a_.parts[0]->limb(j), p, n, q);
            k.mul_scalar(rotated.limb(2 * i + 1), a_.parts[1]->limb(j), p, n, q);
            return;
        }
        u64* u0 = rotated.limb(2 * keys_.size());
        u64* u1 = rotated.limb(2 * keys_.size() + 1);
        digits.multiply(u0, u1, values, *keys_[i], j);
        if (j <= level_) k.mul_scalar_add(u0, a_.parts[0]->limb(j), p, n, q);
        k.permute(rotated.limb(2 * i), u0, keys_[i]->permutation.data(), n);
        k.permute(rotated.limb(2 * i + 1), u1, keys_[i]->permutation.data(), n);
    }

    const u64* factor(const Poly& rotated, std::size_t baby, std::size_t part, std::size_t j) const {
        return raised_ ? rotated.limb(2 * baby + part) : a_.parts[part]->limb(j);
    }

    struct Operands {
        std::vector<const u64*> left0, left1, right;
    };

    // The terms of a group that count at limb j.
    std::vector<const LinearTransform::Term*> terms_at(std::size_t group, std::size_t j) const {
        std::vector<const LinearTransform::Term*> out;
        for (const LinearTransform::Term& term : transform_.groups[group].terms)
            if (j <= level_ || keys_[term.baby] != nullptr) out.push_back(&term);
        return out;
    }

    // A group's sums for residues start .. start + count of limb j, while the rotated pieces are in cache.
    void block(const Poly& rotated, std::size_t j, std::size_t group, std::size_t start, std::size_t count) {
        Operands operands;
        for (const LinearTransform::Term* term : terms_at(group, j)) {
            operands.left0.push_back(factor(rotated, term->baby, 0, j) + start);
            operands.left1.push_back(factor(rotated, term->baby, 1, j) + start);
            operands.right.push_back(term->diagonal.poly->limb(stored(j)) + (start >> transform_.shift()));
        }
        sums(operands, j, group, start, count, false);
    }

    // All sums at limb j from compact diagonals, expanded a few at a time.
    void expanded(const Poly& rotated, std::size_t j, std::size_t size) {
        const unsigned shift = transform_.shift();
        Poly values(context_.pool(), kExpanded, context_.n() >> shift);
        for (std::size_t group = 0; group < transform_.groups.size(); ++group) {
            const auto terms = terms_at(group, j);
            std::size_t first = 0;
            do {
                const std::size_t end = std::min(first + kExpanded, terms.size());
                std::array<const u64*, kExpanded> diagonals{};
                for (std::size_t t = first; t < end; ++t)
                    diagonals[t - first] =
                        terms[t]->diagonal.values(stored(j), context_.index(level_, j), values.limb(t - first));
                for (std::size_t start = 0; start < context_.n(); start += size) {
                    Operands operands;
                    for (std::size_t t = first; t < end; ++t) {
                        operands.left0.push_back(factor(rotated, terms[t]->baby, 0, j) + start);
                        operands.left1.push_back(factor(rotated, terms[t]->baby, 1, j) + start);
                        operands.right.push_back(diagonals[t - first] + (start >> shift));
                    }
                    sums(operands, j, group, start, size, first != 0);
                }
                first = end;
            } while (first < terms.size());
        }
    }

    // The diagonals' limb for limb j of the product.
    std::size_t stored(std::size_t j) const { return j <= level_ ? j : j - level_ + transform_.level; }

    void sums(const Operands& operands, std::size_t j, std::size_t group, std::size_t start, std::size_t count,
              bool accumulate) {
        sum(sums0_[group].limb(j) + start, operands.left0, operands.right, count, j, accumulate);
        sum(sums1_[group].limb(j) + start, operands.left1, operands.right, count, j, accumulate);
    }

    void sum(u64* out, const std::vector<const u64*>& left, const std::vector<const u64*>& right, std::size_t count,
             std::size_t j, bool accumulate) const {
        const Kernels& k = context_.kernels();
        const Modulus& q = context_.modulus(context_.index(level_, j));
        const unsigned shift = transform_.shift();
        if (left.empty())
            std::fill_n(out, count, u64{0});
        else if (shift == 0)
            k.dot(out, left.data(), right.data(), left.size(), accumulate, count, q);
        else
            k.dot_repeated(out, left.data(), right.data(), shift, left.size(), accumulate, count, q);
    }

    const Context& context_;
    const LinearTransform& transform_;
    const Ciphertext& a_;
    std::size_t level_;
    Keys keys_;
    bool raised_ = false;
    std::vector<Poly> sums0_;
    std::vector<Poly> sums1_;
};

// (total0, total1) += P times the giant rotation of (part0, part1), over QP. With `raised` the parts count P times already,
// over QP, and part1 is destroyed.
void add_giant(const Context& context, const SwitchingKey& key, std::size_t level, const Poly& part0, Poly& part1,
               bool raised, Poly& total0, Poly& total1) {
    Poly divided = raised ? context.poly(level + 1) : Poly();
    if (raised) {
        const Division division{divided, part1};
        divide_by_special(context, {&division, 1}, level, false);
    }
    Decomposition digits(context, raised ? divided : part1, level);
    const auto limb = [&](const RaisedDigits& values, Poly& work, std::size_t j) {
        const std::size_t n = context.n();
        const std::size_t index = context.index(level, j);
        const Modulus& q = context.modulus(index);
        const Kernels& k = context.kernels();
        digits.multiply(work.limb(0), work.limb(1), values, key, j);
        if (raised)
            k.add(work.limb(0), work.limb(0), part0.limb(j), n, q);
        else if (j <= level)
            k.mul_scalar_add(work.limb(0), part0.limb(j), context.special_product(index), n, q);
        k.permute(work.limb(2), work.limb(0), key.permutation.data(), n);
        k.add(total0.limb(j), total0.limb(j), work.limb(2), n, q);
        k.permute(work.limb(2), work.limb(1), key.permutation.data(), n);
        k.add(total1.limb(j), total1.limb(j), work.limb(2), n, q);
    };
    const std::vector<LimbRange> ranges = limb_ranges(context, 0, context.qp_limbs(level));
    context.parallel(ranges.size(), [&](std::size_t i) {
        const RaisedDigits values = digits.raise(ranges[i]);
        Poly work(context.pool(), 3, context.n());
        for (std::size_t j = ranges[i].first; j < ranges[i].first + ranges[i].count; ++j) limb(values, work, j);
    });
}

// The start of the sum over giant steps: P times (part, over QP) of the group that is not rotated, or 0.
Poly first_total(const Context& context, Poly* part, bool raised, std::size_t level) {
    if (part != nullptr && raised) return std::move(*part);
    Poly total = context.poly(context.qp_limbs(level));
    context.parallel(total.limbs(), [&](std::size_t j) {
        if (part != nullptr && j <= level)
            context.kernels().mul_scalar(total.limb(j), part->limb(j), context.special_product(j), context.n(),
                                         context.modulus(j));
        else
            std::fill_n(total.limb(j), context.n(), u64{0});
    });
    return total;
}

}  // namespace

Ciphertext Evaluator::apply(const LinearTransform& transform, const Ciphertext& a, bool rescale_result) const {
    check_two_parts(a, "apply");
    check_same_parameters(*context_, *transform.context, "linear transform");
    const std::size_t level = std::min(a.level, transform.level);
    const double scale = a.scale * transform.scale;
    check_product(scale, level);
    if (rescale_result && level == 0) refuse("apply", "the ciphertext is at level 0", "plan for one more level");
    const auto key_of = [&](std::size_t steps) {
        return steps == 0 ? nullptr : keys_->require(KeyKind::rotate, steps, level);
    };
    Keys baby_keys;
    for (std::size_t steps : transform.babies) baby_keys.push_back(key_of(steps));
    Keys giant_keys;
    for (const auto& group : transform.groups) giant_keys.push_back(key_of(group.giant));

    Products products(*context_, transform, a, level, std::move(baby_keys));
    const bool raised = products.raised();
    const bool plain_first = giant_keys.front() == nullptr;  // groups ascend, so giant step 0 can only be the first
    if (!raised && plain_first && giant_keys.size() == 1) {
        Ciphertext product{context_, {}, level, scale, std::nullopt};
        product.parts.push_back(std::make_shared<const Poly>(std::move(products.part0(0))));
        product.parts.push_back(std::make_shared<const Poly>(std::move(products.part1(0))));
        return rescale_result ? rescale(product) : product;
    }
    Poly total0 = first_total(*context_, plain_first ? &products.part0(0) : nullptr, raised, level);
    Poly total1 = first_total(*context_, plain_first ? &products.part1(0) : nullptr, raised, level);
    for (std::size_t g = plain_first ? 1 : 0; g < giant_keys.size(); ++g)
        add_giant(*context_, *giant_keys[g], level, products.part0(g), products.part1(g), raised, total0, total1);
    return finish(total0, total1, level, scale, rescale_result);
}

Ciphertext Evaluator::finish(Poly& total0, Poly& total1, std::size_t level, double scale, bool rescale_result) const {
    const std::size_t out_level = rescale_result ? level - 1 : level;
    auto c0 = std::make_shared<Poly>(context_->poly(out_level + 1));
    auto c1 = std::make_shared<Poly>(context_->poly(out_level + 1));
    const std::array<Division, 2> divisions{{{*c0, total0}, {*c1, total1}}};
    divide_by_special(*context_, divisions, level, rescale_result);
    const double out_scale = rescale_result ? scale / context_->modulus(level).real : scale;
    return {context_, {c0, c1}, out_level, out_scale, std::nullopt};
}

}  // namespace cipherformer
