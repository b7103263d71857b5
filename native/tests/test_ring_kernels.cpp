// Every path against the portable kernels, bit for bit, and those against one-line definitions in 128-bit integers.
#include <functional>

#include "ring/basis.hpp"
#include "ring/ntt.hpp"
#include "ring_check.hpp"

using namespace cipherformer;
using test::check;

namespace {

const auto pool = BufferPool::create();
const Kernels& reference = kernels(Path::portable);

using Call = std::function<void(const Kernels&, u64*)>;

// Runs a kernel on copies of `initial` and compares with the portable result, and that with `definition` if given.
void compare(const std::string& what, const Buffer& initial, const Call& call,
             const std::function<u64(std::size_t)>& definition = nullptr) {
    const std::size_t n = initial.size();
    Buffer expected = pool->take(n), actual = pool->take(n);
    std::copy_n(initial.data(), n, expected.data());
    call(reference, expected.data());
    for (std::size_t i = 0; definition && i < n; ++i)
        check(expected[i] == definition(i), "portable " + what + " at " + std::to_string(i));
    for (Path path : available_paths()) {
        std::copy_n(initial.data(), n, actual.data());
        call(kernels(path), actual.data());
        check(std::equal(expected.data(), expected.data() + n, actual.data()), std::string(kernels(path).name) + " " + what);
    }
}

u64 product(u64 a, u64 b, const Modulus& q) { return static_cast<u64>(static_cast<u128>(a) * b % q.value); }

void test_elementwise(std::size_t n, const Modulus& q, int kind_a, int kind_b) {
    Buffer a = pool->take(n), b = pool->take(n), c = pool->take(n);
    test::fill(a.data(), n, q, kind_a, 1);
    test::fill(b.data(), n, q, kind_b, 2);
    test::fill(c.data(), n, q, kind_b, 3);
    const std::string where = " n=" + std::to_string(n) + " q=" + std::to_string(q.value) + " kinds " +
                              std::to_string(kind_a) + " " + std::to_string(kind_b);
    const auto name = [&](const char* kernel) { return kernel + where; };
    compare(name("add"), c, [&](const Kernels& k, u64* out) { k.add(out, a.data(), b.data(), n, q); },
            [&](std::size_t i) { return (a[i] + b[i]) % q.value; });
    compare(name("sub"), c, [&](const Kernels& k, u64* out) { k.sub(out, a.data(), b.data(), n, q); },
            [&](std::size_t i) { return (a[i] + q.value - b[i]) % q.value; });
    compare(name("neg"), c, [&](const Kernels& k, u64* out) { k.neg(out, a.data(), n, q); },
            [&](std::size_t i) { return (q.value - a[i]) % q.value; });
    compare(name("mul"), c, [&](const Kernels& k, u64* out) { k.mul(out, a.data(), b.data(), n, q); },
            [&](std::size_t i) { return product(a[i], b[i], q); });
    compare(name("mul in place"), a, [&](const Kernels& k, u64* out) { k.mul(out, out, out, n, q); },
            [&](std::size_t i) { return product(a[i], a[i], q); });
    compare(name("mul_add"), c, [&](const Kernels& k, u64* out) { k.mul_add(out, a.data(), b.data(), n, q); },
            [&](std::size_t i) { return (product(a[i], b[i], q) + c[i]) % q.value; });
    for (u64 s : {u64{0}, u64{1}, q.half, q.half + 1, q.value - 1, b[0]}) {
        compare(name("add_scalar"), c, [&](const Kernels& k, u64* out) { k.add_scalar(out, a.data(), s, n, q); },
                [&](std::size_t i) { return (a[i] + s) % q.value; });
        compare(name("mul_scalar"), c, [&](const Kernels& k, u64* out) { k.mul_scalar(out, a.data(), s, n, q); },
                [&](std::size_t i) { return product(a[i], s, q); });
        compare(name("mul_scalar_add"), c, [&](const Kernels& k, u64* out) { k.mul_scalar_add(out, a.data(), s, n, q); },
                [&](std::size_t i) { return (product(a[i], s, q) + c[i]) % q.value; });
        compare(name("sub_mul_scalar"), c,
                [&](const Kernels& k, u64* out) { k.sub_mul_scalar(out, a.data(), b.data(), s, n, q); },
                [&](std::size_t i) { return product((a[i] + q.value - b[i]) % q.value, s, q); });
    }
}

void test_reductions(std::size_t n, const Modulus& from, const Modulus& to, int kind) {
    Buffer a = pool->take(n), out = pool->take_zero(n);
    test::fill(a.data(), n, from, kind, 4);
    const std::string where = " from " + std::to_string(from.value) + " to " + std::to_string(to.value);
    compare("reduce" + where, out, [&](const Kernels& k, u64* o) { k.reduce(o, a.data(), n, from, to); },
            [&](std::size_t i) { return a[i] % to.value; });
    compare("reduce_centred" + where, out, [&](const Kernels& k, u64* o) { k.reduce_centred(o, a.data(), n, from, to); },
            [&](std::size_t i) { return to.from_signed(from.centred(a[i])); });
    std::vector<std::int32_t> small(n);
    for (std::size_t i = 0; i < n; ++i)
        small[i] = kind == 0 ? static_cast<std::int32_t>(a[i]) : (i % 2 == 0 ? 2147483647 : -2147483647);
    compare("lift" + where, out, [&](const Kernels& k, u64* o) { k.lift(o, small.data(), n, to); },
            [&](std::size_t i) { return to.from_signed(small[i]); });
}

void test_dot(std::size_t n, std::size_t count, const Modulus& q, int kind_a, int kind_b) {
    std::vector<Buffer> a, b;
    std::vector<const u64*> a_rows, b_rows;
    for (std::size_t d = 0; d < count; ++d) {
        a.push_back(pool->take(n)), b.push_back(pool->take(n));
        test::fill(a[d].data(), n, q, kind_a, 2 * d);
        test::fill(b[d].data(), n, q, kind_b, 2 * d + 1);
        a_rows.push_back(a[d].data()), b_rows.push_back(b[d].data());
    }
    Buffer c = pool->take(n);
    test::fill(c.data(), n, q, kind_b, 1000);
    const std::string where = " of " + std::to_string(count) + " q=" + std::to_string(q.value) + " n=" + std::to_string(n);
    for (bool accumulate : {false, true}) {
        compare("dot" + where, c,
                [&](const Kernels& k, u64* out) { k.dot(out, a_rows.data(), b_rows.data(), count, accumulate, n, q); },
                [&](std::size_t i) {
                    u64 sum = accumulate ? c[i] : 0;
                    for (std::size_t d = 0; d < count; ++d) sum = q.add(sum, product(a[d][i], b[d][i], q));
                    return sum;
                });
        for (unsigned shift = 0; (std::size_t{1} << shift) <= n && shift < 7; ++shift)
            compare("dot_repeated by 2^" + std::to_string(shift) + where, c,
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
void test_transforms(unsigned log_n, const Modulus& q) {
    const std::size_t n = std::size_t{1} << log_n;
    const NttTable portable_table(log_n, q, Path::portable);
    Buffer a = pool->take(n), expected = pool->take(n), actual = pool->take(n);
    for (Path path : available_paths()) {
        const NttTable table(log_n, q, path);
        for (int kind = 0; kind < test::kKinds; ++kind) {
            test::fill(a.data(), n, q, kind, log_n);
            std::copy_n(a.data(), n, expected.data()), std::copy_n(a.data(), n, actual.data());
            portable_table.forward(expected.data()), table.forward(actual.data());
            const std::string where = std::string(kernels(path).name) + " 2^" + std::to_string(log_n) + " q=" + std::to_string(q.value);
            check(std::equal(expected.data(), expected.data() + n, actual.data()), "forward " + where);
            std::copy_n(a.data(), n, expected.data()), std::copy_n(a.data(), n, actual.data());
            portable_table.inverse(expected.data()), table.inverse(actual.data());
            check(std::equal(expected.data(), expected.data() + n, actual.data()), "inverse " + where);
        }
    }
}

void test_permute(unsigned log_n) {
    const std::size_t n = std::size_t{1} << log_n;
    const Modulus q(generate_primes(log_n, {40})[0]);
    Buffer a = pool->take(n), out = pool->take_zero(n);
    test::fill(a.data(), n, q, 0, 5);
    for (std::int64_t steps : {0, 1, 2, 3, 4, 5, 6, 7, 100, -3}) {
        const std::vector<std::uint32_t> index = galois_permutation(log_n, galois_rotation(log_n, steps));
        compare("permute", out, [&](const Kernels& k, u64* o) { k.permute(o, a.data(), index.data(), n); },
                [&](std::size_t i) { return a[index[i]]; });
    }
}

// Primes next to 2^bits from below: the worst case of every bound.
Modulus largest_prime(unsigned bits) {
    u64 candidate = (u64{1} << bits) - 1;
    while (!is_prime(candidate)) candidate -= 2;
    return Modulus(candidate);
}

}  // namespace

int main() {
    for (unsigned bits : {5U, 20U, 30U, 37U, 45U, 49U, 50U}) {
        const Modulus q = largest_prime(bits);
        for (int kind_a = 0; kind_a < test::kKinds; ++kind_a)
            for (int kind_b = 0; kind_b < test::kKinds; ++kind_b) test_elementwise(64, q, kind_a, kind_b);
        for (std::size_t n : {1U, 2U, 4U, 8U, 1024U}) test_elementwise(n, q, 0, 0);
        for (unsigned other : {3U, 17U, 30U, 44U, 50U})
            for (int kind = 0; kind < test::kKinds; ++kind) test_reductions(64, q, largest_prime(other), kind);
        for (std::size_t count : {0U, 1U, 2U, 7U, 8U, 9U, 16U, 40U})
            for (int kind : {0, 1, 4}) test_dot(64, count, q, kind, kind);
        for (std::size_t n : {1U, 4U, 16U, 1024U}) test_dot(n, 5, q, 0, 0);
    }
    for (unsigned log_n = 1; log_n <= 14; ++log_n)
        for (unsigned bits : {log_n + 8, 30U, 37U, 45U, 49U, 50U}) test_transforms(log_n, Modulus(generate_primes(log_n, {bits})[0]));
    test_transforms(15, Modulus(generate_primes(15, {50})[0]));
    test_transforms(16, Modulus(generate_primes(16, {50})[0]));
    test_transforms(17, Modulus(generate_primes(17, {50})[0]));
    for (unsigned log_n : {1U, 2U, 3U, 4U, 5U, 12U}) test_permute(log_n);
    return test::report("test_ring_kernels");
}
