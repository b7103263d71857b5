// What differs between the carriers: each machine executes instructions on one block. `false` means: does not fit.
#pragma once

#include <algorithm>
#include <cmath>

#include "fixed/program.hpp"

namespace cipherformer::fixed {

constexpr std::size_t block_size = 512;

inline int real_bits(double peak) {
    int exponent = 0;
    std::frexp(peak, &exponent);
    return peak < 1.0 ? 0 : exponent;  // peak is an integer in [2^(exponent-1), 2^exponent)
}

struct RealMachine {
    using Element = double;
    using Size = double;
    static constexpr double limit = 9007199254740992.0;  // 2^53

    static bool convert(i128 v, double& out) {
        out = static_cast<double>(v);
        return magnitude(v) < (u128{1} << 53);
    }
    // A threshold or a clipped stand-in on the same side of every value.
    static double threshold(i128 v) {
        const i128 most = i128{1} << 53;
        return static_cast<double>(std::clamp(v, -most, most));
    }
    static bool from(const double* in, std::ptrdiff_t stride, std::size_t n, double* out, Size&) {
        for (std::size_t i = 0; i < n; ++i) out[i] = in[static_cast<std::ptrdiff_t>(i) * stride];
        return true;
    }
    static bool from(const i64* in, std::ptrdiff_t stride, std::size_t n, double* out, Size&) {
        u64 seen = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const i64 v = in[static_cast<std::ptrdiff_t>(i) * stride];
            out[i] = static_cast<double>(v);
            seen |= static_cast<u64>(v < 0 ? ~v : v);
        }
        return seen < (u64{1} << 53);
    }
    static bool from(const Pair*, std::ptrdiff_t, std::size_t, double*, Size&) { return false; }
    static void to(double* out, const double* in, std::size_t n) { std::copy_n(in, n, out); }
    static void to(i64* out, const double* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<i64>(in[i]);
    }
    static void to(Pair* out, const double* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = split(static_cast<i128>(in[i]));
    }

    static bool apply(const Loops& loops, const Instruction& op, double* out, const double* a, const double* b, Size,
                      Size, std::size_t n, std::size_t index, double* scratch, Size& size) {
        switch (op.op) {
            case Op::add: size = loops.add(out, a, b, n); break;
            case Op::sub: size = loops.sub(out, a, b, n); break;
            case Op::mul: size = loops.mul(out, a, b, n); break;
            case Op::lift: size = loops.scale(out, a, std::ldexp(1.0, op.b), n); break;
            case Op::round:
                if (op.b > 53) return false;
                size = loops.round(out, a, std::ldexp(1.0, -op.b), nullptr, n);
                break;
            default:
                if (op.b > 53) return false;
                for (std::size_t i = 0; i < n; ++i)
                    scratch[i] = static_cast<double>(draw(op.key, index + i) >> (64 - op.b)) * std::ldexp(1.0, -op.b);
                size = loops.round(out, a, std::ldexp(1.0, -op.b), scratch, n);
        }
        return size < limit;
    }
    static void count(const Loops& loops, std::int32_t* out, const double* x, const std::vector<double>& table,
                      std::size_t n) {
        loops.count(out, x, table.data(), table.size(), n);
    }
    static Size seen(double v) { return std::fabs(v); }
    static Size merge(Size a, Size b) { return std::max(a, b); }
    static int bits(Size size) { return real_bits(size); }
};

struct WordMachine {
    using Element = i64;
    using Size = u64;

    static bool convert(i128 v, i64& out) {
        out = static_cast<i64>(v);
        return magnitude(v) < (u128{1} << 63);
    }
    static i64 threshold(i128 v) {
        const i128 most = (i128{1} << 63) - 1;  // no value is larger, and none is -2^63
        return static_cast<i64>(std::clamp(v, -most, most));
    }
    static bool from(const double* in, std::ptrdiff_t stride, std::size_t n, i64* out, Size& size) {
        for (std::size_t i = 0; i < n; ++i) {
            out[i] = static_cast<i64>(in[static_cast<std::ptrdiff_t>(i) * stride]);  // doubles outside are below 2^53
            size |= seen(out[i]);
        }
        return true;
    }
    static bool from(const i64* in, std::ptrdiff_t stride, std::size_t n, i64* out, Size& size) {
        for (std::size_t i = 0; i < n; ++i) {
            out[i] = in[static_cast<std::ptrdiff_t>(i) * stride];
            size |= seen(out[i]);
        }
        return true;
    }
    static bool from(const Pair* in, std::ptrdiff_t stride, std::size_t n, i64* out, Size& size) {
        bool fits = true;
        for (std::size_t i = 0; i < n; ++i) {
            fits &= convert(join(in[static_cast<std::ptrdiff_t>(i) * stride]), out[i]);
            size |= seen(out[i]);
        }
        return fits;
    }
    static void to(double* out, const i64* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<double>(in[i]);
    }
    static void to(i64* out, const i64* in, std::size_t n) { std::copy_n(in, n, out); }
    static void to(Pair* out, const i64* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = split(in[i]);
    }

