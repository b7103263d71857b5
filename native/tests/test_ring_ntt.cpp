// The transform against direct evaluation, the product it is for, subring transforms and automorphisms.
#include <limits>

#include "ring/basis.hpp"
#include "ring/ntt.hpp"
#include "ring_check.hpp"

using namespace cipherformer;
using test::check;

namespace {

const auto pool = BufferPool::create();

u64 evaluate(const u64* coefficients, std::size_t n, u64 x, const Modulus& q) {
    u64 value = 0;
    for (std::size_t i = n; i-- > 0;) value = q.add(q.mul(value, x), coefficients[i]);
    return value;
}

void test_values(unsigned log_n, unsigned bits, Path path) {
    const Modulus q(generate_primes(log_n, {bits})[0]);
    const NttTable table(log_n, q, path);
    const std::size_t n = table.size();
    const std::string where =
        std::string(kernels(path).name) + " n=2^" + std::to_string(log_n) + " q=" + std::to_string(q.value);
    Buffer a = pool->take(n);
    Buffer values = pool->take(n);
    for (int kind = 0; kind < test::kKinds; ++kind) {
        test::fill(a.data(), n, q, kind, log_n);
        std::copy_n(a.data(), n, values.data());
        table.forward(values.data());
        const std::size_t stride = n > 64 ? n / 61 : 1;  // direct evaluation is slow: look at some
        for (std::size_t k = 0; k < n; k += stride) {
            const u64 point = q.pow(table.root(), 2 * reverse_bits(k, log_n) + 1);
            check(values[k] == evaluate(a.data(), n, point, q), "forward value " + where);
        }
        table.inverse(values.data());
        check(std::equal(a.data(), a.data() + n, values.data()), "inverse(forward) " + where);
        table.forward(values.data());
        table.inverse_scaled(values.data(), 12345 % q.value);
        for (std::size_t i = 0; i < n; ++i) check(values[i] == q.mul(a[i], 12345 % q.value), "inverse_scaled " + where);
    }
}

// Steps that a path may do in one: the same bits as one after the other.
void test_joined_steps(unsigned log_n, unsigned bits, Path path) {
    const std::vector<u64> primes = generate_primes(log_n, {bits, bits, bits});
    const Modulus q(primes[0]);
    const NttTable table(log_n, q, path);
    const std::size_t n = table.size();
    const Kernels& k = kernels(path);
    const std::string where = std::string(k.name) + " n=2^" + std::to_string(log_n) + " q=" + std::to_string(q.value);
    Buffer random = pool->take(n), out = pool->take(n), expected = pool->take(n);
    test::fill(random.data(), n, q, 0, log_n);
    std::vector<std::int32_t> narrow(n);
    std::vector<double> wide(n);
    for (std::size_t i = 0; i < n; ++i) {
        narrow[i] = static_cast<std::int32_t>(random[i]);
        if (narrow[i] == std::numeric_limits<std::int32_t>::min()) narrow[i] = 0;
        wide[i] = static_cast<double>(static_cast<std::int64_t>(random[i] * 0x9e3779b97f4a7c15) >> 13);  // below 2^51
    }
    wide[0] = 0x1p51, wide[n - 1] = -0x1p51, wide[n / 2] = -0.0;
    k.lift(expected.data(), narrow.data(), n, q);
    table.forward(expected.data());
    table.forward_integers(out.data(), narrow.data(), log_n);
    check(std::equal(out.data(), out.data() + n, expected.data()), "transform of small integers " + where);
    k.lift_real(expected.data(), wide.data(), n, q);
    table.forward(expected.data());
    table.forward_integers(out.data(), wide.data(), log_n);
    check(std::equal(out.data(), out.data() + n, expected.data()), "transform of doubles " + where);

    const BaseConverter converter({q, Modulus(primes[1])}, {Modulus(primes[2])}, true);
    std::copy_n(random.data(), n, expected.data());
    table.inverse_scaled(expected.data(), converter.scale(0));
    converter.prepare(expected.data(), expected.data(), n, 0, k);
    converter.prepare_transformed(out.data(), random.data(), table, 0, k);
    check(std::equal(out.data(), out.data() + n, expected.data()), "prepared from a transform " + where);
    converter.prepare_transformed(random.data(), random.data(), table, 0, k);
    check(std::equal(out.data(), out.data() + n, random.data()), "prepared in place " + where);
}

void test_product(Path path) {
    const unsigned log_n = 5;
    const Modulus q(generate_primes(log_n, {50})[0]);
    const NttTable table(log_n, q, path);
    const std::size_t n = table.size();
    Buffer a = pool->take(n), b = pool->take(n), c = pool->take_zero(n);
    test::fill(a.data(), n, q, 0, 1);
    test::fill(b.data(), n, q, 0, 2);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            const u64 term = q.mul(a[i], b[j]);
            u64& target = c[(i + j) % n];
            target = i + j < n ? q.add(target, term) : q.sub(target, term);
        }
    table.forward(a.data());
    table.forward(b.data());
    kernels(path).mul(a.data(), a.data(), b.data(), n, q);
    table.inverse(a.data());
    check(std::equal(a.data(), a.data() + n, c.data()), std::string("negacyclic product ") + kernels(path).name);
}

