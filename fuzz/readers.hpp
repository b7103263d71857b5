// The native readers of untrusted data, and valid bytes for each: what the fuzzers share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ckks/evaluator.hpp"
#include "ckks/secret_key.hpp"

namespace cipherformer::fuzz {

using View = std::span<const std::uint8_t>;

struct Target {
    const char* name;
    std::vector<Bytes> seeds;
    std::function<Bytes(View)> read_and_write;
};

inline ContextPtr make_toy_context() {
    ParametersLiteral literal;
    literal.log_n = 5;
    const auto primes = generate_primes(5, {40, 30, 30, 45, 45});
    literal.moduli = {primes[0], primes[1], primes[2]};
    literal.special_moduli = {primes[3], primes[4]};
    literal.digit_size = 2;
    literal.insecure = true;
    return std::make_shared<const Context>(Parameters(literal), 1U, "auto");
}

inline std::vector<Target> make_targets(const ContextPtr& context) {
    const SecretKey secret(context);
    Ciphertext zero = secret.encrypt(encode(context, std::vector<double>(8, 0.5), 2, 0x1p30));
    auto keys = std::make_shared<KeySet>(context);
    const Ciphertext product = Evaluator(keys).multiply(zero, zero, false, false);
    return {
        {"parameters", {context->parameters().to_bytes()}, [](View v) { return Parameters::from_bytes(v).to_bytes(); }},
        {"ciphertext",
         {zero.to_bytes(), product.to_bytes()},
         [context](View v) { return Ciphertext::from_bytes(context, v).to_bytes(); }},
        {"public key",
         {secret.public_key().to_bytes()},
         [context](View v) { return PublicKey::from_bytes(context, v).to_bytes(); }},
        {"switching key",
         {secret.relinearisation_key(2).to_bytes(), secret.rotation_key(3, 1).to_bytes(),
          secret.conjugation_key(0).to_bytes(), secret.encapsulation_key().to_bytes(),
          secret.decapsulation_key(2).to_bytes()},
         [context](View v) { return SwitchingKey::from_bytes(context, v).to_bytes(); }},
        {"secret key", {secret.to_bytes()}, [context](View v) { return SecretKey::from_bytes(context, v).to_bytes(); }},
    };
}

// Writes the number of bytes behind the header into it.
inline void mend_length(Bytes& data) {
    if (data.size() < kHeaderBytes) return;
    const std::uint64_t payload = data.size() - kHeaderBytes;
    for (unsigned i = 0; i < 8; ++i) data[kHeaderBytes - 8 + i] = static_cast<std::uint8_t>(payload >> (8 * i));
}

}  // namespace cipherformer::fuzz
