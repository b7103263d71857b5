#include "ckks/linear_transform.hpp"

#include <map>
#include <set>

#include "ckks/evaluator.hpp"
#include "ckks/key_switch.hpp"

namespace cipherformer {

std::vector<std::size_t> LinearTransform::giants() const {
    std::vector<std::size_t> out;
    for (const Group& group : groups) out.push_back(group.giant);
    return out;
}

std::size_t LinearTransform::memory_bytes() const {
    std::size_t total = 0;
    for (const Group& group : groups)
        for (const Term& term : group.terms) total += term.diagonal.poly->bytes();
    return total;
}

LinearTransform LinearTransform::create(const ContextPtr& context, const std::vector<std::int64_t>& rotations,
                                        std::span<const std::complex<double>> diagonals, std::size_t level,
                                        double scale, std::size_t baby_step) {
    if (rotations.empty()) refuse("linear transform", "there are no diagonals", "give at least one rotation");
    if (diagonals.size() % rotations.size() != 0)
        refuse("linear transform", "the diagonals do not match the rotations", "give one row of values per rotation");
    if (baby_step == 0 || baby_step > context->parameters().slots())
        refuse("linear transform", "baby_step is " + std::to_string(baby_step), "choose 1 to the number of slots");
    const std::size_t period = diagonals.size() / rotations.size();

    std::map<std::size_t, std::map<std::size_t, std::size_t>> rows;  // giant -> baby -> row
    std::set<std::size_t> babies;
    for (std::size_t row = 0; row < rotations.size(); ++row) {
        const std::size_t steps = normalised_steps(*context, rotations[row]);
        const std::size_t baby = steps % baby_step;
        if (!rows[steps - baby].emplace(baby, row).second)
            refuse("linear transform", "rotation " + std::to_string(steps) + " appears twice", "add their diagonals");
        babies.insert(baby);
    }
    LinearTransform out{context, level, scale, {babies.begin(), babies.end()}, {}};
    std::vector<std::complex<double>> rotated(period);
    for (const auto& [giant, members] : rows) {
        Group& group = out.groups.emplace_back(Group{giant, {}});
        for (const auto& [baby, row] : members) {
            for (std::size_t i = 0; i < period; ++i) rotated[(i + giant) % period] = diagonals[row * period + i];
            const auto position = static_cast<std::size_t>(std::distance(babies.begin(), babies.find(baby)));
            group.terms.push_back({position, encode(context, rotated, level, scale, true)});
        }
    }
    return out;
}

namespace {

constexpr std::size_t kBlock = 1024;  // residues of each limb that the fused product handles at a time

using Keys = std::vector<SwitchingKeyPtr>;  // null for a rotation by 0

// The fused part of a transform: for every limb over QP all baby rotations, then every group's sum of products.
class Products {
public:
    Products(const Context& context, const LinearTransform& transform, const Ciphertext& a, std::size_t level, Keys keys)
        : context_(context), transform_(transform), a_(a), level_(level), keys_(std::move(keys)) {
        for (std::size_t g = 0; g < transform.groups.size(); ++g) {
            sums0_.push_back(context.poly(context.qp_limbs(level)));
            sums1_.push_back(context.poly(context.qp_limbs(level)));
        }
        std::unique_ptr<Decomposition> digits;
        for (const SwitchingKeyPtr& key : keys_)
            if (key != nullptr && digits == nullptr)
                digits = std::make_unique<Decomposition>(context, *a.parts[1], level);
        context.parallel(context.qp_limbs(level), [&](std::size_t j) { limb(digits.get(), j); });
    }

    Poly& part0(std::size_t group) { return sums0_[group]; }
    Poly& part1(std::size_t group) { return sums1_[group]; }

private:
    void limb(Decomposition* digits, std::size_t j) {
        if (digits != nullptr) digits->transform(j);
        const std::size_t babies = keys_.size();
        Poly rotated(context_.pool(), 2 * babies + 2, context_.n());  // baby i: limbs 2i, 2i + 1; then scratch
        for (std::size_t i = 0; i < babies; ++i) rotate(digits, j, i, rotated);
        // A block holds at least 8 stored values of a diagonal, so that every pointer stays aligned.
        const unsigned shift = transform_.groups.front().terms.front().diagonal.shift();
        const std::size_t size = std::min(std::max(kBlock, std::size_t{8} << shift), context_.n());
        for (std::size_t start = 0; start < context_.n(); start += size) block(rotated, j, start, size);
    }

    // P times the rotation of (c0, c1) by baby step i at limb j over QP.
    void rotate(Decomposition* digits, std::size_t j, std::size_t i, Poly& rotated) const {
        const std::size_t n = context_.n();
        const std::size_t index = context_.index(level_, j);
        const Modulus& q = context_.modulus(index);
        const Kernels& k = context_.kernels();
        const u64 p = context_.special_product(index);  // 0 at a special limb
        if (keys_[i] == nullptr) {
            for (std::size_t part = 0; part < 2; ++part)
                if (j <= level_)
                    k.mul_scalar(rotated.limb(2 * i + part), a_.parts[part]->limb(j), p, n, q);
                else
                    std::fill_n(rotated.limb(2 * i + part), n, u64{0});
            return;
        }
        u64* u0 = rotated.limb(2 * keys_.size());
        u64* u1 = rotated.limb(2 * keys_.size() + 1);
        digits->multiply(u0, u1, *keys_[i], j);
        if (j <= level_) k.mul_scalar_add(u0, a_.parts[0]->limb(j), p, n, q);
        k.permute(rotated.limb(2 * i), u0, keys_[i]->permutation.data(), n);
        k.permute(rotated.limb(2 * i + 1), u1, keys_[i]->permutation.data(), n);
    }

