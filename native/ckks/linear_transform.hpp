// Matrix-vector products by diagonals: baby steps and giant steps with double hoisting.
#pragma once

#include "ckks/plaintext.hpp"

namespace cipherformer {

// sum_d diag_d * rotate(x, rotations_d), prepared for one level. With rotation = giant + baby, baby < baby_step:
//   sum_giant rotate( sum_baby rotate(diag, -giant) * rotate(x, baby), giant ).
// The diagonals are encoded over QP if a baby step rotates, otherwise over Q, rotated back by their giant step.
struct LinearTransform {
    struct Term {
        std::size_t baby;  // index into `babies`
        Plaintext diagonal;
    };
    struct Group {
        std::size_t giant;  // steps to the left
        std::vector<Term> terms;
    };

    ContextPtr context;
    std::size_t level = 0;
    double scale = 1;
    std::vector<std::size_t> babies;  // steps, ascending
    std::vector<Group> groups;        // by giant step, ascending

    std::vector<std::size_t> giants() const;
    std::size_t memory_bytes() const;
    // Whether a baby step rotates: then the products are summed over QP.
    bool raised() const { return babies.size() > 1 || babies.front() != 0; }
    bool compact() const { return groups.front().terms.front().diagonal.compact(); }
    unsigned shift() const { return groups.front().terms.front().diagonal.shift(); }

    // diagonals: one row of `period` values per rotation, row-major, period a power of two that divides the slots.
    // Rotations are taken modulo the slots; a repeated one is refused, as is baby_step 0.
    // `Number` is double or std::complex<double>. Both ways to keep the diagonals give the same products, bit for bit.
    template <typename Number>
    static LinearTransform create(const ContextPtr& context, const std::vector<std::int64_t>& rotations,
                                  std::span<const Number> diagonals, std::size_t level, double scale,
                                  std::size_t baby_step, Keep keep = Keep::residues);
};

}  // namespace cipherformer
