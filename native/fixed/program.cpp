#include "fixed/program.hpp"

#include <atomic>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "fixed/machines.hpp"

namespace cipherformer::fixed {
namespace {

[[noreturn]] void refuse(const char* what) { throw std::invalid_argument(std::string("fixed-point program: ") + what); }

bool reads_two(Op op) { return op == Op::add || op == Op::sub || op == Op::mul; }
bool shifts(Op op) { return op == Op::lift || op == Op::round || op == Op::draw; }

bool below(int index, std::size_t size) { return index >= 0 && static_cast<std::size_t>(index) < size; }

// Rows of one run: every axis but the last, walked in order.
class Rows {
public:
    Rows(const std::vector<std::size_t>& shape, const std::vector<Operand>& inputs) : shape_(shape), inputs_(inputs) {}

    // Element offset of the start of row `row` of an input.
    std::ptrdiff_t offset(std::size_t input, std::size_t row) const {
        std::ptrdiff_t at = 0;
        const auto& strides = inputs_[input].strides;
        for (std::size_t axis = shape_.size() - 1; axis-- > 0;) {
            at += static_cast<std::ptrdiff_t>(row % shape_[axis]) * strides[axis];
            row /= shape_[axis];
        }
        return at;
    }

private:
    const std::vector<std::size_t>& shape_;
    const std::vector<Operand>& inputs_;
};

template <typename Machine>
class Worker {
public:
    using Element = typename Machine::Element;
    using Size = typename Machine::Size;

    Worker(std::size_t registers, std::size_t count_registers, std::size_t instructions)
        : memory((registers + 1) * block_size),
          sizes(registers),
          counts(count_registers * block_size),
          seen(instructions) {}

    Element* at(int index) { return memory.data() + static_cast<std::size_t>(index) * block_size; }
    Element* scratch() { return memory.data() + memory.size() - block_size; }
    std::int32_t* counts_at(int index) { return counts.data() + static_cast<std::size_t>(index) * block_size; }

