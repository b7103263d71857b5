// What is drawn from which stream. Public (uniform) and secret streams have different seeds, both fresh from the
// operating system; the label separates streams of one seed.
#pragma once

#include "ckks/context.hpp"
#include "ring/prng.hpp"

namespace cipherformer {

enum class Stream : std::uint32_t {
    ciphertext_uniform = 1,
    public_key_uniform = 2,
    switching_key_uniform = 3,
    secret = 16,
    encryption_error = 17,
    key_error = 18,
    ephemeral_secret = 19,
    flooding = 20,
};

// Limb `limb` of the uniform polynomial number `which` of a seed, in transformed form.
void expand_uniform(const Context& context, u64* out, const Seed& seed, Stream stream, std::size_t which, std::size_t limb);

// Small integer coefficients that are secret: overwritten on destruction.
class SecretIntegers {
public:
    explicit SecretIntegers(std::size_t count) : values_(count) {}
    SecretIntegers(const SecretIntegers&) = delete;
    SecretIntegers& operator=(const SecretIntegers&) = delete;
    SecretIntegers(SecretIntegers&&) = default;
    ~SecretIntegers() {
        if (!values_.empty()) secure_zero(values_.data(), values_.size() * sizeof(std::int32_t));
    }
    std::int32_t* data() { return values_.data(); }
    const std::int32_t* data() const { return values_.data(); }
    std::size_t size() const { return values_.size(); }

private:
    std::vector<std::int32_t> values_;
};

// A seed that must not outlive its use.
class SecretSeed {
public:
    SecretSeed() : seed_(random_seed()) {}
    SecretSeed(const SecretSeed&) = delete;
    SecretSeed& operator=(const SecretSeed&) = delete;
    ~SecretSeed() { secure_zero(seed_.data(), seed_.size()); }
    operator const Seed&() const { return seed_; }

private:
    Seed seed_;
};

// out = the transform of small integer coefficients at modulus number `index`.
void transform_integers(const Context& context, u64* out, const SecretIntegers& values, std::size_t index);

}  // namespace cipherformer
