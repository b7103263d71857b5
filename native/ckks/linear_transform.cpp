#include "ckks/linear_transform.hpp"

#include <iterator>
#include <map>
#include <set>

#include "ckks/keys.hpp"

namespace cipherformer {

std::vector<std::size_t> LinearTransform::giants() const {
    std::vector<std::size_t> out;
    for (const Group& group : groups) out.push_back(group.giant);
    return out;
}

std::size_t LinearTransform::memory_bytes() const {
    std::size_t total = 0;
    for (const Group& group : groups)
        for (const Term& term : group.terms) total += term.diagonal.memory_bytes();
    return total;
}

template <typename Number>
LinearTransform LinearTransform::create(const ContextPtr& context, const std::vector<std::int64_t>& rotations,
                                        std::span<const Number> diagonals, std::size_t level,
                                        double scale, std::size_t baby_step, Keep keep) {
    if (rotations.empty()) refuse("linear transform", "there are no diagonals", "give at least one rotation");
    if (diagonals.size() % rotations.size() != 0)
        refuse("linear transform", "the diagonals do not match the rotations", "give one row of values per rotation");
    if (baby_step == 0 || baby_step > context->parameters().slots())
        refuse("linear transform", "baby_step is " + std::to_string(baby_step), "choose 1 to the number of slots");
    const std::size_t period = diagonals.size() / rotations.size();

    std::map<std::size_t, std::map<std::size_t, std::size_t>> rows;  // giant -> baby -> row
    std::set<std::size_t> babies;
    for (std::size_t row = 0; row < rotations.size(); ++row) {
        const std::size_t steps = normalised_steps(*context, rotations[row]);
        const std::size_t baby = steps % baby_step;
        if (!rows[steps - baby].emplace(baby, row).second)
            refuse("linear transform", "rotation " + std::to_string(steps) + " appears twice", "add their diagonals");
        babies.insert(baby);
    }
    LinearTransform out{context, level, scale, {babies.begin(), babies.end()}, {}};
    const bool raised = out.raised();
    std::vector<Plaintext> encoded(rotations.size());
    context->parallel(rotations.size(), [&](std::size_t row) {
        const std::size_t steps = normalised_steps(*context, rotations[row]);
        const std::size_t giant = steps - steps % baby_step;
        std::vector<Number> rotated(period);
        for (std::size_t i = 0; i < period; ++i) rotated[(i + giant) % period] = diagonals[row * period + i];
        encoded[row] = encode(context, std::span<const Number>(rotated), level, scale, raised, keep);
    });
    for (const auto& [giant, members] : rows) {
        Group& group = out.groups.emplace_back(Group{giant, {}});
        for (const auto& [baby, row] : members) {
            const auto position = static_cast<std::size_t>(std::distance(babies.begin(), babies.find(baby)));
            group.terms.push_back({position, std::move(encoded[row])});
        }
    }
    return out;
}

template LinearTransform LinearTransform::create(const ContextPtr&, const std::vector<std::int64_t>&,
                                                 std::span<const double>, std::size_t, double, std::size_t, Keep);
template LinearTransform LinearTransform::create(const ContextPtr&, const std::vector<std::int64_t>&,
                                                 std::span<const std::complex<double>>, std::size_t, double, std::size_t,
                                                 Keep);

}  // namespace cipherformer
