// Keys. SecretKey is the only class of the module that ever holds a secret.
#include "bindings/common.hpp"
#include "ckks/secret_key.hpp"

namespace cipherformer::bindings {
namespace {

PySwitchingKey shared(SwitchingKey&& key) { return {std::make_shared<const SwitchingKey>(std::move(key))}; }

KeyKind kind_from_name(const std::string& text) {
    for (KeyKind kind : {KeyKind::relinearise, KeyKind::rotate, KeyKind::conjugate, KeyKind::encapsulate,
                         KeyKind::decapsulate})
        if (text == name(kind)) return kind;
    refuse("key kind \"" + text + "\"", "unknown", "use relinearise, rotate, conjugate, encapsulate or decapsulate");
}

void construct_secret_key(SecretKey* self, const PyContext& context, std::optional<nb::bytes> seed) {
    if (!seed) {
        const nb::gil_scoped_release released;
        new (self) SecretKey(context.native);
        return;
    }
    if (seed->size() != sizeof(Seed))
        refuse("secret key", "the seed has " + std::to_string(seed->size()) + " bytes", "give 32 uniformly random bytes");
    Seed copy{};
    std::copy_n(reinterpret_cast<const std::uint8_t*>(seed->c_str()), copy.size(), copy.begin());
    {
        const nb::gil_scoped_release released;
        new (self) SecretKey(context.native, copy);
    }
    secure_zero(copy.data(), copy.size());
}

void bind_secret_key(nb::module_& module) {
    nb::class_<SecretKey>(module, "SecretKey")
        .def("__init__", &construct_secret_key, "context"_a, "seed"_a = nb::none())
        .def("encrypt", &SecretKey::encrypt, "plaintext"_a, Released())
        .def("decrypt", &SecretKey::decrypt, "ciphertext"_a, Released())
        .def("public_key", &SecretKey::public_key, Released())
        .def(
            "relinearisation_key",
            [](const SecretKey& self, std::size_t level) { return shared(self.relinearisation_key(level)); }, "level"_a,
            Released())
        .def(
            "rotation_key",
            [](const SecretKey& self, std::int64_t steps, std::size_t level) {
                return shared(self.rotation_key(steps, level));
            },
            "steps"_a, "level"_a, Released())
        .def(
            "conjugation_key",
            [](const SecretKey& self, std::size_t level) { return shared(self.conjugation_key(level)); }, "level"_a,
            Released())
        .def(
            "encapsulation_key", [](const SecretKey& self) { return shared(self.encapsulation_key()); }, Released())
        .def(
            "decapsulation_key",
            [](const SecretKey& self, std::size_t level) { return shared(self.decapsulation_key(level)); }, "level"_a,
            Released())
        .def("to_bytes",
             [](const SecretKey& self) {
                 Bytes bytes = self.to_bytes();
                 const nb::bytes out = to_python(bytes);
                 secure_zero(bytes.data(), bytes.size());
                 return out;
             })
        .def_static(
            "from_bytes",
            [](const PyContext& context, nb::handle data) {
                return with_bytes(data, [&](auto bytes) { return SecretKey::from_bytes(context.native, bytes); });
            },
            "context"_a, "data"_a);
}

void bind_key_set(nb::module_& module) {
    const auto steps_of = [](const PyKeySet& self, std::int64_t steps) {
        return normalised_steps(*self.native->context(), steps);
    };
    nb::class_<PyKeySet>(module, "KeySet")
        .def(
            "__init__",
            [](PyKeySet* self, const PyContext& context) { new (self) PyKeySet{std::make_shared<KeySet>(context.native)}; },
            "context"_a)
        .def("add", [](const PyKeySet& self, const PySwitchingKey& key) { self.native->add(key.native); }, "key"_a)
        .def(
            "has_rotation",
            [steps_of](const PyKeySet& self, std::int64_t steps, std::size_t level) {
                return self.native->find(KeyKind::rotate, steps_of(self, steps), level) != nullptr;
            },
            "steps"_a, "level"_a)
        .def(
            "has",
            [steps_of](const PyKeySet& self, const std::string& kind, std::int64_t steps, std::size_t level) {
                return self.native->find(kind_from_name(kind), steps_of(self, steps), level) != nullptr;
            },
            "kind"_a, "steps"_a, "level"_a)
        .def(
            "remove",
            [steps_of](const PyKeySet& self, const std::string& kind, std::int64_t steps) {
                return self.native->remove(kind_from_name(kind), steps_of(self, steps));
            },
            "kind"_a, "steps"_a = 0)
        .def("memory_bytes", [](const PyKeySet& self) { return self.native->memory_bytes(); })
        .def("__len__", [](const PyKeySet& self) { return self.native->size(); });
}

}  // namespace

void bind_keys(nb::module_& module) {
    nb::class_<PublicKey>(module, "PublicKey")
        .def("encrypt", &PublicKey::encrypt, "plaintext"_a, Released())
        .def("rerandomise", &PublicKey::rerandomise, "ciphertext"_a, "flood_bits"_a, Released())
        .def("to_bytes", [](const PublicKey& self) { return produce_bytes([&] { return self.to_bytes(); }); });

    nb::class_<PySwitchingKey>(module, "SwitchingKey")
        .def_prop_ro("kind", [](const PySwitchingKey& self) { return std::string(name(self.native->kind)); })
        .def_prop_ro("steps", [](const PySwitchingKey& self) { return self.native->steps; })
        .def_prop_ro("level", [](const PySwitchingKey& self) { return self.native->level; })
        .def_prop_ro("size_bytes", [](const PySwitchingKey& self) { return self.native->serialised_bytes(); })
        .def_prop_ro("memory_bytes", [](const PySwitchingKey& self) { return self.native->memory_bytes(); })
        .def("to_bytes",
             [](const PySwitchingKey& self) { return produce_bytes([&] { return self.native->to_bytes(); }); });
    bind_secret_key(module);
    bind_key_set(module);
}

}  // namespace cipherformer::bindings
