// Scalar arithmetic and primes against plain 128-bit division; buffers; threads.
#include <atomic>
#include <numeric>
#include <set>
#include <thread>

#include "ring/parallel.hpp"
#include "ring_check.hpp"

using namespace cipherformer;
using test::check;

namespace {

void test_arithmetic(u64 prime) {
    const Modulus q(prime);
    const std::string where = " modulo " + std::to_string(prime);
    std::vector<u64> values{0, 1, 2 % prime, q.half, q.half + 1, prime - 1};
    Prng prng(test::fixed_seed(5), 4, prime, kernels(Path::portable));
    for (int i = 0; i < 20; ++i) values.push_back(prng.below(prime));
    for (u64 a : values) {
        for (u64 b : values) {
            const u64 product = static_cast<u64>(static_cast<u128>(a) * b % prime);
            check(q.add(a, b) == (a + b) % prime, "add" + where);
            check(q.sub(a, b) == (a + prime - b) % prime, "sub" + where);
            check(q.mul(a, b) == product, "mul" + where);
            check(q.mul(a, q.shoup(b)) == product, "mul by a Shoup factor" + where);
            check(q.mul(~a, q.shoup(b)) == q.mul(~a % prime, b), "Shoup product of a large word" + where);
        }
        check(q.add(a, q.neg(a)) == 0 && q.neg(a) < prime, "neg" + where);
        if (a != 0) check(q.mul(a, q.invert(a)) == 1, "invert" + where);
        check(q.from_signed(q.centred(a)) == a, "centred" + where);
        check(q.centred(a) <= static_cast<std::int64_t>(q.half) && -q.centred(a) <= static_cast<std::int64_t>(q.half),
              "range of centred" + where);
    }
    for (int i = 0; i < 200; ++i) {
        const u64 high = i == 0 ? ~u64{0} : prng.next(), low = i == 0 ? ~u64{0} : prng.next();
        const u128 wide = static_cast<u128>(high) << 64 | low;
        check(q.reduce(low) == low % prime, "reduce" + where);
        check(q.reduce_wide(wide) == static_cast<u64>(wide % prime), "reduce_wide" + where);
    }
    check(q.from_signed(std::numeric_limits<std::int64_t>::min()) == q.neg((u64{1} << 63) % prime),
          "from_signed of the least integer" + where);
    test::check_throws([&] { (void)q.invert(0); }, "inverse of zero");
}

void test_primes() {
    std::vector<bool> composite(5000, false);
    for (std::size_t i = 2; i < composite.size(); ++i) {
        check(is_prime(i) == !composite[i], "is_prime " + std::to_string(i));
        for (std::size_t j = i * i; !composite[i] && j < composite.size(); j += i) composite[j] = true;
    }
    check(!is_prime(0) && !is_prime(1), "0 and 1 are not prime");
    check(!is_prime(3215031751) && !is_prime(3825123056546413051), "strong pseudoprimes to small bases");
    check(is_prime(18446744073709551557U), "the largest prime below 2^64");
    for (unsigned log_n : {3U, 13U, 16U}) {
        const std::vector<u64> primes = generate_primes(log_n, {50, 40, 40, 40, 40, 50, 45});
        check(std::set<u64>(primes.begin(), primes.end()).size() == primes.size(), "distinct primes");
        for (u64 prime : primes)
            check(is_prime(prime) && prime % (u64{2} << log_n) == 1 && prime < u64{1} << 50, "a prime for the ring");
        check(primes[1] > u64{1} << 40 && primes[2] < u64{1} << 40 && primes[3] > primes[1] && primes[4] < primes[2],
              "alternating around 2^40");
        const Modulus q(primes[0]);
        const u64 root = primitive_root(q, log_n + 1);
        check(q.pow(root, u64{1} << log_n) == q.value - 1, "primitive root");
    }
    test::check_throws([] { (void)generate_primes(13, {51}); }, "51 bits");
    test::check_throws([] { (void)generate_primes(13, {14}); }, "too few bits");
    test::check_throws([] { (void)generate_primes(13, std::vector<unsigned>(40, 16)); }, "too many primes of a size");
    test::check_throws([] { Modulus(15); }, "a composite modulus");
    test::check_throws([] { Modulus(2); }, "an even modulus");
    test::check_throws([] { Modulus(1125899906842679); }, "a prime above 2^50");
    test::check_throws([] { (void)primitive_root(Modulus(7), 2); }, "a root that is not there");
    test::check_throws([] { (void)path_from_name("sse"); }, "an unknown path");
    check(path_from_name("auto") == best_path() && path_from_name("portable") == Path::portable, "path names");
}

void test_buffers() {
    const auto pool = BufferPool::create(100 * sizeof(u64));
    u64* address = nullptr;
    {
        Buffer a = pool->take(64);
        address = a.data();
        check(reinterpret_cast<std::uintptr_t>(address) % 64 == 0, "alignment");
        Buffer b = std::move(a);
        check(a.empty() && a.data() == nullptr && b.data() == address && b.size() == 64, "move");
    }
    check(pool->kept_bytes() == 64 * sizeof(u64), "a freed block is kept");
    {
        Buffer a = pool->take_zero(64), b = pool->take(64);
        check(a.data() == address && b.data() != address, "the kept block is used again");
        check(std::all_of(a.data(), a.data() + 64, [](u64 x) { return x == 0; }), "take_zero");
    }
    check(pool->kept_bytes() == 64 * sizeof(u64), "no more than the limit is kept");
    pool->trim();
    check(pool->kept_bytes() == 0, "trim");
    Buffer survivor;
    {
        const auto other = BufferPool::create();
        survivor = other->take(std::size_t{1} << 19);
    }
    survivor[0] = 1, survivor[survivor.size() - 1] = 2;  // the pool lives as long as its buffers
    check(reinterpret_cast<std::uintptr_t>(survivor.data()) % (std::size_t{2} << 20) == 0, "huge-page alignment");
}

void test_threads(unsigned threads) {
    ThreadPool pool(threads);
    const std::string where = " with " + std::to_string(threads) + " threads";
    for (std::size_t count : {0U, 1U, 2U, 3U, 100U}) {
        std::vector<std::atomic<int>> calls(count);
        pool.parallel_for(count, [&](std::size_t i) { ++calls[i]; });
        check(std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c == 1; }), "each task once" + where);
    }
    std::atomic<int> total = 0;
    pool.parallel_for(8, [&](std::size_t) { pool.parallel_for(8, [&](std::size_t) { ++total; }); });
    check(total == 64, "nested" + where);
    for (int round = 0; round < 20; ++round) {
        std::string caught;
        try {
            pool.parallel_for(50, [&](std::size_t i) {
                if (i == 7) throw std::runtime_error("seven");
            });
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        check(caught == "seven", "an exception reaches the caller" + where);
    }
    total = 0;
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; ++c)
        callers.emplace_back([&] {
            for (int round = 0; round < 50; ++round) pool.parallel_for(5, [&](std::size_t) { ++total; });
        });
    for (std::thread& caller : callers) caller.join();
    check(total == 750, "several callers at once" + where);
}

}  // namespace

int main() {
    for (u64 prime :
         {u64{3}, u64{5}, u64{7}, u64{97}, u64{65537}, u64{1073741789}, u64{562949953421231}, u64{1125899906842597}})
        test_arithmetic(prime);
    test_primes();
    test_buffers();
    for (unsigned threads : {1U, 2U, 5U}) test_threads(threads);
    test::check_throws([] { ThreadPool(0); }, "no thread");
    return test::report("test_ring_core");
}
