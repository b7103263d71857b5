#include "ckks/secret_key.hpp"

namespace cipherformer {
namespace {

SecretIntegers sample_secret(const Context& context, const Seed& seed) {
    SecretIntegers out(context.n());
    Prng prng(seed, static_cast<std::uint32_t>(Stream::secret), 0, context.kernels());
    const unsigned weight = context.parameters().hamming_weight();
    if (weight == 0)
        sample_ternary(out.data(), out.size(), prng);
    else
        sample_sparse_ternary(out.data(), out.size(), weight, prng);
    return out;
}

SecretIntegers sample_error(const Context& context, const Seed& seed, Stream stream, std::size_t which) {
    SecretIntegers out(context.n());
    Prng prng(seed, static_cast<std::uint32_t>(stream), which, context.kernels());
    sample_gaussian(out.data(), out.size(), prng);
    return out;
}

}  // namespace

SecretKey::SecretKey(ContextPtr context) : SecretKey(std::move(context), static_cast<const Seed&>(SecretSeed())) {}

SecretKey::SecretKey(ContextPtr context, const Seed& seed) : SecretKey(context, sample_secret(*context, seed)) {}

SecretKey::SecretKey(ContextPtr context, SecretIntegers coefficients)
    : context_(std::move(context)), coefficients_(std::move(coefficients)),
      transformed_(context_->pool(), context_->all_limbs(), context_->n()) {
    context_->parallel(context_->all_limbs(),
                       [&](std::size_t i) { transform_integers(*context_, transformed_.limb(i), coefficients_, i); });
}

Ciphertext SecretKey::encrypt(const Plaintext& plaintext) const {
    const Context& context = *context_;
    check_same_parameters(context, *plaintext.context, "plaintext");
    const Seed seed = random_seed();
    const SecretSeed error_seed;
    const SecretIntegers error = sample_error(context, error_seed, Stream::encryption_error, 0);
    const std::size_t limbs = plaintext.level + 1;
    auto c0 = std::make_shared<Poly>(context.poly(limbs));
    auto c1 = std::make_shared<Poly>(context.poly(limbs));
    context.parallel(limbs, [&](std::size_t i) {
        const Modulus& q = context.modulus(i);
        const Kernels& k = context.kernels();
        SecretPoly secret(context.pool(), 2, context.n());
        expand_uniform(context, c1->limb(i), seed, Stream::ciphertext_uniform, 0, i);
        transform_integers(context, c0->limb(i), error, i);
        k.mul(secret.limb(0), c1->limb(i), transformed_.limb(i), context.n(), q);
        k.sub(c0->limb(i), c0->limb(i), secret.limb(0), context.n(), q);
        k.add(c0->limb(i), c0->limb(i), expanded_limb(plaintext, i, secret.limb(1)), context.n(), q);
    });
    return {context_, {c0, c1}, plaintext.level, plaintext.scale, seed};
}

Plaintext SecretKey::decrypt(const Ciphertext& ciphertext) const {
    const Context& context = *context_;
    check_same_parameters(context, *ciphertext.context, "ciphertext");
    auto message = std::make_shared<Poly>(context.poly(ciphertext.level + 1));
    context.parallel(ciphertext.level + 1, [&](std::size_t i) {
        const Modulus& q = context.modulus(i);
        const Kernels& k = context.kernels();
        u64* out = message->limb(i);
        // Horner in s.
        k.mul(out, ciphertext.parts.back()->limb(i), transformed_.limb(i), context.n(), q);
        for (std::size_t part = ciphertext.parts.size() - 1; part-- > 0;) {
            k.add(out, out, ciphertext.parts[part]->limb(i), context.n(), q);
            if (part != 0) k.mul(out, out, transformed_.limb(i), context.n(), q);
        }
    });
    return {context_, message, nullptr, ciphertext.level, ciphertext.scale, context.parameters().slots(), false};
}

PublicKey SecretKey::public_key() const {
    const Context& context = *context_;
    const Seed seed = random_seed();
    const SecretSeed error_seed;
    const SecretIntegers error = sample_error(context, error_seed, Stream::key_error, 0);
    const std::size_t limbs = context.parameters().limbs();
    auto b = std::make_shared<Poly>(context.poly(limbs));
    auto a = std::make_shared<Poly>(context.poly(limbs));
    context.parallel(limbs, [&](std::size_t i) {
        const Modulus& q = context.modulus(i);
        SecretPoly secret(context.pool(), 1, context.n());
        expand_uniform(context, a->limb(i), seed, Stream::public_key_uniform, 0, i);
        transform_integers(context, b->limb(i), error, i);
        context.kernels().mul(secret.limb(0), a->limb(i), transformed_.limb(i), context.n(), q);
        context.kernels().sub(b->limb(i), b->limb(i), secret.limb(0), context.n(), q);
    });
    return {context_, b, a, seed};
}

SwitchingKey SecretKey::relinearisation_key(std::size_t level) const {
    return switching_key(KeyKind::relinearise, 0, level);
}

SwitchingKey SecretKey::rotation_key(std::int64_t steps, std::size_t level) const {
    const std::size_t normalised = normalised_steps(*context_, steps);
    if (normalised == 0) refuse("rotation key", "a rotation by 0 needs no key");
    return switching_key(KeyKind::rotate, normalised, level);
}

SwitchingKey SecretKey::conjugation_key(std::size_t level) const {
    return switching_key(KeyKind::conjugate, 0, level);
}

SwitchingKey SecretKey::empty_key(KeyKind kind, std::size_t steps, std::size_t level) const {
    if (level > context_->parameters().max_level())
        refuse("switching key", "level " + std::to_string(level),
               "the highest level is " + std::to_string(context_->parameters().max_level()));
    SwitchingKey key;
    key.context = context_;
    key.kind = kind;
    key.steps = steps;
    key.level = level;
    key.seed = random_seed();
    for (std::size_t d = 0; d < key.digits(); ++d) key.b.push_back(context_->poly(key.limbs()));
    key.set_permutation();
    key.expand();
    return key;
}

SwitchingKey SecretKey::switching_key(KeyKind kind, std::size_t steps, std::size_t level) const {
    SwitchingKey key = empty_key(kind, steps, level);
    for (std::size_t d = 0; d < key.b.size(); ++d) fill_digit(key, d);
    return key;
}

void SecretKey::fill_digit(SwitchingKey& key, std::size_t digit) const {
    const Context& context = *context_;
    const SecretSeed error_seed;
    const SecretIntegers error = sample_error(context, error_seed, Stream::key_error, digit);
    std::vector<std::uint32_t> to_target;  // phi^-1 on transformed limbs
    if (key.kind != KeyKind::relinearise) {
        to_target.resize(context.n());
        for (std::size_t i = 0; i < context.n(); ++i) to_target[key.permutation[i]] = static_cast<std::uint32_t>(i);
    }
    context.parallel(context.qp_limbs(key.level), [&](std::size_t j) {
        const std::size_t i = context.index(key.level, j);
        const Modulus& q = context.modulus(i);
        const Kernels& k = context.kernels();
        SecretPoly secret(context.pool(), 2, context.n());
        u64* target = secret.limb(0);
        u64* product = secret.limb(1);
        const u64* s = transformed_.limb(i);
        if (key.kind != KeyKind::relinearise) k.permute(target, s, to_target.data(), context.n());
        u64* b = key.b[digit].limb(j);
        transform_integers(context, b, error, i);
        k.mul(product, key.a[digit].limb(j), key.kind == KeyKind::relinearise ? s : target, context.n(), q);
        k.sub(b, b, product, context.n(), q);
        if (j > key.level || j / context.parameters().digit_size() != digit) return;
        const u64* source = s;
        if (key.kind == KeyKind::relinearise) {
            k.mul(target, s, s, context.n(), q);
            source = target;
        }
        k.mul_scalar_add(b, source, context.special_product(i), context.n(), q);
    });
}

}  // namespace cipherformer