void test_subring(Path path) {
    const unsigned log_n = 10;
    const Modulus q(generate_primes(log_n, {45})[0]);
    const NttTable table(log_n, q, path);
    const std::size_t n = table.size();
    for (unsigned log_m = 0; log_m <= log_n; ++log_m) {
        const std::size_t m = std::size_t{1} << log_m;
        Buffer small = pool->take(m), full = pool->take_zero(n), back = pool->take(m);
        test::fill(small.data(), m, q, 0, log_m);
        std::copy_n(small.data(), m, back.data());
        for (std::size_t i = 0; i < m; ++i) full[i * (n / m)] = small[i];
        table.forward(full.data());
        table.forward_small(small.data(), log_m);
        for (std::size_t i = 0; i < n; ++i)
            check(full[i] == small[i >> (log_n - log_m)], std::string("subring values ") + kernels(path).name);
        table.inverse_small(small.data(), log_m);
        check(std::equal(back.data(), back.data() + m, small.data()),
              std::string("subring inverse ") + kernels(path).name);
    }
}

void test_automorphism(unsigned log_n, Path path) {
    const Modulus q(generate_primes(log_n, {40})[0]);
    const NttTable table(log_n, q, path);
    const std::size_t n = table.size();
    Buffer a = pool->take(n), mapped = pool->take(n), permuted = pool->take(n);
    std::vector<u64> exponents{galois_conjugation(log_n)};
    for (std::int64_t steps : {0, 1, 2, 3, 5, -1, -7}) exponents.push_back(galois_rotation(log_n, steps));
    for (u64 exponent : exponents) {
        test::fill(a.data(), n, q, 0, exponent);
        galois_coefficients(mapped.data(), a.data(), log_n, exponent, q);
        table.forward(mapped.data());
        table.forward(a.data());
        const std::vector<std::uint32_t> index = galois_permutation(log_n, exponent);
        kernels(path).permute(permuted.data(), a.data(), index.data(), n);
        check(std::equal(mapped.data(), mapped.data() + n, permuted.data()),
              std::string("automorphism ") + kernels(path).name + " exponent " + std::to_string(exponent));
    }
}

}  // namespace

int main() {
    for (Path path : available_paths()) {
        for (unsigned log_n = 1; log_n <= 13; ++log_n)
            for (unsigned bits : {log_n + 4, 30U, 37U, 45U, 50U}) test_values(log_n, bits, path);
        test_values(16, 50, path);
        for (unsigned log_n : {1U, 3U, 4U, 5U, 11U, 12U, 13U, 15U})
            for (unsigned bits : {30U, 40U, 50U}) test_joined_steps(log_n, bits, path);
        test_product(path);
        test_subring(path);
        for (unsigned log_n : {1U, 2U, 3U, 4U, 11U}) test_automorphism(log_n, path);
    }
    const Modulus q(generate_primes(4, {30})[0]);
    test::check_throws([&] { NttTable(0, q, Path::portable); }, "log_n 0");
    test::check_throws([&] { NttTable(18, q, Path::portable); }, "log_n 18");
    test::check_throws([&] { NttTable(3, Modulus(7), Path::portable); }, "a prime that is not 1 mod 2N");
    return test::report("test_ring_ntt");
}
