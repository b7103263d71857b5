// Sparse-secret encapsulation: the two keys, and raising the modulus between them (Bossuat, Troncoso-Pastoriza, Hubaux,
// "Bootstrapping for approximate homomorphic encryption with negligible failure-probability by using sparse-secret
// encapsulation", 2022).
#include <algorithm>
#include <array>
#include <cstring>

#include "ckks/evaluator.hpp"
#include "ckks/secret_key.hpp"
#include "ckks/sha256.hpp"

namespace cipherformer {
namespace {

constexpr std::size_t kEphemeralWeight = 32;

// Two polynomials modulo q_0, in coefficient form.
using Pair = std::array<Poly, 2>;

// What both steps share: the switched parts are (x1 * key + (x0, 0) p) / p for the special prime p of the key, where x
// is the centred representative of two polynomials modulo q_0.
class Switching {
public:
    Switching(const Context& context, const SwitchingKey& key, const Pair& x) : context_(context), key_(key), x_(x) {
        for (std::size_t part = 0; part < 2; ++part) rest_[part] = context.poly(1);
        const std::size_t special = key.limbs() - 1;
        Poly lifted = context.poly(1);
        lift(lifted.limb(0), x[1].limb(0), p());
        for (std::size_t part = 0; part < 2; ++part) {
            context.kernels().mul(rest_[part].limb(0), lifted.limb(0), half(part).limb(special), context.n(), p());
            context.ntt(p_index()).inverse(rest_[part].limb(0));
        }
    }

    // Limb j of both switched parts, in transformed form.
    void limb(u64* out0, u64* out1, std::size_t j) const {
        const Modulus& q = context_.modulus(j);
        const Kernels& k = context_.kernels();
        const std::size_t n = context_.n();
        Poly work(context_.pool(), 3, n);
        u64* switched = work.limb(0);
        u64* correction = work.limb(1);
        u64* sum = work.limb(2);
        lift(switched, x_[1].limb(0), q, j);
        for (std::size_t part = 0; part < 2; ++part) {
            // correction = [sum mod p] - p x_0, so that one transform serves both
            k.reduce_centred(correction, rest_[part].limb(0), n, p(), q);
            if (part == 0) {
                k.reduce_centred(sum, x_[0].limb(0), n, context_.modulus(0), q);
                k.mul_scalar_add(correction, sum, q.value - q.reduce(p().value), n, q);
            }
            context_.ntt(j).forward(correction);
            k.mul(sum, switched, half(part).limb(j), n, q);
            k.sub_mul_scalar(part == 0 ? out0 : out1, sum, correction, q.invert(q.reduce(p().value)), n, q);
        }
    }

private:
    std::size_t p_index() const { return context_.parameters().limbs(); }
    const Modulus& p() const { return context_.modulus(p_index()); }
    const Poly& half(std::size_t part) const { return part == 0 ? key_.b[0] : key_.a[0]; }
    void lift(u64* out, const u64* in, const Modulus& to) const { lift(out, in, to, p_index()); }
    void lift(u64* out, const u64* in, const Modulus& to, std::size_t index) const {
        context_.kernels().reduce_centred(out, in, context_.n(), context_.modulus(0), to);
        context_.ntt(index).forward(out);
    }

