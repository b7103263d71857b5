// FixedProgram: chains of exact integer operations on numpy arrays (float64, int64, or records of two words).
#include <nanobind/stl/tuple.h>

#include "bindings/common.hpp"
#include "fixed/program.hpp"

namespace cipherformer::bindings {
namespace {

using fixed::i128;
using fixed::i64;
using fixed::Instruction;
using fixed::Kind;
using fixed::Loops;
using fixed::Op;
using fixed::Operand;
using fixed::Outcome;
using fixed::Program;

struct PyFixedProgram {
    std::unique_ptr<Program> native;
    std::unique_ptr<ThreadPool> pool;
    const Loops* loops;
};

[[noreturn]] void refuse_operand(const char* what) {
    throw std::invalid_argument(std::string("fixed-point program: ") + what);
}

// A numpy array's buffer, held while a program runs.
class ArrayView {
public:
    ArrayView(nb::handle array, bool writable) {
        if (PyObject_GetBuffer(array.ptr(), &view_, writable ? PyBUF_RECORDS : PyBUF_RECORDS_RO) != 0)
            nb::raise_python_error();
    }
    ArrayView(ArrayView&& other) noexcept : view_(other.view_) { other.view_.obj = nullptr; }
    ArrayView(const ArrayView&) = delete;
    ArrayView& operator=(const ArrayView&) = delete;
    ~ArrayView() {
        if (view_.obj != nullptr) PyBuffer_Release(&view_);
    }

    Operand operand(const std::vector<std::size_t>& shape) const {
        if (static_cast<std::size_t>(view_.ndim) != shape.size()) refuse_operand("an array of another rank");
        Operand out{view_.buf, kind(), {}};
        for (std::size_t axis = 0; axis < shape.size(); ++axis) {
            if (static_cast<std::size_t>(view_.shape[axis]) != shape[axis]) refuse_operand("an array of another shape");
            if (view_.strides[axis] % view_.itemsize != 0) refuse_operand("strides that split an element");
            out.strides.push_back(view_.strides[axis] / view_.itemsize);
        }
        return out;
    }
    bool contiguous() const { return PyBuffer_IsContiguous(&view_, 'C') != 0; }

private:
    Kind kind() const {
        const std::string format = view_.format;
        if (view_.itemsize == 8 && format == "d") return Kind::real;
        if (view_.itemsize == 8 && (format == "l" || format == "q")) return Kind::word;
        if (view_.itemsize == 16 && format.starts_with("T{")) return Kind::wide;
        refuse_operand("an array that is not float64, int64 or pairs of words");
    }
    Py_buffer view_{};
};

// Axes that every operand walks as one become one.
void collapse(std::vector<std::size_t>& shape, std::vector<Operand>& inputs) {
    for (std::size_t axis = shape.size() - 1; axis-- > 0;) {
        bool together = shape[axis] == 1 || shape[axis + 1] == 1;
        if (!together) {
            together = true;
            for (const Operand& input : inputs)
                together &= input.strides[axis] == input.strides[axis + 1] * static_cast<std::ptrdiff_t>(shape[axis + 1]);
        }
        if (!together) continue;
        for (Operand& input : inputs) {
            const std::size_t gone = shape[axis + 1] == 1 ? axis + 1 : axis;
            input.strides.erase(input.strides.begin() + static_cast<std::ptrdiff_t>(gone));
        }
        shape[axis] *= shape[axis + 1];
        shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1);
    }
}

std::vector<i128> joined(const std::vector<std::pair<i64, u64>>& pairs) {
    std::vector<i128> out;
    for (const auto& [high, low] : pairs) out.push_back(fixed::join({low, high}));
    return out;
}

using Code = std::vector<std::tuple<int, int, int, int, u64>>;
using Pairs = std::vector<std::pair<i64, u64>>;

void make(PyFixedProgram* self, const Code& code, const Pairs& values, const std::vector<Pairs>& tables,
          std::size_t inputs, std::size_t outputs, unsigned threads, const std::string& kernels) {
    std::vector<Instruction> instructions;
    for (const auto& [op, out, a, b, key] : code) instructions.push_back({static_cast<Op>(op), out, a, b, key});
    std::vector<std::vector<i128>> wide;
    for (const Pairs& table : tables) wide.push_back(joined(table));
    auto program = std::make_unique<Program>(std::move(instructions), joined(values), std::move(wide), inputs, outputs);
    new (self) PyFixedProgram{std::move(program), std::make_unique<ThreadPool>(threads), &fixed::loops(kernels.c_str())};
}

std::tuple<bool, std::vector<int>, std::vector<double>> run(const PyFixedProgram& self, int carrier,
                                                            std::vector<std::size_t> shape, const nb::list& inputs,
                                                            const nb::list& outputs) {
    if (carrier < 0 || carrier > 2) refuse_operand("an unknown carrier");
    if (shape.empty()) refuse_operand("an empty shape");
    std::vector<ArrayView> views;
    std::vector<Operand> in, out;
    for (nb::handle array : inputs) in.push_back(views.emplace_back(array, false).operand(shape));
    for (nb::handle array : outputs) {
        out.push_back(views.emplace_back(array, true).operand(shape));
        if (!views.back().contiguous()) refuse_operand("an output that is not contiguous");
    }
    const nb::gil_scoped_release released;
    collapse(shape, in);
    Outcome outcome = self.native->run(static_cast<fixed::Carrier>(carrier), shape, in, out, *self.loops, *self.pool);
    return {outcome.fits, std::move(outcome.bits), std::move(outcome.peaks)};
}

}  // namespace

void bind_fixed(nb::module_& module) {
    nb::class_<PyFixedProgram>(module, "FixedProgram")
        .def("__init__", &make, "code"_a, "values"_a, "tables"_a, "inputs"_a, "outputs"_a, "threads"_a = 1,
             "kernels"_a = "auto")
        .def("run", &run, "carrier"_a, "shape"_a, "inputs"_a, "outputs"_a);
}

}  // namespace cipherformer::bindings
