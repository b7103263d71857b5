// The kernels that this machine can run.
#include "ring_suite.hpp"

using namespace cipherformer;

int main() {
    std::vector<const Kernels*> tables;
    for (Path path : available_paths()) tables.push_back(&kernels(path));
    test::run_suite(tables);
    const std::vector<Modulus> two = test::moduli(generate_primes(4, {30, 30}), 0, 2);
    test::check_throws([&] { BaseConverter({two[0], two[0]}, {two[1]}); }, "repeated source modulus");
    test::check_throws([&] { BaseConverter({two[0]}, {two[0]}); }, "shared modulus");
    test::check_throws([&] { BaseConverter({}, {two[0]}); }, "no source modulus");
    return test::report("test_ring_kernels");
}
