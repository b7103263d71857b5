#include "bindings/common.hpp"

#include "ckks/linear_transform.hpp"

namespace cipherformer::bindings {
namespace {

const char* name(Path path) { return kernels(path).name; }

void bind_context(nb::module_& module) {
    nb::class_<PyContext>(module, "Context")
        .def(
            "__init__",
            [](PyContext* self, const Parameters& parameters, unsigned threads, const std::string& kernels) {
                const nb::gil_scoped_release released;
                new (self) PyContext{std::make_shared<const Context>(parameters, threads, kernels)};
            },
            "params"_a, "threads"_a = 1, "kernels"_a = "auto")
        .def_prop_ro("params", [](const PyContext& self) { return self.native->parameters(); })
        .def_prop_ro("threads", [](const PyContext& self) { return self.native->threads(); })
        .def_prop_ro("kernels", [](const PyContext& self) { return std::string(self.native->kernels().name); })
        .def("trim", [](const PyContext& self) { self.native->pool().trim(); }, Released());
}

}  // namespace

void bind_parameters(nb::module_& module) {
    module.def("cpu_kernels", [] {
        std::vector<std::string> names;
        for (Path path : available_paths()) names.emplace_back(name(path));
        return names;
    });
    module.def("max_log_qp", &max_log_qp, "log_n"_a, "hamming_weight"_a = 0);
    module.def("generate_primes", &generate_primes, "log_n"_a, "bits"_a, Released());
    module.def(
        "sha256", [](nb::handle data) { return to_python(with_bytes(data, [](auto bytes) { return sha256(bytes); })); },
        "data"_a);

    nb::class_<Parameters>(module, "Parameters")
        .def(
            "__init__",
            [](Parameters* self, unsigned log_n, std::vector<u64> moduli, std::vector<u64> special_moduli,
               unsigned digit_size, unsigned hamming_weight, bool insecure) {
                new (self) Parameters(
                    {log_n, std::move(moduli), std::move(special_moduli), digit_size, hamming_weight, insecure});
            },
            "log_n"_a, "moduli"_a, "special_moduli"_a, "digit_size"_a, "hamming_weight"_a = 0, "insecure"_a = false)
        .def_prop_ro("log_n", &Parameters::log_n)
        .def_prop_ro("slots", &Parameters::slots)
        .def_prop_ro("moduli", &Parameters::moduli)
        .def_prop_ro("special_moduli", &Parameters::special_moduli)
        .def_prop_ro("digit_size", &Parameters::digit_size)
        .def_prop_ro("dnum", [](const Parameters& self) { return self.digits(self.max_level()); })
        .def_prop_ro("max_level", &Parameters::max_level)
        .def_prop_ro("hamming_weight", &Parameters::hamming_weight)
        .def_prop_ro("insecure", &Parameters::insecure)
        .def_prop_ro("log_qp", &Parameters::log_qp)
        .def_prop_ro("security_bits", &Parameters::security_bits)
        .def_prop_ro("digest", [](const Parameters& self) { return to_python(self.digest()); })
        .def("to_bytes", [](const Parameters& self) { return to_python(self.to_bytes()); })
        .def_static(
            "from_bytes", [](nb::handle data) { return with_bytes(data, Parameters::from_bytes); }, "data"_a)
        .def("__eq__",
             [](const Parameters& self, nb::handle other) {
                 return nb::isinstance<Parameters>(other) && nb::cast<const Parameters&>(other).digest() == self.digest();
             })
        .def("__hash__", [](const Parameters& self) { return nb::hash(to_python(self.digest())); });
    bind_context(module);
}

}  // namespace cipherformer::bindings
