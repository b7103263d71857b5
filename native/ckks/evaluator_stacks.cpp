// Operations on stacks: many ciphertexts of one level and scale at once.
#include <cmath>

#include "ckks/evaluator.hpp"

namespace cipherformer {
namespace {

constexpr std::size_t kPiece = 4096;  // residues of one task

}  // namespace

void Evaluator::check_alike(const std::vector<Ciphertext>& a, const char* operation) const {
    if (a.empty()) refuse(operation, "there is nothing to work on", "give at least one ciphertext");
    for (const Ciphertext& value : a) {
        check_two_parts(value, operation);
        if (value.level != a.front().level || value.scale != a.front().scale)
            refuse(operation, "ciphertexts of several levels or scales", "bring them to one level and scale first");
    }
}

Ciphertext Evaluator::dot(const std::vector<Ciphertext>& a, const std::vector<Ciphertext>& b) const {
    check_alike(a, "dot");
    check_alike(b, "dot");
    if (a.size() != b.size())
        refuse("dot", std::to_string(a.size()) + " and " + std::to_string(b.size()) + " ciphertexts", "give as many");
    const std::size_t level = common_level(a.front(), b.front());
    const double scale = a.front().scale * b.front().scale;
    check_product(scale, level);
    std::vector<std::shared_ptr<Poly>> sums;
    for (int part = 0; part < 3; ++part) sums.push_back(std::make_shared<Poly>(context_->poly(level + 1)));
    const std::size_t piece = std::min(kPiece, context_->n());
    const std::size_t pieces = context_->n() / piece;
    context_->parallel((level + 1) * pieces, [&](std::size_t task) {
        const std::size_t j = task / pieces;
        const std::size_t start = task % pieces * piece;
        std::vector<const u64*> left0, left1, right0, right1;
        for (std::size_t i = 0; i < a.size(); ++i) {
            left0.push_back(a[i].parts[0]->limb(j) + start);
            left1.push_back(a[i].parts[1]->limb(j) + start);
            right0.push_back(b[i].parts[0]->limb(j) + start);
            right1.push_back(b[i].parts[1]->limb(j) + start);
        }
        const auto add_to = [&](std::size_t part, const std::vector<const u64*>& x, const std::vector<const u64*>& y, bool more) {
            context_->kernels().dot(sums[part]->limb(j) + start, x.data(), y.data(), x.size(), more, piece,
                                    context_->modulus(j));
        };
        add_to(0, left0, right0, false);
        add_to(1, left0, right1, false);
        add_to(1, left1, right0, true);
        add_to(2, left1, right1, false);
    });
    return {context_, {sums[0], sums[1], sums[2]}, level, scale, std::nullopt};
}

std::vector<Ciphertext> Evaluator::mix(const std::vector<Ciphertext>& a, const std::vector<double>& weights, double factor,
                                       double scale) const {
    check_alike(a, "mix");
    const std::size_t count = a.size();
    const std::size_t rows = weights.size() / count;
    if (rows == 0 || rows * count != weights.size())
        refuse("mix", std::to_string(weights.size()) + " weights for " + std::to_string(count) + " ciphertexts",
               "give a matrix with one column for each");
    for (std::size_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (std::size_t k = 0; k < count; ++k) {
            const double weight = weights[r * count + k];
            if (weight != std::nearbyint(weight)) refuse("mix", "a weight that is no integer", "round them");
            sum += std::fabs(weight);
        }
        if (!(sum <= kMixed)) refuse("mix", "the weights of a row sum to more than 2^28", "use a larger factor");
    }
    if (factor != std::nearbyint(factor) || !(std::fabs(factor) < 0x1p100))
        refuse("mix", "the factor " + std::to_string(factor), "give an integer below 2^100");
    const std::size_t level = a.front().level;
    if (level == 0) refuse("mix", "the ciphertexts are at level 0", "plan for one more level");
    const double product = a.front().scale * scale;
    check_product(product, level);
    std::vector<std::array<std::shared_ptr<Poly>, 2>> sums(rows);
    for (auto& both : sums)
        for (auto& part : both) part = std::make_shared<Poly>(context_->poly(level + 1));
    const std::size_t piece = std::min(kPiece, context_->n());
    const std::size_t pieces = context_->n() / piece;
    context_->parallel(2 * (level + 1) * pieces, [&](std::size_t task) {
        const std::size_t part = task % 2;
        const std::size_t j = task / 2 / pieces;
        const std::size_t start = task / 2 % pieces * piece;
        std::vector<const u64*> from;
        std::vector<u64*> to;
        for (const Ciphertext& value : a) from.push_back(value.parts[part]->limb(j) + start);
        for (auto& both : sums) to.push_back(both[part]->limb(j) + start);
        const Modulus& q = context_->modulus(j);
        context_->kernels().mix(to.data(), from.data(), weights.data(), rows, count, residue_of_integer(factor, q), piece, q);
    });
    std::vector<Ciphertext> out;
    for (auto& both : sums) {
        out.push_back(rescale({context_, {both[0], both[1]}, level, product, std::nullopt}));
        both = {};
    }
    return out;
}

}  // namespace cipherformer