    // Every group's sums for residues start .. start + count of limb j, while the rotated pieces are in cache.
    void block(const Poly& rotated, std::size_t j, std::size_t start, std::size_t count) {
        const std::size_t index = context_.index(level_, j);
        const std::size_t stored = j <= level_ ? j : j - level_ + transform_.level;  // limb of the diagonals
        std::vector<const u64*> left0;
        std::vector<const u64*> left1;
        std::vector<const u64*> right;
        for (std::size_t g = 0; g < transform_.groups.size(); ++g) {
            left0.clear(), left1.clear(), right.clear();
            unsigned shift = 0;
            for (const LinearTransform::Term& term : transform_.groups[g].terms) {
                shift = term.diagonal.shift();
                left0.push_back(rotated.limb(2 * term.baby) + start);
                left1.push_back(rotated.limb(2 * term.baby + 1) + start);
                right.push_back(term.diagonal.poly->limb(stored) + (start >> shift));
            }
            sum(sums0_[g].limb(j) + start, left0, right, shift, count, index);
            sum(sums1_[g].limb(j) + start, left1, right, shift, count, index);
        }
    }

    void sum(u64* out, const std::vector<const u64*>& left, const std::vector<const u64*>& right, unsigned shift,
             std::size_t count, std::size_t index) const {
        const Kernels& k = context_.kernels();
        if (shift == 0)
            k.dot(out, left.data(), right.data(), left.size(), false, count, context_.modulus(index));
        else
            k.dot_repeated(out, left.data(), right.data(), shift, left.size(), false, count, context_.modulus(index));
    }

    const Context& context_;
    const LinearTransform& transform_;
    const Ciphertext& a_;
    std::size_t level_;
    Keys keys_;
    std::vector<Poly> sums0_;
    std::vector<Poly> sums1_;
};

// (total0, total1) += the giant rotation of (part0, part1), all over QP. part1 is destroyed.
void add_giant(const Context& context, const SwitchingKey& key, std::size_t level, const Poly& part0, Poly& part1,
               Poly& total0, Poly& total1) {
    Poly reduced = context.poly(level + 1);
    const Division division{reduced, part1, nullptr};
    divide_by_special(context, {&division, 1}, level);
    Decomposition digits(context, reduced, level);
    context.parallel(context.qp_limbs(level), [&](std::size_t j) {
        const std::size_t n = context.n();
        const Modulus& q = context.modulus(context.index(level, j));
        const Kernels& k = context.kernels();
        Poly work(context.pool(), 3, n);
        digits.transform(j);
        digits.multiply(work.limb(0), work.limb(1), key, j);
        k.add(work.limb(0), work.limb(0), part0.limb(j), n, q);
        k.permute(work.limb(2), work.limb(0), key.permutation.data(), n);
        k.add(total0.limb(j), total0.limb(j), work.limb(2), n, q);
        k.permute(work.limb(2), work.limb(1), key.permutation.data(), n);
        k.add(total1.limb(j), total1.limb(j), work.limb(2), n, q);
    });
}

void clear(Poly& poly) {
    for (std::size_t j = 0; j < poly.limbs(); ++j) std::fill_n(poly.limb(j), poly.width(), u64{0});
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
    const bool plain_first = giant_keys.front() == nullptr;  // groups ascend, so giant step 0 can only be the first
    Poly total0 = plain_first ? std::move(products.part0(0)) : context_->poly(context_->qp_limbs(level));
    Poly total1 = plain_first ? std::move(products.part1(0)) : context_->poly(context_->qp_limbs(level));
    if (!plain_first) clear(total0), clear(total1);
    for (std::size_t g = plain_first ? 1 : 0; g < giant_keys.size(); ++g)
        add_giant(*context_, *giant_keys[g], level, products.part0(g), products.part1(g), total0, total1);

    const std::size_t out_level = rescale_result ? level - 1 : level;
    auto c0 = std::make_shared<Poly>(context_->poly(out_level + 1));
    auto c1 = std::make_shared<Poly>(context_->poly(out_level + 1));
    const std::array<Division, 2> divisions{{{*c0, total0, nullptr}, {*c1, total1, nullptr}}};
    if (rescale_result) {
        divide_by_special_and_last(*context_, divisions, level);
        return {context_, {c0, c1}, out_level, scale / context_->modulus(level).real, std::nullopt};
    }
    divide_by_special(*context_, divisions, level);
    return {context_, {c0, c1}, level, scale, std::nullopt};
}

}  // namespace cipherformer
