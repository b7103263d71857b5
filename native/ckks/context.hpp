// Everything that is computed once for a parameter set: transforms, base converters, constants, memory, threads.
// Thread-safe; a process may hold any number of contexts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ckks/embedding.hpp"
#include "ckks/parameters.hpp"
#include "ckks/poly.hpp"
#include "ring/basis.hpp"
#include "ring/buffer.hpp"
#include "ring/kernels.hpp"
#include "ring/ntt.hpp"
#include "ring/parallel.hpp"

namespace cipherformer {

// At a level the ordinary limbs are 0 .. level. A polynomial "over QP" has the special limbs after them: its limb j has
// modulus number index(level, j), where moduli are numbered ordinary first.
class Context {
public:
    // kernels: "auto", "portable", "avx2", "avx512". Throws std::invalid_argument.
    Context(Parameters parameters, unsigned threads, const std::string& kernels);

    const Parameters& parameters() const { return parameters_; }
    unsigned threads() const { return threads_->threads(); }
    const Kernels& kernels() const { return *kernels_; }
    const Embedding& embedding() const { return embedding_; }
    BufferPool& pool() const { return *pool_; }

    std::size_t n() const { return parameters_.n(); }
    std::size_t special() const { return parameters_.special_limbs(); }
    std::size_t all_limbs() const { return moduli_.size(); }
    std::size_t qp_limbs(std::size_t level) const { return level + 1 + special(); }
    std::size_t index(std::size_t level, std::size_t j) const {
        return j <= level ? j : parameters_.limbs() + (j - level - 1);
    }
    const Modulus& modulus(std::size_t i) const { return moduli_[i]; }
    const NttTable& ntt(std::size_t i) const { return ntt_[i]; }
    // log2 of q_0 ... q_level.
    double log_q(std::size_t level) const { return log_q_[level]; }

    // From the limbs of a digit (scaled input) to all other limbs over QP, in their order.
    const BaseConverter& digit_converter(std::size_t level, std::size_t digit) const { return digits_[level][digit]; }
    // From P (scaled input) to the ordinary limbs.
    const BaseConverter& special_converter(std::size_t level) const { return special_[level]; }
    // From q_level, then P (scaled input) to the limbs below `level`, which is at least 1.
    const BaseConverter& rescale_converter(std::size_t level) const { return rescale_[level]; }
    u64 special_product(std::size_t i) const { return special_product_[i]; }  // P mod q_i
    u64 special_inverse(std::size_t i) const { return special_inverse_[i]; }  // P^-1 mod q_i
    // q_level^-1 mod q_i, i < level.
    u64 last_inverse(std::size_t level, std::size_t i) const { return last_inverse_[level][i]; }

    Poly poly(std::size_t limbs) const { return Poly(*pool_, limbs, n()); }
    Buffer scratch(std::size_t words) const { return pool_->take(words); }
    void parallel(std::size_t count, const std::function<void(std::size_t)>& task) const {
        threads_->parallel_for(count, task);
    }

private:
    void build_converters();

    Parameters parameters_;
    const Kernels* kernels_;
    std::shared_ptr<BufferPool> pool_;
    std::unique_ptr<ThreadPool> threads_;
    Embedding embedding_;
    std::vector<Modulus> moduli_;
    std::vector<NttTable> ntt_;
    std::vector<double> log_q_;
    std::vector<std::vector<BaseConverter>> digits_;
    std::vector<BaseConverter> special_;
    std::vector<BaseConverter> rescale_;
    std::vector<u64> special_product_;
    std::vector<u64> special_inverse_;
    std::vector<std::vector<u64>> last_inverse_;
};

using ContextPtr = std::shared_ptr<const Context>;

// Throws std::invalid_argument unless both are contexts of one parameter set.
void check_same_parameters(const Context& a, const Context& b, const char* what);

}  // namespace cipherformer