    const Context& context_;
    const SwitchingKey& key_;
    const Pair& x_;
    std::array<Poly, 2> rest_;  // the sums modulo p, in coefficient form
};

Pair coefficients(const Context& context, const u64* part0, const u64* part1) {
    Pair out{context.poly(1), context.poly(1)};
    std::memcpy(out[0].limb(0), part0, context.n() * sizeof(u64));
    std::memcpy(out[1].limb(0), part1, context.n() * sizeof(u64));
    for (Poly& poly : out) context.ntt(0).inverse(poly.limb(0));
    return out;
}

}  // namespace

SecretIntegers SecretKey::ephemeral_secret() const {
    static constexpr std::string_view kLabel = "cipherformer ephemeral secret";
    Bytes message(kLabel.begin(), kLabel.end());
    message.reserve(message.size() + coefficients_.size());  // no copy is left behind
    for (std::size_t i = 0; i < coefficients_.size(); ++i)
        message.push_back(static_cast<std::uint8_t>(coefficients_.data()[i] + 1));
    Digest seed = sha256(message);
    secure_zero(message.data(), message.size());
    SecretIntegers out(context_->n());
    {
        Prng prng(seed, static_cast<std::uint32_t>(Stream::ephemeral_secret), 0, context_->kernels());
        sample_sparse_ternary(out.data(), out.size(), std::min(kEphemeralWeight, context_->n() / 2), prng);
    }
    secure_zero(seed.data(), seed.size());
    return out;
}

SwitchingKey SecretKey::encapsulation_key() const { return ephemeral_key(KeyKind::encapsulate, 0); }

SwitchingKey SecretKey::decapsulation_key(std::size_t level) const { return ephemeral_key(KeyKind::decapsulate, level); }

SwitchingKey SecretKey::ephemeral_key(KeyKind kind, std::size_t level) const {
    const Context& context = *context_;
    SwitchingKey key = empty_key(kind, 0, level);
    const SecretIntegers sparse = ephemeral_secret();
    const SecretSeed error_seed;
    SecretIntegers error(context.n());
    Prng prng(error_seed, static_cast<std::uint32_t>(Stream::key_error), 0, context.kernels());
    sample_gaussian(error.data(), error.size(), prng);
    const u64 p = context.modulus(context.parameters().limbs()).value;
    context.parallel(key.limbs(), [&](std::size_t j) {
        const std::size_t i = context.index(level, j);
        const Modulus& q = context.modulus(i);
        const Kernels& k = context.kernels();
        SecretPoly secret(context.pool(), 2, context.n());
        transform_integers(context, secret.limb(0), sparse, i);
        const bool to_sparse = kind == KeyKind::encapsulate;
        const u64* target = to_sparse ? secret.limb(0) : transformed_.limb(i);
        const u64* source = to_sparse ? transformed_.limb(i) : secret.limb(0);
        u64* b = key.b[0].limb(j);
        transform_integers(context, b, error, i);
        k.mul(secret.limb(1), key.a[0].limb(j), target, context.n(), q);
        k.sub(b, b, secret.limb(1), context.n(), q);
        if (j <= level) k.mul_scalar_add(b, source, q.reduce(p), context.n(), q);
    });
    return key;
}

Ciphertext Evaluator::raise_modulus(const Ciphertext& a, std::size_t level) const {
    check_two_parts(a, "raise_modulus");
    const Context& context = *context_;
    if (a.level != 0)
        refuse("raise_modulus", "the ciphertext is at level " + std::to_string(a.level), "drop it to level 0 first");
    if (level > context.parameters().max_level())
        refuse("raise_modulus", "level " + std::to_string(level),
               "the highest level is " + std::to_string(context.parameters().max_level()));
    const SwitchingKeyPtr to_sparse = keys_->require(KeyKind::encapsulate, 0, 0);
    const SwitchingKeyPtr from_sparse = keys_->require(KeyKind::decapsulate, 0, level);

    Pair x = coefficients(context, a.parts[0]->limb(0), a.parts[1]->limb(0));
    Poly under_sparse = context.poly(2);
    Switching(context, *to_sparse, x).limb(under_sparse.limb(0), under_sparse.limb(1), 0);
    x = coefficients(context, under_sparse.limb(0), under_sparse.limb(1));

    auto c0 = std::make_shared<Poly>(context.poly(level + 1));
    auto c1 = std::make_shared<Poly>(context.poly(level + 1));
    const Switching back(context, *from_sparse, x);
    context.parallel(level + 1, [&](std::size_t j) { back.limb(c0->limb(j), c1->limb(j), j); });
    return {context_, {c0, c1}, level, a.scale, std::nullopt};
}

}  // namespace cipherformer
