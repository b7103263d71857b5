#include "ckks/evaluator.hpp"

#include "bindings/common.hpp"
#include "ckks/linear_transform.hpp"

namespace cipherformer::bindings {

void bind_evaluator(nb::module_& module) {
    nb::class_<Evaluator>(module, "Evaluator")
        .def(
            "__init__",
            [](Evaluator* self, const PyContext& context, const PyKeySet& keys) {
                check_same_parameters(*context.native, *keys.native->context(), "key set");
                new (self) Evaluator(keys.native);
            },
            "context"_a, "keys"_a)
        .def_prop_ro("threads", [](const Evaluator& self) { return self.context()->threads(); })
        .def("add", &Evaluator::add, "a"_a, "b"_a, Released())
        .def("sub", &Evaluator::sub, "a"_a, "b"_a, Released())
        .def("add_many", &Evaluator::add_many, "terms"_a, Released())
        .def("negate", &Evaluator::negate, "a"_a, Released())
        .def("add_plain", &Evaluator::add_plain, "a"_a, "b"_a, Released())
        .def("sub_plain", &Evaluator::sub_plain, "a"_a, "b"_a, Released())
        .def("mul_plain", &Evaluator::mul_plain, "a"_a, "b"_a, Released())
        .def("add_scalar", &Evaluator::add_scalar, "a"_a, "x"_a, Released())
        .def("mul_scalar_int", &Evaluator::mul_scalar_int, "a"_a, "x"_a, Released())
        .def("mul_scalar", &Evaluator::mul_scalar, "a"_a, "x"_a, "scale"_a, Released())
        .def("multiply", &Evaluator::multiply, "a"_a, "b"_a, "relinearise"_a = true, "rescale"_a = false, Released())
        .def("dot", &Evaluator::dot, "a"_a, "b"_a, Released())
        .def(
            "mix",
            [](const Evaluator& self, const std::vector<Ciphertext>& a, const Array<double, 2>& weights, double factor, double scale) {
                if (weights.shape(1) != a.size())
                    throw std::invalid_argument("mix: one column of weights for each ciphertext");
                const std::vector<double> values(weights.data(), weights.data() + weights.size());
                nb::gil_scoped_release released;
                return self.mix(a, values, factor, scale);
            },
            "a"_a, "weights"_a, "factor"_a, "scale"_a)
        .def("square", &Evaluator::square, "a"_a, "relinearise"_a = true, "rescale"_a = false, Released())
        .def("relinearise", &Evaluator::relinearise, "a"_a, "rescale"_a = false, Released())
        .def("rescale", &Evaluator::rescale, "a"_a, Released())
        .def("drop_level", &Evaluator::drop_level, "a"_a, "level"_a, Released())
        .def("rotate", &Evaluator::rotate, "a"_a, "steps"_a, Released())
        .def("rotate_hoisted", &Evaluator::rotate_hoisted, "a"_a, "steps"_a, Released())
        .def("conjugate", &Evaluator::conjugate, "a"_a, Released())
        .def("raise_modulus", &Evaluator::raise_modulus, "a"_a, "level"_a, Released())
        .def(
            "apply",
            [](const Evaluator& self, const LinearTransform& transform, const Ciphertext& a, bool rescale) {
                return self.apply(transform, a, rescale);
            },
            "transform"_a, "a"_a, "rescale"_a = false, Released());
}

}  // namespace cipherformer::bindings
