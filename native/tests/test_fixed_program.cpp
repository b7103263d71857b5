// Fixed-point programs in every carrier against 128-bit integers, on every path, at every operand size.
#include "fixed/program.hpp"

#include <string>

#include "ring_check.hpp"

using namespace cipherformer;
using fixed::i128;
using fixed::i64;
using fixed::Op;
using test::check;

namespace {

constexpr std::size_t rows = 7, columns = 211;  // blocks of whole rows, and a part of one
constexpr std::size_t size = rows * columns;
const u64 tape_key = 12345;

std::vector<i128> integers(int bits, u64 stream) {
    std::vector<i128> out;
    for (std::size_t i = 0; i < size; ++i) {
        const fixed::u128 high = fixed::draw(stream, 2 * i);
        const fixed::u128 word = (high << 64) | fixed::draw(stream, 2 * i + 1);
        const int length = 1 + static_cast<int>(fixed::draw(~stream, i) % static_cast<u64>(bits));
        const i128 value = static_cast<i128>(word & ((fixed::u128{1} << length) - 1));
        out.push_back(i % 2 == 0 ? value : -value);
    }
    out.front() = (i128{1} << bits) - 1;
    out.back() = -out.front();
    return out;
}

std::vector<fixed::Pair> pairs(const std::vector<i128>& values) {
    std::vector<fixed::Pair> out;
    for (i128 v : values) out.push_back(fixed::split(v));
    return out;
}

// False where 127 bits do not hold the result.
bool expected(Op op, i128 a, i128 b, int shift, std::size_t index, i128& out) {
    switch (op) {
        case Op::add: return !__builtin_add_overflow(a, b, &out);
        case Op::sub: return !__builtin_sub_overflow(a, b, &out);
        case Op::mul: return !__builtin_mul_overflow(a, b, &out);
        case Op::lift: return !__builtin_mul_overflow(a, i128{1} << shift, &out);
        case Op::round: out = (a + (i128{1} << (shift - 1))) >> shift; return true;
        default:
            out = (a + static_cast<i128>(fixed::draw_below(tape_key, index, static_cast<unsigned>(shift)))) >> shift;
            return true;
    }
}

void test_operation(Op op, int left, int right, int shift, const fixed::Loops& loops, unsigned threads) {
    auto a = pairs(integers(left, 1)), b = pairs(integers(right, 2));
    std::vector<i128> wanted(size);
    bool holds = true;
    int most = std::max(left, right), result = 0;
    for (std::size_t i = 0; i < size; ++i) {
        holds &= expected(op, fixed::join(a[i]), fixed::join(b[i]), shift, i, wanted[i]);
        result = std::max(result, fixed::bit_length(fixed::magnitude(wanted[i])));
    }
    most = std::max(most, result);
    const bool two = op == Op::add || op == Op::sub || op == Op::mul;
    const fixed::Program program({{Op::load, 0, 0, 0, 0},
                                  {Op::load, 1, 1, 0, 0},
                                  {op, 2, 0, two ? 1 : shift, tape_key},
                                  {Op::store, 0, 2, 0, 0}},
                                 {}, {}, 2, 1);
    ThreadPool pool(threads);
    for (int carrier = 0; carrier < 3; ++carrier) {
        // Arrays of the narrowest kind that holds each operand: doubles must be below 2^53.
        std::vector<double> real(size);
        std::vector<fixed::Pair> out(size);
        for (std::size_t i = 0; i < size; ++i) real[i] = static_cast<double>(fixed::join(a[i]));
        const fixed::Operand first = left <= 53
                                         ? fixed::Operand{real.data(), fixed::Kind::real, {columns, 1}}
                                         : fixed::Operand{a.data(), fixed::Kind::wide, {columns, 1}};
        std::vector<i64> words(size);
        for (std::size_t i = 0; i < size; ++i) words[i] = static_cast<i64>(fixed::join(b[i]));
        const fixed::Operand second = right <= 63
                                          ? fixed::Operand{words.data(), fixed::Kind::word, {columns, 1}}
                                          : fixed::Operand{b.data(), fixed::Kind::wide, {columns, 1}};
        const auto outcome =
            program.run(static_cast<fixed::Carrier>(carrier), {rows, columns}, {first, second},
                        {{out.data(), fixed::Kind::wide, {columns, 1}}}, loops, pool);
        const std::string what = std::string(loops.name) + " op " + std::to_string(static_cast<int>(op)) + " bits " +
                                 std::to_string(left) + " " + std::to_string(right) + " shift " +
                                 std::to_string(shift) + " carrier " + std::to_string(carrier);
        const int limit = carrier == 0 ? 53 : carrier == 1 ? 63 : 127;
        if (outcome.fits) {
            check(holds && most <= limit, what + " claims to fit");
            bool equal = true;
            for (std::size_t i = 0; i < size; ++i) equal &= fixed::join(out[i]) == wanted[i];
            check(equal, what);
            check(outcome.bits[2] == result, what + ": length of the largest");
        } else {
            check(!holds || most > limit || (!two && (shift > limit - 1 || left > limit - 1)), what + " should fit");
        }
    }
}

void test_refusals() {
    using fixed::Program;
    test::check_throws([] { Program({{Op::add, 0, 0, 1, 0}}, {}, {}, 0, 0); }, "unwritten registers");
    test::check_throws([] { Program({{Op::load, -1, 0, 0, 0}}, {}, {}, 1, 0); }, "a negative register");
    test::check_throws([] { Program({{Op::load, 0, 0, 0, 0}, {Op::lift, 1, 0, 128, 0}}, {}, {}, 1, 0); },
                       "a long shift");
    test::check_throws(
        [] {
            Program({{Op::load, 0, 0, 0, 0}, {Op::count, 0, 0, 0, 0}, {Op::pick, 1, 0, 1, 0}}, {}, {{1, 2}, {3, 4}}, 1, 0);
        },
        "a table that is too short");
    test::check_throws([] { fixed::loops("none"); }, "unknown loops");
}

}  // namespace

int main() {
    std::vector<const fixed::Loops*> paths{&fixed::loops("portable")};
    if (&fixed::loops("auto") != paths.front()) paths.push_back(&fixed::loops("auto"));
    for (const fixed::Loops* loops : paths)
        for (int left : {1, 20, 31, 32, 52, 53, 61, 62, 63, 64, 100, 126})
            for (int right : {1, 31, 33, 53, 63, 100})
                for (Op op : {Op::add, Op::sub, Op::mul}) test_operation(op, left, right, 0, *loops, 1);
    for (const fixed::Loops* loops : paths)
        for (int left : {1, 31, 52, 53, 62, 63, 64, 126})
            for (int shift : {1, 16, 31, 52, 53, 54, 62, 63, 64, 100})
                for (Op op : {Op::lift, Op::round, Op::draw}) test_operation(op, left, 1, shift, *loops, 3);
    test_refusals();
    return test::report("test_fixed_program");
}
