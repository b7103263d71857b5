#include "ckks/keys.hpp"

#include "ckks/sampling.hpp"

namespace cipherformer {

const char* name(KeyKind kind) {
    switch (kind) {
        case KeyKind::relinearise: return "relinearise";
        case KeyKind::rotate: return "rotate";
        case KeyKind::conjugate: return "conjugate";
        case KeyKind::encapsulate: return "encapsulate";
        case KeyKind::decapsulate: return "decapsulate";
    }
    return "unknown";
}

std::size_t normalised_steps(const Context& context, std::int64_t steps) {
    return static_cast<std::size_t>(steps) & (context.parameters().slots() - 1);
}

Ciphertext PublicKey::encrypt(const Plaintext& plaintext) const {
    check_same_parameters(*context, *plaintext.context, "plaintext");
    const SecretSeed seed_of_noise;
    SecretIntegers v(context->n());
    SecretIntegers e0(context->n());
    SecretIntegers e1(context->n());
    Prng prng(seed_of_noise, static_cast<std::uint32_t>(Stream::encryption_error), 0, context->kernels());
    sample_ternary(v.data(), v.size(), prng);
    sample_gaussian(e0.data(), e0.size(), prng);
    sample_gaussian(e1.data(), e1.size(), prng);

    const std::size_t limbs = plaintext.level + 1;
    auto c0 = std::make_shared<Poly>(context->poly(limbs));
    auto c1 = std::make_shared<Poly>(context->poly(limbs));
    context->parallel(limbs, [&](std::size_t i) {
        const Modulus& q = context->modulus(i);
        const Kernels& k = context->kernels();
        SecretPoly secret(context->pool(), 2, context->n());
        u64* small = secret.limb(0);
        transform_integers(*context, small, v, i);
        k.mul(c0->limb(i), b->limb(i), small, context->n(), q);
        k.mul(c1->limb(i), a->limb(i), small, context->n(), q);
        transform_integers(*context, small, e0, i);
        k.add(c0->limb(i), c0->limb(i), small, context->n(), q);
        k.add(c0->limb(i), c0->limb(i), expanded_limb(plaintext, i, secret.limb(1)), context->n(), q);
        transform_integers(*context, small, e1, i);
        k.add(c1->limb(i), c1->limb(i), small, context->n(), q);
    });
    return {context, {c0, c1}, plaintext.level, plaintext.scale, std::nullopt};
}

void SwitchingKey::expand() {
    a.clear();
    const std::size_t limbs = this->limbs();
    for (std::size_t d = 0; d < b.size(); ++d) a.push_back(context->poly(limbs));
    context->parallel(a.size() * limbs, [&](std::size_t task) {
        const std::size_t digit = task / limbs;
        const std::size_t j = task % limbs;
        expand_uniform(*context, a[digit].limb(j), seed, Stream::switching_key_uniform, digit, context->index(level, j));
    });
}

void SwitchingKey::set_permutation() {
    const unsigned log_n = context->parameters().log_n();
    if (kind == KeyKind::rotate)
        permutation = galois_permutation(log_n, galois_rotation(log_n, static_cast<std::int64_t>(steps)));
    if (kind == KeyKind::conjugate) permutation = galois_permutation(log_n, galois_conjugation(log_n));
}

std::size_t SwitchingKey::memory_bytes() const {
    std::size_t total = permutation.size() * sizeof(std::uint32_t);
    for (const auto* list : {&b, &a})
        for (const Poly& poly : *list) total += poly.bytes();
    return total;
}

void KeySet::add(SwitchingKeyPtr key) {
    check_same_parameters(*context_, *key->context, "switching key");
    const std::lock_guard lock(mutex_);
    keys_[{key->kind, key->steps, key->level}] = std::move(key);
}

SwitchingKeyPtr KeySet::find(KeyKind kind, std::size_t steps, std::size_t level) const {
    const std::lock_guard lock(mutex_);
    const auto found = keys_.lower_bound({kind, steps, level});
    if (found == keys_.end() || std::get<0>(found->first) != kind || std::get<1>(found->first) != steps) return nullptr;
    return found->second;
}

SwitchingKeyPtr KeySet::require(KeyKind kind, std::size_t steps, std::size_t level) const {
    SwitchingKeyPtr key = find(kind, steps, level);
    if (key == nullptr) {
        std::string what = std::string("missing key: ") + name(kind);
        if (kind == KeyKind::rotate) what += " by " + std::to_string(steps);
        refuse(what, "no such key at level " + std::to_string(level) + " or above is in the key set",
               "generate it with the secret key and add it");
    }
    return key;
}

bool KeySet::remove(KeyKind kind, std::size_t steps) {
    const std::lock_guard lock(mutex_);
    return std::erase_if(keys_, [&](const auto& entry) {
               return std::get<0>(entry.first) == kind && std::get<1>(entry.first) == steps;
           }) != 0;
}

std::size_t KeySet::size() const {
    const std::lock_guard lock(mutex_);
    return keys_.size();
}

std::size_t KeySet::memory_bytes() const {
    const std::lock_guard lock(mutex_);
    std::size_t total = 0;
    for (const auto& [id, key] : keys_) total += key->memory_bytes();
    return total;
}

}  // namespace cipherformer
