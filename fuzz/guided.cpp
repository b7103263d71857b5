// The native readers under libFuzzer: guided_native [options] CORPUS. Needs clang.
//
// The first byte of an input chooses the reader. A reader may accept, and must then write the same bytes back, or throw
// std::invalid_argument; anything else, and anything that the sanitizers see, is a finding.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "readers.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using namespace cipherformer;
using namespace cipherformer::fuzz;

const std::vector<Target>& readers() {
    static const std::vector<Target> targets = make_targets(make_toy_context());
    return targets;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return -1;
    const View input(data + 1, size - 1);
    try {
        const Bytes again = readers()[data[0] % readers().size()].read_and_write(input);
        if (!std::equal(again.begin(), again.end(), input.begin(), input.end())) {
            std::fputs("accepted bytes are not written back unchanged\n", stderr);
            std::abort();
        }
    } catch (const std::invalid_argument&) {
    }
    return 0;
}

// Changes what stands behind the header, mostly, and states the new length: both would be refused at once otherwise.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
    const std::size_t front = 1 + kHeaderBytes;
    if (seed % 8 == 0 || size <= front || max_size <= front) return LLVMFuzzerMutate(data, size, max_size);
    size = front + LLVMFuzzerMutate(data + front, size - front, max_size - front);
    Bytes message(data + 1, data + size);
    mend_length(message);
    std::memcpy(data + 1, message.data(), message.size());
    return size;
}
