// Plaintext, Ciphertext, LinearTransform, and the Context methods that make them.
#include "bindings/common.hpp"
#include "ckks/evaluator.hpp"
#include "ckks/linear_transform.hpp"

namespace cipherformer::bindings {
namespace {

using Complex = std::complex<double>;

Keep kept(bool compact) { return compact ? Keep::coefficients : Keep::residues; }

template <typename T>
Plaintext encode_array(const PyContext& self, Array<T, 1> values, std::size_t level, double scale, bool extended,
                       bool compact) {
    const std::span<const T> view(values.data(), values.size());
    const nb::gil_scoped_release released;
    return encode(self.native, view, level, scale, extended, kept(compact));
}

nb::ndarray<nb::numpy, Complex, nb::ndim<1>> decode_array(const PyContext& self, const Plaintext& plaintext) {
    auto slots = std::make_unique<std::vector<Complex>>();
    {
        const nb::gil_scoped_release released;
        check_same_parameters(*self.native, *plaintext.context, "plaintext");
        *slots = decode(plaintext);
    }
    Complex* data = slots->data();
    const std::size_t size = slots->size();
    const nb::capsule owner(slots.release(), [](void* p) noexcept { delete static_cast<std::vector<Complex>*>(p); });
    return nb::ndarray<nb::numpy, Complex, nb::ndim<1>>(data, {size}, owner);
}

template <typename T>
LinearTransform make_transform(const PyContext& self, const std::vector<std::int64_t>& rotations, Array<T, 2> diagonals,
                               std::size_t level, double scale, std::size_t baby_step, bool compact) {
    if (diagonals.shape(0) != rotations.size())
        refuse("linear transform",
               std::to_string(diagonals.shape(0)) + " diagonals for " + std::to_string(rotations.size()) + " rotations",
               "give one row of values per rotation");
    const std::span<const T> view(diagonals.data(), diagonals.size());
    const nb::gil_scoped_release released;
    return LinearTransform::create(self.native, rotations, view, level, scale, baby_step, kept(compact));
}

Ciphertext deep_copy(const Ciphertext& a) {
    Ciphertext out = a;
    for (PolyPtr& part : out.parts) {
        auto poly = std::make_shared<Poly>(a.context->poly(a.level + 1));
        for (std::size_t j = 0; j <= a.level; ++j) std::copy_n(part->limb(j), a.context->n(), poly->limb(j));
        part = poly;
    }
    return out;
}

void extend_context(nb::module_& module) {
    auto context = nb::borrow<nb::class_<PyContext>>(module.attr("Context"));
    context
        .def("encode", &encode_array<double>, "values"_a.noconvert(), "level"_a, "scale"_a, "extended"_a = false,
             "compact"_a = false)
        .def("encode", &encode_array<Complex>, "values"_a.noconvert(), "level"_a, "scale"_a, "extended"_a = false,
             "compact"_a = false)
        .def("decode", &decode_array, "plaintext"_a)
        .def("linear_transform", &make_transform<double>, "rotations"_a, "diagonals"_a.noconvert(), "level"_a, "scale"_a,
             "baby_step"_a, "compact"_a = false)
        .def("linear_transform", &make_transform<Complex>, "rotations"_a, "diagonals"_a.noconvert(), "level"_a,
             "scale"_a, "baby_step"_a, "compact"_a = false)
        .def(
            "ciphertext",
            [](const PyContext& self, nb::handle data) {
                return with_bytes(data, [&](auto bytes) { return Ciphertext::from_bytes(self.native, bytes); });
            },
            "data"_a)
        .def(
            "public_key",
            [](const PyContext& self, nb::handle data) {
                return with_bytes(data, [&](auto bytes) { return PublicKey::from_bytes(self.native, bytes); });
            },
            "data"_a)
        .def(
            "switching_key",
            [](const PyContext& self, nb::handle data) {
                return PySwitchingKey{with_bytes(data, [&](auto bytes) {
                    return std::make_shared<const SwitchingKey>(SwitchingKey::from_bytes(self.native, bytes));
                })};
            },
            "data"_a);
}

}  // namespace

void bind_values(nb::module_& module) {
    nb::class_<Plaintext>(module, "Plaintext")
        .def_ro("level", &Plaintext::level)
        .def_ro("scale", &Plaintext::scale)
        .def_ro("period", &Plaintext::period)
        .def_ro("extended", &Plaintext::extended)
        .def_prop_ro("memory_bytes", &Plaintext::memory_bytes);

    nb::class_<Ciphertext>(module, "Ciphertext")
        .def_ro("level", &Ciphertext::level)
        .def_ro("scale", &Ciphertext::scale)
        .def_prop_ro("size", [](const Ciphertext& self) { return self.parts.size(); })
        .def_prop_ro("digest", [](const Ciphertext& self) { return to_python(self.context->parameters().digest()); })
        .def("set_scale", &Evaluator::with_scale, "scale"_a)
        .def("copy", &deep_copy, Released())
        .def("to_bytes",
             [](const Ciphertext& self) { return produce_bytes([&] { return self.to_bytes(); }); });

    nb::class_<LinearTransform>(module, "LinearTransform")
        .def_ro("level", &LinearTransform::level)
        .def_ro("scale", &LinearTransform::scale)
        .def_prop_ro("rotations_needed",
                     [](const LinearTransform& self) { return std::pair(self.babies, self.giants()); })
        .def_prop_ro("memory_bytes", &LinearTransform::memory_bytes);
    extend_context(module);
}

}  // namespace cipherformer::bindings
