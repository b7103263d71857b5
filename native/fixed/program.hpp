// Chains of elementwise operations on exact integers, run block by block in the cache.
//
// A program is a list of instructions on registers, each a block of elements. It runs in one of three carriers: doubles
// (exact below 2^53), 64-bit words, 128-bit integers. A run that would leave its carrier says so and its results are
// void; the caller takes the next one.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "fixed/loops.hpp"
#include "ring/parallel.hpp"

namespace cipherformer::fixed {

enum class Carrier { real = 0, word = 1, wide = 2 };
enum class Kind { real = 0, word = 1, wide = 2 };  // of an array outside; elements of 8, 8 and 16 bytes

enum class Op {
    constant = 0,  // out <- values[a] (prefilled; runs once)
    load = 1,      // out <- input a
    store = 2,     // output out <- a
    add = 3,
    sub = 4,
    mul = 5,
    lift = 6,   // out <- a 2^b
    round = 7,  // out <- floor(a / 2^b + 1/2)
    draw = 8,   // out <- floor((a + r) / 2^b), r from the tape of `key`
    count = 9,  // counts out <- number of the entries of table b that are <= a
    pick = 10,  // out <- entry of table b at counts a
};

struct Instruction {
    Op op;
    int out, a, b;
    u64 key;
};

// An array outside. `strides` are in elements, one for each axis of the run's shape; outputs are contiguous.
struct Operand {
    void* data;
    Kind kind;
    std::vector<std::ptrdiff_t> strides;
};

struct Outcome {
    bool fits;                  // else nothing of what follows, or of the outputs, counts
    std::vector<int> bits;      // for each instruction the bit length of its largest |result|
    std::vector<double> peaks;  // likewise the largest |result|; doubles only
};

class Program {
public:
    // Throws std::invalid_argument for instructions that do not fit.
    Program(std::vector<Instruction> code, std::vector<i128> values, std::vector<std::vector<i128>> tables,
            std::size_t inputs, std::size_t outputs);

    // Runs over an index space. Throws std::invalid_argument for operands that do not fit it.
    Outcome run(Carrier carrier, const std::vector<std::size_t>& shape, const std::vector<Operand>& inputs,
                const std::vector<Operand>& outputs, const Loops& loops, ThreadPool& pool) const;

private:
    template <typename Machine>
    Outcome run_in(const std::vector<std::size_t>& shape, const std::vector<Operand>& inputs,
                   const std::vector<Operand>& outputs, const Loops& loops, ThreadPool& pool) const;

    std::vector<Instruction> code_;
    std::vector<i128> values_;
    std::vector<std::vector<i128>> tables_;
    std::size_t inputs_, outputs_, registers_ = 0, counts_ = 0;
};

}  // namespace cipherformer::fixed