    static bool apply(const Loops& loops, const Instruction& op, i64* out, const i64* a, const i64* b, Size a_size,
                      Size b_size, std::size_t n, std::size_t index, i64* scratch, Size& size) {
        const int left = bits(a_size), right = bits(b_size);
        switch (op.op) {
            case Op::add:
            case Op::sub:
                if (std::max(left, right) > 62) return careful(op, out, a, b, n, size);
                size = (op.op == Op::add ? loops.add_words : loops.sub_words)(out, a, b, n);
                return true;
            case Op::mul:
                if (left + right > 63) return careful(op, out, a, b, n, size);
                size = loops.mul_words(out, a, b, std::max(left, right) <= 31, n);
                return true;
            case Op::lift:
                if (left + op.b > 63) return left == 0;
                size = loops.scale_words(out, a, op.b, n);
                return true;
            default:
                if (left > 62 || op.b > 62) return false;
                if (op.op == Op::draw)
                    for (std::size_t i = 0; i < n; ++i)
                        scratch[i] = static_cast<i64>(draw(op.key, index + i) >> (64 - op.b));
                size = loops.round_words(out, a, op.b, op.op == Op::draw ? scratch : nullptr, n);
                return true;
        }
    }
    static bool careful(const Instruction& op, i64* out, const i64* a, const i64* b, std::size_t n, Size& size) {
        bool over = false;
        size = 0;
        for (std::size_t i = 0; i < n; ++i) {
            over |= op.op == Op::add   ? __builtin_add_overflow(a[i], b[i], &out[i])
                    : op.op == Op::sub ? __builtin_sub_overflow(a[i], b[i], &out[i])
                                       : __builtin_mul_overflow(a[i], b[i], &out[i]);
            size |= seen(out[i]);
        }
        return !over && size < (u64{1} << 63);
    }
    static void count(const Loops& loops, std::int32_t* out, const i64* x, const std::vector<i64>& table,
                      std::size_t n) {
        loops.count_words(out, x, table.data(), table.size(), n);
    }
    static Size seen(i64 v) { return v < 0 ? u64{0} - static_cast<u64>(v) : static_cast<u64>(v); }
    static Size merge(Size a, Size b) { return a | b; }
    static int bits(Size size) { return bit_length(size); }
};

struct WideMachine {
    using Element = i128;
    using Size = u128;

    static bool convert(i128 v, i128& out) {
        out = v;
        return true;
    }
    static i128 threshold(i128 v) { return v; }
    template <typename T>
    static bool from(const T* in, std::ptrdiff_t stride, std::size_t n, i128* out, Size& size) {
        for (std::size_t i = 0; i < n; ++i) {
            out[i] = value(in[static_cast<std::ptrdiff_t>(i) * stride]);
            size |= magnitude(out[i]);
        }
        return true;
    }
    static i128 value(double v) { return static_cast<i64>(v); }
    static i128 value(i64 v) { return v; }
    static i128 value(Pair v) { return join(v); }
    static void to(double* out, const i128* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<double>(in[i]);
    }
    static void to(i64* out, const i128* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<i64>(in[i]);
    }
    static void to(Pair* out, const i128* in, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) out[i] = split(in[i]);
    }

    static bool apply(const Loops&, const Instruction& op, i128* out, const i128* a, const i128* b, Size a_size, Size,
                      std::size_t n, std::size_t index, i128*, Size& size) {
        bool over = false;
        size = 0;
        const int shift = op.b;
        const bool shifts = op.op == Op::lift || op.op == Op::round || op.op == Op::draw;
        if (shifts && (shift > 126 || (op.op == Op::lift ? bits(a_size) + shift > 127 : bits(a_size) > 126)))
            return op.op == Op::lift && a_size == 0;
        for (std::size_t i = 0; i < n; ++i) {
            switch (op.op) {
                case Op::add: over |= __builtin_add_overflow(a[i], b[i], &out[i]); break;
                case Op::sub: over |= __builtin_sub_overflow(a[i], b[i], &out[i]); break;
                case Op::mul: over |= __builtin_mul_overflow(a[i], b[i], &out[i]); break;
                case Op::lift: out[i] = static_cast<i128>(static_cast<u128>(a[i]) << shift); break;
                case Op::round: out[i] = (a[i] + (i128{1} << (shift - 1))) >> shift; break;
                default:
                    out[i] = (a[i] + static_cast<i128>(draw_below(op.key, index + i, static_cast<unsigned>(shift)))) >>
                             shift;
            }
            size |= magnitude(out[i]);
        }
        return !over && bits(size) <= 127;
    }
    static void count(const Loops&, std::int32_t* out, const i128* x, const std::vector<i128>& table, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i)
            out[i] = static_cast<std::int32_t>(std::upper_bound(table.begin(), table.end(), x[i]) - table.begin());
    }
    static Size seen(i128 v) { return magnitude(v); }
    static Size merge(Size a, Size b) { return a | b; }
    static int bits(Size size) { return bit_length(size); }
};

}  // namespace cipherformer::fixed
