// What a server may hold: the public key and the switching keys. Nothing here contains a secret.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "ckks/ciphertext.hpp"
#include "ckks/plaintext.hpp"

namespace cipherformer {

// (b, a) with b = -a s + e over all ordinary limbs; a is expanded from a seed.
struct PublicKey {
    ContextPtr context;
    PolyPtr b;
    PolyPtr a;
    Seed seed{};

    static constexpr unsigned kMaxFloodBits = 60;

    Ciphertext encrypt(const Plaintext& plaintext) const;
    // A fresh ciphertext of the same message: adds an encryption of zero and an error that is uniform in [-2^flood_bits,
    // 2^flood_bits) in each coefficient. Throws std::invalid_argument: 3 parts, or no room for the flood.
    Ciphertext rerandomise(const Ciphertext& ciphertext, unsigned flood_bits) const;
    Bytes to_bytes() const;
    static PublicKey from_bytes(const ContextPtr& context, std::span<const std::uint8_t> bytes);
};

enum class KeyKind : std::uint8_t { relinearise = 0, rotate = 1, conjugate = 2, encapsulate = 3, decapsulate = 4 };
const char* name(KeyKind kind);

// For each digit d of a polynomial at `level`, over QP: b_d = -a_d t + e_d + P W_d u, with W_d = 1 modulo the digit's
// limbs and 0 modulo the other ordinary ones. relinearise: u = s^2, t = s. rotate and conjugate, for the automorphism
// phi: u = s, t = phi^-1(s), so a switched ciphertext becomes one under s when phi is applied to it afterwards.
// encapsulate: u = s, t = the ephemeral sparse secret; decapsulate: the other way round. These two serve polynomials
// below q_0 only: they have one digit (W = 1) and the first special prime for P, and encapsulate is made at level 0
// only, because at a larger modulus a secret that sparse would not be safe.
struct SwitchingKey {
    ContextPtr context;
    KeyKind kind = KeyKind::relinearise;
    std::size_t steps = 0;  // to the left, below the slot count; 0 unless kind is rotate
    std::size_t level = 0;
    Seed seed{};
    std::vector<Poly> b;  // one per digit
    std::vector<Poly> a;
    std::vector<std::uint32_t> permutation;  // of phi on transformed limbs; empty for relinearise

    // Whether it is one of the two keys of encapsulation.
    bool ephemeral() const { return kind == KeyKind::encapsulate || kind == KeyKind::decapsulate; }
    std::size_t digits() const { return ephemeral() ? 1 : context->parameters().digits(level); }
    // Limbs of a digit; limb j has modulus number context->index(level, j).
    std::size_t limbs() const { return ephemeral() ? level + 2 : context->qp_limbs(level); }

    std::size_t memory_bytes() const;
    std::size_t serialised_bytes() const;
    Bytes to_bytes() const;
    static SwitchingKey from_bytes(const ContextPtr& context, std::span<const std::uint8_t> bytes);
    // Fills a from the seed.
    void expand();
    void set_permutation();
};

using SwitchingKeyPtr = std::shared_ptr<const SwitchingKey>;

// The switching keys an evaluator may use. Thread-safe.
class KeySet {
public:
    explicit KeySet(ContextPtr context) : context_(std::move(context)) {}

    const ContextPtr& context() const { return context_; }
    // Replaces a key of the same kind, steps and level.
    void add(SwitchingKeyPtr key);
    // The key of the lowest level that is at least `level`, or null.
    SwitchingKeyPtr find(KeyKind kind, std::size_t steps, std::size_t level) const;
    // As find; throws std::invalid_argument that names the missing key.
    SwitchingKeyPtr require(KeyKind kind, std::size_t steps, std::size_t level) const;
    // Removes the keys of this kind and steps at every level; says whether there were any.
    bool remove(KeyKind kind, std::size_t steps);
    std::size_t size() const;
    std::size_t memory_bytes() const;

private:
    ContextPtr context_;
    mutable std::mutex mutex_;
    std::map<std::tuple<KeyKind, std::size_t, std::size_t>, SwitchingKeyPtr> keys_;
};

// steps modulo the slot count, in [0, slots).
std::size_t normalised_steps(const Context& context, std::int64_t steps);

}  // namespace cipherformer
