// Arithmetic on ciphertexts: everything a server does. Needs no secret; every operation returns a new value.
#pragma once

#include "ckks/keys.hpp"

namespace cipherformer {

struct LinearTransform;

// Binary operations drop the operand of the higher level. All functions throw std::invalid_argument: other parameters,
// scales that do not agree, levels out of range, a missing key. Thread-safe.
class Evaluator {
public:
    explicit Evaluator(std::shared_ptr<const KeySet> keys) : keys_(std::move(keys)), context_(keys_->context()) {}

    const ContextPtr& context() const { return context_; }

    // Scales must agree to a relative 2^-30; the result has the scale of a.
    Ciphertext add(const Ciphertext& a, const Ciphertext& b) const;
    Ciphertext sub(const Ciphertext& a, const Ciphertext& b) const;
    Ciphertext add_many(const std::vector<Ciphertext>& terms) const;
    Ciphertext negate(const Ciphertext& a) const;
    Ciphertext add_plain(const Ciphertext& a, const Plaintext& b) const;
    Ciphertext sub_plain(const Ciphertext& a, const Plaintext& b) const;
    // Adds x to every slot.
    Ciphertext add_scalar(const Ciphertext& a, double x) const;

    // Scales multiply. A product of two ciphertexts has 3 parts until it is relinearised.
    Ciphertext mul_plain(const Ciphertext& a, const Plaintext& b) const;
    Ciphertext mul_scalar_int(const Ciphertext& a, std::int64_t x) const;
    // Times round(x * scale), with the scale multiplied by `scale`.
    Ciphertext mul_scalar(const Ciphertext& a, double x, double scale) const;
    Ciphertext multiply(const Ciphertext& a, const Ciphertext& b, bool relinearise_result, bool rescale_result) const;
    // sum of a[i] b[i], with 3 parts: one relinearisation serves all. Levels and scales agree within each list.
    Ciphertext dot(const std::vector<Ciphertext>& a, const std::vector<Ciphertext>& b) const;
    Ciphertext square(const Ciphertext& a, bool relinearise_result, bool rescale_result) const;
    // With `rescale_result` the division by P and by the last prime is one step.
    Ciphertext relinearise(const Ciphertext& a, bool rescale_result = false) const;

    // Result r is factor * sum over k of weights[r count + k] a[k], rescaled, for integers held as doubles: at most kMixed in
    // absolute value in the sum over a row; the scale is multiplied by `scale`.
    std::vector<Ciphertext> mix(const std::vector<Ciphertext>& a, const std::vector<double>& weights, double factor,
                                double scale) const;

    // Divides by the last prime, rounding to nearest exactly; the scale is divided by it.
    Ciphertext rescale(const Ciphertext& a) const;
    Ciphertext drop_level(const Ciphertext& a, std::size_t level) const;
    static Ciphertext with_scale(const Ciphertext& a, double scale);

    // Slot i of the result is slot (i + steps) mod slots of a.
    Ciphertext rotate(const Ciphertext& a, std::int64_t steps) const;
    // The same for several steps; the decomposition is shared. Equal to rotate bit for bit.
    std::vector<Ciphertext> rotate_hoisted(const Ciphertext& a, const std::vector<std::int64_t>& steps) const;
    Ciphertext conjugate(const Ciphertext& a) const;

    // From level 0 to `level`: the plaintext m + q_0 I that a has over the integers, with I small because the sum is
    // taken under the ephemeral sparse secret (Bossuat, Troncoso-Pastoriza, Hubaux 2022). The scale stays.
    Ciphertext raise_modulus(const Ciphertext& a, std::size_t level) const;

    // sum_d diag_d * rotate(a, rotations_d); the scale is multiplied by the transform's. See linear_transform.hpp.
    Ciphertext apply(const LinearTransform& transform, const Ciphertext& a, bool rescale_result) const;

private:
    void check(const Ciphertext& a) const;
    void check_two_parts(const Ciphertext& a, const char* operation) const;
    std::size_t common_level(const Ciphertext& a, const Ciphertext& b) const;
    void check_product(double scale, std::size_t level) const;
    void check_alike(const std::vector<Ciphertext>& a, const char* operation) const;
    Ciphertext add_or_sub(const Ciphertext& a, const Ciphertext& b, bool subtract) const;
    Ciphertext add_or_sub_plain(const Ciphertext& a, const Plaintext& b, bool subtract) const;
    Ciphertext automorphism(const Ciphertext& a, const SwitchingKey& key) const;
    // (total0, total1) / P, over QP and destroyed; with `rescale_result` also divided by the last prime.
    Ciphertext finish(Poly& total0, Poly& total1, std::size_t level, double scale, bool rescale_result) const;
    Ciphertext finish_product(Ciphertext product, bool relinearise_result, bool rescale_result) const;

    std::shared_ptr<const KeySet> keys_;
    ContextPtr context_;
};

}  // namespace cipherformer
