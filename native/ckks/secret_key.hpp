// The secret key: encryption, decryption and the making of public keys. A server never constructs it.
#pragma once

#include "ckks/keys.hpp"
#include "ckks/sampling.hpp"

namespace cipherformer {

// Ternary (uniform, or of the parameters' Hamming weight). Every copy is overwritten on destruction.
class SecretKey {
public:
    // Fresh from the operating system's generator.
    explicit SecretKey(ContextPtr context);
    // The key that belongs to a seed; encryption and key generation still draw fresh randomness.
    SecretKey(ContextPtr context, const Seed& seed);

    const ContextPtr& context() const { return context_; }
    Ciphertext encrypt(const Plaintext& plaintext) const;
    Plaintext decrypt(const Ciphertext& ciphertext) const;

    PublicKey public_key() const;
    SwitchingKey relinearisation_key(std::size_t level) const;
    SwitchingKey rotation_key(std::int64_t steps, std::size_t level) const;
    SwitchingKey conjugation_key(std::size_t level) const;
    // To and from the ephemeral secret, for Evaluator::raise_modulus to `level`. The ephemeral secret follows from this
    // key and is overwritten before the call returns.
    SwitchingKey encapsulation_key() const;
    SwitchingKey decapsulation_key(std::size_t level) const;

    Bytes to_bytes() const;
    static SecretKey from_bytes(ContextPtr context, std::span<const std::uint8_t> bytes);

private:
    SecretKey(ContextPtr context, SecretIntegers coefficients);
    SwitchingKey empty_key(KeyKind kind, std::size_t steps, std::size_t level) const;
    SwitchingKey switching_key(KeyKind kind, std::size_t steps, std::size_t level) const;
    SwitchingKey ephemeral_key(KeyKind kind, std::size_t level) const;
    SecretIntegers ephemeral_secret() const;
    void fill_digit(SwitchingKey& key, std::size_t digit) const;

    ContextPtr context_;
    SecretIntegers coefficients_;
    SecretPoly transformed_;  // at every modulus, ordinary first
};

}  // namespace cipherformer