    std::vector<Element> memory;
    std::vector<Size> sizes;
    std::vector<std::int32_t> counts;
    std::vector<Size> seen;
};

template <typename Function>
auto with_kind(const Operand& operand, std::ptrdiff_t offset, const Function& function) {
    switch (operand.kind) {
        case Kind::real: return function(static_cast<double*>(operand.data) + offset);
        case Kind::word: return function(static_cast<i64*>(operand.data) + offset);
        default: return function(static_cast<Pair*>(operand.data) + offset);
    }
}

}  // namespace

Program::Program(std::vector<Instruction> code, std::vector<i128> values, std::vector<std::vector<i128>> tables,
                 std::size_t inputs, std::size_t outputs)
    : code_(std::move(code)),
      values_(std::move(values)),
      tables_(std::move(tables)),
      inputs_(inputs),
      outputs_(outputs) {
    constexpr int most = 4096;
    std::vector<bool> written(most, false), counted(most, false);
    for (const Instruction& i : code_) {
        if (i.out < 0 || i.out >= most) refuse("a register outside 0 to 4095");
        if (static_cast<int>(i.op) < 0 || static_cast<int>(i.op) > static_cast<int>(Op::pick)) refuse("an unknown op");
        const bool reads = i.op != Op::constant && i.op != Op::load && i.op != Op::pick;
        if (reads && !(below(i.a, most) && written[static_cast<std::size_t>(i.a)])) refuse("an unwritten register");
        if (reads_two(i.op) && !(below(i.b, most) && written[static_cast<std::size_t>(i.b)]))
            refuse("an unwritten register");
        if (i.op == Op::constant && !below(i.a, values_.size())) refuse("an unknown constant");
        if (i.op == Op::load && !below(i.a, inputs_)) refuse("an unknown input");
        if (i.op == Op::store && !below(i.out, outputs_)) refuse("an unknown output");
        if (shifts(i.op) && (i.b < 1 || i.b > 127)) refuse("a shift outside 1 to 127");
        if ((i.op == Op::count || i.op == Op::pick) && !below(i.b, tables_.size())) refuse("an unknown table");
        if (i.op == Op::pick && !(below(i.a, most) && counted[static_cast<std::size_t>(i.a)]))
            refuse("counts that are not there");
        if (i.op == Op::count) {
            counted[static_cast<std::size_t>(i.out)] = true;
            counts_ = std::max(counts_, static_cast<std::size_t>(i.out) + 1);
        } else if (i.op != Op::store) {
            written[static_cast<std::size_t>(i.out)] = true;
            registers_ = std::max(registers_, static_cast<std::size_t>(i.out) + 1);
        }
    }
    std::vector<std::size_t> reach(most, 0);  // largest count in each register of counts
    for (const Instruction& i : code_) {
        const auto table = [&] { return tables_[static_cast<std::size_t>(i.b)].size(); };
        if (i.op == Op::count)
            reach[static_cast<std::size_t>(i.out)] = std::max(reach[static_cast<std::size_t>(i.out)], table());
    }
    for (const Instruction& i : code_)
        if (i.op == Op::pick && tables_[static_cast<std::size_t>(i.b)].size() <= reach[static_cast<std::size_t>(i.a)])
            refuse("a table shorter than its counts");
}

template <typename Machine>
Outcome Program::run_in(const std::vector<std::size_t>& shape, const std::vector<Operand>& inputs,
                        const std::vector<Operand>& outputs, const Loops& loops, ThreadPool& pool) const {
    using Element = typename Machine::Element;
    using Size = typename Machine::Size;
    std::vector<Element> values(values_.size());
    bool fits = true;
    for (std::size_t i = 0; i < values.size(); ++i) fits &= Machine::convert(values_[i], values[i]);
    std::vector<std::vector<Element>> thresholds(tables_.size()), entries(tables_.size());
    for (const Instruction& i : code_) {
        if (i.op != Op::count && i.op != Op::pick) continue;
        const auto& table = tables_[static_cast<std::size_t>(i.b)];
        auto& into = (i.op == Op::count ? thresholds : entries)[static_cast<std::size_t>(i.b)];
        into.resize(table.size());
        for (std::size_t j = 0; j < table.size(); ++j) {
            if (i.op == Op::count) into[j] = Machine::threshold(table[j]);
            else fits &= Machine::convert(table[j], into[j]);
        }
    }
    if (!fits) return {false, {}, {}};

    std::size_t rows = 1;
    for (std::size_t axis = 0; axis + 1 < shape.size(); ++axis) rows *= shape[axis];
    const std::size_t length = shape.back(), total = rows * length;
    const std::size_t tile = length >= block_size ? block_size : block_size / length * length;  // whole rows, if they fit
    const std::size_t pieces = (length + tile - 1) / tile;      // of a row, where rows are longer than a tile
    const std::size_t blocks = length > tile ? rows * pieces : (total + tile - 1) / tile;
    const Rows walk(shape, inputs);
    std::atomic<bool> good{true};

    const auto work = [&](Worker<Machine>& w, std::size_t begin, std::size_t end) {
        for (std::size_t r = 0; r < code_.size(); ++r) {
            const Instruction& i = code_[r];
            if (i.op != Op::constant) continue;
            const Element v = values[static_cast<std::size_t>(i.a)];
            std::fill_n(w.at(i.out), block_size, v);
            w.sizes[static_cast<std::size_t>(i.out)] = w.seen[r] = Machine::seen(v);
        }
        for (std::size_t block = begin; block < end && good.load(std::memory_order_relaxed); ++block) {
            const std::size_t first = length > tile ? block / pieces * length + block % pieces * tile : block * tile;
            const std::size_t n = length > tile ? std::min(tile, (first / length + 1) * length - first)
                                                : std::min(tile, total - first);
            for (std::size_t r = 0; r < code_.size(); ++r) {
                const Instruction& i = code_[r];
                bool ok = true;
                Size size{};
                switch (i.op) {
                    case Op::constant: continue;
                    case Op::load: {
                        const auto index = static_cast<std::size_t>(i.a);
                        const std::ptrdiff_t stride = inputs[index].strides.back();
                        for (std::size_t done = 0; done < n;) {
                            const std::size_t row = (first + done) / length, column = (first + done) % length;
                            const std::size_t part = std::min(n - done, length - column);
                            const std::ptrdiff_t offset =
                                walk.offset(index, row) + static_cast<std::ptrdiff_t>(column) * stride;
                            ok &= with_kind(inputs[index], offset, [&](const auto* in) {
                                return Machine::from(in, stride, part, w.at(i.out) + done, size);
                            });
                            done += part;
                        }
                        break;
                    }
                    case Op::store: {
                        const auto offset = static_cast<std::ptrdiff_t>(first);
                        with_kind(outputs[static_cast<std::size_t>(i.out)], offset,
                                  [&](auto* out) { Machine::to(out, w.at(i.a), n); });
                        continue;
                    }
                    case Op::count:
                        Machine::count(loops, w.counts_at(i.out), w.at(i.a), thresholds[static_cast<std::size_t>(i.b)],
                                       n);
                        continue;
                    case Op::pick: {
                        const Element* table = entries[static_cast<std::size_t>(i.b)].data();
                        const std::int32_t* at = w.counts_at(i.a);
                        Element* out = w.at(i.out);
                        for (std::size_t k = 0; k < n; ++k) {
                            out[k] = table[at[k]];
                            size = Machine::merge(size, Machine::seen(out[k]));
                        }
                        break;
                    }
                    default: {
                        const int right = reads_two(i.op) ? i.b : i.a;
                        ok = Machine::apply(loops, i, w.at(i.out), w.at(i.a), w.at(right),
                                            w.sizes[static_cast<std::size_t>(i.a)],
                                            w.sizes[static_cast<std::size_t>(right)], n, first, w.scratch(), size);
                    }
                }
                if (!ok) {
                    good.store(false, std::memory_order_relaxed);
                    return;
                }
                w.sizes[static_cast<std::size_t>(i.out)] = size;
                w.seen[r] = Machine::merge(w.seen[r], size);
            }
        }
    };

    const std::size_t shares = std::min<std::size_t>(pool.threads(), blocks);
    std::vector<Worker<Machine>> workers(shares, Worker<Machine>(registers_, counts_, code_.size()));
    pool.parallel_for(shares,
                      [&](std::size_t s) { work(workers[s], blocks * s / shares, blocks * (s + 1) / shares); });
    if (!good) return {false, {}, {}};
    Outcome out{true, {}, {}};
    for (std::size_t r = 0; r < code_.size(); ++r) {
        Size size{};
        for (const auto& worker : workers) size = Machine::merge(size, worker.seen[r]);
        out.bits.push_back(Machine::bits(size));
        if constexpr (std::is_same_v<Machine, RealMachine>) out.peaks.push_back(size);
    }
    return out;
}

Outcome Program::run(Carrier carrier, const std::vector<std::size_t>& shape, const std::vector<Operand>& inputs,
                     const std::vector<Operand>& outputs, const Loops& loops, ThreadPool& pool) const {
    if (shape.empty() || std::find(shape.begin(), shape.end(), std::size_t{0}) != shape.end()) refuse("an empty shape");
    if (inputs.size() != inputs_ || outputs.size() != outputs_) refuse("another number of operands");
    for (const Operand& input : inputs)
        if (input.strides.size() != shape.size()) refuse("an operand of another rank");
    switch (carrier) {
        case Carrier::real: return run_in<RealMachine>(shape, inputs, outputs, loops, pool);
        case Carrier::word: return run_in<WordMachine>(shape, inputs, outputs, loops, pool);
        default: return run_in<WideMachine>(shape, inputs, outputs, loops, pool);
    }
}

}  // namespace cipherformer::fixed
