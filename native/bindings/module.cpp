// The Python module `cipherformer._native`; its types and docstrings are in src/cipherformer/_native.pyi.
#include "bindings/common.hpp"

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // objects that live until the interpreter exits are no fault
    module.doc() = "Leveled RNS-CKKS and integer kernels: the engine of cipherformer.";
    cipherformer::bindings::bind_parameters(module);
    cipherformer::bindings::bind_values(module);
    cipherformer::bindings::bind_keys(module);
    cipherformer::bindings::bind_evaluator(module);
    cipherformer::bindings::bind_fixed(module);
    cipherformer::bindings::bind_mpc(module);
}
