// What the binding files share. Every Python class holds native values only, so no call needs the interpreter lock.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <complex>
#include <memory>
#include <span>

#include "ckks/context.hpp"
#include "ckks/keys.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace cipherformer::bindings {

using Released = nb::call_guard<nb::gil_scoped_release>;

template <typename T, std::size_t dimensions>
using Array = nb::ndarray<const T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

struct PyContext {
    ContextPtr native;
};
struct PyKeySet {
    std::shared_ptr<KeySet> native;
};
struct PySwitchingKey {
    SwitchingKeyPtr native;
};

// Borrowed bytes of any object with the buffer protocol (bytes, bytearray, memoryview), without a copy.
class ByteView {
public:
    explicit ByteView(nb::handle object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) nb::raise_python_error();
    }
    ByteView(const ByteView&) = delete;
    ByteView& operator=(const ByteView&) = delete;
    ~ByteView() { PyBuffer_Release(&view_); }
    std::span<const std::uint8_t> span() const {
        return {static_cast<const std::uint8_t*>(view_.buf), static_cast<std::size_t>(view_.len)};
    }

private:
    Py_buffer view_{};
};

inline nb::bytes to_python(std::span<const std::uint8_t> bytes) { return nb::bytes(bytes.data(), bytes.size()); }

// function(span) with the lock released.
template <typename Function>
auto with_bytes(nb::handle object, const Function& function) {
    const ByteView view(object);
    const nb::gil_scoped_release released;
    return function(view.span());
}

// function() -> Bytes, run with the lock released.
template <typename Function>
nb::bytes produce_bytes(const Function& function) {
    Bytes bytes;
    {
        const nb::gil_scoped_release released;
        bytes = function();
    }
    return to_python(bytes);
}

void bind_parameters(nb::module_& module);
void bind_values(nb::module_& module);
void bind_keys(nb::module_& module);
void bind_evaluator(nb::module_& module);
void bind_fixed(nb::module_& module);
void bind_mpc(nb::module_& module);

}  // namespace cipherformer::bindings
