// The suite for tables of kernels: each against the portable one, bit for bit, and that against one-line definitions
// in 128-bit integers, on random and on extreme inputs for the largest primes of each size.
#pragma once

#include <cmath>
#include <functional>

#include "ring/basis.hpp"
#include "ring/ntt.hpp"
#include "ring_check.hpp"

namespace cipherformer::test {

inline const auto pool = BufferPool::create();
inline const Kernels& reference = kernels(Path::portable);
inline std::vector<const Kernels*> tested;

using Call = std::function<void(const Kernels&, u64*)>;

// Runs a kernel on copies of `initial` and compares with the portable result, and that with `definition` if given.
inline void compare(const std::string& what, const Buffer& initial, const Call& call,
                    const std::function<u64(std::size_t)>& definition = nullptr) {
    const std::size_t n = initial.size();
    Buffer expected = pool->take(n), actual = pool->take(n);
    std::copy_n(initial.data(), n, expected.data());
    call(reference, expected.data());
    for (std::size_t i = 0; definition && i < n; ++i)
        check(expected[i] == definition(i), "portable " + what + " at " + std::to_string(i));
    for (const Kernels* k : tested) {
        std::copy_n(initial.data(), n, actual.data());
        call(*k, actual.data());
        check(std::equal(expected.data(), expected.data() + n, actual.data()), std::string(k->name) + " " + what);
    }
}

inline u64 product(u64 a, u64 b, const Modulus& q) { return static_cast<u64>(static_cast<u128>(a) * b % q.value); }

inline void test_elementwise(std::size_t n, const Modulus& q, int kind_a, int kind_b) {
    Buffer a = pool->take(n), b = pool->take(n), c = pool->take(n);
    fill(a.data(), n, q, kind_a, 1);
    fill(b.data(), n, q, kind_b, 2);
    fill(c.data(), n, q, kind_b, 3);
    const std::string where = " n=" + std::to_string(n) + " q=" + std::to_string(q.value) + " kinds " +
                              std::to_string(kind_a) + " " + std::to_string(kind_b);
    const auto name = [&](const char* kernel) { return kernel + where; };
    compare(
        name("add"), c, [&](const Kernels& k, u64* out) { k.add(out, a.data(), b.data(), n, q); },
        [&](std::size_t i) { return (a[i] + b[i]) % q.value; });
    compare(
        name("sub"), c, [&](const Kernels& k, u64* out) { k.sub(out, a.data(), b.data(), n, q); },
        [&](std::size_t i) { return (a[i] + q.value - b[i]) % q.value; });
    compare(
        name("neg"), c, [&](const Kernels& k, u64* out) { k.neg(out, a.data(), n, q); },
        [&](std::size_t i) { return (q.value - a[i]) % q.value; });
    compare(
        name("mul"), c, [&](const Kernels& k, u64* out) { k.mul(out, a.data(), b.data(), n, q); },
        [&](std::size_t i) { return product(a[i], b[i], q); });
    compare(
        name("mul in place"), a, [&](const Kernels& k, u64* out) { k.mul(out, out, out, n, q); },
        [&](std::size_t i) { return product(a[i], a[i], q); });
    compare(
        name("mul_add"), c, [&](const Kernels& k, u64* out) { k.mul_add(out, a.data(), b.data(), n, q); },
        [&](std::size_t i) { return (product(a[i], b[i], q) + c[i]) % q.value; });
    for (u64 s : {u64{0}, u64{1}, q.half, q.half + 1, q.value - 1, b[0]}) {
        compare(
            name("add_scalar"), c, [&](const Kernels& k, u64* out) { k.add_scalar(out, a.data(), s, n, q); },
            [&](std::size_t i) { return (a[i] + s) % q.value; });
        compare(
            name("mul_scalar"), c, [&](const Kernels& k, u64* out) { k.mul_scalar(out, a.data(), s, n, q); },
            [&](std::size_t i) { return product(a[i], s, q); });
        compare(
            name("mul_scalar_add"), c, [&](const Kernels& k, u64* out) { k.mul_scalar_add(out, a.data(), s, n, q); },
            [&](std::size_t i) { return (product(a[i], s, q) + c[i]) % q.value; });
        compare(
            name("sub_mul_scalar"), c,
            [&](const Kernels& k, u64* out) { k.sub_mul_scalar(out, a.data(), b.data(), s, n, q); },
            [&](std::size_t i) { return product((a[i] + q.value - b[i]) % q.value, s, q); });
        compare(
            name("sub_mul_scalar_add"), c,
            [&](const Kernels& k, u64* out) { k.sub_mul_scalar_add(out, a.data(), b.data(), s, c.data(), n, q); },
            [&](std::size_t i) { return (product((a[i] + q.value - b[i]) % q.value, s, q) + c[i]) % q.value; });
    }
    const u64* const left[] = {a.data(), b.data()};
    const u64* const right[] = {b.data(), c.data()};
    Buffer other0 = pool->take(n), other1 = pool->take(n);
    compare(
        name("tensor, lowest"), c,
        [&](const Kernels& k, u64* out) { k.tensor(out, other0.data(), other1.data(), left, right, n, q); },
        [&](std::size_t i) { return product(a[i], b[i], q); });
    compare(
        name("tensor, middle"), c,
        [&](const Kernels& k, u64* out) { k.tensor(other0.data(), out, other1.data(), left, right, n, q); },
        [&](std::size_t i) { return (product(a[i], c[i], q) + product(b[i], b[i], q)) % q.value; });
    compare(
        name("tensor, highest"), c,
        [&](const Kernels& k, u64* out) { k.tensor(other0.data(), other1.data(), out, left, right, n, q); },
        [&](std::size_t i) { return product(b[i], c[i], q); });
}

inline void test_reductions(std::size_t n, const Modulus& from, const Modulus& to, int kind) {
    Buffer a = pool->take(n), out = pool->take_zero(n);
    fill(a.data(), n, from, kind, 4);
    const std::string where = " from " + std::to_string(from.value) + " to " + std::to_string(to.value);
    compare(
        "reduce" + where, out, [&](const Kernels& k, u64* o) { k.reduce(o, a.data(), n, from, to); },
        [&](std::size_t i) { return a[i] % to.value; });
    compare(
        "reduce_centred" + where, out, [&](const Kernels& k, u64* o) { k.reduce_centred(o, a.data(), n, from, to); },
        [&](std::size_t i) { return to.from_signed(from.centred(a[i])); });
    std::vector<std::int32_t> small(n);
    for (std::size_t i = 0; i < n; ++i)
        small[i] = kind == 0 ? static_cast<std::int32_t>(a[i]) : (i % 2 == 0 ? 2147483647 : -2147483647);
    compare(
        "lift" + where, out, [&](const Kernels& k, u64* o) { k.lift(o, small.data(), n, to); },
        [&](std::size_t i) { return to.from_signed(small[i]); });

    std::vector<double> real(n);
    for (std::size_t i = 0; i < n; ++i)
        real[i] = kind == 0   ? static_cast<double>(from.centred(a[i])) * (i % 3 == 0 ? 0x1p-20 : 1)
                  : kind == 1 ? (i % 2 == 0 ? 0x1p51 : -0x1p51)
                              : -0.0;
    for (double& x : real) x = std::nearbyint(x);
    compare(
        "lift_real" + where, out, [&](const Kernels& k, u64* o) { k.lift_real(o, real.data(), n, to); },
        [&](std::size_t i) { return to.from_signed(static_cast<std::int64_t>(real[i])); });
}

inline void test_dot(std::size_t n, std::size_t count, const Modulus& q, int kind_a, int kind_b) {
    std::vector<Buffer> a, b;
    std::vector<const u64*> a_rows, b_rows;
    for (std::size_t d = 0; d < count; ++d) {
        a.push_back(pool->take(n)), b.push_back(pool->take(n));
        fill(a[d].data(), n, q, kind_a, 2 * d);
        fill(b[d].data(), n, q, kind_b, 2 * d + 1);
        a_rows.push_back(a[d].data()), b_rows.push_back(b[d].data());
    }
    Buffer c = pool->take(n), other = pool->take(n);
    fill(c.data(), n, q, kind_b, 1000);
    const std::string where =
        " of " + std::to_string(count) + " q=" + std::to_string(q.value) + " n=" + std::to_string(n);
    const auto pair = [&](const std::vector<const u64*>& left, const std::vector<const u64*>& right, bool second) {
        compare(
            (second ? "dot_pair, second" : "dot_pair, first") + where, c,
            [&](const Kernels& k, u64* out) {
                u64* const outs[] = {second ? other.data() : out, second ? out : other.data()};
                k.dot_pair(outs[0], outs[1], left.data(), right.data(), left.data(), count, n, q);
            },
            [&](std::size_t i) {
                u64 sum = 0;
                for (std::size_t d = 0; d < count; ++d)
                    sum = q.add(sum, product(left[d][i], second ? left[d][i] : right[d][i], q));
                return sum;
            });
    };
    for (bool second : {false, true}) pair(a_rows, b_rows, second);
    for (bool accumulate : {false, true}) {
        compare(
            "dot" + where, c,
            [&](const Kernels& k, u64* out) { k.dot(out, a_rows.data(), b_rows.data(), count, accumulate, n, q); },
            [&](std::size_t i) {
                u64 sum = accumulate ? c[i] : 0;
                for (std::size_t d = 0; d < count; ++d) sum = q.add(sum, product(a[d][i], b[d][i], q));
                return sum;
            });
        for (unsigned shift = 0; (std::size_t{1} << shift) <= n && shift < 7; ++shift)
            compare(
                "dot_repeated by 2^" + std::to_string(shift) + where, c,
                [&](const Kernels& k, u64* out) {
                    k.dot_repeated(out, a_rows.data(), b_rows.data(), shift, count, accumulate, n, q);
                },
                [&](std::size_t i) {
                    u64 sum = accumulate ? c[i] : 0;
                    for (std::size_t d = 0; d < count; ++d) sum = q.add(sum, product(a[d][i], b[d][i >> shift], q));
                    return sum;
                });
    }
}

// Each path's transforms against the portable ones, on every kind of input.
inline void test_transforms(unsigned log_n, const Modulus& q) {
    const std::size_t n = std::size_t{1} << log_n;
    const NttTable portable_table(log_n, q, Path::portable);
    Buffer a = pool->take(n), expected = pool->take(n), actual = pool->take(n);
    for (const Kernels* k : tested) {
        const NttTable table(log_n, q, *k);
        for (int kind = 0; kind < kKinds; ++kind) {
            fill(a.data(), n, q, kind, log_n);
            std::copy_n(a.data(), n, expected.data()), std::copy_n(a.data(), n, actual.data());
            portable_table.forward(expected.data()), table.forward(actual.data());
            const std::string where =
                std::string(k->name) + " 2^" + std::to_string(log_n) + " q=" + std::to_string(q.value);
            check(std::equal(expected.data(), expected.data() + n, actual.data()), "forward " + where);
            std::copy_n(a.data(), n, expected.data()), std::copy_n(a.data(), n, actual.data());
            portable_table.inverse(expected.data()), table.inverse(actual.data());
            check(std::equal(expected.data(), expected.data() + n, actual.data()), "inverse " + where);
        }
    }
}

inline void test_permute(unsigned log_n) {
    const std::size_t n = std::size_t{1} << log_n;
    const Modulus q(generate_primes(log_n, {40})[0]);
    Buffer a = pool->take(n), out = pool->take_zero(n);
    fill(a.data(), n, q, 0, 5);
    for (std::int64_t steps : {0, 1, 2, 3, 4, 5, 6, 7, 100, -3}) {
        const std::vector<std::uint32_t> index = galois_permutation(log_n, galois_rotation(log_n, steps));
        compare(
            "permute", out, [&](const Kernels& k, u64* o) { k.permute(o, a.data(), index.data(), n); },
            [&](std::size_t i) { return a[index[i]]; });
    }
}

// Primes next to 2^bits from below: the worst case of every bound.
inline Modulus largest_prime(unsigned bits) {
    u64 candidate = (u64{1} << bits) - 1;
    while (!is_prime(candidate)) candidate -= 2;
    return Modulus(candidate);
}

inline std::vector<Modulus> moduli(const std::vector<u64>& values, std::size_t begin, std::size_t end) {
    std::vector<Modulus> result;
    for (std::size_t i = begin; i < end; ++i) result.emplace_back(values[i]);
    return result;
}

// sum_i centred(x_i (Q/q_i)^-1) (Q/q_i) mod p, straight from the definition.
inline u64 definition(const std::vector<Modulus>& from, const std::vector<u64>& x, const Modulus& p) {
    u64 sum = 0;
    for (std::size_t i = 0; i < from.size(); ++i) {
        u64 others = 1, others_p = 1;
        for (std::size_t j = 0; j < from.size(); ++j) {
            if (j == i) continue;
            others = from[i].mul(others, from[i].reduce(from[j].value));
            others_p = p.mul(others_p, p.reduce(from[j].value));
        }
        const u64 y = from[i].mul(x[i], from[i].invert(others));
        sum = p.add(sum, p.mul(p.from_signed(from[i].centred(y)), others_p));
    }
    return sum;
}

inline void test_conversion(std::size_t sources, std::size_t targets, std::size_t n, unsigned from_bits,
                            unsigned to_bits, const Kernels& k) {
    std::vector<unsigned> sizes(sources, from_bits);
    sizes.insert(sizes.end(), targets, to_bits);
    const std::vector<u64> primes = generate_primes(10, sizes);
    const std::vector<Modulus> from = moduli(primes, 0, sources), to = moduli(primes, sources, sources + targets);
    const BaseConverter plain(from, to), scaled(from, to, true);
    std::vector<Buffer> in, in_scaled, out;
    std::vector<const u64*> in_rows, scaled_rows;
    std::vector<u64*> out_rows;
    for (std::size_t j = 0; j < targets; ++j) out.push_back(pool->take(n)), out_rows.push_back(out[j].data());
    for (int kind = 0; kind < kKinds; ++kind) {
        in.clear(), in_scaled.clear(), in_rows.clear(), scaled_rows.clear();
        for (std::size_t i = 0; i < sources; ++i) {
            in.push_back(pool->take(n)), in_scaled.push_back(pool->take(n));
            fill(in[i].data(), n, from[i], kind, i);
            k.mul_scalar(in_scaled[i].data(), in[i].data(), plain.scale(i), n, from[i]);
            in_rows.push_back(in[i].data()), scaled_rows.push_back(in_scaled[i].data());
        }
        for (bool is_scaled : {false, true}) {
            if (is_scaled)
                scaled.convert(out_rows.data(), scaled_rows.data(), n, k);
            else
                plain.convert(out_rows.data(), in_rows.data(), n, k);
            if (is_scaled && targets > 1) {  // the last destination alone
                std::vector<Buffer> prepared;
                std::vector<const u64*> rows;
                for (std::size_t i = 0; i < sources; ++i) {
                    prepared.push_back(pool->take(n));
                    scaled.prepare(prepared[i].data(), in_scaled[i].data(), n, i, k);
                    rows.push_back(prepared[i].data());
                }
                Buffer alone = pool->take(n);
                u64* const row = alone.data();
                scaled.convert_prepared(&row, rows.data(), n, targets - 1, 1, k);
                check(std::equal(row, row + n, out_rows.back()), std::string("one destination ") + k.name);
            }
            for (std::size_t t = 0; t < n; t += n > 64 ? 37 : 1) {
                std::vector<u64> x;
                for (std::size_t i = 0; i < sources; ++i) x.push_back(in[i][t]);
                for (std::size_t j = 0; j < targets; ++j)
                    check(out[j][t] == definition(from, x, to[j]),
                          std::string("conversion ") + k.name + " " + std::to_string(sources) + " to " +
                              std::to_string(targets) + " bits " + std::to_string(from_bits) + " " +
                              std::to_string(to_bits) + " kind " + std::to_string(kind));
            }
        }
    }
}

// Words that straddle the limit of acceptance, where rejection and order matter.
inline void test_uniform(const Modulus& q) {
    const u64 limit = q.ratio * q.value;
    constexpr std::size_t n = 64;
    Buffer words = pool->take(n), out = pool->take_zero(n);
    Prng prng(fixed_seed(3), 1, q.value, reference);
    prng.fill(words.data(), n * sizeof(u64));
    for (std::size_t i = 0; i < n; i += 5) words[i] = limit - 2 + i % 4;
    words[17] = ~u64{0}, words[18] = 0, words[19] = q.value - 1, words[20] = q.value;
    std::vector<u64> expected;
    for (std::size_t i = 0; i < n; ++i)
        if (words[i] < limit) expected.push_back(words[i] % q.value);
    for (const Kernels* k : tested) {
        const std::size_t written = k->uniform_words(out.data(), words.data(), limit, n, q);
        check(written == expected.size() && std::equal(expected.begin(), expected.end(), out.data()),
              std::string(k->name) + " uniform_words q=" + std::to_string(q.value));
    }
}

inline void test_mix(std::size_t n, std::size_t rows, std::size_t count, const Modulus& q, int kind) {
    std::vector<Buffer> in, others;
    std::vector<const u64*> from;
    for (std::size_t k = 0; k < count; ++k) {
        in.push_back(pool->take(n));
        fill(in[k].data(), n, q, kind, k);
        from.push_back(in[k].data());
    }
    std::vector<double> weights(rows * count);
    const double largest = std::floor(kMixed / static_cast<double>(count));
    for (std::size_t k = 0; k < weights.size(); ++k)
        weights[k] = kind == 1 ? largest : std::floor(largest * std::sin(static_cast<double>(k)));
    const u64 factor = q.reduce(u64{1} << 40);
    for (std::size_t r = 0; r < rows; ++r) others.push_back(pool->take(n));
    for (std::size_t r = 0; r < rows; ++r)
        compare(
            "mix, row " + std::to_string(r) + " of " + std::to_string(rows) + " q=" + std::to_string(q.value), others[r],
            [&](const Kernels& k, u64* out) {
                std::vector<u64*> to;
                for (Buffer& other : others) to.push_back(other.data());
                to[r] = out;
                k.mix(to.data(), from.data(), weights.data(), rows, count, factor, n, q);
            },
            [&](std::size_t i) {
                u64 sum = 0;
                for (std::size_t k = 0; k < count; ++k)
                    sum = q.add(sum, product(q.from_signed(static_cast<std::int64_t>(weights[r * count + k])), from[k][i], q));
                return product(sum, factor, q);
            });
}

inline void run_suite(std::vector<const Kernels*> tables) {
    tested = std::move(tables);
    for (unsigned bits : {5U, 20U, 30U, 37U, 45U, 49U, 50U}) {
        const Modulus q = largest_prime(bits);
        for (int kind_a = 0; kind_a < kKinds; ++kind_a)
            for (int kind_b = 0; kind_b < kKinds; ++kind_b) test_elementwise(64, q, kind_a, kind_b);
        for (std::size_t n : {1U, 2U, 4U, 8U, 1024U}) test_elementwise(n, q, 0, 0);
        for (unsigned other : {3U, 17U, 30U, 44U, 50U})
            for (int kind = 0; kind < kKinds; ++kind) test_reductions(64, q, largest_prime(other), kind);
        for (std::size_t count : {0U, 1U, 2U, 3U, 5U, 6U, 7U, 8U, 9U, 16U, 40U})
            for (int kind : {0, 1, 4}) test_dot(64, count, q, kind, kind);
        for (std::size_t n : {1U, 4U, 16U, 1024U}) test_dot(n, 5, q, 0, 0);
        for (std::size_t n : {4U, 8U, 64U})
            for (int kind : {0, 1, 4}) test_mix(n, 7, 9, q, kind);
    }
    for (unsigned log_n = 1; log_n <= 14; ++log_n)
        for (unsigned bits : {log_n + 8, 30U, 37U, 45U, 49U, 50U})
            test_transforms(log_n, Modulus(generate_primes(log_n, {bits})[0]));
    test_transforms(15, Modulus(generate_primes(15, {50})[0]));
    test_transforms(16, Modulus(generate_primes(16, {50})[0]));
    test_transforms(17, Modulus(generate_primes(17, {50})[0]));
    for (unsigned log_n : {1U, 2U, 3U, 4U, 5U, 12U}) test_permute(log_n);
    for (std::size_t sources : {1U, 2U, 5U, 6U, 8U, 9U, 10U, 11U, 12U, 17U})
        for (unsigned from_bits : {30U, 45U, 49U, 50U})
            for (unsigned to_bits : {30U, 49U, 50U})
                for (const Kernels* k : tested) test_conversion(sources, 3, 64, from_bits, to_bits, *k);
    for (std::size_t n : {1U, 4U, 16U, 1024U})
        for (const Kernels* k : tested) test_conversion(3, 2, n, 50, 49, *k);
    for (unsigned bits : {3U, 17U, 30U, 31U, 33U, 44U, 50U}) test_uniform(largest_prime(bits));
}

}  // namespace cipherformer::test
