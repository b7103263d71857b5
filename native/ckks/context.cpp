#include "ckks/context.hpp"

#include <algorithm>
#include <cmath>

namespace cipherformer {
namespace {

constexpr unsigned kMaxThreads = 256;

unsigned checked_threads(unsigned threads) {
    if (threads < 1 || threads > kMaxThreads)
        refuse("context", "threads is " + std::to_string(threads), "choose 1 to " + std::to_string(kMaxThreads));
    return threads;
}

}  // namespace

Context::Context(Parameters parameters, unsigned threads, const std::string& kernels)
    : parameters_(std::move(parameters)), kernels_(&cipherformer::kernels(path_from_name(kernels))),
      pool_(BufferPool::create()), threads_(std::make_unique<ThreadPool>(checked_threads(threads))),
      embedding_(parameters_.log_n() - 1) {
    for (const auto* list : {&parameters_.moduli(), &parameters_.special_moduli()})
        for (u64 q : *list) {
            moduli_.emplace_back(q);
            ntt_.emplace_back(parameters_.log_n(), moduli_.back(), kernels_->path);
        }
    double sum = 0;
    for (u64 q : parameters_.moduli()) log_q_.push_back(sum += std::log2(static_cast<double>(q)));

    for (const Modulus& q : moduli_) {
        u64 product = 1;
        for (u64 p : parameters_.special_moduli()) product = q.mul(product, q.reduce(p));
        special_product_.push_back(product);
        special_inverse_.push_back(product == 0 ? 0 : q.invert(product));
    }
    for (std::size_t level = 0; level < parameters_.limbs(); ++level) {
        last_inverse_.emplace_back();
        for (std::size_t i = 0; i < level; ++i)
            last_inverse_.back().push_back(moduli_[i].invert(moduli_[i].reduce(moduli_[level].value)));
    }
    build_converters();
}

void Context::build_converters() {
    const auto ordinary = moduli_.begin();
    const std::vector<Modulus> p(ordinary + static_cast<std::ptrdiff_t>(parameters_.limbs()), moduli_.end());
    for (std::size_t level = 0; level < parameters_.limbs(); ++level) {
        const std::vector<Modulus> q(ordinary, ordinary + static_cast<std::ptrdiff_t>(level + 1));
        special_.emplace_back(p, q, true);

        std::vector<Modulus> last_and_p{moduli_[level]};
        last_and_p.insert(last_and_p.end(), p.begin(), p.end());
        rescale_.emplace_back(last_and_p, std::vector<Modulus>(q.begin(), q.end() - 1), true);

        digits_.emplace_back();
        for (std::size_t digit = 0; digit < parameters_.digits(level); ++digit) {
            const std::size_t start = digit * parameters_.digit_size();
            const std::size_t end = std::min<std::size_t>(start + parameters_.digit_size(), level + 1);
            std::vector<Modulus> from;
            std::vector<Modulus> to;
            for (std::size_t j = 0; j < qp_limbs(level); ++j)
                (j >= start && j < end ? from : to).push_back(moduli_[index(level, j)]);
            digits_.back().emplace_back(from, to, true);
        }
    }
}

void check_same_parameters(const Context& a, const Context& b, const char* what) {
    if (&a != &b && a.parameters().digest() != b.parameters().digest())
        refuse(what, "it belongs to other parameters than this object (the digests differ)",
               "use one parameter set throughout");
}

}  // namespace cipherformer
