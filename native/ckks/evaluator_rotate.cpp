// Automorphisms: rotations and conjugation, alone and with a shared decomposition.
#include "ckks/evaluator.hpp"
#include "ckks/key_switch.hpp"

namespace cipherformer {
namespace {

// The automorphism of `key` on the digits of parts[1] of a.
Ciphertext switched(const ContextPtr& context, const Ciphertext& a, const Decomposition& digits,
                    const RaisedDigits* raised, const SwitchingKey& key) {
    auto c0 = std::make_shared<Poly>(context->poly(a.level + 1));
    auto c1 = std::make_shared<Poly>(context->poly(a.level + 1));
    switch_key(*context, digits, raised, key,
               {{c0.get(), c1.get()}, {a.parts[0].get(), nullptr}, key.permutation.data()});
    return {context, {c0, c1}, a.level, a.scale, std::nullopt};
}

}  // namespace

Ciphertext Evaluator::automorphism(const Ciphertext& a, const SwitchingKey& key) const {
    Decomposition digits(*context_, *a.parts[1], a.level);
    return switched(context_, a, digits, nullptr, key);
}

Ciphertext Evaluator::rotate(const Ciphertext& a, std::int64_t steps) const {
    check_two_parts(a, "rotate");
    const std::size_t normalised = normalised_steps(*context_, steps);
    if (normalised == 0) return a;
    return automorphism(a, *keys_->require(KeyKind::rotate, normalised, a.level));
}

Ciphertext Evaluator::conjugate(const Ciphertext& a) const {
    check_two_parts(a, "conjugate");
    return automorphism(a, *keys_->require(KeyKind::conjugate, 0, a.level));
}

std::vector<Ciphertext> Evaluator::rotate_hoisted(const Ciphertext& a, const std::vector<std::int64_t>& steps) const {
    check_two_parts(a, "rotate_hoisted");
    std::vector<SwitchingKeyPtr> keys;
    for (std::int64_t step : steps) {
        const std::size_t normalised = normalised_steps(*context_, step);
        keys.push_back(normalised == 0 ? nullptr : keys_->require(KeyKind::rotate, normalised, a.level));
    }
    Decomposition digits(*context_, *a.parts[1], a.level);
    const RaisedDigits raised = digits.raise_all();
    std::vector<Ciphertext> out;
    for (const SwitchingKeyPtr& key : keys) out.push_back(key == nullptr ? a : switched(context_, a, digits, &raised, *key));
    return out;
}

}  // namespace cipherformer
